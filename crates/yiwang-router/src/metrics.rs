//! Metric names of the router; recorded once a batch.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use yiwang_core::ledger::{Counters, Stage};

const RECORDS: &str = "yiwang_router_records_total";
const BATCH: &str = "yiwang_router_batch_seconds";
const REPLAY: &str = "yiwang_router_replay_records";
const SNAPSHOTS: &str = "yiwang_router_snapshots_total";
const SNAPSHOT_BYTES: &str = "yiwang_router_snapshot_bytes";
const SWAPS: &str = "yiwang_router_config_swaps_total";
const OWNED: &str = "yiwang_router_partition_owned";
const HELD: &str = "yiwang_router_absences_held";
const LAG_RECORDS: &str = "yiwang_router_lag_records";
const LAG_SECONDS: &str = "yiwang_router_lag_seconds";

/// Explains every metric to the recorder.
pub fn describe() {
    describe_counter!(RECORDS, "what became of raw records and what came out, by row and reason");
    describe_histogram!(BATCH, "time to route one batch, outputs encoded");
    describe_gauge!(REPLAY, "raw records left of the replay after an assignment, by partition");
    describe_counter!(SNAPSHOTS, "state snapshots that became safe");
    describe_gauge!(SNAPSHOT_BYTES, "bytes of the newest state snapshot, by partition");
    describe_counter!(SWAPS, "configurations that came into force, by partition");
    describe_gauge!(OWNED, "1 while the partition is this process's, 0 after it has gone");
    describe_gauge!(HELD, "absences that wait for others of their group, by partition");
    describe_gauge!(LAG_RECORDS, "raw records not yet routed, by partition; 0 once it has gone");
    describe_gauge!(
        LAG_SECONDS,
        Unit::Seconds,
        "most that the oldest raw record not yet routed can have waited, by partition"
    );
}

/// What a batch added to the ledger, and how long it took.
pub(crate) fn record_batch(added: &Counters, seconds: f64) {
    record_rows(added);
    histogram!(BATCH).record(seconds);
}

/// What was added to the ledger.
pub(crate) fn record_rows(added: &Counters) {
    for (_, row, reason, count) in
        added.iter().filter(|(stage, _, _, count)| *stage == Stage::Router && *count > 0)
    {
        let labels = [("row", row.to_owned()), ("reason", reason.to_owned())];
        counter!(RECORDS, &labels).increment(count);
    }
}

/// Absences of a partition of `lifecycle` that are neither told nor undone.
pub(crate) fn record_held(partition: u16, count: u64) {
    gauge!(HELD, "partition" => partition.to_string()).set(count as f64);
}

/// What is left of a partition's replay.
pub(crate) fn record_replay(partition: u16, records: u64) {
    gauge!(REPLAY, "partition" => partition.to_string()).set(records as f64);
}

/// A snapshot became safe.
pub(crate) fn record_snapshot(partition: u16, bytes: usize) {
    counter!(SNAPSHOTS).increment(1);
    gauge!(SNAPSHOT_BYTES, "partition" => partition.to_string()).set(bytes as f64);
}

/// A configuration came into force on a partition.
pub(crate) fn record_swap() {
    counter!(SWAPS).increment(1);
}

/// How far a partition of ours is behind.
pub(crate) fn record_lag(partition: u16, records: u64, seconds: f64) {
    let label = partition.to_string();
    gauge!(OWNED, "partition" => label.clone()).set(1.0);
    gauge!(LAG_RECORDS, "partition" => label.clone()).set(records as f64);
    gauge!(LAG_SECONDS, "partition" => label).set(seconds);
}

/// A partition has gone: what was said of it is its next owner's to say.
pub(crate) fn record_gone(partition: u16) {
    for name in [OWNED, LAG_RECORDS, LAG_SECONDS, REPLAY, SNAPSHOT_BYTES] {
        gauge!(name, "partition" => partition.to_string()).set(0.0);
    }
}
