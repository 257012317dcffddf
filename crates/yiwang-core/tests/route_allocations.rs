//! The routing step allocates nothing per record once its memory has grown: its own process, for its own allocator.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod counting;
mod shipped;

use std::sync::Arc;
use std::time::Instant;

use counting::allocations;
use shipped::folder;
use yiwang_core::district::District;
use yiwang_core::record::{BodyKind, Lane, Raw, Signal};
use yiwang_core::registry::Registry;
use yiwang_core::route::{
    Fate, Input, PartitionState, Place, Quarantined, Reading, Shard, Shared, Sink, Workspace,
};

#[derive(Default)]
struct Count {
    readings: u64,
    signals: u64,
}

impl Sink for Count {
    fn reading(&mut self, reading: &Reading<'_>) {
        self.readings += reading.values.len() as u64;
    }

    fn signal(&mut self, _: &Signal) {
        self.signals += 1;
    }

    fn quarantine(&mut self, row: &Quarantined<'_>) {
        panic!("{:?} {}", row.reason, row.detail);
    }
}

/// Previous values, windows, a schedule and checks of changes, on a product of its own.
const REMEMBERING: &str = r#"schema: yiwang-thing/1
profile: {productKey: mem-01, name: 记忆, version: 1.0.0, kind: test/memory, nodeType: direct, owner: 区水务局}
access: {auth: [signed], identity: seq}
properties:
  - {identifier: level, dataType: {type: double}, quality: {maxRate: 5/min, stuckAfter: 1h}}
  - {identifier: battery, dataType: {type: double}}
liveness: {expectEvery: 5m}
alarms:
  - {id: prev, when: "level - prev(level) > 9", category: flood.level, severity: {base: MINOR}}
  - {id: mean, when: "avg(level, 10m) > 9 and rate(level, 10m) > 1", category: flood.level, severity: {base: MINOR}}
  - {id: day, when: "level > 9 or max(battery, 1h) > 99", schedule: office-demo, category: flood.level, severity: {base: MINOR}}
"#;

fn shared(devices: usize) -> Shared {
    let (district, problems) = District::load(&folder("district"));
    let district = district.unwrap_or_else(|| panic!("{problems:?}"));
    let mut csv = "product_key,device_name,area_code\n".to_owned();
    (0..devices).for_each(|n| csv += &format!("{},R-{n:05},310118001001\n", product(n)));
    let mut files = folder("products");
    files.insert("mem-01.thing.yaml".to_owned(), REMEMBERING.to_owned());
    files.insert("devices.csv".to_owned(), csv);
    let (registry, problems) = Registry::load(&files, Arc::new(district));
    let registry = registry.unwrap_or_else(|| panic!("{problems:?}"));
    Shared::new(Arc::new(registry)).0.unwrap()
}

fn product(device: usize) -> &'static str {
    if device.is_multiple_of(2) { "wl-radar-01" } else { "mem-01" }
}

#[test]
fn nothing_is_allocated_per_record() {
    const DEVICES: usize = 200;
    const ROUNDS: i64 = 40;
    let shared = shared(DEVICES);
    let keys: Vec<String> = (0..DEVICES).map(|n| format!("{}/R-{n:05}", product(n))).collect();
    let start = 1_795_399_200_000;
    let bodies: Vec<Vec<String>> = (0..ROUNDS)
        .map(|round| {
            let body = |n: usize| {
                let (ts, level) = (start + round * 60_000, 1.0 + n as f64 / 1000.0);
                format!(
                    r#"{{"boot":1,"seq":{round},"ts":{ts},"params":{{"level":{level},"battery":11.9}}}}"#
                )
            };
            (0..DEVICES).map(body).collect()
        })
        .collect();
    let mut state = PartitionState::new(&shared, Shard::WHOLE);
    let (mut work, mut count) = (Workspace::default(), Count::default());
    let (mut seq, mut before) = (0, 0);
    let mut started = Instant::now();
    for (round, bodies) in (0..).zip(&bodies) {
        if round == ROUNDS / 2 {
            before = allocations();
            started = Instant::now();
        }
        let received_at = start + round * 60_000 + 500;
        for (key, body) in keys.iter().zip(bodies) {
            let input = Input::Raw(Raw {
                device: key,
                lane: Lane::Listen,
                kind: BodyKind::Property,
                path: "property",
                listener: "mqtt",
                peer: "127.0.0.1:9",
                received_at,
                payload: body.as_bytes(),
            });
            let place = Place { epoch: 1, partition: 0, seq };
            seq += 1;
            let fate = state.route(&shared, place, &input, &mut work, &mut count);
            assert_eq!(fate, Fate::Routed);
        }
        for second in 0..60 {
            let input = Input::Tick { received_at: received_at + second * 1000 };
            let place = Place { epoch: 1, partition: 0, seq };
            state.route(&shared, place, &input, &mut work, &mut count);
        }
    }
    let allocated = allocations() - before;
    let records = DEVICES as u64 * ROUNDS as u64 / 2;
    let each = started.elapsed().as_nanos() as u64 / records;
    println!("{each} ns a record in this profile, {allocated} allocations in {records} records");
    assert_eq!((count.signals, count.readings), (0, DEVICES as u64 * ROUNDS as u64 * 2));
    assert!(allocated * 1000 < records, "{allocated} allocations in {records} records");
}
