//! Another configuration while the hub runs and devices publish: one with errors changes nothing and says where they are
//! (fault F25); one without is taken whole, and what rules have seen is kept where their text is the same.

use yiwang_tests::accounting::now_ms;
use yiwang_tests::demo::{client_id, connect, publish};
use yiwang_tests::desk::Desk;
use yiwang_tests::files::Files;
use yiwang_tests::hub::{Hub, PATIENCE, Plan};
use yiwang_tests::mqtt::{Connection, Incoming, Login, Version};
use yiwang_tests::settle::{drain, routes_more, settle, under_load};
use yiwang_tests::wait::until;

const DEVICES: u64 = 8;
const ALARM_EVERY: u64 = 40;
const PARTITIONS: f64 = 8.0;
const STORED: Incoming = Incoming::PubAck(7, 0);
const MINUTE: i64 = 60_000;

/// File, a text of it, and what takes its place: a rule, a codec, a policy and a calendar with an error.
const ERRORS: [(&str, &str, &str); 4] = [
    ("products/manhole-01.thing.yaml", "tilt >= attr('warnTilt')", "tilt >= attr('warnTile')"),
    ("products/smoke-01.thing.yaml", "tamper: {at: 1, bits: 1}", "tamper: {at: 1, bits: 77}"),
    ("district/policies.yaml", "  ack: 1m", "  ack: soon"),
    ("district/calendars.yaml", "covers_to: 2029-12-31", "covers_to: 2029-13-31"),
];

#[test]
fn embedded_refuses_what_has_errors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = Files::copy(folder.path());
    refuses_what_has_errors(files.plan(Plan::embedded(folder.path())), &files, "F25");
}

#[test]
fn embedded_changes_rules_under_load() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = Files::copy(folder.path());
    changes_rules_under_load(files.plan(Plan::embedded(folder.path())), &files, "F25 changed");
}

#[cfg(feature = "services")]
#[test]
fn distributed_changes_rules_under_load() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = Files::copy(folder.path());
    let plan = Plan::distributed(folder.path(), "reload").expect("the services are there");
    changes_rules_under_load(files.plan(plan), &files, "F25 changed, three processes");
}

fn start(plan: Plan, files: &Files) -> Hub {
    files.quick_alarms();
    let plan = plan
        .with("intake.listen.messages_per_second_max=0")
        .with(&format!("log.partitions={PARTITIONS}"));
    plan.start().expect("the hub starts")
}

fn refuses_what_has_errors(plan: Plan, files: &Files, name: &str) {
    let mut hub = start(plan, files);
    let district = hub.token("310118").expect("a token of the district");
    let hash = hash(&hub, "all");
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        for (file, good, bad) in ERRORS {
            let at = place(file, files.replace(file, good, bad));
            let told = hub.cli(&["reload"]).expect_err("it is refused");
            assert!(told.contains(&at) && told.contains("stays in force"), "{at}: {told}");
            assert!(told.contains("exit status: 3"), "{told}");
            routes_more(&hub, 1.0);
            files.replace(file, bad, good);
        }
        let broken = ERRORS.map(|(file, good, bad)| place(file, files.replace(file, good, bad)));
        hub.signal(None, "HUP").expect("the hub is told");
        reloads(&hub, "refused", 5.0);
        for at in broken {
            assert!(hub.words("all").contains(&at), "{at}: {}", hub.last_lines("all"));
        }
        routes_more(&hub, 1.0);
        assert_eq!(self::hash(&hub, "all"), hash, "what was in force is in force");
        for (file, good, bad) in ERRORS {
            files.replace(file, bad, good);
        }
        let told = hub.cli(&["reload"]).expect("nothing is wrong any more");
        assert!(told.contains("is in force: gateway, router, centre"), "{told}");
        assert_eq!(self::hash(&hub, "all"), hash, "nothing has changed");
    });
    let swaps = hub.metric("router", "yiwang_router_config_swaps_total", "");
    assert_eq!(swaps, Ok(0.0), "no partition has seen another configuration");
    drain(&hub);
    settle(&mut hub, &devices, &district, name);
}

fn place(file: &str, line: usize) -> String {
    let name = file.split('/').next_back().unwrap_or_default();
    format!("error: {name}:{line}: ")
}

/// What is in force in a process.
fn hash(hub: &Hub, role: &str) -> f64 {
    hub.metric(role, "yiwang_configuration_hash", "").expect("the metrics can be read")
}

/// Waits until every process has read its configuration so often with this result.
fn reloads(hub: &Hub, result: &str, times: f64) {
    let label = format!("result=\"{result}\"");
    for role in hub.processes() {
        until(&format!("{role} to have {result}"), PATIENCE, || {
            let so_far = hub.metric(role, "yiwang_configuration_reloads_total", &label)?;
            if so_far == times { Ok(()) } else { Err(format!("{so_far} of {times}")) }
        })
        .expect("every process reads its configuration");
    }
}

/// Puts in force what the files say, everywhere.
fn take(hub: &Hub, times: f64) {
    hub.signal(None, "HUP").expect("every process is told");
    reloads(hub, "taken", times);
    until("every partition to have the new rules", PATIENCE, || {
        let swaps = hub.metric("router", "yiwang_router_config_swaps_total", "")?;
        if swaps == PARTITIONS * times { Ok(()) } else { Err(format!("{swaps} swaps")) }
    })
    .expect("every partition has the new rules");
    let hashes: Vec<_> = hub.processes().iter().map(|role| hash(hub, role)).collect();
    assert!(hashes.iter().all(|it| *it == hashes[0]), "{hashes:?}");
}

/// The noise has another version with its other rule, the level has not.
fn versions_are_watched(hub: &Hub) {
    for role in hub.processes() {
        let words = hub.words(role);
        let warned: Vec<_> = words.lines().filter(|line| line.contains("is not greater")).collect();
        assert!(warned.len() == 1 && warned[0].contains("`wl-radar-01`"), "{role}: {warned:?}");
    }
}

const WATER: &str = "wl-radar-01/R-0001";
const NOISE: &str = "nd-01/N-0001";
const SMOKE: &str = "smoke-01/S-0001";
const COVER: &str = "manhole-01/M-0001";
const REPLACED: &str = "gas-01/G-0079";
const ITS_PLACE: &str = "gas-01/G-9079";

fn changes_rules_under_load(plan: Plan, files: &Files, name: &str) {
    let mut hub = start(plan, files);
    let district = hub.token("310118").expect("a token of the district");
    // Far enough in the past that the tests need not wait for device time.
    let began = now_ms() - 15 * MINUTE;
    // Before: the level and the noise are above, too short to be an alarm; two low batteries of three; a cover tilts.
    says(&hub, WATER, 1, began, r#""level":3.6"#);
    says(&hub, NOISE, 1, began, r#""noise":72,"pm10":10"#);
    says(&hub, SMOKE, 1, began, r#""smoke":false,"battery":2.5"#);
    says(&hub, SMOKE, 2, began + MINUTE, r#""smoke":false,"battery":2.5"#);
    says(&hub, COVER, 1, began, r#""tilt":20"#);
    let mut replaced = connect(&hub, REPLACED, Version::V311);
    drain(&hub);
    let devices = under_load(hub.mqtt(), DEVICES, ALARM_EVERY, || {
        // Another hold for the noise; another rule beside that of the level; a device is replaced, a unit renamed.
        files.replace("products/nd-01.thing.yaml", "hold: {for: 5m}", "hold: {for: 1m}");
        files.replace("products/wl-radar-01.thing.yaml", "absent(30m)", "absent(31m)");
        for part in [",G-0079,", "demo-secret-G-0079"] {
            files.replace("devices/demo.csv", part, &part.replace("0079", "9079"));
        }
        files.replace("district/departments.tsv", "燃气公司（示例）", "燃气集团（示例）");
        files.replace("products/nd-01.thing.yaml", "version: ", "version: 9");
        take(&hub, 1.0);
        versions_are_watched(&hub);
        says(&hub, WATER, 2, began + 5 * MINUTE, r#""level":3.6"#);
        says(&hub, NOISE, 2, began + MINUTE / 2, r#""noise":72,"pm10":10"#);
        only_who_is_registered_now_may_speak(&hub, &mut replaced);
        // The cover's rule goes.
        let rule = "  - id: tilt\n";
        let product = "products/manhole-01.thing.yaml";
        let text = files.text(product);
        let begin = text.find(rule).expect("the rule is there");
        let end = text[begin..].find("\n  - id: open").expect("another follows") + begin + 1;
        files.replace(product, &text[begin..end], "");
        take(&hub, 2.0);
        says(&hub, WATER, 3, began + 10 * MINUTE, r#""level":3.6"#);
        says(&hub, NOISE, 3, began + 3 * MINUTE / 2, r#""noise":72,"pm10":10"#);
        says(&hub, SMOKE, 3, began + 2 * MINUTE, r#""smoke":false,"battery":2.5"#);
    });
    drain(&hub);
    a_desk_reads_the_new_name(&Desk::new(hub.grpc(), &district));
    let shown = settle(&mut hub, &devices, &district, name);
    let of = |device: &str| -> Vec<_> {
        let records = shown.signals.iter().map(|signal| &signal["record"]);
        let of_device = records.filter(|record| record["device"] == device);
        let told = of_device.map(|it| {
            let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
            let after = |field: &str| it[field].as_i64().unwrap_or_default() - began;
            (text("kind"), after("since") / 1_000, after("time") / 1_000, text("cause"))
        });
        let mut told: Vec<_> = told.collect();
        // What a router repeats after a rebalance is the same signal.
        told.dedup();
        told
    };
    let signal =
        |kind: &str, since, time, cause: &str| (kind.to_owned(), since, time, cause.to_owned());
    assert_eq!(of(WATER), [signal("raise", 0, 600, "")], "it held before the change");
    assert_eq!(of(NOISE), [signal("raise", 30, 90, "")], "judged by the new text, from then on");
    assert_eq!(of(SMOKE), [signal("raise", 0, 120, "")], "counted across both changes");
    let cover = [signal("raise", 0, 0, ""), signal("clear", 0, 0, "RULE_REMOVED")];
    assert_eq!(of(COVER), cover, "the alarm ends with its rule");
}

fn says(hub: &Hub, device: &str, seq: u64, ts: i64, params: &str) {
    let mut connection = connect(hub, device, Version::V311);
    let body = format!(r#"{{"boot":1,"seq":{seq},"ts":{ts},"params":{{{params}}}}}"#);
    assert_eq!(publish(&mut connection, device, &body), STORED, "{device}");
}

fn only_who_is_registered_now_may_speak(hub: &Hub, replaced: &mut Connection) {
    let ended =
        replaced.receive(|_| ()).expect_err("nothing more is sent to a device that is no more");
    assert_eq!(ended.kind(), std::io::ErrorKind::UnexpectedEof, "its session is ended");
    let id = client_id(REPLACED);
    let credentials = Some((id.as_str(), "demo-secret-G-0079"));
    let login = Login { version: Version::V311, client_id: &id, credentials };
    let refused = Connection::open(hub.mqtt(), &login).err().map(|error| error.kind());
    assert_eq!(refused, Some(std::io::ErrorKind::PermissionDenied));
    says(hub, ITS_PLACE, 1, now_ms(), r#""concentration":45.5"#);
}

fn a_desk_reads_the_new_name(desk: &Desk) {
    let open = desk.list(&[]).expect("the district sees all incidents");
    let source = format!("device/{ITS_PLACE}");
    let case = open.iter().find(|case| case.source == source).expect("the new device's alarm");
    assert_eq!(case.lead.as_ref().map(|lead| lead.display_name.as_str()), Some("燃气集团（示例）"));
}
