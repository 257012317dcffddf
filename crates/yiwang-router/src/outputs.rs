//! Outputs of the step straight into one batch over all topics: encoded once, by the borrowed writers of the wire.
//!
//! What the readings of a product or of a place have in common is encoded when one is first heard, and copied from then on.

use std::collections::HashMap;
use std::sync::Arc;

use yiwang_core::district::{AreaPath, UnitId};
use yiwang_core::ids::key_hash;
use yiwang_core::record::{Absence, Command, Millis, Passed, Signal};
use yiwang_core::registry::DeviceNo;
use yiwang_core::route::{Quarantined, Reading, Sink, Turn};
use yiwang_log::{Batch, Log, Route, TopicId};
use yiwang_proto::wire::{DevicePieces, DeviceText, area_piece, product_piece};
use yiwang_proto::{
    QuarantineNote, absence_to_bytes, command_to_bytes, quarantine_to_bytes, signal_to_bytes,
    time_to_bytes,
};

use crate::forward::{FanNo, Forward, Forwarded};
use crate::readings::{Names, version};
use crate::{Bundle, Error};

/// The topics that the router writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topics {
    pub readings: TopicId,
    pub signals: TopicId,
    pub lifecycle: TopicId,
    pub quarantine: TopicId,
    pub commands: TopicId,
    pub state: TopicId,
}

impl Topics {
    pub(crate) fn of(log: &Log) -> Result<Self, Error> {
        let topic = |name| log.topic(name).ok_or_else(|| Error::no_topic(name));
        Ok(Self {
            readings: topic("readings")?,
            signals: topic("signals")?,
            lifecycle: topic("lifecycle")?,
            quarantine: topic("quarantine")?,
            commands: topic("commands")?,
            state: topic("state")?,
        })
    }
}

/// A sink that encodes into a batch.
pub(crate) struct Outputs {
    topics: Topics,
    cloud_events: bool,
    /// Partitions of `raw` and of `lifecycle`.
    partitions: (u16, u16),
    /// The partition of `raw` that is routed.
    partition: u16,
    batch: Batch,
    /// By device number of the registry in force.
    devices: Vec<Heard>,
    pieces: Pieces,
    /// Those of the reading at hand.
    fields: Vec<u8>,
    names: Names,
    forward: Forward,
}

/// What is kept of a device: little, for there are many.
#[derive(Clone, Copy)]
struct Heard {
    fan: FanNo,
    /// Number of the piece of its place; `u32::MAX` = not heard.
    area: u32,
}

impl Heard {
    const NOT: Self = Self { fan: FanNo::NONE, area: u32::MAX };
}

/// The pieces of readings that devices have in common, under the registry in force.
#[derive(Default)]
struct Pieces {
    /// By product number; empty = none was heard.
    products: Vec<Box<[u8]>>,
    areas: Vec<Box<[u8]>>,
    /// Numbers of areas, by the unit that a path ends at.
    numbers: HashMap<UnitId, u32>,
}

impl Pieces {
    fn clear(&mut self) {
        *self = Self::default();
    }

    /// Sees to it that there are those of a reading; the number of its area.
    fn make(&mut self, reading: &Reading<'_>) -> u32 {
        let Self { products, areas, numbers } = self;
        let product = usize::from(reading.device.product);
        if products.len() <= product {
            products.resize_with(product + 1, Box::default);
        }
        if products[product].is_empty() {
            products[product] =
                product_piece(&version(reading.product), reading.product.codec_hash);
        }
        let place = &reading.device.place;
        if let Some(number) = numbers.get(place.deepest()) {
            return *number;
        }
        let number = areas.len() as u32;
        areas.push(area_piece(units(place)));
        numbers.insert(place.deepest().clone(), number);
        number
    }

    /// Those of a reading that they were made for.
    #[inline]
    fn of<'a>(&'a self, reading: &Reading<'a>, area: u32) -> DevicePieces<'a> {
        let piece = |list: &'a [Box<[u8]>], at: usize| list.get(at).map_or(&[][..], |it| it);
        DevicePieces {
            device: &reading.device.key,
            product: piece(&self.products, usize::from(reading.device.product)),
            area: piece(&self.areas, area as usize),
            asset: reading.device.asset.as_deref().unwrap_or_default(),
        }
    }
}

/// Unit ids of district, town, station, village and grid.
fn units(place: &AreaPath) -> [&str; 5] {
    let AreaPath { district, town, station, village, grid, .. } = place;
    let lower = [town, station, village, grid].map(Option::as_deref);
    let [town, station, village, grid] = lower.map(Option::unwrap_or_default);
    [district, town, station, village, grid]
}

impl Outputs {
    pub(crate) fn new(log: Log, topics: Topics, cloud_events: bool) -> Self {
        Self {
            topics,
            cloud_events,
            partitions: (log.partitions("raw"), log.partitions("lifecycle")),
            partition: 0,
            batch: Batch::new(),
            devices: Vec::new(),
            pieces: Pieces::default(),
            fields: Vec::new(),
            names: Names::default(),
            forward: Forward::new(log),
        }
    }

    /// What follows came of this partition of `raw`.
    pub(crate) fn of(&mut self, partition: u16) {
        self.partition = partition;
    }

    /// Time has passed on the partition of `raw`: whoever holds absences is told, turn by turn.
    pub(crate) fn pass(&mut self, turn: Turn, before: Option<Millis>, now: Millis) {
        let (partitions, lifecycle) = self.partitions;
        if turn.is_told(partitions, before, now) {
            let (partition, late) = (self.partition, turn.late);
            let row = time_to_bytes(&Passed { partition, partitions, at: now, late });
            for to in 0..lifecycle {
                self.batch.push(self.topics.lifecycle, Route::Partition(to), b"", &[], &row);
            }
        }
    }

    /// What follows was routed under this configuration: another registry numbers devices anew.
    pub(crate) fn under(&mut self, bundle: &Arc<Bundle>) {
        if !self.forward.is_under(bundle) {
            self.devices.clear();
            self.pieces.clear();
            self.names.clear();
            self.forward.under(bundle);
        }
    }

    /// What was forwarded since the last call.
    pub(crate) fn take_forwarded(&mut self) -> Forwarded {
        self.forward.take()
    }

    /// What was encoded since the last call; `spare` is filled next.
    pub(crate) fn take(&mut self, spare: Batch) -> Batch {
        std::mem::replace(&mut self.batch, spare)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    fn hear(&mut self, reading: &Reading<'_>) -> Heard {
        let at = reading.device_no.0 as usize;
        if let Some(heard) = self.devices.get(at).filter(|heard| heard.area != Heard::NOT.area) {
            return *heard;
        }
        if self.devices.len() <= at {
            self.devices.resize(at + 1, Heard::NOT);
        }
        let heard = Heard { fan: self.forward.fan_of(reading), area: self.pieces.make(reading) };
        self.devices[at] = heard;
        heard
    }
}

/// What is the same for all readings of a device, encoded for one reading alone.
pub(crate) fn device_fields(reading: &Reading<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let text = DeviceText {
        device: &reading.device.key,
        product_version: &version(reading.product),
        codec_hash: reading.product.codec_hash,
        area: units(&reading.device.place),
        asset: reading.device.asset.as_deref().unwrap_or_default(),
        labels: &[],
    };
    text.encode(&mut out);
    out
}

/// A quarantine row as it lies on the log.
pub(crate) fn quarantine_bytes(row: &Quarantined<'_>) -> Vec<u8> {
    let note = QuarantineNote {
        raw: row.id,
        reason: row.reason,
        detail: row.detail,
        product_version: &row.product.map(version).unwrap_or_default(),
        codec_hash: row.product.map(|product| product.codec_hash),
        attempts: row.attempts,
    };
    quarantine_to_bytes(row.raw, &note)
}

impl Sink for Outputs {
    fn expect(&mut self, devices: &[DeviceNo]) {
        let heard = |no: &DeviceNo| self.devices.get(no.0 as usize);
        let touched = devices.iter().filter_map(heard).fold(0, |all, it| all ^ it.area);
        std::hint::black_box(touched);
    }

    fn reading(&mut self, reading: &Reading<'_>) {
        let heard = self.hear(reading);
        let Self { topics, cloud_events, batch, pieces, fields, names, forward, .. } = self;
        fields.clear();
        pieces.of(reading, heard.area).write(fields);
        let encode = |out: &mut Vec<u8>| names.encode(reading, fields, out);
        let route = Route::Key { hash: key_hash(&reading.device.key) };
        let key = reading.device.key.as_bytes();
        if !*cloud_events {
            return forward.reading(heard.fan, topics.readings, batch, |batch, topic| {
                batch.push_with(topic, route, key, &[], encode);
            });
        }
        let event = CloudEvent {
            id: reading.id.to_string(),
            source: format!("device/{}", reading.device.key),
            kind: "yiwang.reading.v1",
            time: reading.t,
            subject: reading.device.asset.as_deref().unwrap_or_default(),
            area: reading.device.place.deepest(),
            grade: &reading.product.grade,
        };
        event.with_headers(|headers| {
            forward.reading(heard.fan, topics.readings, batch, |batch, topic| {
                batch.push_with(topic, route, key, headers, encode);
            });
        });
    }

    fn signal(&mut self, signal: &Signal) {
        // An outage of an area is of no device.
        let key = if signal.device.is_empty() { &signal.source } else { &signal.device };
        let route = Route::Key { hash: key_hash(key) };
        let (key, value) = (key.as_bytes(), signal_to_bytes(signal));
        let Self { topics, cloud_events, batch, forward, .. } = self;
        if !*cloud_events {
            batch.push(topics.signals, route, key, &[], &value);
            return forward.signal(signal, batch);
        }
        let event = CloudEvent {
            id: signal.event_id.clone(),
            source: signal.source.clone(),
            kind: "yiwang.signal.v1",
            time: signal.time,
            subject: signal.asset.as_deref().unwrap_or_default(),
            area: signal.place.as_deref().unwrap_or_default(),
            grade: "",
        };
        event.with_headers(|headers| batch.push(topics.signals, route, key, headers, &value));
        forward.signal(signal, batch);
    }

    fn absence(&mut self, absence: &Absence) {
        let key = &absence.group.key;
        let route = Route::Key { hash: key_hash(key) };
        let value = absence_to_bytes(self.partition, absence);
        self.batch.push(self.topics.lifecycle, route, key.as_bytes(), &[], &value);
    }

    fn quarantine(&mut self, row: &Quarantined<'_>) {
        let route = Route::Key { hash: key_hash(row.raw.device) };
        let (key, value) = (row.raw.device.as_bytes(), quarantine_bytes(row));
        let Self { topics, cloud_events, batch, forward, .. } = self;
        if !*cloud_events {
            batch.push(topics.quarantine, route, key, &[], &value);
            return forward.quarantine(row, batch);
        }
        let event = CloudEvent {
            id: row.id.to_string(),
            source: format!("device/{}", row.raw.device),
            kind: "yiwang.quarantine.v1",
            time: row.raw.received_at,
            subject: "",
            area: "",
            grade: row.product.map_or("", |product| &product.grade),
        };
        event.with_headers(|headers| batch.push(topics.quarantine, route, key, headers, &value));
        forward.quarantine(row, batch);
    }

    fn command(&mut self, command: &Command) {
        let route = Route::Key { hash: key_hash(&command.device) };
        let (key, value) = (command.device.as_bytes(), command_to_bytes(command));
        let Self { topics, cloud_events, batch, .. } = self;
        if !*cloud_events {
            return batch.push(topics.commands, route, key, &[], &value);
        }
        let event = CloudEvent {
            id: command.id.to_string(),
            source: format!("device/{}", command.device),
            kind: "yiwang.command.v1",
            time: command.asked_at,
            subject: "",
            area: "",
            grade: "",
        };
        event.with_headers(|headers| batch.push(topics.commands, route, key, headers, &value));
    }
}

/// The CloudEvents headers of devices §11, binary mode of the Kafka binding.
struct CloudEvent<'a> {
    id: String,
    source: String,
    kind: &'static str,
    time: i64,
    subject: &'a str,
    area: &'a str,
    grade: &'a str,
}

impl CloudEvent<'_> {
    fn with_headers(&self, push: impl FnOnce(&[(&str, &[u8])])) {
        let time = jiff::Timestamp::from_millisecond(self.time);
        let time = time.map(|time| time.to_string()).unwrap_or_default();
        push(&[
            ("content-type", b"application/protobuf"),
            ("ce_specversion", b"1.0"),
            ("ce_id", self.id.as_bytes()),
            ("ce_source", self.source.as_bytes()),
            ("ce_type", self.kind.as_bytes()),
            ("ce_time", time.as_bytes()),
            ("ce_subject", self.subject.as_bytes()),
            ("ce_area", self.area.as_bytes()),
            ("ce_grade", self.grade.as_bytes()),
        ]);
    }
}
