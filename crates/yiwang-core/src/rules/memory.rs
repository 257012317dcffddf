//! What is kept of a device's values for its rules: newest, previous and windows; only what some rule reads.
//!
//! Owns which values count and how they are taken. It knows no rule and no time but that of the values.

use super::RuleSet;
use super::program::UNKNOWN;
use super::snapshot::FIRST_WITH_WINDOWS;
use super::window::Window;
use crate::record::Millis;
use crate::route::bytes::{Damaged, Reader, Writer};
use crate::sample::{PropertyRef, Sampled, Value};

/// A valid value of a property of one device.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The value as a number; NaN before the first.
    pub value: f64,
    /// Its time.
    pub t: Millis,
}

impl Slot {
    /// No value yet.
    pub const EMPTY: Self = Self { value: UNKNOWN, t: Millis::MIN };
}

/// The values of one device.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Newest valid value, by slot.
    pub(super) slots: Box<[Slot]>,
    /// The one before it, by number of `prev()`.
    pub(super) previous: Box<[Slot]>,
    /// By number of the window.
    pub(super) windows: Box<[Window]>,
}

/// Whether a value counts for rules, latest values and liveness.
#[must_use]
pub fn is_valid(sampled: &Sampled) -> bool {
    sampled.counts() && matches!(sampled.property, PropertyRef::Known(_))
}

/// A value as conditions compare it; texts are not for rules.
#[must_use]
pub fn number(value: Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(u8::from(value))),
        Value::Int(value) | Value::Date(value) => Some(value as f64),
        Value::Float(value) => Some(value),
        Value::Enum(value) => Some(f64::from(value)),
        Value::Text(_) | Value::Json(_) => None,
    }
}

/// Hands out the valid values that rules read, the first of each property, and gives the bits of their slots.
#[inline]
fn each(rules: &RuleSet, values: &[Sampled], mut take: impl FnMut(usize, f64)) -> u128 {
    let mut touched = 0_u128;
    for sampled in values {
        // Most values are read by no rule.
        let PropertyRef::Known(property) = sampled.property else { continue };
        let Some(slot) = rules.slot_of(property).filter(|_| sampled.counts()) else { continue };
        let Some(value) = number(sampled.value) else { continue };
        if touched & (1 << slot) == 0 {
            touched |= 1 << slot;
            take(slot, value);
        }
    }
    touched
}

impl Memory {
    /// Of a device that has sent nothing.
    #[must_use]
    pub fn new(rules: &RuleSet) -> Self {
        Self {
            slots: vec![Slot::EMPTY; rules.properties.len()].into(),
            previous: vec![Slot::EMPTY; rules.previous.len()].into(),
            windows: vec![Window::EMPTY; rules.windows.len()].into(),
        }
    }

    /// Reads the memory that a sample will read; the answer says nothing.
    pub(super) fn touch(&self) -> usize {
        self.slots.first().map_or(0, |slot| slot.t as usize)
    }

    /// Takes the valid values of one instant that rules read; gives the bits of the slots written.
    pub(super) fn take(&mut self, rules: &RuleSet, t: Millis, values: &[Sampled]) -> u128 {
        each(rules, values, |slot, value| {
            let Some(place) = self.slots.get_mut(slot) else { return };
            let now = Slot { value, t };
            let before = std::mem::replace(place, now);
            if rules.remembers {
                self.remember(rules, slot, before, now);
            }
        })
    }

    /// Late values are history: they join the panes that are still held and change nothing else.
    pub(super) fn take_late(&mut self, rules: &RuleSet, t: Millis, values: &[Sampled]) {
        if !rules.windows.is_empty() {
            each(rules, values, |slot, value| self.join(rules, slot, Slot { value, t }));
        }
    }

    /// What stood in a slot, and what stands there now.
    fn remember(&mut self, rules: &RuleSet, slot: usize, before: Slot, now: Slot) {
        // Another message of the same instant corrects the value; it makes none before it.
        if before.t < now.t {
            for (previous, of) in self.previous.iter_mut().zip(&rules.previous) {
                if usize::from(*of) == slot {
                    *previous = before;
                }
            }
        }
        self.join(rules, slot, now);
    }

    fn join(&mut self, rules: &RuleSet, slot: usize, now: Slot) {
        for (window, of) in self.windows.iter_mut().zip(&rules.windows) {
            if usize::from(of.slot) == slot {
                window.join(of.span, now.t, now.value);
            }
        }
    }

    pub(super) fn encode(&self, to: &mut Writer) {
        for slots in [&self.slots, &self.previous] {
            to.count(slots.len());
            for slot in slots {
                to.float(slot.value);
                to.int(slot.t);
            }
        }
        to.count(self.windows.len());
        self.windows.iter().for_each(|window| window.encode(to));
    }

    pub(super) fn decode(from: &mut Reader<'_>, version: u8) -> Result<Self, Damaged> {
        let slot = |r: &mut Reader<'_>| Ok(Slot { value: r.float()?, t: r.int()? });
        let slots = from.list(slot)?.into();
        if version < FIRST_WITH_WINDOWS {
            return Ok(Self { slots, previous: Box::default(), windows: Box::default() });
        }
        let previous = from.list(slot)?.into();
        Ok(Self { slots, previous, windows: from.list(Window::decode)?.into() })
    }
}
