//! Several routers share the partitions over a Kafka consumer group: they join, leave in order, die and come back
//! under load, and the accounting of the delivery contract (section 9) finds nothing lost, nothing made up, no effect
//! twice, no device out of order. Rules whose samples were seen by several routers are raised once.
#![cfg(feature = "services")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use yiwang_tests::demo::{connect, publish};
use yiwang_tests::hub::{Hub, PATIENCE, Plan};
use yiwang_tests::mqtt::{Incoming, Version};
use yiwang_tests::settle::{drain, has_raw, quick_alarms, routed, settle, under_load};
use yiwang_tests::wait::until;

const PARTITIONS: u16 = 8;
const DEVICES: u64 = 8;
const ALARM_EVERY: u64 = 40;
/// The routers; the first is the one that every hub has.
const A: &str = "router";
const B: &str = "router-b";
const C: &str = "router-c";
/// Smoke detectors whose battery alarm needs three low samples in a row: each sample finds other routers.
const PROBES: std::ops::RangeInclusive<u64> = 1..=12;
const LOW_SAMPLES: u64 = 3;
const ROUTED_BEFORE_FREEZE: f64 = 1_000.0;
/// Were partitions taken over without a snapshot, most readings would come again; so only those of the one that died.
const AGAIN_SHARE_MIN: usize = 3;

#[test]
fn routers_join_leave_and_die_under_load() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut hub = start(folder.path(), "routers");
    let district = hub.token("310118").expect("a token of the district");
    probes_say_low(&hub, 1);
    drain(&hub);
    assert_eq!(routed(&hub, "routed"), Ok(PROBES.count() as f64), "the first router has seen them");
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        shared(&hub, "start", &[A]);
        hub.join_router(B).expect("a second router starts");
        shared(&hub, "B joined", &[A, B]);
        hub.join_router(C).expect("a third router starts");
        shared(&hub, "C joined", &[A, B, C]);
        probes_say_low(&hub, 2);
        hub.stop_role(A).expect("the first router takes its leave");
        shared(&hub, "A left", &[B, C]);
        hub.kill(Some(B));
        shared(&hub, "B died", &[C]);
        probes_say_low(&hub, 3);
        hub.join_router(B).expect("the second router starts again");
        shared(&hub, "B is back", &[B, C]);
        hub.start_again().expect("the first router starts again");
        shared(&hub, "A is back", &[A, B, C]);
        hub.wait_ready().expect("every router is ready");
    });
    drain(&hub);
    each_record_is_one_routers(&hub);
    none_is_behind(&hub);
    let shown = settle(&mut hub, &devices, &district, "F06");
    let distinct: BTreeSet<_> =
        shown.readings.iter().map(|it| it["record"]["raw"].to_string()).collect();
    let again = shown.readings.len() - distinct.len();
    assert!(
        again > 0 && again < distinct.len() / AGAIN_SHARE_MIN,
        "{again} readings again of {}: the router that died had some of its own to repeat, those that hand over none",
        distinct.len()
    );
    for number in PROBES {
        let device = probe(number);
        let raised: BTreeSet<_> = shown
            .signals
            .iter()
            .map(|signal| &signal["record"])
            .filter(|signal| signal["device"] == device && signal["kind"] == "raise")
            .map(|signal| signal["event_id"].to_string())
            .collect();
        assert_eq!(raised.len(), 1, "{device}: raised by its third low sample and only then");
    }
}

#[test]
fn a_frozen_router_has_no_part_any_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut hub = start(folder.path(), "frozen");
    let district = hub.token("310118").expect("a token of the district");
    hub.join_router(B).expect("a second router starts");
    let frozen = hub.pid(B);
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        shared(&hub, "start", &[A, B]);
        // What it has routed since its partitions came to it is in no snapshot.
        until("the second router to be at work", PATIENCE, || {
            match hub.metric(B, "yiwang_router_records_total", "row=\"routed\"")? {
                routed if routed >= ROUTED_BEFORE_FREEZE => Ok(()),
                routed => Err(format!("{routed} routed")),
            }
        })
        .expect("it routes");
        hub.signal(Some(B), "STOP").expect("the second router is frozen");
        // Its session is over before it knows.
        shared(&hub, "B is frozen", &[A]);
        hub.signal(Some(B), "CONT").expect("the second router goes on");
        shared(&hub, "B goes on", &[A, B]);
    });
    assert_eq!(hub.pid(B), frozen);
    hub.wait_ready().expect("both routers are ready");
    drain(&hub);
    each_record_is_one_routers(&hub);
    settle(&mut hub, &devices, &district, "F06 frozen");
}

fn start(folder: &Path, name: &str) -> Hub {
    let plan = Plan::distributed(folder, name).expect("the services are there");
    let plan = plan
        .with(&quick_alarms(folder))
        .with(&format!("log.partitions={PARTITIONS}"))
        .with("intake.listen.messages_per_second_max=0")
        // Longer than the test: what a router hands over, it hands over because the partition goes.
        .with("router.snapshot_seconds=600");
    plan.start().expect("the hub starts")
}

/// Every record that the gateway appended is in the books of one router.
fn each_record_is_one_routers(hub: &Hub) {
    has_raw(hub, || hub.metric("gateway", "yiwang_ledger_records", "row=\"appended\""));
}

/// No router has anything left to read; a tick is read soon.
fn none_is_behind(hub: &Hub) {
    for router in hub.routers() {
        for lag in ["yiwang_router_lag_records", "yiwang_router_lag_seconds"] {
            until(&format!("{lag} of {router} to be 0"), PATIENCE, || {
                match hub.metric(router, lag, "")? {
                    0.0 => Ok(()),
                    behind => Err(format!("{behind}")),
                }
            })
            .expect("nothing lies before it");
        }
    }
}

fn probe(number: u64) -> String {
    format!("smoke-01/S-{number:04}")
}

/// One more low sample of every probe.
fn probes_say_low(hub: &Hub, seq: u64) {
    assert!(seq <= LOW_SAMPLES);
    for number in PROBES {
        let device = probe(number);
        let mut connection = connect(hub, &device, Version::V311);
        let body = format!(r#"{{"boot":1,"seq":{seq},"params":{{"smoke":false,"battery":2.5}}}}"#);
        assert_eq!(publish(&mut connection, &device, &body), Incoming::PubAck(7, 0));
    }
}

/// Waits until these routers own all partitions, each once and each router some, and have routed what lay there.
fn shared(hub: &Hub, event: &str, routers: &[&'static str]) {
    let begun = Instant::now();
    let owners = until(&format!("{routers:?} to share the partitions"), PATIENCE, || {
        let mut owners = Vec::new();
        for router in routers {
            owners.push(hub.metric(router, "yiwang_router_partition_owned", "")?);
            let replay = hub.metric(router, "yiwang_router_replay_records", "")?;
            if replay > 0.0 {
                return Err(format!("{router} has {replay} records to replay"));
            }
        }
        let whole = owners.iter().sum::<f64>() == f64::from(PARTITIONS);
        if whole && owners.iter().all(|own| *own > 0.0) {
            Ok(owners)
        } else {
            Err(format!("{owners:?}"))
        }
    })
    .unwrap_or_else(|error| panic!("{event}: {error}"));
    println!("{event}: {routers:?} own {owners:?} after {:?}", begun.elapsed());
}
