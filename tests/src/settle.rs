//! The end of a fault test: a load that goes on while processes come and go, then the drained hub and its books.
//!
//! A step that fails ends the test: these functions panic with what was expected.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use yiwang_proto::incident::v1;

use crate::accounting::{Device, Report, Shown};
use crate::demo::secret;
use crate::desk::Desk;
use crate::files::Files;
use crate::hub::{Hub, PATIENCE};
use crate::wait::until;

/// Labels of the signals that the centre has not read.
const CENTRE_PENDING: &str = "stage=\"centre\",row=\"pending\"";
/// Every state: closed and declined incidents count too.
const STATES: [v1::State; 14] = [
    v1::State::Reported,
    v1::State::Verifying,
    v1::State::Accepted,
    v1::State::Filed,
    v1::State::Dispatched,
    v1::State::Handling,
    v1::State::FedBack,
    v1::State::Checking,
    v1::State::Suspended,
    v1::State::Closed,
    v1::State::Evaluated,
    v1::State::Declined,
    v1::State::Voided,
    v1::State::Merged,
];

/// Gas alarms that end with the first low sample, so that they rise and clear all the time: the setting that has them.
///
/// # Panics
/// If the shipped products cannot be copied into the folder.
#[must_use]
pub fn quick_alarms(folder: &Path) -> String {
    let files = Files::copy(folder);
    files.quick_alarms();
    files.setting("products")
}

/// Gas detectors of the demo district under load until `faults` returns, and then until each has handed over what it
/// holds.
///
/// # Panics
/// If one cannot.
#[must_use]
pub fn under_load(
    address: SocketAddr,
    devices: u64,
    alarm_every: u64,
    faults: impl FnOnce(),
) -> Vec<Device> {
    let device = |number: u64| {
        let key = format!("gas-01/G-{number:04}");
        Device::new(&key, &secret(&key), 1, alarm_every)
    };
    load(address, (1..=devices).map(device).collect(), faults)
}

/// The same with devices of the test's own.
///
/// # Panics
/// If one cannot hand over what it holds.
#[must_use]
pub fn load(address: SocketAddr, devices: Vec<Device>, faults: impl FnOnce()) -> Vec<Device> {
    let stop = AtomicBool::new(false);
    let devices: Vec<_> = devices.into_iter().map(Mutex::new).collect();
    std::thread::scope(|scope| {
        let publishing: Vec<_> = devices
            .iter()
            .map(|device| {
                let stop = &stop;
                scope.spawn(move || {
                    device.lock().expect("one thread a device").publish_until(address, stop)
                })
            })
            .collect();
        // A panic of the faults must end the load as well: the scope waits for it.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(faults));
        stop.store(true, Ordering::Release);
        for thread in publishing {
            let outcome = thread.join().expect("a device does not panic");
            if ended.is_ok() {
                outcome.expect("every device hands over what it holds");
            }
        }
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    devices.into_iter().map(|device| device.into_inner().expect("the threads have ended")).collect()
}

/// Stops the drained hub, reads back what it shows and settles the books; `name` begins the line that is printed.
///
/// # Panics
/// If the books of contract section 9 are not empty or the ledger does not balance.
pub fn settle(hub: &mut Hub, devices: &[Device], token: &str, name: &str) -> Shown {
    let ledger = imbalance(hub).expect("the ledger can be read");
    // Once the router has taken its leave, all that it made of its records lies on the log.
    hub.stop_role("gateway").expect("the gateway stops");
    for router in hub.routers().into_iter().filter(|name| *name != "all") {
        hub.stop_role(router).expect("the router stops");
    }
    let unread = || hub.metric("centre", "yiwang_ledger_records", CENTRE_PENDING);
    until("the centre to have read every signal", PATIENCE, || match unread()? {
        0.0 => Ok(()),
        pending => Err(format!("{pending} not read")),
    })
    .expect("every signal is read");
    let desk = Desk::new(hub.grpc(), token);
    let incidents = desk.list(&STATES).expect("the district sees all incidents");
    let effects = incidents.iter().flat_map(|it| effects(&desk, &it.name)).collect();
    let outcomes = outcomes(hub).expect("the centre's ledger can be read");
    hub.stop().expect("the hub stops");
    let shown = Shown {
        readings: hub.log_lines("readings"),
        quarantine: hub.log_lines("quarantine"),
        signals: hub.log_lines("signals"),
        incidents: incidents.into_iter().map(|it| (it.source, it.event_id)).collect(),
        effects,
    };
    let report = Report::settle(devices, &shown);
    let signals: BTreeSet<_> = shown
        .signals
        .iter()
        .map(|it| (it["record"]["source"].to_string(), it["record"]["event_id"].to_string()))
        .collect();
    // A signal stored twice, or not at all, shows as outcomes that are not as many as the signals.
    println!(
        "{name} {report} dup_store={} ledger={ledger} signals={} effects={}",
        outcomes - signals.len() as f64,
        signals.len(),
        shown.effects.len(),
    );
    assert!(report.holds(), "{report}");
    assert!(!shown.incidents.is_empty(), "alarms opened incidents");
    assert_eq!(outcomes, signals.len() as f64, "every signal has one outcome");
    assert_eq!(ledger, 0.0, "the ledger balances");
    shown
}

/// Every transition of an incident with its cause: a cause has each of them once.
fn effects(desk: &Desk, name: &str) -> Vec<String> {
    let history = desk.get(name).expect("the district sees it").history;
    let effect = |entry: v1::HistoryEntry| {
        let v1::HistoryEntry { transition, cause_kind, cause_id, .. } = entry;
        format!("{name} {transition} by {cause_kind} {cause_id}")
    };
    history.into_iter().map(effect).collect()
}

/// Outcomes of signals at the centre, repeats of one signal left out.
fn outcomes(hub: &Hub) -> Result<f64, String> {
    let count = |row: &str| {
        let labels = format!("stage=\"centre\",row=\"{row}\"");
        hub.metric("centre", "yiwang_ledger_records", &labels)
    };
    Ok(count("signals")? - count("duplicate")? - count("pending")?)
}

/// Waits until everything acknowledged is processed: nothing in flight, unread or unrouted, and every ledger balances.
///
/// # Panics
/// If it is not within [`PATIENCE`].
pub fn drain(hub: &Hub) {
    until("the hub to drain", PATIENCE, || {
        let in_flight = hub.metric("gateway", "yiwang_ledger_records", "row=\"in_flight\"")?;
        let unread = hub.metric("centre", "yiwang_ledger_records", CENTRE_PENDING)?;
        let unrouted = routed(hub, "pending")?;
        // Ticks come every second and count as pending until they are read: there is time in between.
        let at_rest = in_flight == 0.0 && unread == 0.0 && unrouted == 0.0;
        let state =
            format!("{in_flight} in flight, {unrouted} not routed, {unread} signals not read");
        if at_rest && imbalance(hub)? == 0.0 { Ok(()) } else { Err(state) }
    })
    .expect("everything acknowledged is processed");
}

/// A row of the router's ledger over all routers.
///
/// # Errors
/// If a router's metrics cannot be read.
pub fn routed(hub: &Hub, row: &str) -> Result<f64, String> {
    let labels = format!("stage=\"router\",row=\"{row}\"");
    let of = |router| hub.metric(router, "yiwang_ledger_records", &labels);
    hub.routers().into_iter().map(of).sum()
}

/// Waits until the routers' books have so many raw records, neither more nor fewer. A tick is one of them while it is not
/// read yet, so there is more than one look; a record that is lost or counted twice stays so.
///
/// # Panics
/// If they have others.
pub fn has_raw(hub: &Hub, records: impl Fn() -> Result<f64, String>) {
    until("each record to be in the books once", PATIENCE, || {
        match (routed(hub, "raw")?, records()?) {
            (raw, wanted) if raw == wanted => Ok(()),
            (raw, wanted) => Err(format!("{raw} of {wanted}")),
        }
    })
    .expect("each has its one fate");
}

/// Waits until so many more records have been routed.
///
/// # Panics
/// If they are not.
pub fn routes_more(hub: &Hub, records: f64) {
    let before = routed(hub, "routed").expect("the ledger can be read");
    until("more to be routed", PATIENCE, || match routed(hub, "routed")? {
        now if now >= before + records => Ok(()),
        now => Err(format!("{now} of {}", before + records)),
    })
    .expect("traffic goes on");
}

fn imbalance(hub: &Hub) -> Result<f64, String> {
    let mut sum = 0.0;
    for role in hub.routers().into_iter().chain(["gateway", "centre"]) {
        sum += hub.metric(role, "yiwang_ledger_imbalance", "")?.abs();
    }
    Ok(sum)
}
