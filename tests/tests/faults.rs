//! What devices do wrong, against the real binary (delivery contract, section 11): data out of order and old (F11), clocks
//! that are wrong (F12), bytes that nobody can read (F13). The books of contract section 9 are empty after each, and
//! devices that do nothing wrong notice nothing: all share one partition.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;
use yiwang_fuzz::{Mutator, found, samples};
use yiwang_proto::incident::v1;
use yiwang_tests::accounting::{CLEAN, Device, LEAK, Said, Script, Shown, now_ms};
use yiwang_tests::demo::{connect, desk, leak, publish, secret};
use yiwang_tests::files::Files;
use yiwang_tests::hub::{Hub, PATIENCE, Plan};
use yiwang_tests::mqtt::{Connection, Incoming, Version};
use yiwang_tests::settle::{drain, has_raw, load, routes_more, settle, under_load};

const ALARM_EVERY: u64 = 40;
/// From so many raises in ten minutes on, an alarm waits before it clears: its next leaks are the same alarm.
const FLAPPING: u64 = 5;
const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
const STORED: Incoming = Incoming::PubAck(7, 0);

fn start(files: &Files, data: &std::path::Path) -> (Hub, String) {
    files.quick_alarms();
    let plan = files.plan(Plan::embedded(data));
    let plan = plan.with("intake.listen.messages_per_second_max=0").with("log.partitions=1");
    let hub = plan.start().expect("the hub starts");
    let district = hub.token("310118").expect("a token of the district");
    (hub, district)
}

fn gas(number: usize) -> String {
    format!("gas-01/G-{number:04}")
}

fn of_device<'a>(records: &'a [Value], device: &'a str) -> impl Iterator<Item = &'a Value> {
    let records = records.iter().map(|line| &line["record"]);
    records.filter(move |record| record["device"] == device)
}

/// How often an alarm of a device was raised, repeats of one signal left out.
fn raised(shown: &Shown, device: &str) -> usize {
    let raises = of_device(&shown.signals, device).filter(|signal| signal["kind"] == "raise");
    raises.map(|signal| signal["event_id"].to_string()).collect::<BTreeSet<_>>().len()
}

#[test]
fn old_data_moves_no_rule_and_holds_nobody_up() {
    const WAITING: &str = "gas-01/G-0030";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut hub, district) = start(&Files::copy(folder.path()), folder.path());
    // Half of the devices hand in six hours among what they measure now; in those, gas leaked all the time.
    let mixed = |seq: u64, now| match seq % 2 == 1 && seq > 1 {
        true => Said { ts: now - 6 * HOUR, gas: LEAK, backfill: true },
        false => Said { ts: now, gas: CLEAN, backfill: false },
    };
    let device = |number: usize| match number <= 4 {
        true => Device::new(&gas(number), &secret(&gas(number)), 1, ALARM_EVERY),
        false => Device::scripted(&gas(number), &secret(&gas(number)), 1, Box::new(mixed)),
    };
    let town = desk(&hub, "310118");
    let screen = town.watch("screen", b"").expect("the district may watch");
    let devices = load(hub.mqtt(), (1..=8).map(device).collect(), || {
        routes_more(&hub, 1_000.0);
        let mut waiting = connect(&hub, WAITING, Version::V311);
        let begun = Instant::now();
        assert_eq!(publish(&mut waiting, WAITING, &leak(1)), STORED);
        let shown = screen.incident(WAITING, v1::State::Dispatched, PATIENCE);
        shown.expect("a live alarm reaches its desk while old data is handed in");
        println!("F11 publish to desk while old data is handed in: {:?}", begun.elapsed());
        routes_more(&hub, 1_000.0);
    });
    drain(&hub);
    let shown = settle(&mut hub, &devices, &district, "F11");
    for number in 1..=8 {
        let (key, sent) = (gas(number), devices[number - 1].attempted);
        let leaks = if number <= 4 { (sent / ALARM_EVERY).min(FLAPPING) } else { 0 };
        assert_eq!(raised(&shown, &key) as u64, leaks, "{key} by {sent} messages");
        let old = of_device(&shown.readings, &key).filter(|it| flags(it).contains("BACKFILL"));
        assert_eq!(
            old.count() > 50,
            number > 4,
            "{key}: old data is kept, and marked as what it is"
        );
    }
}

fn flags(reading: &Value) -> BTreeSet<&str> {
    reading["flags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A clock: what it shows in a message of this number, and how a reading with it is flagged (devices, section 2.4).
struct Clock {
    shows: fn(u64, i64) -> i64,
    flags: &'static [&'static str],
    /// How much older than its reception a reading is believed to be.
    age: i64,
}

const CLOCKS: [Clock; 8] = [
    Clock { shows: |_, now| now, flags: &[], age: 0 },
    Clock { shows: |_, now| now + 25 * HOUR, flags: &["CLOCK_AHEAD"], age: 0 },
    Clock { shows: |_, now| now - 25 * HOUR, flags: &["CLOCK_BEHIND"], age: 0 },
    // A day slow is believed, and so are its rules.
    Clock { shows: |_, now| now - 23 * HOUR, flags: &[], age: 23 * HOUR },
    // Since its start, in 1970; and at the end of 32 bits, in 2038.
    Clock { shows: |seq, _| seq as i64 * 1_000, flags: &["CLOCK_UNSET"], age: 0 },
    Clock { shows: |_, _| 2_147_483_647_000, flags: &["CLOCK_AHEAD"], age: 0 },
    Clock {
        shows: |seq, now| [now, now + 25 * HOUR, 0, now - 25 * HOUR][(seq % 4) as usize],
        flags: &["CLOCK_AHEAD", "CLOCK_BEHIND", "CLOCK_UNSET"],
        age: 0,
    },
    // There and back within what is believed: the older half is late and moves no rule.
    Clock { shows: |seq, now| now - 23 * HOUR * (seq % 2) as i64, flags: &[], age: 0 },
];

/// Leaks that are not late: where a clock jumps, what it shows when it is right may lie before the time of reception that was
/// believed of the message before.
fn leaks_in_order(readings: &[&Value]) -> u64 {
    let mut newest = i64::MIN;
    let counted = readings.iter().filter(|reading| {
        let time = reading["time"].as_i64().expect("a reading has a time");
        let in_order = time >= newest;
        newest = newest.max(time);
        in_order
    });
    counted.filter(|reading| reading["values"]["concentration"]["v"] == LEAK).count() as u64
}

#[test]
fn wrong_clocks_are_flagged_and_rules_keep_their_heads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut hub, district) = start(&Files::copy(folder.path()), folder.path());
    let device = |(number, clock): (usize, &Clock)| {
        let shows = clock.shows;
        let script: Script = Box::new(move |seq, now| {
            let gas = if seq.is_multiple_of(ALARM_EVERY) { LEAK } else { CLEAN };
            Said { ts: shows(seq, now), gas, backfill: false }
        });
        Device::scripted(&gas(number), &secret(&gas(number)), 1, script)
    };
    let began = now_ms();
    let devices = (1..).zip(&CLOCKS).map(device).collect();
    let devices = load(hub.mqtt(), devices, || routes_more(&hub, 2_000.0));
    drain(&hub);
    let shown = settle(&mut hub, &devices, &district, "F12");
    let number = |record: &Value, field: &str| record[field].as_i64().expect("a number");
    let age = |record: &Value| number(record, "received_at") - number(record, "time");
    for (clock, device) in CLOCKS.iter().zip(&devices) {
        let key = &device.key;
        let readings: Vec<_> = of_device(&shown.readings, key).collect();
        let seen: BTreeSet<_> = readings.iter().flat_map(|reading| flags(reading)).collect();
        assert_eq!(seen, clock.flags.iter().copied().collect(), "{key}");
        for reading in readings.iter().filter(|reading| !flags(reading).is_empty()) {
            assert_eq!(age(reading), 0, "our time is believed instead: {reading}");
        }
        let leaks = leaks_in_order(&readings);
        assert!(leaks > 0, "{key} leaked in {} messages", device.attempted);
        assert_eq!(raised(&shown, key) as u64, leaks.min(FLAPPING), "{key}: until it flaps");
        let signals: Vec<_> = of_device(&shown.signals, key).collect();
        let edges: Vec<_> = signals.iter().filter(|it| it["kind"] != "severity").collect();
        let turns = edges.windows(2).all(|pair| pair[0]["kind"] != pair[1]["kind"]);
        assert!(turns, "{key}: raised and cleared in turns");
        assert!(signals.is_sorted_by_key(|signal| number(signal, "time")), "{key}: times ascend");
        for signal in signals {
            let off = (age(signal) - clock.age).abs();
            assert!(off < MINUTE && number(signal, "received_at") >= began, "{key}: {signal}");
        }
    }
}

/// Products whose codecs read what the shipped ones do not.
const PROTOBUF: &str = "schema: yiwang-thing/1
profile: {productKey: poison-pb, name: poison, version: 1.0.0, kind: test/poison}
access: {identity: id}
codec: {kind: protobuf, time: {field: 10, type: timestamp},
  id: {boot: {field: 11}, seq: {field: [12, 1], type: sint32}, id: {field: 13}},
  map: {real: {field: 1, type: double}, whole: {field: [2, 1], type: sint32}, note: {field: 6, type: string}}}
properties:
  - {identifier: real, dataType: {type: double}}
  - {identifier: whole, dataType: {type: int}}
  - {identifier: note, dataType: {type: text, specs: {size: 8}}}
tests: [{topic: raw, hex: 'ff', expect: {quarantined: CODEC}}]
";
const SPARKPLUG: &str = "schema: yiwang-thing/1
profile: {productKey: poison-sp, name: poison, version: 1.0.0, kind: test/poison}
access: {identity: seq}
codec: {kind: sparkplugB, map: {temp: {metric: cpuTemp, scale: 0.1}}}
properties:
  - {identifier: level, dataType: {type: double}}
  - {identifier: temp, dataType: {type: int}}
tests: [{hex: 'ff', topic: spBv1.0/g/NDATA/e, expect: {quarantined: CODEC}}]
";
const POISONED: &str = "product_key,device_name,area_code,secret
poison-pb,P-0001,310118001001,demo-secret-P-0001
poison-sp,E-0001,310118001001,demo-secret-E-0001
";
/// Who is sent poison, and where: every codec, bodies of every kind.
const SENDERS: [(&str, &str); 9] = [
    ("gas-01/G-0040", "property"),
    ("manhole-01/M-0001", "event/selfTest"),
    ("nd-01/N-0001", "property"),
    ("wl-radar-01/R-0001", "raw"),
    ("smoke-01/S-0001", "raw"),
    ("smoke-01/S-0002", "pack"),
    ("smoke-01/S-0003", "status"),
    ("poison-pb/P-0001", "raw"),
    ("poison-sp/E-0001", "raw"),
];
/// Edited inputs of each fuzz target.
const EDITED: usize = 40;
const SEED: u64 = 13;
/// Bytes of what is deep or long; a little less than the longest packet.
const LONG: usize = 60_000;
/// Unacknowledged messages of a sender.
const WINDOW: usize = 50;

#[test]
fn poison_is_kept_aside_and_stops_nobody() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = Files::copy(folder.path());
    files.add("products/poison-pb.thing.yaml", PROTOBUF);
    files.add("products/poison-sp.thing.yaml", SPARKPLUG);
    files.add("devices/poison.csv", POISONED);
    let (mut hub, district) = start(&files, folder.path());
    let inputs = inputs();
    let spoiled = spoiled();
    let devices = under_load(hub.mqtt(), 8, ALARM_EVERY, || {
        for (device, path) in SENDERS {
            send(&hub, device, path, &inputs);
        }
        for (number, (body, _)) in (2..).zip(&spoiled) {
            send(&hub, &radar(number), "property", std::slice::from_ref(body));
        }
        routes_more(&hub, 500.0);
    });
    drain(&hub);
    let sent = inputs.len() * SENDERS.len() + spoiled.len();
    let healthy: u64 = devices.iter().map(|device| device.attempted).sum();
    has_raw(&hub, || Ok((sent as u64 + healthy) as f64));
    assert!(hub.metric("all", "yiwang_router_partition_owned", "") == Ok(1.0));
    let shown = settle(&mut hub, &devices, &district, "F13");
    for row in shown.quarantine.iter().map(|line| &line["record"]) {
        assert!(!row["detail"].to_string().contains("panic"), "no codec fell over it: {row}");
    }
    for (number, (body, readable)) in (2..).zip(&spoiled) {
        let device = radar(number);
        let readings = of_device(&shown.readings, &device).count();
        let rows: Vec<_> = of_device(&shown.quarantine, &device).collect();
        let fate = if *readable { (1, 0) } else { (0, 1) };
        let said: Vec<_> = rows.iter().map(|row| (&row["reason"], &row["detail"])).collect();
        assert_eq!((readings, rows.len()), fate, "{device}: {said:?}");
        let kept = |row: &&Value| match std::str::from_utf8(body) {
            Ok(text) => row["payload"].as_str().unwrap_or_default() == text,
            Err(_) => row["payload"]["hex"].as_str().is_some_and(|it| it.len() == 2 * body.len()),
        };
        assert!(rows.iter().all(kept), "{device}: kept as it came");
    }
    assert!(of_device(&shown.quarantine, SENDERS[0].0).count() > inputs.len() / 2);
}

fn radar(number: usize) -> String {
    format!("wl-radar-01/R-{number:04}")
}

/// What is known of every fuzz target, edited, and what is cut off in its midst.
fn inputs() -> Vec<Vec<u8>> {
    let mut mutator = Mutator::new(SEED);
    let mut all = Vec::new();
    for target in yiwang_fuzz::TARGETS {
        let samples = samples(target.name).expect("samples");
        all.extend(samples.iter().cloned());
        let known = [samples, found(target.name).expect("what fuzzing found")].concat();
        all.extend((0..EDITED).map(|_| mutator.next(&known)));
    }
    for target in ["protobuf", "sparkplug"] {
        let whole = samples(target).expect("samples").into_iter().max_by_key(Vec::len);
        let whole = whole.expect("a sample");
        all.extend((0..whole.len()).map(|end| whole[..end].to_vec()));
    }
    all
}

/// Bodies that are wrong in one way, and whether they can be read all the same.
fn spoiled() -> Vec<(Vec<u8>, bool)> {
    let body = |text: &str| text.as_bytes().to_vec();
    let level = |number: &str| body(&format!(r#"{{"params":{{"level":{number}}}}}"#));
    vec![
        // No UTF-8, UTF-16, a zip bomb's beginning, nothing, zeros.
        (b"{\"level\":1,\"\xff\xfe\":2}".to_vec(), false),
        (b"\xff\xfe{\x00}\x00".to_vec(), false),
        ([&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3][..], &[0xff; LONG]].concat(), false),
        (Vec::new(), false),
        (vec![0; LONG], false),
        // Deep.
        (vec![b'['; LONG], false),
        (level(&r#"{"a":"#.repeat(LONG / 5)), false),
        (level(&format!("{}1{}", "[".repeat(LONG / 2 - 20), "]".repeat(LONG / 2 - 20))), false),
        // Numbers: too large for a double, of very many digits, the ends of 64 bits, no number.
        (level("1e999"), false),
        (level(&"9".repeat(LONG - 100)), false),
        (level(&format!("1.{}", "0".repeat(LONG - 100))), false),
        (level("NaN"), false),
        (body(r#"{"boot":1e30,"seq":1,"params":{"level":1}}"#), false),
        (body(r#"{"boot":18446744073709551616,"seq":1,"params":{"level":1}}"#), false),
        (body(r#"{"ts":9223372036854775807,"params":{"level":1}}"#), true),
        (body(r#"{"ts":-9223372036854775808,"params":{"level":1}}"#), true),
        // A long name, one as long as the body, one name a thousand times.
        (body(&format!(r#"{{"level":1,"{}":2}}"#, "x".repeat(8_000))), true),
        (body(&format!(r#"{{"level":1,"{}":2}}"#, "x".repeat(LONG - 100))), false),
        (body(&format!("{{{}}}", vec![r#""level":1"#; 1_000].join(","))), false),
    ]
}

fn send(hub: &Hub, device: &str, path: &str, bodies: &[Vec<u8>]) {
    let mut connection: Connection = connect(hub, device, Version::V311);
    let topic = format!("iot/v1/{device}/up/{path}");
    for window in bodies.chunks(WINDOW) {
        for (number, body) in (1..).zip(window) {
            connection.publish(&topic, number, body);
        }
        connection.flush().expect("the socket takes it");
        let mut acknowledged = 0;
        while acknowledged < window.len() {
            let each = |packet| {
                acknowledged += 1;
                assert_eq!(packet, Incoming::PubAck(acknowledged as u16, 0), "{device} {path}");
            };
            connection.receive(each).unwrap_or_else(|error| panic!("{device} {path}: {error}"));
        }
    }
}
