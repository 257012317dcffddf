//! An operator's clear through the router: what it ends, what it says, and what it leaves alone.

use super::tests::{Router, at, level, shared};
use super::*;
use crate::ledger::Stage;
use crate::rules::Phase;

const DEVICE: &str = "wl-radar-01/R-0001";
const RULE: &str = "high-level";

fn clear<'a>(device: &'a str, rule: &'a str) -> Input<'a> {
    let (actor, reason) = ("admin", "误报");
    // A clock that is nobody's: it must not matter.
    Input::Clear(Clear { device, rule, actor, reason, received_at: Millis::MAX })
}

/// A level above the threshold since 08:00, raised at 08:10.
fn raised() -> Router {
    let mut router = Router::new(shared());
    for (n, clock) in (1..).zip(["08:00", "08:05", "08:10"]) {
        router.ticks(&format!("{clock}:00"), &format!("{clock}:01"));
        router.property(&format!("{clock}:02"), DEVICE, &level(n, clock, 3.6));
        router.ticks(&format!("{clock}:03"), &format!("{clock}:59"));
    }
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("raise 08:10:00"), "{said:?}");
    router
}

fn void(router: &Router) -> (u64, u64) {
    let RouteCounters { clears, clears_void, .. } = *router.state.counters();
    (clears, clears_void)
}

#[test]
fn the_alarm_ends_and_the_next_true_samples_raise_anew() {
    let mut router = raised();
    let raw = router.state.counters().raw;
    router.restart();
    assert_eq!(router.input(&clear(DEVICE, RULE)), Fate::Clear);
    assert_eq!(router.phase(DEVICE, RULE), Phase::Normal);
    let line = router.lines.0.iter().find(|line| line.starts_with("signal")).unwrap().clone();
    assert!(line.contains("人工解除：误报（admin）"), "{line}");
    assert!(line.contains(&format!("received_at: {}", at("08:10:59"))), "{line}");
    // The clock of the partition, less the lag of 2 s and the grace.
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("clear 08:10:47 OPERATOR "), "{said:?}");
    // Once more says nothing, as there is nothing to clear.
    router.input(&clear(DEVICE, RULE));
    assert_eq!((router.lines.signals(), void(&router)), (vec![], (2, 1)));
    router.restart();
    assert_eq!(void(&router), (2, 1));
    router.ticks("08:11:00", "08:15:01");
    router.property("08:15:02", DEVICE, &level(4, "08:15", 3.6));
    assert_eq!(router.phase(DEVICE, RULE), Phase::Pending, "the hold begins from nothing");
    router.ticks("08:15:03", "08:20:01");
    router.property("08:20:02", DEVICE, &level(5, "08:20", 3.6));
    router.ticks("08:20:03", "08:25:12");
    let again = router.lines.signals();
    assert!(again.len() == 1 && again[0].starts_with("raise 08:25:00"), "{again:?}");
    assert_eq!(router.state.counters().raw, raw + 2, "only what devices say is counted there");
    let ledger = router.state.counters().to_ledger(0);
    assert_eq!(ledger.imbalance(Stage::Router), 0);
    assert_eq!(ledger.get(Stage::Router, "clears", ""), 2);
    // Another clear is another signal.
    router.input(&clear(DEVICE, RULE));
    let other = router.lines.signals();
    assert!(other[0].contains("OPERATOR") && other[0].get(24..) != said[0].get(24..), "{other:?}");
}

#[test]
fn what_nobody_knows_changes_nothing() {
    let mut router = raised();
    let before = router.state.encode(&router.shared);
    let known = ["wl-radar-01/R-0002", "wl-radar-01/R-9999", "", "?"];
    for device in known {
        assert_eq!(router.input(&clear(device, RULE)), Fate::Clear);
    }
    for rule in ["no-such-rule", "", "silent"] {
        assert_eq!(router.input(&clear(DEVICE, rule)), Fate::Clear);
    }
    assert_eq!(router.lines.0, Vec::<String>::new());
    assert_eq!(void(&router), (7, 7));
    assert_eq!(router.phase(DEVICE, RULE), Phase::Firing);
    assert_eq!(router.state.encode(&router.shared).len(), before.len());
}

#[test]
fn a_silence_that_goes_on_is_told_again() {
    let mut router = Router::new(shared());
    router.ticks("12:00:00", "12:00:01");
    router.property("12:00:02", DEVICE, &level(1, "12:00", 1.0));
    router.ticks("12:00:03", "12:40:00");
    let raise = router.lines.signals_of(DEVICE);
    assert!(raise.len() == 1 && raise[0].starts_with("raise 12:30:00"), "{raise:?}");
    let id = |line: &str| line.rsplit_once(' ').unwrap().1.to_owned();
    assert_eq!(router.input(&clear(DEVICE, "silent")), Fate::Clear);
    let said = router.lines.signals_of(DEVICE);
    assert!(said.len() == 1 && said[0].starts_with("clear 12:39:48 OPERATOR"), "{said:?}");
    router.restart();
    router.ticks("12:40:01", "13:10:09");
    assert_eq!(
        router.lines.signals_of(DEVICE),
        Vec::<String>::new(),
        "counted anew from the clear"
    );
    router.restart();
    router.tick("13:10:10");
    let again = router.lines.signals_of(DEVICE);
    assert!(again.len() == 1 && again[0].starts_with("raise 13:09:48"), "{again:?}");
    assert_ne!(id(&again[0]), id(&raise[0]), "another alarm, so another id");
    // Heard again, and silent again: as if nobody had ever cleared anything.
    router.ticks("13:10:11", "13:20:01");
    router.property("13:20:02", DEVICE, &level(2, "13:20", 1.0));
    router.ticks("13:20:03", "13:50:10");
    let said = router.lines.signals_of(DEVICE);
    assert!(said.len() == 2 && said[1].starts_with("raise 13:50:00"), "{said:?}");
}
