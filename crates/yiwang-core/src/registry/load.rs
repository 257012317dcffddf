//! From the texts of product files and device lists to a [`Registry`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::row::{COLUMNS, Context, Finding, REQUIRED, Reader, Row, Unknown};
use super::{Device, DeviceNo, Extra, GATEWAYS_MAX, Registry};
use crate::district::files::Findings;
use crate::district::{AreaPath, District, FileSet, UnitId};
use crate::ids::{Hasher, Id};
use crate::maintenance::SetNo;
use crate::problem::{Problem, Severity};
use crate::thing::Product;

/// Files of products that are there and refused, by key.
type Refused = BTreeMap<String, String>;

/// See [`Registry::load`].
pub(super) fn load(files: &FileSet, district: Arc<District>) -> (Option<Registry>, Vec<Problem>) {
    let mut problems = Vec::new();
    let (products, refused) = load_products(files, &district, &mut problems);
    let mut rows = Vec::new();
    let mut unloaded = HashSet::new();
    for (file, text) in files.iter().filter(|(file, _)| file.ends_with(".csv")) {
        let unknown = load_rows(file, text, &products, &district, &mut rows, &mut problems);
        let told = unknown.iter().map(|(key, at)| unknown_product(file, key, *at, &refused));
        problems.extend(told);
        unloaded.extend(unknown.into_keys());
    }
    check_unique(&mut rows, &unloaded, &mut problems);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return (None, problems);
    }
    rows.sort_by(|a, b| a.row.key.cmp(&b.row.key));
    let epoch = epoch(&products, &rows, &district);
    let mut builder = Builder::new(&products, &district);
    for placed in rows {
        builder.add(placed.row);
    }
    let Builder { devices, secrets, .. } = builder;
    let mut found = Findings::default();
    let mut registry = Registry::new(epoch, Some(district.clone()), products, devices, secrets);
    registry.maintain(district.maintenance(), &mut found);
    let whole = !found.has_errors();
    problems.extend(found.problems);
    (whole.then_some(registry), problems)
}

fn load_products(
    files: &FileSet,
    district: &District,
    problems: &mut Vec<Problem>,
) -> (Vec<Arc<Product>>, Refused) {
    let mut products: Vec<Arc<Product>> = Vec::new();
    let mut refused = Refused::new();
    for (file, text) in files.iter().filter(|(file, _)| file.ends_with(".thing.yaml")) {
        let (product, found) = Product::load(file, text);
        problems.extend(found);
        let Some(product) = product else {
            refused.insert(key_of(file, text), file.clone());
            continue;
        };
        check_categories(&product, district, problems);
        if let Some(other) = products.iter().find(|other| other.key == product.key) {
            problems.push(Problem {
                severity: Severity::Error,
                code: "DUPLICATE",
                file: file.clone(),
                line: 0,
                message: format!("product `{}` is also in `{}`", product.key, other.file),
                remedy: String::from("remove one of the files"),
            });
        }
        products.push(Arc::new(product));
    }
    products.sort_by(|a, b| a.key.cmp(&b.key));
    (products, refused)
}

/// The key of a product whose file is refused: the one it says, else that of its name.
fn key_of(file: &str, text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct File {
        profile: Profile,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Profile {
        product_key: String,
    }
    match serde_saphyr::from_str::<File>(text) {
        Ok(file) => file.profile.product_key,
        Err(_) => String::from(file.trim_end_matches(".thing.yaml")),
    }
}

/// One finding for all rows of a list, however many: the mistake is one.
fn unknown_product(
    file: &str,
    key: &str,
    (line, count): (u32, usize),
    refused: &Refused,
) -> Problem {
    let rows = if count == 1 { "1 row" } else { &format!("{count} rows") };
    let (why, remedy) = match refused.get(key) {
        Some(of) => (format!("its file {of} has errors"), format!("correct {of}")),
        None => ("it is not loaded".into(), "add its file, or correct product_key".into()),
    };
    Problem {
        severity: Severity::Error,
        code: "UNKNOWN_PRODUCT",
        file: String::from(file),
        line,
        message: format!("product `{key}` of {rows} from here on: {why}"),
        remedy,
    }
}

/// Every signal must have a category that the district knows.
fn check_categories(product: &Product, district: &District, problems: &mut Vec<Problem>) {
    let alarms =
        product.alarms.iter().map(|alarm| (&*alarm.category, alarm.category_line, &*alarm.id));
    let events = product
        .events
        .iter()
        .filter_map(|event| Some((event.category.as_deref()?, event.line, &*event.identifier)));
    for (category, line, name) in alarms.chain(events) {
        if district.category(category).is_none() {
            problems.push(Problem {
                severity: Severity::Error,
                code: "UNKNOWN_CATEGORY",
                file: product.file.clone(),
                line,
                message: format!("`{name}`: category `{category}` is not in the list"),
                remedy: String::from("use a code of categories.yaml, or add it there"),
            });
        }
    }
}

/// A row and where it stands.
struct Placed {
    row: Row,
    file: String,
    line: u32,
}

fn load_rows(
    file: &str,
    text: &str,
    products: &[Arc<Product>],
    district: &District,
    rows: &mut Vec<Placed>,
    problems: &mut Vec<Problem>,
) -> Unknown {
    let mut unknown = Unknown::new();
    let problem = |line: u32, finding: Finding| Problem {
        severity: finding.severity,
        code: finding.code,
        file: String::from(file),
        line,
        message: finding.message,
        remedy: String::from(finding.remedy),
    };
    // A byte order mark is what spreadsheets write; it is no part of the first column's name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(text.as_bytes());
    let mut findings = Vec::new();
    let columns = match reader.headers() {
        Ok(headers) => columns(headers, &mut findings),
        Err(error) => {
            findings.push(unreadable(&error));
            None
        }
    };
    problems.extend(findings.drain(..).map(|finding| problem(1, finding)));
    let Some(columns) = columns else { return unknown };
    let context = Context { products, district, columns };
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return unknown,
            Ok(true) => {
                let line = record.position().map_or(0, |position| position.line() as u32);
                let reader = Reader::new(&context, &record, &mut findings, &mut unknown);
                if let Some(row) = reader.read() {
                    rows.push(Placed { row, file: String::from(file), line });
                }
                problems.extend(findings.drain(..).map(|finding| problem(line, finding)));
            }
            Err(error) => {
                let line = error.position().map_or(0, |position| position.line() as u32);
                problems.push(problem(line, unreadable(&error)));
            }
        }
    }
}

fn unreadable(error: &csv::Error) -> Finding {
    Finding {
        severity: Severity::Error,
        code: "CSV",
        message: format!("not readable as CSV: {error}"),
        remedy: "write UTF-8 by RFC 4180, as many cells in each row as in the header",
    }
}

/// The place of each column; `None` where a required one is missing.
fn columns(
    headers: &csv::StringRecord,
    findings: &mut Vec<Finding>,
) -> Option<[Option<usize>; COLUMNS.len()]> {
    let mut columns = [None; COLUMNS.len()];
    let mut error = |code, message, remedy| {
        findings.push(Finding { severity: Severity::Error, code, message, remedy });
    };
    for (at, name) in headers.iter().enumerate() {
        match COLUMNS.iter().position(|column| *column == name.trim()) {
            Some(index) if columns[index].is_none() => columns[index] = Some(at),
            Some(_) => error("DUPLICATE", format!("column `{name}` stands twice"), "remove one"),
            None => {
                error("UNKNOWN_COLUMN", format!("column `{name}` is not known"), "remove it");
            }
        }
    }
    let mut whole = true;
    for (index, name) in COLUMNS.iter().enumerate().take(REQUIRED) {
        if columns[index].is_none() {
            whole = false;
            error("MISSING_COLUMN", format!("column `{name}` is missing"), "add it");
        }
    }
    whole.then_some(columns)
}

/// Keys and aliases are unique over all files, the first row stays; gateways are devices. Those of products that are
/// `unloaded` are no finding of their own.
fn check_unique(rows: &mut Vec<Placed>, unloaded: &HashSet<String>, problems: &mut Vec<Problem>) {
    let mut error = |placed: &Placed, code, message, remedy: &str| {
        problems.push(Problem {
            severity: Severity::Error,
            code,
            file: placed.file.clone(),
            line: placed.line,
            message,
            remedy: String::from(remedy),
        });
    };
    let mut keys: HashSet<Box<str>> = HashSet::with_capacity(rows.len());
    let mut aliases: HashSet<Box<str>> = HashSet::new();
    rows.retain(|placed| {
        let key = &placed.row.key;
        if !keys.insert(key.clone()) {
            let message = format!("device `{key}` stands twice");
            error(placed, "DUPLICATE_ROW", message, "remove one of the rows");
            return false;
        }
        let alias = placed.row.extra.as_ref().and_then(|extra| extra.alias.clone());
        if let Some(alias) = alias
            && !aliases.insert(alias.clone())
        {
            let message = format!("alias `{alias}` is taken by another device");
            error(placed, "ALIAS_TAKEN", message, "give each device its own alias");
        }
        true
    });
    for placed in rows.iter() {
        let is_unloaded =
            |key: &str| key.split_once('/').is_some_and(|(product, _)| unloaded.contains(product));
        let wrong = |key: &&str| !keys.contains(*key) && !is_unloaded(key);
        if let Some(gateway) = gateway(&placed.row).filter(wrong) {
            let message = format!("gateway `{gateway}` is no device");
            error(
                placed,
                "UNKNOWN_GATEWAY",
                message,
                "write the key `pk/dn` of a device in a list",
            );
        }
    }
    let through: HashMap<&str, &str> = rows.iter().filter_map(through).collect();
    for placed in rows.iter() {
        let mut key = &*placed.row.key;
        let ends = (0..=GATEWAYS_MAX).any(|_| through.get(key).map(|next| key = next).is_none());
        if !ends {
            let message = format!(
                "`{}` speaks through more than {GATEWAYS_MAX} gateways, or in a circle",
                placed.row.key
            );
            error(placed, "GATEWAY_LOOP", message, "end the chain at a device that has no gateway");
        }
    }
}

/// A device and its gateway device.
fn through(placed: &Placed) -> Option<(&str, &str)> {
    Some((&placed.row.key, gateway(&placed.row)?))
}

/// The gateway device of a row.
fn gateway(row: &Row) -> Option<&str> {
    row.extra.as_ref()?.gateway.as_deref()
}

/// Hash of what decides about routing. Secrets are no part of it.
fn epoch(products: &[Arc<Product>], rows: &[Placed], district: &District) -> Id {
    let mut hasher = Hasher::new().text("registry/1").id(district.digest());
    for product in products {
        hasher = hasher.text(&product.key).id(product.digest);
    }
    for Placed { row, .. } in rows {
        hasher = hasher.id(row_digest(row));
    }
    hasher.finish()
}

fn row_digest(row: &Row) -> Id {
    let text = |part: &Option<Box<str>>| -> String { part.as_deref().unwrap_or_default().into() };
    let mut hasher = Hasher::new().text(&row.key).text(&row.unit).text(row.lifecycle.as_str());
    hasher = hasher.text(&text(&row.name)).text(&text(&row.asset));
    let (lon, lat) = row
        .point
        .map_or((i64::MIN, i64::MIN), |point| (i64::from(point.lon_e6), i64::from(point.lat_e6)));
    hasher = hasher.int(lon).int(lat).int(row.expect_every.unwrap_or_default());
    for (index, value) in &row.attrs {
        hasher = hasher.int(i64::from(*index)).bytes(&value.to_bits().to_be_bytes());
    }
    if let Some(extra) = &row.extra {
        hasher = hasher.id(extra_digest(extra));
    }
    hasher.finish()
}

fn extra_digest(extra: &Extra) -> Id {
    let Extra {
        owner_unit,
        maintainer_unit,
        contract_until,
        gateway,
        alias,
        model_version,
        address,
        password_ref,
        tags,
    } = extra;
    let mut hasher = Hasher::new();
    for unit in [owner_unit, maintainer_unit] {
        hasher = hasher.text(unit.as_deref().unwrap_or_default());
    }
    for part in [contract_until, gateway, alias, model_version, address, password_ref] {
        hasher = hasher.text(part.as_deref().unwrap_or_default());
    }
    for (name, value) in tags {
        hasher = hasher.text(name).text(value);
    }
    hasher.finish()
}

/// Devices being made; area paths and default attributes are shared.
struct Builder<'a> {
    district: &'a District,
    places: HashMap<UnitId, Arc<AreaPath>>,
    defaults: Vec<Arc<[Option<f64>]>>,
    devices: Vec<Device>,
    secrets: Vec<(DeviceNo, super::Secret)>,
}

impl<'a> Builder<'a> {
    fn new(products: &[Arc<Product>], district: &'a District) -> Self {
        let defaults = products
            .iter()
            .map(|product| product.attributes.iter().map(|attribute| attribute.default).collect())
            .collect();
        let places = HashMap::new();
        Self { district, places, defaults, devices: Vec::new(), secrets: Vec::new() }
    }

    fn add(&mut self, row: Row) {
        let Some(place) = self.place(&row.unit) else { return };
        let number = DeviceNo(self.devices.len() as u32);
        self.secrets.extend(row.secret.map(|secret| (number, secret)));
        let defaults = &self.defaults[usize::from(row.product)];
        let attrs = if row.attrs.is_empty() {
            Arc::clone(defaults)
        } else {
            let mut own = defaults.to_vec();
            for (index, value) in &row.attrs {
                own[usize::from(*index)] = Some(*value);
            }
            own.into()
        };
        self.devices.push(Device {
            key: row.key,
            product: row.product,
            lifecycle: row.lifecycle,
            windows: SetNo::default(),
            name: row.name,
            asset: row.asset,
            place,
            point: row.point,
            attrs,
            secret: None,
            expect_every: row.expect_every,
            extra: row.extra,
        });
    }

    fn place(&mut self, unit: &UnitId) -> Option<Arc<AreaPath>> {
        if let Some(place) = self.places.get(unit) {
            return Some(Arc::clone(place));
        }
        let place = Arc::new(self.district.path(unit)?);
        self.places.insert(unit.clone(), Arc::clone(&place));
        Some(place)
    }
}
