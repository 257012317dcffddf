//! `yiwang rule test`: the rule vectors of product files, each with what differs.
//!
//! The same vectors run at every load and refuse a configuration that fails one; here all of them are shown, so that a
//! rule can be written against its vectors. Nothing but product files and the calendars of the district is read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use yiwang_core::district::{District, FileSet};
use yiwang_core::problem::{Problem, Severity};
use yiwang_core::rules::{Calendars, RuleSet, vectors};
use yiwang_core::thing::Product;

use crate::cli::ConfigArgs;
use crate::config::Config;
use crate::exit::{self, Failure};
use crate::{bundle, output};

/// Runs the vectors of the named files, or of all configured products.
///
/// # Errors
/// If the configuration or a file cannot be read.
pub fn test(args: &ConfigArgs, paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let config = Config::load(args)?;
    let (district, products) = bundle::read_products(&config)?;
    let (district, problems) = District::load(&district);
    let Some(district) = district else {
        let problems = problems.iter().map(|problem| format!("{problem}\n"));
        output::show(problems.collect::<String>())?;
        return Ok(ExitCode::from(exit::CONFIG));
    };
    let products = if paths.is_empty() { products } else { read(paths)? };
    let mut tally = Tally::default();
    let mut report = String::new();
    for (file, text) in &products {
        report += &run(file, text, district.calendars(), &mut tally);
    }
    output::show(format_args!("{report}{}\n", tally.line()))?;
    Ok(tally.code())
}

fn read(paths: &[PathBuf]) -> anyhow::Result<FileSet> {
    let one = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let path = path.display();
            Failure::Config(format!("failed to read {path}: {error}; name product files"))
        })?;
        Ok((Path::new(path).to_string_lossy().into_owned(), text))
    };
    paths.iter().map(one).collect()
}

/// What all files together came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Rules that no vector names.
    untested: usize,
    /// Files whose vectors could not be run.
    refused: usize,
}

impl Tally {
    fn line(&self) -> String {
        let Self { passed, failed, untested, refused } = self;
        format!(
            "{passed} passed, {failed} failed, {untested} rules without a vector, {refused} files refused"
        )
    }

    fn code(&self) -> ExitCode {
        match self {
            Self { refused: 1.., .. } => ExitCode::from(exit::CONFIG),
            Self { failed: 1.., .. } => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }
}

/// The report on one file.
fn run(file: &str, text: &str, calendars: &Calendars, tally: &mut Tally) -> String {
    let mut out = format!("{file}\n");
    let (product, mut problems) = Product::load(file, text);
    let rules = product.as_ref().and_then(|product| {
        let (rules, found) = RuleSet::compile(product, calendars);
        problems.extend(found);
        rules
    });
    for problem in &problems {
        tell(&mut out, problem);
    }
    let Some((product, rules)) = product.zip(rules) else {
        tally.refused += 1;
        return out;
    };
    let outcomes = vectors::run(&product, &rules);
    for rule in &rules.rules {
        let mut of_rule = outcomes.iter().filter(|outcome| *outcome.rule == *rule.id).peekable();
        if of_rule.peek().is_none() {
            tally.untested += 1;
            line(&mut out, "none", &rule.id, "no vector names it");
        }
        for vectors::Outcome { name, line: at, difference, .. } in of_rule {
            match difference {
                None => {
                    tally.passed += 1;
                    line(&mut out, "pass", &rule.id, name);
                }
                Some(difference) => {
                    tally.failed += 1;
                    line(&mut out, "FAIL", &rule.id, &format!("{name} (line {at}): {difference}"));
                }
            }
        }
    }
    out
}

fn line(out: &mut String, word: &str, rule: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "  {word}  {rule:<20}  {text}");
}

fn tell(out: &mut String, problem: &Problem) {
    let word = if problem.severity == Severity::Error { "FAIL" } else { "note" };
    let _ = writeln!(out, "  {word}  {problem}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(key: &str) -> (String, String) {
        let file = format!("{key}.thing.yaml");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/products/");
        let text = std::fs::read_to_string(format!("{folder}{file}")).expect("a shipped product");
        (file, text)
    }

    #[test]
    fn shipped_vectors_pass_and_every_rule_has_one() {
        let mut tally = Tally::default();
        for key in ["gas-01", "manhole-01", "nd-01", "smoke-01", "wl-radar-01"] {
            let (file, text) = shipped(key);
            let report = run(&file, &text, &Calendars::new(), &mut tally);
            assert!(!report.contains("FAIL"), "{report}");
        }
        assert_eq!((tally.failed, tally.untested, tally.refused), (0, 0, 0));
        assert!(tally.passed >= 11, "{}", tally.line());
        assert_eq!(tally.code(), ExitCode::SUCCESS);
    }

    #[test]
    fn what_differs_is_told_with_its_line() {
        let (file, text) = shipped("wl-radar-01");
        let text = text.replace("hold: {for: 10m}", "hold: {for: 12m}");
        let mut tally = Tally::default();
        let report = run(&file, &text, &Calendars::new(), &mut tally);
        let told = "expected raise 2026-11-23 10:10:00 MAJOR since 2026-11-23 10:00:00, \
            found raise 2026-11-23 10:12:00 MAJOR since 2026-11-23 10:00:00";
        assert!(report.contains(told), "{report}");
        let at = text.lines().position(|line| line.contains("尖峰")).expect("it stands there");
        assert!(report.contains(&format!("(line {at}): signal 1")), "{report}");
        assert_eq!(tally.code(), ExitCode::FAILURE);
    }

    #[test]
    fn a_file_that_does_not_load_is_refused() {
        let (file, text) = shipped("gas-01");
        let unknown = text.replace("clearHold: 1m", "schedule: nights");
        let broken = text.replace("- rule: silent", "- rule: quiet");
        for (text, code) in [(unknown, "UNKNOWN_CALENDAR"), (broken, "UNKNOWN_RULE")] {
            let mut tally = Tally::default();
            let report = run(&file, &text, &Calendars::new(), &mut tally);
            assert!(report.contains(code), "{report}");
            assert_eq!(tally.code(), ExitCode::from(exit::CONFIG));
        }
    }
}
