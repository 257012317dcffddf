//! The tree: units.tsv, departments.tsv and committees.tsv, checked and indexed.
//!
//! Units get dense numbers; ancestors, subtrees and paths are precomputed, because every signal asks for them.

use hashbrown::HashMap;

use super::areas::Site;
use super::files::{self, At, COMMITTEES, DEPARTMENTS, FileSet, Findings, Row, UNITS};
use super::header::{Counts, Header};
use super::units::{AreaPath, Tier, Unit, UnitId, UnitKind};
use crate::calendar;
use crate::record::{Millis, Point};

const UNIT_COLUMNS: [&str; 12] = [
    "id",
    "parent",
    "tier",
    "name",
    "covers",
    "synthetic",
    "lon_e6",
    "lat_e6",
    "calendar",
    "contact",
    "valid_from",
    "valid_to",
];
const DEPARTMENT_COLUMNS: [&str; 7] =
    ["id", "kind", "name", "name_en", "calendar", "contact", "synthetic"];
const COMMITTEE_COLUMNS: [&str; 3] = ["code", "name", "town"];
/// What may be invented of a unit.
const SYNTHETIC: [&str; 5] = ["all", "parent", "point", "covers", "contact"];

pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// All units, as far as they could be read.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Tree units by id, then departments and companies in the order of their file.
    pub(crate) units: Vec<Unit>,
    pub(crate) ats: Vec<At>,
    pub(crate) index: Map<UnitId, u32>,
    /// Covered official codes.
    pub(crate) codes: Map<Box<str>, u32>,
    pub(crate) above: Vec<Option<u32>>,
    /// Units that had ended when the layer in force began: kept to be named, out of everything that counts.
    ended: Vec<bool>,
    /// Depth-first numbers of a unit and of the last one below it.
    spans: Vec<(u32, u32)>,
    pub(crate) paths: Vec<Option<AreaPath>>,
    pub(crate) root: u32,
}

impl Tree {
    pub(crate) fn number(&self, id: &str) -> Option<u32> {
        self.index.get(id).copied()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Unit> {
        self.number(id).map(|number| &self.units[number as usize])
    }

    /// A unit and everything above it, itself first.
    pub(crate) fn chain(&self, number: Option<u32>) -> impl Iterator<Item = u32> {
        std::iter::successors(number, |number| self.above[*number as usize])
    }

    pub(crate) fn in_subtree(&self, inner: u32, root: u32) -> bool {
        let ((first, _), (from, to)) = (self.spans[inner as usize], self.spans[root as usize]);
        (from..=to).contains(&first)
    }

    /// Numbers of the units of a tier that have not ended, by id.
    pub(crate) fn of_tier(&self, tier: Tier) -> impl Iterator<Item = u32> {
        self.lasting().filter(move |(_, unit)| unit.tier() == Some(tier)).map(|it| it.0)
    }

    /// The units that have not ended, with their numbers.
    pub(crate) fn lasting(&self) -> impl Iterator<Item = (u32, &Unit)> {
        (0u32..).zip(&self.units).filter(|(number, _)| !self.ended[*number as usize])
    }

    /// The lowest unit that holds all of these.
    pub(crate) fn common_ancestor(&self, units: &[u32]) -> u32 {
        let holds = |above: &u32| units.iter().all(|unit| self.in_subtree(*unit, *above));
        self.chain(units.first().copied()).find(holds).unwrap_or(self.root)
    }
}

/// Reads the units and checks everything about them; the tree is whole only if no error was found.
pub(crate) fn read(
    files: &FileSet,
    header: &Header,
    since: Option<Millis>,
    found: &mut Findings,
) -> Tree {
    let mut rows = units(files, header, found);
    if rows.is_empty() {
        let message = "there is no unit";
        found.error(At { file: UNITS, line: 0 }, "ROOT_COUNT", message, "add the root");
        return Tree::default();
    }
    rows.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    rows.extend(departments(files, header, found));
    let mut tree = Tree::default();
    for (unit, at) in rows {
        check_unit(&unit, at, header, found);
        if let Some(first) = tree.number(&unit.id) {
            let At { file, line } = tree.ats[first as usize];
            let message = format!("unit {} also stands in {file}:{line}", unit.id);
            found.error(at, "ID_DUPLICATE", message, "an id is used once and never again");
            continue;
        }
        tree.index.insert(unit.id.clone(), tree.units.len() as u32);
        tree.ended.push(unit.valid_to.is_some_and(|to| since.is_some_and(|since| to <= since)));
        tree.units.push(unit);
        tree.ats.push(at);
    }
    let parents = found.problems.len();
    link(&mut tree, header, found);
    if found.problems.len() == parents && !tree.units.is_empty() {
        number(&mut tree);
    }
    count(&tree, &header.plan, false, found);
    if let Some(expect) = &header.expect {
        count(&tree, expect, true, found);
    }
    check_points(&tree, header, found);
    covers(files, &mut tree, found);
    tree
}

fn units(files: &FileSet, header: &Header, found: &mut Findings) -> Vec<(Unit, At)> {
    if !files.contains_key(UNITS) {
        let remedy = "add the file; every district has it";
        let at = At { file: UNITS, line: 0 };
        found.error(at, "FILE_MISSING", "the file is missing", remedy);
    }
    let rows = files::table(files, UNITS, &UNIT_COLUMNS, found);
    rows.iter().filter_map(|row| unit(row, header, found)).collect()
}

fn unit(row: &Row<'_>, header: &Header, found: &mut Findings) -> Option<(Unit, At)> {
    let tier = Tier::ALL.into_iter().find(|tier| tier.as_str() == row.text(2));
    let tier = tier.filter(|tier| header.tiers.contains(tier));
    if tier.is_none() {
        let message = format!("`{}` is no tier of this district", row.text(2));
        found.error(row.at, "BAD_VALUE", message, "name a tier of district.yaml");
    }
    let unit = Unit {
        id: row.text(0).into(),
        kind: UnitKind::Tree(tier?),
        parent: row.some(1).map(UnitId::from),
        name: row.text(3).to_owned(),
        name_en: String::new(),
        point: point(row, 6, 7, found),
        calendar: row.some(8).map(str::to_owned),
        contact: row.some(9).map(str::to_owned),
        covers: words(row.text(4)),
        synthetic: words(row.text(5)),
        valid_from: date(row, 10, header, found),
        valid_to: date(row, 11, header, found),
    };
    if !unit.covers.is_empty() && tier != header.cell_tier() {
        let message = format!("unit {} covers codes and is no village", unit.id);
        found.error(row.at, "COVERS_TIER", message, "move the codes to its villages");
    }
    Some((unit, row.at))
}

fn departments(files: &FileSet, header: &Header, found: &mut Findings) -> Vec<(Unit, At)> {
    let rows = files::table(files, DEPARTMENTS, &DEPARTMENT_COLUMNS, found);
    let mut units = Vec::new();
    for row in rows {
        let kind = UnitKind::parse(row.text(1)).filter(|kind| !matches!(kind, UnitKind::Tree(_)));
        let Some(kind) = kind else {
            let message = format!("`{}` is neither department nor company", row.text(1));
            found.error(row.at, "BAD_VALUE", message, "write department or company");
            continue;
        };
        if header.pattern(kind).is_none() {
            let message = format!("district.yaml has no pattern for {} ids", kind.as_str());
            found.error(row.at, "TIERS", message, "add the word with its pattern to `tiers`");
        }
        let unit = Unit {
            id: row.text(0).into(),
            kind,
            parent: None,
            name: row.text(2).to_owned(),
            name_en: row.text(3).to_owned(),
            point: None,
            calendar: row.some(4).map(str::to_owned),
            contact: row.some(5).map(str::to_owned),
            covers: Vec::new(),
            synthetic: words(row.text(6)),
            valid_from: None,
            valid_to: None,
        };
        units.push((unit, row.at));
    }
    units
}

fn words(text: &str) -> Vec<String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A point of two cells; both empty is no point.
pub(crate) fn point(row: &Row<'_>, lon: usize, lat: usize, found: &mut Findings) -> Option<Point> {
    let (lon, lat) = (row.text(lon), row.text(lat));
    if lon.is_empty() && lat.is_empty() {
        return None;
    }
    let parsed = lon.parse().ok().zip(lat.parse().ok());
    if parsed.is_none() {
        let message = format!("`{lon}`, `{lat}` is no point");
        found.error(row.at, "BAD_VALUE", message, "write two integers of 1e-6 degree");
    }
    parsed.map(|(lon_e6, lat_e6)| Point { lon_e6, lat_e6 })
}

/// A cell with a local date or an instant.
pub(crate) fn date(
    row: &Row<'_>,
    column: usize,
    header: &Header,
    found: &mut Findings,
) -> Option<Millis> {
    let text = row.some(column)?;
    let instant = calendar::instant(text, &header.zone);
    if instant.is_none() {
        let message = format!("`{text}` is not a date");
        found.error(row.at, "BAD_VALUE", message, "write YYYY-MM-DD or an RFC 3339 instant");
    }
    instant
}

fn check_unit(unit: &Unit, at: At, header: &Header, found: &mut Findings) {
    let Unit { id, kind, name, .. } = unit;
    if header.pattern(*kind).is_some_and(|pattern| !pattern.is_match(id)) {
        let message = format!("id `{id}` does not look like that of a {}", kind.as_str());
        found.error(at, "ID_PATTERN", message, "correct the id, or the pattern in district.yaml");
    }
    if name.is_empty() {
        let message = format!("unit {id} has no name");
        found.error(at, "BAD_VALUE", message, "give it a name");
    }
    if let Some(word) = unit.synthetic.iter().find(|word| !SYNTHETIC.contains(&word.as_str())) {
        let message = format!("`{word}` cannot be synthetic");
        found.error(at, "BAD_VALUE", message, "write all, or parent, point, covers, contact");
    }
}

/// Finds every parent: exactly one root, each other unit below one of the tier just above, no cycle.
fn link(tree: &mut Tree, header: &Header, found: &mut Findings) {
    tree.above = vec![None; tree.units.len()];
    let mut roots = Vec::new();
    for (number, unit) in tree.units.iter().enumerate() {
        let UnitKind::Tree(tier) = unit.kind else { continue };
        let at = tree.ats[number];
        let Some(parent) = &unit.parent else {
            roots.push(number);
            continue;
        };
        let Some(above) = tree.index.get(parent).copied() else {
            let message = format!("unit {} has the unknown parent {parent}", unit.id);
            found.error(at, "UNKNOWN_PARENT", message, "name a unit of this file");
            continue;
        };
        tree.above[number] = Some(above);
        let expected = header.above(tier);
        let parent_tier = tree.units[above as usize].tier();
        if parent_tier.is_none() || parent_tier != expected {
            let message = format!("the parent {parent} of {} is not of the tier above it", unit.id);
            let expected = expected.map_or("no unit", Tier::as_str);
            found.error(
                at,
                "PARENT_TIER",
                message,
                format!("a {} hangs below a {expected}", tier.as_str()),
            );
        }
    }
    match roots.as_slice() {
        [root] => {
            tree.root = *root as u32;
            let unit = &tree.units[*root];
            if unit.tier() != Some(Tier::District) {
                let message = format!("the root {} is not of tier district", unit.id);
                found.error(tree.ats[*root], "PARENT_TIER", message, "give it a parent");
            } else if unit.id != header.id {
                let message = format!("the district is {} and the root {}", header.id, unit.id);
                found.error(header.id_at, "UNKNOWN_UNIT", message, "name the root's id");
            }
        }
        [] => {
            let message = "no unit is without a parent";
            found.error(At { file: UNITS, line: 0 }, "ROOT_COUNT", message, "add the root");
        }
        [_, more @ ..] => {
            for root in more {
                let message = format!("unit {} is another root", tree.units[*root].id);
                found.error(tree.ats[*root], "ROOT_COUNT", message, "give it a parent");
            }
        }
    }
    cycles(tree, found);
}

/// Each unit whose chain of parents comes back to it.
fn cycles(tree: &Tree, found: &mut Findings) {
    for start in 0..tree.units.len() as u32 {
        let mut chain = tree.chain(Some(start)).skip(1).take(tree.units.len());
        if chain.any(|number| number == start) {
            let message = format!("unit {} is above itself", tree.units[start as usize].id);
            let remedy = "give one unit of the cycle another parent";
            found.error(tree.ats[start as usize], "PARENT_CYCLE", message, remedy);
        }
    }
}

/// Paths and depth-first numbers of a sound tree.
fn number(tree: &mut Tree) {
    let count = tree.units.len();
    let mut below: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (number, above) in (0u32..).zip(&tree.above) {
        if let Some(above) = above {
            below[*above as usize].push(number);
        }
    }
    tree.spans = vec![(0, 0); count];
    tree.paths = vec![None; count];
    let mut next = 0;
    let mut stack = vec![(tree.root, false)];
    while let Some((number, done)) = stack.pop() {
        let index = number as usize;
        if done {
            tree.spans[index].1 = next - 1;
            continue;
        }
        tree.spans[index].0 = next;
        next += 1;
        tree.paths[index] = Some(path(tree, number));
        stack.push((number, true));
        stack.extend(below[index].iter().rev().map(|below| (*below, false)));
    }
    // Departments and companies are trees of one.
    for index in 0..count {
        if tree.units[index].tier().is_none() {
            tree.spans[index] = (next, next);
            next += 1;
        }
    }
}

fn path(tree: &Tree, number: u32) -> AreaPath {
    let unit = &tree.units[number as usize];
    let above = tree.above[number as usize].and_then(|above| tree.paths[above as usize].clone());
    let mut path = above.unwrap_or_else(|| AreaPath {
        district: unit.id.clone(),
        town: None,
        station: None,
        village: None,
        grid: None,
    });
    match unit.tier() {
        Some(Tier::Town) => path.town = Some(unit.id.clone()),
        Some(Tier::Station) => path.station = Some(unit.id.clone()),
        Some(Tier::Village) => path.village = Some(unit.id.clone()),
        Some(Tier::Microgrid) => path.grid = Some(unit.id.clone()),
        Some(Tier::District) | None => {}
    }
    path
}

fn count(tree: &Tree, counts: &Counts, strict: bool, found: &mut Findings) {
    for (tier, expected) in &counts.counts {
        let actual = tree.of_tier(*tier).count();
        if actual == *expected as usize {
            continue;
        }
        let message = format!("{actual} units of tier {} instead of {expected}", tier.as_str());
        let remedy = "correct units.tsv or the expected number";
        if strict {
            found.error(counts.at, "COUNT_OFF_EXPECT", message, remedy);
        } else {
            found.warning(counts.at, "COUNT_OFF_PLAN", message, remedy);
        }
    }
}

fn check_points(tree: &Tree, header: &Header, found: &mut Findings) {
    let mut taken: Map<(i32, i32), u32> = Map::default();
    for (number, unit) in tree.lasting() {
        let at = tree.ats[number as usize];
        let cell = unit.tier().is_some() && unit.tier() == header.cell_tier();
        let Some(point) = unit.point else {
            if cell || unit.tier() == Some(Tier::Microgrid) {
                let message = format!("unit {} has no point, so it has no area", unit.id);
                found.error(at, "POINT_MISSING", message, "fill lon_e6 and lat_e6");
            }
            continue;
        };
        if !header.bounds.contains(point) {
            let message = format!("the point of {} lies outside the box", unit.id);
            found.error(at, "POINT_OUTSIDE", message, "correct the point or the box");
        }
        if !cell {
            continue;
        }
        if let Some(first) = taken.insert((point.lon_e6, point.lat_e6), number) {
            let message =
                format!("{} has the same point as {}", unit.id, tree.units[first as usize].id);
            found.error(at, "POINT_DUPLICATE", message, "move one of the two");
        }
    }
}

/// The official codes: each covered by exactly one village of its own town.
fn covers(files: &FileSet, tree: &mut Tree, found: &mut Findings) {
    let mut committees: Map<&str, (At, &str)> = Map::default();
    let rows = files::table(files, COMMITTEES, &COMMITTEE_COLUMNS, found);
    for row in &rows {
        let (code, town) = (row.text(0), row.text(2));
        if committees.insert(code, (row.at, town)).is_some() {
            let message = format!("committee {code} stands above already");
            found.error(row.at, "ID_DUPLICATE", message, "remove one of the two");
        }
        if tree.get(town).is_none() {
            let message = format!("town {town} of committee {code} does not exist");
            found.error(row.at, "UNKNOWN_UNIT", message, "name a town of units.tsv");
        }
    }
    let mut codes: Map<Box<str>, u32> = Map::default();
    for (number, unit) in tree.lasting() {
        let at = tree.ats[number as usize];
        for code in &unit.covers {
            if let Some(first) = codes.insert(code.as_str().into(), number) {
                let first = &tree.units[first as usize].id;
                let message = format!("code {code} is covered by {first} and {}", unit.id);
                found.error(at, "COVERS_TWICE", message, "one village covers a code");
            }
            let Some((_, town)) = committees.get(code.as_str()) else {
                let message = format!("code {code} is not in committees.tsv");
                found.error(at, "COVERS_UNKNOWN", message, "correct the code or add the committee");
                continue;
            };
            let chain = || tree.chain(Some(number)).take(Tier::ALL.len());
            if !chain().any(|above| *tree.units[above as usize].id == **town) {
                let message = format!("code {code} belongs to {town}, {} does not", unit.id);
                found.error(at, "COVERS_OTHER_TOWN", message, "cover codes of the own town only");
            }
        }
    }
    for row in rows.iter().filter(|row| !codes.contains_key(row.text(0))) {
        let message = format!("committee {} is covered by no village", row.text(0));
        found.error(row.at, "COMMITTEE_UNCOVERED", message, "add its code to a village's covers");
    }
    tree.codes = codes;
}

/// The cells of a sound tree: villages, each with its micro-grids.
pub(crate) fn sites(tree: &Tree, header: &Header) -> Vec<(Site, Vec<Site>)> {
    let site =
        |number: u32| tree.units[number as usize].point.map(|point| Site { point, unit: number });
    let grids: Vec<_> = tree.of_tier(Tier::Microgrid).collect();
    let cells = header.cell_tier().into_iter().flat_map(|tier| tree.of_tier(tier));
    cells
        .filter_map(|number| {
            let own = |grid: &&u32| tree.above[**grid as usize] == Some(number);
            Some((site(number)?, grids.iter().filter(own).filter_map(|grid| site(*grid)).collect()))
        })
        .collect()
}
