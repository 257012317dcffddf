//! A message that ends the process (delivery contract, section 6): whoever starts it again, as systemd does, has a hub that
//! finds the message by itself, puts it aside with its bytes, and routes everything else once.
#![cfg(feature = "fault-points")]

use serde_json::Value;
use yiwang_tests::demo::{connect, property_topic};
use yiwang_tests::hub::{Hub, PATIENCE, Plan};
use yiwang_tests::mqtt::Version;
use yiwang_tests::settle::{drain, quick_alarms, settle, under_load};
use yiwang_tests::wait::until;

const DEVICES: u64 = 8;
const ALARM_EVERY: u64 = 40;
/// On two partitions; the ends that they bring about are not to be blamed on what the other devices send.
const SENDERS: [&str; 2] = ["gas-01/G-0040", "gas-01/G-0041"];
/// At these bytes the process ends, as if a stack overflowed.
const BODY: &str = r#"{"boot":1,"seq":1,"params":{"note":"fault-point:abort"}}"#;
const ATTEMPTS_MAX: u64 = 3;
/// For each message the life that meets it, lives that get nowhere, one by batch and enough by record.
const ENDS_MAX: u64 = 2 * (1 + ATTEMPTS_MAX + 1 + ATTEMPTS_MAX);

#[test]
fn embedded_finds_the_message_that_ends_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::embedded(folder.path()).with(&quick_alarms(folder.path()));
    let plan = plan
        .with("intake.listen.messages_per_second_max=0")
        .with(&format!("router.attempts_max={ATTEMPTS_MAX}"));
    let mut hub = plan.start().expect("the hub starts");
    let district = hub.token("310118").expect("a token of the district");
    let mut ends = 0;
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        for (number, device) in (1..).zip(SENDERS) {
            // What ends the process when it is routed was stored before, acknowledged or not.
            let mut connection = connect(&hub, device, Version::V311);
            connection.publish(&property_topic(device), 7, BODY.as_bytes());
            connection.flush().expect("the socket takes it");
            ends += ends_until_put_aside(&mut hub, f64::from(number));
            hub.wait_ready().expect("the hub is ready");
        }
    });
    assert!((ATTEMPTS_MAX..=ENDS_MAX).contains(&ends), "{ends} ends");
    drain(&hub);
    let rows = rows(&hub);
    let of: Vec<_> = rows.iter().map(|row| row["device"].as_str().unwrap_or_default()).collect();
    assert_eq!(of, SENDERS, "nothing else is put aside");
    for row in &rows {
        assert_eq!((&row["reason"], &row["attempts"]), (&"CODEC".into(), &ATTEMPTS_MAX.into()));
        assert_eq!(row["payload"], BODY, "with its bytes");
        let raw = row["raw"].as_str().expect("an id");
        let told = hub.cli(&["trace", raw]).expect("a replay for a person does not end the hub");
        assert!(told.contains("QUARANTINED CODEC"), "{told}");
    }
    // A replay meets both again, without care.
    hub.kill(None);
    hub.start_again().expect("the hub starts again");
    hub.wait_ready().expect("and lives");
    drain(&hub);
    println!("{ends} ends");
    settle(&mut hub, &devices, &district, "F13 process ends");
}

/// Starts the hub again whenever it ends, until so many messages are put aside; gives how often it ended.
fn ends_until_put_aside(hub: &mut Hub, messages: f64) -> u64 {
    let mut ends = 0;
    until("the message to be put aside", PATIENCE, || {
        ends += hub.revive()? as u64;
        match hub.metric("router", "yiwang_ledger_records", "row=\"quarantined\"")? {
            count if count == messages => Ok(()),
            count => Err(format!("{count} of {messages}, {ends} ends")),
        }
    })
    .expect("each is put aside");
    ends
}

fn rows(hub: &Hub) -> Vec<Value> {
    let mut rows = hub.records("quarantine");
    rows.sort_by_key(|row| row["device"].to_string());
    rows.dedup();
    rows
}
