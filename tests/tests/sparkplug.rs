//! Sparkplug edge nodes on the real binary: through a real Mosquitto and at our own front, births, data by alias, an alias
//! that no birth explains, and the request for births that comes back by the way that the node was heard.
#![cfg(feature = "services")]

use std::path::Path;
use std::process::Command;

use yiwang_core::codec::sparkplug::{Carried, Payload};
use yiwang_tests::demo::{client_id, ledger_balances, receive};
use yiwang_tests::files::Files;
use yiwang_tests::hub::{Hub, PATIENCE, Plan, run, service};
use yiwang_tests::mqtt::{Connection, Incoming, Login, Version};
use yiwang_tests::wait::until;

const PRODUCT: &str = "schema: yiwang-thing/1
profile: {productKey: spb-01, name: 泵站网关, version: 1.0.0, kind: hydrology/level}
access: {auth: [secret], dialects: [sparkplugB], identity: seq}
codec: {kind: sparkplugB}
properties:
  - {identifier: level, dataType: {type: int, specs: {min: 0, max: 100}}}
tests: [{hex: 'ff', topic: spBv1.0/g/NDATA/e, expect: {quarantined: CODEC}}]
";
const DEVICES: &str = "product_key,device_name,area_code,gateway,alias,secret
spb-01,gw-01,310118001001,,GROUP.gw-01,
spb-01,wl-7,310118001001,spb-01/gw-01,GROUP.gw-01/wl-7,
spb-01,gw-02,310118001001,,GROUP.gw-02,secret-of-gateway-02
";
const FRONT: &str = "spb-01/gw-02";
/// Int32 of the standard.
const INT32: u64 = 3;

#[test]
fn embedded_understands_edge_nodes_and_asks_for_their_births() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    understood_and_asked(folder.path(), Plan::embedded(&folder.path().join("data")), "qp-1");
}

#[test]
fn distributed_understands_edge_nodes_and_asks_for_their_births() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::distributed(&folder.path().join("data"), "sparkplug");
    understood_and_asked(folder.path(), plan.expect("the services are there"), "qp-2");
}

/// All tests meet at one broker, so each has a group of its own.
fn understood_and_asked(folder: &Path, plan: Plan, group: &str) {
    let broker = service("YIWANG_TEST_MQTT").expect("the broker is there");
    let broker = broker.split_once(':').expect("HOST:PORT");
    let hub = hub(folder, plan.with(&source(folder, broker, group)), group);
    through_a_broker(&hub, broker, group);
    at_the_front(&hub, group);
    ledger_balances(&hub);
    let kept = hub.records("quarantine");
    let kept = |device: &str| kept.iter().filter(|row| row["device"] == device).collect::<Vec<_>>();
    assert_eq!(kept(&format!("{group}.gw-99"))[0]["reason"], "UNKNOWN_DEVICE");
    for node in ["spb-01/gw-01", FRONT] {
        assert_eq!(kept(node).len(), 1, "{node}");
        assert_eq!(kept(node)[0]["reason"], "CODEC");
    }
}

/// The shipped district with the product and the devices of this test.
fn hub(folder: &Path, plan: Plan, group: &str) -> Hub {
    let devices = DEVICES.replace("GROUP", group);
    let files = Files::copy(&folder.join("config"));
    files.add("products/spb-01.thing.yaml", PRODUCT);
    files.add("devices/spb.csv", &devices);
    files.plan(plan).start().expect("the hub starts")
}

/// The setting by which the hub subscribes to the group at the broker.
fn source(folder: &Path, (host, port): (&str, &str), group: &str) -> String {
    // The broker keeps a session of each name; the folder's is nobody else's.
    let id = folder.file_name().expect("a name").to_string_lossy();
    format!(
        "intake.subscribe=[{{name=\"town\",host=\"{host}\",port={port},client_id=\"{id}\",\
         filters=[\"spBv1.0/{group}/#\"]}}]"
    )
}

fn through_a_broker(hub: &Hub, (host, port): (&str, &str), group: &str) {
    let address = format!("{host}:{port}").parse().expect("the broker's address");
    let login = Login { version: Version::V311, client_id: group, credentials: None };
    let mut node = Connection::open(address, &login).expect("the broker takes it");
    subscribe(&mut node, &format!("spBv1.0/{group}/NCMD/gw-01"));
    let publish = |topic: &str, payload: &[u8]| {
        let file = hub.data().join("payload");
        std::fs::write(&file, payload).expect("a file");
        let topic = format!("spBv1.0/{group}/{topic}");
        let mut publish = Command::new("mosquitto_pub");
        publish.args(["-h", host, "-p", port, "-q", "1", "-t", &topic, "-f"]).arg(file);
        run(&mut publish).expect("the broker takes it");
    };
    let now = now();
    publish("NBIRTH/gw-01", &birth(now, 0, Some(7), &[("level", 1)]));
    publish("DBIRTH/gw-01/wl-7", &birth(now, 1, None, &[("level", 2)]));
    publish("DDATA/gw-01/wl-7", &data(now + 1, 2, 2, 42));
    publish("NDATA/gw-99", &data(now, 0, 1, 1));
    until("the data to be a reading", PATIENCE, || {
        let readings = hub.records("readings");
        let mut of = readings.iter().filter(|reading| reading["device"] == "spb-01/wl-7");
        let told = of.any(|reading| reading["values"]["level"]["v"] == 42);
        if told { Ok(()) } else { Err(format!("{readings:?}")) }
    })
    .expect("an alias of a birth is understood");
    publish("DDATA/gw-01/wl-7", &data(now + 2, 3, 9, 43));
    assert_asked(&mut node, &format!("spBv1.0/{group}/NCMD/gw-01"));
}

/// The same by a session at the hub itself.
fn at_the_front(hub: &Hub, group: &str) {
    let id = client_id(FRONT);
    let credentials = Some((id.as_str(), "secret-of-gateway-02"));
    let login = Login { version: Version::V311, client_id: &id, credentials };
    let mut node = Connection::open(hub.mqtt(), &login).expect("the node may connect");
    subscribe(&mut node, &format!("spBv1.0/{group}/NCMD/gw-02/#"));
    let now = now();
    for (kind, payload) in [
        ("NBIRTH", birth(now, 0, Some(1), &[("level", 1)])),
        ("NDATA", data(now + 1, 1, 1, 17)),
        ("NDATA", data(now + 2, 2, 9, 18)),
    ] {
        node.publish(&format!("spBv1.0/{group}/{kind}/gw-02"), 7, &payload);
        node.flush().expect("the socket takes it");
        assert_eq!(receive(&mut node), Incoming::PubAck(7, 0));
    }
    assert_asked(&mut node, &format!("spBv1.0/{group}/NCMD/gw-02"));
    // A node asks for nobody else's topics.
    let login = Login { version: Version::V5, ..login };
    let mut node = Connection::open(hub.mqtt(), &login).expect("the node may connect again");
    node.publish(&format!("spBv1.0/{group}/NDATA/gw-01"), 7, &data(now, 3, 1, 1));
    node.flush().expect("the socket takes it");
    assert_eq!(receive(&mut node), Incoming::PubAck(7, 0x87));
    let readings = hub.records("readings");
    let own = readings.iter().filter(|reading| reading["device"] == FRONT);
    assert_eq!(own.filter(|reading| reading["values"]["level"]["v"] == 17).count(), 1);
}

/// Waits for the request for births of a node.
fn assert_asked(session: &mut Connection, by: &str) {
    let Incoming::Publish(topic, payload) = receive(session) else { panic!("a PUBLISH") };
    assert_eq!(topic, by);
    let payload = Payload::read(&payload).expect("a payload of the standard");
    let metrics: Vec<_> = payload.metrics().map(|metric| metric.expect("a metric")).collect();
    assert_eq!(metrics.len(), 1);
    assert_eq!(metrics[0].name, Some("Node Control/Rebirth"));
    assert!(matches!(metrics[0].carried, Carried::Bool(true)), "{:?}", metrics[0]);
}

fn subscribe(session: &mut Connection, filter: &str) {
    session.subscribe(filter, 1);
    session.flush().expect("the socket takes it");
    assert_eq!(receive(session), Incoming::Other(9), "SUBACK");
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3);
    varint(value, out);
}

fn piece(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A birth of whole numbers by name and alias; of a node with the number of its connection.
fn birth(timestamp: u64, seq: u64, bd_seq: Option<u64>, metrics: &[(&str, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    number(1, timestamp, &mut out);
    if let Some(bd_seq) = bd_seq {
        let mut metric = Vec::new();
        piece(1, b"bdSeq", &mut metric);
        number(4, 4, &mut metric);
        number(11, bd_seq, &mut metric);
        piece(2, &metric, &mut out);
    }
    for (name, alias) in metrics {
        let mut metric = Vec::new();
        piece(1, name.as_bytes(), &mut metric);
        number(2, *alias, &mut metric);
        number(4, INT32, &mut metric);
        number(10, 1, &mut metric);
        piece(2, &metric, &mut out);
    }
    number(3, seq, &mut out);
    out
}

/// One value by its alias.
fn data(timestamp: u64, seq: u64, alias: u64, value: u64) -> Vec<u8> {
    let (mut out, mut metric) = (Vec::new(), Vec::new());
    number(1, timestamp, &mut out);
    number(2, alias, &mut metric);
    number(10, value, &mut metric);
    piece(2, &metric, &mut out);
    number(3, seq, &mut out);
    out
}
