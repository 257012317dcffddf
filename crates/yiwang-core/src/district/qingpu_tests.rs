//! The shipped district: counts, checksums, places and policies as published.

use std::fmt::Write as _;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::policy::{Lead, Who};

/// The files of config/district/.
pub(crate) fn files() -> FileSet {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/district");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn qingpu() -> District {
    let (district, problems) = District::load(&files());
    assert!(problems.is_empty(), "{problems:#?}");
    district.unwrap()
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[test]
fn four_checksums() {
    let district = qingpu();
    let fixed: Vec<_> = district
        .units()
        .filter(|unit| unit.tier().is_some_and(|tier| tier != Tier::Microgrid))
        .collect();
    assert_eq!(fixed.len(), 406);
    let (mut tree, mut points) = (String::new(), String::new());
    let mut file = "id\tparent\ttier\tname\tcovers\tsynthetic\tlon_e6\tlat_e6\n".to_owned();
    for unit in fixed {
        let Unit { id, name, .. } = unit;
        let (parent, tier) = (unit.parent.as_deref().unwrap_or_default(), unit.kind.as_str());
        let Point { lon_e6, lat_e6 } = unit.point.unwrap();
        let (covers, synthetic) = (unit.covers.join(","), unit.synthetic.join(","));
        writeln!(tree, "{id}\t{parent}\t{tier}\t{name}").unwrap();
        writeln!(points, "{id}\t{lon_e6}\t{lat_e6}").unwrap();
        writeln!(file, "{id}\t{parent}\t{tier}\t{name}\t{covers}\t{synthetic}\t{lon_e6}\t{lat_e6}")
            .unwrap();
    }
    assert_eq!(sha256(&tree), "3057f82dcdd2ac39d0ad1e27920b4fa3d1bc180b16e51f6627d452ae3f93176f");
    assert_eq!(sha256(&points), "5dafc9727cc45e70435e68a460fa8ff02712b20bab800be54f922dbca46b462b");
    assert_eq!(sha256(&file), "a7d5832e7d185b9f6321d04f23df70e2b8dc16da9c1b260bca5f20ece88c582f");
    let mut grid = String::new();
    let Bounds { west, south, .. } = district.bounds();
    for i in 0..100 {
        for j in 0..100 {
            let point = Point { lon_e6: west + 4671 * i + 2335, lat_e6: south + 3529 * j + 1764 };
            let village = district.cell(point).unwrap();
            writeln!(grid, "{}\t{}\t{village}", point.lon_e6, point.lat_e6).unwrap();
        }
    }
    assert_eq!(sha256(&grid), "2ae7277e9509348c6bae5d190d8fe7957d154a49d5d59bd3597f742cd9aefcb8");
}

#[test]
fn counts_are_those_of_the_plan() {
    let district = qingpu();
    let count = |kind| district.units().filter(|unit| unit.kind == kind).count();
    let tiers = Tier::ALL.map(|tier| count(UnitKind::Tree(tier)));
    assert_eq!(tiers, [1, 11, 43, 351, 6]);
    assert_eq!((count(UnitKind::Department), count(UnitKind::Company)), (14, 7));
    assert_eq!(district.units().map(|unit| unit.covers.len()).sum::<usize>(), 355);
    assert_eq!(district.categories().all().len(), 44);
    assert_eq!(district.list_version(), "qp-demo@2026.1");
    assert_eq!(district.asset_count(), 400);
    assert!(district.is_synthetic() && district.sources().len() == 3);
}

#[test]
fn published_example_of_a_point() {
    let district = qingpu();
    let point = Point { lon_e6: 121_057_000, lat_e6: 31_107_600 };
    let located = district.locate(point);
    assert_eq!((&*located.place, located.method), ("310118102226", LocatedBy::Polygon));
    let path = district.path(&located.place).unwrap();
    assert_eq!(path.town.as_deref(), Some("310118102"));
    assert_eq!(path.deepest(), &located.place);
    let station = path.station.unwrap();
    assert!(district.in_subtree(&located.place, &station));
    assert!(!district.in_subtree(&station, &located.place));
    assert!(!district.in_subtree(&station, "310118001"));
    assert!(district.in_subtree("dept:fire", "dept:fire"));
    assert!(!district.in_subtree("dept:fire", "310118"));
}

#[test]
fn micro_grids_lie_in_their_village() {
    let district = qingpu();
    let village = district.unit("310118001001").unwrap().point.unwrap();
    let at = |lon: i32| district.locate(Point { lon_e6: village.lon_e6 + lon, ..village });
    assert_eq!(&*at(0).place, "310118001001-G01");
    assert_eq!(&*at(-900).place, "310118001001-G02");
    let border = at(500);
    assert_eq!((&*border.place, border.method), ("310118001001", LocatedBy::Border));
    assert_eq!(border.candidates.len(), 2);
}

#[test]
fn codes_and_stated_places() {
    let district = qingpu();
    let id = |code: &str| district.resolve_code(code).map(|unit| &*unit.id);
    assert_eq!(id("310118102011"), Some("310118102010"));
    assert_eq!(id("310118102"), Some("310118102"));
    assert_eq!(id("310118001-S1"), Some("310118001-S1"));
    assert_eq!(id("310118001999"), None);
    let stated = district.locate_stated("310118001999").unwrap();
    assert_eq!((&*stated.place, stated.method), ("310118001", LocatedBy::Stated));
    assert_eq!(district.locate_stated("浦东"), None);
}

#[test]
fn policies_are_those_of_the_demo_table() {
    let district = qingpu();
    let policy = |code| district.resolve_policy(code, "310118001001-G01", Mode::Ordinary).unwrap();
    let road = policy("flood.road");
    assert_eq!((road.start_tier, &road.lead), (Tier::Town, &Lead::Place));
    assert_eq!(road.assists[0].who, Who::Unit("dept:water".into()));
    assert!(road.assists[0].mandatory && !road.assists[1].mandatory);
    assert_eq!((road.ack.ms, road.handle.ms), (300_000, 4 * 3_600_000));
    assert!(road.auto_accept && road.auto_file && road.auto_check);
    assert_eq!(road.storm_group.as_deref(), Some("flood"));
    assert_eq!(road.check.to_string(), "8wh");
    let fume = policy("env.fume");
    assert_eq!((fume.handle.ms, fume.handle.working), (480 * 60_000, true));
    assert_eq!(policy("muni.illegal").milestones.len(), 3);
    assert_eq!(policy("weather.warning").lead, Lead::CommandPost);
    assert_eq!(policy("part.manhole.tilt").lead, Lead::AssetMaintainer);
    assert!(policy("fire.smoke").storm_exempt && !policy("fire.ebike").storm_exempt);
    let source = road.sources.iter().find(|source| source.field == "ack").unwrap();
    assert_eq!(&*source.selector, "flood.road / * / *");
    assert!(district.resolve_policy("nothing", "310118", Mode::Ordinary).is_none());
    let emergency = district.resolve_policy("flood.road", "310118", Mode::I).unwrap();
    assert!(Arc::ptr_eq(&road, &emergency), "no policy names a mode: one record for all");
}

#[test]
fn duty_follows_the_demo_hours() {
    let district = qingpu();
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let (noon, night) = (at("2026-11-24T11:30:00+08:00"), at("2026-11-24T23:00:00+08:00"));
    for (unit, day) in [("310118", true), ("dept:fire", true), ("310118001", true)] {
        assert_eq!((district.on_duty(unit, noon), district.on_duty(unit, night)), (day, true));
    }
    for unit in ["310118001-S1", "310118001001", "dept:plan", "company:farm"] {
        assert_eq!((district.on_duty(unit, noon), district.on_duty(unit, night)), (true, false));
        assert!(district.reachable(unit));
    }
    assert!(district.seat("dept:police", "310118001-S1", noon).is_some());
    assert!(district.seat("dept:plan", "310118", noon).is_some());
    assert!(district.seat("dept:plan", "310118001", noon).is_none());
    assert!(district.calendar_warnings(noon).is_empty());
    assert_eq!(district.calendar_warnings(at("2029-12-01T00:00:00Z")).len(), 3);
}

#[test]
fn assets_stand_in_their_places() {
    let district = qingpu();
    let mut towns = std::collections::BTreeSet::new();
    for kind in ["wl", "smk", "mh", "gas", "nd"] {
        for number in 1..=80 {
            let asset = district.asset(&format!("{kind}-{number:04}")).unwrap();
            let place = asset.place.clone().unwrap();
            let located = district.locate(asset.point.unwrap());
            assert_eq!(
                located.candidates,
                Vec::<UnitId>::new(),
                "{} is clear of borders",
                asset.id
            );
            assert!(district.in_subtree(&located.place, &place));
            towns.insert((kind, district.path(&place).unwrap().town));
        }
    }
    assert_eq!(towns.len(), 5 * 11);
}

#[test]
fn every_village_category_and_mode_resolves() {
    let district = qingpu();
    let villages: Vec<_> =
        district.units().filter(|unit| unit.tier() == Some(Tier::Village)).collect();
    let mut resolved = 0;
    for category in district.categories().all() {
        for mode in Mode::ALL {
            for village in &villages {
                let policy = district.resolve_policy(&category.code, &village.id, mode).unwrap();
                if let Lead::Unit(unit) = &policy.lead {
                    assert!(district.reachable(unit));
                }
                resolved += 1;
            }
        }
    }
    assert_eq!(resolved, 351 * 44 * 5);
}

fn qingpu_once() -> Arc<District> {
    thread_local!(static DISTRICT: Arc<District> = Arc::new(qingpu()));
    DISTRICT.with(Arc::clone)
}

fn points() -> impl Strategy<Value = Point> {
    (120_856_800..=121_323_900, 30_939_200..=31_292_100)
        .prop_map(|(lon_e6, lat_e6)| Point { lon_e6, lat_e6 })
}

proptest! {
    #[test]
    fn the_nearest_village_wins(point in points()) {
        let district = qingpu_once();
        let distance = |unit: &Unit| {
            let site = unit.point.unwrap();
            let lon = i128::from(site.lon_e6 - point.lon_e6) * 856;
            let lat = i128::from(site.lat_e6 - point.lat_e6) * 1000;
            lon * lon + lat * lat
        };
        let villages = district.units().filter(|unit| unit.tier() == Some(Tier::Village));
        let nearest = villages.min_by_key(|unit| (distance(unit), unit.id.clone())).unwrap();
        prop_assert_eq!(district.cell(point), Some(&nearest.id));
        let located = district.locate(point);
        prop_assert_eq!(&located, &district.locate(point));
        let own = if located.candidates.is_empty() {
            vec![located.place.clone()]
        } else {
            located.candidates.clone()
        };
        prop_assert!(own.iter().any(|unit| district.in_subtree(unit, &nearest.id)));
        prop_assert!(own.iter().all(|unit| district.in_subtree(unit, &located.place)));
    }

    /// Walks from one point towards another up to the last integer step within its cell: the point is on the border.
    #[test]
    fn borders_name_all_candidates(from in points(), to in points()) {
        let district = qingpu_once();
        let own = district.cell(from).unwrap().clone();
        prop_assume!(district.cell(to) != Some(&own));
        let at = |step: i64| {
            let along = |a: i32, b: i32| a + (i64::from(b - a) * step / 1_000_000) as i32;
            Point { lon_e6: along(from.lon_e6, to.lon_e6), lat_e6: along(from.lat_e6, to.lat_e6) }
        };
        let (mut inside, mut outside) = (0, 1_000_000);
        while outside - inside > 1 {
            let middle = (inside + outside) / 2;
            let stays = district.cell(at(middle)) == Some(&own);
            *(if stays { &mut inside } else { &mut outside }) = middle;
        }
        let other = district.cell(at(outside)).unwrap().clone();
        let located = district.locate(at(inside));
        prop_assert_eq!(located.method, LocatedBy::Border);
        prop_assert!(located.candidates.contains(&own) && located.candidates.contains(&other));
        prop_assert!(located.candidates.is_sorted());
        let above = |unit: &UnitId, place: &UnitId| district.in_subtree(unit, place);
        prop_assert!(located.candidates.iter().all(|unit| above(unit, &located.place)));
        let lower = district.ancestors(&own).take_while(|unit| unit.id != located.place);
        for unit in lower {
            let holds = located.candidates.iter().all(|candidate| above(candidate, &unit.id));
            prop_assert!(!holds, "{} is lower than {} and holds all", unit.id, located.place);
        }
    }
}
