//! `district.yaml` and `areas.yaml`: what the district says of itself, its tiers and its layers.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::areas::{Bounds, EXTENT_MAX, Reach};
use super::datum::Datum;
use super::files::{self, AREAS, At, DISTRICT, FileSet, Findings};
use super::units::{Tier, UnitId, UnitKind};
use crate::calendar;
use crate::record::Millis;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDistrict {
    id: Spanned<String>,
    name: String,
    zone: Spanned<String>,
    datum: Spanned<String>,
    r#box: Spanned<RawBox>,
    synthetic: bool,
    #[serde(default)]
    sources: Vec<String>,
    tiers: Spanned<Vec<RawTier>>,
    plan: Spanned<BTreeMap<String, u32>>,
    expect: Option<Spanned<BTreeMap<String, u32>>>,
    command_post: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBox {
    west: i32,
    south: i32,
    east: i32,
    north: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTier {
    word: Spanned<String>,
    pattern: Spanned<String>,
}

/// `district.yaml`, checked.
pub(crate) struct Header {
    pub(crate) id: UnitId,
    pub(crate) id_at: At,
    pub(crate) name: String,
    pub(crate) zone: TimeZone,
    pub(crate) datum: Datum,
    pub(crate) bounds: Bounds,
    pub(crate) synthetic: bool,
    pub(crate) sources: Vec<String>,
    /// Tiers that the district has, from the root downwards.
    pub(crate) tiers: Vec<Tier>,
    /// How ids of each kind look.
    pub(crate) patterns: Vec<(UnitKind, Regex)>,
    pub(crate) plan: Counts,
    pub(crate) expect: Option<Counts>,
    pub(crate) command_post: UnitId,
    pub(crate) command_post_at: At,
}

/// Expected numbers of units.
pub(crate) struct Counts {
    pub(crate) at: At,
    pub(crate) counts: Vec<(Tier, u32)>,
}

impl Header {
    /// The tier whose units have cells: villages, or the lowest tier above micro-grids.
    pub(crate) fn cell_tier(&self) -> Option<Tier> {
        self.tiers.iter().copied().rfind(|tier| *tier != Tier::Microgrid)
    }

    /// The tier just above, among those the district has.
    pub(crate) fn above(&self, tier: Tier) -> Option<Tier> {
        let own = self.tiers.iter().position(|known| *known == tier)?;
        own.checked_sub(1).map(|above| self.tiers[above])
    }

    pub(crate) fn pattern(&self, kind: UnitKind) -> Option<&Regex> {
        self.patterns.iter().find(|(known, _)| *known == kind).map(|(_, pattern)| pattern)
    }
}

/// Reads district.yaml.
pub(crate) fn read(files: &FileSet, found: &mut Findings) -> Option<Header> {
    let raw = files::yaml::<RawDistrict>(files, DISTRICT, found)?;
    let zone = calendar::zone(&raw.zone.value);
    if zone.is_none() {
        let message = format!("unknown time zone `{}`", raw.zone.value);
        found.error(at(&raw.zone), "BAD_VALUE", message, "use a name like Asia/Shanghai");
    }
    let datum = datum(at(&raw.datum), &raw.datum.value, found);
    if datum.is_some_and(|datum| !datum.same(Datum::Wgs84)) {
        let message = format!("units.tsv in {} is not supported", raw.datum.value);
        found.error(at(&raw.datum), "DATUM_MIXED", message, "convert the points to WGS84");
    }
    let bounds = bounds(&raw.r#box, found);
    let (tiers, patterns) = tiers(&raw.tiers, found);
    let plan = counts(&raw.plan, &tiers, found);
    let expect = raw.expect.map(|expect| counts(&expect, &tiers, found));
    Some(Header {
        id_at: at(&raw.id),
        id: raw.id.value.into(),
        name: raw.name,
        zone: zone?,
        datum: datum?,
        bounds: bounds?,
        synthetic: raw.synthetic,
        sources: raw.sources,
        tiers,
        patterns,
        plan,
        expect,
        command_post_at: at(&raw.command_post),
        command_post: raw.command_post.value.into(),
    })
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(DISTRICT, value)
}

/// Reads the word of a datum.
pub(crate) fn datum(at: At, text: &str, found: &mut Findings) -> Option<Datum> {
    let datum = Datum::parse(text);
    if datum.is_none() {
        let message = format!("unknown datum `{text}`");
        let remedy = "state WGS84, CGCS2000, GCJ02 or BD09; city grids need parameters we lack";
        found.error(at, "BAD_VALUE", message, remedy);
    }
    datum
}

fn bounds(raw: &Spanned<RawBox>, found: &mut Findings) -> Option<Bounds> {
    let RawBox { west, south, east, north } = raw.value;
    let sound =
        |low: i32, high: i32| (1..=EXTENT_MAX).contains(&(i64::from(high) - i64::from(low)));
    if sound(west, east) && sound(south, north) && (-80_000_000..=80_000_000).contains(&south) {
        return Some(Bounds { west, south, east, north });
    }
    let message = "the box is empty, upside down or wider than 2 degrees";
    found.error(
        at(raw),
        "BAD_VALUE",
        message,
        "write west < east and south < north in 1e-6 degree",
    );
    None
}

type Tiers = (Vec<Tier>, Vec<(UnitKind, Regex)>);

fn tiers(raw: &Spanned<Vec<RawTier>>, found: &mut Findings) -> Tiers {
    let (mut tiers, mut patterns): Tiers = Default::default();
    for RawTier { word, pattern } in &raw.value {
        let Some(kind) = UnitKind::parse(&word.value) else {
            let message = format!("unknown tier word `{}`", word.value);
            let remedy = "use district, town, station, village, microgrid, department, company";
            found.error(at(word), "TIERS", message, remedy);
            continue;
        };
        if let UnitKind::Tree(tier) = kind {
            if tiers.last().is_some_and(|last| *last >= tier) {
                let message = format!("tier {} stands below a lower one", word.value);
                found.error(at(word), "TIERS", message, "list the tiers from the root downwards");
            }
            tiers.push(tier);
        }
        // ASCII only: an id's `\d` is a digit that a keyboard has.
        match RegexBuilder::new(&pattern.value).unicode(false).build() {
            Ok(regex) => patterns.push((kind, regex)),
            Err(_) => {
                let message = format!("`{}` is no regular expression", pattern.value);
                found.error(at(pattern), "TIERS", message, "correct the pattern");
            }
        }
    }
    if tiers.first() != Some(&Tier::District) {
        let message = "the first tier is not district";
        found.error(at(raw), "TIERS", message, "begin with the word district, the root");
    }
    (tiers, patterns)
}

fn counts(raw: &Spanned<BTreeMap<String, u32>>, tiers: &[Tier], found: &mut Findings) -> Counts {
    let mut counts = Vec::new();
    for (word, count) in &raw.value {
        match Tier::parse(word).filter(|tier| tiers.contains(tier)) {
            Some(tier) => counts.push((tier, *count)),
            None => {
                let message = format!("`{word}` is no tier of this district");
                found.error(at(raw), "TIERS", message, "name a tier of `tiers`");
            }
        }
    }
    Counts { at: at(raw), counts }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAreas {
    layers: Vec<RawLayer>,
    locate: Spanned<RawReach>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReach {
    border_m: u32,
    nearest_m: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLayer {
    id: Spanned<String>,
    version: String,
    datum: Spanned<String>,
    kind: Spanned<String>,
    #[serde(default)]
    file: Option<Spanned<String>>,
    valid_from: Spanned<String>,
}

/// The layer in force.
pub(crate) struct Areas {
    /// `id@version`.
    pub(crate) layer: Arc<str>,
    /// When it began to hold.
    pub(crate) since: Millis,
    pub(crate) reach: Reach,
}

/// Reads areas.yaml: the newest layer is the one in force.
pub(crate) fn areas(files: &FileSet, header: &Header, found: &mut Findings) -> Option<Areas> {
    /// No border is wider than this: it keeps the reckoning in range.
    const REACH_MAX_M: u32 = 10_000;
    let raw = files::yaml::<RawAreas>(files, AREAS, found)?;
    let at = |text: &Spanned<String>| files::at(AREAS, text);
    let RawReach { border_m, nearest_m } = raw.locate.value;
    if border_m > REACH_MAX_M || nearest_m > REACH_MAX_M {
        let message = "border_m or nearest_m is above 10000";
        found.error(files::at(AREAS, &raw.locate), "BAD_VALUE", message, "write metres");
    }
    let mut newest = None;
    for layer in &raw.layers {
        let datum = datum(at(&layer.datum), &layer.datum.value, found);
        if datum.is_some_and(|datum| !datum.same(header.datum)) {
            let message = format!(
                "layer {} is in {}, the district in {}",
                layer.id.value,
                layer.datum.value,
                header.datum.as_str()
            );
            found.error(at(&layer.datum), "DATUM_MIXED", message, "convert the layer");
        }
        if layer.kind.value != "voronoi" || layer.file.is_some() {
            let message = format!("layers of kind {} are not supported yet", layer.kind.value);
            found.error(at(&layer.kind), "AREA_KIND", message, "use kind: voronoi without a file");
        }
        let from = calendar::instant(&layer.valid_from.value, &header.zone);
        if from.is_none() {
            let message = format!("`{}` is not a date", layer.valid_from.value);
            found.error(at(&layer.valid_from), "BAD_VALUE", message, "write YYYY-MM-DD");
        }
        newest = newest.max(Some((from, format!("{}@{}", layer.id.value, layer.version))));
    }
    if newest.is_none() {
        let message = "there is no layer";
        found.error(At { file: AREAS, line: 0 }, "AREA_KIND", message, "add a voronoi layer");
    }
    let (since, layer) = newest?;
    Some(Areas { layer: layer.into(), since: since?, reach: Reach { border_m, nearest_m } })
}
