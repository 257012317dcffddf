//! A YAML file as a tree with lines, and a reader that lists every problem instead of the first one.
//!
//! Owns the rule that a key nobody asked for is an error. It refuses to know the thing model.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::ids::{Hasher, Id};
use crate::problem::{Problem, Severity};

/// A value and its line.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Line, from 1.
    pub(crate) line: u32,
    /// The value.
    pub(crate) data: Data,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// Empty or `null`.
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; keys as text with their line.
    Map(Vec<(String, u32, Node)>),
}

impl Node {
    /// Reads a file; the problem says where it is no YAML.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, Problem> {
        serde_saphyr::from_str::<Spanned<Data>>(text).map(Self::from).map_err(|error| Problem {
            severity: Severity::Error,
            code: "YAML",
            file: String::from(file),
            line: error.location().map_or(0, |location| location.line() as u32),
            message: format!("not readable as YAML: {}", first_line(&error.to_string())),
            remedy: String::from("correct the syntax; a key may stand only once in a mapping"),
        })
    }

    /// What it is, for messages.
    pub(crate) fn found(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Int(_) | Data::Float(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    /// A scalar as it would be written; `None` for lists and mappings.
    pub(crate) fn scalar(&self) -> Option<String> {
        Some(match &self.data {
            Data::Bool(value) => value.to_string(),
            Data::Int(value) => value.to_string(),
            Data::Float(value) => value.to_string(),
            Data::Text(value) => value.clone(),
            Data::Null | Data::List(_) | Data::Map(_) => return None,
        })
    }

    /// The entry of a mapping.
    pub(crate) fn entry(&self, key: &str) -> Option<&Self> {
        match &self.data {
            Data::Map(entries) => {
                entries.iter().find(|(name, _, _)| name == key).map(|(_, _, node)| node)
            }
            _ => None,
        }
    }

    /// Id of the canonical content: keys sorted, lines and comments left out.
    pub(crate) fn digest(&self) -> Id {
        let hasher = Hasher::new();
        match &self.data {
            Data::Null => hasher.text("null"),
            Data::Bool(value) => hasher.text("bool").text(&value.to_string()),
            Data::Int(value) => hasher.text("number").text(&value.to_string()),
            Data::Float(value) => hasher.text("number").text(&value.to_string()),
            Data::Text(value) => hasher.text("text").text(value),
            Data::List(items) => {
                items.iter().fold(hasher.text("list"), |hasher, item| hasher.id(item.digest()))
            }
            Data::Map(entries) => {
                let mut entries: Vec<_> =
                    entries.iter().map(|(key, _, node)| (key, node.digest())).collect();
                entries.sort();
                entries
                    .into_iter()
                    .fold(hasher.text("map"), |hasher, (key, id)| hasher.text(key).id(id))
            }
        }
        .finish()
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl From<Spanned<Data>> for Node {
    fn from(spanned: Spanned<Data>) -> Self {
        Self { line: spanned.referenced.line() as u32, data: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
        Data::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Data, E> {
        Ok(Data::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Data, E> {
        Ok(Data::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Data, E> {
        Ok(i64::try_from(value).map_or(Data::Float(value as f64), Data::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Data, E> {
        Ok(Data::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Data, E> {
        Ok(Data::Text(String::from(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Data, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Data>>()? {
            list.push(item.into());
        }
        Ok(Data::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Data, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<Data>, Spanned<Data>>()? {
            let key = Node::from(key);
            let name = key.scalar().ok_or_else(|| {
                serde::de::Error::custom("a key must be text or a number, not a list or a mapping")
            })?;
            map.push((name, key.line, value.into()));
        }
        Ok(Data::Map(map))
    }
}

/// Problems of one file, as they are found.
pub(crate) struct Report<'f> {
    file: &'f str,
    /// Found so far.
    pub(crate) problems: Vec<Problem>,
    /// Whether the product takes native bodies, whose names no property may have.
    pub(crate) takes_native: bool,
}

impl<'f> Report<'f> {
    /// Without a problem yet.
    pub(crate) fn new(file: &'f str) -> Self {
        Self { file, problems: Vec::new(), takes_native: true }
    }

    /// Adds an error.
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        line: u32,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let file = String::from(self.file);
        let (severity, message, remedy) = (Severity::Error, message.into(), remedy.into());
        self.problems.push(Problem { severity, code, file, line, message, remedy });
    }

    /// A value that cannot be what it should be.
    pub(crate) fn bad(&mut self, path: &str, node: &Node, expected: &str) {
        let found = match node.scalar() {
            Some(text) => format!("`{text}`"),
            None => String::from(node.found()),
        };
        self.error(
            "BAD_VALUE",
            node.line,
            format!("{path} cannot be {found}"),
            format!("write {expected}"),
        );
    }

    /// Whether an error was found.
    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

/// A mapping being read: what is asked for is known, the rest is reported at [`Section::finish`].
pub(crate) struct Section<'n> {
    /// Line of the mapping.
    pub(crate) line: u32,
    /// Where it stands, for messages.
    pub(crate) path: String,
    entries: &'n [(String, u32, Node)],
    asked: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// Opens a mapping; anything else is reported and read as an empty one.
    pub(crate) fn open(report: &mut Report<'_>, node: &'n Node, path: &str) -> Self {
        let entries = match &node.data {
            Data::Map(entries) => entries.as_slice(),
            _ => {
                report.bad(path, node, "a mapping");
                &[]
            }
        };
        Self { line: node.line, path: String::from(path), entries, asked: Vec::new() }
    }

    /// An empty one, for a section that the file leaves out.
    pub(crate) fn absent(path: &str) -> Self {
        Self { line: 0, path: String::from(path), entries: &[], asked: Vec::new() }
    }

    /// Opens an entry that is a mapping, or an empty one.
    pub(crate) fn section(&mut self, report: &mut Report<'_>, key: &'static str) -> Self {
        let path = self.at(key);
        match self.get(key) {
            Some(node) => Self::open(report, node, &path),
            None => Self::absent(&path),
        }
    }

    /// Path of an entry.
    pub(crate) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { String::from(key) } else { format!("{}.{key}", self.path) }
    }

    /// An entry; `null` counts as absent.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|(name, _, _)| name == key);
        entry.map(|(_, _, node)| node).filter(|node| !matches!(node.data, Data::Null))
    }

    /// An entry that must be there.
    pub(crate) fn require(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
    ) -> Option<&'n Node> {
        let node = self.get(key);
        if node.is_none() {
            let path = self.at(key);
            report.error(
                "MISSING_KEY",
                self.line,
                format!("{path} is missing"),
                format!("add `{key}:`"),
            );
        }
        node
    }

    /// An entry read by `read`, which answers what it should be when it is not.
    pub(crate) fn read<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.get(key)?;
        let value = read(node);
        if value.is_none() {
            report.bad(&self.at(key), node, expected);
        }
        value
    }

    /// Text, which must be there.
    pub(crate) fn text(&mut self, report: &mut Report<'_>, key: &'static str) -> String {
        if self.require(report, key).is_none() {
            return String::new();
        }
        self.read(report, key, "text", Node::scalar).unwrap_or_default()
    }

    /// true or false.
    pub(crate) fn truth(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<bool> {
        self.read(report, key, "true or false", |node| match node.data {
            Data::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// A duration in ms, e.g. `10m`.
    pub(crate) fn duration(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<i64> {
        self.read(report, key, "a duration such as 500ms, 30s, 10m, 6h, 1d or 5y", duration)
    }

    /// A finite number.
    pub(crate) fn number(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<f64> {
        self.read(report, key, "a number", number)
    }

    /// A count of at least 1.
    pub(crate) fn count(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<u32> {
        self.read(report, key, "a whole number of at least 1", |node| match node.data {
            Data::Int(value) => u32::try_from(value).ok().filter(|value| *value > 0),
            _ => None,
        })
    }

    /// The items of a list; an absent one is empty.
    pub(crate) fn list(&mut self, report: &mut Report<'_>, key: &'static str) -> &'n [Node] {
        match self.get(key) {
            Some(Node { data: Data::List(items), .. }) => items,
            Some(node) => {
                report.bad(&self.at(key), node, "a list");
                &[]
            }
            None => &[],
        }
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self, report: &mut Report<'_>) {
        let stray = self.entries.iter().filter(|(key, _, _)| !self.asked.contains(&key.as_str()));
        for (key, line, _) in stray {
            let mut known = self.asked.clone();
            known.sort_unstable();
            known.dedup();
            report.error(
                "UNKNOWN_KEY",
                *line,
                format!("{} is not known", self.at(key)),
                format!("remove it or write one of: {}", known.join(", ")),
            );
        }
    }
}

/// A duration in ms.
pub(crate) fn duration(node: &Node) -> Option<i64> {
    match &node.data {
        Data::Text(text) => duration_text(text),
        _ => None,
    }
}

/// A duration in ms, e.g. `10m`.
pub(crate) fn duration_text(text: &str) -> Option<i64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(split);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        "y" => 365 * 86_400_000,
        _ => return None,
    };
    count.parse::<i64>().ok()?.checked_mul(unit)
}

/// A finite number.
pub(crate) fn number(node: &Node) -> Option<f64> {
    match node.data {
        Data::Int(value) => Some(value as f64),
        Data::Float(value) => Some(value).filter(|value| value.is_finite()),
        _ => None,
    }
}
