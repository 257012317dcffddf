//! The category list: versioned data, never an enum (incidents, section 17).
//!
//! An incident keeps the list and version it was opened under. A retired code takes no new incidents but stays
//! readable; `replaced_by` maps trends.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::district::files::{self, At, CATEGORIES, FileSet, Findings};

/// Part, event or emergency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CategoryKind {
    /// 部件: a fixed asset.
    Part,
    /// 事件: an occurrence.
    Event,
    /// 突发事件
    Emergency,
}

impl CategoryKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Part, Self::Event, Self::Emergency];

    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Part => "part",
            Self::Event => "event",
            Self::Emergency => "emergency",
        }
    }
}

/// Who may read it (security, section 8), from all to few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// 公开
    Public,
    /// 内部
    Internal,
    /// 个人信息
    Personal,
    /// 敏感个人信息
    Sensitive,
}

impl Grade {
    /// All grades, from public to sensitive.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Personal, Self::Sensitive];

    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Personal => "personal",
            Self::Sensitive => "sensitive",
        }
    }
}

/// One entry of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Category {
    /// Dotted code.
    pub code: Arc<str>,
    /// Name for people.
    pub name: String,
    /// Part, event or emergency.
    pub kind: CategoryKind,
    /// 联勤联动事项
    pub joint_duty: bool,
    /// Grade of what it tells about people.
    pub grade: Grade,
    /// Codes in other lists, by the list's name.
    pub external: BTreeMap<String, String>,
    /// Takes no new incidents.
    pub retired: bool,
    /// The code that took its place.
    pub replaced_by: Option<Arc<str>>,
    /// Line in categories.yaml.
    pub(crate) line: u32,
}

/// The list of one version.
#[derive(Clone, Debug, Default)]
pub struct CategoryList {
    /// `id@version`.
    pub version: Arc<str>,
    /// Local date since which it holds, `YYYY-MM-DD`.
    pub valid_from: String,
    /// What it is, for people.
    pub note: String,
    categories: Vec<Category>,
    groups: BTreeMap<String, String>,
    by_code: HashMap<Arc<str>, u32, foldhash::fast::FixedState>,
}

impl CategoryList {
    /// Every category in the order of the file.
    #[must_use]
    pub fn all(&self) -> &[Category] {
        &self.categories
    }

    /// The category with this code.
    #[must_use]
    pub fn get(&self, code: &str) -> Option<&Category> {
        self.index(code).map(|index| &self.categories[index])
    }

    /// Name of a branch of the list.
    #[must_use]
    pub fn group(&self, code: &str) -> Option<&str> {
        self.groups.get(code).map(String::as_str)
    }

    /// Number of the category in [`CategoryList::all`].
    pub(crate) fn index(&self, code: &str) -> Option<usize> {
        self.by_code.get(code).map(|index| *index as usize)
    }

    /// Whether a prefix names a branch or an entry.
    pub(crate) fn has_prefix(&self, prefix: &str) -> bool {
        self.groups.contains_key(prefix) || self.by_code.contains_key(prefix)
    }
}

/// Whether a code is this prefix or below it, by dotted segment: `flood.road` is below `flood`.
#[must_use]
pub fn is_below(code: &str, prefix: &str) -> bool {
    code.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    list: RawList,
    #[serde(default)]
    groups: Vec<RawGroup>,
    categories: Vec<RawCategory>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    id: String,
    version: String,
    valid_from: Spanned<String>,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    code: Spanned<String>,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCategory {
    code: Spanned<String>,
    name: String,
    kind: Spanned<String>,
    joint_duty: bool,
    grade: Spanned<String>,
    #[serde(default)]
    external: BTreeMap<String, Option<String>>,
    #[serde(default)]
    retired: bool,
    #[serde(default)]
    replaced_by: Option<Spanned<String>>,
}

/// Reads categories.yaml.
pub(crate) fn read(files: &FileSet, found: &mut Findings) -> CategoryList {
    let mut list = CategoryList::default();
    let Some(raw) = files::yaml::<RawFile>(files, CATEGORIES, found) else { return list };
    list.version = format!("{}@{}", raw.list.id, raw.list.version).into();
    list.note = raw.list.note;
    if raw.list.valid_from.value.parse::<jiff::civil::Date>().is_err() {
        let message = format!("`{}` is not a date", raw.list.valid_from.value);
        found.error(at(&raw.list.valid_from), "BAD_VALUE", message, "write YYYY-MM-DD");
    }
    list.valid_from = raw.list.valid_from.value;
    for RawGroup { code, name } in raw.groups {
        check_code(&code, found);
        let at = at(&code);
        if list.groups.insert(code.value, name).is_some() {
            let remedy = "remove one of the two";
            found.error(at, "CATEGORY_DUPLICATE", "the group stands above already", remedy);
        }
    }
    let mut replaced = Vec::new();
    for raw in raw.categories {
        check_code(&raw.code, found);
        let place = at(&raw.code);
        let Some(category) = category(raw, &mut replaced, found) else { continue };
        if list.has_prefix(&category.code) {
            let message = format!("category {} stands above already", category.code);
            found.error(place, "CATEGORY_DUPLICATE", message, "remove one of the two");
            continue;
        }
        list.by_code.insert(category.code.clone(), list.categories.len() as u32);
        list.categories.push(category);
    }
    check_parents(&list, found);
    for code in replaced {
        if list.get(&code.value).is_none() {
            let message = format!("replaced by {}, which is not in the list", code.value);
            found.error(at(&code), "CATEGORY_UNKNOWN", message, "name a category of this list");
        }
    }
    list
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(CATEGORIES, value)
}

fn category(
    raw: RawCategory,
    replaced: &mut Vec<Spanned<String>>,
    found: &mut Findings,
) -> Option<Category> {
    let kind = CategoryKind::ALL.into_iter().find(|kind| kind.as_str() == raw.kind.value);
    if kind.is_none() {
        let message = format!("unknown kind `{}`", raw.kind.value);
        found.error(at(&raw.kind), "BAD_VALUE", message, "write part, event or emergency");
    }
    let grade = Grade::ALL.into_iter().find(|grade| grade.as_str() == raw.grade.value);
    if grade.is_none() {
        let message = format!("unknown grade `{}`", raw.grade.value);
        let remedy = "write public, internal, personal or sensitive";
        found.error(at(&raw.grade), "BAD_VALUE", message, remedy);
    }
    let line = at(&raw.code).line;
    let replaced_by = raw.replaced_by.as_ref().map(|code| Arc::from(code.value.as_str()));
    replaced.extend(raw.replaced_by);
    Some(Category {
        code: raw.code.value.into(),
        name: raw.name,
        kind: kind?,
        joint_duty: raw.joint_duty,
        grade: grade?,
        external: raw.external.into_iter().filter_map(|(k, v)| Some((k, v?))).collect(),
        retired: raw.retired || replaced_by.is_some(),
        replaced_by,
        line,
    })
}

fn check_code(code: &Spanned<String>, found: &mut Findings) {
    let segment = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_lowercase())
            && segment.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if !code.value.split('.').all(segment) {
        let message = format!("`{}` is not a dotted code", code.value);
        let remedy = "write lower-case words joined by dots, e.g. flood.road";
        found.error(at(code), "BAD_VALUE", message, remedy);
    }
}

fn check_parents(list: &CategoryList, found: &mut Findings) {
    for category in &list.categories {
        let Some((parent, _)) = category.code.rsplit_once('.') else { continue };
        if !list.has_prefix(parent) {
            let at = At { file: CATEGORIES, line: category.line };
            let message = format!("the parent {parent} of {} is missing", category.code);
            found.error(at, "CATEGORY_PARENT", message, format!("add {parent} to groups"));
        }
    }
}
