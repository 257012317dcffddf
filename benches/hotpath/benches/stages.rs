//! The stages of the hot path by kind of message, one thread: nanoseconds by criterion, allocations by counting.
//!
//! Parsing, converting and validating are one pass over the body, so they are one stage, `decode`. `look-up` is finding
//! the device, `ids` naming message and reading, `route` the whole step without encoding, `whole` all of it. What `route`
//! has beside the stages is the state: duplicates, clock, counters, wake list.

#[path = "../../../crates/yiwang-core/tests/counting/mod.rs"]
mod counting;

use std::hint::black_box;
use std::time::{Duration, Instant};

use counting::allocations;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use yiwang_core::codec::{Message, Received, Scratch};
use yiwang_core::ids::{self, Id};
use yiwang_core::record::{BodyKind, Raw, Signal};
use yiwang_core::registry::DeviceNo;
use yiwang_core::route::{Input, PartitionState, Quarantined, Reading, Shard, Sink, Workspace};
use yiwang_core::rules::{Context, DeviceRules, Mark, Sample};
use yiwang_core::sample::{Flags, Samples};
use yiwang_hotpath::{DEVICES, Encoder, Fleet, PAYLOADS, Payload, Router};

/// Rounds of messages, and how many of them only warm up: births, first values, growing memory.
const ROUNDS: u64 = 72;
const WARM: usize = 8 * DEVICES;

/// Where readings end that are not to be encoded.
struct Nowhere;

impl Sink for Nowhere {
    fn reading(&mut self, reading: &Reading<'_>) {
        black_box(reading.values.len());
    }
    fn signal(&mut self, _: &Signal) {}
    fn quarantine(&mut self, _: &Quarantined<'_>) {}
}

/// A stage over the messages behind the warm ones: `run` does one of them, by its number.
fn stage(
    group: &mut BenchmarkGroup<'_, WallTime>,
    fleet: &Fleet,
    name: &str,
    mut run: impl FnMut(usize),
) {
    (0..fleet.len()).for_each(&mut run);
    let before = allocations();
    (WARM..fleet.len()).for_each(&mut run);
    told(name, allocations() - before, fleet.len() - WARM);
    let mut number = WARM;
    group.bench_function(name, |b| {
        b.iter(|| {
            run(number);
            number = if number + 1 == fleet.len() { WARM } else { number + 1 };
        });
    });
}

/// A stage that changes its state: `route` goes through a range of messages, each once, in a state made by `fresh`.
fn whole<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    fleet: &Fleet,
    name: &str,
    fresh: impl Fn() -> S,
    route: impl Fn(&mut S, std::ops::Range<usize>),
) {
    let count = fleet.len() - WARM;
    let once = || {
        let mut state = fresh();
        route(&mut state, 0..WARM);
        let (before, begun) = (allocations(), Instant::now());
        route(&mut state, WARM..fleet.len());
        (begun.elapsed(), allocations() - before)
    };
    told(name, once().1, count);
    group.bench_function(name, |b| {
        b.iter_custom(|iterations| {
            let times = iterations.div_ceil(count as u64).max(1);
            let taken: Duration = (0..times).map(|_| once().0).sum();
            taken.mul_f64(iterations as f64 / (times * count as u64) as f64)
        });
    });
}

fn told(name: &str, allocations: u64, messages: usize) {
    println!("{name}: {:.4} allocations a message", allocations as f64 / messages as f64);
}

fn raw(fleet: &Fleet, number: usize) -> Raw<'_> {
    match fleet.input(number) {
        Some(Input::Raw(raw)) => raw,
        other => panic!("record {number} is no message: {other:?}"),
    }
}

fn message<'a>(raw: &Raw<'a>) -> Message<'a> {
    let received = Received::At(raw.received_at);
    Message { kind: raw.kind, path: raw.path, payload: raw.payload, received }
}

fn stages(c: &mut Criterion) {
    for payload in &PAYLOADS {
        let fleet = Fleet::new(payload, ROUNDS).unwrap_or_else(|e| panic!("{}: {e}", payload.name));
        let mut group = c.benchmark_group(payload.name);
        let raws: Vec<Raw<'_>> = (0..fleet.len()).map(|number| raw(&fleet, number)).collect();
        stage(&mut group, &fleet, "read", |number| {
            black_box(fleet.input(number));
        });
        stage(&mut group, &fleet, "look-up", |number| {
            black_box(fleet.shared.registry().device(raws[number].device));
        });
        stage(&mut group, &fleet, "ids", |number| {
            let id = ids::raw_by_sequence(raws[number].device, 1, number as u64);
            black_box(ids::output(id, 0));
        });
        // What Sparkplug says is known to its session alone, which lives in the step.
        if payload.name != "sparkplug" {
            by_values(&mut group, &fleet, &raws);
        }
        step(&mut group, &fleet, payload);
        group.finish();
    }
}

/// Stages that need no state but values.
fn by_values(group: &mut BenchmarkGroup<'_, WallTime>, fleet: &Fleet, raws: &[Raw<'_>]) {
    let registry = fleet.shared.registry();
    let product = &registry.products[0];
    let (mut scratch, mut samples) = (Scratch::default(), Samples::default());
    stage(group, fleet, "decode", |number| {
        let decoded = product.decode(&message(&raws[number]), &mut scratch, &mut samples);
        assert!(decoded.is_ok(), "the message fits the product");
    });
    let rules = &fleet.shared.rules()[0];
    let cx = Context {
        rules,
        attributes: &registry.devices[0].attrs,
        valid_for: rules.valid_for,
        clock_skew: product.time.clock_skew,
        late_after: product.time.late_after,
        held: false,
        windows: &[],
    };
    let (mut device, mut emitted, mut t) = (DeviceRules::new(rules), Vec::new(), 0);
    let values = samples.values_of(&samples.sets[0]);
    stage(group, fleet, "rules", |_| {
        t += 10_000;
        let mark = Mark { t, raw: Id(0) };
        device.sample(&cx, &Sample { mark, rx: t, values: black_box(values) }, &mut emitted);
    });
    assert!(emitted.is_empty(), "values within limits raise nothing");
    let mut encoder = Encoder::new(&fleet.shared);
    stage(group, fleet, "encode", |number| {
        encoder.reading(&Reading {
            id: Id(1 << 100),
            raw: Id(1 << 99),
            device_no: DeviceNo((number % DEVICES) as u32),
            device: &registry.devices[number % DEVICES],
            product,
            event: None,
            t: samples.sets[0].t,
            received_at: samples.sets[0].t,
            flags: Flags::default(),
            alarming: false,
            values: black_box(values),
            samples: &samples,
        });
    });
}

fn step(group: &mut BenchmarkGroup<'_, WallTime>, fleet: &Fleet, payload: &Payload) {
    let fresh = || (PartitionState::new(&fleet.shared, Shard::WHOLE), Workspace::default());
    whole(group, fleet, "route", fresh, |(state, work), numbers| {
        let records = numbers.filter_map(|number| Some((number as u64, fleet.input(number)?)));
        state.route_batch(&fleet.shared, (0, 0), records, work, &mut Nowhere);
    });
    let fresh = || Router::new(fleet);
    whole(group, fleet, "whole", fresh, |router, numbers| router.route(fleet, numbers));
    let mut router = Router::new(fleet);
    router.route(fleet, 0..fleet.len());
    let all = fleet.len() as u64;
    assert_eq!(router.counters().routed, all, "{}: every message is routed", payload.name);
    assert!(!matches!(raw(fleet, 0).kind, BodyKind::Other), "what is measured is understood");
}

criterion_group!(benches, stages);
criterion_main!(benches);
