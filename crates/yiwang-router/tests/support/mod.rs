//! The role over the memory log: the shipped configuration, a log that is slow in its own way, records put on it and read.

#[path = "../../../yiwang-core/tests/shipped/mod.rs"]
mod shipped;

use std::time::Duration;

use yiwang_core::ids::key_hash;
use yiwang_core::record::{BodyKind, Lane, Raw};
use yiwang_log::{
    Batch, BatchLimit, Event, Faults, Log, MemoryConfig, Position, Route, Start, TopicSpec,
    standard_topics,
};
use yiwang_proto::wire::{write_raw, write_tick};
use yiwang_router::{Bundle, Config};

pub use shipped::folder;

pub const PARTITIONS: u16 = 3;
/// 2026-11-23 08:00 +08:00
pub const START: i64 = 1_795_392_000_000;

/// Small batches, and a snapshot after so many records, or so many for each device.
pub fn config(snapshot_records_max: u64, snapshot_records_per_device: u64) -> Config {
    Config {
        workers: 2,
        batch: BatchLimit { records_max: 50, bytes_max: 1 << 20 },
        in_flight_max: 4,
        snapshot_every: Duration::from_hours(1),
        snapshot_records_max,
        snapshot_records_per_device,
        attempts_max: 3,
        cloud_events: false,
    }
}

/// A log with the topics of the routes. In a rebalance, what was read since the last commit is read again by the next owner.
pub fn open(seed: u64, rebalance_ratio: f64, bundle: &Bundle) -> Log {
    let faults = Faults {
        sync_delay_max: Duration::from_millis(3),
        receipt_delay_max: Duration::from_millis(2),
        append_delay_max: Duration::from_millis(2),
        rebalance_ratio,
    };
    let config = MemoryConfig { seed, faults, ..MemoryConfig::default() };
    let further = bundle.routes().topics().iter();
    let further = further.map(|topic| TopicSpec::stream(&topic.name, PARTITIONS, &[]));
    Log::open_memory(config, standard_topics(PARTITIONS).into_iter().chain(further).collect())
        .unwrap()
}

/// What a device says, where its records belong.
pub fn push_placed(
    log: &Log,
    batch: &mut Batch,
    (device, place): (&str, &str),
    received_at: i64,
    body: &str,
) {
    let raw = Raw {
        device,
        lane: Lane::Listen,
        kind: BodyKind::Property,
        path: "property",
        listener: "mqtt",
        peer: "127.0.0.1:9",
        received_at,
        payload: body.as_bytes(),
    };
    let route = Route::Key { hash: key_hash(place) };
    let topic = log.topic("raw").unwrap();
    batch.push_with(topic, route, device.as_bytes(), &[], |out| write_raw(&raw, out));
}

/// A tick on every partition.
pub fn push_ticks(log: &Log, batch: &mut Batch, now: i64) {
    let topic = log.topic("raw").unwrap();
    for partition in 0..PARTITIONS {
        let tick = |out: &mut Vec<u8>| write_tick("test", now, out);
        batch.push_with(topic, Route::Partition(partition), b"", &[], tick);
    }
}

/// Keys and values of every record of a topic, partition by partition, each in order.
pub async fn records(log: &Log, topic: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let at = |partition| Position { epoch: 1, partition, seq: 0 };
    let start = Start::At((0..PARTITIONS).map(at).collect());
    let mut reader = log.reader(topic, "", start).await.unwrap();
    let (mut left, mut all) = (0, vec![Vec::new(); usize::from(PARTITIONS)]);
    for partition in 0..PARTITIONS {
        left += log.head(topic, partition).await.unwrap();
    }
    while left > 0 {
        let Event::Records(records) = reader.next(BatchLimit::default()).await.unwrap() else {
            continue;
        };
        for record in records.iter() {
            left -= 1;
            all[usize::from(records.partition)].push((record.key.to_vec(), record.value.to_vec()));
        }
    }
    all.concat()
}
