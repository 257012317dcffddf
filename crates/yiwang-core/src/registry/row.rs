//! One row of a device list: columns of devices section 6, every error with its code.

use std::collections::BTreeMap;
use std::sync::Arc;

use csv::StringRecord;

use super::secret::SECRET_CHARS_MIN;
use super::{Extra, Lifecycle, Secret};
use crate::codec::decimal::Decimal;
use crate::district::{Asset, Datum, District, UnitId};
use crate::problem::Severity;
use crate::record::{Millis, Point};
use crate::thing::Product;
use crate::thing::node::duration_text;

/// Every column that a device list may have; the first three are required.
pub(super) const COLUMNS: [&str; 21] = [
    "product_key",
    "device_name",
    "area_code",
    "name",
    "asset_id",
    "lon",
    "lat",
    "datum",
    "owner_unit",
    "maintainer_unit",
    "contract_until",
    "gateway",
    "alias",
    "model_version",
    "expect_every",
    "tags",
    "attrs",
    "secret",
    "address",
    "password_ref",
    "lifecycle",
];
/// How many of them are required.
pub(super) const REQUIRED: usize = 3;
/// Most tags of a device.
const TAGS_MAX: usize = 20;

/// A finding about a row.
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

/// A row that was read.
pub(super) struct Row {
    pub(super) key: Box<str>,
    pub(super) product: u16,
    pub(super) unit: UnitId,
    pub(super) name: Option<Box<str>>,
    pub(super) asset: Option<Box<str>>,
    pub(super) point: Option<Point>,
    /// Own values by attribute index.
    pub(super) attrs: Vec<(u16, f64)>,
    pub(super) secret: Option<Secret>,
    pub(super) expect_every: Option<Millis>,
    pub(super) lifecycle: Lifecycle,
    pub(super) extra: Option<Box<Extra>>,
}

/// What rows are read against.
pub(super) struct Context<'a> {
    pub(super) products: &'a [Arc<Product>],
    pub(super) district: &'a District,
    /// Column of each name in [`COLUMNS`].
    pub(super) columns: [Option<usize>; COLUMNS.len()],
}

/// Rows whose product is not loaded, by its key: the line of the first one, and how many.
pub(super) type Unknown = BTreeMap<String, (u32, usize)>;

/// A row being read.
pub(super) struct Reader<'a> {
    context: &'a Context<'a>,
    record: &'a StringRecord,
    findings: &'a mut Vec<Finding>,
    unknown: &'a mut Unknown,
}

impl<'a> Reader<'a> {
    /// At a row.
    pub(super) fn new(
        context: &'a Context<'a>,
        record: &'a StringRecord,
        findings: &'a mut Vec<Finding>,
        unknown: &'a mut Unknown,
    ) -> Self {
        Self { context, record, findings, unknown }
    }

    /// Reads it; `None` where what identifies or places it is wrong.
    pub(super) fn read(mut self) -> Option<Row> {
        let product = self.product();
        let name = self.device_name();
        let unit = self.unit();
        let asset = self.asset();
        let point = self.point(asset, unit.as_ref());
        let attrs = match product {
            Some((_, product)) => self.attrs(product),
            None => Vec::new(),
        };
        let secret = self.secret();
        let expect_every = self.expect_every();
        let lifecycle = self.lifecycle();
        let extra = self.extra();
        let (index, product) = product?;
        Some(Row {
            key: format!("{}/{}", product.key, name?).into(),
            product: index,
            unit: unit?,
            name: self.text("name"),
            asset: asset.map(|_| self.cell("asset_id").into()),
            point,
            attrs,
            secret,
            expect_every,
            lifecycle,
            extra,
        })
    }

    /// The text of a cell; empty where there is none.
    fn cell(&self, column: &str) -> &'a str {
        let index = COLUMNS.iter().position(|name| *name == column);
        let at = index.and_then(|index| self.context.columns[index]);
        at.and_then(|at| self.record.get(at)).unwrap_or_default().trim()
    }

    fn text(&self, column: &str) -> Option<Box<str>> {
        Some(self.cell(column)).filter(|text| !text.is_empty()).map(Into::into)
    }

    fn error(&mut self, code: &'static str, message: String, remedy: &'static str) {
        self.findings.push(Finding { severity: Severity::Error, code, message, remedy });
    }

    fn warning(&mut self, code: &'static str, message: String, remedy: &'static str) {
        self.findings.push(Finding { severity: Severity::Warning, code, message, remedy });
    }

    fn product(&mut self) -> Option<(u16, &'a Product)> {
        let key = self.cell("product_key");
        let products = self.context.products;
        match products.binary_search_by(|product| (*product.key).cmp(key)) {
            Ok(at) => Some((at as u16, &products[at])),
            Err(_) => {
                let line = self.record.position().map_or(0, |at| at.line() as u32);
                self.unknown.entry(key.to_owned()).or_insert((line, 0)).1 += 1;
                None
            }
        }
    }

    fn device_name(&mut self) -> Option<&'a str> {
        let name = self.cell("device_name");
        let formed = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:@-".contains(&b));
        if formed && name != "provision" {
            return Some(name);
        }
        let message = format!("`{name}` is no device name");
        self.error("BAD_NAME", message, "use 1 to 64 of A-Z a-z 0-9 _ . : @ -, not `provision`");
        None
    }

    fn unit(&mut self) -> Option<UnitId> {
        let code = self.cell("area_code");
        let district = self.context.district;
        let unit = district.resolve_code(code).filter(|unit| district.path(&unit.id).is_some());
        if unit.is_none() {
            let message = format!("area `{code}` is no unit of the tree");
            self.error("UNKNOWN_AREA", message, "use 9 or 12 digits, or the id of a tree unit");
        }
        unit.map(|unit| unit.id.clone())
    }

    fn asset(&mut self) -> Option<&'a Asset> {
        let id = self.cell("asset_id");
        if id.is_empty() {
            return None;
        }
        let asset = self.context.district.asset(id);
        if asset.is_none() {
            let message = format!("asset `{id}` is not known");
            self.error("UNKNOWN_ASSET", message, "add it to assets.tsv, or correct asset_id");
        }
        asset
    }

    /// Its own point, else that of its asset.
    fn point(&mut self, asset: Option<&Asset>, unit: Option<&UnitId>) -> Option<Point> {
        let (lon, lat, datum) = (self.cell("lon"), self.cell("lat"), self.cell("datum"));
        let own = !(lon.is_empty() && lat.is_empty());
        if !own {
            return asset.and_then(|asset| asset.point);
        }
        let datum_known = if datum.is_empty() { Some(Datum::Wgs84) } else { Datum::parse(datum) };
        let degrees = degrees(lon, 180).zip(degrees(lat, 90)).zip(datum_known);
        let Some(((lon_e6, lat_e6), datum)) = degrees else {
            let message = format!("`{lon}`, `{lat}` in datum `{datum}` is no point");
            let remedy = "use decimal degrees in WGS84 (default), CGCS2000, GCJ02 or BD09";
            self.error("BAD_POINT", message, remedy);
            return None;
        };
        let point = datum.to_wgs84(Point { lon_e6, lat_e6 });
        let district = self.context.district;
        if let Some(unit) = unit
            && !district.in_subtree(&district.locate(point).place, unit)
        {
            let message = format!("the point lies outside of `{unit}`");
            self.warning("POINT_OUTSIDE_AREA", message, "correct the point or area_code");
        }
        Some(point)
    }

    fn attrs(&mut self, product: &Product) -> Vec<(u16, f64)> {
        let text = self.cell("attrs");
        if text.is_empty() {
            return Vec::new();
        }
        let remedy = "write a JSON object from attribute to number, true or false";
        let Ok(serde_json::Value::Object(entries)) = serde_json::from_str(text) else {
            self.error("BAD_ATTR", format!("`{text}` is no JSON object"), remedy);
            return Vec::new();
        };
        let mut attrs = Vec::new();
        for (name, value) in &entries {
            let number = match value {
                serde_json::Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
                value => value.as_f64(),
            };
            match (product.attribute_index(name), number) {
                (Some(index), Some(number)) => attrs.push((index, number)),
                (None, _) => {
                    let message = format!("`{name}` is no attribute of `{}`", product.key);
                    self.error("BAD_ATTR", message, "declare it in the product, or remove it");
                }
                (Some(_), None) => {
                    self.error("BAD_ATTR", format!("`{name}` cannot be {value}"), remedy);
                }
            }
        }
        attrs.sort_by_key(|(index, _)| *index);
        attrs
    }

    fn secret(&mut self) -> Option<Secret> {
        let secret = self.cell("secret");
        if secret.is_empty() {
            return None;
        }
        if secret.chars().count() < SECRET_CHARS_MIN {
            let message = String::from("the secret has fewer than 16 characters");
            self.error("SECRET_TOO_SHORT", message, "use at least 16");
        }
        Some(Secret::new(secret))
    }

    fn expect_every(&mut self) -> Option<Millis> {
        let text = self.cell("expect_every");
        if text.is_empty() {
            return None;
        }
        let duration = duration_text(text).filter(|duration| *duration > 0);
        if duration.is_none() {
            let message = format!("expect_every cannot be `{text}`");
            self.error("BAD_VALUE", message, "write a duration such as 5m");
        }
        duration
    }

    /// In use, unless the list says otherwise.
    fn lifecycle(&mut self) -> Lifecycle {
        let word = self.cell("lifecycle");
        if word.is_empty() {
            return Lifecycle::InService;
        }
        Lifecycle::parse(word).unwrap_or_else(|| {
            let words = Lifecycle::ALL.map(Lifecycle::as_str).join(", ");
            let message = format!("lifecycle `{word}` is none of {words}");
            self.error("BAD_VALUE", message, "write one of them, or nothing for IN_SERVICE");
            Lifecycle::InService
        })
    }

    fn extra(&mut self) -> Option<Box<Extra>> {
        let extra = Extra {
            owner_unit: self.responsible("owner_unit"),
            maintainer_unit: self.responsible("maintainer_unit"),
            contract_until: self.text("contract_until"),
            gateway: self.text("gateway"),
            alias: self.text("alias"),
            model_version: self.text("model_version"),
            address: self.text("address"),
            password_ref: self.text("password_ref"),
            tags: self.tags(),
        };
        (extra != Extra::default()).then(|| Box::new(extra))
    }

    fn responsible(&mut self, column: &str) -> Option<UnitId> {
        let id = self.cell(column);
        if id.is_empty() {
            return None;
        }
        let unit = self.context.district.unit(id);
        if unit.is_none() {
            let message = format!("{column} `{id}` is no unit");
            self.error("UNKNOWN_UNIT", message, "use the id of a unit, department or company");
        }
        unit.map(|unit| unit.id.clone())
    }

    fn tags(&mut self) -> Vec<(Box<str>, Box<str>)> {
        let text = self.cell("tags");
        let mut tags: Vec<(Box<str>, Box<str>)> = Vec::new();
        for tag in text.split(';').filter(|tag| !tag.is_empty()) {
            match tag.split_once('=') {
                Some((name, value)) if !name.is_empty() => tags.push((name.into(), value.into())),
                _ => {
                    let message = format!("tag `{tag}` has no name or no value");
                    self.error("BAD_VALUE", message, "write tags as a=b;c=d");
                }
            }
        }
        if tags.len() > TAGS_MAX {
            self.error("TOO_MANY", format!("more than {TAGS_MAX} tags"), "remove some");
        }
        tags.sort();
        tags
    }
}

/// Decimal degrees as integers of 1e-6 degree, rounded half away from zero.
fn degrees(text: &str, most: i32) -> Option<i32> {
    let decimal = Decimal::parse(text).filter(|_| !text.contains(['e', 'E']))?;
    let mut mantissa = decimal.mantissa;
    let shift = decimal.exponent + 6;
    if shift >= 0 {
        mantissa = mantissa.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?;
    } else {
        let power = 10_i128.checked_pow(shift.unsigned_abs())?;
        mantissa = (mantissa + mantissa.signum() * power / 2) / power;
    }
    i32::try_from(mantissa).ok().filter(|value| value.abs() <= most * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_exact() {
        assert_eq!(degrees("121.102350", 180), Some(121_102_350));
        assert_eq!(degrees("-0.0000005", 180), Some(-1));
        assert_eq!(degrees("31", 90), Some(31_000_000));
        assert_eq!(degrees("90.000001", 90), None);
        assert_eq!(degrees("1e2", 180), None);
        assert_eq!(degrees("", 180), None);
        assert_eq!(degrees("nan", 180), None);
    }
}
