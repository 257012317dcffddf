//! Low-rate records between the core's types and their bytes on the log.

use prost::Message;
use yiwang_core::ids::Id;
use yiwang_core::incident::OutboxRow;
use yiwang_core::record::{
    AlarmSeverity, BodyKind, Command, Lane, Point, QuarantineReason, Raw, Signal, SignalKind,
};

use crate::record::v1;

/// A record on the log that is not what its topic promises: a fault of whoever wrote it.
#[derive(Debug, thiserror::Error)]
#[error("a record of topic {topic} cannot be read: {what}")]
pub struct Malformed {
    /// Topic.
    pub topic: &'static str,
    /// What is wrong.
    pub what: String,
}

/// The bytes of a signal.
#[must_use]
pub fn signal_to_bytes(signal: &Signal) -> Vec<u8> {
    signal_to_wire(signal).encode_to_vec()
}

pub(crate) fn signal_to_wire(signal: &Signal) -> v1::Signal {
    v1::Signal {
        source: signal.source.clone(),
        event_id: signal.event_id.clone(),
        kind: signal.kind.as_str().to_owned(),
        alarm_key: signal.alarm_key.clone(),
        category: signal.category.clone(),
        severity: signal.severity.as_str().to_owned(),
        time: signal.time,
        since: signal.since,
        received_at: signal.received_at,
        device: signal.device.clone(),
        asset: signal.asset.clone().unwrap_or_default(),
        place: signal.place.clone().unwrap_or_default(),
        point: signal.point.map(point_to_wire),
        cause: signal.cause.clone(),
        text: signal.text.clone(),
        reading: signal.reading.map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
        members: signal.members.clone(),
    }
}

/// The signal of some bytes.
///
/// # Errors
/// [`Malformed`] if they are no signal, or one with an unknown word.
pub fn signal_from_bytes(bytes: &[u8]) -> Result<Signal, Malformed> {
    let malformed = |what: String| Malformed { topic: "signals", what };
    let wire = v1::Signal::decode(bytes).map_err(|error| malformed(error.to_string()))?;
    signal_from_wire(wire)
}

pub(crate) fn signal_from_wire(wire: v1::Signal) -> Result<Signal, Malformed> {
    let malformed = |what: String| Malformed { topic: "signals", what };
    let kind =
        SignalKind::parse(&wire.kind).ok_or_else(|| malformed(format!("kind {}", wire.kind)))?;
    let severity = AlarmSeverity::parse(&wire.severity)
        .ok_or_else(|| malformed(format!("severity {}", wire.severity)))?;
    let text = |text: String| (!text.is_empty()).then_some(text);
    let reading = match wire.reading.len() {
        0 => None,
        _ => Some(id(&wire.reading).ok_or_else(|| malformed("a reading id".to_owned()))?),
    };
    Ok(Signal {
        source: wire.source,
        event_id: wire.event_id,
        kind,
        alarm_key: wire.alarm_key,
        category: wire.category,
        severity,
        time: wire.time,
        since: wire.since,
        received_at: wire.received_at,
        device: wire.device,
        asset: text(wire.asset),
        place: text(wire.place),
        point: wire.point.map(point_from_wire),
        cause: wire.cause,
        text: wire.text,
        reading,
        members: wire.members,
    })
}

pub(crate) fn point_to_wire(point: Point) -> v1::Point {
    v1::Point { lon_e6: point.lon_e6, lat_e6: point.lat_e6 }
}

pub(crate) fn point_from_wire(point: v1::Point) -> Point {
    Point { lon_e6: point.lon_e6, lat_e6: point.lat_e6 }
}

/// The bytes of a command.
#[must_use]
pub fn command_to_bytes(command: &Command) -> Vec<u8> {
    v1::Command {
        id: command.id.to_bytes().to_vec(),
        device: command.device.clone(),
        lane: lane_to_wire(command.lane).into(),
        listener: command.listener.clone(),
        topic: command.topic.clone(),
        payload: command.payload.clone(),
        asked_at: command.asked_at,
    }
    .encode_to_vec()
}

/// The command of some bytes.
///
/// # Errors
/// [`Malformed`] if they are no command, or one of an unknown lane.
pub fn command_from_bytes(bytes: &[u8]) -> Result<Command, Malformed> {
    let malformed = |what: String| Malformed { topic: "commands", what };
    let wire = v1::Command::decode(bytes).map_err(|error| malformed(error.to_string()))?;
    let lane = match wire.lane() {
        v1::Lane::Listen => Lane::Listen,
        v1::Lane::Subscribe => Lane::Subscribe,
        v1::Lane::Kafka => Lane::Kafka,
        v1::Lane::Unspecified => return Err(malformed(format!("lane {}", wire.lane))),
    };
    Ok(Command {
        id: id(&wire.id).ok_or_else(|| malformed("an id".to_owned()))?,
        device: wire.device,
        lane,
        listener: wire.listener,
        topic: wire.topic,
        payload: wire.payload,
        asked_at: wire.asked_at,
    })
}

/// What is known of a quarantined record beside its raw bytes.
#[derive(Clone, Copy, Debug)]
pub struct QuarantineNote<'a> {
    /// Raw id.
    pub raw: Id,
    /// Why.
    pub reason: QuarantineReason,
    /// Path, expected, found.
    pub detail: &'a str,
    /// `pk@version`; empty when the product is unknown.
    pub product_version: &'a str,
    /// Hash of the codec that tried.
    pub codec_hash: Option<Id>,
    /// How often it was tried.
    pub attempts: u32,
}

/// The bytes of a quarantine row.
#[must_use]
pub fn quarantine_to_bytes(raw: &Raw<'_>, note: &QuarantineNote<'_>) -> Vec<u8> {
    v1::Quarantine {
        raw: note.raw.to_bytes().to_vec(),
        reason: note.reason.as_str().to_owned(),
        detail: note.detail.to_owned(),
        device: raw.device.to_owned(),
        lane: lane_to_wire(raw.lane).into(),
        listener: raw.listener.to_owned(),
        peer: raw.peer.to_owned(),
        path: raw.path.to_owned(),
        received_at: raw.received_at,
        payload: raw.payload.to_vec(),
        product_version: note.product_version.to_owned(),
        codec_hash: note.codec_hash.map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
        attempts: note.attempts,
    }
    .encode_to_vec()
}

/// The bytes of a change of an incident, for the `incidents` topic. `seq` is the number that the store gave it.
#[must_use]
pub fn change_to_bytes(seq: i64, row: &OutboxRow) -> Vec<u8> {
    let view = &row.view;
    v1::IncidentChange {
        seq,
        incident: row.incident.to_bytes().to_vec(),
        no: view.no.clone(),
        version: row.version,
        kind: row.kind.as_str().to_owned(),
        action: row.action.as_str().to_owned(),
        at: row.at,
        state: view.state.as_str().to_owned(),
        category: view.category.to_string(),
        severity: view.severity.as_str().to_owned(),
        title: view.title.clone(),
        place: view.place.to_string(),
        town: view.town.as_deref().unwrap_or_default().to_owned(),
        desk: view.desk.to_string(),
        lead: view.lead.as_deref().unwrap_or_default().to_owned(),
        source: view.source.clone(),
        event_id: view.event_id.clone(),
        drill_id: row.drill_id.clone().unwrap_or_default(),
    }
    .encode_to_vec()
}

/// An id of 16 bytes.
pub(crate) fn id(bytes: &[u8]) -> Option<Id> {
    bytes.try_into().ok().map(Id::from_bytes)
}

pub(crate) fn lane_to_wire(lane: Lane) -> v1::Lane {
    match lane {
        Lane::Listen => v1::Lane::Listen,
        Lane::Subscribe => v1::Lane::Subscribe,
        Lane::Kafka => v1::Lane::Kafka,
    }
}

pub(crate) fn kind_to_wire(kind: BodyKind) -> v1::BodyKind {
    match kind {
        BodyKind::Property => v1::BodyKind::Property,
        BodyKind::Event => v1::BodyKind::Event,
        BodyKind::Raw => v1::BodyKind::Raw,
        BodyKind::Other => v1::BodyKind::Other,
    }
}
