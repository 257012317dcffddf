//! Storms on the real binary: a town that falls silent is one incident, and one device elsewhere is its own.

use std::path::Path;

use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::watch_response::Item;
use yiwang_tests::demo::{connect, desk, ledger_balances, publish};
use yiwang_tests::desk::Watch;
use yiwang_tests::files::Files;
use yiwang_tests::hub::{Hub, PATIENCE, Plan};
use yiwang_tests::mqtt::{Incoming, Version};
use yiwang_tests::settle::routed;
use yiwang_tests::wait::until;

const TOWN: &str = "310118001";
const OUTAGE: &str = "outage/area/310118001";
const FAR_TOWN: &str = "310118002";
const FAR_DEVICE: &str = "wl-radar-01/R-0099";
const DEVICES: u64 = 40;

fn device(n: u64) -> String {
    format!("wl-radar-01/R-{n:04}")
}

/// Forty devices in one town and one in another, soon silent, told apart within seconds: the settings that have them.
fn quick_storms(folder: &Path, plan: Plan) -> Plan {
    let files = Files::copy(folder);
    files.replace("products/wl-radar-01.thing.yaml", "absent(30m)", "absent(2s)");
    files.replace("district/storms.yaml", "within: 60s", "within: 5s");
    files.replace("district/storms.yaml", "quiet: 10m", "quiet: 1m");
    // No shipped device is there beside these.
    let devices = folder.join("own");
    std::fs::create_dir_all(&devices).expect("a folder");
    let mut list = "product_key,device_name,area_code,secret\n".to_owned();
    let mut add = |device: &str, area: &str| {
        let name = device.split('/').nth(1).unwrap_or_default();
        list += &format!("wl-radar-01,{name},{area},demo-secret-{name}\n");
    };
    (0..DEVICES).for_each(|n| add(&device(n), "310118001001"));
    add(FAR_DEVICE, FAR_TOWN);
    std::fs::write(devices.join("devices.csv"), list).expect("a device list");
    plan.with(&files.setting("district"))
        .with(&files.setting("products"))
        .with(&format!("district.devices={}", devices.display()))
}

#[test]
fn embedded_tells_a_silent_town_as_one_through_a_kill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = quick_storms(folder.path(), Plan::embedded(&folder.path().join("data")));
    let mut hub = plan.start().expect("the hub starts");
    all_fall_silent(&hub);
    until("absences to be on their way", PATIENCE, || match routed(&hub, "lifecycle")? {
        0.0 => Err("none is".to_owned()),
        _ => Ok(()),
    })
    .expect("the first stage says so");
    hub.kill(None);
    hub.start_again().expect("it starts again");
    hub.wait_ready().expect("it is ready");
    a_silent_town_is_one_incident(&hub);
    hub.stop().expect("it stops");
    the_log_shows_what_was_folded(&hub);
}

#[cfg(feature = "services")]
#[test]
fn distributed_tells_a_silent_town_as_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::distributed(&folder.path().join("data"), "storms");
    let plan = plan.expect("the services are there");
    let mut hub = quick_storms(folder.path(), plan).start().expect("the three roles start");
    hub.join_router("router-b").expect("another router starts");
    hub.wait_ready().expect("it joins");
    all_fall_silent(&hub);
    a_silent_town_is_one_incident(&hub);
    the_log_shows_what_was_folded(&hub);
}

fn level(hub: &Hub, device: &str, seq: u64) {
    let body = format!(r#"{{"boot":1,"seq":{seq},"params":{{"level":1.0}}}}"#);
    let mut connection = connect(hub, device, Version::V311);
    assert_eq!(publish(&mut connection, device, &body), Incoming::PubAck(7, 0));
}

/// Each is heard once, and not again for as long as it takes.
fn all_fall_silent(hub: &Hub) {
    (0..DEVICES).for_each(|n| level(hub, &device(n), 1));
    level(hub, FAR_DEVICE, 1);
}

/// An incident of this source, once it fits.
fn seen(watch: &Watch, source: &str, fits: impl Fn(&v1::Incident) -> bool) -> v1::Incident {
    let found = watch.wait_for(&format!("an incident of {source}"), PATIENCE, |item| {
        let incident = match item {
            Item::SnapshotItem(item) => item.incident.as_ref(),
            Item::Change(change) => change.incident.as_ref(),
            _ => None,
        };
        incident.filter(|it| it.source == source && fits(it)).cloned()
    });
    found.expect("the desk is shown it")
}

fn a_silent_town_is_one_incident(hub: &Hub) {
    let (near, far) = (desk(hub, TOWN), desk(hub, FAR_TOWN));
    let near_watch = near.watch("storm", b"").expect("the town may watch");
    let far_watch = far.watch("storm", b"").expect("the other town may watch");
    let outage = seen(&near_watch, OUTAGE, |_| true);
    assert_eq!(outage.category, "device.outage");
    let place = outage.place.clone().unwrap_or_default();
    assert_eq!(place.town.map(|unit| unit.id).unwrap_or_default(), TOWN);
    assert!(outage.text.contains("台设备同时失联"), "{}", outage.text);
    let single = seen(&far_watch, &format!("device/{FAR_DEVICE}"), |_| true);
    assert_eq!(single.category, "device.fault");
    until("every device to be a member", PATIENCE, || {
        let folded = routed(hub, "absences_folded")?;
        if folded == DEVICES as f64 { Ok(()) } else { Err(format!("{folded} are")) }
    })
    .expect("none is told singly");

    // They are back, one by one; the last one ends it.
    (0..DEVICES).for_each(|n| level(hub, &device(n), 2));
    seen(&near_watch, OUTAGE, |incident| incident.recover_time.is_some());
    let incidents = near.list(&[]).expect("the town may list");
    let sources: Vec<&str> = incidents.iter().map(|incident| &*incident.source).collect();
    assert_eq!(sources, [OUTAGE]);
    let row = |name| routed(hub, name).expect("the ledger is shown");
    assert_eq!(row("outages"), 1.0);
    ledger_balances(hub);
}

fn the_log_shows_what_was_folded(hub: &Hub) {
    let signals = hub.records("signals");
    let of = |source: &str| signals.iter().filter(|it| it["source"] == source).collect::<Vec<_>>();
    let outage = of(OUTAGE);
    assert_eq!(outage.first().map(|it| it["kind"].clone()), Some("raise".into()));
    assert_eq!(outage.iter().filter(|it| it["kind"] == "raise").count(), 1);
    let members = outage.iter().filter_map(|it| it["members"].as_array()).map(Vec::len);
    assert_eq!(members.sum::<usize>(), DEVICES as usize);
    assert!(of(&format!("device/{}", device(0))).is_empty(), "no member is told singly");
    assert_eq!(of(&format!("device/{FAR_DEVICE}"))[0]["kind"], "raise");
    // A row of lifecycle says who fell silent, with whom, and what would have been told.
    let rows = hub.records("lifecycle");
    let row = rows.iter().find(|it| it["device"] == *device(0) && it["value"] == "SILENT");
    let row = row.expect("it lies on the log");
    assert_eq!(row["group"]["key"], "area/310118001");
    assert_eq!(row["group"]["size"], DEVICES);
    assert_eq!(row["signal"]["kind"], "raise");
    assert!(rows.iter().any(|it| it["time"].is_number()), "time passes");
    // A trace of what was folded knows where it lies.
    let id = row["id"].as_str().expect("it has an id");
    let trace = hub.cli(&["trace", id]).expect("it is traced");
    assert!(trace.contains("lifecycle"), "{trace}");
}
