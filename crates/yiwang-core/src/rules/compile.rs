//! Alarm specs to compiled rules, with every problem of a file and not only the first.
//!
//! Owns what a condition may say and the named limits. A product with one bad rule is refused as a whole: half a set of
//! alarms is worse than the old one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::condition::{self, Slots};
use super::expr::{self, Expr};
use super::model::Model;
use super::program::Program;
use super::{Condition, Rule, RuleSet, Step};
use crate::calendar::Calendar;
use crate::ids::{Hasher, Id};
use crate::problem::{Problem, Severity};
use crate::thing::{AlarmSpec, Expression, Flap, Hold, LatePolicy, Product};

/// Most rules of one product.
pub const RULES_MAX: usize = 100;
/// Most severity steps of one rule.
pub const STEPS_MAX: usize = 4;
/// Most windows of one rule, each a property and a span *(design)*.
pub const WINDOWS_MAX: u32 = 4;
/// Largest `count` and `of`.
const COUNT_MAX: u32 = 64;

/// Calendars by id, for `schedule`.
pub type Calendars = BTreeMap<Arc<str>, Arc<Calendar>>;

impl RuleSet {
    /// Compiles the rules of a product; `None` when any of them has an error.
    #[must_use]
    pub fn compile(product: &Product, calendars: &Calendars) -> (Option<Self>, Vec<Problem>) {
        Self::compile_specs(&Model::of(product), &product.alarms, calendars)
    }

    /// Compiles rules against the view on a product.
    #[must_use]
    pub fn compile_specs(
        model: &Model,
        specs: &[AlarmSpec],
        calendars: &Calendars,
    ) -> (Option<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut slots = Slots::default();
        let mut rules: Vec<Rule> = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let (slots, problems) = (&mut slots, &mut problems);
            let mut one = One { model, spec, calendars, slots, problems };
            if rules.iter().any(|rule| rule.id == spec.id) {
                let remedy = "give it its own id";
                one.bad(spec.line, "DUPLICATE_RULE", "this rule id is used twice", remedy);
            }
            if index == RULES_MAX {
                let what = format!("more than {RULES_MAX} rules in one product");
                one.bad(spec.line, "RULES_MAX", &what, "split the product or drop rules");
            }
            if let Some(rule) = one.rule() {
                rules.push(rule);
            }
        }
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return (None, problems);
        }
        let mut slot_of = vec![u8::MAX; model.properties.len()];
        for (slot, property) in slots.properties.iter().enumerate() {
            slot_of[usize::from(*property)] = slot as u8;
        }
        let of_slot = |property: &u16| model.properties[usize::from(*property)].clone();
        let set = Self {
            product: model.product.as_str().into(),
            shortest_absence: rules.iter().filter_map(Rule::absent).min(),
            rules,
            valid_for: model.valid_for,
            slot_of,
            properties: slots.properties.iter().map(of_slot).collect(),
            remembers: !(slots.previous.is_empty() && slots.windows.is_empty()),
            previous: slots.previous,
            windows: slots.windows,
        };
        (Some(set), problems)
    }
}

struct One<'a> {
    model: &'a Model,
    spec: &'a AlarmSpec,
    calendars: &'a Calendars,
    slots: &'a mut Slots,
    problems: &'a mut Vec<Problem>,
}

impl One<'_> {
    fn bad(&mut self, line: u32, code: &'static str, what: &str, remedy: &str) {
        self.problems.push(Problem {
            severity: Severity::Error,
            code,
            file: self.model.file.clone(),
            line,
            message: format!("alarm `{}`: {what}", self.spec.id),
            remedy: remedy.to_owned(),
        });
    }

    fn rule(&mut self) -> Option<Rule> {
        let spec = self.spec;
        let before = self.problems.len();
        self.check_words();
        let (condition, threshold) = self.when();
        let clear = spec.clear.as_ref().and_then(|clear| self.condition("clear", clear));
        let mut steps = Vec::with_capacity(spec.severity.steps.len());
        for step in &spec.severity.steps {
            let when = self.condition("when of a step", &step.when);
            let until = step.until.as_ref().and_then(|until| self.condition("until", until));
            steps.extend(when.map(|when| Step { when, until, is: step.is }));
        }
        let schedule = self.schedule();
        let mut rule = Rule {
            id: spec.id.clone(),
            hash: hash(spec),
            category: spec.category.clone(),
            base: spec.severity.base,
            condition: condition?,
            clear,
            hold: spec.hold,
            clear_hold: spec.clear_hold.unwrap_or(0),
            quiet_clear: spec.quiet_clear,
            missing: spec.missing,
            raises_late: spec.late == LatePolicy::Raise,
            steps,
            steps_down: spec.severity.step_down,
            remind: spec.remind,
            flap: spec.flap,
            schedule,
            mask: 0,
            threshold,
        };
        rule.mask = rule.programs().fold(0, |mask, program| mask | program.mask);
        self.check_together(&rule);
        (self.problems.len() == before).then_some(rule)
    }

    fn schedule(&mut self) -> Option<Arc<Calendar>> {
        let named = self.spec.schedule.as_ref()?;
        let calendar = self.calendars.get(named.text.as_str()).cloned();
        if calendar.is_none() {
            let what = format!("schedule: `{}` is no calendar", named.text);
            let remedy = "use an id of calendars.yaml, or add it there";
            self.bad(named.line, "UNKNOWN_CALENDAR", &what, remedy);
        }
        calendar
    }

    fn check_words(&mut self) {
        let spec = self.spec;
        if spec.severity.steps.len() > STEPS_MAX {
            let what = format!("has more than {STEPS_MAX} severity steps");
            self.bad(spec.line, "STEPS_MAX", &what, "drop some");
        }
        let counts = |n: u32| (1..=COUNT_MAX).contains(&n);
        let proved = match spec.hold {
            Hold::None => true,
            Hold::For(ms) => ms > 0,
            Hold::CountOf { count, of } => counts(count) && counts(of) && count <= of,
            Hold::CountWithin { count, within } => counts(count) && within > 0,
        };
        if !proved {
            let remedy = format!("counts are 1 to {COUNT_MAX}, count at most of, times positive");
            self.bad(spec.line, "BAD_HOLD", "hold: can never be reached", &remedy);
        }
        let flap = spec.flap;
        if !(2..=COUNT_MAX).contains(&flap.count) || flap.within <= 0 || flap.quiet < 0 {
            let remedy = format!("count is 2 to {COUNT_MAX}, times positive");
            self.bad(spec.line, "BAD_FLAP", "flap: makes no sense", &remedy);
        }
        let times = [spec.clear_hold, spec.quiet_clear, spec.remind];
        if times.into_iter().flatten().any(|ms| ms <= 0) {
            let what = "clearHold, quietClear and remind must be positive";
            self.bad(spec.line, "BAD_DURATION", what, "correct or leave out");
        }
    }

    fn check_together(&mut self, rule: &Rule) {
        let line = self.spec.line;
        if rule.raises_late && rule.hold != Hold::None {
            let what = "late: raise cannot prove a hold";
            self.bad(line, "LATE_HOLD", what, "drop one of the two");
        }
        let windows = rule.programs().fold(0, |bits, program| bits | program.windows);
        if windows.count_ones() > WINDOWS_MAX {
            let what = format!("reads more than {WINDOWS_MAX} windows (property and span)");
            self.bad(line, "WINDOWS_MAX", &what, "use the same span for several functions");
        }
        let plain = rule.clear.is_none()
            && self.spec.schedule.is_none()
            && rule.hold == Hold::None
            && rule.clear_hold == 0
            && rule.quiet_clear.is_none()
            && rule.steps.is_empty()
            // A sample ends an absence at once: there is no end to hold back.
            && rule.flap == Flap::default()
            && !rule.raises_late;
        if rule.is_absence() && !plain {
            let what = "absent() goes with severity, category and remind only";
            self.bad(line, "ABSENT_ALONE", what, "drop the other fields");
        }
    }

    /// The condition, and what it compares with where it is one comparison.
    fn when(&mut self) -> (Option<Condition>, Option<Program>) {
        let when = &self.spec.when;
        let Some(tree) = self.parse("when", when) else { return (None, None) };
        if let Expr::Call(name, arguments) = &tree
            && name == "absent"
        {
            let [Expr::Duration(ms)] = arguments[..] else {
                let what = "when: absent() takes one duration";
                self.bad(when.line, "BAD_CONDITION", what, "write e.g. absent(30m)");
                return (None, None);
            };
            return (Some(Condition::Absent(ms)), None);
        }
        let program = self.compile("when", when.line, &tree).map(Condition::When);
        let threshold = match &tree {
            Expr::Compare(_, _, right) => {
                condition::compile_value(right, self.model, self.slots).ok()
            }
            _ => None,
        };
        (program, threshold)
    }

    fn condition(&mut self, field: &str, text: &Expression) -> Option<Program> {
        let tree = self.parse(field, text)?;
        self.compile(field, text.line, &tree)
    }

    fn parse(&mut self, field: &str, text: &Expression) -> Option<Expr> {
        match expr::parse(&text.text) {
            Ok(tree) => Some(tree),
            Err(fault) => {
                let what = format!("{field}: {fault}");
                self.bad(text.line, "BAD_CONDITION", &what, "correct the condition");
                None
            }
        }
    }

    fn compile(&mut self, field: &str, line: u32, tree: &Expr) -> Option<Program> {
        match condition::compile(tree, self.model, self.slots) {
            Ok(program) => Some(program),
            Err(message) => {
                let what = format!("{field}: {message}");
                self.bad(line, "BAD_CONDITION", &what, "correct the condition");
                None
            }
        }
    }
}

/// Of what the rule says, not of where it stands in the file.
fn hash(spec: &AlarmSpec) -> Id {
    let mut spec = spec.clone();
    (spec.line, spec.category_line) = (0, 0);
    spec.when.line = 0;
    let steps = spec.severity.steps.iter_mut();
    let in_steps = steps.flat_map(|step| {
        step.line = 0;
        [Some(&mut step.when), step.until.as_mut()].into_iter().flatten()
    });
    let texts = spec.clear.iter_mut().chain(&mut spec.schedule).chain(in_steps);
    texts.for_each(|expression| expression.line = 0);
    Hasher::new().text(&format!("{spec:?}")).finish()
}

impl Rule {
    /// The time of an `absent()` rule.
    pub(super) fn absent(&self) -> Option<i64> {
        match self.condition {
            Condition::Absent(ms) => Some(ms),
            Condition::When(_) => None,
        }
    }

    /// Whether it is about silence: what devices that fall silent together have in common.
    pub(crate) fn is_absence(&self) -> bool {
        self.absent().is_some()
    }

    pub(super) fn programs(&self) -> impl Iterator<Item = &Program> {
        let when = match &self.condition {
            Condition::When(program) => Some(program),
            Condition::Absent(_) => None,
        };
        let steps = self.steps.iter().flat_map(|s| Some(&s.when).into_iter().chain(&s.until));
        when.into_iter().chain(&self.clear).chain(steps)
    }
}
