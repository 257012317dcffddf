//! Stage benchmarks of the routing path over the shipped products: parse with validation (one pass), rules, and
//! the whole step from a stored record to encoded outputs. One thread, throughput in messages.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use yiwang_benches::fixture;
use yiwang_core::codec::{Message, Received, Scratch};
use yiwang_core::record::{BodyKind, Lane, Raw, Signal};
use yiwang_core::route::{
    Input, PartitionState, Quarantined, Reading, Shard, Shared, Sink, Workspace,
};
use yiwang_core::rules::{Context, DeviceRules, Mark, Sample};
use yiwang_core::sample::Samples;
use yiwang_proto::wire::{self, RawRecord};

/// Messages of one iteration: a batch of the router.
const BATCH: usize = 64;
/// 2026-11-23 in ms: the benchmarks' now.
const NOW: i64 = 1_795_399_200_000;
/// Product, what kind of body it sends, and one.
const PRODUCTS: [(&str, BodyKind, &str); 3] = [
    (
        "nd-01",
        BodyKind::Property,
        r#"{"boot":1,"seq":9,"ts":1795399200000,"params":{"noise":62.5,"pm10":88,"pm25":41.2,"temperature":18.25,"humidity":70,"windSpeed":2.5}}"#,
    ),
    (
        "gas-01",
        BodyKind::Property,
        r#"{"boot":1,"seq":9,"ts":1795399200000,"params":{"concentration":2.5,"temperature":18.25}}"#,
    ),
    (
        "wl-radar-01",
        BodyKind::Raw,
        r#"{"boot":1,"seq":9,"ts":1795399200000,"lvl":2350,"batt":3600,"mode":"a"}"#,
    ),
];

fn message(kind: BodyKind, payload: &str) -> Message<'_> {
    let path = if kind == BodyKind::Raw { "raw" } else { "property" };
    let payload = payload.as_bytes();
    Message { kind, path, payload, received: Received::At(NOW) }
}

fn decode(c: &mut Criterion) {
    let shared = fixture::shared().expect("the shipped configuration loads");
    let mut group = c.benchmark_group("parse-and-validate");
    for (name, kind, payload) in PRODUCTS {
        let product = shared.registry().product(name).expect("a shipped product");
        let (mut scratch, mut samples) = (Scratch::default(), Samples::default());
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                product.decode(&message(kind, black_box(payload)), &mut scratch, &mut samples)
            });
        });
    }
    group.finish();
}

fn rules(c: &mut Criterion) {
    let shared = fixture::shared().expect("the shipped configuration loads");
    let mut group = c.benchmark_group("rules");
    for (name, kind, payload) in PRODUCTS {
        let registry = shared.registry();
        let number = registry.products.iter().position(|product| &*product.key == name);
        let number = number.expect("a shipped product");
        let (product, rules) = (&registry.products[number], &shared.rules()[number]);
        let attributes: Vec<Option<f64>> = vec![None; product.attributes.len()];
        let cx = Context {
            rules,
            attributes: &attributes,
            valid_for: None,
            clock_skew: 600_000,
            late_after: 86_400_000,
            held: false,
            windows: &[],
        };
        let (mut scratch, mut samples) = (Scratch::default(), Samples::default());
        // A payload that the product refuses has no values, and the rules then have nothing to do.
        let decoded = product.decode(&message(kind, payload), &mut scratch, &mut samples);
        decoded.expect("the message fits the product");
        let values = samples.values_of(&samples.sets[0]);
        let (mut device, mut out, mut t) = (DeviceRules::new(rules), Vec::new(), NOW);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                t += 1;
                let mark = Mark { t, raw: yiwang_core::ids::Id(0) };
                device.sample(&cx, &Sample { mark, rx: t, values: black_box(values) }, &mut out);
            });
        });
        assert!(out.is_empty(), "values within limits raise nothing");
    }
    group.finish();
}

/// Counts what comes out; the encoding of outputs is the router's and measured end to end.
#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn reading(&mut self, reading: &Reading<'_>) {
        self.0 += black_box(reading.values.len()) as u64;
    }
    fn signal(&mut self, _: &Signal) {}
    fn quarantine(&mut self, _: &Quarantined<'_>) {}
}

/// Stored records of the first devices of a product, with growing sequence numbers.
fn stored(shared: &Shared, name: &str, body: impl Fn(u64) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let keys = shared.registry().devices.iter().map(|device| device.key.to_string());
    let keys: Vec<_> = keys.filter(|key| key.starts_with(name)).take(16).collect();
    let record = |number: usize| {
        let key = &keys[number % keys.len()];
        let raw = Raw {
            device: key,
            lane: Lane::Listen,
            kind: BodyKind::Property,
            path: "property",
            listener: "mqtt",
            peer: "127.0.0.1",
            received_at: NOW,
            payload: &body(number as u64 + 1),
        };
        let mut value = Vec::new();
        wire::write_raw(&raw, &mut value);
        (key.clone(), value)
    };
    (0..BATCH).map(record).collect()
}

fn route(c: &mut Criterion) {
    let shared = fixture::shared().expect("the shipped configuration loads");
    let mut group = c.benchmark_group("route");
    let station = |seq| {
        let mut out = Vec::new();
        fixture::station_message(seq, NOW, &mut out);
        out
    };
    let records = stored(&shared, "nd-01", station);
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("nd-01, 250 B, new messages", |b| {
        let mut work = Workspace::default();
        b.iter_batched(
            || PartitionState::new(&shared, Shard::WHOLE),
            |mut state| {
                let mut sink = Count::default();
                let inputs = (0..).zip(&records).map(|(seq, (key, value))| {
                    match wire::read_raw(key.as_bytes(), value) {
                        Ok(RawRecord::Raw(raw)) => (seq, Input::Raw(raw)),
                        _ => (seq, Input::Unreadable { key, bytes: value }),
                    }
                });
                state.route_batch(&shared, (0, 0), inputs, &mut work, &mut sink);
                assert_eq!(sink.0, 6 * BATCH as u64, "every message was routed with all values");
                state
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, decode, rules, route);
criterion_main!(benches);
