//! Running the rule vectors of a product file on its compiled rules.
//!
//! The real machine in device time, one device, one vector at a time; it is in service from the first tick on that does not
//! say otherwise. What differs is a sentence for the author of the
//! file; a vector that fails refuses the configuration, as one of the codec does.

use super::{Context, DeviceRules, Emitted, Mark, RuleSet, Sample};
use crate::ids::Id;
use crate::problem::{Problem, Severity};
use crate::record::Millis;
use crate::sample::{Flags, PropertyRef, Quality, Sampled};
use crate::thing::{ExpectedSignal, Product, RuleStep, RuleVector};

/// What became of one vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The vector.
    pub rule: &'a str,
    /// What it shows.
    pub name: &'a str,
    /// Line in the file.
    pub line: u32,
    /// How what was said differs from what was expected; `None` if it passed.
    pub difference: Option<String>,
}

/// Runs every rule vector of a product.
#[must_use]
pub fn run<'a>(product: &'a Product, rules: &RuleSet) -> Vec<Outcome<'a>> {
    let outcome = |vector: &'a RuleVector| Outcome {
        rule: &vector.rule,
        name: &vector.name,
        line: vector.line,
        difference: difference(product, vector, &said(product, rules, vector)),
    };
    product.rule_vectors.iter().map(outcome).collect()
}

/// The vectors that fail, as problems of the file.
pub(crate) fn check(product: &Product, rules: &RuleSet, problems: &mut Vec<Problem>) {
    for Outcome { rule, name, line, difference } in run(product, rules) {
        let Some(difference) = difference else { continue };
        problems.push(Problem {
            severity: Severity::Error,
            code: "VECTOR_FAILED",
            file: product.file.clone(),
            line,
            message: format!("alarm `{rule}`: test vector `{name}` fails: {difference}"),
            remedy: "correct the rule or the vector".to_owned(),
        });
    }
}

/// What the vector's rule says to its steps.
fn said(product: &Product, rules: &RuleSet, vector: &RuleVector) -> Vec<Emitted> {
    let mut attributes: Vec<Option<f64>> =
        product.attributes.iter().map(|attribute| attribute.default).collect();
    for (index, value) in &vector.attributes {
        if let Some(place) = attributes.get_mut(usize::from(*index)) {
            *place = Some(*value);
        }
    }
    let mut cx = Context {
        rules,
        attributes: &attributes,
        valid_for: rules.valid_for,
        clock_skew: product.time.clock_skew,
        late_after: product.time.late_after,
        held: false,
        windows: &vector.windows,
    };
    let (mut device, mut out) = (DeviceRules::new(rules), Vec::new());
    let mut listening = Millis::MIN;
    for step in &vector.steps {
        match step {
            RuleStep::Sample { t, received_at, values } => {
                let sampled = |(index, value): &(u16, _)| Sampled {
                    property: PropertyRef::Known(*index),
                    value: *value,
                    quality: Quality::Good,
                    flags: Flags::default(),
                };
                let values: Vec<Sampled> = values.iter().map(sampled).collect();
                let mark = Mark { t: *t, raw: Id(0) };
                let sample = Sample { mark, rx: *received_at, values: &values };
                device.sample(&cx, &sample, &mut out);
            }
            RuleStep::Tick { now, listening_since, held } => {
                listening = listening_since.unwrap_or(listening);
                if !held.unwrap_or(cx.held) {
                    device.wait(*now);
                }
                device.tick(&cx, *now, listening, &mut out);
                if let Some(held) = held {
                    cx.held = *held;
                    device.release(&cx, *now, &mut out);
                }
            }
        }
    }
    let rule = rules.position(&vector.rule);
    out.retain(|one| Some(usize::from(one.rule)) == rule);
    out
}

/// The first thing that differs.
fn difference(product: &Product, vector: &RuleVector, said: &[Emitted]) -> Option<String> {
    let zone = product.time.zone;
    for (number, (expected, found)) in (1..).zip(vector.signals.iter().zip(said)) {
        if !fits(expected, found) {
            let (line, expected) = (expected.line, expectation(expected, zone));
            let found = finding(found, zone);
            return Some(format!(
                "signal {number} (line {line}): expected {expected}, found {found}"
            ));
        }
    }
    let (expected, found) = (vector.signals.len(), said.len());
    if let Some(missing) = vector.signals.get(found) {
        let (line, missing) = (missing.line, expectation(missing, zone));
        return Some(format!("signal {} (line {line}): expected {missing}, found none", found + 1));
    }
    let more = said.get(expected)?;
    Some(format!("signal {}: expected none, found {}", expected + 1, finding(more, zone)))
}

fn fits(expected: &ExpectedSignal, found: &Emitted) -> bool {
    expected.kind == found.kind
        && expected.time == found.time
        && expected.since.is_none_or(|since| since == found.since)
        && expected.severity.is_none_or(|severity| severity == found.severity)
        && expected.cause == found.cause.as_str()
}

fn expectation(expected: &ExpectedSignal, zone: Millis) -> String {
    let mut text = format!("{} {}", expected.kind.as_str(), clock(expected.time, zone));
    if let Some(severity) = expected.severity {
        text += " ";
        text += severity.as_str();
    }
    if let Some(since) = expected.since {
        text += &format!(" since {}", clock(since, zone));
    }
    if !expected.cause.is_empty() {
        text += &format!(" cause {}", expected.cause);
    }
    text
}

fn finding(found: &Emitted, zone: Millis) -> String {
    let (time, since) = (clock(found.time, zone), clock(found.since, zone));
    let mut text =
        format!("{} {time} {} since {since}", found.kind.as_str(), found.severity.as_str());
    if !found.cause.as_str().is_empty() {
        text += &format!(" cause {}", found.cause.as_str());
    }
    text
}

/// As vectors write it: with the date, since some go over midnight.
fn clock(t: Millis, zone: Millis) -> String {
    jiff::Timestamp::from_millisecond(t.saturating_add(zone))
        .map_or_else(|_| t.to_string(), |instant| instant.strftime("%Y-%m-%d %H:%M:%S").to_string())
}
