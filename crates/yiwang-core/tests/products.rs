//! The shipped products load without a problem; broken files are told where they are broken.

use yiwang_core::problem::Problem;
use yiwang_core::thing::Product;

const SHIPPED: [&str; 5] = ["wl-radar-01", "smoke-01", "manhole-01", "gas-01", "nd-01"];

fn shipped(key: &str) -> (String, String) {
    let file = format!("{key}.thing.yaml");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/products/");
    let text = std::fs::read_to_string(format!("{folder}{file}")).expect("a shipped product");
    (file, text)
}

fn words(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn shipped_products_load() {
    for key in SHIPPED {
        let (file, text) = shipped(key);
        let (product, problems) = Product::load(&file, &text);
        assert_eq!(words(&problems), Vec::<String>::new(), "{key}");
        assert_eq!(&*product.unwrap().key, key);
    }
}

#[test]
fn one_product_is_strict_and_one_rule_has_no_hold() {
    let load = |key: &str| {
        let (file, text) = shipped(key);
        Product::load(&file, &text).0.unwrap()
    };
    assert!(load("nd-01").strict);
    let gas = load("gas-01");
    assert!(!gas.strict);
    assert_eq!(gas.alarms[0].hold, yiwang_core::thing::Hold::None);
    assert_eq!(gas.attributes[0].default, Some(10.0));
    let radar = load("wl-radar-01");
    assert_eq!(radar.alarms[0].hold, yiwang_core::thing::Hold::For(600_000));
    assert_eq!(radar.alarms[0].when.text, "level >= attr('warnLevel')");
    assert_eq!(radar.properties[0].max_rate, Some(0.5 / 60_000.0));
}

#[test]
fn every_problem_is_listed_with_its_line() {
    let (file, text) = shipped("gas-01");
    let broken = text
        .replace("rate: 5/s", "rate: fast")
        .replace("unit: Cel", "unit: °C")
        .replace("unit: V}", "unit: V, datum: 吴淞}")
        .replace("concentration\":12.5", "concentration\":12.75")
        .replace("  - id: silent\n", "  - id: silent\n    volume: 3\n");
    let (product, problems) = Product::load(&file, &broken);
    assert!(product.is_none());
    let line_of =
        |needle: &str| broken.lines().position(|line| line.contains(needle)).unwrap() as u32 + 1;
    let expected = [
        ("BAD_UNIT", line_of("°C")),
        ("BAD_DATUM", line_of("datum: 吴淞")),
        ("BAD_VALUE", line_of("rate: fast")),
        ("UNKNOWN_KEY", line_of("volume: 3")),
    ];
    let found: Vec<(&str, u32)> =
        problems.iter().map(|problem| (problem.code, problem.line)).collect();
    assert_eq!(found, expected, "{:#?}", words(&problems));
}

#[test]
fn what_nobody_knows_is_told() {
    let (file, text) = shipped("gas-01");
    let broken = text
        .replace("dialects: [native]", "dialects: [natvie]")
        .replace("lanes: [A]", "lanes: [Z]")
        .replace("grade: internal", "grade: inernal");
    assert_eq!(broken.matches("natvie").count() + broken.matches("inernal").count(), 2);
    let (product, problems) = Product::load(&file, &broken);
    assert!(product.is_none());
    let said = words(&problems).join("\n");
    for part in ["sparkplugB", "B'", "public, internal, sensitive or secret"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let raw_alone = text.replace("dialects: [native]", "dialects: [raw]");
    let (_, problems) = Product::load(&file, &raw_alone);
    assert_eq!((problems[0].code, problems[0].line), ("NO_CODEC", 12), "{problems:?}");
}

/// Of a device with a period of its own a value counts for as many periods, or for the time that the product states.
#[test]
fn values_count_for_periods_or_for_a_time() {
    let (file, text) = shipped("wl-radar-01");
    let valid_for = |stated: &str| {
        let key = text.lines().find(|line| line.starts_with("liveness:")).expect("it has one");
        let text = text.replace(key, &format!("liveness: {{expectEvery: 5m{stated}}}"));
        let (product, problems) = Product::load(&file, &text);
        let product = product.unwrap_or_else(|| panic!("{problems:?}"));
        let liveness = product.liveness.expect("as stated");
        [liveness.valid_for(None), liveness.valid_for(Some(60_000))]
    };
    assert_eq!(valid_for(""), [Some(600_000), Some(120_000)]);
    assert_eq!(valid_for(", validFor: 4x"), [Some(1_200_000), Some(240_000)]);
    assert_eq!(valid_for(", validFor: 1h"), [Some(3_600_000); 2]);
    assert_eq!(valid_for(", validFor: forever"), [None; 2]);
}

#[test]
fn a_failing_vector_stops_the_load() {
    let (file, text) = shipped("gas-01");
    let broken = text.replace("expect: {concentration: 30,", "expect: {concentration: 31,");
    let (product, problems) = Product::load(&file, &broken);
    assert!(product.is_none());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].code, "VECTOR_FAILED");
    let line = broken.lines().position(|line| line.contains(r#"'{"concentration":30}'"#)).unwrap();
    assert_eq!(problems[0].line, line as u32 + 1);
}

#[test]
fn the_name_of_the_file_is_the_key() {
    let (_, text) = shipped("gas-01");
    let (product, problems) = Product::load("folder/gas-02.thing.yaml", &text);
    assert!(product.is_none());
    assert_eq!(problems[0].code, "KEY_MISMATCH");
}

#[test]
fn what_is_no_yaml_has_a_line() {
    for text in ["", "schema: [", "schema: a\nschema: b\n", "- 1\n- 2\n", "\u{0}"] {
        let (product, problems) = Product::load("x.thing.yaml", text);
        assert!(product.is_none(), "{text:?}");
        assert!(!problems.is_empty(), "{text:?}");
    }
}
