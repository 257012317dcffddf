//! A million random records through one partition, with crashes: the same bytes as without.
//!
//! Two routers run side by side. One runs through; the other is snapshotted at random points, killed at others, and
//! replays from its newest snapshot. Every output of every record, replayed ones included, must be the same bytes, and
//! so must the states. The products use every kind of rule; the configuration is swapped while alarms stand.
//! `YIWANG_EVENTS` changes the number of records.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod outputs;
mod random;
mod shipped;

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use outputs::Bytes;
use random::Random;
use shipped::folder;
use yiwang_core::district::District;
use yiwang_core::record::{BodyKind, Clear, Lane, Millis, Raw};
use yiwang_core::registry::Registry;
use yiwang_core::route::{Input, PartitionState, Place, Shard, Shared, Workspace};

/// Records unless `YIWANG_EVENTS` says another number.
const EVENTS: u64 = 1_000_000;
/// One record in so many is followed by a snapshot.
const SNAPSHOT_EVERY: u64 = 2_500;
/// One in so many is followed by a crash.
const CRASH_EVERY: u64 = 6_000;
/// The configuration changes after so many.
const SWAP_EVERY: u64 = 120_000;
const SEED: u64 = 20_261_123;
/// 2026-11-23 20:00 +08:00, a Monday.
const START: Millis = 1_795_435_200_000;
const DEVICES: u64 = 150;

/// Everything that rules can say, on one product.
const EVERYTHING: &str = r#"schema: yiwang-thing/1
profile: {productKey: all-01, name: 万用表, version: 1.0.0, kind: test/all, nodeType: direct, owner: 区水务局}
access: {auth: [signed], identity: seq}
properties:
  - {identifier: a, dataType: {type: double, specs: {min: -50, max: 50}}, quality: {maxRate: 20/min, stuckAfter: 3m}}
  - {identifier: b, dataType: {type: bool}, quality: {stuckAfter: 5m}}
  - {identifier: m, dataType: {type: enum, specs: {values: [auto, manual]}}}
attributes: [{identifier: x, dataType: {type: double}, default: 2}]
liveness: {expectEvery: 2m}
alarms:
  - {id: hold, when: "a > attr('x')", clear: "a < 1", hold: {for: 1m}, clearHold: 1m, remind: 5m, category: flood.level,
     severity: {base: MINOR, steps: [{when: "a > 3", until: "a < 3", is: MAJOR}, {when: "a > 4", is: CRITICAL}]}}
  - {id: count, when: "a > 2 and not b", hold: {count: 2, of: 3}, missing: clear, category: flood.level, severity: {base: MINOR}}
  - {id: within, when: "b or m == 'manual'", hold: {count: 3, within: 4m}, missing: keep, category: flood.level, severity: {base: INFO}}
  - {id: prev, when: "a - prev(a) > 2", category: flood.level, severity: {base: MINOR}}
  - {id: mean, when: "avg(a, 6m) > 2 and rate(a, 6m) * 60 > 0.2", clear: "max(a, 2m) < 2", category: flood.level, severity: {base: MINOR}}
  - {id: quiet, when: "b", quietClear: 2m, late: raise, category: fire.smoke, severity: {base: CRITICAL}}
  - {id: flap, when: "b", flap: {count: 3, within: 10m, quiet: 3m}, category: flood.level, severity: {base: MINOR}}
  - {id: day, when: "a > 1", schedule: office-demo, hold: {for: 2m}, category: flood.level, severity: {base: MINOR}}
  - {id: night, when: "sum(a, 10m) > 6", schedule: station-demo, missing: keep, category: flood.level, severity: {base: MINOR}}
  - {id: silent, when: "absent(4m)", remind: 10m, category: device.fault, severity: {base: MINOR}}
"#;

/// Four devices of five are of the product that has everything, the others of the shipped ones.
fn key(device: u64) -> String {
    match device % 10 {
        8 => format!("wl-radar-01/D-{device:03}"),
        9 => format!("smoke-01/D-{device:03}"),
        _ => format!("all-01/D-{device:03}"),
    }
}

/// The shipped district; for a hundred hours people work on one product in these minutes of each.
fn worked_on(from: &str, to: &str) -> Arc<District> {
    let mut windows = "windows:\n".to_owned();
    for hour in 0..100 {
        let (day, clock) = (23 + (20 + hour) / 24, (20 + hour) % 24);
        let at = |minute| format!("2026-11-{day}T{clock:02}:{minute}:00+08:00");
        let (from, to) = (at(from), at(to));
        writeln!(
            windows,
            "  - {{name: w{hour}, reason: r, product: [all-01], from: '{from}', to: '{to}'}}"
        )
        .unwrap();
    }
    let mut files = folder("district");
    files.insert("maintenance.yaml".to_owned(), windows);
    let (district, problems) = District::load(&files);
    Arc::new(district.unwrap_or_else(|| panic!("{problems:?}")))
}

/// `unheard` are listed besides, and never say a word: more than become due at once.
fn shared(
    district: &Arc<District>,
    unheard: Range<u64>,
    edit: impl Fn(String) -> String,
) -> Shared {
    let mut csv = "product_key,device_name,area_code\n".to_owned();
    for device in 0..DEVICES {
        let key = key(device);
        let (product, name) = key.split_once('/').unwrap();
        writeln!(csv, "{product},{name},310118001001").unwrap();
    }
    for device in unheard {
        writeln!(csv, "all-01,U-{device:04},310118001001").unwrap();
    }
    let mut files = folder("products");
    files.insert("all-01.thing.yaml".to_owned(), edit(EVERYTHING.to_owned()));
    files.insert("devices.csv".to_owned(), csv);
    let (registry, problems) = Registry::load(&files, Arc::clone(district));
    let registry = registry.unwrap_or_else(|| panic!("{problems:?}"));
    let (shared, problems) = Shared::new(Arc::new(registry));
    shared.unwrap_or_else(|| panic!("{problems:?}"))
}

/// What stands before the rule of an operator's clear, in place of a body.
const CLEAR: &str = "clear ";
/// Rules that operators clear: of the product that has everything.
const CLEARED: [&str; 5] = ["hold", "quiet", "day", "silent", "none"];

/// One record of `raw`: a body of a device, an operator's clear, or a tick.
struct Event {
    received_at: Millis,
    message: Option<(String, String)>,
}

struct Generator {
    random: Random,
    now: Millis,
    /// By device: counter of its messages.
    seq: Vec<u64>,
}

impl Generator {
    fn next(&mut self) -> Event {
        let random = &mut self.random;
        let choice = random.below(1000);
        if choice < 300 {
            self.now += 1000;
            return Event { received_at: self.now, message: None };
        }
        if choice < 301 {
            // A silence of all gateways, sometimes long enough to count as one of ours.
            self.now += random.below(90_000) as Millis;
        }
        self.now += random.below(40) as Millis;
        let device = random.below(DEVICES);
        if choice < 311 {
            let rule = CLEARED[random.below(CLEARED.len() as u64) as usize];
            let message = Some((key(device), [CLEAR, rule].concat()));
            return Event { received_at: self.now, message };
        }
        let seq = &mut self.seq[device as usize];
        // One in forty repeats an earlier number: a duplicate, or another content under its id.
        let number =
            if random.once_in(40) { seq.saturating_sub(random.below(5)) } else { *seq + 1 };
        *seq = number.max(*seq);
        let key = key(device);
        let body = body(random, &key, number, self.now);
        Event { received_at: self.now, message: Some((key, body)) }
    }
}

fn body(random: &mut Random, key: &str, number: u64, now: Millis) -> String {
    let ago = match random.below(20) {
        0 => random.below(600_000) as Millis,
        1 => -(random.below(30_000) as Millis),
        _ => random.below(3_000) as Millis,
    };
    // Mostly quiet: two draws, the lower one.
    let low = random.below(13).min(random.below(13));
    let (a, b) = (low as f64 / 2.0 - 0.5, random.once_in(8));
    let params = match key.as_bytes()[0] {
        b'w' => format!(r#""level":{}"#, 2.8 + a / 5.0),
        b's' => format!(r#""smoke":{b},"battery":{}"#, 2.5 + a / 10.0),
        _ => match random.below(4) {
            0 => format!(r#""a":{a}"#),
            1 => format!(r#""a":{a},"b":{b},"m":"{}""#, if b { "auto" } else { "manual" }),
            2 => format!(r#""b":{b}"#),
            _ => format!(r#""a":{a},"b":{b}"#),
        },
    };
    match random.below(60) {
        0 => "{".to_owned(),
        1 => format!(r#"{{"params":{{{params}}}}}"#),
        2 => format!(r#"{{"boot":1,"seq":{number},"ts":{},"params":{{"a":99}}}}"#, now - ago),
        3 => format!(
            r#"{{"boot":1,"seq":{number},"items":[{{"ts":{},"params":{{{params}}}}},{{"ts":{},"params":{{{params}}}}}]}}"#,
            now - ago,
            now - ago - 45_000
        ),
        _ => format!(r#"{{"boot":1,"seq":{number},"ts":{},"params":{{{params}}}}}"#, now - ago),
    }
}

struct Router {
    state: PartitionState,
    work: Workspace,
    out: Bytes,
}

impl Router {
    fn new(shared: &Shared) -> Self {
        let state = PartitionState::new(shared, Shard::WHOLE);
        Self { state, work: Workspace::default(), out: Bytes::default() }
    }

    /// The outputs of one record.
    fn route(&mut self, shared: &Shared, seq: u64, event: &Event) -> &[u8] {
        let received_at = event.received_at;
        let input = match &event.message {
            None => Input::Tick { received_at },
            Some((device, body)) => match body.strip_prefix(CLEAR) {
                Some(rule) => {
                    let (actor, reason) = ("admin", "r");
                    Input::Clear(Clear { device, rule, actor, reason, received_at })
                }
                None => Input::Raw(Raw {
                    device,
                    lane: Lane::Listen,
                    kind: BodyKind::Property,
                    path: "property",
                    listener: "mqtt",
                    peer: "127.0.0.1:9",
                    received_at,
                    payload: body.as_bytes(),
                }),
            },
        };
        self.out.bytes.clear();
        let place = Place { epoch: 1, partition: 0, seq };
        self.state.route(shared, place, &input, &mut self.work, &mut self.out);
        &self.out.bytes
    }

    fn swap(&mut self, old: &Shared, new: &Shared) -> &[u8] {
        self.out.bytes.clear();
        self.state.swap(old, new, &mut self.out).unwrap();
        &self.out.bytes
    }
}

/// The newest snapshot and what came after it.
struct Journal {
    snapshot: Vec<u8>,
    after: Vec<(u64, Event, Vec<u8>)>,
}

impl Journal {
    fn begin(&mut self, snapshot: Vec<u8>) {
        (self.snapshot, self.after) = (snapshot, Vec::new());
    }

    /// A router that starts from the snapshot and replays; every output is compared.
    fn replay(&self, shared: &Shared) -> Router {
        let mut again = Router::new(shared);
        again.state =
            PartitionState::restore(&self.snapshot, shared, Shard::WHOLE, &mut again.out).unwrap();
        assert!(again.out.bytes.is_empty(), "a restart says nothing by itself");
        for (seq, event, outputs) in &self.after {
            assert_eq!(again.route(shared, *seq, event), outputs, "record {seq}, replayed");
        }
        again
    }
}

#[test]
fn a_million_records_with_crashes_give_the_same_bytes() {
    let events: u64 = std::env::var("YIWANG_EVENTS").map_or(EVENTS, |text| text.parse().unwrap());
    let (before, after) = (worked_on("05", "25"), worked_on("15", "28"));
    // Another text of two rules, one rule fewer, another window, other times of maintenance,
    // other devices that nobody hears: and back again at the next swap.
    let edit = |text: String| {
        text.replace("hold: {for: 1m}", "hold: {for: 90s}")
            .replace("id: quiet", "id: quiet2")
            .replace("avg(a, 6m)", "avg(a, 8m)")
    };
    let configurations = [shared(&before, 0..1_300, |text| text), shared(&after, 700..1_900, edit)];
    let mut generator =
        Generator { random: Random(SEED), now: START, seq: vec![0; DEVICES as usize] };
    let mut faults = Random(SEED + 1);
    let mut now = &configurations[0];
    let (mut straight, mut killed) = (Router::new(now), Router::new(now));
    let mut journal = Journal { snapshot: killed.state.encode(now), after: Vec::new() };
    let (mut crashes, mut replayed) = (0_u64, 0);
    for seq in 0..events {
        let event = generator.next();
        let outputs = straight.route(now, seq, &event);
        assert_eq!(killed.route(now, seq, &event), outputs, "record {seq}");
        journal.after.push((seq, event, outputs.to_vec()));
        if faults.once_in(CRASH_EVERY) {
            killed = journal.replay(now);
            (crashes, replayed) = (crashes + 1, replayed + journal.after.len());
        }
        let swaps = (seq + 1) % SWAP_EVERY == 0;
        if swaps {
            let next = &configurations[((seq + 1) / SWAP_EVERY % 2) as usize];
            assert_eq!(killed.swap(now, next), straight.swap(now, next), "swap after {seq}");
            now = next;
        }
        if swaps || faults.once_in(SNAPSHOT_EVERY) {
            journal.begin(killed.state.encode(now));
            assert!(journal.snapshot == straight.state.encode(now), "states differ after {seq}");
        }
    }
    assert!(killed.state.encode(now) == straight.state.encode(now), "states differ at the end");
    let signals = straight.out.signals;
    let (clears, void) = (straight.state.counters().clears, straight.state.counters().clears_void);
    println!(
        "{events} records, {signals} signals, {clears} clears, {void} of nothing, {crashes} crashes, {replayed} replayed"
    );
    assert!(events < 100_000 || (crashes > 10 && signals > events / 10), "a dull run");
    assert!(events < 100_000 || clears - void > events / 2_000, "few clears");
}
