//! What the centre holds in memory to correlate: open incidents by key, asset and cell, and alarms
//! that stand.
//!
//! Invariant: it holds what the store has committed, no more: [`OpenIndex::apply`] is called with
//! the changes of a committed transaction, and a start rebuilds it from the store's rows. It never
//! loses an open incident.

use std::sync::Arc;

use hashbrown::HashMap;

use super::changes::Changes;
use super::rows::{Incident, PolicyRow, SignalRow};
use super::words::{Outcome, State};
use crate::ids::{Hasher, Id};
use crate::policy::Policy;
use crate::record::{Millis, Point, Signal, SignalKind};

/// Side of a cell: some 440 m of latitude.
const CELL_E6: i32 = 4_000;
/// Metres of 1e-6 degree of latitude.
const METRES_E6: f64 = 0.111_2;
/// Cells looked at in each direction at most: some 14 km.
const CELLS_MAX: i32 = 32;

/// What matching needs to know of an open incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    /// Incident.
    pub id: Id,
    /// Hash of the group key's values.
    pub group_key: Id,
    /// Asset.
    pub asset: Option<Arc<str>>,
    /// Where.
    pub point: Option<Point>,
    /// How long after its last signal another may join.
    pub window_ms: i64,
    /// Time of the latest signal.
    pub last_signal_at: Millis,
    /// When it was opened.
    pub reported_at: Millis,
}

impl Spot {
    /// The spot of an incident.
    #[must_use]
    pub fn of(incident: &Incident) -> Self {
        Self {
            id: incident.id,
            group_key: incident.group_key,
            asset: incident.asset.clone(),
            point: incident.point,
            window_ms: incident.group_window_ms,
            last_signal_at: incident.last_signal_at,
            reported_at: incident.reported_at,
        }
    }

    /// How well a signal fits: smaller is better; none when it does not.
    #[must_use]
    pub fn fit(&self, probe: &Probe<'_>) -> Option<Fit> {
        let fresh = self.last_signal_at >= probe.time.saturating_sub(self.window_ms);
        if self.group_key != probe.group_key || !fresh {
            return None;
        }
        let same_asset = self.asset.is_some() && self.asset.as_deref() == probe.asset;
        let apart = self.point.zip(probe.point).map(|(a, b)| distance_m(a, b));
        let near = apart.is_some_and(|metres| metres <= f64::from(probe.radius_m));
        let rank_mm = apart.map_or(u64::MAX, |metres| (metres * 1_000.0) as u64);
        (same_asset || near).then_some(Fit {
            other_asset: !same_asset,
            rank_mm,
            reported_at: self.reported_at,
            id: self.id,
        })
    }
}

/// A signal as matching sees it.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'p> {
    /// Hash of the group key's values.
    pub group_key: Id,
    /// Asset.
    pub asset: Option<&'p str>,
    /// Where.
    pub point: Option<Point>,
    /// Its time.
    pub time: Millis,
    /// How far away it may join.
    pub radius_m: u32,
}

/// Order of fits: same asset, nearest, oldest, id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    /// Not the same asset.
    pub other_asset: bool,
    /// Distance in mm; the largest number when it is not known.
    pub rank_mm: u64,
    /// When it was opened.
    pub reported_at: Millis,
    /// Incident.
    pub id: Id,
}

/// An alarm that stands, in the incident that its signals opened or joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Incident.
    pub incident: Id,
    /// Time of its latest signal.
    pub time: Millis,
}

/// The last closed incident of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastClosed {
    /// Incident.
    pub incident: Id,
    /// When it was closed.
    pub closed_at: Millis,
}

/// The memory of correlation.
#[derive(Clone, Debug, Default)]
pub struct OpenIndex {
    spots: HashMap<Id, Spot>,
    by_asset: HashMap<Id, Vec<Id>>,
    by_cell: HashMap<(Id, i32, i32), Vec<Id>>,
    alarms: HashMap<Id, Vec<Standing>>,
    closed: HashMap<Id, LastClosed>,
    policies: HashMap<Id, Arc<Policy>>,
    closed_max: usize,
}

impl OpenIndex {
    /// An empty index that remembers at most `closed_max` closed incidents.
    #[must_use]
    pub fn new(closed_max: usize) -> Self {
        Self { closed_max, ..Self::default() }
    }

    /// Number of open incidents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spots.len()
    }

    /// Whether no incident is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    /// Whether an incident is open.
    #[must_use]
    pub fn is_open(&self, id: Id) -> bool {
        self.spots.contains_key(&id)
    }

    /// Takes an incident as it now is: open ones are kept, others forgotten but for their key.
    pub fn insert(&mut self, incident: &Incident) {
        self.remove(incident.id);
        if incident.state.is_open() {
            self.add(Spot::of(incident));
        } else if incident.state == State::Closed {
            self.remember(incident);
        }
    }

    /// Takes an alarm that stands, at start.
    pub fn insert_alarm(&mut self, source: &str, alarm_key: &str, standing: Standing) {
        raise(self.alarms.entry(alarm_id(source, alarm_key)).or_default(), standing);
    }

    /// Takes a policy snapshot as stored; false when it cannot be read, and its incidents go by
    /// the policy in force.
    pub fn insert_policy(&mut self, row: &PolicyRow) -> bool {
        let policy = Policy::from_text(&row.body).filter(|policy| policy.id == row.id);
        policy.map(|policy| self.policies.insert(row.id, Arc::new(policy))).is_some()
    }

    /// A policy that incidents were filed under.
    #[must_use]
    pub fn policy(&self, id: Id) -> Option<&Arc<Policy>> {
        self.policies.get(&id)
    }

    /// Takes what one committed transaction wrote.
    pub fn apply(&mut self, changes: &Changes) {
        for changed in &changes.incidents {
            self.insert(&changed.row);
        }
        for row in &changes.policies {
            self.insert_policy(row);
        }
        for cleared in &changes.cleared {
            let id = alarm_id(&cleared.source, &cleared.alarm_key);
            if let Some(standings) = self.alarms.get_mut(&id) {
                standings.retain(|standing| standing.time > cleared.until);
                if standings.is_empty() {
                    self.alarms.remove(&id);
                }
            }
        }
        for row in &changes.signals {
            if let Some(standing) = stands(row) {
                self.insert_alarm(&row.signal.source, &row.signal.alarm_key, standing);
            }
        }
    }

    /// Calls `each` with every open incident that may fit the probe.
    pub fn around(&self, probe: &Probe<'_>, mut each: impl FnMut(&Spot)) {
        let mut visit = |ids: Option<&Vec<Id>>| {
            ids.into_iter().flatten().filter_map(|id| self.spots.get(id)).for_each(&mut each);
        };
        if let Some(asset) = probe.asset {
            visit(self.by_asset.get(&asset_id(probe.group_key, asset)));
        }
        let Some(point) = probe.point else { return };
        let reach_lat = f64::from(probe.radius_m) / METRES_E6;
        let reach_lon = reach_lat / cos_lat(point).max(0.1);
        let (lat, lon) = (cell(point.lat_e6), cell(point.lon_e6));
        let span = |at: i32, home: i32, reach: f64| {
            let low = cell((f64::from(at) - reach) as i32).max(home - CELLS_MAX);
            let high = cell((f64::from(at) + reach) as i32).min(home + CELLS_MAX);
            low..=high
        };
        for row in span(point.lat_e6, lat, reach_lat) {
            for column in span(point.lon_e6, lon, reach_lon) {
                visit(self.by_cell.get(&(probe.group_key, row, column)));
            }
        }
    }

    /// Where an alarm stands.
    #[must_use]
    pub fn alarm(&self, id: Id) -> &[Standing] {
        self.alarms.get(&id).map(Vec::as_slice).unwrap_or_default()
    }

    /// The last incident of a recurrence key that was closed.
    #[must_use]
    pub fn last_closed(&self, key: Id) -> Option<LastClosed> {
        self.closed.get(&key).copied()
    }

    fn add(&mut self, spot: Spot) {
        if let Some(asset) = &spot.asset {
            self.by_asset.entry(asset_id(spot.group_key, asset)).or_default().push(spot.id);
        }
        if let Some(point) = spot.point {
            self.by_cell.entry(cell_key(&spot, point)).or_default().push(spot.id);
        }
        self.spots.insert(spot.id, spot);
    }

    fn remove(&mut self, id: Id) {
        let Some(spot) = self.spots.remove(&id) else { return };
        if let Some(asset) = &spot.asset {
            forget(&mut self.by_asset, asset_id(spot.group_key, asset), id);
        }
        if let Some(point) = spot.point {
            forget(&mut self.by_cell, cell_key(&spot, point), id);
        }
    }

    fn remember(&mut self, incident: &Incident) {
        let Some(closed_at) = incident.closed_at else { return };
        if self.closed.len() >= self.closed_max {
            let mut times: Vec<Millis> = self.closed.values().map(|last| last.closed_at).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or(closed_at);
            self.closed.retain(|_, last| last.closed_at > middle);
        }
        let last = LastClosed { incident: incident.id, closed_at };
        self.closed.insert(recurrence_key(incident), last);
    }
}

/// The key of an alarm.
#[must_use]
pub fn alarm_id(source: &str, alarm_key: &str) -> Id {
    Hasher::new().text(source).text(alarm_key).finish()
}

/// Incidents of one key recur where they have the asset, else the place in common.
#[must_use]
pub fn recurrence_key(incident: &Incident) -> Id {
    let at = incident.asset.as_deref().unwrap_or(&incident.place);
    Hasher::new().id(incident.group_key).text(at).finish()
}

/// Whether a clear can end the signal: only raises of an alarm key, and their reminders.
#[must_use]
pub fn clearable(signal: &Signal) -> bool {
    let kind = matches!(signal.kind, SignalKind::Raise | SignalKind::Severity | SignalKind::Remind);
    kind && !signal.alarm_key.is_empty()
}

/// Adds a signal to the alarms that stand; of one incident the latest time counts.
pub(crate) fn raise(standings: &mut Vec<Standing>, standing: Standing) {
    match standings.iter_mut().find(|known| known.incident == standing.incident) {
        Some(known) => known.time = known.time.max(standing.time),
        None => standings.push(standing),
    }
}

/// Distance of two points of one district: flat, with the meridians' convergence.
#[must_use]
pub fn distance_m(a: Point, b: Point) -> f64 {
    let north = f64::from(a.lat_e6 - b.lat_e6) * METRES_E6;
    let east = f64::from(a.lon_e6 - b.lon_e6) * METRES_E6 * cos_lat(a);
    north.hypot(east)
}

fn stands(row: &SignalRow) -> Option<Standing> {
    let joined = matches!(row.outcome, Outcome::Opened | Outcome::Attached);
    let standing = joined && row.cleared_at.is_none() && clearable(&row.signal);
    row.incident.filter(|_| standing).map(|incident| Standing { incident, time: row.signal.time })
}

fn cos_lat(point: Point) -> f64 {
    (f64::from(point.lat_e6) * 1e-6).to_radians().cos()
}

fn cell(e6: i32) -> i32 {
    e6.div_euclid(CELL_E6)
}

fn cell_key(spot: &Spot, point: Point) -> (Id, i32, i32) {
    (spot.group_key, cell(point.lat_e6), cell(point.lon_e6))
}

fn asset_id(group_key: Id, asset: &str) -> Id {
    Hasher::new().id(group_key).text(asset).finish()
}

fn forget<K: std::hash::Hash + Eq>(lists: &mut HashMap<K, Vec<Id>>, key: K, id: Id) {
    if let Some(list) = lists.get_mut(&key) {
        if let Some(at) = list.iter().position(|known| *known == id) {
            list.swap_remove(at);
        }
        if list.is_empty() {
            lists.remove(&key);
        }
    }
}
