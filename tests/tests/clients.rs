//! The hub as partners meet it: programs that know nothing of this project publish by MQTT, through a broker of their
//! own and by Kafka, and a Python client that learns the services by reflection is shown the incident.
#![cfg(feature = "services")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use yiwang_tests::demo::{client_id, leak, ledger_balances, property_topic, secret};
use yiwang_tests::hub::{Hub, Mode, PATIENCE, Plan, repository, run, service};
use yiwang_tests::wait::until;

/// Gas detectors of one town and their villages, one for each way in.
const TOWN: &str = "310118001";
const BY_MQTT_3: (&str, &str) = ("gas-01/G-0001", "310118001004");
const BY_MQTT_5: (&str, &str) = ("gas-01/G-0002", "310118001009");
const BY_BROKER: (&str, &str) = ("gas-01/G-0003", "310118001014");
const BY_KAFKA: (&str, &str) = ("gas-01/G-0004", "310118001019");
/// One of another town.
const FAR_TOWN: &str = "310118002";
const FAR: (&str, &str) = ("gas-01/G-0079", "310118002011");

/// The topic that partners write to unless a hub is told otherwise.
const INTAKE: &str = "yiwang.intake.v1";

/// From the start of the publishing program to the line that the partner's program prints. A second is the promise on
/// a machine of its own; this is the same on one that builds and tests beside it.
const DESK_MAX: Duration = Duration::from_secs(5);

/// Lines of a partner's program that nobody has looked at.
const LINES_MAX: usize = 16;

#[test]
fn real_clients_reach_the_right_desk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broker = service("YIWANG_TEST_MQTT").expect("the broker is there");
    let (broker_host, broker_port) = broker.split_once(':').expect("HOST:PORT");
    let plan = Plan::distributed(folder.path(), "clients").expect("the services are there");
    let Mode::Distributed { kafka, topic_prefix, .. } = plan.mode.clone() else {
        panic!("a distributed plan")
    };
    let intake = intake_topic(&kafka);
    let plan = plan
        .with(&format!("intake.kafka.topics=[\"{intake}\"]"))
        .with(&format!(
            "intake.subscribe=[{{name=\"town\",host=\"{broker_host}\",port={broker_port},client_id=\"{topic_prefix}\"}}]"
        ));
    let hub = plan.start().expect("the three roles start");
    a_wrong_password_is_refused(&hub);

    let far = Partner::watch(&hub, FAR.0, FAR_TOWN);
    let near = |device| Partner::watch(&hub, device, TOWN);
    let lanes = [BY_MQTT_3, BY_MQTT_5, BY_BROKER, BY_KAFKA];
    let [mqtt_3, mqtt_5, subscribed, taken_in] = lanes.map(|(device, _)| near(device));
    mqtt_3.shows(BY_MQTT_3, "MQTT 3.1.1", || to_hub(&hub, "mqttv311", BY_MQTT_3.0));
    mqtt_5.shows(BY_MQTT_5, "MQTT 5.0", || to_hub(&hub, "mqttv5", BY_MQTT_5.0));
    subscribed.shows(BY_BROKER, "Mosquitto in between", || {
        let topic = property_topic(BY_BROKER.0);
        mosquitto_pub(broker_host, broker_port, &["-t", &topic, "-m", &leak(1)]);
    });
    taken_in.shows(BY_KAFKA, "Kafka intake", || {
        kcat_produce(&kafka, &intake, &format!("{}|{}", BY_KAFKA.0, leak(1)));
    });
    // Had another town's incident been sent to it, the client would have ended with an error.
    far.shows(FAR, "another town", || to_hub(&hub, "mqttv5", FAR.0));

    // What nobody knows is no reason to refuse: it is kept, and a person finds it.
    let unknown = "gas-01/G-9999";
    let topic = property_topic(unknown);
    mosquitto_pub(broker_host, broker_port, &["-t", &topic, "-m", &leak(1)]);
    kcat_produce(&kafka, &intake, &format!("{unknown}|{}", leak(1)));
    kcat_produce(&kafka, &intake, "no key of ours|no body of ours");
    until("the router to have judged them", PATIENCE, || {
        let kept = hub.metric("router", "yiwang_ledger_records", "row=\"quarantined\"")?;
        if kept == 3.0 { Ok(()) } else { Err(format!("{kept} of 3 quarantined")) }
    })
    .expect("what is unknown is quarantined");

    kcat_reads(&kafka, &format!("{topic_prefix}readings.v1"), "readings");
    kcat_reads(&kafka, &format!("{topic_prefix}signals.v1"), "signals");
    ledger_balances(&hub);
}

/// The default topic, unless this Kafka has been used before: what lies in it then is not ours.
fn intake_topic(kafka: &str) -> String {
    let known = run(Command::new("kcat").args(["-b", kafka, "-L"])).expect("kcat lists topics");
    if known.contains(&format!("topic \"{INTAKE}\"")) {
        return format!("clients.{}.intake.v1", std::process::id());
    }
    INTAKE.to_owned()
}

/// A partner's program that watches in the name of a town.
struct Partner {
    child: Child,
    lines: Receiver<String>,
}

impl Partner {
    fn watch(hub: &Hub, device: &str, town: &str) -> Self {
        let python = service("YIWANG_TEST_PYTHON").expect("the Python clients are there");
        let token = hub.token(town).expect("a token of the town");
        let seconds = PATIENCE.as_secs().to_string();
        let mut child = Command::new(python)
            .arg(repository().join("tests/python/watch.py"))
            .args([&hub.grpc().to_string(), device, town, &seconds])
            .env("YIWANG_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the partner's program starts");
        let printed = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits until it watches, lets the device alarm, and waits for the incident with its place.
    fn shows(mut self, (device, village): (&str, &str), by: &str, alarm: impl FnOnce()) {
        assert_eq!(self.lines.recv_timeout(PATIENCE).as_deref(), Ok("watching"), "{device}");
        let begun = Instant::now();
        alarm();
        let line = self.lines.recv_timeout(DESK_MAX);
        let line = line.unwrap_or_else(|_| panic!("{device} by {by} is not shown in {DESK_MAX:?}"));
        println!("{by}: publish to desk {} ms", begun.elapsed().as_millis());
        let town = &village[..TOWN.len()];
        let wanted = json!({"village": village, "station": station_of(village), "town": town});
        let shown: Value = serde_json::from_str(&line).expect("a JSON object");
        assert_eq!(shown, wanted, "{device} by {by}");
        assert!(self.child.wait().expect("the program ends").success());
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// The station of a village, as the district's file has it.
fn station_of(village: &str) -> String {
    let file = repository().join("config/district/units.tsv");
    let units = std::fs::read_to_string(file).expect("the units of the district");
    let row = units.lines().find(|line| line.split('\t').next() == Some(village));
    let station = row.and_then(|row| row.split('\t').nth(1)).expect("the village has a row");
    station.to_owned()
}

/// A registered device publishes to the hub itself.
fn to_hub(hub: &Hub, version: &str, device: &str) {
    let (id, secret, topic) = (client_id(device), secret(device), property_topic(device));
    let port = hub.mqtt().port().to_string();
    let login = ["-V", version, "-i", &id, "-u", &id, "-P", &secret];
    mosquitto_pub("127.0.0.1", &port, &[&login[..], &["-t", &topic, "-m", &leak(1)]].concat());
}

fn mosquitto_pub(host: &str, port: &str, arguments: &[&str]) {
    let mut publish = Command::new("mosquitto_pub");
    publish.args(["-h", host, "-p", port, "-q", "1"]).args(arguments);
    run(&mut publish).expect("mosquitto_pub has its acknowledgement");
}

fn a_wrong_password_is_refused(hub: &Hub) {
    let id = client_id(BY_MQTT_3.0);
    let port = hub.mqtt().port().to_string();
    for version in ["mqttv311", "mqttv5"] {
        let mut publish = Command::new("mosquitto_pub");
        publish.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-V", version, "-i", &id]);
        publish.args(["-u", &id, "-P", "wrong", "-t", &property_topic(BY_MQTT_3.0), "-n"]);
        let words = run(&mut publish).expect_err("a wrong password");
        assert!(words.to_lowercase().contains("bad user name or password"), "{words}");
    }
}

fn kcat_produce(kafka: &str, topic: &str, record: &str) {
    let mut kcat = Command::new("kcat")
        .args(["-P", "-b", kafka, "-t", topic, "-K", "|"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("kcat starts");
    let mut input = kcat.stdin.take().expect("its input is a pipe");
    input.write_all(record.as_bytes()).expect("kcat takes the record");
    drop(input);
    assert!(kcat.wait().expect("kcat ends").success(), "kcat writes to {topic}");
}

/// Any Kafka client can read what the hub writes: its key, its CloudEvents headers and its value.
fn kcat_reads(kafka: &str, topic: &str, kind: &str) {
    let consume = ["-C", "-b", kafka, "-t", topic, "-o", "beginning", "-e", "-q"];
    let mut list = Command::new("kcat");
    let list = run(list.args(consume).args(["-f", "%p %o %k %h\\n"])).expect("kcat reads");
    let mut devices = Vec::new();
    for line in list.lines() {
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next().expect("partition, offset, key, headers");
        let (partition, offset, key, headers) = (part(), part(), part(), part());
        assert!(headers.contains("ce_specversion=1.0") && headers.contains("ce_id="), "{headers}");
        let mut one = Command::new("kcat");
        one.args(["-C", "-b", kafka, "-t", topic, "-p", partition, "-o", offset]);
        one.args(["-c", "1", "-e", "-q", "-f", "%s"]);
        let value = one.output().expect("kcat reads one record").stdout;
        let record = yiwang_proto::json::record(kind, key.as_bytes(), &value);
        let record = record.expect("the value is a record of its topic");
        assert_eq!(record["device"], key, "{record}");
        devices.push(key.to_owned());
    }
    devices.sort();
    devices.dedup();
    let wanted = [BY_MQTT_3, BY_MQTT_5, BY_BROKER, BY_KAFKA, FAR].map(|(device, _)| device);
    assert_eq!(devices, wanted, "{topic}");
}
