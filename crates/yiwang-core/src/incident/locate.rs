//! Where a signal is (incidents, section 7), and the incident that it would open there.
//!
//! Invariant: this never fails: what cannot be placed is the district's. An asset's registered
//! place wins over its point; a disagreement is flagged.

use std::sync::Arc;

use super::rows::{Incident, UnitId};
use super::words::{Confidence, LocatedBy, State};
use crate::district::{District, Located};
use crate::ids::Id;
use crate::record::{Point, Signal};

/// A place with how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spotted {
    /// The deepest tree unit that holds the location.
    pub place: UnitId,
    /// Point of the signal, else of its asset.
    pub point: Option<Point>,
    /// How it was found.
    pub by: LocatedBy,
    /// How sure it is.
    pub confidence: Confidence,
    /// Border candidates, sorted.
    pub candidates: Vec<UnitId>,
}

/// Finds the place of a signal: asset, border, polygon, nearest, stated, catch-all.
#[must_use]
pub fn locate(district: &District, signal: &Signal) -> Spotted {
    let asset = signal.asset.as_deref().and_then(|id| district.asset(id));
    let point = signal.point.or_else(|| asset.and_then(|asset| asset.point));
    let registered = asset.and_then(|asset| asset.place.clone()).or_else(|| {
        let place = signal.place.as_deref().filter(|_| !signal.device.is_empty())?;
        tree_unit(district, place)
    });
    let spot =
        |place, by, confidence| Spotted { place, point, by, confidence, candidates: Vec::new() };
    if let Some(place) = registered {
        return spot(place, LocatedBy::Asset, Confidence::High);
    }
    let located = point
        .map(|point| district.locate(point))
        .filter(|located| located.method != LocatedBy::CatchAll)
        .or_else(|| district.locate_stated(signal.place.as_deref()?));
    match located {
        Some(Located { place, method, confidence, candidates }) => {
            Spotted { place, point, by: method, confidence, candidates }
        }
        None => spot(district.id().clone(), LocatedBy::CatchAll, Confidence::Low),
    }
}

/// The incident that a signal opens at a place, at version 0.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one line for each field of the row")]
pub fn draft(
    district: &District,
    signal: &Signal,
    id: Id,
    category: &Arc<str>,
    spotted: Spotted,
) -> Incident {
    let root = district.id();
    let path = district.path_ref(&spotted.place);
    let town = path.and_then(|path| path.town.clone());
    let known = district.category(category);
    let place_name = district.unit(&spotted.place).map_or("", |unit| unit.name.as_str());
    let category_name = known.map_or(&**category, |category| category.name.as_str());
    Incident {
        id,
        no: String::new(),
        version: 0,
        state: State::Reported,
        category: category.clone(),
        list_version: district.list_version().into(),
        title: format!("{category_name} {place_name}"),
        text: signal.text.clone(),
        joint_duty: known.is_some_and(|category| category.joint_duty),
        severity: signal.severity,
        level: None,
        drill_id: None,
        source: signal.source.clone(),
        event_id: signal.event_id.clone(),
        asset: signal.asset.as_deref().map(Arc::from),
        point: spotted.point,
        located_by: spotted.by,
        confidence: spotted.confidence,
        candidates: spotted.candidates,
        location_conflict: conflict(district, &spotted.place, spotted.by, spotted.point),
        district: path.map_or(root, |path| &path.district).clone(),
        station: path.and_then(|path| path.station.clone()),
        village: path.and_then(|path| path.village.clone()),
        grid: path.and_then(|path| path.grid.clone()),
        place: spotted.place,
        desk: town.as_ref().unwrap_or(root).clone(),
        town,
        lead: None,
        holder: None,
        tier: None,
        watchers: Vec::new(),
        excluded: Vec::new(),
        bound: None,
        parent: None,
        merged_into: None,
        recurrence_of: None,
        mode_epoch: 0,
        supervise_level: 0,
        signals: 1,
        standing: 1,
        returns: 0,
        extensions: 0,
        suspensions: 0,
        reworks: 0,
        reopenings: 0,
        first_signal_at: signal.time,
        last_signal_at: signal.time,
        reported_at: 0,
        filed_at: None,
        dispatched_at: None,
        acked_at: None,
        fed_back_at: None,
        closed_at: None,
        recovered_at: None,
        on_time: None,
        overdue_at: None,
        due_at: None,
        close_method: None,
        reporter: None,
        checker: None,
        policy_id: None,
        group_key: Id::default(),
        group_radius_m: 0,
        group_window_ms: 0,
        urgent: false,
        updated_at: 0,
        updated_by_unit: root.clone(),
        updated_by: String::new(),
    }
}

/// Whether the point of an asset lies in another village than its registered place.
fn conflict(district: &District, place: &str, by: LocatedBy, point: Option<Point>) -> bool {
    let Some(point) = point.filter(|_| by == LocatedBy::Asset) else { return false };
    let located = district.locate(point);
    let village = |unit: &str| district.path_ref(unit).and_then(|path| path.village.clone());
    let (own, seen) = (village(place), village(&located.place));
    located.method == LocatedBy::Polygon && own.is_some() && seen.is_some() && own != seen
}

fn tree_unit(district: &District, place: &str) -> Option<UnitId> {
    district.path_ref(place).is_some().then(|| place.into())
}
