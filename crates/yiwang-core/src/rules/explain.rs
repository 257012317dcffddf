//! What the rules of a device say of themselves: where each stands, what it reads and what it makes of that. For traces.
//!
//! Changes nothing and is asked rarely, so it may allocate. Conditions are judged at the newest in-order sample, by the
//! same programs and on the same memory as the machine does; whether a message was that sample is told by `judged`.

use super::machine::Moment;
use super::program::Program;
use super::state::{DeviceRules, Entry, Held, Phase};
use super::{Condition, Context, Rule};
use crate::record::{AlarmSeverity, Millis};

/// Where one rule of a device stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its id.
    pub rule: Box<str>,
    /// Where it is between normal and alarm.
    pub phase: Phase,
    /// The severity in force while the alarm stands, else that without a step.
    pub severity: AlarmSeverity,
    /// Since when it is pending or clearing, or the raised condition holds; device time.
    pub since: Option<Millis>,
    /// True samples that count towards the proof.
    pub proofs: usize,
    /// Raised while the device was being worked on: nobody was told.
    pub held: bool,
    /// If it waits for the end of a window of maintenance: an instant in that window.
    pub held_at: Option<Millis>,
    /// It raises too often.
    pub flapping: bool,
    /// Whether its calendar lets `when` be true.
    pub open: bool,
    /// Whether `when` is true; `None` is unknown, or a rule that a timer alone judges.
    pub when: Option<bool>,
    /// Whether what ends the alarm is true; `None` is unknown.
    pub clear: Option<bool>,
    /// What it reads.
    pub reads: Vec<Read>,
}

/// A property that a rule reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Its identifier.
    pub identifier: String,
    /// Its newest valid value as conditions compare it, and the device time of that.
    pub value: Option<(f64, Millis)>,
}

impl DeviceRules {
    /// Where each rule stands, in the order of the product's file.
    #[must_use]
    pub fn standings(&self, cx: &Context<'_>) -> Vec<Standing> {
        let standing = |(number, rule): (usize, &Rule)| {
            let entry = self.entries.iter().find(|entry| usize::from(entry.rule) == number);
            let moment = Moment { cx, rule, memory: &self.memory, t: self.newest.t };
            let when = moment.when();
            let clear = match &rule.clear {
                Some(program) => moment.known(program),
                None if rule.quiet_clear.is_some() => Some(false),
                None => when.map(|when| !when),
            };
            Standing {
                rule: rule.id.clone(),
                phase: entry.map_or(Phase::Normal, |entry| entry.phase),
                severity: entry.map_or(rule.base, |entry| entry.severity),
                since: entry.and_then(since),
                proofs: entry.map_or(0, |entry| entry.trues.len()),
                held: entry.is_some_and(|entry| entry.held != Held::No),
                held_at: entry.and_then(|entry| entry.held.window()),
                flapping: entry.is_some_and(|entry| entry.flapping),
                open: moment.is_open(),
                when,
                clear,
                reads: self.reads(cx, rule),
            }
        };
        cx.rules.rules.iter().enumerate().map(standing).collect()
    }

    fn reads(&self, cx: &Context<'_>, rule: &Rule) -> Vec<Read> {
        let slots = cx.rules.properties.iter().zip(&self.memory.slots).enumerate();
        let mine = slots.filter(|(slot, _)| rule.mask & (1 << slot) != 0);
        let read =
            |(_, (property, slot)): (usize, (&super::model::PropertyModel, &super::Slot))| {
                let value = (!slot.value.is_nan()).then_some((slot.value, slot.t));
                Read { identifier: property.identifier.clone(), value }
            };
        mine.map(read).collect()
    }
}

impl Moment<'_> {
    /// Whether `when` is true, the calendar aside; `None` is unknown, or a rule that a timer alone judges.
    pub(super) fn when(&self) -> Option<bool> {
        match &self.rule.condition {
            Condition::When(program) => self.known(program),
            Condition::Absent(_) => None,
        }
    }

    fn known(&self, program: &Program) -> Option<bool> {
        match program.run(&self.inputs()) {
            1.0 => Some(true),
            0.0 => Some(false),
            _ => None,
        }
    }
}

fn since(entry: &Entry) -> Option<Millis> {
    let since = match entry.phase {
        Phase::Normal => return None,
        Phase::Pending | Phase::Clearing => entry.start.t,
        Phase::Firing => entry.since,
    };
    (since != Millis::MIN).then_some(since)
}
