//! Worked examples of timers that run ahead of what comes later: clocks that jump, devices that bring what they kept,
//! rules whose text changes.

use super::model::Model;
use super::tests::{Hub, MINUTE, at, compiled, plain, some, water};
use super::*;
use crate::ids::{self, Id};
use crate::record::SignalKind;
use crate::thing::AlarmSpec;

fn level() -> Model {
    Model { valid_for: Some(48 * 60 * MINUTE), ..water().0 }
}

fn rule(when: &str) -> AlarmSpec {
    plain("r", when, AlarmSeverity::Minor, "flood.level")
}

fn hub(rule: AlarmSpec) -> Hub {
    Hub::new(compiled(&(level(), vec![rule])), "R-0001")
}

/// Kind, clock and cause of everything said; the rest is not of interest.
fn said(hub: &mut Hub) -> Vec<String> {
    let word = |said: String| {
        let words: Vec<&str> = said.split(' ').collect();
        match words[..] {
            [kind, clock, _, cause, _] => format!("{kind} {clock} {cause}"),
            _ => format!("{} {}", words[0], words[1]),
        }
    };
    hub.said().into_iter().map(word).collect()
}

fn quiet_after_half_a_minute() -> AlarmSpec {
    let (clear, clear_hold) = (some("level < 3.5"), Some(20_000));
    AlarmSpec { clear, clear_hold, quiet_clear: Some(30_000), ..rule("level > 3.5") }
}

/// Raised, cleared by quiet ahead of the device, and raised by a sample from before that clear.
fn raised_behind_its_clear() -> Hub {
    let mut hub = hub(quiet_after_half_a_minute());
    assert_eq!(hub.message("10:00:00", 1, &[("10:00:00", 3.6)]), 'F');
    assert_eq!(hub.tick("10:00:45"), 'N');
    hub.restart();
    assert_eq!(hub.message("10:00:46", 2, &[("10:00:05", 3.6)]), 'F');
    hub
}

#[test]
fn two_clears_of_one_edge_have_two_ids() {
    let mut hub = raised_behind_its_clear();
    assert_eq!(hub.message("10:00:46", 3, &[("10:00:10", 3.0)]), 'C');
    hub.restart();
    assert_eq!(hub.tick("10:01:30"), 'N');
    let born: Vec<Born> = hub.out.iter().map(|one| one.born).collect();
    let edge = at("10:00:30");
    assert_eq!(born[1], Born::Timer(Edge::At(edge)), "the first is named as ever");
    assert_eq!(born[3], Born::Timer(Edge::Again(edge, 1)));
    let id = |edge: Edge| edge.id("wl-radar-01", "r", SignalKind::Clear, "wl-radar-01/R-0001");
    assert_ne!(id(Edge::At(edge)), id(Edge::Again(edge, 1)));
    assert_ne!(id(Edge::Again(edge, 2)), id(Edge::Again(edge, 1)));
    let told = said(&mut hub);
    assert_eq!(
        told,
        ["raise 10:00:00", "clear 10:00:30 QUIET", "raise 10:00:30", "clear 10:00:30"]
    );
}

#[test]
fn a_removed_rule_ends_its_alarm_under_an_id_of_its_own() {
    let removed = |hub: &mut Hub| {
        let legend = Legend::of(&hub.rules);
        hub.rules = compiled(&(level(), vec![AlarmSpec { id: "s".into(), ..rule("level > 9") }]));
        let mut removed = Vec::new();
        hub.run(|state, cx, _| removed = state.adopt(&legend, false, cx));
        removed
    };
    let mut hub = raised_behind_its_clear();
    assert_eq!(removed(&mut hub)[0].edge, Edge::Again(at("10:00:30"), 1));
    let mut hub = self::hub(rule("level > 3.5"));
    hub.message("10:00:00", 1, &[("10:00:00", 3.6)]);
    assert_eq!(removed(&mut hub)[0].edge, Edge::At(at("10:00:00")));
}

#[test]
fn a_jump_of_the_clock_is_one_reminder() {
    let mut hub = hub(AlarmSpec { remind: Some(60 * MINUTE), ..rule("level > 3.5") });
    // Years ago by its clock; timers see it a day behind at most.
    hub.message("50000:00:00", 1, &[("00:30", 3.6)]);
    hub.tick("50000:00:01");
    assert_eq!(said(&mut hub), ["raise 00:30:00", "remind 01:30:00"]);
    hub.tick("50000:30:09");
    assert_eq!(said(&mut hub), [""; 0], "the rhythm is the old one");
    hub.tick("50000:30:10");
    assert_eq!(said(&mut hub), ["remind 49976:30:00"]);
}

#[test]
fn no_edge_of_a_calendar_raises_what_a_person_or_quiet_cleared() {
    let at_night = || AlarmSpec { schedule: some("evening"), ..rule("level > 3.5") };
    let mut hub = hub(AlarmSpec { quiet_clear: Some(30 * MINUTE), ..at_night() });
    hub.message("22:05:00", 1, &[("22:05", 3.6)]);
    hub.restart();
    hub.tick("47:00");
    assert_eq!(said(&mut hub), ["raise 22:05:00", "clear 22:35:00 QUIET"]);
    let mut hub = self::hub(at_night());
    hub.message("22:05:00", 1, &[("22:05", 3.6)]);
    hub.said();
    let by = Mark { t: at("22:10"), raw: Id(7) };
    hub.run(|state, cx, out| assert!(state.clear(cx, 0, by, out)));
    hub.out.clear();
    hub.restart();
    assert_eq!(hub.tick("47:00"), 'N');
    assert!(hub.out.is_empty());
    assert_eq!(hub.message("47:00:01", 2, &[("47:00", 3.6)]), 'F', "a true sample raises anew");
}

#[test]
fn who_brings_what_it_kept_is_not_silent() {
    let mut hub = hub(rule("absent(10m)"));
    hub.message("09:00:00", 1, &[("09:00", 3.0)]);
    assert_eq!(hub.tick("09:10:09"), 'N');
    assert_eq!(hub.tick("09:10:10"), 'F');
    for (n, t) in (2..).zip(["09:05", "09:10", "09:15", "09:20"]) {
        assert_eq!(hub.message(&format!("10:00:0{n}"), n, &[(t, 3.0)]), 'N');
        hub.restart();
        assert_eq!(hub.tick(&format!("10:00:0{n}")), 'N', "{t}");
    }
    assert_eq!(hub.tick("10:10:04"), 'N');
    assert_eq!(hub.tick("10:10:05"), 'F', "ten minutes after the last one came");
    let expected = ["raise 09:10:00", "clear 09:10:00", "raise 09:30:00"];
    assert_eq!(said(&mut hub), expected);
}

fn put_in_force(hub: &mut Hub, rule: AlarmSpec) {
    let legend = Legend::of(&hub.rules);
    hub.rules = compiled(&(level(), vec![rule]));
    hub.run(|state, cx, _| assert_eq!(state.adopt(&legend, false, cx), []));
    hub.restart();
}

#[test]
fn another_text_judges_from_the_next_sample_on() {
    let quiet = || AlarmSpec { quiet_clear: Some(5 * MINUTE), ..rule("level > 9") };
    // An absence becomes a condition: it has no true sample that quiet could be counted from.
    let mut hub = hub(rule("absent(10m)"));
    hub.message("09:00:00", 1, &[("09:00", 3.0)]);
    assert_eq!(hub.tick("09:10:10"), 'F');
    put_in_force(&mut hub, quiet());
    assert_eq!(hub.tick("12:00"), 'F', "no sample has been judged by it");
    assert_eq!(hub.message("12:00:00", 2, &[("12:00", 3.0)]), 'F');
    assert_eq!(hub.tick("12:05:09"), 'F');
    assert_eq!(hub.tick("12:05:10"), 'N');
    assert_eq!(said(&mut hub), ["raise 09:10:00", "clear 12:05:00 QUIET"]);
    // A proof of the end that had begun counts for nothing.
    let held = |minutes| AlarmSpec { clear_hold: Some(minutes * MINUTE), ..rule("level > 3.5") };
    let mut hub = self::hub(held(20));
    hub.message("09:00:00", 1, &[("09:00", 3.6)]);
    assert_eq!(hub.message("09:01:00", 2, &[("09:01", 3.0)]), 'C');
    put_in_force(&mut hub, held(2));
    assert_eq!(hub.tick("09:30"), 'F');
    assert_eq!(hub.message("09:31:00", 3, &[("09:31", 3.0)]), 'C');
    hub.restart();
    assert_eq!(hub.tick("09:33:10"), 'N');
    assert_eq!(said(&mut hub), ["raise 09:00:00", "clear 09:33:00"]);
}

#[test]
fn a_snapshot_of_before_tells_no_edge_twice() {
    // Such a snapshot does not say which edges had signals: any up to the newest signal may have.
    let mut edges = super::state::Edges::default();
    assert_eq!(edges.take(SignalKind::Clear, Edge::At(5)), Edge::At(5));
    assert_eq!(edges.take(SignalKind::Raise, Edge::At(5)), Edge::At(5), "of another kind");
    assert_eq!(edges.take(SignalKind::Clear, Edge::At(5)), Edge::Again(5, 1));
    assert_eq!(edges.take(SignalKind::Clear, Edge::At(4)), Edge::Again(4, 2));
    assert_eq!(edges.take(SignalKind::Clear, Edge::At(6)), Edge::At(6));
    assert_eq!(edges.take(SignalKind::Clear, Edge::At(6)), Edge::Again(6, 3));
    let raw = Edge::Raw(ids::raw_by_sequence("d", 1, 1));
    assert_eq!(edges.take(SignalKind::Clear, raw), raw);
}
