//! The records of topic `raw`: what a device said, an operator's clear, a tick.

use yiwang_core::record::{BodyKind, Clear, Lane, Millis, Raw};

use super::{Field, Fields, write_bytes, write_present, write_text, write_uint};
use crate::convert::{Malformed, kind_to_wire, lane_to_wire};

/// A record of topic `raw`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RawRecord<'a> {
    /// Bytes of a device.
    Raw(Raw<'a>),
    /// An operator's clear of an alarm.
    Clear(Clear<'a>),
    /// A gateway's heartbeat.
    Tick {
        /// Name of the gateway process.
        origin: &'a str,
        /// When, ms UTC.
        received_at: Millis,
    },
}

/// Appends a raw record.
pub fn write_raw(raw: &Raw<'_>, out: &mut Vec<u8>) {
    write_text(1, raw.device, out);
    write_uint(2, lane_to_wire(raw.lane) as u64, out);
    write_uint(3, kind_to_wire(raw.kind) as u64, out);
    write_text(4, raw.path, out);
    write_text(5, raw.listener, out);
    write_text(6, raw.peer, out);
    write_uint(7, raw.received_at as u64, out);
    write_bytes(8, raw.payload, out);
}

/// Appends an operator's clear.
pub fn write_clear(clear: &Clear<'_>, out: &mut Vec<u8>) {
    write_text(1, clear.device, out);
    write_uint(7, clear.received_at as u64, out);
    let mut body = Vec::new();
    for (field, text) in (1..).zip([clear.rule, clear.actor, clear.reason]) {
        write_text(field, text, &mut body);
    }
    write_present(9, &body, out);
}

/// Appends a tick.
pub fn write_tick(origin: &str, received_at: Millis, out: &mut Vec<u8>) {
    write_text(1, origin, out);
    write_uint(2, received_at as u64, out);
}

/// Reads a record of topic `raw`: a tick has no key.
///
/// # Errors
/// [`Malformed`] for anything that is no protobuf of the message.
pub fn read_raw<'a>(key: &[u8], value: &'a [u8]) -> Result<RawRecord<'a>, Malformed> {
    let read = if key.is_empty() { read_tick(value) } else { read_device(value) };
    read.ok_or_else(|| Malformed { topic: "raw", what: "no valid protobuf".to_owned() })
}

fn read_tick(value: &[u8]) -> Option<RawRecord<'_>> {
    let (mut origin, mut received_at) = ("", 0);
    let mut fields = Fields(value);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) => origin = std::str::from_utf8(bytes).ok()?,
            (2, Field::Int(int)) => received_at = int as i64,
            (1 | 2, _) => return None,
            _ => {}
        }
    }
    Some(RawRecord::Tick { origin, received_at })
}

fn read_device(value: &[u8]) -> Option<RawRecord<'_>> {
    let mut raw = Raw {
        device: "",
        lane: Lane::Listen,
        kind: BodyKind::Other,
        path: "",
        listener: "",
        peer: "",
        received_at: 0,
        payload: &[],
    };
    let mut clear: Option<Clear<'_>> = None;
    let mut fields = Fields(value);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) => raw.device = std::str::from_utf8(bytes).ok()?,
            (2, Field::Int(int)) => raw.lane = lane(int)?,
            (3, Field::Int(int)) => raw.kind = kind(int)?,
            (4, Field::Bytes(bytes)) => raw.path = std::str::from_utf8(bytes).ok()?,
            (5, Field::Bytes(bytes)) => raw.listener = std::str::from_utf8(bytes).ok()?,
            (6, Field::Bytes(bytes)) => raw.peer = std::str::from_utf8(bytes).ok()?,
            (7, Field::Int(int)) => raw.received_at = int as i64,
            (8, Field::Bytes(bytes)) => raw.payload = bytes,
            (9, Field::Bytes(bytes)) => read_clear(bytes, clear.get_or_insert(NO_CLEAR))?,
            (1..=9, _) => return None,
            _ => {}
        }
    }
    let Raw { device, received_at, .. } = raw;
    Some(match clear {
        Some(clear) => RawRecord::Clear(Clear { device, received_at, ..clear }),
        None => RawRecord::Raw(raw),
    })
}

const NO_CLEAR: Clear<'static> =
    Clear { device: "", rule: "", actor: "", reason: "", received_at: 0 };

/// A message that stands twice is merged, as protobuf has it.
fn read_clear<'a>(value: &'a [u8], clear: &mut Clear<'a>) -> Option<()> {
    let mut fields = Fields(value);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) => clear.rule = std::str::from_utf8(bytes).ok()?,
            (2, Field::Bytes(bytes)) => clear.actor = std::str::from_utf8(bytes).ok()?,
            (3, Field::Bytes(bytes)) => clear.reason = std::str::from_utf8(bytes).ok()?,
            (1..=3, _) => return None,
            _ => {}
        }
    }
    Some(())
}

fn lane(int: u64) -> Option<Lane> {
    [Lane::Listen, Lane::Subscribe, Lane::Kafka]
        .into_iter()
        .find(|&lane| lane_to_wire(lane) as u64 == int)
}

fn kind(int: u64) -> Option<BodyKind> {
    [BodyKind::Property, BodyKind::Event, BodyKind::Raw, BodyKind::Other]
        .into_iter()
        .find(|&kind| kind_to_wire(kind) as u64 == int)
}
