//! Assets: the place-bound things that devices stand on, with who owns and who maintains them.

use std::sync::Arc;

use super::areas::Cells;
use super::datum::Datum;
use super::files::{self, ASSETS, FileSet, Findings, Row};
use super::header::{self, Header};
use super::tree::{self, Map, Tree};
use super::units::UnitId;
use crate::category::CategoryList;
use crate::record::Point;

const COLUMNS: [&str; 9] = [
    "id",
    "category",
    "name",
    "owner_unit",
    "maintainer_unit",
    "place",
    "lon_e6",
    "lat_e6",
    "datum",
];

/// A place-bound thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Asset {
    /// Id.
    pub id: Arc<str>,
    /// Category or group of the list that it belongs to.
    pub category: String,
    /// Name for people.
    pub name: String,
    /// Who owns it.
    pub owner_unit: Option<UnitId>,
    /// Who maintains it.
    pub maintainer_unit: Option<UnitId>,
    /// Registered place; it wins over the point.
    pub place: Option<UnitId>,
    /// Its point, converted to the district's datum.
    pub point: Option<Point>,
    /// The point lies in another village than the registered place.
    pub location_conflict: bool,
}

/// What an asset is checked against.
pub(crate) struct Ground<'a> {
    pub(crate) header: &'a Header,
    pub(crate) tree: &'a Tree,
    pub(crate) cells: &'a Cells,
    pub(crate) categories: &'a CategoryList,
}

/// Reads assets.tsv.
pub(crate) fn read(
    files: &FileSet,
    ground: &Ground<'_>,
    found: &mut Findings,
) -> Map<Arc<str>, Asset> {
    let mut assets: Map<Arc<str>, Asset> = Map::default();
    for row in files::table(files, ASSETS, &COLUMNS, found) {
        let asset = asset(&row, ground, found);
        if asset.id.is_empty() || assets.contains_key(&asset.id) {
            let message = format!("asset `{}` is empty or stands above already", asset.id);
            found.error(row.at, "ID_DUPLICATE", message, "give each asset an id of its own");
            continue;
        }
        assets.insert(asset.id.clone(), asset);
    }
    assets
}

fn asset(row: &Row<'_>, ground: &Ground<'_>, found: &mut Findings) -> Asset {
    let tree = ground.tree;
    if !ground.categories.has_prefix(row.text(1)) {
        let message = format!("category {} is not in the list", row.text(1));
        let remedy = "name a category or group of categories.yaml";
        found.error(row.at, "CATEGORY_UNKNOWN", message, remedy);
    }
    let mut unit = |column: usize| -> Option<UnitId> {
        let id = row.some(column)?;
        let unit = tree.get(id).map(|unit| unit.id.clone());
        if unit.is_none() {
            let message = format!("{} {id} does not exist", COLUMNS[column]);
            let remedy = "name a unit of units.tsv or departments.tsv";
            found.error(row.at, "UNKNOWN_UNIT", message, remedy);
        }
        unit
    };
    let (owner_unit, maintainer_unit, place) = (unit(3), unit(4), unit(5));
    let raw = tree::point(row, 6, 7, found);
    let datum = row.some(8).and_then(|text| header::datum(row.at, text, found));
    if raw.is_some() && row.some(8).is_none() {
        let message = "a point without a datum";
        found.error(row.at, "BAD_VALUE", message, "state the datum, e.g. WGS84");
    }
    let point = raw.map(|raw| datum.unwrap_or(Datum::Wgs84).to_wgs84(raw));
    if place.is_none() && point.is_none() {
        let message = format!("asset {} has neither place nor point", row.text(0));
        found.error(row.at, "BAD_VALUE", message, "fill place, or lon_e6, lat_e6 and datum");
    }
    if point.is_some_and(|point| !ground.header.bounds.contains(point)) {
        let message = format!("the point of asset {} lies outside the box", row.text(0));
        found.error(row.at, "POINT_OUTSIDE", message, "correct the point or the box");
    }
    let location_conflict = conflict(ground, place.as_deref(), point);
    if location_conflict {
        let message = format!("the point of asset {} lies outside its place", row.text(0));
        found.warning(row.at, "LOCATION_CONFLICT", message, "the place is used; correct one");
    }
    Asset {
        id: row.text(0).into(),
        category: row.text(1).to_owned(),
        name: row.text(2).to_owned(),
        owner_unit,
        maintainer_unit,
        place,
        point,
        location_conflict,
    }
}

/// Whether the point's cell is neither the place, nor in it, nor around it.
fn conflict(ground: &Ground<'_>, place: Option<&str>, point: Option<Point>) -> bool {
    let place = place.and_then(|place| ground.tree.number(place));
    let cell = point.and_then(|point| ground.cells.cell(point));
    let sound = !ground.tree.paths.is_empty();
    match place.zip(cell).filter(|_| sound) {
        Some((place, cell)) => {
            !ground.tree.in_subtree(cell, place) && !ground.tree.in_subtree(place, cell)
        }
        None => false,
    }
}
