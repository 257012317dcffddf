//! Who is on duty and which department sits at which centre.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::files::{self, At, DUTY, FileSet, Findings, SEATS};
use super::header::Header;
use super::tree::{self, Tree};
use super::units::{Tier, UnitId, UnitKind};
use crate::calendar::Calendar;
use crate::record::Millis;

const SEAT_COLUMNS: [&str; 4] = ["department", "at", "from", "to"];

/// Roles of the access standard that a roster may name.
const ROLES: [&str; 7] = ["CLERK", "LEADER", "DISP", "UNIT", "CHECKER", "CMD", "SUP"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    duty: Vec<Spanned<RawDuty>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDuty {
    units: Option<Vec<Spanned<String>>>,
    tier: Option<Spanned<String>>,
    calendar: Spanned<String>,
    roles: Vec<Spanned<String>>,
}

/// One line of the roster: these roles are filled while the calendar is open.
#[derive(Clone, Debug)]
pub struct Duty {
    /// When.
    pub calendar: Arc<Calendar>,
    /// Roles that are filled.
    pub roles: Arc<[String]>,
}

/// Rosters by number of the unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rosters(Vec<Vec<Duty>>);

impl Rosters {
    pub(crate) fn of(&self, unit: u32) -> &[Duty] {
        self.0.get(unit as usize).map_or(&[], Vec::as_slice)
    }
}

/// Reads duty.yaml; a unit without a roster is a warning.
pub(crate) fn read(
    files: &FileSet,
    tree: &Tree,
    calendars: &BTreeMap<Arc<str>, Arc<Calendar>>,
    found: &mut Findings,
) -> Rosters {
    let mut rosters = Rosters(vec![Vec::new(); tree.units.len()]);
    let Some(raw) = files::yaml::<RawFile>(files, DUTY, found) else { return rosters };
    for raw in &raw.duty {
        let at = files::at(DUTY, raw);
        let units = units(&raw.value, at, tree, found);
        let Some(calendar) = calendars.get(raw.value.calendar.value.as_str()) else {
            let message = format!("calendar {} is not in calendars.yaml", raw.value.calendar.value);
            let at = files::at(DUTY, &raw.value.calendar);
            found.error(at, "CALENDAR_UNKNOWN", message, "name a calendar or add it");
            continue;
        };
        for role in raw.value.roles.iter().filter(|role| !ROLES.contains(&role.value.as_str())) {
            let message = format!("unknown role `{}`", role.value);
            let remedy = "write CLERK, LEADER, DISP, UNIT, CHECKER, CMD or SUP";
            found.error(files::at(DUTY, role), "BAD_VALUE", message, remedy);
        }
        let roles: Arc<[String]> = raw.value.roles.iter().map(|role| role.value.clone()).collect();
        for unit in units {
            let duty = Duty { calendar: calendar.clone(), roles: roles.clone() };
            rosters.0[unit as usize].push(duty);
        }
    }
    for (number, unit) in tree.lasting().filter(|(number, _)| rosters.of(*number).is_empty()) {
        let message = format!("nobody is ever on duty at {}", unit.id);
        let remedy = "add the unit or its tier to duty.yaml";
        found.warning(tree.ats[number as usize], "NO_DUTY", message, remedy);
    }
    rosters
}

fn units(raw: &RawDuty, at: At, tree: &Tree, found: &mut Findings) -> Vec<u32> {
    match (&raw.units, &raw.tier) {
        (Some(units), None) => units
            .iter()
            .filter_map(|id| {
                let number = tree.number(&id.value);
                if number.is_none() {
                    let message = format!("unit {} does not exist", id.value);
                    let remedy = "name a unit of units.tsv or departments.tsv";
                    found.error(files::at(DUTY, id), "UNKNOWN_UNIT", message, remedy);
                }
                number
            })
            .collect(),
        (None, Some(word)) => match Tier::parse(&word.value) {
            Some(tier) => tree.of_tier(tier).collect(),
            None => {
                let message = format!("unknown tier `{}`", word.value);
                let remedy = "name a tier of district.yaml";
                found.error(files::at(DUTY, word), "BAD_VALUE", message, remedy);
                Vec::new()
            }
        },
        _ => {
            let message = "a roster needs either units or a tier";
            found.error(at, "BAD_VALUE", message, "keep one of the two keys");
            Vec::new()
        }
    }
}

/// An officer of a department who sits at a centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The department, which owns the result.
    pub department: UnitId,
    /// The centre at which the officer's presence counts.
    pub at: UnitId,
    /// Since when; none for ever.
    pub from: Option<Millis>,
    /// Until when.
    pub to: Option<Millis>,
}

/// Reads seats.tsv; `tier:station` is a seat at each unit of the tier. Sorted by department and centre.
pub(crate) fn seats(
    files: &FileSet,
    header: &Header,
    tree: &Tree,
    found: &mut Findings,
) -> Vec<Seat> {
    let mut seats = Vec::new();
    for row in files::table(files, SEATS, &SEAT_COLUMNS, found) {
        let department = tree.get(row.text(0));
        if !department.is_some_and(|unit| unit.kind == UnitKind::Department) {
            let message = format!("department {} does not exist", row.text(0));
            found.error(row.at, "UNKNOWN_UNIT", message, "name a department of departments.tsv");
        }
        let centres: Vec<u32> = match row.text(1).strip_prefix("tier:").map(Tier::parse) {
            Some(Some(tier)) => tree.of_tier(tier).collect(),
            Some(None) => Vec::new(),
            None => tree.number(row.text(1)).into_iter().collect(),
        };
        if centres.is_empty() {
            let message = format!("`{}` is no unit and no tier with units", row.text(1));
            let remedy = "write the id of a unit, or tier: and a tier word";
            found.error(row.at, "UNKNOWN_UNIT", message, remedy);
        }
        let (from, to) = (tree::date(&row, 2, header, found), tree::date(&row, 3, header, found));
        let Some(department) = department else { continue };
        seats.extend(centres.into_iter().map(|centre| Seat {
            department: department.id.clone(),
            at: tree.units[centre as usize].id.clone(),
            from,
            to,
        }));
    }
    seats.sort_by(|a, b| (&a.department, &a.at).cmp(&(&b.department, &b.at)));
    seats
}
