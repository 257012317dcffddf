//! The ledger as metrics: every row of every stage, and what does not balance. Names stand here and nowhere else.

use metrics::{describe_gauge, gauge};
use yiwang_core::ledger::{Counters, Stage};

const ROWS: &str = "yiwang_ledger_records";
const IMBALANCE: &str = "yiwang_ledger_imbalance";

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
}

/// Sets them; called when they are asked for. Rows that were `shown` and have gone, with the last partition that had
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
