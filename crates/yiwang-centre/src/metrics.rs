//! Names of the centre's metrics; nobody else names them.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use yiwang_core::incident::Outcome;
use yiwang_core::record::Millis;

const SIGNALS: &str = "yiwang_centre_signals_total";
const COMMANDS: &str = "yiwang_centre_commands_total";
const RUNGS: &str = "yiwang_centre_rungs_total";
const RETRIES: &str = "yiwang_centre_store_retries_total";
const OPEN: &str = "yiwang_centre_incidents_open";
const STREAMS: &str = "yiwang_centre_streams_open";
const DELIVERED: &str = "yiwang_centre_changes_delivered_total";
const CUT: &str = "yiwang_centre_streams_cut_total";
const LATENCY: &str = "yiwang_centre_sensor_to_desk_seconds";
const LAG_RECORDS: &str = "yiwang_centre_lag_records";
const LAG_SECONDS: &str = "yiwang_centre_lag_seconds";

/// Describes them to the recorder.
pub fn describe() {
    describe_counter!(SIGNALS, "Signals by outcome, duplicates apart.");
    describe_counter!(COMMANDS, "Commands of people by answer.");
    describe_counter!(RUNGS, "Rungs of clocks that fired.");
    describe_counter!(RETRIES, "Transactions tried again because the store was away.");
    describe_gauge!(OPEN, "Open incidents.");
    describe_gauge!(STREAMS, "Open streams.");
    describe_counter!(DELIVERED, "Changes handed to streams.");
    describe_counter!(CUT, "Streams cut by reason.");
    describe_histogram!(
        LATENCY,
        Unit::Seconds,
        "From reception at the gateway to the first stream."
    );
    describe_gauge!(LAG_RECORDS, "Signals on the log that are not read yet, by partition.");
    describe_gauge!(
        LAG_SECONDS,
        Unit::Seconds,
        "Most that the oldest signal not read yet can have waited, by partition."
    );
}

pub(crate) fn record_signals(outcome: Outcome, count: u64) {
    counter!(SIGNALS, "outcome" => outcome.as_str()).increment(count);
}

pub(crate) fn record_duplicates(count: u64) {
    counter!(SIGNALS, "outcome" => "DUPLICATE").increment(count);
}

pub(crate) fn record_command(answer: &'static str) {
    counter!(COMMANDS, "answer" => answer).increment(1);
}

pub(crate) fn record_rungs(count: u64) {
    counter!(RUNGS).increment(count);
}

pub(crate) fn record_retry() {
    counter!(RETRIES).increment(1);
}

pub(crate) fn record_open(count: usize) {
    gauge!(OPEN).set(count as f64);
}

pub(crate) fn record_lag(partition: u16, signals: u64, seconds: f64) {
    let label = partition.to_string();
    gauge!(LAG_RECORDS, "partition" => label.clone()).set(signals as f64);
    gauge!(LAG_SECONDS, "partition" => label).set(seconds);
}

pub(crate) fn record_streams(count: usize) {
    gauge!(STREAMS).set(count as f64);
}

pub(crate) fn record_delivered(count: u64) {
    counter!(DELIVERED).increment(count);
}

pub(crate) fn record_cut(reason: &'static str) {
    counter!(CUT, "reason" => reason).increment(1);
}

pub(crate) fn record_latency(received_at: Millis, now: Millis) {
    histogram!(LATENCY).record((now - received_at).max(0) as f64 / 1000.0);
}
