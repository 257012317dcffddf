//! The routing table on the real binary: what routes choose lies in their topics too, once, and the books say so.

use yiwang_tests::demo::{connect, ledger_balances, publish};
use yiwang_tests::hub::{Hub, PATIENCE, Plan};
use yiwang_tests::mqtt::{Incoming, Version};
use yiwang_tests::wait::until;

const GAS: &str = "gas-01/G-0001";
const WATER: &str = "wl-radar-01/R-0001";

#[test]
fn embedded_forwards_what_routes_choose() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut hub = Plan::embedded(folder.path()).start().expect("the hub starts");
    publish_some(&hub);
    let told = hub.cli(&["ledger"]).expect("the ledger balances");
    for row in ["1   forwarded:fire-brigade", "1   matched:fire", "3   forwarded:water-bureau"] {
        assert!(told.contains(row), "{row}: {told}");
    }
    hub.stop().expect("it stops");
    what_routes_choose_lies_in_their_topics(&hub);
}

#[cfg(feature = "services")]
#[test]
fn distributed_forwards_what_routes_choose() {
    use std::process::Command;
    use yiwang_tests::hub::{Mode, run};

    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::distributed(folder.path(), "routes").expect("the services are there");
    let Mode::Distributed { kafka, topic_prefix, .. } = plan.mode.clone() else {
        panic!("a distributed plan")
    };
    let hub = plan.start().expect("the three roles start");
    publish_some(&hub);
    what_routes_choose_lies_in_their_topics(&hub);
    // Any Kafka client reads a forwarded signal as what it is, by its headers.
    let topic = format!("{topic_prefix}fire-brigade.v1");
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &kafka, "-C", "-t", &topic, "-e", "-q", "-f", "%k %h\\n"]);
    let printed = run(&mut kcat).expect("kcat reads the topic");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(printed.starts_with(GAS) && printed.contains("ce_type=yiwang.signal.v1"), "{printed}");
}

/// A gas leak, which is an alarm, and three water levels.
fn publish_some(hub: &Hub) {
    let mut gas = connect(hub, GAS, Version::V311);
    let leak = r#"{"boot":1,"seq":1,"params":{"concentration":45.5}}"#;
    assert_eq!(publish(&mut gas, GAS, leak), Incoming::PubAck(7, 0));
    let mut water = connect(hub, WATER, Version::V311);
    for seq in 1..=3 {
        let body = format!(r#"{{"boot":1,"seq":{seq},"params":{{"level":2.{seq}}}}}"#);
        assert_eq!(publish(&mut water, WATER, &body), Incoming::PubAck(7, 0));
    }
    let forwarded = |topic: &str, wanted: f64| {
        until("the router to have forwarded", PATIENCE, || {
            let label = format!("reason=\"{topic}\"");
            let count = hub.metric("router", "yiwang_router_records_total", &label)?;
            if count == wanted { Ok(()) } else { Err(format!("{count} of {wanted} in {topic}")) }
        })
        .expect("the counter says so");
    };
    forwarded("fire-brigade", 1.0);
    forwarded("water-bureau", 3.0);
    ledger_balances(hub);
}

fn what_routes_choose_lies_in_their_topics(hub: &Hub) {
    let of = |topic: &str, device: &str| {
        let mut records = hub.records(topic);
        records.retain(|record| record["device"] == device);
        records
    };
    assert_eq!(of("fire-brigade", GAS).len(), 1);
    assert_eq!(of("fire-brigade", GAS), of("signals", GAS), "the same record twice");
    assert_eq!(of("water-bureau", WATER).len(), 3);
    assert_eq!(of("water-bureau", WATER), of("readings", WATER));
    assert!(of("water-bureau", GAS).is_empty() && of("fire-brigade", WATER).is_empty());
}
