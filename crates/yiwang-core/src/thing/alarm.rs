//! Alarm rules as they stand in the product file: structure checked, expressions still text.
//!
//! Owns the words of devices section 5; it refuses to know what an expression means.

use crate::record::{AlarmSeverity, Millis};

/// A rule expression and where it stands, so that the rule compiler can report the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The text.
    pub text: String,
    /// Line in the file.
    pub line: u32,
}

/// One entry of `alarms:`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmSpec {
    /// Id, unique within the product; the alarm key is device + id.
    pub id: Box<str>,
    /// Name for people; the id where the file has none.
    pub name: String,
    /// The condition.
    pub when: Expression,
    /// What ends it; `None` means "not when".
    pub clear: Option<Expression>,
    /// How long or how often the condition must hold.
    pub hold: Hold,
    /// How long `clear` must hold.
    pub clear_hold: Option<Millis>,
    /// Clears after this long without a true sample.
    pub quiet_clear: Option<Millis>,
    /// What becomes of late samples.
    pub late: LatePolicy,
    /// Category code of its signals.
    pub category: Box<str>,
    /// Line of the category.
    pub category_line: u32,
    /// Severity and its steps.
    pub severity: SeveritySpec,
    /// What silence does.
    pub missing: MissingPolicy,
    /// A repeat signal each such time while it stands.
    pub remind: Option<Millis>,
    /// When it counts as flapping.
    pub flap: Flap,
    /// Id of the calendar outside which `when` is false.
    pub schedule: Option<Expression>,
    /// Line in the file.
    pub line: u32,
}

/// How long or how often the condition must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// At once.
    None,
    /// For a time.
    For(Millis),
    /// `count` of the newest `of` in-order samples.
    CountOf {
        /// True samples needed.
        count: u32,
        /// Samples looked at.
        of: u32,
    },
    /// `count` true samples in (t − within, t].
    CountWithin {
        /// True samples needed.
        count: u32,
        /// Width of the window.
        within: Millis,
    },
}

/// What becomes of late samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatePolicy {
    /// History only.
    History,
    /// A late true sample of a normal alarm raises and clears.
    Raise,
}

/// What silence does when the newest sample of the rule is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingPolicy {
    /// Pending is lost, what stands is stale.
    Reset,
    /// The value stands.
    Keep,
    /// Silence ends the alarm.
    Clear,
}

/// Severity of an alarm and its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct SeveritySpec {
    /// Severity without a step.
    pub base: AlarmSeverity,
    /// Steps, from least to worst.
    pub steps: Vec<SeverityStep>,
    /// Whether it may go down again.
    pub step_down: bool,
}

/// One step up.
#[derive(Clone, Debug, PartialEq)]
pub struct SeverityStep {
    /// When it is this bad.
    pub when: Expression,
    /// When it no longer is; `None` means "not when".
    pub until: Option<Expression>,
    /// How bad.
    pub is: AlarmSeverity,
    /// Line in the file.
    pub line: u32,
}

/// When an alarm counts as flapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// From this raise on …
    pub count: u32,
    /// … within this time …
    pub within: Millis,
    /// … it clears only after this long.
    pub quiet: Millis,
}

impl Default for Flap {
    fn default() -> Self {
        Self { count: 5, within: 600_000, quiet: 600_000 }
    }
}
