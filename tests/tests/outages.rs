//! What the hub depends on goes away and comes back, at start and in mid-run: it says so, acknowledges nothing that it
//! could lose, and goes on by itself. The servers are real; a proxy in front of each takes it away.
#![cfg(feature = "services")]

use std::process::Command;
use std::time::{Duration, Instant};

use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::act_request::Action;
use yiwang_tests::demo::{connect, desk, leak, ledger_balances, property_topic, publish, receive};
use yiwang_tests::desk::{Watch, reason};
use yiwang_tests::hub::{Hub, Mode, PATIENCE, Plan, get, run, service};
use yiwang_tests::mqtt::{Incoming, Version};
use yiwang_tests::proxy::Proxy;
use yiwang_tests::wait::until;

const TOWN: &str = "310118001";
const FIRST: &str = "gas-01/G-0001";
const SECOND: &str = "gas-01/G-0002";
const THIRD: &str = "gas-01/G-0003";

/// PINGREQ, and the type of its answer.
const PING: [u8; 2] = [0xC0, 0];
const PONG: Incoming = Incoming::Other(13);

/// What the hub is told to take for a stop; the flush of the log comes on top.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Longest time in which a client is told that the store is away.
const TOLD_MAX: Duration = Duration::from_secs(20);

#[test]
fn kafka_goes_and_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut plan = Plan::distributed(folder.path(), "nokafka").expect("the services are there");
    let front = service("YIWANG_TEST_KAFKA_FRONT").expect("a listener behind a proxy");
    let back = service("YIWANG_TEST_KAFKA_BACK").expect("a listener behind a proxy");
    let proxy = Proxy::at(&front, &back).expect("the proxy listens where Kafka says");
    proxy.refuse();
    let Mode::Distributed { kafka, .. } = &mut plan.mode else { panic!("a distributed plan") };
    kafka.clone_from(&front);
    let plan = plan.with(&format!("stop.deadline_seconds={}", STOP_MAX.as_secs()));

    let mut hub = plan.launch().expect("the three roles start");
    for role in ["gateway", "router", "centre"] {
        wait_not_ready(&hub, role, "log: it cannot be reached");
    }
    proxy.restore();
    hub.wait_ready().expect("every role goes on by itself");
    let watch = desk(&hub, TOWN).watch("screen", b"").expect("the town may watch");
    let mut device = connect(&hub, FIRST, Version::V5);
    assert_eq!(publish(&mut device, FIRST, &leak(1)), Incoming::PubAck(7, 0));
    is_shown(&watch, FIRST);

    proxy.refuse();
    wait_not_ready(&hub, "gateway", "log: Kafka takes no records");
    device.publish(&property_topic(FIRST), 8, leak(2).as_bytes());
    device.flush().expect("the gateway reads on");
    let mut other = connect(&hub, SECOND, Version::V311);
    other.publish(&property_topic(SECOND), 9, leak(1).as_bytes());
    other.flush().expect("the gateway reads on");
    wait_in_flight(&hub, 2.0);
    for connection in [&mut device, &mut other] {
        connection.send_raw(&PING).expect("the connection stands");
        assert_eq!(receive(connection), PONG, "nothing is acknowledged, and it still answers");
    }
    wait_not_ready(&hub, "router", "log: Kafka takes no records");
    wait_not_ready(&hub, "centre", "log: Kafka takes no records");

    proxy.restore();
    assert_eq!(receive(&mut device), Incoming::PubAck(8, 0));
    assert_eq!(receive(&mut other), Incoming::PubAck(9, 0));
    hub.wait_ready().expect("every role goes on by itself");
    is_shown(&watch, SECOND);
    ledger_balances(&hub);

    // The network goes without a word: nobody is told, it only shows that nothing is answered.
    proxy.silence();
    device.publish(&property_topic(FIRST), 10, leak(3).as_bytes());
    device.flush().expect("the gateway reads on");
    wait_not_ready(&hub, "gateway", "log: Kafka takes no records");
    device.send_raw(&PING).expect("the connection stands");
    assert_eq!(receive(&mut device), PONG, "nothing is acknowledged, and it still answers");
    proxy.restore();
    assert_eq!(receive(&mut device), Incoming::PubAck(10, 0));
    hub.wait_ready().expect("every role goes on by itself");
    ledger_balances(&hub);

    // Without Kafka there is no finishing in order, but a stop ends all the same.
    proxy.silence();
    let begun = Instant::now();
    let ends = hub.stop().expect("a hub without Kafka stops in time");
    println!("stopped without Kafka after {:?}", begun.elapsed());
    assert_eq!(ends.len(), 3);
}

#[test]
fn postgres_goes_and_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut plan = Plan::distributed(folder.path(), "nostore").expect("the services are there");
    let Mode::Distributed { postgres, .. } = &mut plan.mode else { panic!("a distributed plan") };
    let server = postgres.split(['@', '/']).nth(3).expect("user@host/database").to_owned();
    let proxy = Proxy::before(&server).expect("the proxy listens");
    *postgres = postgres.replace(&server, &proxy.address().to_string());
    proxy.refuse();

    let mut hub = plan.launch().expect("the three roles start");
    wait_not_ready(&hub, "centre", "store: it cannot be reached");
    proxy.restore();
    hub.wait_ready().expect("the centre goes on by itself");
    let town = desk(&hub, TOWN);
    let watch = town.watch("screen", b"").expect("the town may watch");
    let mut device = connect(&hub, FIRST, Version::V5);
    assert_eq!(publish(&mut device, FIRST, &leak(1)), Incoming::PubAck(7, 0));
    let case = is_shown(&watch, FIRST);

    proxy.refuse();
    wait_not_ready(&hub, "centre", "store: it cannot be reached");
    // Devices do not notice: the log is well.
    let mut other = connect(&hub, SECOND, Version::V311);
    assert_eq!(publish(&mut other, SECOND, &leak(1)), Incoming::PubAck(7, 0));
    // A person is told to try again.
    let comment = || Action::Comment(v1::Comment { text: "已到场".to_owned() });
    let begun = Instant::now();
    let refused = town.act(&case.name, "c-1", "王敏", comment()).expect_err("the store is away");
    println!("told after {:?}", begun.elapsed());
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    assert_eq!(reason(&refused), "STORE_UNAVAILABLE");
    assert!(begun.elapsed() < TOLD_MAX);

    proxy.restore();
    hub.wait_ready().expect("the centre goes on by itself");
    let done = town.act(&case.name, "c-1", "王敏", comment()).expect("the same command again");
    assert_eq!(done.version, case.version + 1, "it was done once");
    let watch = town.watch("screen-2", b"").expect("the town may watch");
    is_shown(&watch, SECOND);
    ledger_balances(&hub);
}

#[test]
fn an_outside_broker_goes_and_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broker = service("YIWANG_TEST_MQTT").expect("the broker is there");
    let proxy = Proxy::before(&broker).expect("the proxy listens");
    let source = format!(
        "intake.subscribe=[{{name=\"town\",host=\"127.0.0.1\",port={},client_id=\"outage-{}\",reconnect_max_ms=1000}}]",
        proxy.address().port(),
        std::process::id()
    );
    proxy.refuse();
    let mut hub = Plan::embedded(folder.path()).with(&source).launch().expect("the hub starts");
    wait_not_ready(&hub, "all", "source town: connection lost");
    proxy.restore();
    hub.wait_ready().expect("the hub goes on by itself");
    let watch = desk(&hub, TOWN).watch("screen", b"").expect("the town may watch");
    to_broker(&broker, FIRST, 1);
    is_shown(&watch, FIRST);

    proxy.refuse();
    wait_not_ready(&hub, "all", "source town: connection lost");
    let lost = hub.metric("all", "yiwang_gateway_broker_reconnects_total", "");
    assert!(lost.expect("metrics answer") >= 1.0, "it is counted");
    // Its own front is not concerned, and the broker keeps what comes meanwhile.
    let mut device = connect(&hub, SECOND, Version::V5);
    assert_eq!(publish(&mut device, SECOND, &leak(1)), Incoming::PubAck(7, 0));
    is_shown(&watch, SECOND);
    to_broker(&broker, THIRD, 1);
    proxy.restore();
    is_shown(&watch, THIRD);
    hub.wait_ready().expect("the hub is ready again");
    ledger_balances(&hub);
}

fn is_shown(watch: &Watch, device: &str) -> v1::Incident {
    let shown = watch.incident(device, v1::State::Dispatched, PATIENCE);
    shown.unwrap_or_else(|error| panic!("{device}: {error}"))
}

/// Waits until a role says that it is not ready, for this reason; the process lives meanwhile.
fn wait_not_ready(hub: &Hub, role: &str, why: &str) {
    let told = until(&format!("{role} to say that {why}"), PATIENCE, || {
        let (status, body) = get(hub.http(role), "/readyz")?;
        if status == 503 && body.contains(why) { Ok(()) } else { Err(body) }
    });
    told.expect("the role lives and says what it waits for");
}

fn wait_in_flight(hub: &Hub, count: f64) {
    until("the unacknowledged messages to be counted", PATIENCE, || {
        let counted = hub.metric("gateway", "yiwang_ledger_records", "row=\"in_flight\"")?;
        if counted == count { Ok(()) } else { Err(format!("{counted} of {count}")) }
    })
    .expect("what is received is counted");
}

fn to_broker(broker: &str, device: &str, seq: u64) {
    let (host, port) = broker.split_once(':').expect("HOST:PORT");
    let mut publish = Command::new("mosquitto_pub");
    publish.args(["-h", host, "-p", port, "-q", "1", "-t", &property_topic(device)]);
    run(publish.args(["-m", &leak(seq)])).expect("the broker acknowledges");
}
