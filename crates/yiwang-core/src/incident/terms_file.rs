//! `terms.yaml`: rungs and limits from text to checked [`Terms`]. A budget in working time here counts eight hours a
//! day: the calendar of the incident is not known yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::terms::{OutboxGrain, Rung, RungAct, Terms};
use super::words::ClockKind;
use crate::district::District;
use crate::district::files::{self, At, FileSet, Findings, TERMS};
use crate::policy::{Budget, Mode};
use crate::problem::Problem;

const DAY_MINUTES: u32 = 8 * 60;
/// A repetition is the two last digits of a rung's code.
const REPEAT_MAX: u32 = 99;
const PERCENT: std::ops::RangeInclusive<u32> = 1..=10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    rungs: BTreeMap<String, Vec<RawRung>>,
    request: Spanned<String>,
    request_urgent: Spanned<String>,
    return_after_ack: Spanned<String>,
    returns_max: u32,
    attach_quiet: Spanned<String>,
    closed_max: usize,
    outbox: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRung {
    clocks: Vec<Spanned<String>>,
    percent: Spanned<u32>,
    act: Spanned<String>,
    #[serde(default)]
    budget_min: Option<Spanned<String>>,
    #[serde(default)]
    every: Option<Spanned<String>>,
    #[serde(default)]
    repeat_max: Option<Spanned<u32>>,
}

impl Terms {
    /// Reads the terms of a district; every problem with its line, `None` on any error.
    #[must_use]
    pub fn load(files: &FileSet, district: &District) -> (Option<Self>, Vec<Problem>) {
        let mut found = Findings::default();
        let terms =
            files::yaml::<RawFile>(files, TERMS, &mut found).map(|raw| check(&raw, &mut found));
        if let Some(terms) = &terms {
            name_all_sets(terms, district, &mut found);
        }
        (terms.filter(|_| !found.has_errors()), found.problems)
    }
}

fn check(raw: &RawFile, found: &mut Findings) -> Terms {
    let mut rungs = BTreeMap::new();
    for (name, list) in &raw.rungs {
        let list: Vec<Rung> = list.iter().filter_map(|raw| rung(raw, found)).collect();
        rungs.insert(Arc::from(name.as_str()), list);
    }
    let outbox = match raw.outbox.value.as_str() {
        "VERSION" => OutboxGrain::Version,
        "STEP" => OutboxGrain::Step,
        _ => {
            found.error(at(&raw.outbox), "WORD_UNKNOWN", "no such grain", "write VERSION or STEP");
            OutboxGrain::Version
        }
    };
    Terms {
        rungs,
        request: budget(&raw.request, found),
        request_urgent: budget(&raw.request_urgent, found),
        return_after_ack: budget(&raw.return_after_ack, found),
        returns_max: raw.returns_max,
        attach_quiet_ms: budget(&raw.attach_quiet, found).ms,
        closed_max: raw.closed_max,
        outbox,
    }
}

fn rung(raw: &RawRung, found: &mut Findings) -> Option<Rung> {
    let mut clocks = Vec::with_capacity(raw.clocks.len());
    for word in &raw.clocks {
        match ClockKind::parse(&word.value) {
            Some(kind) => clocks.push(kind),
            None => found.error(
                at(word),
                "WORD_UNKNOWN",
                "no such clock",
                "write INTAKE, ACK, HANDLE, …",
            ),
        }
    }
    let act = RungAct::parse(&raw.act.value);
    if act.is_none() {
        found.error(
            at(&raw.act),
            "WORD_UNKNOWN",
            "no such act",
            "the head of the file lists the acts",
        );
    }
    if !PERCENT.contains(&raw.percent.value) {
        found.error(
            at(&raw.percent),
            "NUMBER_INVALID",
            "percent is out of 1 to 10000",
            "correct it",
        );
    }
    let repeat_max = raw.repeat_max.as_ref().map_or(0, |it| it.value);
    if let Some(wrong) = raw.repeat_max.as_ref().filter(|it| it.value > REPEAT_MAX) {
        found.error(
            at(wrong),
            "NUMBER_INVALID",
            "a rung repeats at most 99 times",
            "lower repeat_max",
        );
    }
    let span = |text: &Option<Spanned<String>>, found: &mut Findings| {
        text.as_ref().map_or(0, |text| budget(text, found).ms)
    };
    Some(Rung {
        clocks,
        percent: raw.percent.value,
        budget_min_ms: span(&raw.budget_min, found),
        act: act?,
        every_ms: span(&raw.every, found),
        repeat_max,
    })
}

fn budget(text: &Spanned<String>, found: &mut Findings) -> Budget {
    Budget::parse(&text.value, DAY_MINUTES).unwrap_or_else(|| {
        found.error(
            at(text),
            "BUDGET_INVALID",
            "not a span of time",
            "write 90s, 5m, 4h, 2d, 30wm, 4wh or 1wd",
        );
        Budget { ms: 0, working: false }
    })
}

/// Every set that a policy names must be there.
fn name_all_sets(terms: &Terms, district: &District, found: &mut Findings) {
    let file = At { file: TERMS, line: 0 };
    let mut missing: Vec<String> = district
        .categories()
        .all()
        .iter()
        .filter_map(|category| {
            district.resolve_policy(&category.code, district.id(), Mode::Ordinary)
        })
        .filter(|policy| !terms.rungs.contains_key(&*policy.rungs))
        .map(|policy| policy.rungs.to_string())
        .collect();
    missing.sort_unstable();
    missing.dedup();
    for name in missing {
        let message = format!("a policy names the rungs {name}, which are not here");
        found.error(
            file,
            "RUNGS_UNKNOWN",
            message,
            "add them, or correct on_timeout in policies.yaml",
        );
    }
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(TERMS, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::district::small_tests;

    const SHIPPED: &str = include_str!("../../../../config/district/terms.yaml");

    fn load(text: &str) -> (Option<Terms>, Vec<String>) {
        let mut small = small_tests::small();
        if let Some(policies) = small.get_mut("policies.yaml") {
            *policies = policies.replace("on_timeout: rungs", "on_timeout: rungs-default");
        }
        let (district, _) = small_tests::load(&small);
        let files = FileSet::from([(TERMS.to_owned(), text.to_owned())]);
        let (terms, problems) = Terms::load(&files, &district.unwrap());
        (terms, problems.iter().map(|it| format!("{}:{} {}", it.file, it.line, it.code)).collect())
    }

    #[test]
    fn the_shipped_terms_are_the_documented_demo_values() {
        assert_eq!(load(SHIPPED), (Some(Terms::default()), Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let line = |needle: &str| {
            1 + SHIPPED.lines().position(|line| line.contains(needle)).expect("the line is there")
        };
        let wrong = [
            ("act: CLIMB", "act: JUMP", "WORD_UNKNOWN"),
            ("repeat_max: 12", "repeat_max: 120", "NUMBER_INVALID"),
            ("request: 2wh", "request: 2x", "BUDGET_INVALID"),
            ("outbox: VERSION", "outbox: ALL", "WORD_UNKNOWN"),
        ];
        for (good, bad, code) in wrong {
            let (terms, problems) = load(&SHIPPED.replacen(good, bad, 1));
            assert_eq!(problems, [format!("terms.yaml:{} {code}", line(good))], "{bad}");
            assert!(terms.is_none());
        }
        let (_, problems) = load(&SHIPPED.replace("rungs-default", "rungs-other"));
        assert_eq!(problems, ["terms.yaml:0 RUNGS_UNKNOWN"]);
    }
}
