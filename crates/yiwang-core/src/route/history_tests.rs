//! What needs more than the record at hand: changes of values, maintenance that begins and ends with a configuration,
//! schedules of the district, and older snapshots.

use std::sync::Arc;

use super::tests::{Router, at, level, shared, shared_of};
use super::*;
use crate::registry::Lifecycle;
use crate::rules::Phase;

const DEVICE: &str = "wl-radar-01/R-0001";

/// The shipped configuration with one device elsewhere in its life.
fn living(lifecycle: Lifecycle) -> Arc<Shared> {
    let (registry, problems) = fixture::registry(|_, text| text);
    assert_eq!(problems, []);
    let mut registry = registry.unwrap();
    let device = registry.devices.iter_mut().find(|device| &*device.key == DEVICE).unwrap();
    device.lifecycle = lifecycle;
    Arc::new(Shared::new(Arc::new(registry)).0.unwrap())
}

#[test]
fn maintenance_begins_and_ends_with_a_configuration() {
    let (serving, working) = (shared(), living(Lifecycle::Maintenance));
    let mut router = Router::new(serving.clone());
    router.ticks("08:00:00", "08:00:01");
    router.property("08:00:02", DEVICE, &level(1, "08:00", 3.6));
    router.swap(&working);
    assert_eq!(router.phase(DEVICE, "high-level"), Phase::Pending, "pending goes on");
    router.ticks("08:00:03", "08:05:01");
    router.property("08:05:02", DEVICE, &level(2, "08:05", 3.6));
    router.ticks("08:05:03", "08:10:01");
    router.property("08:10:02", DEVICE, &level(3, "08:10", 3.6));
    router.ticks("08:10:03", "08:12:30");
    assert_eq!(router.phase(DEVICE, "high-level"), Phase::Firing, "states run");
    router.restart();
    assert!(router.lines.signals().is_empty(), "nobody is told");
    // No sample, no tick: the configuration alone ends it.
    router.swap(&serving);
    router.restart();
    let said = router.lines.0.drain(..).collect::<Vec<_>>().join("\n");
    assert!(said.contains("kind: Raise") && said.contains("severity: Major"), "{said}");
    let times = format!("time: {}, since: {}", at("08:12:28"), at("08:00"));
    assert!(said.contains(&times), "that time, true since: {said}");
    // It stands now, so the next maintenance holds nothing back: clears pass, and nothing is raised again.
    router.swap(&working);
    router.property("08:15:02", DEVICE, &level(4, "08:15", 3.0));
    router.property("08:20:02", DEVICE, &level(5, "08:20", 3.0));
    router.property("08:25:02", DEVICE, &level(6, "08:25", 3.0));
    router.swap(&serving);
    let said = router.lines.signals();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("clear 08:25:00"), "{said:?}");
}

#[test]
fn what_ends_within_maintenance_is_never_told() {
    let (serving, testing) = (shared(), living(Lifecycle::Commissioning));
    let mut router = Router::new(testing);
    for (n, clock, value) in [(1, "08:00", 3.9), (2, "08:05", 3.9), (3, "08:10", 3.9)] {
        router.property(&format!("{clock}:02"), DEVICE, &level(n, clock, value));
    }
    assert_eq!(router.phase(DEVICE, "high-level"), Phase::Firing);
    for (n, clock) in [(4, "08:15"), (5, "08:20"), (6, "08:25")] {
        router.property(&format!("{clock}:02"), DEVICE, &level(n, clock, 2.0));
    }
    router.swap(&serving);
    assert_eq!(router.phase(DEVICE, "high-level"), Phase::Normal);
    assert!(router.lines.signals().is_empty());
}

#[test]
fn an_alert_of_a_device_that_is_tested_is_history() {
    use crate::record::{BodyKind, Lane, Raw};
    for (lifecycle, word) in
        [(Lifecycle::InService, "signal"), (Lifecycle::Commissioning, "reading")]
    {
        let mut router = Router::new(living(lifecycle));
        let event = Raw {
            device: DEVICE,
            lane: Lane::Listen,
            kind: BodyKind::Event,
            path: "event/tamper",
            listener: "mqtt",
            peer: "127.0.0.1:5",
            received_at: at("08:02"),
            payload: br#"{"id":"e-1","ts":1795392120000,"params":{"tilt":12.5}}"#,
        };
        assert_eq!(router.input(&Input::Raw(event)), Fate::Routed);
        assert_eq!(router.lines.0.len(), 1);
        assert!(router.lines.0[0].starts_with(word), "{}", router.lines.0[0]);
    }
}

/// Names of the flags of the level in the newest reading.
fn flags(router: &mut Router) -> Vec<&'static str> {
    let lines = std::mem::take(&mut router.lines.0);
    let line = lines.iter().rfind(|line| line.starts_with("reading")).unwrap();
    let bits = line.rsplit(')').next().unwrap().trim_end_matches(['"', ']']);
    crate::sample::Flags(bits.parse().unwrap()).names().collect()
}

#[test]
fn jumps_and_stuck_values_are_flagged_and_kept() {
    let mut router = Router::new(shared());
    let none: [&str; 0] = [];
    // The radar believes 0.5 m a minute, and six hours without a change.
    for (n, clock, value, expected) in [
        (1, "08:00", 1.00, &none[..]),
        (2, "08:01", 1.40, &none),
        (3, "08:02", 2.00, &["JUMP"]),
        (4, "08:03", 2.00, &none),
        // Late: its neighbours are not at hand.
        (5, "08:01", 9.00, &none),
        // The newest value is the measure of the next, a jump or not.
        (6, "08:04", 1.00, &["JUMP"]),
        (7, "08:10", 3.60, &none),
        (8, "14:09", 3.60, &none),
        (9, "14:11", 3.60, &["STUCK"]),
        (10, "14:12", 3.61, &none),
    ] {
        router.property(&format!("{clock}:02"), DEVICE, &level(n, clock, value));
        assert_eq!(flags(&mut router), expected, "{n} at {clock}");
        router.restart();
    }
    // Flagged or not, rules run: 3.60 was above the threshold since 14:09.
    assert_eq!(router.phase(DEVICE, "high-level"), Phase::Pending);
}

#[test]
fn changes_survive_another_version_of_the_product() {
    let mut router = Router::new(shared());
    router.property("08:00:02", DEVICE, &level(1, "08:00", 1.0));
    // Now the battery is checked as well, and stands before the level.
    let more = shared_of(|_, text| {
        let battery = "  - identifier: battery\n    name: 电池电压\n    accessMode: r\n    dataType: {type: double, specs: {min: 0, max: 20, unit: V}}\n";
        assert!(!text.contains("wl-radar-01\n") || text.contains(battery));
        let checked = format!("{battery}    quality: {{stuckAfter: 1h}}\n");
        let text = text.replace(battery, "");
        text.replacen(
            "properties:\n  - identifier: level\n",
            &format!("properties:\n{checked}  - identifier: level\n"),
            1,
        )
    });
    router.swap(&more);
    router.property("08:01:02", DEVICE, &level(2, "08:01", 1.9));
    assert_eq!(flags(&mut router), ["JUMP"]);
}

#[test]
fn an_unknown_calendar_is_refused_with_its_line() {
    let edit = |name: &str, text: String| match name {
        "gas-01.thing.yaml" => {
            text.replace("    clearHold: 1m\n", "    clearHold: 1m\n    schedule: nights\n")
        }
        _ => text,
    };
    let (registry, problems) = fixture::registry(edit);
    assert_eq!(problems, []);
    let registry = registry.unwrap();
    let (shared, problems) = Shared::new(Arc::new(registry));
    assert!(shared.is_none());
    let text = edit("gas-01.thing.yaml", fixture::product("gas-01"));
    let line = text.lines().position(|line| line.contains("schedule: nights")).unwrap() + 1;
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].code, problems[0].line), ("UNKNOWN_CALENDAR", line as u32));
    assert_eq!(problems[0].file, "gas-01.thing.yaml");
}

#[test]
fn a_failing_rule_vector_refuses_the_configuration() {
    let edit = |_: &str, text: String| text.replace("hold: {for: 10m}", "hold: {for: 12m}");
    let (registry, problems) = fixture::registry(edit);
    assert_eq!(problems, []);
    let (shared, problems) = Shared::new(Arc::new(registry.unwrap()));
    assert!(shared.is_none());
    assert!(problems.iter().all(|p| p.code == "VECTOR_FAILED" && p.line > 0), "{problems:?}");
    let told = problems[0].to_string();
    assert!(told.contains("expected raise 2026-11-23 10:10:00"), "{told}");
}

/// Written by the program that knew version 1: at 08:00:03 a level pending, a smoke alarm and a cover that lies open.
const OLD: &str = include_str!("snapshot-v1.hex");

#[test]
fn a_snapshot_of_version_1_goes_on() {
    let digits: Vec<u32> = OLD.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    let mut router = Router::new(shared());
    router.state =
        PartitionState::restore(&bytes, &router.shared, Shard::WHOLE, &mut router.lines).unwrap();
    assert_eq!(router.state.clock(), Some(at("08:00:03")));
    assert_eq!(router.phase("smoke-01/S-0007", "smoke"), Phase::Firing);
    assert_eq!(router.phase("manhole-01/M-0001", "tilt"), Phase::Firing);
    assert!(router.lines.signals().is_empty());
    router.restart();
    router.ticks("08:00:04", "08:05:12");
    let said = router.lines.signals();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("clear 08:05:00 QUIET"), "{said:?}");
}
