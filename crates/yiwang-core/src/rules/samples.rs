//! Samples of one device through all its rules, in the order of devices §5: timers due before, the sample, timers due at.
//!
//! Owns what counts as a sample and what is late. The fast path (no alarm stands, no condition true) runs each rule's
//! program and touches nothing else.

use super::Context;
use super::machine::Moment;
use super::program::Slot;
use super::state::{DeviceRules, Emitted, Entry, Mark, Phase};
use crate::record::Millis;
use crate::sample::{Flags, PropertyRef, Quality, Sampled, Value};
use crate::thing::Hold;

/// One set of values of one device at one device time.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    /// Its time, and the raw record where that is our time.
    pub mark: Mark,
    /// When the hub received it.
    pub rx: Millis,
    /// Its values; invalid ones are passed over.
    pub values: &'a [Sampled],
}

/// Whether a value counts for rules, latest values and liveness.
#[must_use]
pub fn is_valid(sampled: &Sampled) -> bool {
    const NOT: u32 = Flags::OUT_OF_RANGE.0 | Flags::BAD_TYPE.0 | Flags::UNKNOWN_PROPERTY.0;
    sampled.quality != Quality::Bad
        && sampled.flags.0 & NOT == 0
        && matches!(sampled.property, PropertyRef::Known(_))
}

fn number(value: Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(u8::from(value))),
        Value::Int(value) | Value::Date(value) => Some(value as f64),
        Value::Float(value) => Some(value),
        Value::Enum(value) => Some(f64::from(value)),
        Value::Text(_) | Value::Json(_) => None,
    }
}

/// Writes the valid values that rules read; gives the bits of the slots written.
fn apply(cx: &Context<'_>, sample: &Sample<'_>, slots: &mut [Slot]) -> u128 {
    let mut touched = 0_u128;
    for sampled in sample.values.iter().filter(|sampled| is_valid(sampled)) {
        let PropertyRef::Known(property) = sampled.property else { continue };
        let (Some(slot), Some(value)) = (cx.rules.slot_of(property), number(sampled.value)) else {
            continue;
        };
        // Two values of one property at one instant: the first stands.
        let again = touched & (1 << slot) != 0;
        if let Some(place) = slots.get_mut(slot).filter(|_| !again) {
            *place = Slot { value, t: sample.mark.t };
            touched |= 1 << slot;
        }
    }
    touched
}

impl DeviceRules {
    /// Runs one set through the rules. Sets of one record come in ascending time.
    pub fn sample(&mut self, cx: &Context<'_>, sample: &Sample<'_>, out: &mut Vec<Emitted>) {
        if !sample.values.iter().any(is_valid) {
            return;
        }
        let t = sample.mark.t;
        if t < self.newest.t {
            return self.late(cx, sample, out);
        }
        if self.next < t {
            self.run_timers(cx, t - 1, out);
        }
        self.newest = sample.mark;
        let lag = sample.rx.saturating_sub(t);
        self.lag = lag.max(-cx.clock_skew).min(cx.late_after.max(-cx.clock_skew));
        let touched = apply(cx, sample, &mut self.slots);
        let changed = self.step_all(cx, sample.mark, touched, out);
        if changed {
            self.entries.retain(|entry| !entry.is_blank());
            self.schedule(cx);
        }
        if self.next <= t {
            self.run_timers(cx, t, out);
        }
    }

    /// Every rule that the sample is one for; whether any state was looked at.
    fn step_all(
        &mut self,
        cx: &Context<'_>,
        mark: Mark,
        touched: u128,
        out: &mut Vec<Emitted>,
    ) -> bool {
        let mut at = 0;
        let mut changed = false;
        for (index, rule) in cx.rules.rules.iter().enumerate() {
            while self.entries.get(at).is_some_and(|entry| usize::from(entry.rule) < index) {
                at += 1;
            }
            if rule.mask & touched == 0 && rule.absent().is_none() {
                continue;
            }
            let moment = Moment { cx: *cx, rule, slots: &self.slots, t: mark.t };
            let when = moment.when();
            let known = self.entries.get(at).is_some_and(|entry| usize::from(entry.rule) == index);
            if !known {
                if !when {
                    continue;
                }
                self.entries.insert(at, Entry::new(index as u16, rule.steps.len(), rule.base));
            }
            changed = true;
            if let Some(entry) = self.entries.get_mut(at) {
                moment.sample(entry, mark, when, out);
            }
        }
        changed
    }

    /// A set below the newest time: history, but for the rules that say otherwise.
    fn late(&mut self, cx: &Context<'_>, sample: &Sample<'_>, out: &mut Vec<Emitted>) {
        if !cx.rules.rules.iter().any(|rule| rule.raises_late) {
            return;
        }
        // Only what the set itself says: newer values are not of its time. Rare, so it may allocate.
        let mut slots = vec![Slot::EMPTY; cx.rules.slots()];
        let touched = apply(cx, sample, &mut slots);
        let newest = self.newest.t;
        for (index, rule) in cx.rules.rules.iter().enumerate() {
            if !rule.raises_late || rule.mask & touched == 0 || rule.hold != Hold::None {
                continue;
            }
            let moment = Moment { cx: *cx, rule, slots: &slots, t: sample.mark.t };
            let at = self.entries.partition_point(|entry| usize::from(entry.rule) < index);
            if self.entries.get(at).is_none_or(|entry| usize::from(entry.rule) != index) {
                let entry = Entry::new(index as u16, rule.steps.len(), rule.base);
                self.entries.insert(at, entry);
            }
            if let Some(entry) = self.entries.get_mut(at) {
                debug_assert!(entry.phase != Phase::Pending, "no hold, so never pending");
                moment.late(entry, newest, out);
            }
        }
        self.entries.retain(|entry| !entry.is_blank());
    }
}
