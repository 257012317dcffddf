//! The compiled path against the reference interpreter, over random rules and inputs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::model::{AttributeModel, Model, PropertyKind};
use super::reference::{Reference, Said};
use super::tests::{DAY, Hub, MINUTE, VERSION, compiled, condition_at, plain, property};
use super::*;
use crate::maintenance::{Span, joined};
use crate::route::bytes::Reader;
use crate::sample::{Flags, PropertyRef, Quality, Sampled, Value};
use crate::thing::{AlarmSpec, Expression, LatePolicy, SeverityStep};

/// What calendar `gaps` of the tests means on Monday and Tuesday, in minutes from Monday's midnight.
const HOURS: [(Millis, Millis); 3] = [(0, 20), (27, 65), (120, 1800)];

fn two_properties() -> Model {
    let values = vec!["auto".to_owned(), "manual".to_owned()];
    Model {
        product: "p".into(),
        properties: vec![
            property("a", "a", "", PropertyKind::Number),
            property("b", "b", "", PropertyKind::Bool),
            property("m", "m", "", PropertyKind::Enum(values)),
        ],
        attributes: vec![AttributeModel { identifier: "x".into(), default: Some(2.0) }],
        valid_for: Some(300_000),
        ..Model::default()
    }
}

fn condition() -> impl Strategy<Value = Expression> {
    prop::sample::select(vec![
        "a > 2",
        "a > attr('x')",
        "b",
        "not b",
        "m == 'manual'",
        "a > 1 and b",
        "a > 3 or m != 'auto'",
        "not (a < 2 or b)",
        "a * 2 - 1 >= attr('x') + a / 2",
        "1 / (a - 2) > 0.5",
        "1 / (1 / (a - 2)) < 2",
        "(a > 1 or b) and (m == 'manual' or (a - 1) * (a + 1) > (a - 2) * 3)",
        "b == true and a != 3",
        "a > prev(a)",
        "b and not prev(b)",
        "m == 'manual' and prev(m) != 'manual'",
        "prev(a) - a >= 2 or b",
        "avg(a, 5m) > 2",
        "sum(a, 5m) >= 7 and min(a, 12m) > 0",
        "max(a, 5m) - min(a, 5m) > 2",
        "count(a, 12m) >= 4",
        "delta(a, 5m) > 1",
        "rate(a, 12m) * 60 > 1 or rate(a, 5m) < 0",
        "sum(b, 5m) >= 2",
    ])
    .prop_map(|text| condition_at(1, text))
}

fn rule_spec() -> impl Strategy<Value = AlarmSpec> {
    let hold = prop_oneof![
        3 => Just(Hold::None),
        3 => Just(Hold::For(2 * MINUTE)),
        1 => Just(Hold::CountOf { count: 2, of: 3 }),
        1 => Just(Hold::CountWithin { count: 3, within: 4 * MINUTE }),
    ];
    let severity = prop::sample::select(vec![AlarmSeverity::Major, AlarmSeverity::Critical]);
    let step = (condition(), prop::option::of(condition()), severity)
        .prop_map(|(when, until, is)| SeverityStep { when, until, is, line: 1 });
    let missing =
        prop::sample::select(vec![MissingPolicy::Reset, MissingPolicy::Keep, MissingPolicy::Clear]);
    (
        (condition(), prop::option::of(condition()), hold),
        prop::option::of(Just(2 * MINUTE)),
        prop::option::of(Just(3 * MINUTE)),
        missing,
        prop::collection::vec(step, 0..3),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..4_u8, 0..3_u8),
    )
        .prop_map(|((when, clear, hold), clear_hold, quiet_clear, missing, steps, rest)| {
            let (late, remind, flaps, step_down, absent, scheduled) = rest;
            let mut spec = plain("r", "absent(6m)", AlarmSeverity::Minor, "c.d");
            spec.remind = remind.then_some(7 * MINUTE);
            if absent > 0 {
                if flaps {
                    spec.flap = Flap { count: 3, within: 8 * MINUTE, quiet: 3 * MINUTE };
                }
                (spec.when, spec.clear, spec.hold, spec.missing) = (when, clear, hold, missing);
                (spec.clear_hold, spec.quiet_clear) = (clear_hold, quiet_clear);
                (spec.severity.steps, spec.severity.step_down) = (steps, step_down);
                spec.schedule = (scheduled == 0).then(|| condition_at(1, "gaps"));
                if late && hold == Hold::None {
                    spec.late = LatePolicy::Raise;
                }
            }
            spec
        })
}

#[derive(Clone, Debug)]
enum Input {
    /// Device time ahead of the newest by so many half minutes, and the values.
    Sample {
        ahead: i64,
        delay: i64,
        a: Option<i32>,
        b: Option<bool>,
        m: Option<u16>,
    },
    /// Time passes by so many seconds, then a tick; we have listened for the last so many of them.
    Tick {
        seconds: i64,
        listened: i64,
    },
    /// So many seconds later another configuration: maintenance, and windows in half minutes from the newest sample.
    Configuration {
        seconds: i64,
        maintenance: bool,
        windows: Vec<(i64, i64)>,
    },
    /// So many seconds later an operator clears the alarm of a rule.
    Clear {
        seconds: i64,
        rule: usize,
    },
    Restart,
}

fn input() -> impl Strategy<Value = Input> {
    // Now and then a clock is days behind, or nothing happens for as long.
    let delay = prop_oneof![30 => -60..60_i64, 1 => 0..200_000_i64];
    let passing = prop_oneof![30 => 1..400_i64, 1 => 1..200_000_i64];
    let listened = prop_oneof![3 => Just(i64::MAX), 1 => 0..1000_i64];
    let set = (prop::option::of(0..5), prop::option::of(any::<bool>()), prop::option::of(0..2_u16));
    prop_oneof![
        6 => (-4..10_i64, delay, set)
            .prop_map(|(ahead, delay, (a, b, m))| Input::Sample { ahead, delay, a, b, m }),
        3 => (passing, listened).prop_map(|(seconds, listened)| Input::Tick { seconds, listened }),
        1 => (0..100_i64, prop::bool::weighted(0.3), prop::collection::vec((-8..20_i64, 1..12_i64), 0..4))
            .prop_map(|(seconds, maintenance, windows)| {
                Input::Configuration { seconds, maintenance, windows }
            }),
        2 => (0..30_i64, 0..3_usize).prop_map(|(seconds, rule)| Input::Clear { seconds, rule }),
        1 => Just(Input::Restart),
    ]
}

fn values_of(a: Option<i32>, b: Option<bool>, m: Option<u16>) -> Vec<Sampled> {
    let (quality, flags) = (Quality::Good, Flags::default());
    let of = |index, value| Sampled { property: PropertyRef::Known(index), value, quality, flags };
    let a = a.map(|a| of(0, Value::Float(f64::from(a))));
    let b = b.map(|b| of(1, Value::Bool(b)));
    let m = m.map(|m| of(2, Value::Enum(m)));
    a.into_iter().chain(b).chain(m).collect()
}

fn as_said(one: &Emitted) -> Said {
    // An edge that was stamped later still has its own time in the id.
    let edge = match one.born {
        Born::Sample => None,
        Born::Timer(Edge::At(t)) => Some((t, 0)),
        Born::Timer(Edge::Again(t, number)) => Some((t, number)),
        Born::Timer(Edge::Raw(_)) => Some((0, 0)),
    };
    (usize::from(one.rule), one.kind, one.time, one.since, one.severity, one.cause.as_str(), edge)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn compiled_rules_equal_the_reference(
        texts in prop::collection::vec(rule_spec(), 1..4),
        inputs in prop::collection::vec(input(), 1..60),
        listed in any::<bool>(),
    ) {
        let texts: Vec<AlarmSpec> = texts.into_iter().enumerate()
            .map(|(i, text)| AlarmSpec { id: format!("r{i}").into(), ..text }).collect();
        let model = two_properties();
        let mut hub = Hub::new(compiled(&(model.clone(), texts.clone())), "D");
        let mut slow = Reference::new(&model, &texts, &[("x", 2.0)]);
        slow.hours = HOURS.map(|(from, to)| (DAY + from * MINUTE, DAY + to * MINUTE)).into();
        let (mut now, mut newest, mut listening) = (DAY, DAY, 0);
        if listed {
            hub.run(|state, _, _| state.wait(DAY));
            slow.wait(DAY);
        }
        for input in inputs {
            match input {
                Input::Sample { ahead, delay, a, b, m } => {
                    let values = values_of(a, b, m);
                    let t = newest + ahead * 30_000;
                    now = now.max(t + delay * 1000);
                    let sample = Sample { mark: Mark { t, raw: Id(0) }, rx: now, values: &values };
                    hub.run(|state, cx, out| state.sample(cx, &sample, out));
                    let mut set = BTreeMap::new();
                    a.map(|a| set.insert("a".to_owned(), f64::from(a)));
                    b.map(|b| set.insert("b".to_owned(), f64::from(u8::from(b))));
                    m.map(|m| set.insert("m".to_owned(), f64::from(m)));
                    if !set.is_empty() {
                        slow.sample(t, now, &set);
                        newest = newest.max(t);
                    }
                }
                Input::Tick { seconds, listened } => {
                    now += seconds * 1000;
                    listening = listening.max(now.saturating_sub(listened.saturating_mul(1000)));
                    let mut due = None;
                    hub.run(|state, cx, _| due = state.due(cx, listening));
                    let before = hub.out.len();
                    hub.run(|state, cx, out| state.tick(cx, now, listening, out));
                    prop_assert!(hub.out.len() == before || due.is_some_and(|due| due <= now));
                    slow.tick(now, listening);
                }
                Input::Configuration { seconds, maintenance, windows } => {
                    now += seconds * 1000;
                    (hub.held, slow.maintenance) = (maintenance, maintenance);
                    slow.windows = windows.into_iter()
                        .map(|(from, long)| (newest + from * 30_000, newest + (from + long) * 30_000))
                        .collect();
                    let spans = slow.windows.iter().map(|(from, to)| Span { from: *from, to: *to });
                    hub.windows = joined(spans.collect());
                    hub.run(|state, cx, out| state.release(cx, now, out));
                    slow.reconfigure(now);
                }
                Input::Clear { seconds, rule } if rule < texts.len() => {
                    now += seconds * 1000;
                    let by = Mark { t: now, raw: Id(1) };
                    let stood = matches!(hub.letter(rule), 'F' | 'C');
                    let mut cleared = None;
                    hub.run(|state, cx, out| cleared = Some(state.clear(cx, rule, by, out)));
                    prop_assert_eq!(cleared, Some(stood));
                    slow.operator_clears(rule, now);
                }
                Input::Clear { .. } => {}
                // The same configuration: nothing is said, now or later, that would not have been.
                Input::Restart => {
                    hub.restart();
                    hub.run(|state, cx, out| state.release(cx, now, out));
                }
            }
            for rule in 0..texts.len() {
                prop_assert_eq!(hub.letter(rule), slow.phase(rule));
            }
            let said: Vec<Said> = hub.out.iter().map(as_said).collect();
            prop_assert_eq!(&said, &slow.said);
        }
        prop_assert!(hub.out.windows(2).all(|w| w[0].rule != w[1].rule || w[0].time <= w[1].time));
        let mut ids = std::collections::BTreeSet::new();
        for one in &hub.out {
            // An operator's clear is named after its own record, which all have in common here.
            if let Born::Timer(edge @ (Edge::At(_) | Edge::Again(..))) = one.born {
                let rule = format!("r{}", one.rule);
                prop_assert!(ids.insert(edge.id("p", &rule, one.kind, "D")), "an id twice: {:?}", one);
            }
        }
    }

    #[test]
    fn parser_survives_any_text(text in "\\PC{0,80}") {
        let _ = super::expr::parse(&text);
    }

    #[test]
    fn decoder_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = DeviceRules::decode(&mut Reader::new(&bytes), VERSION);
    }
}
