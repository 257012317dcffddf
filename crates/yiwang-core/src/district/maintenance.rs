//! `maintenance.yaml`: windows of maintenance, as far as the district alone can tell what is wrong with them. A district
//! without the file has none; past windows may stay.

use std::collections::HashSet;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::files::{self, At, FileSet, Findings, MAINTENANCE};
use super::tree::Tree;
use crate::calendar;
use crate::maintenance::{Covers, Span, Window};
use crate::record::Millis;

/// Most windows of a district.
pub const WINDOWS_MAX: usize = 256;
/// Most characters of a name.
const NAME_CHARS_MAX: usize = 64;

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    windows: Vec<RawWindow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    name: Text,
    #[serde(default)]
    device: Vec<Text>,
    #[serde(default)]
    product: Vec<Text>,
    #[serde(default)]
    area: Vec<Text>,
    #[serde(default)]
    tag: Vec<Text>,
    from: Text,
    to: Text,
    reason: Text,
}

/// Reads the file; products and devices are looked up where they are known.
pub(super) fn read(
    files: &FileSet,
    tree: &Tree,
    zone: &TimeZone,
    found: &mut Findings,
) -> Vec<Window> {
    if !files.contains_key(MAINTENANCE) {
        return Vec::new();
    }
    // A file that says nothing but comments is no mapping.
    let raw = files::yaml::<Option<RawFile>>(files, MAINTENANCE, found).flatten();
    let raw = raw.map_or_else(Vec::new, |raw| raw.windows);
    if let Some(first) = raw.get(WINDOWS_MAX) {
        let message = format!("more than {WINDOWS_MAX} windows");
        found.error(at(&first.name), "LIMIT", message, "remove those that are over");
        return Vec::new();
    }
    let mut reader = Reader { tree, zone, found, names: HashSet::new() };
    raw.iter().filter_map(|raw| reader.window(raw)).collect()
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(MAINTENANCE, value)
}

fn with_line(text: &Text) -> (Box<str>, u32) {
    (text.value.as_str().into(), at(text).line)
}

struct Reader<'a, 'r> {
    tree: &'a Tree,
    zone: &'a TimeZone,
    found: &'a mut Findings,
    names: HashSet<&'r str>,
}

impl<'r> Reader<'_, 'r> {
    fn window(&mut self, raw: &'r RawWindow) -> Option<Window> {
        let name = raw.name.value.as_str();
        if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
            let remedy = format!("write 1 to {NAME_CHARS_MAX} characters");
            self.found.error(at(&raw.name), "NAME_INVALID", format!("`{name}` is no name"), remedy);
        }
        if !self.names.insert(name) {
            let message = format!("window {name} stands above already");
            self.found.error(at(&raw.name), "ID_DUPLICATE", message, "rename one of the two");
        }
        if raw.reason.value.trim().is_empty() {
            let message = format!("window {name} has no reason");
            self.found.error(at(&raw.reason), "BAD_VALUE", message, "say what is done and by whom");
        }
        let covers = self.covers(raw);
        let (from, to) = (self.instant(&raw.from)?, self.instant(&raw.to)?);
        if to <= from {
            let message = format!("window {name} ends before it begins");
            self.found.error(at(&raw.to), "BAD_VALUE", message, "let `to` come after `from`");
        }
        Some(Window {
            name: name.into(),
            reason: raw.reason.value.as_str().into(),
            span: Span { from, to },
            covers,
            line: at(&raw.name).line,
        })
    }

    fn instant(&mut self, text: &Text) -> Option<Millis> {
        let instant = calendar::instant(&text.value, self.zone);
        if instant.is_none() {
            let message = format!("`{}` is no instant", text.value);
            let remedy = "write an RFC 3339 instant such as 2026-12-01T08:00:00+08:00";
            self.found.error(at(text), "BAD_VALUE", message, remedy);
        }
        instant
    }

    fn covers(&mut self, raw: &RawWindow) -> Covers {
        let RawWindow { name, device, product, area, tag, .. } = raw;
        if [device, product, area, tag].iter().all(|list| list.is_empty()) {
            let message = format!("window {} would cover the whole district", name.value);
            let remedy =
                "state device, product, area or tag; the root of the tree if all are meant";
            self.found.error(at(name), "COVERS_EMPTY", message, remedy);
        }
        let mut covers = Covers {
            devices: device.iter().map(with_line).collect(),
            products: product.iter().map(with_line).collect(),
            ..Covers::default()
        };
        for area in area {
            match self.tree.get(&area.value).filter(|unit| unit.tier().is_some()) {
                Some(unit) => covers.areas.push(unit.id.clone()),
                None => {
                    let message = format!("{} is no unit of the tree", area.value);
                    self.found.error(at(area), "UNKNOWN_UNIT", message, "name a unit of units.tsv");
                }
            }
        }
        for tag in tag {
            match tag.value.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    covers.tags.push((name.into(), value.into()));
                }
                _ => {
                    let message = format!("`{}` is no tag", tag.value);
                    self.found.error(at(tag), "BAD_VALUE", message, "write name=value");
                }
            }
        }
        covers
    }
}
