//! `yiwang trace` on the real binary: one message's life, the same by any of its ids, of a running hub and of its folder.

use serde_json::Value;
use yiwang_tests::accounting::now_ms;
use yiwang_tests::demo::{connect, ledger_balances, publish};
use yiwang_tests::hub::{Hub, PATIENCE, Plan};
use yiwang_tests::mqtt::{Incoming, Version};
use yiwang_tests::wait::until;

const DEVICE: &str = "gas-01/G-0001";
/// A leak whose rule has seen a newer value.
const LATE: f64 = 55.5;
/// What the instrument cannot measure.
const BEYOND: f64 = 140.5;
const STORED: Incoming = Incoming::PubAck(7, 0);

#[test]
fn embedded_tells_the_life_of_a_message() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut hub = Plan::embedded(folder.path()).start().expect("the hub starts");
    publish_some(&hub);
    let ids = ids(&hub);
    let running = told(&hub, &ids.signal);
    what_raised_an_alarm_is_told(&running);
    people_can_read_it(&hub, &ids.signal);
    what_was_not_judged_is_told_as_such(&hub);
    what_has_no_id_of_its_own_is_told(&hub, &running);
    hub.stop().expect("it stops");
    for id in [&ids.signal, &ids.reading, &ids.raw, &place(&running, "seq")] {
        let mut stopped = told(&hub, id);
        what_raised_an_alarm_is_told(&stopped);
        // People and clocks go on with the incident meanwhile.
        stopped["outputs"] = running["outputs"].clone();
        assert_eq!(stopped, running, "the folder tells the same, by any id of the message");
    }
    what_could_not_be_read_is_told(&told(&hub, &ids.quarantined));
    let nothing = hub.cli(&["trace", &"0".repeat(32)]).expect_err("nothing has this id");
    assert!(nothing.contains("nothing that the log keeps"), "{nothing}");
    what_has_no_id_of_its_own_is_told(&hub, &running);
    let no_id = hub.cli(&["trace", "gas"]).expect_err("no id");
    assert!(no_id.contains("32 hexadecimal digits"), "{no_id}");
}

#[cfg(feature = "services")]
#[test]
fn distributed_tells_the_life_of_a_message() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::distributed(folder.path(), "trace").expect("the services are there");
    let hub = plan.start().expect("the three roles start");
    publish_some(&hub);
    let ids = ids(&hub);
    what_raised_an_alarm_is_told(&told(&hub, &ids.signal));
    what_could_not_be_read_is_told(&told(&hub, &ids.quarantined));
}

/// A quiet value, a leak, the leak again, one of an hour ago, one beyond the range, and something that no codec reads.
fn publish_some(hub: &Hub) {
    let mut device = connect(hub, DEVICE, Version::V311);
    let leak = r#"{"boot":1,"seq":2,"params":{"concentration":45.5}}"#;
    let quiet = r#"{"boot":1,"seq":1,"params":{"concentration":1.5}}"#;
    let hour_ago = now_ms() - 3_600_000;
    let late =
        format!(r#"{{"boot":1,"seq":3,"ts":{hour_ago},"params":{{"concentration":{LATE}}}}}"#);
    let beyond = format!(r#"{{"boot":1,"seq":4,"params":{{"concentration":{BEYOND}}}}}"#);
    for body in [quiet, leak, leak, &late, &beyond, "{"] {
        assert_eq!(publish(&mut device, DEVICE, body), STORED);
    }
    // The books balance too while the router has read nothing yet.
    for topic in ["readings", "signals", "quarantine"] {
        until(&format!("an output in {topic}"), PATIENCE, || match hub.records(topic).len() {
            0 => Err(format!("none in {topic}")),
            _ => Ok(()),
        })
        .expect("what was routed is there");
    }
    ledger_balances(hub);
}

struct Ids {
    raw: String,
    reading: String,
    signal: String,
    quarantined: String,
}

fn ids(hub: &Hub) -> Ids {
    let signal = hub.records("signals").pop().expect("the leak raised an alarm");
    let reading = text(&signal["reading"]);
    let readings = hub.records("readings");
    let of = readings.iter().find(|it| text(&it["id"]) == reading).expect("a reading raised it");
    let quarantined = hub.records("quarantine").pop().expect("a body could not be read");
    Ids {
        raw: text(&of["raw"]),
        reading,
        signal: text(&signal["event_id"]),
        quarantined: text(&quarantined["raw"]),
    }
}

fn what_raised_an_alarm_is_told(told: &Value) {
    assert_eq!(told["fate"], "ROUTED", "{told:#}");
    assert_eq!(told["received"]["record"]["device"], DEVICE);
    assert_eq!(told["received"]["record"]["listener"], "mqtt");
    assert!(text(&told["product_version"]).starts_with("gas-01@"), "{told:#}");
    assert_eq!(text(&told["codec_hash"]).len(), 32);
    assert_eq!(told["exact"], true, "nothing has expired");
    assert_eq!(told["duplicates"].as_array().map(Vec::len), Some(1), "it was sent again");

    let outputs = told["outputs"].as_array().expect("a list");
    let of =
        |stream: &str| outputs.iter().find(|output| output["of"] == stream).expect("one came out");
    assert_eq!(of("readings")["record"]["values"]["concentration"]["v"], 45.5);
    assert_eq!(of("readings")["lies"][0]["topic"], "readings");
    let topics: Vec<_> = of("signals")["lies"].as_array().expect("a list").iter().collect();
    assert_eq!(topics.len(), 2, "the centre's and that of a route: {told:#}");
    assert_eq!(topics[0]["topic"], "signals");
    assert_eq!(topics[1]["topic"], "fire-brigade");

    assert_eq!(of("signals")["centre"]["outcome"], "OPENED", "{told:#}");
    assert!(text(&of("signals")["centre"]["incident"]).starts_with("310118-"), "{told:#}");

    let rules = told["rules"].as_array().expect("a list");
    let raised = rules.iter().find(|rule| rule["after"]["phase"] == "FIRING").expect("it fires");
    assert_eq!((&raised["looked"], &raised["judged"]), (&true.into(), &"SAMPLE".into()));
    assert_eq!(raised["before"]["phase"], "NORMAL");
    assert_eq!(raised["before"]["when"], false, "1.5 was no leak");
    assert_eq!(raised["after"]["when"], true);
    assert_eq!(raised["after"]["reads"]["concentration"]["v"], 45.5);
    assert!(text(&raised["when"]).contains("concentration"), "{raised:#}");
}

/// Rules that fire on a newer value do not read as if these had been true, or had moved anything.
fn what_was_not_judged_is_told_as_such(hub: &Hub) {
    let readings = hub.records("readings");
    for (value, judged) in [(LATE, "LATE"), (BEYOND, "INVALID")] {
        let is_it = |reading: &&Value| reading["values"]["concentration"]["v"] == value;
        let reading = readings.iter().find(is_it).expect("it became a reading");
        let raw = text(&reading["raw"]);
        let whole = told(hub, &raw);
        let rules = whole["rules"].as_array().expect("a list");
        let leak = rules.iter().find(|rule| rule["rule"] == "leak").expect("the product has it");
        assert_eq!((&leak["looked"], &leak["judged"]), (&true.into(), &judged.into()), "{leak:#}");
        assert_eq!(leak["before"], leak["after"], "it moved nothing");
        assert_eq!(leak["after"]["reads"]["concentration"]["v"], 45.5);
        assert_eq!(leak["passed"][0]["v"], value);
        assert_eq!(leak["passed"][0]["why"], judged);
        assert_eq!(leak["late"].is_null(), judged != "LATE", "{leak:#}");
        let printed = hub.cli(&["trace", &raw]).expect("the running hub tells it");
        let line = printed.lines().find(|line| line.contains(" leak: ")).expect("of the rule");
        for words in [format!("not judged, {judged}: "), format!("concentration={value}")] {
            assert!(line.contains(&words), "{words}: {printed}");
        }
        assert!(!line.contains("is true") && printed.contains("stays FIRING"), "{printed}");
        let reason = if judged == "LATE" { "history only" } else { "(OUT_OF_RANGE)" };
        assert!(line.contains(reason), "{reason}: {printed}");
    }
}

fn what_could_not_be_read_is_told(told: &Value) {
    assert_eq!(told["fate"], "QUARANTINED", "{told:#}");
    assert_eq!(told["reason"], "CODEC");
    assert_eq!(told["outputs"][0]["of"], "quarantine");
    assert_eq!(told["outputs"][0]["lies"].as_array().map(Vec::len), Some(1));
    let rules = told["rules"].as_array().expect("a list");
    assert!(!rules.is_empty() && rules.iter().all(|rule| rule["looked"] == false), "{told:#}");
    assert!(rules.iter().all(|rule| rule["judged"] == "NOTHING"), "{told:#}");
}

/// Where a message lies, as `trace` takes it.
fn place(told: &Value, seq: &str) -> String {
    let received = &told["received"];
    let seq = if seq == "seq" { &received["seq"] } else { &told[seq][0] };
    format!("raw/{}/{seq}", received["partition"])
}

/// The repeat of a message and a tick, by their places.
fn what_has_no_id_of_its_own_is_told(hub: &Hub, first: &Value) {
    let repeat = told(hub, &place(first, "duplicates"));
    assert_eq!((&repeat["fate"], &repeat["raw"]), (&"DUPLICATE".into(), &first["raw"]));
    assert_eq!(repeat["received"]["seq"], first["duplicates"][0]);
    assert_eq!(repeat["outputs"].as_array().map(Vec::len), Some(0), "{repeat:#}");
    assert_ne!(first["received"]["partition"], 0, "else no tick begins partition 0");
    let tick = hub.cli(&["trace", "raw/0/0"]).expect("it is there");
    assert!(tick.contains("none of a device") && tick.contains("a tick of"), "{tick}");
    let beyond = hub.cli(&["trace", "raw/0/999999999"]).expect_err("nothing lies there");
    assert!(beyond.contains("nothing that the log keeps"), "{beyond}");
}

fn people_can_read_it(hub: &Hub, id: &str) {
    let printed = hub.cli(&["trace", id]).expect("the running hub tells it");
    for words in ["ROUTED", "concentration=45.5", "is true", "NORMAL -> FIRING", "fire-brigade/"] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
}

fn told(hub: &Hub, id: &str) -> Value {
    let printed = hub.cli(&["trace", id, "--json"]).expect("the message is known");
    serde_json::from_str(&printed).expect("one JSON object")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
