//! The district as data: hierarchy, departments, duty, areas, assets, categories and policies, loaded as one.
//!
//! A [`District`] is immutable and cannot be wrong: [`District::load`] lists every problem of every file with its line
//! and gives a district only if none is an error. Nothing of Qingpu is compiled in; ids are opaque and only `parent`
//! makes the tree. What a signal asks for (path, policy, place) is looked up, never computed anew.

pub mod datum;

mod areas;
mod assets;
mod duty;
pub(crate) mod files;
mod header;
mod load;
mod maintenance;
mod preflight;
mod tree;
mod units;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::calendar::Calendar;
use crate::category::{Category, CategoryList};
use crate::ids::Id;
use crate::incident::words::{Confidence, LocatedBy};
use crate::maintenance::Window;
use crate::policy::{Mode, Policies, Policy};
use crate::problem::Problem;
use crate::record::{Millis, Point};

pub use areas::Bounds;
pub use assets::Asset;
pub use datum::Datum;
pub use duty::{Duty, Seat};
pub use files::FileSet;
pub use units::{AreaPath, Tier, Unit, UnitId, UnitKind};

/// Where a point or code lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The deepest unit of the tree that holds it; near a border the lowest one that holds all candidates.
    pub place: UnitId,
    /// How it was found.
    pub method: LocatedBy,
    /// How sure it is.
    pub confidence: Confidence,
    /// Border candidates, sorted by id.
    pub candidates: Vec<UnitId>,
}

/// A district, whole and checked.
#[derive(Debug)]
pub struct District {
    name: String,
    zone: jiff::tz::TimeZone,
    bounds: Bounds,
    synthetic: bool,
    sources: Vec<String>,
    tiers: Vec<Tier>,
    cell_tier: Option<Tier>,
    command_post: UnitId,
    tree: tree::Tree,
    layer: Arc<str>,
    cells: areas::Cells,
    rosters: duty::Rosters,
    seats: Vec<Seat>,
    calendars: BTreeMap<Arc<str>, Arc<Calendar>>,
    categories: CategoryList,
    policies: Policies,
    /// Class of each unit for the policies.
    classes: Vec<u32>,
    assets: tree::Map<Arc<str>, Asset>,
    maintenance: Vec<Window>,
    digest: Id,
}

impl District {
    /// Reads and checks all files of a district; `None` if any problem is an error.
    #[must_use]
    pub fn load(files: &FileSet) -> (Option<Self>, Vec<Problem>) {
        load::load(files)
    }

    /// Id of the root.
    #[must_use]
    pub fn id(&self) -> &UnitId {
        &self.tree.units[self.tree.root as usize].id
    }

    /// Name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Zone for display and calendars.
    #[must_use]
    pub fn zone(&self) -> &jiff::tz::TimeZone {
        &self.zone
    }

    /// The rectangle of its points.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether parts of it are invented: not for production.
    #[must_use]
    pub const fn is_synthetic(&self) -> bool {
        self.synthetic
    }

    /// Where the real parts come from; to be named where they are shown.
    #[must_use]
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The tiers it has, from the root downwards.
    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// The unit that `command_post` stands for.
    #[must_use]
    pub fn command_post(&self) -> &UnitId {
        &self.command_post
    }

    /// Hash of all files: another content is another configuration epoch.
    #[must_use]
    pub const fn digest(&self) -> Id {
        self.digest
    }

    /// Units of the tree by id, then departments and companies.
    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        self.tree.units.iter()
    }

    /// A unit by id.
    #[must_use]
    pub fn unit(&self, id: &str) -> Option<&Unit> {
        self.tree.get(id)
    }

    /// The unit above.
    #[must_use]
    pub fn parent(&self, id: &str) -> Option<&Unit> {
        self.ancestors(id).nth(1)
    }

    /// A unit and everything above it, itself first.
    pub fn ancestors(&self, id: &str) -> impl Iterator<Item = &Unit> {
        self.tree.chain(self.tree.number(id)).map(|number| &self.tree.units[number as usize])
    }

    /// The tier of a unit of the tree.
    #[must_use]
    pub fn tier(&self, id: &str) -> Option<Tier> {
        self.unit(id)?.tier()
    }

    /// A unit of the tree with everything above it.
    #[must_use]
    pub fn path(&self, id: &str) -> Option<AreaPath> {
        self.path_ref(id).cloned()
    }

    /// As [`District::path`], without a copy.
    #[must_use]
    pub fn path_ref(&self, id: &str) -> Option<&AreaPath> {
        self.tree.paths[self.tree.number(id)? as usize].as_ref()
    }

    /// Whether a unit is another one or below it. Departments and companies hold only themselves.
    #[must_use]
    pub fn in_subtree(&self, id: &str, root: &str) -> bool {
        let numbers = self.tree.number(id).zip(self.tree.number(root));
        numbers.is_some_and(|(inner, root)| self.tree.in_subtree(inner, root))
    }

    /// Where a point lies: border, inside, nearest or the catch-all. Never fails.
    #[must_use]
    pub fn locate(&self, point: Point) -> Located {
        let id = |number: u32| self.tree.units[number as usize].id.clone();
        let found = |number, method, confidence| Located {
            place: id(number),
            method,
            confidence,
            candidates: Vec::new(),
        };
        match self.cells.at(point) {
            areas::Hit::Inside(unit) => found(unit, LocatedBy::Polygon, Confidence::High),
            areas::Hit::Near(unit) => found(unit, LocatedBy::Nearest, Confidence::Low),
            areas::Hit::Nowhere => found(self.tree.root, LocatedBy::CatchAll, Confidence::Low),
            areas::Hit::Border(units) => Located {
                candidates: units.iter().map(|unit| id(*unit)).collect(),
                ..found(self.tree.common_ancestor(&units), LocatedBy::Border, Confidence::Medium)
            },
        }
    }

    /// The village whose cell a point of the box lies in, borders or not.
    #[must_use]
    pub fn cell(&self, point: Point) -> Option<&UnitId> {
        self.cells.cell(point).map(|number| &self.tree.units[number as usize].id)
    }

    /// `id@version` of the layer that points are located in.
    #[must_use]
    pub fn layer_version(&self) -> &str {
        &self.layer
    }

    /// A unit by id, or by an official code that it covers.
    #[must_use]
    pub fn resolve_code(&self, code: &str) -> Option<&Unit> {
        self.unit(code).or_else(|| {
            let number = self.tree.codes.get(code)?;
            Some(&self.tree.units[*number as usize])
        })
    }

    /// The unit of the tree that a report states: a code or id, else its longest known prefix.
    #[must_use]
    pub fn locate_stated(&self, stated: &str) -> Option<Located> {
        let ends = stated.char_indices().map(|(at, _)| at).skip(1).chain([stated.len()]);
        let prefixes = ends.map(|end| &stated[..end]).collect::<Vec<_>>().into_iter().rev();
        let known = |prefix: &str| self.resolve_code(prefix).filter(|unit| unit.tier().is_some());
        let unit = prefixes.filter_map(known).next()?;
        Some(Located {
            place: unit.id.clone(),
            method: LocatedBy::Stated,
            confidence: Confidence::Medium,
            candidates: Vec::new(),
        })
    }

    /// Whether somebody is on the unit's roster.
    #[must_use]
    pub fn on_duty(&self, unit: &str, at: Millis) -> bool {
        self.rosters(unit).iter().any(|duty| duty.calendar.is_open(at))
    }

    /// Whether a unit has a contact.
    #[must_use]
    pub fn reachable(&self, unit: &str) -> bool {
        self.unit(unit).is_some_and(|unit| unit.contact.is_some())
    }

    /// The rosters of a unit.
    #[must_use]
    pub fn rosters(&self, unit: &str) -> &[Duty] {
        self.tree.number(unit).map_or(&[], |number| self.rosters.of(number))
    }

    /// The seat of a department at a centre.
    #[must_use]
    pub fn seat(&self, department: &str, centre: &str, at: Millis) -> Option<&Seat> {
        let from = self
            .seats
            .partition_point(|seat| (&*seat.department, &*seat.at) < (department, centre));
        self.seats[from..]
            .iter()
            .take_while(|seat| (&*seat.department, &*seat.at) == (department, centre))
            .find(|seat| {
                seat.from.is_none_or(|from| from <= at) && seat.to.is_none_or(|to| at < to)
            })
    }

    /// A category of the list.
    #[must_use]
    pub fn category(&self, code: &str) -> Option<&Category> {
        self.categories.get(code)
    }

    /// The whole category list.
    #[must_use]
    pub const fn categories(&self) -> &CategoryList {
        &self.categories
    }

    /// `id@version` of the category list.
    #[must_use]
    pub fn list_version(&self) -> &str {
        &self.categories.version
    }

    /// The merged policy of a category at a place in a mode; `None` for an unknown category or place.
    #[must_use]
    pub fn resolve_policy(&self, category: &str, place: &str, mode: Mode) -> Option<Arc<Policy>> {
        let class = self.classes[self.tree.number(place)? as usize];
        self.policies.get(self.categories.index(category)?, class as usize, mode).cloned()
    }

    /// Whether alarms of a category are never folded into others: lives may hang on them.
    #[must_use]
    pub fn is_storm_exempt(&self, category: &str) -> bool {
        let policy = self.resolve_policy(category, self.id(), Mode::Ordinary);
        policy.is_some_and(|policy| policy.storm_exempt)
    }

    /// An asset by id.
    #[must_use]
    pub fn asset(&self, id: &str) -> Option<&Asset> {
        self.assets.get(id)
    }

    /// How many assets there are.
    #[must_use]
    pub fn asset_count(&self) -> usize {
        self.assets.len()
    }

    /// A calendar by id.
    #[must_use]
    pub fn calendar(&self, id: &str) -> Option<&Calendar> {
        self.calendars.get(id).map(Arc::as_ref)
    }

    /// All calendars by id.
    #[must_use]
    pub const fn calendars(&self) -> &BTreeMap<Arc<str>, Arc<Calendar>> {
        &self.calendars
    }

    /// A warning for each calendar whose holidays are listed for less than 90 days from now.
    #[must_use]
    pub fn calendar_warnings(&self, now: Millis) -> Vec<Problem> {
        load::calendar_warnings(&self.calendars, now)
    }

    /// The windows of maintenance, products and devices not yet looked up.
    pub(crate) fn maintenance(&self) -> &[Window] {
        &self.maintenance
    }

    /// Numbers of the units that have cells: the villages.
    fn cell_units(&self) -> impl Iterator<Item = u32> {
        self.cell_tier.into_iter().flat_map(|tier| self.tree.of_tier(tier))
    }
}

#[cfg(test)]
#[path = "qingpu_tests.rs"]
mod qingpu_tests;
#[cfg(test)]
#[path = "small_tests.rs"]
pub(crate) mod small_tests;
