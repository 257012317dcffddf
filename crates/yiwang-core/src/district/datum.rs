//! Datums: which ellipsoid and which secret offset a pair of coordinates is in.
//!
//! WGS-84 and CGCS2000 are the same here (< 1 m); GCJ-02 lies about 480 m off, BD-09 further. Everything inside is
//! WGS-84: points are converted once, where they come in.

use crate::record::Point;

/// The datum of a point or layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datum {
    /// WGS-84
    Wgs84,
    /// CGCS2000
    Cgcs2000,
    /// GCJ-02, of Chinese maps
    Gcj02,
    /// BD-09, of Baidu
    Bd09,
}

/// Semi-major axis and squared eccentricity that GCJ-02 is defined with.
const AXIS_M: f64 = 6_378_245.0;
const ECCENTRICITY2: f64 = 0.006_693_421_622_965_943;
/// Steps of the inverse at most, and the movement in degrees at which it ends.
const STEPS_MAX: usize = 10;
const STILL_DEG: f64 = 1e-7;

impl Datum {
    /// All datums.
    pub const ALL: [Self; 4] = [Self::Wgs84, Self::Cgcs2000, Self::Gcj02, Self::Bd09];

    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wgs84 => "WGS84",
            Self::Cgcs2000 => "CGCS2000",
            Self::Gcj02 => "GCJ02",
            Self::Bd09 => "BD09",
        }
    }

    /// Reads the word in any case, with or without `-`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.replace('-', "");
        Self::ALL.into_iter().find(|datum| datum.as_str().eq_ignore_ascii_case(&text))
    }

    /// Whether points of both can stand beside each other.
    #[must_use]
    pub fn same(self, other: Self) -> bool {
        let plain = |datum| if datum == Self::Cgcs2000 { Self::Wgs84 } else { datum };
        plain(self) == plain(other)
    }

    /// The point in WGS-84.
    #[must_use]
    pub fn to_wgs84(self, point: Point) -> Point {
        let degrees = (f64::from(point.lon_e6) / 1e6, f64::from(point.lat_e6) / 1e6);
        let (lon, lat) = match self {
            Self::Wgs84 | Self::Cgcs2000 => return point,
            Self::Gcj02 => gcj_to_wgs(degrees),
            Self::Bd09 => gcj_to_wgs(bd_to_gcj(degrees)),
        };
        Point { lon_e6: (lon * 1e6).round() as i32, lat_e6: (lat * 1e6).round() as i32 }
    }
}

fn wgs_to_gcj((lon, lat): (f64, f64)) -> (f64, f64) {
    let (x, y) = (lon - 105.0, lat - 35.0);
    let pi = std::f64::consts::PI;
    let wave = |a: f64, b: f64, c: f64, at: f64| {
        (a * (at * pi).sin() + b * (c * at * pi).sin()) * 2.0 / 3.0
    };
    let shared = wave(20.0, 20.0, 1.0 / 3.0, 6.0 * x);
    let north = -100.0
        + 2.0 * x
        + 3.0 * y
        + 0.2 * y * y
        + 0.1 * x * y
        + 0.2 * x.abs().sqrt()
        + shared
        + wave(20.0, 40.0, 1.0 / 3.0, y)
        + (160.0 * (y / 12.0 * pi).sin() + 320.0 * (y / 30.0 * pi).sin()) * 2.0 / 3.0;
    let east = 300.0
        + x
        + 2.0 * y
        + 0.1 * x * x
        + 0.1 * x * y
        + 0.1 * x.abs().sqrt()
        + shared
        + wave(20.0, 40.0, 1.0 / 3.0, x)
        + (150.0 * (x / 12.0 * pi).sin() + 300.0 * (x / 30.0 * pi).sin()) * 2.0 / 3.0;
    let radians = lat.to_radians();
    let magic = 1.0 - ECCENTRICITY2 * radians.sin() * radians.sin();
    let degree_north = AXIS_M * (1.0 - ECCENTRICITY2) / (magic * magic.sqrt()) * pi / 180.0;
    let degree_east = AXIS_M / magic.sqrt() * radians.cos() * pi / 180.0;
    (lon + east / degree_east, lat + north / degree_north)
}

fn gcj_to_wgs(point: (f64, f64)) -> (f64, f64) {
    let mut guess = point;
    for _ in 0..STEPS_MAX {
        let image = wgs_to_gcj(guess);
        let (lon, lat) = (image.0 - point.0, image.1 - point.1);
        guess = (guess.0 - lon, guess.1 - lat);
        if lon.abs() < STILL_DEG && lat.abs() < STILL_DEG {
            break;
        }
    }
    guess
}

fn bd_to_gcj((lon, lat): (f64, f64)) -> (f64, f64) {
    let turn = std::f64::consts::PI * 3000.0 / 180.0;
    let (x, y) = (lon - 0.0065, lat - 0.006);
    let radius = x.hypot(y) - 0.000_02 * (y * turn).sin();
    let angle = y.atan2(x) - 0.000_003 * (x * turn).cos();
    (radius * angle.cos(), radius * angle.sin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_point_in_gcj02() {
        let (lon, lat) = wgs_to_gcj((121.114_080, 31.153_940));
        assert!((lon - 121.118_687).abs() < 1e-6 && (lat - 31.152_057).abs() < 1e-6, "{lon} {lat}");
        let back = Datum::Gcj02.to_wgs84(Point { lon_e6: 121_118_687, lat_e6: 31_152_057 });
        assert!((back.lon_e6 - 121_114_080).abs() <= 1 && (back.lat_e6 - 31_153_940).abs() <= 1);
    }

    #[test]
    fn words() {
        assert_eq!(Datum::parse("gcj-02"), Some(Datum::Gcj02));
        assert_eq!(Datum::parse("Shanghai 1958"), None);
        assert!(Datum::Cgcs2000.same(Datum::Wgs84) && !Datum::Gcj02.same(Datum::Wgs84));
    }
}
