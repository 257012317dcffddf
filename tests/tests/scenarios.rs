//! What people and machines do with a hub, against the real binary: one set of scenarios, run in one process and in
//! three over Kafka and PostgreSQL (feature `services`).

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use yiwang_proto::incident::v1;
use yiwang_proto::incident::v1::act_request::Action;
use yiwang_tests::demo::{connect, desk, leak, ledger_balances, publish};
use yiwang_tests::desk::{Desk, reason};
use yiwang_tests::hub::{Hub, PATIENCE, Plan, get, run, service};
use yiwang_tests::mqtt::{Connection, Incoming, Login, Version};
use yiwang_tests::wait::until;

/// Two gas detectors of the demo district in different towns, and where the first one stands.
const DEVICE: &str = "gas-01/G-0001";
const TOWN: &str = "310118001";
const STATION: &str = "310118001-S1";
const VILLAGE: &str = "310118001004";
const FAR_DEVICE: &str = "gas-01/G-0079";
const FAR_TOWN: &str = "310118002";

const SOON: Duration = Duration::from_secs(20);

fn embedded() -> (TempDir, Hub) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hub = Plan::embedded(folder.path()).start().expect("the hub starts");
    (folder, hub)
}

#[test]
fn embedded_carries_an_alarm_to_its_desk() {
    let (_folder, hub) = embedded();
    an_alarm_reaches_its_town_and_no_other(&hub);
    people_work_on_a_case_until_it_is_closed(&hub);
    a_stream_goes_on_where_it_was(&hub);
    a_report_is_done_once(&hub);
    ledger_balances(&hub);
}

#[cfg(feature = "services")]
#[test]
fn distributed_carries_an_alarm_to_its_desk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan::distributed(folder.path(), "scenario").expect("the services are there");
    let hub = plan.start().expect("the three roles start");
    an_alarm_reaches_its_town_and_no_other(&hub);
    people_work_on_a_case_until_it_is_closed(&hub);
    a_stream_goes_on_where_it_was(&hub);
    a_report_is_done_once(&hub);
    ledger_balances(&hub);
}

fn an_alarm_reaches_its_town_and_no_other(hub: &Hub) {
    let (near, far) = (desk(hub, TOWN), desk(hub, FAR_TOWN));
    let near = near.watch("screen", b"").expect("the town may watch");
    let far = far.watch("screen", b"").expect("the other town may watch");
    let mut device = connect(hub, DEVICE, Version::V311);
    let begun = Instant::now();
    assert_eq!(publish(&mut device, DEVICE, &leak(1)), Incoming::PubAck(7, 0));
    let incident =
        near.incident(DEVICE, v1::State::Dispatched, SOON).expect("the town is shown it");
    println!("publish to desk: {:?}", begun.elapsed());
    let place = incident.place.clone().unwrap_or_default();
    let id = |unit: Option<v1::UnitRef>| unit.map(|unit| unit.id).unwrap_or_default();
    assert_eq!(id(place.town), TOWN);
    assert_eq!(id(place.station), STATION);
    assert_eq!(id(place.village), VILLAGE);
    assert_eq!(id(incident.lead), "company:gas");
    // The other town's own alarm comes after it on the same stream: had the first been sent, it would be there.
    let mut device = connect(hub, FAR_DEVICE, Version::V5);
    assert_eq!(publish(&mut device, FAR_DEVICE, &leak(1)), Incoming::PubAck(7, 0));
    far.incident(FAR_DEVICE, v1::State::Dispatched, SOON).expect("the other town is shown its own");
    assert!(
        far.sources().iter().all(|source| source == &format!("device/{FAR_DEVICE}")),
        "{:?}",
        far.sources()
    );
}

fn people_work_on_a_case_until_it_is_closed(hub: &Hub) {
    let town = desk(hub, TOWN);
    let watch = town.watch("work", b"").expect("the town may watch");
    let case = watch.incident(DEVICE, v1::State::Dispatched, SOON).expect("the case is open");
    let name = case.name.as_str();

    // Another town: the case does not exist.
    let refused = desk(hub, FAR_TOWN).get(name).expect_err("out of sight");
    assert_eq!(reason(&refused), "NOT_FOUND");
    // In sight, but not the lead.
    let refused = town.act(name, "w-1", "王敏", Action::Acknowledge(v1::Acknowledge::default()));
    assert_eq!(reason(&refused.expect_err("not the lead")), "NOT_YOURS");
    // On a version that is past.
    let gas = desk(hub, "company:gas");
    let old =
        gas.act_seen(name, "w-2", "陈晨", "1", Action::Acknowledge(v1::Acknowledge::default()));
    assert_eq!(reason(&old.expect_err("an old version")), "VERSION_CONFLICT");

    // 退单: asked by the lead, decided by another person of the desk, dispatched anew, given to the station.
    let ask = v1::RequestReturn {
        reason: v1::ReturnReason::NotOurs.into(),
        note: "非本单位职责".to_owned(),
        proposed: String::new(),
    };
    gas.act(name, "w-3", "陈晨", Action::RequestReturn(ask)).expect("the lead may ask");
    let decide = |decision: v1::Decision| {
        Action::DecideReturn(v1::DecideReturn {
            decision: decision.into(),
            note: "同意".to_owned(),
            lead: STATION.to_owned(),
        })
    };
    let same = town.act(name, "w-4", "陈晨", decide(v1::Decision::Approve));
    assert_eq!(reason(&same.expect_err("the asker may not decide")), "SAME_PERSON");
    let returned =
        town.act(name, "w-5", "张伟", decide(v1::Decision::Approve)).expect("the desk decides");
    assert_eq!(returned.return_count, 1);
    let lead = returned.lead.clone().unwrap_or_default().id;
    assert_ne!(lead, "company:gas");

    let lead_desk = desk(hub, &lead);
    lead_desk
        .act(name, "w-6", "刘洋", Action::Acknowledge(v1::Acknowledge::default()))
        .expect("the lead acknowledges");
    let again = lead_desk.act(name, "w-6", "刘洋", Action::Acknowledge(v1::Acknowledge::default()));
    again.expect("the same command again has the same answer");
    let other =
        lead_desk.act(name, "w-6", "刘洋", Action::Comment(v1::Comment { text: "x".to_owned() }));
    assert_eq!(reason(&other.expect_err("another command under the same id")), "COMMAND_ID_REUSED");

    let back = || {
        Action::FeedBack(v1::FeedBack {
            result: "已关阀".to_owned(),
            evidence: vec!["photo:1".to_owned()],
        })
    };
    let early = lead_desk.act(name, "w-7", "刘洋", back());
    assert_eq!(reason(&early.expect_err("assists are not done")), "ASSISTS_OPEN");
    finish_assists(hub, &town, name);
    lead_desk.act(name, "w-8", "刘洋", back()).expect("the lead feeds back");
    town.act(name, "w-9", "赵静", Action::StartCheck(v1::StartCheck::default()))
        .expect("the desk checks");
    let closed = town
        .act(name, "w-10", "李强", Action::Close(v1::Close::default()))
        .expect("the desk closes");
    assert_eq!(closed.state(), v1::State::Closed);
    assert_eq!(closed.on_time, Some(true));
    watch.incident(DEVICE, v1::State::Closed, SOON).expect("the stream shows the end");

    let history = town.get(name).expect("in sight").history;
    let versions: Vec<_> = history.iter().map(|entry| entry.version).collect();
    assert_eq!(versions, (1..=closed.version).collect::<Vec<_>>(), "the history has no gap");
    assert!(history.iter().any(|entry| entry.transition == "T09"), "the return is in it");
}

/// Lets every unit whose mandatory assist is open finish it.
fn finish_assists(hub: &Hub, town: &Desk, name: &str) {
    let case = town.get(name).expect("in sight").incident.unwrap_or_default();
    for task in
        case.tasks.iter().filter(|task| task.role() == v1::TaskRole::Assist && task.mandatory)
    {
        let unit = task.unit.clone().unwrap_or_default().id;
        if !matches!(task.state(), v1::TaskState::Sent | v1::TaskState::Acked) {
            continue;
        }
        let done =
            v1::TaskDone { result: "已到场".to_owned(), evidence: vec!["photo:2".to_owned()] };
        let desk = desk(hub, &unit);
        if task.state() == v1::TaskState::Sent {
            let ack = Action::TaskAck(v1::TaskAck::default());
            desk.act(name, &format!("a-{unit}"), "周杰", ack).expect("the assist acknowledges");
        }
        desk.act(name, &format!("d-{unit}"), "周杰", Action::TaskDone(done))
            .expect("the assist is done");
    }
}

fn a_stream_goes_on_where_it_was(hub: &Hub) {
    let district = desk(hub, "310118");
    let first = district.watch("resume", b"").expect("the district may watch");
    first
        .incident(FAR_DEVICE, v1::State::Dispatched, SOON)
        .expect("the open case is in the snapshot");
    let token = first.token();
    drop(first);
    // Away, a device of another town alarms.
    let device = "gas-01/G-0030";
    let mut connection = connect(hub, device, Version::V5);
    assert_eq!(publish(&mut connection, device, &leak(1)), Incoming::PubAck(7, 0));
    let second = district.watch("resume", &token).expect("the token is good");
    second.incident(device, v1::State::Dispatched, SOON).expect("what was missed comes");
    let mut seen = second.versions();
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "nothing came twice");
    // A token is its consumer's own.
    let foreign =
        desk(hub, TOWN).watch("resume", &token).map(|_| ()).expect_err("another unit's token");
    assert_eq!(reason(&foreign), "TOKEN_FOREIGN");
    let mut forged = token;
    forged[3] ^= 1;
    let refused = district.watch("resume", &forged).map(|_| ()).expect_err("an altered token");
    assert_eq!(reason(&refused), "TOKEN_BAD");
    let nobody = Desk::new(hub.grpc(), "yw_nobody").list(&[]).expect_err("an unknown token");
    assert_eq!(reason(&nobody), "TOKEN_UNKNOWN");
}

fn a_report_is_done_once(hub: &Hub) {
    let town = desk(hub, TOWN);
    let report = v1::ReportRequest {
        request_id: "citizen-1".to_owned(),
        category: "flood.road".to_owned(),
        text: "路口积水".to_owned(),
        place: VILLAGE.to_owned(),
        ..v1::ReportRequest::default()
    };
    let first = town.report(report.clone()).expect("the report is taken");
    assert_eq!(first.outcome(), v1::Outcome::Opened);
    let again = town.report(report).expect("the same report again");
    assert!(again.repeated_report);
    let name = |response: v1::ReportResponse| response.incident.unwrap_or_default().name;
    assert_eq!(name(first), name(again));
}

#[test]
fn what_is_wrong_has_a_clear_outcome_and_loses_nothing() {
    let (_folder, mut hub) = embedded();
    wrong_logins(&hub);
    wrong_packets(&hub);
    wrong_bodies(&hub);
    metrics_are_well_formed(&hub);
    let ends = hub.stop().expect("it stops when told");
    assert!(ends.iter().all(std::process::ExitStatus::success), "{ends:?}");
    let reasons: Vec<_> = hub.records("quarantine").iter().map(|row| text(row, "reason")).collect();
    for wanted in ["CODEC", "SCHEMA", "RANGE"] {
        assert!(reasons.iter().any(|reason| reason == wanted), "{wanted} is not in {reasons:?}");
    }
    let readings = hub.records("readings").iter().map(ToString::to_string).collect::<String>();
    assert!(
        readings.contains("OUT_OF_RANGE"),
        "the lenient product keeps what is out of range, flagged"
    );
    assert!(
        readings.contains("UNKNOWN_PROPERTY"),
        "the lenient product keeps what it does not know, flagged"
    );
}

fn text(row: &serde_json::Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

fn wrong_logins(hub: &Hub) {
    let tries = [
        ("gas-01.G-0001", "gas-01.G-0001", "wrong-secret-0001"),
        ("gas-01.G-9999", "gas-01.G-9999", "demo-secret-G-9999"),
        ("gas-01.G-0002", "gas-01.G-0001", "demo-secret-G-0001"),
    ];
    for version in [Version::V311, Version::V5] {
        for (client_id, user, password) in tries {
            let login = Login { version, client_id, credentials: Some((user, password)) };
            let refused = Connection::open(hub.mqtt(), &login).err().map(|error| error.kind());
            assert_eq!(
                refused,
                Some(std::io::ErrorKind::PermissionDenied),
                "{client_id} as {user}"
            );
        }
    }
    until("the refusals to be counted", SOON, || {
        let counted = hub.metric("gateway", "yiwang_gateway_connections_refused_total", "")?;
        if counted == 6.0 { Ok(()) } else { Err(format!("{counted} of 6")) }
    })
    .expect("every refusal is counted");
}

fn wrong_packets(hub: &Hub) {
    // A foreign topic: refused and told in 5.0, closed in 3.1.1.
    let mut device = connect(hub, DEVICE, Version::V5);
    device.publish("iot/v1/gas-01/G-0002/up/property", 9, b"{}");
    device.flush().expect("the socket takes it");
    let mut answer = None;
    device.receive(|packet| answer = Some(packet)).expect("an answer comes");
    assert_eq!(answer, Some(Incoming::PubAck(9, 0x87)));
    let mut device = connect(hub, DEVICE, Version::V311);
    device.publish("iot/v1/gas-01/G-0002/up/property", 9, b"{}");
    device.flush().expect("the socket takes it");
    assert!(device.receive(|_| ()).is_err(), "3.1.1 has no reason codes: it is closed");
    // 300 KB: told in 5.0, closed in both.
    let mut device = connect(hub, DEVICE, Version::V5);
    device.publish(&format!("iot/v1/{DEVICE}/up/property"), 9, &vec![b' '; 300_000]);
    // The hub may close while we are still writing.
    let _ = device.flush();
    let mut answer = None;
    if device.receive(|packet| answer = Some(packet)).is_ok() {
        assert_eq!(answer, Some(Incoming::Disconnect(0x95)));
    }
    let refused = |reason: &str| {
        hub.metric("gateway", "yiwang_ledger_records", &format!("reason=\"{reason}\""))
    };
    until("the refusals to be counted", SOON, || {
        let (foreign, size) = (refused("foreign_identity")?, refused("size")?);
        if foreign == 2.0 && size == 1.0 {
            Ok(())
        } else {
            Err(format!("{foreign} foreign, {size} too large"))
        }
    })
    .expect("every refusal is counted with its reason");
}

fn wrong_bodies(hub: &Hub) {
    let mut gas = connect(hub, DEVICE, Version::V311);
    let bodies = [
        r#"{"boot":1,"seq":"#,
        r#"{"boot":1,"seq":101,"params":{"concentration":450.5}}"#,
        r#"{"boot":1,"seq":102,"params":{"concentration":1.5,"colour":"red"}}"#,
    ];
    for body in bodies {
        assert_eq!(
            publish(&mut gas, DEVICE, body),
            Incoming::PubAck(7, 0),
            "stored, not judged: {body}"
        );
    }
    // The strict product.
    let strict = "nd-01/N-0001";
    let mut noise = connect(hub, strict, Version::V5);
    let bodies = [
        r#"{"boot":1,"seq":1,"params":{"noise":45.0,"pm10":50,"colour":"red"}}"#,
        r#"{"boot":1,"seq":2,"params":{"noise":4500.0,"pm10":50}}"#,
    ];
    for body in bodies {
        assert_eq!(
            publish(&mut noise, strict, body),
            Incoming::PubAck(7, 0),
            "stored, not judged: {body}"
        );
    }
    until("the router to have judged them", PATIENCE, || {
        let routed = hub.metric("router", "yiwang_ledger_records", "row=\"routed\"")?;
        let kept = hub.metric("router", "yiwang_ledger_records", "row=\"quarantined\"")?;
        if routed == 2.0 && kept == 3.0 {
            Ok(())
        } else {
            Err(format!("{routed} routed, {kept} quarantined"))
        }
    })
    .expect("each record has its fate");
    ledger_balances(hub);
}

/// Needs promtool, which the test command installs; without it the exposition is only looked at.
fn metrics_are_well_formed(hub: &Hub) {
    let (status, text) = get(hub.http("all"), "/metrics").expect("metrics answer");
    assert_eq!(status, 200);
    assert!(text.contains("# HELP yiwang_ledger_imbalance"), "metrics have help texts");
    let Ok(promtool) = service("YIWANG_TEST_PROMTOOL") else { return };
    let address = hub.http("all");
    let check = format!("curl -s http://{address}/metrics | {promtool} check metrics");
    run(Command::new("bash").args(["-o", "pipefail", "-c", &check]))
        .expect("promtool finds nothing");
}

#[test]
fn what_cannot_be_had_is_named_with_its_remedy() {
    let (folder, hub) = embedded();
    // The folder is held.
    let mut second = Plan::embedded(folder.path()).launch().expect("it can be tried");
    assert_eq!(second.wait_end().expect("it gives up").code(), Some(4));
    assert!(
        second.last_lines("all").contains("held by another process"),
        "{}",
        second.last_lines("all")
    );
    // The port is taken.
    let other = tempfile::tempdir().expect("a temporary folder");
    let taken = format!("intake.listen.address={}", hub.mqtt());
    let mut third = Plan::embedded(other.path()).with(&taken).launch().expect("it can be tried");
    assert_eq!(third.wait_end().expect("it gives up").code(), Some(4));
    let words = third.last_lines("all");
    assert!(words.contains(&hub.mqtt().to_string()), "{words}");
    // The configuration has a key that nobody knows.
    let file = other.path().join("my.toml");
    std::fs::write(&file, "[http]\nlissten = \"127.0.0.1:1\"\n").expect("the file is written");
    let mut plan = Plan::embedded(other.path());
    plan.config = file;
    let mut fourth = plan.launch().expect("it can be tried");
    assert_eq!(fourth.wait_end().expect("it gives up").code(), Some(3));
    let words = fourth.last_lines("all");
    assert!(words.contains("my.toml:2: http.lissten"), "{words}");
}

#[test]
fn the_shipped_configuration_has_no_problem() {
    let repository = yiwang_tests::hub::repository();
    let config = repository.join("config/yiwang.toml");
    let mut check = Command::new(yiwang_tests::hub::binary());
    let printed =
        run(check.args(["check", "--json", "--config"]).arg(config)).expect("check passes");
    let report: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let counts = &report["counts"];
    for (tier, wanted) in
        [("district", 1), ("town", 11), ("station", 43), ("village", 351), ("microgrid", 6)]
    {
        assert_eq!(counts[tier], wanted, "{tier}");
    }
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(0), "{report:#}");
}
