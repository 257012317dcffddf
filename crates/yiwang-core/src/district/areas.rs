//! Areas: which village and micro-grid a point lies in, exact in integers.
//!
//! A voronoi layer gives each point of the box to the nearest site, ties to the lowest id; a unit above owns the union
//! of its cells. The metric is `(k·Δlon)² + (1000·Δlat)²` with `k` = 1000 · cos of the box's middle latitude.

use std::cmp::Ordering;

use crate::record::Point;

/// Length of 1e-9 degree of latitude: 1109e-7 m.
const METRES_E7: i64 = 1109;
/// Largest extent of a box in 1e-6 degree: with it every squared distance fits an `i64`.
pub(crate) const EXTENT_MAX: i64 = 2_000_000;

/// The rectangle that a district's points lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Lowest longitude, 1e-6 degree.
    pub west: i32,
    /// Lowest latitude.
    pub south: i32,
    /// Highest longitude.
    pub east: i32,
    /// Highest latitude.
    pub north: i32,
}

impl Bounds {
    /// Whether a point lies within; the border belongs to it.
    #[must_use]
    pub fn contains(&self, point: Point) -> bool {
        (self.west..=self.east).contains(&point.lon_e6)
            && (self.south..=self.north).contains(&point.lat_e6)
    }

    /// The nearest point within.
    fn clamp(&self, point: Point) -> Point {
        Point {
            lon_e6: point.lon_e6.clamp(self.west, self.east),
            lat_e6: point.lat_e6.clamp(self.south, self.north),
        }
    }
}

/// A site and the unit whose cell is around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) point: Point,
    pub(crate) unit: u32,
}

/// How near counts, in metres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) border_m: u32,
    pub(crate) nearest_m: u32,
}

/// What lies at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    /// In one cell, and perhaps in a finer one.
    Inside(u32),
    /// Near the border of cells of one tier: all of them.
    Border(Vec<u32>),
    /// Outside, but near this one.
    Near(u32),
    /// Nowhere.
    Nowhere,
}

/// The cells of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    bounds: Bounds,
    scale: i64,
    reach: Reach,
    /// By id of the unit.
    sites: Vec<Site>,
    /// Finer sites of each site, by id of the unit.
    finer: Vec<Vec<Site>>,
}

impl Cells {
    /// Cells of sites in ascending order of their ids, each with its finer sites in theirs.
    pub(crate) fn new(bounds: Bounds, reach: Reach, sites: Vec<(Site, Vec<Site>)>) -> Self {
        let middle = (f64::from(bounds.south) + f64::from(bounds.north)) / 2e6;
        let scale = (1000.0 * middle.to_radians().cos()).round() as i64;
        let (sites, finer) = sites.into_iter().unzip();
        Self { bounds, scale, reach, sites, finer }
    }

    /// What lies at a point: border first, then inside, then near.
    pub(crate) fn at(&self, point: Point) -> Hit {
        if self.sites.is_empty() {
            return Hit::Nowhere;
        }
        if !self.bounds.contains(point) {
            // The nearest area is that of the nearest point of the box.
            let edge = self.bounds.clamp(point);
            let near = self.within(point, edge, self.reach.nearest_m);
            return if near { Hit::Near(self.deepest(edge)) } else { Hit::Nowhere };
        }
        let own = self.nearest(&self.sites, point);
        let around = self.around(&self.sites, own, point);
        if around.len() > 1 {
            return Hit::Border(around);
        }
        let finer = &self.finer[own];
        if finer.is_empty() {
            return Hit::Inside(self.sites[own].unit);
        }
        let own = self.nearest(finer, point);
        let around = self.around(finer, own, point);
        if around.len() > 1 { Hit::Border(around) } else { Hit::Inside(finer[own].unit) }
    }

    /// The unit whose coarse cell a point of the box lies in, borders or not.
    pub(crate) fn cell(&self, point: Point) -> Option<u32> {
        let inside = self.bounds.contains(point) && !self.sites.is_empty();
        inside.then(|| self.sites[self.nearest(&self.sites, point)].unit)
    }

    fn deepest(&self, point: Point) -> u32 {
        let own = self.nearest(&self.sites, point);
        match self.finer[own].as_slice() {
            [] => self.sites[own].unit,
            finer => finer[self.nearest(finer, point)].unit,
        }
    }

    fn distance2(&self, a: Point, b: Point) -> i64 {
        let x = self.scale * (i64::from(a.lon_e6) - i64::from(b.lon_e6));
        let y = 1000 * (i64::from(a.lat_e6) - i64::from(b.lat_e6));
        x * x + y * y
    }

    /// Number of the nearest site, the first of several.
    fn nearest(&self, sites: &[Site], point: Point) -> usize {
        let distance = |index: &usize| self.distance2(sites[*index].point, point);
        (0..sites.len()).min_by_key(distance).unwrap_or_default()
    }

    /// The units whose cell is at most `border_m` away, the own one included, by id.
    fn around(&self, sites: &[Site], own: usize, point: Point) -> Vec<u32> {
        let to_own = self.distance2(sites[own].point, point);
        let limit = i128::from(units(self.reach.border_m));
        let mut around = Vec::new();
        for (index, site) in sites.iter().enumerate() {
            // (d²_q - d²_p) / (2·√d²_pq) ≤ limit, squared to stay in integers.
            let further = i128::from(self.distance2(site.point, point) - to_own);
            let apart = i128::from(self.distance2(site.point, sites[own].point));
            if index == own || further * further <= 4 * limit * limit * apart {
                around.push(site.unit);
            }
        }
        around
    }

    fn within(&self, a: Point, b: Point, metres: u32) -> bool {
        let far = |a: i32, b: i32| (i64::from(a) - i64::from(b)).abs() > EXTENT_MAX;
        let limit = i128::from(units(metres));
        !far(a.lon_e6, b.lon_e6)
            && !far(a.lat_e6, b.lat_e6)
            && i128::from(self.distance2(a, b)).cmp(&(limit * limit)) != Ordering::Greater
    }
}

/// Metres in units of the metric, rounded down.
const fn units(metres: u32) -> i64 {
    metres as i64 * 10_000_000 / METRES_E7
}
