//! The ledger as metrics: every row of every stage, and what does not balance; which configuration is in force; the
//! free disk.
//! Names stand here and nowhere else.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use yiwang_core::ids::Id;
use yiwang_core::ledger::{Counters, Stage};
use yiwang_log::Space;

const ROWS: &str = "yiwang_ledger_records";
const IMBALANCE: &str = "yiwang_ledger_imbalance";
const CONFIGURATION: &str = "yiwang_configuration_hash";
const RELOADS: &str = "yiwang_configuration_reloads_total";
const DISK_FREE: &str = "yiwang_log_disk_free_bytes";
const DISK_RESERVE: &str = "yiwang_log_disk_reserve_bytes";

/// Bits of a hash that a gauge shows exactly.
const GAUGE_BITS: u32 = 48;

/// Describes them to the recorder.
pub fn describe() {
    describe_gauge!(
        ROWS,
        "Rows of the ledger by stage and reason; cumulative but for the gateway's life."
    );
    describe_gauge!(
        IMBALANCE,
        "Left less right side of a stage's equation: 0, or a record has no fate or two."
    );
    describe_gauge!(
        CONFIGURATION,
        "First 48 bits of the hash of the configuration in force: equal in all processes of a hub."
    );
    describe_gauge!(DISK_FREE, "Bytes free on the disk under the embedded log.");
    describe_gauge!(DISK_RESERVE, "Below so many bytes free on it, appends wait.");
    describe_counter!(
        RELOADS,
        "Times the configuration was read again, by result: taken, refused."
    );
}

/// How much of the disk under the log is free, and how much of that is left alone.
pub fn record_disk(space: Space) {
    gauge!(DISK_FREE).set(space.free as f64);
    gauge!(DISK_RESERVE).set(space.reserve as f64);
}

/// A configuration is in force.
pub fn record_configuration(epoch: Id) {
    gauge!(CONFIGURATION).set((epoch.0 >> (u128::BITS - GAUGE_BITS)) as f64);
}

/// The configuration was read again.
pub fn record_reload(taken: bool) {
    counter!(RELOADS, "result" => if taken { "taken" } else { "refused" }).increment(1);
}

/// Sets the rows; called when they are asked for. Rows that were `shown` and have gone, with the last partition that had
/// them, become 0: another process shows them now.
pub fn record_ledger(counters: &Counters, shown: &mut Counters) {
    let mut gone = Counters::new();
    for (stage, row, reason, _) in shown.iter() {
        gone.add(stage, row, reason, 0);
    }
    gone.merge(counters);
    set(&gone);
    *shown = gone;
}

fn set(counters: &Counters) {
    for (stage, row, reason, count) in counters.iter() {
        let labels = [
            ("stage", stage.as_str().to_owned()),
            ("row", row.to_owned()),
            ("reason", reason.to_owned()),
        ];
        gauge!(ROWS, &labels).set(count as f64);
    }
    for stage in Stage::ALL {
        let (left, _) = stage.equation();
        if counters.iter().any(|(of, row, _, _)| of == stage && left.contains(&row)) {
            gauge!(IMBALANCE, "stage" => stage.as_str()).set(counters.imbalance(stage) as f64);
        }
    }
}
