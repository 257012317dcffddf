//! What the values of one message were to each rule of its device, and why where a rule passed them over. For traces.
//!
//! The sets are run through a copy of the rules as they stood before the message, by the machine itself, so what is told
//! here cannot drift from what it does. Asked rarely, so it may allocate.

use super::machine::Moment;
use super::memory::{Memory, is_valid, number};
use super::state::{DeviceRules, Entry, Mark, Phase};
use super::{Context, Rule, Sample};
use crate::record::Millis;
use crate::sample::{Flags, PropertyRef, Quality, Sampled};
use crate::thing::Hold;

/// How a rule took a message, from what says least to what says most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judged {
    /// The message has nothing that it reads.
    #[default]
    Nothing,
    /// It has no valid value of what the rule reads.
    Invalid,
    /// It is older than what the rules have seen.
    Late,
    /// Its device is judged in another partition, so here it is history.
    Stray,
    /// No value of it was judged, time was: a timer moved the rule.
    Timer,
    /// It is an operator's clear of the rule.
    Operator,
    /// A value of it was judged: a sample of the rule.
    Sample,
}

impl Judged {
    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "NOTHING",
            Self::Invalid => "INVALID",
            Self::Late => "LATE",
            Self::Stray => "STRAY",
            Self::Timer => "TIMER",
            Self::Operator => "OPERATOR",
            Self::Sample => "SAMPLE",
        }
    }
}

/// One set of properties that a device reported, as it left validation.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Device time.
    pub t: Millis,
    /// When the hub received it.
    pub received_at: Millis,
    /// Names of properties and their values.
    pub values: Vec<(String, Sampled)>,
}

/// A value that a rule reads and passed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// Its property.
    pub identifier: String,
    /// Its device time.
    pub t: Millis,
    /// As conditions compare it; `None` for what they do not.
    pub value: Option<f64>,
    /// What the device says of it.
    pub quality: Quality,
    /// What validation says of it.
    pub flags: Flags,
    /// [`Judged::Late`] or [`Judged::Invalid`].
    pub why: Judged,
}

/// How a rule took the values of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// In one word.
    pub judged: Judged,
    /// What it passed over.
    pub passed: Vec<Passed>,
    /// If anything was late: the time of the sample that it came behind.
    pub behind: Option<Millis>,
    /// If the rule raises late and judged a late set by what that set says alone.
    pub alone: Option<Alone>,
    /// Late values joined the windows that the rule reads.
    pub joined: bool,
}

/// What the condition of a rule was on late values alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alone {
    /// True on any set, its calendar open; `None` is unknown.
    pub when: Option<bool>,
}

impl DeviceRules {
    /// How each rule takes a message, by the rules as they stand before it; its sets in the order that they came out in.
    #[must_use]
    pub fn judged(mut self, cx: &Context<'_>, sets: &[Heard]) -> Vec<Judgement> {
        let mut told = vec![Judgement::default(); cx.rules.rules.len()];
        for set in sets {
            let values: Vec<Sampled> = set.values.iter().map(|(_, sampled)| *sampled).collect();
            let behind = (set.t < self.newest.t).then_some(self.newest.t);
            for (number, rule) in cx.rules.rules.iter().enumerate() {
                let Some(told) = told.get_mut(number) else { continue };
                let judged = told.take(cx, rule, set, behind);
                if judged != Judged::Late {
                    continue;
                }
                told.behind = behind;
                told.joined |= rule.programs().any(|program| program.windows != 0);
                if self.takes_late(number, rule, set.t) {
                    let when = alone(cx, rule, set.t, &values);
                    let is_true = told.alone.is_some_and(|alone| alone.when == Some(true));
                    told.alone = Some(Alone { when: if is_true { Some(true) } else { when } });
                }
            }
            // No id is made of what comes out.
            let mark = Mark { t: set.t, raw: Mark::NEVER.raw };
            let sample = Sample { mark, rx: set.received_at, values: &values };
            self.sample(cx, &sample, &mut Vec::new());
        }
        for (told, rule) in told.iter_mut().zip(&cx.rules.rules) {
            // One valid value ends a silence: whatever else was said is of no matter.
            if rule.is_absence() && told.judged == Judged::Sample {
                told.passed.clear();
            }
        }
        told
    }

    /// Whether a rule judges a late set of this time: it says so, no alarm of it stands, it has said nothing since.
    fn takes_late(&self, number: usize, rule: &Rule, t: Millis) -> bool {
        let free = |entry: &Entry| entry.phase == Phase::Normal && t > entry.newest_signal;
        let entry = self.entries.iter().find(|entry| usize::from(entry.rule) == number);
        let raises = rule.raises_late && rule.hold == Hold::None && !rule.is_absence();
        raises && entry.is_none_or(free)
    }
}

impl Judgement {
    /// Notes what the rule takes of a set and what it passes over; the set's own judgement.
    fn take(
        &mut self,
        cx: &Context<'_>,
        rule: &Rule,
        set: &Heard,
        behind: Option<Millis>,
    ) -> Judged {
        let mut judged = Judged::Nothing;
        for (identifier, sampled) in &set.values {
            let Some(why) = of_value(cx, rule, sampled, behind.is_some()) else { continue };
            judged = judged.max(why);
            if why != Judged::Sample {
                self.passed.push(Passed {
                    identifier: identifier.clone(),
                    t: set.t,
                    value: number(sampled.value),
                    quality: sampled.quality,
                    flags: sampled.flags,
                    why,
                });
            }
        }
        self.judged = self.judged.max(judged);
        judged
    }
}

/// What a value is to a rule; `None` if the rule does not read it. An absence is ended by any valid value.
fn of_value(cx: &Context<'_>, rule: &Rule, sampled: &Sampled, is_late: bool) -> Option<Judged> {
    let reads = match sampled.property {
        PropertyRef::Known(property) => {
            cx.rules.slot_of(property).is_some_and(|slot| rule.mask & (1 << slot) != 0)
        }
        PropertyRef::Unknown(_) => false,
    };
    if !reads && !rule.is_absence() {
        return None;
    }
    let valid = is_valid(sampled) && (rule.is_absence() || number(sampled.value).is_some());
    Some(match (valid, is_late) {
        (false, _) => Judged::Invalid,
        (true, true) => Judged::Late,
        (true, false) => Judged::Sample,
    })
}

/// Whether the condition is true on what a set says alone: newer values are not of its time.
fn alone(cx: &Context<'_>, rule: &Rule, t: Millis, values: &[Sampled]) -> Option<bool> {
    let mut memory = Memory::new(cx.rules);
    memory.take(cx.rules, t, values);
    let moment = Moment { cx, rule, memory: &memory, t };
    if moment.is_open() { moment.when() } else { Some(false) }
}
