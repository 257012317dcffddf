//! Worked examples of `prev()`, windows, schedules, reminders and maintenance, each with restarts in between.

use super::model::Model;
use super::tests::{Hub, MINUTE, at, calendars, compiled, condition_at, plain, property, water};
use super::*;
use crate::ids;
use crate::record::SignalKind;
use crate::thing::{AlarmSpec, Expression, Flap};

const DEVICE: &str = "wl-radar-01/R-0001";

/// One rule on the water level, without hold.
fn rule(when: &str) -> AlarmSpec {
    plain("r", when, AlarmSeverity::Minor, "flood.level")
}

fn level() -> Model {
    water().0
}

fn hub(model: Model, rule: AlarmSpec) -> Hub {
    Hub::new(compiled(&(model, vec![rule])), "R-0001")
}

/// Runs samples two seconds after their time, with a restart after each; gives what was said, without ids.
fn told(hub: &mut Hub, samples: &[(&str, f64, char)]) -> Vec<String> {
    for (n, (t, level, phase)) in (1..).zip(samples) {
        let rx = if t.len() == 5 { format!("{t}:02") } else { (*t).to_owned() };
        assert_eq!(hub.message(&rx, n, &[(t, *level)]), *phase, "{t}");
        hub.restart();
    }
    said(hub)
}

fn said(hub: &mut Hub) -> Vec<String> {
    hub.said().into_iter().map(|said| said.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn edge(kind: SignalKind, clock: &str) -> String {
    ids::timer_signal("wl-radar-01", "r", kind.as_str(), DEVICE, at(clock)).to_string()
}

#[test]
fn prev_is_the_valid_value_of_the_instant_before() {
    let mut hub = hub(level(), rule("level - prev(level) >= 0.2"));
    let samples = [
        ("09:00", 3.0, 'N'),
        ("09:05", 3.1, 'N'),
        ("09:10", 3.4, 'F'),
        // Another message of the same instant corrects the value, not the one before it.
        ("09:10", 3.2, 'N'),
        ("09:15", 3.5, 'F'),
        ("09:20", 3.5, 'N'),
        // More than validFor later: what stood before says nothing any more.
        ("09:31", 3.9, 'N'),
        ("09:35", 4.2, 'F'),
    ];
    let expected = [
        "raise 09:10:00 MINOR",
        "clear 09:10:00 MINOR",
        "raise 09:15:00 MINOR",
        "clear 09:20:00 MINOR",
        "raise 09:35:00 MINOR",
    ];
    assert_eq!(told(&mut hub, &samples), expected);
}

#[test]
fn a_number_that_is_not_finite_is_unknown_at_once() {
    // 1 / (1 / 0) would be 0, and 0 < 5.
    let mut hub = hub(level(), rule("1 / (1 / (level - 3)) < 5"));
    let samples =
        [("09:00", 3.0, 'N'), ("09:05", 4.0, 'F'), ("09:10", 3.0, 'F'), ("09:15", 9.0, 'N')];
    assert_eq!(told(&mut hub, &samples), ["raise 09:05:00 MINOR", "clear 09:15:00 MINOR"]);
}

#[test]
fn what_is_decided_is_skipped_and_what_is_not_is_joined() {
    let cases = [
        (
            "(level > 3 or level < 1) and not (level > 5 and level < 8)",
            [2.0, 4.0, 6.0, 9.0, 0.5],
            "NFNFF",
        ),
        (
            "level > 8 or (level > 3 and (level < 5 or level * 2 == 14))",
            [2.0, 4.0, 6.0, 7.0, 9.0],
            "NFNFF",
        ),
        (
            "(level + 1) * (level - 1) >= (level - 2) * (level + 4)",
            [0.5, 3.5, 3.6, 1.0, 9.0],
            "FFNFN",
        ),
    ];
    for (when, levels, phases) in cases {
        let mut hub = hub(level(), rule(when));
        let times = ["09:00", "09:05", "09:10", "09:15", "09:20"];
        let samples: Vec<_> = times
            .into_iter()
            .zip(levels)
            .zip(phases.chars())
            .map(|((t, v), p)| (t, v, p))
            .collect();
        told(&mut hub, &samples);
    }
}

#[test]
fn a_rate_is_taken_over_twelve_panes() {
    // Panes of one minute: at 10:15 the window reaches back to 10:04.
    let mut hub = hub(level(), rule("rate(level, 12m) * 3600 >= 2"));
    let samples = [
        ("10:00", 3.00, 'N'),
        ("10:05", 3.02, 'N'),
        ("10:10", 3.15, 'N'),
        ("10:15", 3.40, 'F'),
        ("10:20", 3.41, 'N'),
    ];
    let expected = ["raise 10:15:00 MINOR", "clear 10:20:00 MINOR"];
    assert_eq!(told(&mut hub, &samples), expected);
}

#[test]
fn late_samples_join_a_pane_still_held() {
    let samples = [
        ("10:00", 3.0, 'N'),
        ("10:05", 3.9, 'N'),
        ("10:03", 3.9, 'N'),
        ("10:06", 3.6, 'F'),
        // At 10:16 the panes up to 10:04 are gone, and with them the late sample; 09:40 joins nothing.
        ("09:40", 9.0, 'F'),
        ("10:16", 2.0, 'N'),
    ];
    let mut with = hub(level(), rule("avg(level, 12m) > 3.5"));
    assert_eq!(told(&mut with, &samples), ["raise 10:06:00 MINOR", "clear 10:16:00 MINOR"]);
    let mut without = hub(level(), rule("avg(level, 12m) > 3.5"));
    let samples = [samples[0], samples[1], ("10:06", 3.6, 'N')];
    assert!(told(&mut without, &samples).is_empty());
}

#[test]
fn one_sample_is_no_window() {
    let mut hub = hub(level(), rule("count(level, 12m) >= 1 or max(level, 12m) > 0"));
    let samples = [("10:00", 3.0, 'N'), ("10:01", 3.0, 'F'), ("10:20", 3.0, 'F')];
    // Alone again at 10:20 it is unknown, which neither raises nor clears.
    assert_eq!(told(&mut hub, &samples), ["raise 10:01:00 MINOR"]);
}

#[test]
fn windows_are_limited_and_shared() {
    let compile = |when: &str| RuleSet::compile_specs(&level(), &[rule(when)], &calendars());
    let four = "avg(level, 1h) > 1 and max(level, 2h) > 1 and avg(level, 3h) > 1";
    let (set, problems) =
        compile(&format!("{four} and min(level, 1h) > 1 and sum(battery, 1h) > 1"));
    assert_eq!(problems, []);
    assert_eq!(set.unwrap().windows.len(), 4, "one window serves two functions");
    let (set, problems) =
        compile(&format!("{four} and sum(battery, 1h) > 1 and avg(level, 4h) > 1"));
    assert!(set.is_none());
    assert_eq!((problems[0].code, problems[0].line), ("WINDOWS_MAX", 31));
    let (set, _) = compile("level > 3");
    let memory = Memory::new(&set.unwrap());
    assert_eq!((memory.previous.len(), memory.windows.len()), (0, 0), "only where a rule asks");
}

#[test]
fn a_window_survives_another_version_of_the_rules() {
    let old = compiled(&(level(), vec![rule("avg(level, 12m) > 3.5 and prev(battery) < 99")]));
    let mut hub = Hub::new(old, "R-0001");
    hub.message("10:00:02", 1, &[("10:00", 3.0)]);
    let new = ["battery > 9 or prev(level) > 9 or avg(battery, 1h) > 9", "avg(level, 12m) > 3.5"];
    let rules =
        [("a", new[0]), ("b", new[1])].map(|(id, when)| AlarmSpec { id: id.into(), ..rule(when) });
    let legend = Legend::of(&hub.rules);
    hub.rules = compiled(&(level(), rules.into()));
    hub.run(|state, cx, _| assert_eq!(state.adopt(&legend, false, cx), []));
    hub.message("10:05:02", 2, &[("10:05", 4.1)]);
    assert_eq!(hub.letter(1), 'F', "the mean knows the sample of before");
}

fn at_night(hold: Hold) -> AlarmSpec {
    let schedule = Some(Expression { text: "evening".into(), line: 35 });
    AlarmSpec { hold, schedule, ..rule("level > 3.5") }
}

fn hourly() -> Model {
    Model { valid_for: Some(12 * 60 * MINUTE), ..level() }
}

#[test]
fn a_schedule_opens_and_closes_by_the_devices_clock() {
    let mut hub = hub(hourly(), at_night(Hold::For(10 * MINUTE)));
    hub.message("21:50:02", 1, &[("21:50", 3.6)]);
    assert_eq!(hub.tick("22:00:11"), 'N');
    hub.restart();
    assert_eq!(hub.tick("22:00:12"), 'P', "the standing value counts from 22:00 on");
    hub.restart();
    assert_eq!(hub.tick("22:10:12"), 'F');
    assert_eq!(hub.out[0].since, at("22:00"));
    hub.message("29:30:02", 2, &[("29:30", 3.7)]);
    assert_eq!(hub.tick("30:00:11"), 'F');
    hub.restart();
    assert_eq!(hub.tick("30:00:12"), 'N');
    assert_eq!(hub.tick("45:59:00"), 'N', "by day nothing is raised");
    // At the next opening the value of 05:30 is older than twelve hours.
    assert_eq!(hub.tick("46:30:00"), 'N');
    let raise = format!("raise 22:10:00 MINOR {}", edge(SignalKind::Raise, "22:10"));
    let clear = format!("clear 30:00:00 MINOR {}", edge(SignalKind::Clear, "30:00"));
    assert_eq!(hub.said(), [raise, clear]);
}

#[test]
fn a_sample_meets_the_edges_before_it() {
    // No ticks at all: the samples alone give the same signals at the same times.
    let mut hub = hub(hourly(), at_night(Hold::None));
    hub.message("21:50:02", 1, &[("21:50", 3.6)]);
    hub.restart();
    assert_eq!(hub.message("31:00:02", 2, &[("31:00", 3.9)]), 'N');
    let raise = format!("raise 22:00:00 MINOR {}", edge(SignalKind::Raise, "22:00"));
    let clear = format!("clear 30:00:00 MINOR {}", edge(SignalKind::Clear, "30:00"));
    assert_eq!(hub.said(), [raise, clear]);
    // Out of hours a true sample is false: it neither raises nor counts.
    let mut hub = self::hub(hourly(), at_night(Hold::CountOf { count: 2, of: 3 }));
    let samples =
        [("21:40", 3.6, 'N'), ("21:50", 3.6, 'N'), ("22:01", 3.6, 'P'), ("22:02", 3.6, 'F')];
    assert_eq!(told(&mut hub, &samples), ["raise 22:02:00 MINOR"]);
}

#[test]
fn an_unknown_calendar_is_told_with_its_line() {
    let mut spec = at_night(Hold::None);
    spec.schedule = Some(condition_at(35, "nights"));
    let (set, problems) = RuleSet::compile_specs(&level(), &[spec], &calendars());
    assert!(set.is_none());
    assert_eq!((problems[0].code, problems[0].line), ("UNKNOWN_CALENDAR", 35));
    assert!(problems[0].message.contains("`nights` is no calendar"), "{}", problems[0]);
    let mut spec = at_night(Hold::None);
    spec.when.text = "absent(30m)".into();
    let (_, problems) = RuleSet::compile_specs(&level(), &[spec], &calendars());
    assert_eq!(problems[0].code, "ABSENT_ALONE");
    let flap = Flap { count: 2, ..Flap::default() };
    let spec = AlarmSpec { flap, ..rule("absent(30m)") };
    let (_, problems) = RuleSet::compile_specs(&level(), &[spec], &calendars());
    assert_eq!(problems[0].code, "ABSENT_ALONE");
}

#[test]
fn reminders_have_edges_of_their_own() {
    let mut spec = rule("level > 3.5");
    (spec.remind, spec.clear_hold) = (Some(15 * MINUTE), Some(20 * MINUTE));
    let mut hub = hub(hourly(), spec);
    hub.message("10:00:02", 1, &[("10:00", 3.6)]);
    hub.tick("10:15:12");
    hub.restart();
    hub.tick("10:30:12");
    // While it clears, nothing is repeated; back in Firing the rhythm is the old one.
    hub.message("10:40:02", 2, &[("10:40", 3.0)]);
    hub.tick("10:46:00");
    hub.message("10:50:02", 3, &[("10:50", 3.6)]);
    hub.tick("11:00:12");
    let mut expected = vec!["raise 10:00:00 MINOR".to_owned()];
    for clock in ["10:15", "10:30", "11:00"] {
        expected.push(format!("remind {clock}:00 MINOR {}", edge(SignalKind::Remind, clock)));
    }
    let mut said = hub.said();
    said[0].truncate(expected[0].len());
    assert_eq!(said, expected);
}

#[test]
fn what_was_raised_in_maintenance_is_raised_at_its_end() {
    let mut spec = rule("level > 3.5");
    spec.hold = Hold::For(10 * MINUTE);
    spec.remind = Some(MINUTE);
    let mut hub = hub(level(), spec);
    hub.held = true;
    hub.message("10:00:02", 1, &[("10:00", 3.6)]);
    hub.message("10:08:02", 2, &[("10:08", 3.6)]);
    assert_eq!(hub.tick("10:12:00"), 'F', "states run");
    hub.restart();
    assert!(hub.said().is_empty(), "nobody is told");
    hub.end_maintenance("10:12:30");
    let raise = format!("raise 10:12:28 MINOR {}", edge(SignalKind::Raise, "10:00"));
    assert_eq!(hub.out[0].since, at("10:00"));
    assert_eq!(hub.said(), [raise]);
    hub.end_maintenance("10:12:31");
    assert!(hub.said().is_empty(), "once");
    hub.message("10:13:02", 3, &[("10:13", 3.0)]);
    assert_eq!(said(&mut hub), ["clear 10:13:00 MINOR"]);
}

#[test]
fn what_stood_before_maintenance_clears_in_it() {
    let mut spec = rule("level > 3.5");
    spec.remind = Some(MINUTE);
    let mut hub = hub(level(), spec);
    hub.message("10:00:02", 1, &[("10:00", 3.6)]);
    hub.held = true;
    hub.message("10:05:02", 2, &[("10:05", 3.7)]);
    hub.message("10:06:02", 3, &[("10:06", 3.0)]);
    // Raised and over within the maintenance: nobody ever hears of it.
    hub.message("10:07:02", 4, &[("10:07", 3.7)]);
    hub.message("10:08:02", 5, &[("10:08", 3.0)]);
    hub.end_maintenance("10:09:00");
    assert_eq!(said(&mut hub), ["raise 10:00:00 MINOR", "clear 10:06:00 MINOR"]);
}

#[test]
fn words_and_bools_can_be_compared_with_what_was() {
    let values = vec!["auto".to_owned(), "manual".to_owned()];
    let mode = property("mode", "方式", "", model::PropertyKind::Enum(values));
    let model = Model { properties: vec![mode], ..level() };
    let (set, problems) = RuleSet::compile_specs(
        &model,
        &[rule("mode == 'manual' and prev(mode) == 'auto'")],
        &calendars(),
    );
    assert_eq!(problems, []);
    assert!(set.is_some());
    let (_, problems) = RuleSet::compile_specs(&model, &[rule("avg(mode, 1h) > 1")], &calendars());
    assert!(problems[0].message.contains("avg() needs a number, found an enum"), "{}", problems[0]);
}
