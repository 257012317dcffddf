//! Windows of maintenance through the router: held from the start, raised at the end, moved by a configuration.

use std::sync::Arc;

use super::tests::{Router, at, level};
use super::*;
use crate::maintenance::tests::load;
use crate::record::{BodyKind, Lane};
use crate::rules::Phase;

const DEVICE: &str = "wl-radar-01/R-0001";
const DEVICES: &str = "product_key,device_name,area_code
smoke-01,S-0007,310118001001
wl-radar-01,R-0001,310118001001
wl-radar-01,R-0002,310118001001
";

/// The shipped configuration with windows of the first radar, by the clock of 2026-11-23.
fn windows(spans: &[(&str, &str)]) -> Arc<Shared> {
    let mut text = if spans.is_empty() { "# none\n" } else { "windows:\n" }.to_owned();
    for (number, (from, to)) in spans.iter().enumerate() {
        let day = |clock: &str| format!("2026-11-23T{clock}:00+08:00");
        let (from, to) = (day(from), day(to));
        text += &format!(
            "  - {{name: w{number}, reason: r, device: [{DEVICE}], from: '{from}', to: '{to}'}}\n"
        );
    }
    let (registry, problems) = load(&text, DEVICES);
    assert_eq!(problems, Vec::<String>::new());
    Arc::new(Shared::new(Arc::new(registry.unwrap())).0.unwrap())
}

/// A level above the threshold from 08:00 on, every five minutes up to an instant, with a tick every second.
fn stand(router: &mut Router, device: &str, to: &str) {
    let first = router.state.clock().map_or(at("08:00"), |clock| clock + 1000);
    for t in (first..=at(to)).step_by(1000) {
        router.input(&Input::Tick { received_at: t });
        if (t - at("08:00")) % 300_000 == 2000 {
            let clock = (t - at("00:00")) / 60_000;
            let clock = format!("{:02}:{:02}", clock / 60, clock % 60);
            let n = t as u64 / 1000;
            let now = (t - at("00:00")) / 1000;
            let now = format!("{:02}:{:02}:{:02}", now / 3600, now / 60 % 60, now % 60);
            router.property(&now, device, &level(n, &clock, 3.6));
        }
    }
}

#[test]
fn what_stands_at_the_end_is_raised_exactly_then() {
    // Two windows that overlap and one that touches: one window.
    let worked = windows(&[("08:05", "08:15"), ("08:20", "08:32"), ("08:12", "08:20")]);
    let mut router = Router::new(worked);
    stand(&mut router, DEVICE, "08:25");
    assert_eq!(router.phase(DEVICE, "high-level"), Phase::Firing, "states run");
    assert_eq!(router.lines.signals_of(DEVICE), Vec::<String>::new());
    router.restart();
    let swapped = router.shared.clone();
    router.swap(&swapped);
    stand(&mut router, DEVICE, "08:32:11");
    assert_eq!(
        router.lines.signals_of(DEVICE),
        Vec::<String>::new(),
        "its clock is 2 s and a grace behind"
    );
    router.restart();
    router.tick("08:32:12");
    let line = router
        .lines
        .0
        .iter()
        .find(|line| line.starts_with("signal") && line.contains(DEVICE))
        .unwrap()
        .clone();
    let times = format!("time: {}, since: {}", at("08:32"), at("08:00"));
    assert!(line.contains("kind: Raise") && line.contains(&times), "{line}");
    assert!(line.contains("水位 3.6 m 吴淞（阈值 3.5）"), "a height is from somewhere: {line}");
    router.lines.0.clear();
    router.restart();
    stand(&mut router, DEVICE, "08:45");
    assert_eq!(router.lines.signals_of(DEVICE), Vec::<String>::new(), "once");
}

#[test]
fn a_window_touches_nobody_else() {
    let mut router = Router::new(windows(&[("08:05", "08:30")]));
    stand(&mut router, "wl-radar-01/R-0002", "08:11");
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("raise 08:10:00"), "{said:?}");
}

#[test]
fn a_raise_before_a_window_stays_and_clears_in_it() {
    let mut router = Router::new(windows(&[("08:12", "09:30")]));
    stand(&mut router, DEVICE, "08:16");
    assert_eq!(router.lines.signals().len(), 1);
    for (n, clock) in [(1, "08:20"), (2, "08:25"), (3, "08:30")] {
        router.property(&format!("{clock}:02"), DEVICE, &level(n, clock, 3.0));
    }
    let said = router.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("clear 08:30:00"), "{said:?}");
}

#[test]
fn a_configuration_moves_a_window_in_force() {
    let long = windows(&[("08:05", "09:30")]);
    let held = || {
        let mut router = Router::new(long.clone());
        stand(&mut router, DEVICE, "08:20");
        assert_eq!(router.lines.signals_of(DEVICE), Vec::<String>::new());
        router
    };
    // Removed, or begun only now: raised with the configuration, if nothing holds it any more.
    let mut router = held();
    router.swap(&windows(&[]));
    let said = router.lines.signals_of(DEVICE);
    assert!(said.len() == 1 && said[0].starts_with("raise 08:19:58"), "{said:?}");
    let mut router = held();
    router.swap(&windows(&[("08:15", "08:40")]));
    router.restart();
    assert_eq!(router.lines.signals_of(DEVICE), Vec::<String>::new());
    stand(&mut router, DEVICE, "08:40:12");
    let said = router.lines.signals_of(DEVICE);
    assert!(said.len() == 1 && said[0].starts_with("raise 08:40:00"), "{said:?}");
    // Cut short: as of the end that it has now.
    let mut router = held();
    router.swap(&windows(&[("08:05", "08:17")]));
    router.tick("08:20:01");
    let said = router.lines.signals_of(DEVICE);
    assert!(said.len() == 1 && said[0].starts_with("raise 08:17:00"), "{said:?}");
    // Added: what was told is told.
    let mut router = Router::new(windows(&[]));
    stand(&mut router, DEVICE, "08:12");
    assert_eq!(router.lines.signals_of(DEVICE).len(), 1);
    router.swap(&long);
    stand(&mut router, DEVICE, "08:30");
    assert_eq!(router.lines.signals_of(DEVICE), Vec::<String>::new());
}

#[test]
fn a_late_fire_is_told_as_of_the_end_of_the_window() {
    const SMOKE: &str = "smoke-01/S-0007";
    let text = format!(
        "windows:\n  - {{name: w, reason: r, device: [{SMOKE}], from: '2026-11-23T08:00:00+08:00', to: '2026-11-23T08:30:00+08:00'}}\n"
    );
    let shared = || {
        let registry = load(&text, DEVICES).0.unwrap();
        Arc::new(Shared::new(Arc::new(registry)).0.unwrap())
    };
    let smoke = |n: u64, t: &str, on: bool| {
        format!(r#"{{"boot":1,"seq":{n},"ts":{},"params":{{"smoke":{on}}}}}"#, at(t))
    };
    for (newest, expected) in [("08:40", &["raise 08:30:00", "clear 08:40:00"][..]), ("08:20", &[])]
    {
        let mut router = Router::new(shared());
        router.property("08:41", SMOKE, &smoke(9, newest, false));
        router.property("08:42", SMOKE, &smoke(3, "08:10", true));
        let said = router.lines.signals();
        assert_eq!(said.len(), expected.len(), "{said:?}");
        assert!(said.iter().zip(expected).all(|(a, b)| a.starts_with(b)), "{said:?}");
    }
}

#[test]
fn an_alert_in_a_window_is_history() {
    let mut router = Router::new(windows(&[("08:00", "08:30")]));
    let event =
        |id: &str, t: &str| format!(r#"{{"id":"{id}","ts":{},"params":{{"tilt":12.5}}}}"#, at(t));
    for (id, t, word) in [("e-1", "08:29", "reading"), ("e-2", "08:30", "signal")] {
        let body = event(id, t);
        let raw = Raw {
            device: DEVICE,
            lane: Lane::Listen,
            kind: BodyKind::Event,
            path: "event/tamper",
            listener: "mqtt",
            peer: "127.0.0.1:5",
            received_at: at("08:31"),
            payload: body.as_bytes(),
        };
        assert_eq!(router.input(&Input::Raw(raw)), Fate::Routed);
        assert_eq!(router.lines.0.len(), 1);
        assert!(router.lines.0[0].starts_with(word), "{}", router.lines.0[0]);
        router.lines.0.clear();
    }
    let counters = router.state.counters();
    assert_eq!((counters.readings, counters.signals), (1, 1));
}

#[test]
fn who_was_never_heard_is_raised_after_the_window_that_its_time_ends_in() {
    for restart in [false, true] {
        let mut router = Router::new(windows(&[("08:25", "08:40")]));
        for received_at in (at("08:00")..=at("08:40:09")).step_by(1000) {
            router.input(&Input::Tick { received_at });
            if restart && received_at % 60_000 == 0 {
                router.restart();
            }
        }
        assert_eq!(router.lines.signals_of(DEVICE), Vec::<String>::new());
        router.tick("08:40:10");
        let said = router.lines.signals_of(DEVICE);
        assert!(said.len() == 1 && said[0].starts_with("raise 08:40:00"), "{said:?}");
    }
}
