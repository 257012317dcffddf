//! What is wrong with a file is named with its line; the compiled table says what a slow, obvious one says.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;
use crate::district::{District, FileSet};
use crate::route::fixture;
use crate::thing::Product;

const SHIPPED: &str = include_str!("../../../../config/district/routes.yaml");

static PRODUCTS: LazyLock<Vec<Arc<Product>>> =
    LazyLock::new(|| fixture::registry(|_, text| text).0.unwrap().products);

fn district() -> &'static District {
    &fixture::DISTRICT
}

fn load(text: &str) -> (Option<Routes>, Vec<String>) {
    let files = FileSet::from([("routes.yaml".to_owned(), text.to_owned())]);
    let (routes, problems) = Routes::load(&files, district(), &PRODUCTS);
    (routes, problems.iter().map(|it| format!("{}:{} {}", it.file, it.line, it.code)).collect())
}

fn from<'a>(product: &'a str, unit: &str) -> Subject<'a> {
    Subject { product, place: district().path_ref(unit) }
}

/// Names of the topics of a fan.
fn topics(routes: &Routes, fan: &Fan) -> Vec<String> {
    fan.topics.iter().map(|at| routes.topics()[usize::from(*at)].name.to_string()).collect()
}

#[test]
fn the_shipped_table_forwards_what_it_says() {
    let (routes, problems) = load(SHIPPED);
    assert_eq!(problems, Vec::<String>::new());
    let routes = routes.unwrap();
    let village = "310118001001";
    let gas = from("gas-01", village);
    let fan = routes.of_signal(gas, "pipe.gas", AlarmSeverity::Critical);
    assert_eq!(topics(&routes, &fan), ["fire-brigade"]);
    assert!(!fan.instead);
    assert_eq!(routes.of_signal(gas, "pipe.gas", AlarmSeverity::Minor), Fan::default());
    assert_eq!(routes.of_signal(gas, "pipe.sewage", AlarmSeverity::Critical), Fan::default());
    let fan = routes.of_reading(from("wl-radar-01", village));
    assert_eq!(topics(&routes, &fan), ["water-bureau"]);
    assert_eq!(routes.of_reading(gas), Fan::default());
    let nobody = Subject { product: "x", place: None };
    let fan = routes.of_quarantine(nobody, QuarantineReason::UnknownDevice);
    assert_eq!(topics(&routes, &fan), ["lobby"]);
    assert_eq!(routes.of_quarantine(nobody, QuarantineReason::Codec), Fan::default());
}

#[test]
fn a_district_without_the_file_forwards_nothing() {
    let (routes, problems) = Routes::load(&FileSet::new(), district(), &PRODUCTS);
    assert!(problems.is_empty());
    assert!(Stream::ALL.into_iter().all(|stream| routes.as_ref().unwrap().is_empty(stream)));
    assert!(Routes::topics_of(&FileSet::new()).is_empty());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    const GOOD: &str = "\
topics:
  - {name: one, of: signals}
  - {name: two, of: readings}
routes:
  - name: first
    of: signals
    category: [fire]
    severity: MAJOR
    area: [310118001]
    to: [one]
  - name: second
    of: readings
    product: [gas-01]
    instead: true
    to: [two]
";
    assert_eq!(load(GOOD).1, Vec::<String>::new());
    let wrong: [(&str, &str, &[&str]); 19] = [
        ("name: one,", "name: raw,", &["2 TOPIC_RESERVED", "10 TOPIC_UNKNOWN", "2 TOPIC_UNUSED"]),
        ("name: one,", "name: One,", &["2 NAME_INVALID", "10 TOPIC_UNKNOWN", "2 TOPIC_UNUSED"]),
        ("name: two,", "name: one,", &["3 ID_DUPLICATE", "15 TOPIC_UNKNOWN"]),
        ("name: one, of: signals", "name: one, of: sinks", &["2 WORD_UNKNOWN", "10 TOPIC_UNKNOWN"]),
        ("of: signals\n", "of: alarms\n", &["6 WORD_UNKNOWN"]),
        ("name: second", "name: first", &["11 ID_DUPLICATE"]),
        ("name: second", "name: a b", &["11 NAME_INVALID"]),
        ("[fire]", "[fire.water]", &["7 CATEGORY_UNKNOWN"]),
        ("MAJOR", "BAD", &["8 WORD_UNKNOWN"]),
        ("[310118001]", "[nowhere]", &["9 UNKNOWN_UNIT"]),
        ("[310118001]", "[company:gas]", &["9 UNKNOWN_UNIT"]),
        ("[gas-01]", "[gas-02]", &["13 PRODUCT_UNKNOWN"]),
        ("[one]", "[two]", &["10 STREAMS_MIXED", "2 TOPIC_UNUSED"]),
        ("[one]", "[]", &["5 TO_EMPTY", "2 TOPIC_UNUSED"]),
        ("product: [gas-01]", "category: [fire]", &["13 CONDITION_MISPLACED"]),
        ("product: [gas-01]", "severity: MAJOR", &["13 CONDITION_MISPLACED"]),
        ("severity: MAJOR", "reason: [CODEC]", &["8 CONDITION_MISPLACED"]),
        ("severity: MAJOR", "instead: true", &["8 INSTEAD_REFUSED"]),
        ("severity: MAJOR", "severty: MAJOR", &["8 YAML_INVALID"]),
    ];
    for (good, bad, expected) in wrong {
        let (routes, problems) = load(&GOOD.replacen(good, bad, 1));
        let expected: Vec<_> = expected.iter().map(|it| format!("routes.yaml:{it}")).collect();
        assert_eq!(problems, expected, "{bad}");
        assert!(routes.is_none(), "{bad}");
    }
    let many: String =
        (0..=ROUTES_MAX).map(|n| format!("  - {{name: r{n}, of: signals, to: [one]}}\n")).collect();
    let (routes, problems) =
        load(&format!("topics:\n  - {{name: one, of: signals}}\nroutes:\n{many}"));
    assert_eq!(problems, [format!("routes.yaml:{} LIMIT", 4 + ROUTES_MAX)]);
    assert!(routes.is_none());
}

#[test]
fn topics_are_known_before_anything_is_checked() {
    let files = FileSet::from([("routes.yaml".to_owned(), SHIPPED.to_owned())]);
    let topics = Routes::topics_of(&files);
    assert_eq!(topics, load(SHIPPED).0.unwrap().topics());
    assert_eq!(topics[1].stream, Stream::Readings);
}

/// A route as it stands in the file, asked the slow and obvious way.
#[derive(Clone, Debug)]
struct Plain {
    stream: Stream,
    products: Vec<&'static str>,
    areas: Vec<&'static str>,
    categories: Vec<&'static str>,
    severity: Option<AlarmSeverity>,
    reasons: Vec<QuarantineReason>,
    to: Vec<usize>,
    instead: bool,
}

const KEYS: [&str; 4] = ["gas-01", "smoke-01", "wl-radar-01", "manhole-01"];
const AREAS: [&str; 6] =
    ["310118", "310118001", "310118002", "310118001-S1", "310118001004", "310118001001"];
const PREFIXES: [&str; 6] = ["fire", "fire.smoke", "pipe", "pipe.gas", "part.manhole", "device"];
const CODES: [&str; 6] =
    ["fire.smoke", "fire.ebike", "pipe.gas", "pipe.sewage", "part.manhole.tilt", "device.fault"];
/// Topics a to c carry readings, d to f signals, g to i quarantine rows.
const TOPICS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

impl Plain {
    fn to_yaml(&self, number: usize) -> String {
        let topics: Vec<_> =
            self.to.iter().map(|at| TOPICS[3 * self.stream as usize + at]).collect();
        let mut yaml = format!("  - name: r{number}\n    of: {}\n", self.stream.as_str());
        let mut list = |key: &str, words: Vec<&str>| {
            if !words.is_empty() {
                yaml += &format!("    {key}: [{}]\n", words.join(", "));
            }
        };
        list("product", self.products.clone());
        list("area", self.areas.clone());
        list("category", self.categories.clone());
        list("reason", self.reasons.iter().map(|reason| reason.as_str()).collect());
        list("to", topics);
        if let Some(severity) = self.severity {
            yaml += &format!("    severity: {}\n", severity.as_str());
        }
        yaml + &format!("    instead: {}\n", self.instead)
    }

    fn chooses(&self, asked: &Asked) -> bool {
        let below = |area: &&str| {
            asked.place.is_some_and(|place| district().ancestors(place).any(|up| *up.id == **area))
        };
        let within = |prefix: &&str| {
            asked.category == *prefix || asked.category.starts_with(&format!("{prefix}."))
        };
        self.stream == asked.stream
            && (self.products.is_empty() || self.products.contains(&asked.product))
            && (self.areas.is_empty() || self.areas.iter().any(below))
            && (self.categories.is_empty() || self.categories.iter().any(within))
            && self.severity.is_none_or(|least| asked.severity >= least)
            && (self.reasons.is_empty() || self.reasons.contains(&asked.reason))
    }
}

#[derive(Clone, Debug)]
struct Asked {
    stream: Stream,
    product: &'static str,
    place: Option<&'static str>,
    category: &'static str,
    severity: AlarmSeverity,
    reason: QuarantineReason,
}

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(of.to_vec(), 0..=2)
}

fn plain() -> impl Strategy<Value = Plain> {
    let severity = prop::option::of(prop::sample::select(AlarmSeverity::ALL.to_vec()));
    let reasons = prop::sample::subsequence(QuarantineReason::ALL.to_vec(), 0..=2);
    let to = prop::sample::subsequence(vec![0, 1, 2], 1..=3);
    let stream = prop::sample::select(Stream::ALL.to_vec());
    let what = (stream, some(&KEYS), some(&AREAS), some(&PREFIXES), severity, reasons, to);
    (what, any::<bool>()).prop_map(|(what, instead)| {
        let (stream, products, areas, categories, severity, reasons, to) = what;
        let signals = stream == Stream::Signals;
        Plain {
            stream,
            products,
            areas,
            categories: if signals { categories } else { Vec::new() },
            severity: severity.filter(|_| signals),
            reasons: if stream == Stream::Quarantine { reasons } else { Vec::new() },
            to,
            instead: instead && stream == Stream::Readings,
        }
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let places = ["310118", "310118001", "310118001-S1", "310118001004", "310118002005"];
    (
        prop::sample::select(Stream::ALL.to_vec()),
        prop::sample::select(KEYS.to_vec()),
        prop::option::of(prop::sample::select(places.to_vec())),
        prop::sample::select(CODES.to_vec()),
        prop::sample::select(AlarmSeverity::ALL.to_vec()),
        prop::sample::select(QuarantineReason::ALL.to_vec()),
    )
        .prop_map(|(stream, product, place, category, severity, reason)| Asked {
            stream,
            product,
            place,
            category,
            severity,
            reason,
        })
}

proptest! {
    #[test]
    fn the_compiled_table_says_what_the_obvious_one_says(
        table in prop::collection::vec(plain(), 0..12),
        questions in prop::collection::vec(asked(), 40),
    ) {
        let listed = |(at, name): (usize, &&str)| {
            format!("  - {{name: {name}, of: {}}}\n", Stream::ALL[at / 3].as_str())
        };
        let topics: String = TOPICS.iter().enumerate().map(listed).collect();
        let routes: String =
            table.iter().enumerate().map(|(number, route)| route.to_yaml(number)).collect();
        let routes = if table.is_empty() { "routes: []".to_owned() } else { format!("routes:\n{routes}") };
        let (compiled, problems) = load(&format!("topics:\n{topics}{routes}"));
        prop_assert!(compiled.is_some(), "{problems:?}");
        let compiled = compiled.unwrap();
        for asked in questions {
            let chosen: Vec<(usize, &Plain)> =
                table.iter().enumerate().filter(|(_, route)| route.chooses(&asked)).collect();
            let from = Subject {
                product: asked.product,
                place: asked.place.and_then(|place| district().path_ref(place)),
            };
            let fan = match asked.stream {
                Stream::Readings => compiled.of_reading(from),
                Stream::Signals => compiled.of_signal(from, asked.category, asked.severity),
                Stream::Quarantine => compiled.of_quarantine(from, asked.reason),
            };
            let numbers: Vec<usize> = fan.routes.iter().map(|at| usize::from(*at)).collect();
            prop_assert_eq!(numbers, chosen.iter().map(|(number, _)| *number).collect::<Vec<_>>());
            let goes = |at: &usize| chosen.iter().any(|(_, route)| route.to.contains(at));
            let expected: Vec<u16> = (0..3)
                .filter(goes)
                .map(|at| (3 * asked.stream as usize + at) as u16)
                .collect();
            prop_assert_eq!(&fan.topics, &expected);
            prop_assert_eq!(fan.instead, chosen.iter().any(|(_, route)| route.instead));
        }
    }
}
