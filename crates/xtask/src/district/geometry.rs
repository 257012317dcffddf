//! The synthetic geometry of Qingpu: village points from a Halton sequence, towns by the nearest seat.
//!
//! Everything is exact in `i64`; integers of 1e-6 degree.

use anyhow::ensure;

/// A point in 1e-6 degree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) lon: i64,
    pub(crate) lat: i64,
}

const WEST: i64 = 120_856_800;
const EAST: i64 = 121_323_900;
const SOUTH: i64 = 30_939_200;
const NORTH: i64 = 31_292_100;
/// Number of the last Halton point that a town takes.
const LAST_POINT: i64 = 1294;

/// Seat of the district.
pub(crate) const DISTRICT_SEAT: Site = Site { lon: 121_114_080, lat: 31_153_940 };

/// Seats of the towns in the order of their codes.
pub(crate) const SEATS: [(&str, Site); 11] = [
    ("310118001", Site { lon: 121_115_880, lat: 31_149_670 }),
    ("310118002", Site { lon: 121_105_750, lat: 31_155_270 }),
    ("310118003", Site { lon: 121_116_920, lat: 31_174_510 }),
    ("310118102", Site { lon: 121_056_960, lat: 31_107_570 }),
    ("310118103", Site { lon: 121_046_060, lat: 31_011_670 }),
    ("310118104", Site { lon: 120_914_700, lat: 31_037_140 }),
    ("310118105", Site { lon: 121_192_030, lat: 31_151_940 }),
    ("310118106", Site { lon: 121_271_220, lat: 31_176_120 }),
    ("310118107", Site { lon: 121_218_240, lat: 31_246_950 }),
    ("310118109", Site { lon: 121_170_560, lat: 31_203_610 }),
    ("310118110", Site { lon: 121_136_530, lat: 31_256_160 }),
];

/// Squared distance in (1e-9 degree of latitude)².
pub(crate) fn distance2(a: Site, b: Site) -> i64 {
    let (x, y) = (856 * (a.lon - b.lon), 1000 * (a.lat - b.lat));
    x * x + y * y
}

/// Whether a point lies in the district's box.
pub(crate) fn in_box(point: Site) -> bool {
    (WEST..=EAST).contains(&point.lon) && (SOUTH..=NORTH).contains(&point.lat)
}

/// The points of each town's villages, ascending, so that in id order a station becomes one strip.
pub(crate) fn sites(villages: &[usize]) -> anyhow::Result<Vec<Vec<Site>>> {
    let mut sites = vec![Vec::new(); villages.len()];
    let mut open: usize = villages.iter().sum();
    let mut k = 0;
    while open > 0 {
        k += 1;
        let point = halton(k);
        let nearest = (0..SEATS.len()).min_by_key(|&town| distance2(point, SEATS[town].1));
        let town = nearest.expect("there is at least one seat");
        if sites[town].len() < villages[town] {
            sites[town].push(point);
            open -= 1;
        }
    }
    ensure!(k == LAST_POINT, "the last point taken is {k}, expected {LAST_POINT}");
    for points in &mut sites {
        points.sort();
    }
    Ok(sites)
}

fn halton(k: i64) -> Site {
    let (a, b) = radical_inverse(k, 2);
    let (c, d) = radical_inverse(k, 3);
    Site { lon: WEST + (EAST - WEST) * a / b, lat: SOUTH + (NORTH - SOUTH) * c / d }
}

/// The digits of `k` mirrored at the point, as a fraction.
fn radical_inverse(mut k: i64, base: i64) -> (i64, i64) {
    let (mut numerator, mut denominator) = (0, 1);
    while k > 0 {
        numerator = numerator * base + k % base;
        denominator *= base;
        k /= base;
    }
    (numerator, denominator)
}
