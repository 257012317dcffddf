//! The gateway's metrics: names, descriptions, and one publication a second from the counters.
//!
//! Labels come from closed sets; a device is never one.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::admission::{Admission, Urgency};
use crate::ledger::{LANES, Ledger, Refused, Shed, lane_str};
use crate::listen::connect::ConnectRefused;
use crate::listen::control::Closed;
use crate::stats::{CommandFate, Stats};

const RECEIVED: &str = "yiwang_gateway_received_messages_total";
const RECEIVED_BYTES: &str = "yiwang_gateway_received_bytes_total";
const APPENDED: &str = "yiwang_gateway_appended_messages_total";
const ACKNOWLEDGED: &str = "yiwang_gateway_acknowledged_messages_total";
const REFUSED: &str = "yiwang_gateway_refused_messages_total";
const SHED: &str = "yiwang_gateway_shed_messages_total";
const IN_FLIGHT: &str = "yiwang_gateway_in_flight_messages";
const SESSIONS: &str = "yiwang_gateway_sessions";
const OPENED: &str = "yiwang_gateway_connections_opened_total";
const CONNECTS_REFUSED: &str = "yiwang_gateway_connections_refused_total";
const CLOSED: &str = "yiwang_gateway_connections_closed_total";
const TAKEN_OVER: &str = "yiwang_gateway_sessions_taken_over_total";
const RECONNECTS: &str = "yiwang_gateway_broker_reconnects_total";
const TICKS: &str = "yiwang_gateway_ticks_total";
const COMMANDS: &str = "yiwang_gateway_commands_total";

const WAITING: &str = "yiwang_gateway_waiting_batches";
const WAITED: &str = "yiwang_gateway_waited_batches_total";
const WAITED_SECONDS: &str = "yiwang_gateway_waited_seconds_total";
const TENANT_BYTES: &str = "yiwang_gateway_tenant_bytes_total";

/// Describes every metric; called once by the assembly.
pub fn describe() {
    let count = |name, text| describe_counter!(name, Unit::Count, text);
    count(RECEIVED, "Messages received, whatever became of them");
    describe_counter!(RECEIVED_BYTES, Unit::Bytes, "Payload bytes of received messages");
    count(APPENDED, "Messages that can no longer be lost");
    count(ACKNOWLEDGED, "Messages acknowledged to their sender");
    count(REFUSED, "Messages refused, by reason");
    count(SHED, "QoS 0 messages dropped under pressure, by reason");
    count(OPENED, "Connections admitted");
    count(CONNECTS_REFUSED, "Connections refused, by reason");
    count(CLOSED, "Connections ended, by reason");
    count(TAKEN_OVER, "Connections that replaced an older one of the same device");
    count(RECONNECTS, "Connections to outside brokers that were lost or could not be made");
    count(TICKS, "Rounds of ticks appended");
    count(COMMANDS, "Commands to devices, by what became of them");
    count(WAITED, "Batches that waited for their turn, by lane");
    describe_counter!(WAITED_SECONDS, Unit::Seconds, "How long they waited in all, by lane");
    describe_counter!(TENANT_BYTES, Unit::Bytes, "Bytes on their way into the log, by tenant");
    describe_gauge!(WAITING, Unit::Count, "Batches that wait for their turn, by lane");
    describe_gauge!(IN_FLIGHT, Unit::Count, "Messages on their way into the log");
    describe_gauge!(SESSIONS, Unit::Count, "Devices connected");
}

/// Publishes all counters.
pub(crate) fn publish(ledger: &Ledger, stats: &Stats, sessions: usize) {
    for (lane, row) in LANES.into_iter().zip(ledger.snapshot()) {
        let lane = lane_str(lane);
        counter!(RECEIVED, "lane" => lane).absolute(row.received);
        counter!(RECEIVED_BYTES, "lane" => lane).absolute(row.received_bytes);
        counter!(APPENDED, "lane" => lane).absolute(row.appended);
        counter!(ACKNOWLEDGED, "lane" => lane).absolute(row.acknowledged);
        gauge!(IN_FLIGHT, "lane" => lane).set(row.in_flight as f64);
        for reason in Refused::ALL {
            let count = row.refused[reason as usize];
            counter!(REFUSED, "lane" => lane, "reason" => reason.as_str()).absolute(count);
        }
        for reason in Shed::ALL {
            let count = row.shed[reason as usize];
            counter!(SHED, "lane" => lane, "reason" => reason.as_str()).absolute(count);
        }
    }
    gauge!(SESSIONS).set(sessions as f64);
    counter!(OPENED).absolute(stats.opened_total());
    counter!(TAKEN_OVER).absolute(stats.taken_over_total());
    counter!(RECONNECTS).absolute(stats.reconnects_total());
    counter!(TICKS).absolute(stats.ticks_total());
    for fate in CommandFate::ALL {
        counter!(COMMANDS, "fate" => fate.as_str()).absolute(stats.commands_total(fate));
    }
    for reason in ConnectRefused::ALL {
        let count = stats.refused_total(reason);
        counter!(CONNECTS_REFUSED, "reason" => reason.as_str()).absolute(count);
    }
    for reason in Closed::ALL {
        counter!(CLOSED, "reason" => reason.as_str()).absolute(stats.closed_total(reason));
    }
}

/// Publishes who waited and whose bytes they were; tenants are units of the district and sources of the configuration.
pub(crate) fn publish_turns(admission: &Admission) {
    for (lane, waited) in Urgency::ALL.into_iter().zip(admission.waited()) {
        let lane = lane.as_str();
        gauge!(WAITING, "lane" => lane).set(waited.waiting as f64);
        counter!(WAITED, "lane" => lane).absolute(waited.batches);
        // Whole seconds: a counter of the recorder has no fractions.
        counter!(WAITED_SECONDS, "lane" => lane).absolute(waited.seconds as u64);
    }
    for (tenant, bytes) in admission.tenants() {
        counter!(TENANT_BYTES, "tenant" => tenant.to_string()).absolute(bytes);
    }
}
