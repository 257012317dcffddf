//! Policies: budgets, specificity, sources, snapshots.

use super::budget::Span;
use super::*;
use crate::district::small_tests::{load, small};

#[test]
fn budgets() {
    let parse = |text| Budget::parse(text, 480);
    let clock = |ms| Some(Budget { ms, working: false });
    let working = |ms| Some(Budget { ms, working: true });
    assert_eq!(parse("0s"), clock(0));
    assert_eq!(parse("5m"), clock(300_000));
    assert_eq!(parse("4h"), clock(14_400_000));
    assert_eq!(parse("2d"), clock(172_800_000));
    assert_eq!(parse("30wm"), working(1_800_000));
    assert_eq!(parse("4wh"), working(14_400_000));
    assert_eq!(parse("1wd"), working(28_800_000));
    for bad in ["", "5", "m", "-5m", "5 m", "1.5h", "5M", "5mm", "5w", "1000001d", "٣m"] {
        assert_eq!(parse(bad), None, "{bad}");
    }
    let texts = ["5m", "36h", "8wh", "90m"].map(|text| parse(text).unwrap().to_string());
    assert_eq!(texts, ["5m", "36h", "8wh", "90m"]);
    assert_eq!(Budget { ms: 1, working: false }.to_string(), "1ms");
    assert!(Span::parse("1wd").unwrap().is_working());
}

/// The small district with more policies at the end of its file.
fn with(policies: &str) -> crate::district::District {
    let mut files = small();
    let text = files.get_mut("policies.yaml").unwrap();
    *text = text.replace("- {match: {category: flood}, lead: dept:x}", "# nothing") + policies;
    let (district, problems) = load(&files);
    assert_eq!(problems, [""; 0]);
    district.unwrap()
}

fn source(policy: &Policy, field: &str) -> String {
    let source = policy.sources.iter().find(|source| source.field == field).unwrap();
    format!("{}:{}", source.selector, source.line)
}

#[test]
fn merged_field_by_field_from_least_to_most_specific() {
    let district = with(
        "\n- {match: {area: north}, ack: 6m, handle: 6h, group: {radius_m: 6}}
- {match: {category: flood, area: n1a}, ack: 8m}
- {match: {category: flood}, ack: 7m, handle: 7h}
- {match: {category: flood, area: north}, ack: 9m, group: {window: 9h}}
",
    );
    let resolve = |code, place| district.resolve_policy(code, place, Mode::Ordinary).unwrap();
    let numbers = |policy: &Policy| {
        let Policy { ack, handle, group_radius_m, group_window_ms, .. } = policy;
        (ack.ms / 60_000, handle.ms / 3_600_000, *group_radius_m, group_window_ms / 3_600_000)
    };
    assert_eq!(numbers(&resolve("flood.road", "s1a")), (7, 7, 50, 1));
    assert_eq!(numbers(&resolve("flood.road", "north")), (9, 7, 6, 9));
    assert_eq!(numbers(&resolve("flood.road", "n1a")), (8, 7, 6, 9));
    assert_eq!(numbers(&resolve("flood.road", "n1b")), (9, 7, 6, 9));
    assert_eq!(numbers(&resolve("other", "n1b")), (6, 6, 6, 1));
    let deep = resolve("flood.road", "n1a");
    assert_eq!(source(&deep, "ack"), "flood / n1a / *:15");
    assert_eq!(source(&deep, "handle"), "flood / * / *:16");
    assert_eq!(source(&deep, "group.radius_m"), "* / north / *:14");
    assert_eq!(source(&deep, "lead"), "* / * / *:1");
}

#[test]
fn a_policy_for_a_mode_holds_in_the_modes_above() {
    let district = with(
        "\n- {match: {mode: IV}, ack: 4m}
- {match: {mode: II}, ack: 2m}
- {match: {category: flood}, handle: 7h}
",
    );
    let ack = |mode| district.resolve_policy("flood.road", "n1a", mode).unwrap().ack.ms / 60_000;
    assert_eq!(Mode::ALL.map(ack), [10, 4, 4, 2, 2]);
}

#[test]
fn prefixes_end_at_dots() {
    let district = with("\n- {match: {category: flood.road}, ack: 1m}\n");
    let ack = |code| district.resolve_policy(code, "n1a", Mode::Ordinary).unwrap().ack.ms / 60_000;
    assert_eq!((ack("flood.road"), ack("flood.roadside"), ack("flood.road.deep")), (1, 10, 1));
}

#[test]
fn snapshots_come_back_whole() {
    let district = with(
        "
- match: {category: flood.road}
  assists: [{who: place@TOWN, mandatory: true}, {who: dept:x}]
  incident: 6h
  milestones: [{name: stop, budget: 2wh}]
  level: III
  auto: {accept: true}
  self_handle_ok: true
  evidence: {feedback: [photo>=2, note]}
  storm: {group: flood, exempt: true}
  late: {opens: true}
  lead: unit:north
",
    );
    let road = district.resolve_policy("flood.road", "n1a", Mode::Ordinary).unwrap();
    assert_eq!((road.level, &road.lead), (Some(3), &Lead::Unit("north".into())));
    let mut back = Policy::from_text(&road.to_text()).unwrap();
    assert_eq!(back.id, road.id);
    for (back, own) in back.sources.iter_mut().zip(&road.sources) {
        back.line = own.line;
    }
    back.sources.sort_by_key(|source| source.field);
    let mut own = (*road).clone();
    own.sources.sort_by_key(|source| source.field);
    assert_eq!(back, own);
    let other = district.resolve_policy("other", "n1a", Mode::Ordinary).unwrap();
    assert_ne!(other.id, road.id);
    assert_eq!(Policy::from_text("start_tier\tTOWN\t\n"), None);
}

#[test]
fn equal_content_has_an_equal_id_wherever_it_stands() {
    let moved = with("\n\n# moved\n- {match: {category: flood}, ack: 3m}\n");
    let plain = with("\n- {match: {category: flood}, ack: 3m}\n");
    let id = |district: &crate::district::District| {
        district.resolve_policy("flood.road", "n1a", Mode::Ordinary).unwrap().id
    };
    assert_eq!(id(&moved), id(&plain));
    assert_ne!(moved.digest(), plain.digest());
}
