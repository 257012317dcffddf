//! Loading: every file once, every check, one district.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::areas::Cells;
use super::files::{self, At, CALENDARS, FileSet, Findings};
use super::header::{self, Header};
use super::tree::{self, Tree};
use super::{District, assets, duty, maintenance, preflight};
use crate::calendar::{self, Calendar, DAY_MS};
use crate::category;
use crate::policy::{self, Classes, Known, Policies, PolicyFile};
use crate::problem::{Problem, Severity};
use crate::record::Millis;

/// Days ahead that a calendar should list holidays for.
const COVERAGE_DAYS: i64 = 90;

pub(super) fn load(files: &FileSet) -> (Option<District>, Vec<Problem>) {
    let mut found = Findings::default();
    let district = build(files, &mut found);
    let district = district.filter(|_| !found.has_errors());
    (district, found.problems)
}

fn build(files: &FileSet, found: &mut Findings) -> Option<District> {
    for name in files.keys().filter(|name| !files::KNOWN.contains(&name.as_str())) {
        found.problems.push(Problem {
            severity: Severity::Warning,
            code: "FILE_UNKNOWN",
            file: name.clone(),
            line: 0,
            message: "no district file has this name".to_owned(),
            remedy: "remove or rename it".to_owned(),
        });
    }
    let calendars = calendar::read(files, found);
    let categories = category::read(files, found);
    let header = header::read(files, found)?;
    let areas = header::areas(files, &header, found);
    let since = areas.as_ref().map(|areas| areas.since);
    let tree = tree::read(files, &header, since, found);
    if tree.units.is_empty() {
        // Every other file names units: its findings would only repeat this one.
        return None;
    }
    check_calendars(&tree, &calendars, found);
    if tree.number(&header.command_post).is_none() {
        let message = format!("the command post {} does not exist", header.command_post);
        found.error(header.command_post_at, "UNKNOWN_UNIT", message, "name a unit");
    }
    let rosters = duty::read(files, &tree, &calendars, found);
    let seats = duty::seats(files, &header, &tree, found);
    let unit_kind = |id: &str| tree.get(id).map(|unit| unit.kind);
    let known = Known { categories: &categories, calendars: &calendars, units: &unit_kind };
    let policies = policy::read(files, &known, found);
    let maintenance = maintenance::read(files, &tree, &header.zone, found);
    let areas = areas?;
    let whole = !tree.paths.is_empty();
    let sites = if whole { tree::sites(&tree, &header) } else { Vec::new() };
    let cells = Cells::new(header.bounds, areas.reach, sites);
    let ground =
        assets::Ground { header: &header, tree: &tree, cells: &cells, categories: &categories };
    let assets = assets::read(files, &ground, found);
    if !whole {
        return None;
    }
    let (classes, of_unit) = classes(&tree, &policies);
    let policies = Policies::merge(&policies, &categories, &classes, &calendars, found);
    let Header { name, zone, bounds, synthetic, sources, ref tiers, .. } = header;
    let district = District {
        name,
        zone,
        bounds,
        synthetic,
        sources,
        tiers: tiers.clone(),
        cell_tier: tiers.iter().copied().rfind(|tier| *tier != super::Tier::Microgrid),
        command_post: header.command_post,
        tree,
        layer: areas.layer,
        cells,
        rosters,
        seats,
        calendars,
        categories,
        policies,
        classes: of_unit,
        assets,
        maintenance,
        digest: files::digest(files),
    };
    preflight::check(&district, found);
    Some(district)
}

/// Units name calendars that exist.
fn check_calendars(
    tree: &Tree,
    calendars: &BTreeMap<Arc<str>, Arc<Calendar>>,
    found: &mut Findings,
) {
    for (unit, at) in tree.units.iter().zip(&tree.ats) {
        let Some(calendar) = unit.calendar.as_deref() else { continue };
        if !calendars.contains_key(calendar) {
            let message = format!("calendar {calendar} is not in calendars.yaml");
            found.error(*at, "CALENDAR_UNKNOWN", message, "name a calendar or add it");
        }
    }
}

/// The units that policies name as areas, and the class of every unit: 1 + the nearest of them, or 0.
fn classes(tree: &Tree, policies: &PolicyFile) -> (Classes, Vec<u32>) {
    let mut areas: Vec<_> =
        policies.layers.iter().filter_map(|layer| layer.selector.area.clone()).collect();
    areas.sort();
    areas.dedup();
    areas.retain(|area| tree.number(area).is_some());
    let numbers: Vec<_> = areas.iter().filter_map(|area| tree.number(area)).collect();
    let named = |number: u32| numbers.iter().position(|area| *area == number);
    let chain = |number: u32| -> Vec<usize> {
        let mut chain: Vec<_> = tree.chain(Some(number)).filter_map(named).collect();
        chain.reverse();
        chain
    };
    let chains = numbers.iter().map(|number| chain(*number)).collect();
    let class = |number: u32| chain(number).last().map_or(0, |last| *last as u32 + 1);
    let of_unit = (0..tree.units.len() as u32).map(class).collect();
    (Classes { areas, chains }, of_unit)
}

pub(super) fn calendar_warnings(
    calendars: &BTreeMap<Arc<str>, Arc<Calendar>>,
    now: Millis,
) -> Vec<Problem> {
    let mut found = Findings::default();
    for calendar in calendars.values() {
        if calendar.covers_to < now + COVERAGE_DAYS * DAY_MS {
            let message = format!("calendar {} lists holidays for less than 90 days", calendar.id);
            let at = At { file: CALENDARS, line: 0 };
            found.warning(at, "CALENDAR_ENDS", message, "add the coming year's holidays");
        }
    }
    found.problems
}
