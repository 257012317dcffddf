//! An operator's clear of an alarm on the real binary: the incident hears of it, the next true sample raises anew, and who
//! did it and why can be read later.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use yiwang_core::ids::key_hash;
use yiwang_proto::incident::v1::Incident;
use yiwang_tests::demo::{connect, desk, leak, ledger_balances, publish};
use yiwang_tests::desk::Desk;
use yiwang_tests::files::Files;
use yiwang_tests::hub::{Hub, PATIENCE, Plan};
use yiwang_tests::mqtt::{Incoming, Version};
use yiwang_tests::settle::routed;
use yiwang_tests::wait::until;

/// It speaks for itself, and its records lie beside those of the device that it is bound to.
const DEVICE: &str = "gas-01/B-0001";
const BEHIND: &str = "gas-01/G-0001";
const DISTRICT: &str = "310118";
const REASON: &str = "误报：现场复核无泄漏";
/// Of topic `raw`, in either mode.
const PARTITIONS: u64 = 8;
const STORED: Incoming = Incoming::PubAck(7, 0);

#[test]
fn embedded_clears_and_raises_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = bound(folder.path());
    clears_and_raises_anew(files.plan(Plan::embedded(folder.path())));
}

#[cfg(feature = "services")]
#[test]
fn distributed_clears_and_raises_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::distributed(folder.path(), "alarms").expect("the services are there");
    clears_and_raises_anew(bound(folder.path()).plan(plan));
}

/// The shipped configuration with one device behind another of them.
fn bound(folder: &Path) -> Files {
    let files = Files::copy(folder);
    let columns = "product_key,device_name,area_code,gateway,secret";
    let row = format!("gas-01,B-0001,310118001004,{BEHIND},demo-secret-B-0001");
    files.add("devices/behind.csv", &format!("{columns}\n{row}\n"));
    files
}

fn clears_and_raises_anew(plan: Plan) {
    let mut hub = plan.start().expect("the hub starts");
    let district = desk(&hub, DISTRICT);
    let mut device = connect(&hub, DEVICE, Version::V311);
    assert_eq!(publish(&mut device, DEVICE, &leak(1)), STORED);
    incident(&district, "an alarm that stands", |it| it.recover_time.is_none());
    what_could_do_nothing_is_refused(&hub);
    clear(&hub);
    incident(&district, "an alarm that ended", |it| it.recover_time.is_some());
    // Nothing stands any more: the order is kept and does nothing.
    clear(&hub);
    counts(&hub, "clears", 2.0);
    counts(&hub, "clears_void", 1.0);
    said(&hub, &[("raise", ""), ("clear", "OPERATOR")]);
    it_is_known_who_did_it_and_why(&hub);
    assert_eq!(publish(&mut device, DEVICE, &leak(2)), STORED);
    until("the next true sample to raise anew", PATIENCE, || {
        let raised = hub.records("signals").len();
        if raised == 3 { Ok(()) } else { Err(format!("{raised} signals")) }
    })
    .expect("it raises anew");
    let signals = said(&hub, &[("raise", ""), ("clear", "OPERATOR"), ("raise", "")]);
    assert_ne!(signals[0]["event_id"], signals[2]["event_id"], "another alarm");
    incident(&district, "an alarm that stands again", |it| it.recover_time.is_none());
    ledger_balances(&hub);
    // What the clear did outlives the process: nothing is said again, and the alarm that stands can be cleared.
    hub.kill(None);
    hub.start_again().expect("it starts again");
    hub.wait_ready().expect("it is ready again");
    clear(&hub);
    counts(&hub, "clears", 3.0);
    ledger_balances(&hub);
    let all = [("raise", ""), ("clear", "OPERATOR"), ("raise", ""), ("clear", "OPERATOR")];
    let signals = said(&hub, &all);
    assert_ne!(signals[1]["event_id"], signals[3]["event_id"], "each clear is one of its own");
}

/// Waits for the incident of the device to be so.
fn incident(desk: &Desk, what: &str, fits: impl Fn(&Incident) -> bool) {
    let source = format!("device/{DEVICE}");
    until(what, PATIENCE, || {
        let open = desk.list(&[]).map_err(|status| status.to_string())?;
        let of_device: Vec<_> = open.iter().filter(|it| it.source == source).collect();
        match of_device.iter().any(|it| fits(it)) {
            true => Ok(()),
            false => Err(format!("{of_device:?}")),
        }
    })
    .expect("the incident follows the alarm");
}

fn clear(hub: &Hub) {
    let told = hub.cli(&["alarm", "clear", DEVICE, "leak", "--reason", REASON]);
    let told = told.expect("the order is taken");
    let partition = key_hash(BEHIND) % PARTITIONS;
    assert_ne!(partition, key_hash(DEVICE) % PARTITIONS, "else nothing is shown");
    assert!(told.starts_with(&format!("ordered: raw/{partition}/")), "{told}");
}

fn what_could_do_nothing_is_refused(hub: &Hub) {
    let long = "x".repeat(501);
    for (device, rule, reason, why) in [
        ("gas-01/G-9999", "leak", REASON, "no device gas-01/G-9999"),
        (DEVICE, "leek", REASON, "it has: leak, silent"),
        (DEVICE, "leak", " ", "one line"),
        (DEVICE, "leak", "two\nlines", "one line"),
        (DEVICE, "leak", &long, "up to 500 bytes"),
    ] {
        let told = hub.cli(&["alarm", "clear", device, rule, "--reason", reason]);
        let told = told.expect_err("it is refused");
        assert!(told.contains(why), "{why}: {told}");
    }
    counts(hub, "clears", 0.0);
}

fn counts(hub: &Hub, row: &str, wanted: f64) {
    until(&format!("{wanted} {row}"), PATIENCE, || match routed(hub, row)? {
        count if count == wanted => Ok(()),
        count => Err(format!("{count}")),
    })
    .expect("the ledger counts orders apart");
}

/// The signals of the device, each once: kind and cause.
fn said(hub: &Hub, wanted: &[(&str, &str)]) -> Vec<Value> {
    let mut signals = hub.records("signals");
    // What a router repeats after it died has the same id.
    let mut ids = HashSet::new();
    signals.retain(|it| it["device"] == DEVICE && ids.insert(it["event_id"].to_string()));
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = signals.iter().map(|it| (text(it, "kind"), text(it, "cause"))).collect();
    let found: Vec<_> = found.iter().map(|(kind, cause)| (&**kind, &**cause)).collect();
    assert_eq!(found, wanted);
    signals
}

fn it_is_known_who_did_it_and_why(hub: &Hub) {
    let orders = hub.records("raw");
    let order = orders.iter().find(|it| it["clear"] == "leak").expect("the order is on the log");
    assert_eq!((&order["device"], &order["actor"]), (&DEVICE.into(), &"admin".into()));
    assert_eq!(order["reason"], REASON);
    assert!(order["received_at"].as_i64().is_some_and(|at| at > 0), "{order}");
    let signals = hub.records("signals");
    let ended = signals.iter().find(|it| it["cause"] == "OPERATOR").expect("the signal");
    assert!(ended["text"].as_str().is_some_and(|text| text.contains(REASON)), "{ended}");
    let id = ended["event_id"].as_str().expect("an id");
    let told = hub.cli(&["trace", id, "--json"]).expect("its life is told");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["fate"], "CLEAR", "{told:#}");
    let rule = told["rules"].as_array().and_then(|all| all.iter().find(|it| it["rule"] == "leak"));
    let rule = rule.expect("its rule is told");
    assert_eq!(
        (&rule["before"]["phase"], &rule["after"]["phase"]),
        (&"FIRING".into(), &"NORMAL".into())
    );
}
