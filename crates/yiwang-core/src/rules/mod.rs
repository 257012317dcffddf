//! Alarm rules: conditions compiled at load, and one state machine per (device, rule) in device time.
//!
//! Owns the rule language, the compiled [`RuleSet`] of a product, the state of a device's rules ([`DeviceRules`]) and
//! what they emit. Input is the log's order of samples and ticks, never a clock, so a replay gives the same signals with
//! the same ids. It refuses what it does not understand at load, with file and line; a running rule cannot fail.

mod compile;
pub mod condition;
mod describe;
mod explain;
pub mod expr;
mod judged;
mod machine;
mod memory;
pub mod model;
mod operator;
pub mod program;
mod samples;
mod snapshot;
mod state;
mod timers;
pub mod vectors;
pub mod window;

#[cfg(test)]
mod ahead_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod reference_conditions;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;

pub use compile::{Calendars, RULES_MAX, STEPS_MAX, WINDOWS_MAX};
pub use explain::{Read, Standing};
pub use judged::{Alone, Heard, Judged, Judgement, Passed};
pub use memory::{Memory, Slot, is_valid, number};
pub use samples::Sample;
pub use snapshot::{Legend, Removed};
pub use state::{Born, Cause, DeviceRules, Edge, Emitted, Mark, Phase};

use std::sync::Arc;

use crate::calendar::Calendar;
use crate::ids::Id;
use crate::maintenance::Span;
use crate::record::{AlarmSeverity, Millis};
use crate::thing::{Flap, Hold, MissingPolicy};
use model::PropertyModel;
use program::{Program, WindowSpan};

/// How long after a device's clock ticks move its timers *(design)*: samples on their way come first.
pub const GRACE_MS: Millis = 10_000;

/// Everything the rules of one product need while running; immutable.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    /// Product key.
    pub product: Box<str>,
    /// In the order of the file.
    pub rules: Vec<Rule>,
    /// How long a value counts; `None` = for ever. A device may have its own.
    pub valid_for: Option<Millis>,
    /// Slot by property index; 255 = no rule reads it.
    slot_of: Vec<u8>,
    /// The property of each slot, for texts and for finding it again in another version.
    properties: Vec<PropertyModel>,
    /// Slot by number of `prev()`.
    previous: Vec<u8>,
    /// By number of the window.
    windows: Vec<WindowSpan>,
    /// Whether any rule reads more than newest values.
    remembers: bool,
    /// The shortest time of any `absent()`.
    shortest_absence: Option<Millis>,
}

/// One compiled rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique in the product.
    pub id: Box<str>,
    /// Of the rule's text: a rule that changed drops what was pending.
    pub hash: Id,
    /// Dotted category code.
    pub category: Box<str>,
    /// Severity without a step.
    pub base: AlarmSeverity,
    condition: Condition,
    /// `None` = not `when`, or never by a sample where `quiet_clear` is set.
    clear: Option<Program>,
    hold: Hold,
    /// 0 = at once.
    clear_hold: Millis,
    quiet_clear: Option<Millis>,
    missing: MissingPolicy,
    /// Late true samples raise and clear at once.
    raises_late: bool,
    steps: Vec<Step>,
    steps_down: bool,
    remind: Option<Millis>,
    flap: Flap,
    /// Outside of it `when` is false.
    schedule: Option<Arc<Calendar>>,
    /// Every slot that the rule reads.
    mask: u128,
    /// What `when` compares with, for texts.
    threshold: Option<Program>,
}

#[derive(Clone, Debug)]
enum Condition {
    When(Program),
    /// No valid reading for this long while we listened.
    Absent(Millis),
}

#[derive(Clone, Debug)]
struct Step {
    when: Program,
    /// `None` = not `when`.
    until: Option<Program>,
    is: AlarmSeverity,
}

/// What the rules of one device need to know of it and of the record at hand.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Of the device's product.
    pub rules: &'a RuleSet,
    /// By attribute index of the product; missing ones take the default.
    pub attributes: &'a [Option<f64>],
    /// How long a value of this device counts; `None` = for ever.
    pub valid_for: Option<Millis>,
    /// Bounds of a device's lag: how far ahead a clock may be, how late data may come.
    pub clock_skew: Millis,
    /// See `clock_skew`.
    pub late_after: Millis,
    /// Maintenance or commissioning: states run, raises are held back.
    pub held: bool,
    /// In these times, joined, the same.
    pub windows: &'a [Span],
}

impl RuleSet {
    /// The slot of a property, if a rule reads it.
    #[inline]
    fn slot_of(&self, property: u16) -> Option<usize> {
        let slot = *self.slot_of.get(usize::from(property))?;
        (slot != u8::MAX).then_some(usize::from(slot))
    }

    /// After how long without a word a device of the product is an absence; `None` = never.
    #[must_use]
    pub fn shortest_absence(&self) -> Option<Millis> {
        self.shortest_absence
    }

    /// The rule with this id.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.rules.iter().position(|rule| &*rule.id == id)
    }
}
