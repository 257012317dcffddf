//! Reading the rule vectors of a product file: entries of `tests:` that name a `rule:`.
//!
//! ```yaml
//! tests:
//!   - rule: high-level                      # the one whose signals are compared
//!     name: a spike is no alarm             # for people
//!     attributes: {warnLevel: 3.4}          # of the device, where they differ from the defaults
//!     delay: 2s                             # from the device to us, unless a step says another; none without it
//!     maintenance: [{from: "10:00", to: "11:00"}]         # windows in which raises are held
//!     steps:
//!       - {at: "09:50", values: {level: 3.52}}               # a sample at this device time
//!       - {at: "09:40", delay: 20m, values: {level: 3.1}}    # a late one
//!       - {tick: "10:10:12"}                                 # time passes, by our clock
//!       - {tick: "13:30:10", listening: "13:00"}             # the same after we were down until 13:00
//!       - {lifecycle: MAINTENANCE, tick: "14:00"}            # or COMMISSIONING, IN_SERVICE, from then on
//!     signals:                              # all of them, in order; empty if nothing may be said
//!       - {kind: raise, time: "10:10", since: "10:00", severity: MAJOR}
//!       - {kind: clear, time: "10:55", cause: MISSING}       # without `cause` it must be the ordinary one
//! ```
//!
//! Times are `HH:MM`, `HH:MM:SS` or `YYYY-MM-DD HH:MM:SS` in the product's `tz`; without a date on Monday 2026-11-23,
//! and hours go on after 24. A timer of the device is seen by a tick when its delay and ten seconds of grace are over.
//! Only the form is read here; `rules` runs them at every load, and `yiwang rule test` shows each.

use super::node::{Data, Node, Report, Section, number};
use super::{DataType, Product};
use crate::maintenance::{Span, joined};
use crate::record::{AlarmSeverity, Millis, SignalKind};
use crate::sample::Value;

/// Midnight of the day that is meant without a date, as if in UTC.
const DAY: &str = "2026-11-23";
/// Most steps of one vector.
pub const STEPS_MAX: usize = 1_000;

/// A sequence of samples and ticks, and what a rule must say to it.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleVector {
    /// The rule.
    pub rule: Box<str>,
    /// What it shows, for people.
    pub name: String,
    /// Line in the file.
    pub line: u32,
    /// Attributes of the device that differ from the defaults: index and value.
    pub attributes: Vec<(u16, f64)>,
    /// When people work on the device, joined.
    pub windows: Vec<Span>,
    /// What happens, in order.
    pub steps: Vec<RuleStep>,
    /// What must be said.
    pub signals: Vec<ExpectedSignal>,
}

/// One thing that happens in a vector.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleStep {
    /// A sample of the device.
    Sample {
        /// Device time.
        t: Millis,
        /// When we received it.
        received_at: Millis,
        /// Property index and value.
        values: Vec<(u16, Value)>,
    },
    /// Time passes.
    Tick {
        /// Our clock.
        now: Millis,
        /// Since when we have listened, if we were down before.
        listening_since: Option<Millis>,
        /// Whether raises are held from now on, if that changes.
        held: Option<bool>,
    },
}

/// A signal that must be said.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedSignal {
    /// What it says.
    pub kind: SignalKind,
    /// Its time.
    pub time: Millis,
    /// Since when; not compared if `None`.
    pub since: Option<Millis>,
    /// How bad; not compared if `None`.
    pub severity: Option<AlarmSeverity>,
    /// Why; empty for the ordinary cause.
    pub cause: String,
    /// Line in the file.
    pub line: u32,
}

/// Whether an entry of `tests:` is one for rules.
pub(super) fn is_one(test: &Node) -> bool {
    test.entry("rule").is_some()
}

/// The rule vectors of a checked product.
pub(super) fn read(report: &mut Report<'_>, product: &Product, root: &Node) -> Vec<RuleVector> {
    let Some(Node { data: Data::List(tests), .. }) = root.entry("tests") else { return Vec::new() };
    let tests = tests.iter().filter(|test| is_one(test));
    tests.map(|test| Reading { report, product }.vector(test)).collect()
}

struct Reading<'a, 'f> {
    report: &'a mut Report<'f>,
    product: &'a Product,
}

impl Reading<'_, '_> {
    fn vector(&mut self, test: &Node) -> RuleVector {
        let mut section = Section::open(self.report, test, "tests[]");
        let rule = section.text(self.report, "rule");
        if !self.product.alarms.iter().any(|alarm| *alarm.id == *rule) && !rule.is_empty() {
            let message = format!("tests[]: `{rule}` is no alarm rule of this product");
            self.report.error("UNKNOWN_RULE", test.line, message, "use an id of `alarms:`");
        }
        section.path = format!("tests[] of rule `{rule}`");
        let name = section.read(self.report, "name", "text", Node::scalar).unwrap_or_default();
        let delay = section.duration(self.report, "delay").unwrap_or(0);
        let attributes = self.attributes(&mut section);
        let path = section.at("maintenance[]");
        let nodes = section.list(self.report, "maintenance");
        let windows = nodes.iter().filter_map(|node| self.window(node, &path)).collect();
        let windows = joined(windows);
        section.require(self.report, "steps");
        let path = section.at("steps[]");
        let nodes = section.list(self.report, "steps");
        if nodes.len() > STEPS_MAX {
            let message = format!("{path}: more than {STEPS_MAX}");
            self.report.error("TOO_MANY", test.line, message, "make two vectors of it");
        }
        let steps = nodes.iter().filter_map(|node| self.step(node, &path, delay)).collect();
        section.require(self.report, "signals");
        let path = section.at("signals[]");
        let nodes = section.list(self.report, "signals");
        let signals = nodes.iter().filter_map(|node| self.signal(node, &path)).collect();
        section.finish(self.report);
        let (rule, line) = (rule.into(), test.line);
        RuleVector { rule, name, line, attributes, windows, steps, signals }
    }

    fn window(&mut self, node: &Node, path: &str) -> Option<Span> {
        let mut section = Section::open(self.report, node, path);
        section.require(self.report, "from");
        section.require(self.report, "to");
        let (from, to) = (self.time(&mut section, "from"), self.time(&mut section, "to"));
        section.finish(self.report);
        let span = Span { from: from?, to: to? };
        if span.to <= span.from {
            let message = format!("{path} ends before it begins");
            self.report.error("BAD_VALUE", node.line, message, "let `to` come after `from`");
        }
        Some(span)
    }

    fn attributes(&mut self, vector: &mut Section<'_>) -> Vec<(u16, f64)> {
        let path = vector.at("attributes");
        let node = match vector.get("attributes") {
            Some(Node { data: Data::Map(entries), .. }) => entries.as_slice(),
            Some(node) => {
                self.report.bad(&path, node, "a mapping of attributes to numbers");
                &[]
            }
            None => &[],
        };
        let mut attributes = Vec::new();
        for (name, line, node) in node {
            match (self.product.attribute_index(name), super::load::attribute_value(node)) {
                (Some(index), Some(value)) => attributes.push((index, value)),
                (None, _) => {
                    let message = format!("{path}: `{name}` is no attribute of this product");
                    let remedy = "use an identifier of `attributes:`";
                    self.report.error("UNKNOWN_ATTRIBUTE", *line, message, remedy);
                }
                (_, None) => self.report.bad(&path, node, "a number, true or false"),
            }
        }
        attributes
    }

    fn step(&mut self, node: &Node, path: &str, delay: Millis) -> Option<RuleStep> {
        let mut section = Section::open(self.report, node, path);
        let at = self.time(&mut section, "at");
        let tick = self.time(&mut section, "tick");
        let step = match (at, tick) {
            (Some(t), None) => {
                let delay = section.duration(self.report, "delay").unwrap_or(delay);
                section.require(self.report, "values");
                let values = self.values(&mut section);
                Some(RuleStep::Sample { t, received_at: t.saturating_add(delay), values })
            }
            (None, Some(now)) => {
                let listening_since = self.time(&mut section, "listening");
                let expected = "IN_SERVICE, MAINTENANCE or COMMISSIONING";
                let held = section.read(self.report, "lifecycle", expected, |node| {
                    Some(match node.scalar()?.as_str() {
                        "IN_SERVICE" => false,
                        "MAINTENANCE" | "COMMISSIONING" => true,
                        _ => return None,
                    })
                });
                Some(RuleStep::Tick { now, listening_since, held })
            }
            _ => {
                let message = format!("{path} is neither a sample nor a tick");
                let remedy = "write {at: T, values: {…}} or {tick: T}";
                self.report.error("BAD_VALUE", node.line, message, remedy);
                None
            }
        };
        section.finish(self.report);
        step
    }

    fn values(&mut self, step: &mut Section<'_>) -> Vec<(u16, Value)> {
        let path = step.at("values");
        let Some(Node { data: Data::Map(entries), line }) = step.get("values") else {
            return Vec::new();
        };
        if entries.is_empty() {
            self.report.error("BAD_VALUE", *line, format!("{path} is empty"), "give a value");
        }
        let mut values = Vec::new();
        for (name, line, node) in entries {
            let Some(index) = self.product.property_index(name) else {
                let message = format!("{path}: `{name}` is no property of this product");
                let remedy = "use an identifier of `properties:`";
                self.report.error("UNKNOWN_PROPERTY", *line, message, remedy);
                continue;
            };
            let data = &self.product.properties[usize::from(index)].data;
            match value(data, node) {
                Some(value) => values.push((index, value)),
                None => self.report.bad(&path, node, &format!("a value of type {}", data.as_str())),
            }
        }
        values
    }

    fn signal(&mut self, node: &Node, path: &str) -> Option<ExpectedSignal> {
        let mut section = Section::open(self.report, node, path);
        section.require(self.report, "kind");
        section.require(self.report, "time");
        let kind = section.read(self.report, "kind", "raise, clear, severity or remind", |node| {
            SignalKind::parse(&node.scalar()?)
                .filter(|kind| !matches!(kind, SignalKind::Event | SignalKind::Report))
        });
        let time = self.time(&mut section, "time");
        let since = self.time(&mut section, "since");
        let expected = "INFO, MINOR, MAJOR or CRITICAL";
        let severity = section
            .read(self.report, "severity", expected, |node| AlarmSeverity::parse(&node.scalar()?));
        let expected = "MISSING, QUIET, LATE or FLAPPING";
        let cause = section.read(self.report, "cause", expected, |node| {
            node.scalar().filter(|word| ["MISSING", "QUIET", "LATE", "FLAPPING"].contains(&&**word))
        });
        section.finish(self.report);
        let (cause, line) = (cause.unwrap_or_default(), node.line);
        Some(ExpectedSignal { kind: kind?, time: time?, since, severity, cause, line })
    }

    fn time(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<Millis> {
        let zone = self.product.time.zone;
        let expected = "a time such as \"10:05\", \"10:05:30\" or \"2026-11-24 10:05\", in quotes";
        section.read(self.report, key, expected, |node| Some(instant(&node.scalar()?)? - zone))
    }
}

/// A time of day with or without a date, as if in UTC.
fn instant(text: &str) -> Option<Millis> {
    let (date, clock) = text.split_once(' ').unwrap_or((DAY, text));
    let midnight = date.parse::<jiff::civil::Date>().ok()?;
    let midnight = midnight.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?;
    let mut parts = clock.split(':').map(|part| {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<Millis>().ok()).flatten()
    });
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    let whole = parts.next().is_none() && minutes < 60 && seconds < 60;
    let clock = (hours * 3600 + minutes * 60 + seconds) * 1000;
    whole.then(|| midnight.timestamp().as_millisecond() + clock)
}

fn value(data: &DataType, node: &Node) -> Option<Value> {
    Some(match (data, &node.data) {
        (DataType::Bool, Data::Bool(value)) => Value::Bool(*value),
        (DataType::Bool, Data::Int(value @ 0..=1)) => Value::Bool(*value == 1),
        (DataType::Int, Data::Int(value)) => Value::Int(*value),
        (DataType::Date, Data::Int(value)) => Value::Date(*value),
        (DataType::Float | DataType::Double, _) => Value::Float(number(node)?),
        (DataType::Enum(words), _) => {
            let word = node.scalar()?;
            Value::Enum(words.iter().position(|known| **known == *word)? as u16)
        }
        _ => return None,
    })
}
