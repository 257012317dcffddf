//! Reading the district's files: tables of tab-separated values, YAML, and the list of everything that is wrong.
//!
//! Invariant: every finding has its file and line. A table is UTF-8 with LF, a header and no quoting, so that one
//! record is one line; unknown columns and keys are errors.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use crate::problem::{Problem, Severity};

/// File name to text: the content of one folder. Reading the folder is the program's business.
pub type FileSet = BTreeMap<String, String>;

pub(crate) const DISTRICT: &str = "district.yaml";
pub(crate) const COMMITTEES: &str = "committees.tsv";
pub(crate) const UNITS: &str = "units.tsv";
pub(crate) const DEPARTMENTS: &str = "departments.tsv";
pub(crate) const SEATS: &str = "seats.tsv";
pub(crate) const DUTY: &str = "duty.yaml";
pub(crate) const CALENDARS: &str = "calendars.yaml";
pub(crate) const CATEGORIES: &str = "categories.yaml";
pub(crate) const POLICIES: &str = "policies.yaml";
pub(crate) const AREAS: &str = "areas.yaml";
pub(crate) const ASSETS: &str = "assets.tsv";
pub(crate) const TERMS: &str = "terms.yaml";
pub(crate) const ROUTES: &str = "routes.yaml";
pub(crate) const TENANTS: &str = "tenants.yaml";
pub(crate) const STORMS: &str = "storms.yaml";
pub(crate) const MAINTENANCE: &str = "maintenance.yaml";

/// Every file that a district may have beside the layers that areas.yaml names.
pub(crate) const KNOWN: [&str; 16] = [
    DISTRICT,
    COMMITTEES,
    UNITS,
    DEPARTMENTS,
    SEATS,
    DUTY,
    CALENDARS,
    CATEGORIES,
    POLICIES,
    AREAS,
    ASSETS,
    TERMS,
    ROUTES,
    TENANTS,
    STORMS,
    MAINTENANCE,
];

/// A place in a file; line 0 means the file as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// The place of a YAML value.
pub(crate) fn at<T>(file: &'static str, value: &Spanned<T>) -> At {
    At { file, line: u32::try_from(value.referenced.line()).unwrap_or(0) }
}

/// Everything found so far.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
}

impl Findings {
    pub(crate) fn error(
        &mut self,
        at: At,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, at, code, message.into(), remedy.into());
    }

    pub(crate) fn warning(
        &mut self,
        at: At,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, at, code, message.into(), remedy.into());
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    fn add(
        &mut self,
        severity: Severity,
        at: At,
        code: &'static str,
        message: String,
        remedy: String,
    ) {
        let At { file, line } = at;
        self.problems.push(Problem {
            severity,
            code,
            file: file.to_owned(),
            line,
            message,
            remedy,
        });
    }
}

/// Parses a YAML file; a missing file, a syntax error, an unknown key or a wrong type is one finding.
pub(crate) fn yaml<T: DeserializeOwned>(
    files: &FileSet,
    file: &'static str,
    found: &mut Findings,
) -> Option<T> {
    let Some(text) = files.get(file) else {
        let remedy = "add the file; every district has it";
        found.error(At { file, line: 0 }, "FILE_MISSING", "the file is missing", remedy);
        return None;
    };
    match serde_saphyr::from_str(text) {
        Ok(value) => Some(value),
        Err(error) => {
            let line = error.location().map_or(0, |location| location.line());
            let at = At { file, line: u32::try_from(line).unwrap_or(0) };
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or("not readable").to_owned();
            found.error(at, "YAML_INVALID", message, "correct the key or value on this line");
            None
        }
    }
}

/// One record of a table, its cells in the order of the wanted columns.
pub(crate) struct Row<'a> {
    pub(crate) at: At,
    cells: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// A cell; empty when absent.
    pub(crate) fn text(&self, column: usize) -> &'a str {
        self.cells[column]
    }

    /// A cell, if it is not empty.
    pub(crate) fn some(&self, column: usize) -> Option<&'a str> {
        Some(self.cells[column]).filter(|cell| !cell.is_empty())
    }
}

/// Reads a table with exactly these columns, in any order. Records with a wrong number of cells are left out.
pub(crate) fn table<'a>(
    files: &'a FileSet,
    file: &'static str,
    columns: &[&str],
    found: &mut Findings,
) -> Vec<Row<'a>> {
    let Some(text) = files.get(file) else { return Vec::new() };
    let mut lines = text.split('\n');
    let header: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let head = At { file, line: 1 };
    let expected = || format!("make the header `{}`, separated by tabs", columns.join(" "));
    let mut sound = header.len() == columns.len();
    for name in header.iter().filter(|name| !columns.contains(name)) {
        let name = name.trim_start_matches('\u{feff}');
        found.error(head, "TSV_HEADER", format!("unknown column `{name}`"), expected());
        sound = false;
    }
    for name in columns.iter().filter(|name| !header.contains(name)) {
        found.error(head, "TSV_HEADER", format!("column `{name}` is missing"), expected());
        sound = false;
    }
    if !sound {
        return Vec::new();
    }
    let order: Vec<_> = columns.iter().filter_map(|c| header.iter().position(|h| h == c)).collect();
    let mut rows = Vec::new();
    let mut line = 1;
    while let Some(text) = lines.next() {
        line += 1;
        if text.is_empty() && lines.clone().next().is_none() {
            break;
        }
        let at = At { file, line };
        let cells: Vec<_> = text.split('\t').collect();
        if text.ends_with('\r') {
            let remedy = "save the file with LF line ends";
            found.error(at, "TSV_ROW", "the line ends with a carriage return", remedy);
        } else if cells.len() == columns.len() {
            rows.push(Row { at, cells: order.iter().map(|&index| cells[index]).collect() });
        } else {
            let message = format!("{} cells where {} are expected", cells.len(), columns.len());
            found.error(at, "TSV_ROW", message, "write one cell a column, empty for absent");
        }
    }
    rows
}

/// The content of a district in one text: names and texts, so that any change changes the digest.
pub(crate) fn digest(files: &FileSet) -> crate::ids::Id {
    files
        .iter()
        .fold(crate::ids::Hasher::new(), |hasher, (name, text)| hasher.text(name).text(text))
        .finish()
}
