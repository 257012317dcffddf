//! Devices that are listed and never heard: when their silence is an absence, in which partition, and what ends it.

use std::fmt::Write as _;
use std::sync::Arc;

use super::fixture::{DISTRICT, folder};
use super::tests::{Lines, Router, at, level, property};
use super::*;
use crate::ids;
use crate::registry::Registry;
use crate::rules::Phase;

const HEADER: &str = "product_key,device_name,area_code,gateway,lifecycle\n";
const SILENT: &str = "silent";

/// The shipped products and these devices.
fn shared(rows: &str) -> Arc<Shared> {
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
fn a_device_of_another_partition_is_not_silent_here() {
    let own = shared(&radar(1, ""));
    let through = shared(
        "wl-radar-01,R-0001,310118001001,manhole-01/M-0001,\nmanhole-01,M-0001,310118001001,,\n",
    );
    let number = |place: &str| (ids::key_hash(place) % 64) as u16;
    let here = Shard { number: number(R1), of: 64 };
    assert_ne!(number("manhole-01/M-0001"), here.number);
    let mut lines = Lines::default();
    let mut work = Workspace::default();
    let mut state = PartitionState::new(&own, here);
    let place = Place { epoch: 1, partition: here.number, seq: 0 };
    let mut run =
        |state: &mut PartitionState, shared: &Shared, input: &Input<'_>, lines: &mut Lines| {
            state.route(shared, place, input, &mut work, lines);
        };
    let ticks = |from: &str, to: &str| (at(from)..=at(to)).step_by(1000);
    for received_at in ticks("12:00:00", "12:30:10") {
        run(&mut state, &own, &Input::Tick { received_at }, &mut lines);
    }
    assert_eq!(lines.signals().len(), 1);
    // It is bound to another device: whoever has that has it, and what stood here ends.
    state.swap(&own, &through, &mut lines).unwrap();
    let said = lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("clear 12:30:00 RULE_REMOVED"), "{said:?}");
    assert_eq!(state.devices_heard(), 0);
    // A gateway process that does not know it yet still writes here: that is routed, and no silence follows.
    let body = level(1, "12:31", 1.0);
    let late = Input::Raw(property(at("12:31:02"), R1, &body));
    run(&mut state, &through, &late, &mut lines);
    for received_at in ticks("12:31:03", "14:00:00") {
        run(&mut state, &through, &Input::Tick { received_at }, &mut lines);
    }
    assert_eq!(lines.signals(), Vec::<String>::new());
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
