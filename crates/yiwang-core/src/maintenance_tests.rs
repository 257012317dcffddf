//! Windows as data: what is wrong with them, whom they cover, and when.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::district::District;
use crate::route::fixture;

const DEVICES: &str = "product_key,device_name,area_code,tags
gas-01,G-1,310118001001,line=3;owner=a
gas-01,G-2,310118001002,line=4
smoke-01,S-1,310118001001,line=3
smoke-01,S-2,310118104,
";

/// The shipped district and products with these windows and the devices above.
pub(crate) fn load(windows: &str, devices: &str) -> (Option<Registry>, Vec<String>) {
    let mut files = fixture::folder("district");
    files.insert("maintenance.yaml".to_owned(), windows.to_owned());
    let (district, mut problems) = District::load(&files);
    let mut registry = None;
    if let Some(district) = district {
        let mut files = fixture::folder("products");
        files.insert("devices.csv".to_owned(), devices.to_owned());
        let (loaded, found) = Registry::load(&files, Arc::new(district));
        problems.extend(found);
        registry = loaded;
    }
    let told = |problem: &crate::problem::Problem| {
        assert_eq!(problem.file, "maintenance.yaml", "{problem}");
        format!("{} {}", problem.line, problem.code)
    };
    (registry, problems.iter().map(told).collect())
}

/// One window with this line in it.
fn window(line: &str) -> String {
    let times = "from: 2026-12-01T08:00:00+08:00\n    to: 2026-12-01T18:00:00+08:00\n";
    format!("windows:\n  - name: a\n    reason: r\n    {line}\n    {times}")
}

#[test]
fn every_mistake_has_its_line() {
    let day = "from: 2026-12-01, to: 2026-12-02, reason: r";
    let twice = format!(
        "windows:\n  - {{name: a, area: ['310118'], {day}}}\n  - {{name: a, area: ['310118'], {day}}}\n"
    );
    for (text, expected) in [
        (String::new(), None),
        ("# nothing\n".to_owned(), None),
        ("windows: []\n".to_owned(), None),
        (window("area: ['310118']"), None),
        (window("area: ['310118999']"), Some("4 UNKNOWN_UNIT")),
        (window("area: [dept:water]"), Some("4 UNKNOWN_UNIT")),
        (window("product: [gas-09]"), Some("4 PRODUCT_UNKNOWN")),
        (window("device: [gas-01/G-1, gas-01/G-9]"), Some("4 DEVICE_UNKNOWN")),
        (window("tag: [line]"), Some("4 BAD_VALUE")),
        (window("tag: [line=9]"), Some("2 WINDOW_EMPTY")),
        (window("device: []"), Some("2 COVERS_EMPTY")),
        (window("colour: red"), Some("4 YAML_INVALID")),
        (window("area: ['310118']").replace("18:00:00+", "08:00:00+"), Some("6 BAD_VALUE")),
        (window("area: ['310118']").replace("T18", " at 18"), Some("6 BAD_VALUE")),
        (window("area: ['310118']").replace("reason: r", "reason: ' '"), Some("3 BAD_VALUE")),
        (window("area: ['310118']").replace("name: a", "name: ''"), Some("2 NAME_INVALID")),
        (twice, Some("3 ID_DUPLICATE")),
    ] {
        let (registry, problems) = load(&text, DEVICES);
        let fine = expected.is_none_or(|told| told.ends_with("WINDOW_EMPTY"));
        assert_eq!(registry.is_some(), fine, "{text}: {problems:?}");
        let first = problems.first().map(String::as_str);
        assert_eq!(first, expected, "{text}: {problems:?}");
    }
}

#[test]
fn a_window_covers_what_meets_all_that_it_states() {
    for (line, expected) in [
        ("area: ['310118001']", &["gas-01/G-1", "gas-01/G-2", "smoke-01/S-1"][..]),
        ("product: [smoke-01]", &["smoke-01/S-1", "smoke-01/S-2"]),
        ("tag: [line=3, owner=b]", &["gas-01/G-1", "smoke-01/S-1"]),
        ("device: [gas-01/G-2, smoke-01/S-2]", &["gas-01/G-2", "smoke-01/S-2"]),
        ("{product: [gas-01], tag: [line=3]}", &["gas-01/G-1"]),
        ("{device: [gas-01/G-2, gas-01/G-1], area: ['310118001001']}", &["gas-01/G-1"]),
    ] {
        let line = line.trim_matches(['{', '}']).replace("], ", "]\n    ");
        let (registry, problems) = load(&window(&line), DEVICES);
        assert_eq!(problems, Vec::<String>::new(), "{line}");
        let registry = registry.unwrap();
        let covered = |device: &&Device| !registry.windows.times(device.windows).is_empty();
        let covered = registry.devices.iter().filter(covered).map(|device| &*device.key);
        assert_eq!(covered.collect::<Vec<_>>(), expected, "{line}");
    }
}

#[test]
fn devices_of_the_same_windows_share_their_times() {
    let day = |name: &str, from: u32, to: u32, of: &str| {
        format!(
            "  - {{name: {name}, reason: r, {of}, from: 2026-12-{from:02}, to: 2026-12-{to:02}}}\n"
        )
    };
    let text = [
        "windows:\n".to_owned(),
        day("later", 5, 6, "area: ['310118001']"),
        day("a", 1, 2, "product: [gas-01]"),
        day("b", 2, 3, "product: [gas-01]"),
    ]
    .concat();
    let (registry, _) = load(&text, DEVICES);
    let registry = registry.unwrap();
    let set = |key| registry.device(key).unwrap().1.windows;
    assert_eq!(set("gas-01/G-1"), set("gas-01/G-2"));
    assert_ne!(set("gas-01/G-1"), set("smoke-01/S-1"));
    assert_eq!(set("smoke-01/S-2"), SetNo::default());
    let days = |from, to| {
        let day = |day: i64| 1_796_054_400_000 + (day - 1) * 86_400_000;
        Span { from: day(from), to: day(to) }
    };
    let times = registry.windows.times(set("gas-01/G-1"));
    assert_eq!(times, [days(1, 3), days(5, 6)], "those that touch are one");
    let at = |t| registry.windows.at(set("gas-01/G-1"), t).map(|it| &*it.name).collect::<Vec<_>>();
    assert_eq!((at(days(1, 2).from), at(days(1, 2).to)), (vec!["a"], vec!["b"]));
    assert!(at(days(1, 3).to).is_empty());
}

#[test]
fn a_window_is_part_of_the_epoch() {
    let epoch = |text: &str| load(text, DEVICES).0.unwrap().epoch;
    let one = window("area: ['310118']");
    assert_eq!(epoch(&one), epoch(&one));
    assert_ne!(epoch(&one), epoch(&one.replace("T18", "T19")));
}

proptest! {
    #[test]
    fn joined_spans_hold_the_same_instants(
        spans in prop::collection::vec((0..30_i64, 1..8_i64), 0..8),
    ) {
        let spans: Vec<Span> =
            spans.into_iter().map(|(from, long)| Span { from, to: from + long }).collect();
        let joined = joined(spans.clone());
        prop_assert!(joined.windows(2).all(|pair| pair[0].to < pair[1].from));
        for t in -1..40 {
            let end = (t..40).find(|end| !spans.iter().any(|span| span.holds(*end)));
            let end = end.filter(|end| *end != t);
            prop_assert_eq!(end_of(&joined, t), end);
        }
    }
}
