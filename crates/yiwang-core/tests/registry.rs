//! The shipped registry loads whole; every error of a device list has its code and its line.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod shipped;

use std::sync::Arc;

use shipped::folder;
use yiwang_core::district::District;
use yiwang_core::problem::{Problem, Severity};
use yiwang_core::registry::{Device, Lifecycle, Registry, SecretHash};

fn words(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn district() -> Arc<District> {
    let (district, problems) = District::load(&folder("district"));
    Arc::new(district.unwrap_or_else(|| panic!("{:#?}", words(&problems))))
}

fn load(lists: &[(&str, &str)]) -> (Option<Registry>, Vec<Problem>) {
    let mut files = folder("products");
    files.extend(lists.iter().map(|(name, text)| (String::from(*name), String::from(*text))));
    Registry::load(&files, district())
}

fn shipped() -> Registry {
    let mut files = folder("products");
    files.extend(folder("devices"));
    let (registry, problems) = Registry::load(&files, district());
    assert_eq!(words(&problems), Vec::<String>::new());
    registry.expect("no problem")
}

#[test]
fn shipped_registry() {
    let registry = shipped();
    assert_eq!((registry.products.len(), registry.devices.len()), (5, 400));
    for product in &registry.products {
        let of =
            registry.devices.iter().filter(|device| registry.product_of(device).key == product.key);
        assert_eq!(of.count(), 80, "{}", product.key);
    }
    let district = registry.district.as_deref().expect("loaded with one");
    for (at, device) in registry.devices.iter().enumerate() {
        let (number, found) = registry.device(&device.key).expect("indexed");
        assert_eq!((number.0 as usize, &found.key), (at, &device.key));
        let asset = district.asset(device.asset.as_deref().expect("an asset")).expect("known");
        assert_eq!(Some(device.place.deepest()), asset.place.as_ref());
        assert_eq!(device.point, asset.point);
        assert_eq!(device.lifecycle, Lifecycle::InService);
    }
    let (_, first) = registry.device("wl-radar-01/R-0001").expect("shipped");
    assert_eq!(first.name_on_wire(), "R-0001");
    assert_eq!(&*first.attrs, [Some(3.5), Some(3.8)]);
    assert_eq!(registry.maintainer(first).as_deref(), Some("dept:water"));
    let (_, tenth) = registry.device("wl-radar-01/R-0010").expect("shipped");
    assert_eq!(&*tenth.attrs, [Some(3.2), Some(3.6)]);
    assert!(registry.device("wl-radar-01/R-9999").is_none());
    assert!(registry.device("").is_none());
    assert!(registry.product("gas-01").is_some() && registry.product("gas-02").is_none());
}

#[test]
fn secrets_are_sealed_and_never_shown() {
    let mut registry = shipped();
    registry.seal(|secret| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&secret.expose().as_bytes()[..8]);
        SecretHash(hash)
    });
    let (_, device) = registry.device("gas-01/G-0001").expect("shipped");
    let mut expected = [0; 32];
    expected[..8].copy_from_slice(b"demo-sec");
    assert!(device.secret.is_some_and(|secret| secret.matches(&expected)));
    assert!(!format!("{device:?} {registry:?}").contains("demo"));
}

#[test]
fn a_device_is_small() {
    assert!(std::mem::size_of::<Device>() <= 192, "{}", std::mem::size_of::<Device>());
}

const HEADER: &str = "product_key,device_name,area_code,asset_id,lon,lat,owner_unit,alias,attrs,secret,tags,expect_every\n";

#[test]
fn every_error_has_its_code_and_line() {
    let rows = [
        ("gas-01,provision,310118001,,,,,,,,,", "BAD_NAME"),
        ("gas-01,a b,310118001,,,,,,,,,", "BAD_NAME"),
        ("gas-09,G-1,310118001,,,,,,,,,", "UNKNOWN_PRODUCT"),
        ("gas-01,G-2,310118999,,,,,,,,,", "UNKNOWN_AREA"),
        ("gas-01,G-3,dept:fire,,,,,,,,,", "UNKNOWN_AREA"),
        ("gas-01,G-4,310118001,,,,dept:none,,,,,", "UNKNOWN_UNIT"),
        ("gas-01,G-5,310118001,,31.1,121.1,,,,,,", "BAD_POINT"),
        ("gas-01,G-6,310118001,,121.1,,,,,,,", "BAD_POINT"),
        ("gas-01,G-7,310118001,none-1,,,,,,,,", "UNKNOWN_ASSET"),
        ("gas-01,G-8,310118001,,,,,,{},,,", ""),
        ("gas-01,G-8,310118001,,,,,,,,,", "DUPLICATE_ROW"),
        ("gas-01,G-9,310118001,,,,,A-1,,,,", ""),
        ("gas-01,G-10,310118001,,,,,A-1,,,,", "ALIAS_TAKEN"),
        (r#"gas-01,G-11,310118001,,,,,,"{""warnLel"":""x""}",,,"#, "BAD_ATTR"),
        (r#"gas-01,G-12,310118001,,,,,,"{""level"":1}",,,"#, "BAD_ATTR"),
        ("gas-01,G-13,310118001,,,,,,[],,,", "BAD_ATTR"),
        ("gas-01,G-14,310118001,,,,,,,fifteen-letters,,", "SECRET_TOO_SHORT"),
        ("gas-01,G-15,310118001,,,,,,,,a,", "BAD_VALUE"),
        ("gas-01,G-16,310118001,,,,,,,,,often", "BAD_VALUE"),
        ("gas-01,G-17", "CSV"),
        ("gas-01,G-18,310118001,,,,,,,,a=1;b=2,5m", ""),
    ];
    let text: String = rows.iter().map(|(row, _)| format!("{row}\n")).collect();
    let (registry, problems) = load(&[("list.csv", &format!("{HEADER}{text}"))]);
    assert!(registry.is_none());
    for (at, (row, code)) in rows.iter().enumerate() {
        let line = at as u32 + 2;
        let found: Vec<&str> = problems
            .iter()
            .filter(|problem| problem.line == line)
            .map(|problem| problem.code)
            .collect();
        let expected: Vec<&str> = Some(*code).filter(|code| !code.is_empty()).into_iter().collect();
        assert_eq!(found, expected, "{row}: {:#?}", words(&problems));
    }
}

#[test]
fn one_mistake_in_a_product_is_one_finding_of_a_list() {
    let text = "product_key,device_name,area_code,gateway\n\
        gas-09,G-1,310118001,\ngas-01,G-2,310118001,gas-09/G-1\ngas-09,G-3,310118001,\n";
    let unknown = |problems: &[Problem]| -> Vec<(u32, String)> {
        assert!(problems.iter().all(|problem| problem.code != "UNKNOWN_GATEWAY"), "{problems:?}");
        let found = problems.iter().filter(|problem| problem.code == "UNKNOWN_PRODUCT");
        found.map(|found| (found.line, format!("{}; {}", found.message, found.remedy))).collect()
    };
    let found = unknown(&load(&[("list.csv", text)]).1);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, 2);
    assert!(found[0].1.contains("of 2 rows") && found[0].1.contains("add its file"), "{found:?}");
    for broken in ["profile: {productKey: gas-09}\n", "profile: ["] {
        let found = unknown(&load(&[("list.csv", text), ("gas-09.thing.yaml", broken)]).1);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.ends_with("correct gas-09.thing.yaml"), "{found:?}");
    }
}

#[test]
fn gateways_end_at_a_device_that_has_none() {
    let list = |rows: &str| {
        let text = format!("product_key,device_name,area_code,gateway\n{rows}");
        load(&[("list.csv", &text)])
    };
    let row = |n: usize, gateway: &str| format!("gas-01,G-{n},310118001,{gateway}\n");
    let chain = |long: usize| -> String {
        (0..long).map(|n| row(n, &format!("gas-01/G-{}", n + 1))).chain([row(long, "")]).collect()
    };
    let registry = list(&chain(8)).0.unwrap();
    for n in 0..9 {
        assert_eq!(registry.place(&format!("gas-01/G-{n}")), "gas-01/G-8");
    }
    assert_eq!(registry.place("gas-01/G-9"), "gas-01/G-9", "a device that is in no list");
    let found = |rows: &str| -> Vec<(&str, u32)> {
        list(rows).1.iter().map(|problem| (problem.code, problem.line)).collect()
    };
    assert_eq!(found(&chain(9)), [("GATEWAY_LOOP", 2)], "one too many before the first");
    let circle = row(1, "gas-01/G-2") + &row(2, "gas-01/G-1") + &row(3, "gas-01/G-3");
    assert_eq!(found(&circle), [2, 3, 4].map(|line| ("GATEWAY_LOOP", line)));
}

#[test]
fn a_list_says_where_a_device_is_in_its_life() {
    let list = |word: &str| {
        let text =
            format!("product_key,device_name,area_code,lifecycle\ngas-01,G-1,310118001,{word}\n");
        load(&[("list.csv", &text)])
    };
    let mut epochs = Vec::new();
    for lifecycle in Lifecycle::ALL {
        let registry = list(lifecycle.as_str()).0.expect("a word of the list");
        assert_eq!(registry.devices[0].lifecycle, lifecycle);
        epochs.push(registry.epoch);
    }
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), Lifecycle::ALL.len(), "each is a configuration of its own");
    let usual = list("").0.expect("none is fine");
    assert_eq!(usual.devices[0].lifecycle, Lifecycle::InService);
    let (registry, problems) = list("ASLEEP");
    assert!(registry.is_none());
    assert_eq!(words(&problems).len(), 1);
    let Problem { code, file, line, .. } = &problems[0];
    assert_eq!((*code, file.as_str(), *line), ("BAD_VALUE", "list.csv", 2));
}

#[test]
fn headers_are_checked() {
    for (header, codes) in [
        ("product_key,device_name\n", vec!["MISSING_COLUMN"]),
        ("product_key,device_name,area_code,colour\n", vec!["UNKNOWN_COLUMN"]),
        ("product_key,device_name,area_code,lon,lon\n", vec!["DUPLICATE"]),
        ("", vec!["MISSING_COLUMN"; 3]),
        ("\u{feff}product_key,device_name,area_code\n", vec![]),
    ] {
        let (registry, problems) = load(&[("list.csv", header)]);
        let found: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!((found, registry.is_none()), (codes.clone(), !codes.is_empty()), "{header:?}");
    }
}

#[test]
fn a_point_elsewhere_is_a_warning() {
    let row = "gas-01,G-1,310118104,,121.11588,31.14967,,,,,,\n";
    let (registry, problems) = load(&[("list.csv", &format!("{HEADER}{row}"))]);
    assert!(registry.is_some());
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].code, problems[0].severity), ("POINT_OUTSIDE_AREA", Severity::Warning));
}

#[test]
fn unknown_categories_are_errors_of_the_product() {
    let mut files = folder("products");
    for text in files.values_mut() {
        *text = text.replace("category: pipe.gas", "category: pipe.gaz");
    }
    let (registry, problems) = Registry::load(&files, district());
    assert!(registry.is_none());
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].code, problems[0].file.as_str()),
        ("UNKNOWN_CATEGORY", "gas-01.thing.yaml")
    );
    assert!(problems[0].line > 1);
}

#[test]
fn the_epoch_is_that_of_the_content() {
    let one = "gas-01,G-1,310118001,,,,,,,a-secret-of-16-or-more,,\n";
    let two = "gas-01,G-2,310118001001,,,,,,,,,\n";
    let epoch = |lists: &[(&str, &str)]| load(lists).0.expect("valid").epoch;
    let whole = epoch(&[("a.csv", &format!("{HEADER}{one}{two}"))]);
    assert_eq!(whole, epoch(&[("a.csv", &format!("{HEADER}{two}{one}"))]));
    let (first, second) = (format!("{HEADER}{two}"), format!("{HEADER}{one}"));
    assert_eq!(whole, epoch(&[("a.csv", &first), ("b.csv", &second)]));
    let other = one.replace("a-secret", "b-secret");
    assert_eq!(whole, epoch(&[("a.csv", &format!("{HEADER}{other}{two}"))]), "secrets are no part");
    let moved = two.replace("310118001001", "310118001002");
    assert_ne!(whole, epoch(&[("a.csv", &format!("{HEADER}{one}{moved}"))]));
    let attr = two.replace("310118001001,,,,,,", r#"310118001001,,,,,,"{""warnLel"":9}""#);
    assert_ne!(whole, epoch(&[("a.csv", &format!("{HEADER}{one}{attr}"))]));
}
