//! Messages of four kinds through the hot path alone, from a stored record to an encoded reading: for counting
//! instructions and allocations, for flame graphs and for the times of stages.
//!
//! It depends on nothing but the core and its records, so that it is quickly built as it is shipped. The products are
//! loaded like any others; fleets and messages are made here, the same ones every time.

mod messages;

use std::ops::Range;
use std::sync::Arc;

use yiwang_core::record::{BodyKind, Lane, Raw, Signal};
use yiwang_core::registry::Registry;
use yiwang_core::route::{
    Input, PartitionState, Quarantined, Reading, RouteCounters, Shard, Shared, Sink, Workspace,
};
use yiwang_core::thing::Product;
use yiwang_proto::readings::{Names, version};
use yiwang_proto::wire::{self, DeviceText, RawRecord};

/// Devices of a fleet: their state fits into the processor's caches, so what is seen is work and not memory.
pub const DEVICES: usize = 64;
/// Records of a batch.
pub const BATCH: usize = 64;
/// What encoded readings may take before they are forgotten.
const OUT_BYTES_MAX: usize = 1 << 20;

/// A kind of message.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// Its name on the command line.
    pub name: &'static str,
    file: &'static str,
    product: &'static str,
    kind: BodyKind,
    device: fn(usize) -> String,
    path: fn(usize, u64) -> String,
    body: fn(usize, u64) -> Vec<u8>,
}

/// All kinds, with what they stand for: vendor JSON of 250 B, native JSON of 1 KB with 20 values, a frame of 40 B, and
/// Sparkplug B.
pub const PAYLOADS: [Payload; 4] = [
    Payload {
        name: "json-250",
        file: "telemetry.thing.yaml",
        product: include_str!("../../route/telemetry.thing.yaml"),
        kind: BodyKind::Raw,
        device: messages::plain_name,
        path: |_, _| "raw".to_owned(),
        body: messages::telemetry,
    },
    Payload {
        name: "json-1k",
        file: "meter.thing.yaml",
        product: include_str!("../products/meter.thing.yaml"),
        kind: BodyKind::Property,
        device: messages::plain_name,
        path: |_, _| "property".to_owned(),
        body: messages::meter,
    },
    Payload {
        name: "binary-40",
        file: "probe.thing.yaml",
        product: include_str!("../products/probe.thing.yaml"),
        kind: BodyKind::Raw,
        device: messages::plain_name,
        path: |_, _| "raw".to_owned(),
        body: messages::probe,
    },
    Payload {
        name: "sparkplug",
        file: "edge.thing.yaml",
        product: include_str!("../products/edge.thing.yaml"),
        kind: BodyKind::Raw,
        device: messages::edge_name,
        path: messages::edge_topic,
        body: messages::edge,
    },
];

/// Devices with their product and rules, and the records that they sent: one round after the other, all devices in each.
#[derive(Debug)]
pub struct Fleet {
    /// Products, devices and rules.
    pub shared: Shared,
    records: Vec<(String, Vec<u8>)>,
}

impl Fleet {
    /// A fleet that sent so many rounds.
    ///
    /// # Errors
    /// A product with a problem.
    pub fn new(payload: &Payload, rounds: u64) -> Result<Self, String> {
        let (product, problems) = Product::load(payload.file, payload.product);
        let product = Arc::new(product.ok_or_else(|| format!("{problems:?}"))?);
        let key = product.key.to_string();
        let names: Vec<String> = (0..DEVICES).map(payload.device).collect();
        let registry = Registry::of_names(product, names.iter().map(String::as_str));
        let registry = registry.map_err(|at| format!("device {at} stands twice"))?;
        let (shared, problems) = Shared::new(Arc::new(registry));
        let shared = shared.ok_or_else(|| format!("{problems:?}"))?;
        let mut records = Vec::new();
        for round in 0..rounds {
            for (device, name) in names.iter().enumerate() {
                let key = format!("{key}/{name}");
                let raw = Raw {
                    device: &key,
                    lane: Lane::Listen,
                    kind: payload.kind,
                    path: &(payload.path)(device, round),
                    listener: "mqtt",
                    peer: "192.0.2.7:40001",
                    received_at: messages::time(round),
                    payload: &(payload.body)(device, round),
                };
                let mut value = Vec::new();
                wire::write_raw(&raw, &mut value);
                records.push((key, value));
            }
        }
        Ok(Self { shared, records })
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A record of the log as the router reads it.
    #[must_use]
    pub fn input(&self, number: usize) -> Option<Input<'_>> {
        let (key, value) = self.records.get(number)?;
        Some(match wire::read_raw(key.as_bytes(), value) {
            Ok(RawRecord::Raw(raw)) => Input::Raw(raw),
            _ => Input::Unreadable { key, bytes: value },
        })
    }
}

/// The state of one worker with what it writes.
#[derive(Debug)]
pub struct Router {
    state: PartitionState,
    work: Workspace,
    encoder: Encoder,
}

impl Router {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(fleet: &Fleet) -> Self {
        let (work, encoder) = (Workspace::default(), Encoder::new(&fleet.shared));
        Self { state: PartitionState::new(&fleet.shared, Shard::WHOLE), work, encoder }
    }

    /// Routes these records in batches.
    pub fn route(&mut self, fleet: &Fleet, numbers: Range<usize>) {
        let mut numbers = numbers.filter_map(|number| Some((number as u64, fleet.input(number)?)));
        loop {
            let before = self.counters().raw;
            let batch = numbers.by_ref().take(BATCH);
            let Self { state, work, encoder } = self;
            state.route_batch(&fleet.shared, (0, 0), batch, work, encoder);
            if self.counters().raw - before < BATCH as u64 {
                return;
            }
        }
    }

    /// What became of the records.
    #[must_use]
    pub fn counters(&self) -> &RouteCounters {
        self.state.counters()
    }
}

/// Writes readings as they lie on the log, and forgets them.
#[derive(Debug)]
pub struct Encoder {
    names: Names,
    devices: Vec<Vec<u8>>,
    out: Vec<u8>,
}

impl Encoder {
    /// For the devices of a fleet.
    #[must_use]
    pub fn new(shared: &Shared) -> Self {
        let registry = shared.registry();
        let versions: Vec<String> =
            registry.products.iter().map(|product| version(product)).collect();
        let fields = registry.devices.iter().map(|device| {
            let mut out = Vec::new();
            let text = DeviceText {
                device: &device.key,
                product_version: &versions[usize::from(device.product)],
                codec_hash: registry.products[usize::from(device.product)].codec_hash,
                area: ["310118", "310118001", "", "310118001001", ""],
                asset: "asset-0001",
                labels: &[],
            };
            text.encode(&mut out);
            out
        });
        Self { names: Names::default(), devices: fields.collect(), out: Vec::new() }
    }
}

impl Sink for Encoder {
    fn reading(&mut self, reading: &Reading<'_>) {
        if self.out.len() > OUT_BYTES_MAX {
            self.out.clear();
        }
        let device = &self.devices[reading.device_no.0 as usize];
        self.names.encode(reading, device, &mut self.out);
    }

    fn signal(&mut self, _: &Signal) {}

    fn quarantine(&mut self, _: &Quarantined<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_routed_with_its_values() {
        const ROUNDS: u64 = 5;
        for (payload, bytes) in PAYLOADS.iter().zip([230..260, 950..1_100, 40..41, 60..140]) {
            let fleet =
                Fleet::new(payload, ROUNDS).unwrap_or_else(|e| panic!("{}: {e}", payload.name));
            let last = (payload.body)(7, ROUNDS - 1).len();
            assert!(bytes.contains(&last), "{}: {last} bytes", payload.name);
            let mut router = Router::new(&fleet);
            router.route(&fleet, 0..fleet.len());
            let counters = router.counters();
            let all = DEVICES as u64 * ROUNDS;
            assert_eq!((counters.raw, counters.routed), (all, all), "{}", payload.name);
            assert!(counters.readings >= all - DEVICES as u64, "{}", payload.name);
            assert_eq!(counters.signals, 0, "{}", payload.name);
        }
    }
}
