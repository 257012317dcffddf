//! Devices that are listed and never heard: when their silence is an absence, in which partition, and what ends it.

use std::fmt::Write as _;
use std::sync::Arc;

use super::fixture::{DISTRICT, folder};
use super::tests::{Lines, Router, at, level};
use super::*;
use crate::ids;
use crate::registry::Registry;
use crate::rules::Phase;

const HEADER: &str = "product_key,device_name,area_code,gateway,lifecycle\n";
const SILENT: &str = "silent";

/// The shipped products and these devices.
pub(super) fn shared(rows: &str) -> Arc<Shared> {
    let mut files = folder("products");
    files.insert("devices.csv".to_owned(), [HEADER, rows].concat());
    let (registry, problems) = Registry::load(&files, DISTRICT.clone());
    let registry = registry.unwrap_or_else(|| panic!("{problems:?}"));
    Arc::new(Shared::new(Arc::new(registry)).0.unwrap())
}

/// A row of a radar with this number and lifecycle.
fn radar(number: u32, lifecycle: &str) -> String {
    format!("wl-radar-01,R-{number:04},310118001001,,{lifecycle}\n")
}

fn radars(numbers: std::ops::Range<u32>) -> String {
    numbers.fold(String::new(), |rows, number| rows + &radar(number, ""))
}

const R1: &str = "wl-radar-01/R-0001";

#[test]
fn who_was_never_heard_is_raised_when_we_have_listened_for_so_long() {
    let mut router = Router::new(shared(&radar(1, "")));
    router.ticks("12:00:00", "12:30:09");
    router.restart();
    assert_eq!(router.lines.signals(), Vec::<String>::new());
    router.tick("12:30:10");
    // The edge is IN_SERVICE + T, here the first word of any gateway; so is the id.
    let id = ids::timer_signal("wl-radar-01", SILENT, "raise", R1, at("12:30"));
    assert_eq!(router.lines.signals(), [format!("raise 12:30:00 {id}")]);
    router.restart();
    router.ticks("12:30:11", "14:00:00");
    assert_eq!(router.lines.signals(), Vec::<String>::new(), "once");
    router.property("14:00:02", R1, &level(1, "14:00", 1.0));
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("clear 14:00:00"), "{said:?}");
    // From then on it is a device like any other.
    router.ticks("14:00:03", "14:30:10");
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("raise 14:30:00"), "{said:?}");
}

#[test]
fn a_device_that_speaks_in_time_is_not_raised() {
    let mut router = Router::new(shared(&radars(1..3)));
    router.ticks("12:00:00", "12:20:00");
    router.property("12:20:02", R1, &level(1, "12:20", 1.0));
    router.ticks("12:20:03", "12:50:09");
    assert_eq!(router.phase(R1, SILENT), Phase::Normal);
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("raise 12:30:00"), "the other one: {said:?}");
}

#[test]
fn what_cannot_be_read_is_no_word() {
    let mut router = Router::new(shared(&radar(1, "")));
    router.ticks("12:00:00", "12:20:00");
    let fate = router.property("12:20:02", R1, "{");
    assert_eq!(fate, Fate::Quarantined(QuarantineReason::Codec));
    router.restart();
    router.ticks("12:20:03", "12:30:10");
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("raise 12:30:00"), "{said:?}");
}

#[test]
fn only_time_that_we_listened_counts() {
    let mut router = Router::new(shared(&radar(1, "")));
    router.ticks("12:00:00", "12:20:00");
    router.ticks("13:00:00", "13:30:09");
    assert_eq!(router.lines.signals(), Vec::<String>::new());
    router.tick("13:30:10");
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("raise 12:30:00"), "as in E4: {said:?}");
}

#[test]
fn each_counts_from_the_configuration_that_put_it_into_service() {
    let mut router = Router::new(shared(&[radar(1, ""), radar(2, "COMMISSIONING")].concat()));
    router.ticks("12:00:00", "12:10:00");
    router.swap(&shared(&[radar(1, ""), radar(2, "COMMISSIONING"), radar(3, "")].concat()));
    router.restart();
    router.ticks("12:10:01", "12:20:00");
    router.swap(&shared(&radars(1..4)));
    router.restart();
    router.ticks("12:20:01", "12:50:10");
    let said = router.lines.signals();
    let said: Vec<_> = said.iter().map(|line| &line[..14]).collect();
    assert_eq!(said, ["raise 12:30:00", "raise 12:40:00", "raise 12:50:00"]);
    // One that leaves and comes back begins anew; its alarm ended when it left.
    router.swap(&shared(&radars(2..4)));
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].contains("RULE_REMOVED"), "{said:?}");
    router.swap(&shared(&radars(1..4)));
    router.ticks("12:50:11", "13:20:20");
    let again = router.lines.signals();
    assert!(again.len() == 1 && again[0].starts_with("raise 13:20:10"), "{again:?}");
}

#[test]
fn an_operators_clear_counts_anew() {
    let mut router = Router::new(shared(&radar(1, "")));
    router.ticks("12:00:00", "12:40:00");
    let raise = router.lines.signals();
    let (actor, reason, received_at) = ("admin", "r", 0);
    router.input(&Input::Clear(Clear { device: R1, rule: SILENT, actor, reason, received_at }));
    router.restart();
    router.ticks("12:40:01", "13:10:10");
    let said = router.lines.signals();
    assert!(said.len() == 2 && said[0].contains("OPERATOR"), "{said:?}");
    assert!(said[1].starts_with("raise 13:09:50") && said[1] != raise[0], "{said:?}");
}

#[test]
fn many_are_raised_in_portions_and_a_restart_between_changes_nothing() {
    const COUNT: u32 = 2_500;
    let all = shared(&radars(0..COUNT));
    let said = |restart: bool| {
        let mut router = Router::new(all.clone());
        let mut said = Vec::new();
        // Those that were heard take no place in a portion.
        router.ticks("12:00:00", "12:10:00");
        for n in (0..COUNT).step_by(50) {
            let device = format!("wl-radar-01/R-{n:04}");
            router.property("12:10:00", &device, &level(1, "12:10", 1.0));
        }
        router.ticks("12:10:01", "12:30:09");
        for clock in ["12:30:09", "12:30:10", "12:30:11", "12:30:12", "12:30:13"] {
            if restart {
                router.restart();
            }
            router.lines.0.clear();
            router.ticks(clock, clock);
            said.push(router.lines.signals());
        }
        (said, router.state.encode(&all))
    };
    let (straight, state) = said(false);
    let counts: Vec<usize> = straight.iter().map(Vec::len).collect();
    assert_eq!(counts, [0, 1024, 1024, 402, 0]);
    assert_eq!(said(true), (straight, state));
}

/// What each of four partitions says of the same devices, of which none is heard.
fn by_partition(all: &Arc<Shared>) -> Vec<Vec<String>> {
    let part = |number| {
        let shard = Shard { number, of: 4 };
        let (mut state, mut lines) = (PartitionState::new(all, shard), Lines::default());
        for received_at in (at("12:00")..=at("12:30:10")).step_by(1000) {
            let place = Place { epoch: 1, partition: number, seq: 0 };
            let tick = Input::Tick { received_at };
            state.route(all, place, &tick, &mut Workspace::default(), &mut lines);
        }
        let alarm =
            |line: String| line.split("alarm_key: \"").nth(1)?.split('"').next()?.to_owned().into();
        lines.0.into_iter().filter_map(alarm).collect()
    };
    (0..4).map(part).collect()
}

#[test]
fn each_partition_answers_for_its_own_devices() {
    // Some speak through a manhole cover, one of them through another of them.
    let mut rows = radars(0..40) + "manhole-01,M-0001,310118001001,,\n";
    for n in 40..60 {
        writeln!(rows, "wl-radar-01,R-{n:04},310118001001,manhole-01/M-0001,").unwrap();
    }
    rows += "wl-radar-01,R-0060,310118001001,wl-radar-01/R-0059,\n";
    let all = shared(&rows);
    let told = by_partition(&all);
    let mut together: Vec<_> = told.concat();
    together.sort();
    let every: Vec<_> = (0..61).map(|n| format!("wl-radar-01/R-{n:04}/silent")).collect();
    assert_eq!(together, every, "each once");
    for (number, told) in told.iter().enumerate() {
        for alarm in told {
            let device = alarm.trim_end_matches("/silent");
            let behind = device >= "wl-radar-01/R-0040";
            let place = if behind { "manhole-01/M-0001" } else { device };
            assert_eq!(all.registry().place(device), place);
            assert_eq!(ids::key_hash(place) % 4, number as u64, "{device}");
        }
    }
}

#[test]
fn a_snapshot_that_knows_nobody_counts_from_where_it_ends() {
    let mut router = Router::new(shared(&radar(1, "COMMISSIONING")));
    router.ticks("12:00:00", "12:10:00");
    let mut bytes = router.state.encode(&router.shared);
    assert_eq!((bytes[0], bytes.pop()), (5, Some(0)), "nobody is in service");
    bytes[0] = 4;
    router.shared = shared(&radar(1, ""));
    let (whole, lines) = (Shard::WHOLE, &mut router.lines);
    router.state = PartitionState::restore(&bytes, &router.shared, whole, lines).unwrap();
    router.ticks("12:10:01", "12:40:10");
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("raise 12:40:00"), "{said:?}");
}

#[test]
fn who_is_in_service_no_more_is_let_go_of() {
    for lifecycle in ["REGISTERED", "COMMISSIONING", "MAINTENANCE"] {
        let mut router = Router::new(shared(&radar(1, "")));
        router.ticks("10:00:00", "10:31:00");
        assert_eq!(router.lines.signals().len(), 1);
        router.swap(&shared(&radar(1, lifecycle)));
        let said = router.lines.signals();
        assert!(said.len() == 1 && said[0].starts_with("clear 10:30:00 RULE_REMOVED"), "{said:?}");
        router.restart();
        router.ticks("10:31:01", "13:00:00");
        assert_eq!(router.lines.signals(), Vec::<String>::new(), "{lifecycle}");
        router.swap(&shared(&radar(1, "")));
        router.ticks("13:00:01", "13:30:09");
        assert_eq!(router.lines.signals(), Vec::<String>::new(), "counted from then");
        router.restart();
        router.tick("13:30:10");
        let said = router.lines.signals();
        assert!(said.len() == 1 && said[0].starts_with("raise 13:30:00"), "{said:?}");
    }
}
