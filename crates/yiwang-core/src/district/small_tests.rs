//! A small invented district (1/2/3/5), one with fewer tiers, and every error that their files can have.
//!
//! Nothing here looks like Qingpu: that they load proves that no constant of it is compiled in.

use super::*;
use crate::problem::Severity;

const UNITS: &str = "\
id	parent	tier	name	covers	synthetic	lon_e6	lat_e6	calendar	contact	valid_from	valid_to
land		district	Land			5000000	-40000000		tel:0		
north	land	town	North			5000000	-39990000		tel:1		
south	land	town	South			5000000	-40010000		tel:2		
n1	north	station	North 1		all	5000000	-39990000		tel:3		
s1	south	station	South 1		all	5000000	-40010000		tel:4		
s2	south	station	South 2		all	5020000	-40010000		tel:5		
n1a	n1	village	Alpha	c1,c2	point	5000000	-39990000		tel:6	2020-01-01	
n1b	n1	village	Beta	c3	point	5020000	-39990000		tel:7		2030-01-01
s1a	s1	village	Gamma	c4	point	5000000	-40010000		tel:8		
s2a	s2	village	Delta	c5	point	5020000	-40010000	day	tel:9		
s2b	s2	village	Epsilon	c6	point	5040000	-40010000		tel:10		
s2b.x	s2b	microgrid	Epsilon X		all	5040000	-40010000		tel:11		
s2b.y	s2b	microgrid	Epsilon Y		all	5043000	-40010000		tel:12		
";

/// The files of the small district.
pub(crate) fn small() -> FileSet {
    let files = [
        ("district.yaml", DISTRICT),
        ("units.tsv", UNITS),
        ("committees.tsv", COMMITTEES),
        ("departments.tsv", DEPARTMENTS),
        (
            "seats.tsv",
            "department\tat\tfrom\tto\ndept:x\tland\t2020-01-01\t\ndept:x\ttier:town\t\t\n",
        ),
        ("duty.yaml", DUTY),
        ("calendars.yaml", CALENDARS),
        ("categories.yaml", CATEGORIES),
        ("policies.yaml", POLICIES),
        ("areas.yaml", AREAS),
        ("assets.tsv", ASSETS),
    ];
    files.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

/// Loads files; the problems as `file:line code`.
pub(crate) fn load(files: &FileSet) -> (Option<District>, Vec<String>) {
    let (district, problems) = District::load(files);
    let errors = problems.iter().any(|problem| problem.severity == Severity::Error);
    assert_eq!(district.is_none(), errors);
    for Problem { message, remedy, .. } in &problems {
        assert!(!message.is_empty() && !message.ends_with('.') && !remedy.is_empty());
    }
    let texts = problems.iter().map(|it| format!("{}:{} {}", it.file, it.line, it.code));
    (district, texts.collect())
}

const DISTRICT: &str = "\
id: land
name: Land
zone: Pacific/Auckland
datum: CGCS2000
box: {west: 4980000, south: -40030000, east: 5060000, north: -39970000}
synthetic: false
tiers:
  - {word: district, pattern: '^land$'}
  - {word: town, pattern: '^[a-z]+$'}
  - {word: station, pattern: '^[a-z]\\d$'}
  - {word: village, pattern: '^[a-z]\\d[a-z]$'}
  - {word: microgrid, pattern: '^[a-z]\\d[a-z]\\.[a-z]$'}
  - {word: department, pattern: '^dept:'}
  - {word: company, pattern: '^company:'}
plan: {district: 1, town: 2, station: 3, village: 5}
expect: {village: 5}
command_post: land
";

const COMMITTEES: &str = "code\tname\ttown\nc1\tA\tnorth\nc2\tB\tnorth\nc3\tC\tnorth\nc4\tD\tsouth\nc5\tE\tsouth\nc6\tF\tsouth\n";

const DEPARTMENTS: &str = "\
id	kind	name	name_en	calendar	contact	synthetic
dept:x	department	X	X		tel:20	
company:y	company	Y	Y		tel:21	all
";

const DUTY: &str = "\
duty:
  - {tier: district, calendar: day, roles: [LEADER]}
  - {tier: town, calendar: day, roles: [DISP]}
  - {tier: station, calendar: day, roles: [UNIT]}
  - {tier: village, calendar: day, roles: [UNIT]}
  - {tier: microgrid, calendar: day, roles: [UNIT]}
  - {units: [dept:x, company:y], calendar: day, roles: [UNIT]}
";

const CALENDARS: &str = "\
calendars:
  - id: day
    version: '1'
    zone: Pacific/Auckland
    day_minutes: 60
    week: {mon: ['00:00-01:00'], wed: ['00:00-01:00']}
    covers_to: 2029-12-31
";

const CATEGORIES: &str = "\
list: {id: land, version: '7', valid_from: 2026-01-01}
groups:
  - {code: flood, name: Floods}
categories:
  - {code: flood.road, name: Road, kind: emergency, joint_duty: true, grade: public, external: {a: b, c: null}}
  - {code: flood.roadside, name: Side, kind: event, joint_duty: false, grade: internal}
  - {code: flood.road.deep, name: Deep, kind: event, joint_duty: false, grade: public}
  - {code: other, name: Other, kind: part, joint_duty: false, grade: sensitive}
";

const POLICIES: &str = "\
- match: {category: null, area: null, mode: null}
  start_tier: STATION
  lead: place
  ack: 10m
  handle: 10h
  calendar: day
  group: {radius_m: 50, window: 1h, recurrence_days: 3}
  late: {max: 24h}
  desk: {intake: 15m, verify: 60m, file: 15m, dispatch: 15m, check: 1wd}
  on_timeout: rungs

- {match: {category: flood}, lead: dept:x}
";

const AREAS: &str = "\
layers:
  - {id: cells, version: '3', datum: WGS84, kind: voronoi, valid_from: 2026-01-01}
locate: {border_m: 20, nearest_m: 300}
";

const ASSETS: &str = "\
id	category	name	owner_unit	maintainer_unit	place	lon_e6	lat_e6	datum
a1	flood	One	company:y		n1a	5000100	-39990000	WGS84
a2	other	Two		company:y	s2			
";

/// Load errors after a replacement in one file.
fn broken(file: &str, from: &str, to: &str) -> Vec<String> {
    let mut files = small();
    let text = files.get_mut(file).unwrap();
    assert!(text.contains(from), "{file} holds {from}");
    *text = text.replacen(from, to, 1);
    load(&files).1
}

/// A replacement in one file gives exactly these problems.
macro_rules! errors {
    ($($file:literal: $from:literal => $to:literal, [$($problem:literal),+];)+) => {
        $(assert_eq!(broken($file, $from, $to), [$($problem),+], "{} → {}", $from, $to);)+
    };
}

#[test]
fn it_loads() {
    let (district, problems) = load(&small());
    assert_eq!(problems, [""; 0]);
    let district = district.unwrap();
    assert_eq!(
        (&**district.id(), district.name(), district.list_version()),
        ("land", "Land", "land@7")
    );
    assert_eq!(district.layer_version(), "cells@3");
    let path = district.path("s2b.y").unwrap();
    assert_eq!(path.at(Tier::Station).map(|id| &**id), Some("s2"));
    assert_eq!(&**path.deepest(), "s2b.y");
    let chain: Vec<_> = district.ancestors("s2b.y").map(|unit| &*unit.id).collect();
    assert_eq!(chain, ["s2b.y", "s2b", "s2", "south", "land"]);
    assert_eq!(district.parent("land"), None);
    assert_eq!(district.resolve_code("c2").map(|unit| &*unit.id), Some("n1a"));
    let beta = district.unit("n1b").unwrap();
    assert!(beta.is_valid(0) && !beta.is_valid(i64::MAX) && !district.is_synthetic());
    assert_eq!(district.category("flood.road").unwrap().external["a"], "b");
    assert_eq!(district.categories().group("flood"), Some("Floods"));
}

#[test]
fn points() {
    let (district, _) = load(&small());
    let district = district.unwrap();
    let at = |lon_e6, lat_e6| {
        let Located { place, method, candidates, .. } = district.locate(Point { lon_e6, lat_e6 });
        let candidates: Vec<_> = candidates.iter().map(|id| id.to_string()).collect();
        (place.to_string(), method, candidates.join(" "))
    };
    let plain = |place: &str, method| (place.to_owned(), method, String::new());
    let border = |place: &str, units: &str| (place.to_owned(), LocatedBy::Border, units.to_owned());
    assert_eq!(at(5_001_000, -39_991_000), plain("n1a", LocatedBy::Polygon));
    assert_eq!(at(5_010_000, -39_990_000), border("n1", "n1a n1b"));
    assert_eq!(at(5_010_000, -40_010_000), border("south", "s1a s2a"));
    assert_eq!(at(5_010_000, -40_000_000), border("land", "n1a n1b s1a s2a"));
    assert_eq!(at(5_039_000, -40_010_000), plain("s2b.x", LocatedBy::Polygon));
    assert_eq!(at(5_041_500, -40_010_000), border("s2b", "s2b.x s2b.y"));
    // 1e-6 degree of latitude is 0.11 m: 200 m and 400 m north of the box.
    assert_eq!(at(5_000_000, -39_970_000 + 1_800), plain("n1a", LocatedBy::Nearest));
    assert_eq!(at(5_000_000, -39_970_000 + 3_600), plain("land", LocatedBy::CatchAll));
    assert_eq!(at(i32::MAX, i32::MIN), plain("land", LocatedBy::CatchAll));
}

#[test]
fn the_border_is_as_wide_as_said() {
    let (district, _) = load(&small());
    let district = district.unwrap();
    // 20 m are 180_342 units of 1e-9 degree; one 1e-6 degree of longitude is 766 units at 40° S.
    let method = |off: i32| {
        let point = Point { lon_e6: 5_010_000 + off, lat_e6: -39_985_000 };
        district.locate(point).method
    };
    for off in [-235, -1, 0, 1, 235] {
        assert_eq!(method(off), LocatedBy::Border, "{off}");
    }
    for off in [-236, 236] {
        assert_eq!(method(off), LocatedBy::Polygon, "{off}");
    }
}

#[test]
fn fewer_tiers() {
    let mut files = small();
    let keep = |text: &str, drop: &[&str]| -> String {
        text.lines()
            .filter(|line| !drop.iter().any(|word| line.contains(word)))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let units = keep(UNITS, &["station", "microgrid"]);
    let units = units
        .replace("\tn1\t", "\tnorth\t")
        .replace("\ts1\t", "\tsouth\t")
        .replace("\ts2\t", "\tsouth\t");
    files.insert("units.tsv".to_owned(), units);
    let district = keep(DISTRICT, &["word: station", "word: microgrid"]);
    files.insert("district.yaml".to_owned(), district.replace("station: 3, ", ""));
    files.insert("assets.tsv".to_owned(), ASSETS.replace("\ts2\t", "\tsouth\t"));
    let (district, problems) = load(&files);
    assert_eq!(problems, [""; 0]);
    let district = district.unwrap();
    let path = district.path("s2b").unwrap();
    assert_eq!((path.town.as_deref(), path.station, path.grid), (Some("south"), None, None));
    assert_eq!(district.tiers(), [Tier::District, Tier::Town, Tier::Village]);
    let located = district.locate(Point { lon_e6: 5_040_000, lat_e6: -40_010_000 });
    assert_eq!(&*located.place, "s2b");
}

#[test]
fn errors_of_the_tree() {
    errors! {
        "units.tsv": "north\tland\ttown" => "north\t\ttown", ["units.tsv:3 ROOT_COUNT"];
        "units.tsv": "n1\tnorth\tst" => "n1\tnowhere\tst", ["units.tsv:5 UNKNOWN_PARENT", "units.tsv:8 COVERS_OTHER_TOWN", "units.tsv:8 COVERS_OTHER_TOWN", "units.tsv:9 COVERS_OTHER_TOWN"];
        "units.tsv": "n1b\tn1\t" => "n1b\tnorth\t", ["units.tsv:9 PARENT_TIER"];
        "units.tsv": "s2b.x\ts2b\t" => "s2b.x\tdept:x\t", ["units.tsv:13 PARENT_TIER"];
        "units.tsv": "land\t\tdistrict" => "land\tnorth\tdistrict", ["units.tsv:2 PARENT_TIER", "units.tsv:0 ROOT_COUNT", "units.tsv:2 PARENT_CYCLE", "units.tsv:3 PARENT_CYCLE"];
        "units.tsv": "s2b.x\t" => "s2b-x\t", ["units.tsv:13 ID_PATTERN"];
        "units.tsv": "s2b.y\t" => "s2b.x\t", ["units.tsv:14 ID_DUPLICATE"];
        "units.tsv": "\ttown\tNorth" => "\tcity\tNorth", ["units.tsv:3 BAD_VALUE", "units.tsv:5 UNKNOWN_PARENT", "district.yaml:15 COUNT_OFF_PLAN", "committees.tsv:2 UNKNOWN_UNIT", "committees.tsv:3 UNKNOWN_UNIT", "committees.tsv:4 UNKNOWN_UNIT", "units.tsv:8 COVERS_OTHER_TOWN", "units.tsv:8 COVERS_OTHER_TOWN", "units.tsv:9 COVERS_OTHER_TOWN"];
        "units.tsv": "c1,c2" => "c1,c2,c9", ["units.tsv:8 COVERS_UNKNOWN"];
        "units.tsv": "c1,c2" => "c1,c2,c3", ["units.tsv:9 COVERS_TWICE"];
        "units.tsv": "\tc3\t" => "\tc4\t", ["units.tsv:9 COVERS_OTHER_TOWN", "units.tsv:10 COVERS_TWICE", "committees.tsv:4 COMMITTEE_UNCOVERED"];
        "units.tsv": "c1,c2" => "c1", ["committees.tsv:3 COMMITTEE_UNCOVERED"];
        "units.tsv": "South 1\t\t" => "South 1\tc4\t", ["units.tsv:6 COVERS_TIER", "units.tsv:10 COVERS_TWICE"];
        "units.tsv": "5040000\t-40010000\t\ttel:10" => "5020000\t-40010000\t\ttel:10", ["units.tsv:12 POINT_DUPLICATE"];
        "units.tsv": "5040000\t-40010000\t\ttel:10" => "5070000\t-40010000\t\ttel:10", ["units.tsv:12 POINT_OUTSIDE"];
        "units.tsv": "5040000\t-40010000\t\ttel:10" => "\t\t\ttel:10", ["units.tsv:12 POINT_MISSING"];
        "units.tsv": "5040000\t-40010000\t\ttel:10" => "5040000\t\t\ttel:10", ["units.tsv:12 BAD_VALUE", "units.tsv:12 POINT_MISSING"];
        "units.tsv": "\tday\ttel:9" => "\tnight\ttel:9", ["units.tsv:11 CALENDAR_UNKNOWN"];
        "units.tsv": "2020-01-01" => "yesterday", ["units.tsv:8 BAD_VALUE"];
        "units.tsv": "Delta\tc5\tpoint" => "Delta\tc5\tname", ["units.tsv:11 BAD_VALUE"];
        "units.tsv": "\tSouth 2\t" => "\t\t", ["units.tsv:7 BAD_VALUE"];
        "committees.tsv": "c2\tB" => "c1\tB", ["committees.tsv:3 ID_DUPLICATE", "units.tsv:8 COVERS_UNKNOWN"];
        "committees.tsv": "A\tnorth" => "A\twest", ["committees.tsv:2 UNKNOWN_UNIT", "units.tsv:8 COVERS_OTHER_TOWN"];
        "departments.tsv": "dept:x\tdepartment" => "dept:x\ttown", ["departments.tsv:2 BAD_VALUE", "duty.yaml:7 UNKNOWN_UNIT", "seats.tsv:2 UNKNOWN_UNIT", "seats.tsv:3 UNKNOWN_UNIT", "policies.yaml:12 UNKNOWN_UNIT"];
    }
}

#[test]
fn errors_of_the_header_and_areas() {
    errors! {
        "district.yaml": "village: 5}\nexp" => "village: 6}\nexp", ["district.yaml:15 COUNT_OFF_PLAN"];
        "district.yaml": "expect: {village: 5}" => "expect: {village: 6}", ["district.yaml:16 COUNT_OFF_EXPECT"];
        "district.yaml": "id: land" => "id: sea", ["district.yaml:1 UNKNOWN_UNIT"];
        "district.yaml": "command_post: land" => "command_post: sea", ["district.yaml:17 UNKNOWN_UNIT"];
        "district.yaml": "Pacific/Auckland" => "Pacific/Atlantis", ["district.yaml:3 BAD_VALUE"];
        "district.yaml": "CGCS2000" => "Shanghai1958", ["district.yaml:4 BAD_VALUE"];
        "district.yaml": "CGCS2000" => "GCJ-02", ["district.yaml:4 DATUM_MIXED", "areas.yaml:2 DATUM_MIXED"];
        "district.yaml": "5060000" => "4970000", ["district.yaml:5 BAD_VALUE"];
        "district.yaml": "word: company" => "word: firm", ["district.yaml:14 TIERS", "departments.tsv:3 TIERS"];
        "district.yaml": "'^dept:'" => "'^(dept:'", ["district.yaml:13 TIERS", "departments.tsv:2 TIERS"];
        "district.yaml": "town: 2" => "city: 2", ["district.yaml:15 TIERS"];
        "district.yaml": "name: Land" => "nom: Land", ["district.yaml:2 YAML_INVALID"];
        "areas.yaml": "WGS84" => "BD-09", ["areas.yaml:2 DATUM_MIXED"];
        "areas.yaml": "voronoi" => "polygons", ["areas.yaml:2 AREA_KIND"];
        "areas.yaml": "2026-01-01" => "2026-13-01", ["areas.yaml:2 BAD_VALUE"];
        "areas.yaml": "border_m: 20" => "border_m: 20000", ["areas.yaml:3 BAD_VALUE"];
        "areas.yaml": "border_m" => "border", ["areas.yaml:3 YAML_INVALID"];
    }
}

#[test]
fn errors_of_duty_seats_and_assets() {
    errors! {
        "duty.yaml": "company:y" => "company:z", ["duty.yaml:7 UNKNOWN_UNIT", "departments.tsv:3 NO_DUTY"];
        "duty.yaml": "town, calendar: day" => "town, calendar: night", ["duty.yaml:3 CALENDAR_UNKNOWN", "units.tsv:3 NO_DUTY", "units.tsv:4 NO_DUTY"];
        "duty.yaml": "roles: [DISP]" => "roles: [BOSS]", ["duty.yaml:3 BAD_VALUE"];
        "duty.yaml": "tier: town" => "tier: city", ["duty.yaml:3 BAD_VALUE", "units.tsv:3 NO_DUTY", "units.tsv:4 NO_DUTY"];
        "duty.yaml": "{tier: town," => "{tier: town, units: [north],", ["duty.yaml:3 BAD_VALUE", "units.tsv:3 NO_DUTY", "units.tsv:4 NO_DUTY"];
        "seats.tsv": "dept:x\tland" => "company:y\tland", ["seats.tsv:2 UNKNOWN_UNIT"];
        "seats.tsv": "x\tland" => "x\tsea", ["seats.tsv:2 UNKNOWN_UNIT"];
        "seats.tsv": "tier:town" => "tier:city", ["seats.tsv:3 UNKNOWN_UNIT"];
        "seats.tsv": "2020-01-01" => "2020", ["seats.tsv:2 BAD_VALUE"];
        "assets.tsv": "a2" => "a1", ["assets.tsv:3 ID_DUPLICATE"];
        "assets.tsv": "\tflood\t" => "\tfire\t", ["assets.tsv:2 CATEGORY_UNKNOWN"];
        "assets.tsv": "company:y" => "company:z", ["assets.tsv:2 UNKNOWN_UNIT"];
        "assets.tsv": "\tn1a\t" => "\tn1z\t", ["assets.tsv:2 UNKNOWN_UNIT"];
        "assets.tsv": "\tn1a\t" => "\tn1b\t", ["assets.tsv:2 LOCATION_CONFLICT"];
        "assets.tsv": "5000100" => "9000100", ["assets.tsv:2 POINT_OUTSIDE"];
        "assets.tsv": "\tWGS84" => "\t", ["assets.tsv:2 BAD_VALUE"];
        "assets.tsv": "\ts2\t" => "\t\t", ["assets.tsv:3 BAD_VALUE"];
    }
}

#[test]
fn errors_of_categories_and_policies() {
    errors! {
        "categories.yaml": "code: other" => "code: flood.roadside", ["categories.yaml:8 CATEGORY_DUPLICATE", "assets.tsv:3 CATEGORY_UNKNOWN"];
        "categories.yaml": "code: other" => "code: fire.other", ["categories.yaml:8 CATEGORY_PARENT", "assets.tsv:3 CATEGORY_UNKNOWN"];
        "categories.yaml": "kind: part" => "kind: thing", ["categories.yaml:8 BAD_VALUE", "assets.tsv:3 CATEGORY_UNKNOWN"];
        "categories.yaml": "grade: internal" => "grade: secret", ["categories.yaml:6 BAD_VALUE"];
        "categories.yaml": "code: other" => "code: Other", ["categories.yaml:8 BAD_VALUE", "assets.tsv:3 CATEGORY_UNKNOWN"];
        "categories.yaml": "grade: sensitive" => "grade: sensitive, replaced_by: gone", ["categories.yaml:8 CATEGORY_UNKNOWN"];
        "categories.yaml": "2026-01-01" => "2026", ["categories.yaml:1 BAD_VALUE"];
        "policies.yaml": "category: flood" => "category: fire", ["policies.yaml:12 CATEGORY_UNKNOWN"];
        "policies.yaml": "category: flood}" => "category: null}", ["policies.yaml:12 POLICY_CONFLICT"];
        "policies.yaml": "category: flood}" => "area: west}", ["policies.yaml:12 UNKNOWN_UNIT"];
        "policies.yaml": "category: flood}" => "area: dept:x}", ["policies.yaml:12 UNKNOWN_UNIT"];
        "policies.yaml": "category: flood}" => "mode: V}", ["policies.yaml:12 BAD_VALUE", "policies.yaml:12 POLICY_CONFLICT"];
        "policies.yaml": "dept:x" => "dept:z", ["policies.yaml:12 UNKNOWN_UNIT"];
        "policies.yaml": "STATION" => "HAMLET", ["policies.yaml:2 BAD_VALUE", "categories.yaml:5 CATEGORY_UNCOVERED", "categories.yaml:6 CATEGORY_UNCOVERED", "categories.yaml:7 CATEGORY_UNCOVERED", "categories.yaml:8 CATEGORY_UNCOVERED"];
        "policies.yaml": "lead: place" => "incident: 1h", ["categories.yaml:8 CATEGORY_UNCOVERED"];
        "policies.yaml": "10m" => "ten minutes", ["policies.yaml:4 BAD_VALUE", "categories.yaml:5 CATEGORY_UNCOVERED", "categories.yaml:6 CATEGORY_UNCOVERED", "categories.yaml:7 CATEGORY_UNCOVERED", "categories.yaml:8 CATEGORY_UNCOVERED"];
        "policies.yaml": "window: 1h" => "window: 1wh", ["policies.yaml:7 BAD_VALUE", "categories.yaml:5 CATEGORY_UNCOVERED", "categories.yaml:6 CATEGORY_UNCOVERED", "categories.yaml:7 CATEGORY_UNCOVERED", "categories.yaml:8 CATEGORY_UNCOVERED"];
        "policies.yaml": "  calendar: day\n" => "", ["categories.yaml:5 CATEGORY_UNCOVERED", "categories.yaml:6 CATEGORY_UNCOVERED", "categories.yaml:7 CATEGORY_UNCOVERED", "categories.yaml:8 CATEGORY_UNCOVERED"];
        "policies.yaml": "calendar: day" => "calendar: night", ["policies.yaml:6 CALENDAR_UNKNOWN", "categories.yaml:5 CATEGORY_UNCOVERED", "categories.yaml:6 CATEGORY_UNCOVERED", "categories.yaml:7 CATEGORY_UNCOVERED", "categories.yaml:8 CATEGORY_UNCOVERED"];
        "policies.yaml": "lead: dept:x" => "group: {min_count: 3}", ["categories.yaml:5 CATEGORY_UNCOVERED", "categories.yaml:6 CATEGORY_UNCOVERED", "categories.yaml:7 CATEGORY_UNCOVERED"];
        "policies.yaml": "lead: dept:x" => "group: {min_count: 0}", ["policies.yaml:12 BAD_VALUE"];
        "policies.yaml": "lead: dept:x" => "group: {key: [colour]}", ["policies.yaml:12 BAD_VALUE"];
        "policies.yaml": "lead: dept:x" => "evidence: {close: [photo>=0]}", ["policies.yaml:12 BAD_VALUE"];
        "policies.yaml": "lead: dept:x" => "assists: [{who: place@HERE}]", ["policies.yaml:12 BAD_VALUE"];
        "policies.yaml": "lead: dept:x" => "deadline: 5m", ["policies.yaml:12 YAML_INVALID", "categories.yaml:5 CATEGORY_UNCOVERED", "categories.yaml:6 CATEGORY_UNCOVERED", "categories.yaml:7 CATEGORY_UNCOVERED", "categories.yaml:8 CATEGORY_UNCOVERED"];
    }
}

#[test]
fn an_ended_unit_is_named_and_counts_nowhere() {
    let mut files = small();
    let units = files.get_mut("units.tsv").unwrap();
    units.push_str(
        "n1z\tn1\tvillage\tOld Alpha\tc1\tpoint\t5000000\t-39990000\t\t\t2020-01-01\t2025-12-31\n",
    );
    let (district, problems) = load(&files);
    assert_eq!(problems, [""; 0]);
    let district = district.unwrap();
    assert_eq!(district.path("n1z").unwrap().station.as_deref(), Some("n1"));
    assert_eq!(district.resolve_code("c1").map(|unit| &*unit.id), Some("n1a"));
    let point = Point { lon_e6: 5_000_000, lat_e6: -39_990_000 };
    assert_eq!(&*district.locate(point).place, "n1a");
}

#[test]
fn nobody_to_reach() {
    let mut files = small();
    // South and everything above it have neither roster nor contact; department x has both.
    let units = files.get_mut("units.tsv").unwrap();
    for contact in ["tel:0", "tel:2", "tel:4", "tel:5"] {
        *units = units.replacen(&format!("\t{contact}\t"), "\t\t", 1);
    }
    let duty = files.get_mut("duty.yaml").unwrap();
    *duty = duty
        .lines()
        .filter(|line| {
            !line.contains("district") && !line.contains("station") && !line.contains("town")
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let (_, problems) = load(&files);
    let errors: Vec<_> = problems.iter().filter(|problem| !problem.ends_with("NO_DUTY")).collect();
    assert_eq!(errors, ["policies.yaml:1 UNREACHABLE"], "`other`, in all modes");
    // Once the district answers again, the climb ends there.
    let units = files.get_mut("units.tsv").unwrap();
    *units = units.replacen("5000000\t-40000000\t\t\t", "5000000\t-40000000\t\ttel:0\t", 1);
    assert!(load(&files).0.is_some());
}

#[test]
fn errors_of_the_files_themselves() {
    errors! {
        "units.tsv": "id\tparent" => "id\tmother", ["units.tsv:1 TSV_HEADER", "units.tsv:1 TSV_HEADER", "units.tsv:0 ROOT_COUNT"];
        "seats.tsv": "dept:x\tland\t" => "dept:x\tland", ["seats.tsv:2 TSV_ROW"];
        "seats.tsv": "\n" => "\r\n", ["seats.tsv:1 TSV_HEADER", "seats.tsv:1 TSV_HEADER"];
        "seats.tsv": "dept:x\tland" => "\ndept:x\tland", ["seats.tsv:2 TSV_ROW"];
        "seats.tsv": "department" => "\u{feff}department", ["seats.tsv:1 TSV_HEADER", "seats.tsv:1 TSV_HEADER"];
    }
    for name in ["district.yaml", "duty.yaml", "calendars.yaml", "areas.yaml", "policies.yaml"] {
        let mut files = small();
        files.remove(name);
        let (_, problems) = load(&files);
        assert!(problems.contains(&format!("{name}:0 FILE_MISSING")), "{problems:?}");
    }
    let mut files = small();
    files.insert("unit.tsv".to_owned(), String::new());
    assert_eq!(load(&files).1, ["unit.tsv:0 FILE_UNKNOWN"]);
}
