//! Samples of one device through all its rules, in the order of devices §5: timers due before, the sample, timers due at.
//!
//! Owns what is late. The fast path (no alarm stands, no condition true) runs each rule's
//! program and touches nothing else.

use super::Context;
use super::machine::Moment;
use super::memory::{Memory, is_valid};
use super::state::{DeviceRules, Emitted, Mark, Phase, insert};
use crate::record::Millis;
use crate::sample::Sampled;
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

/// What a set did to the rules.
struct Stepped {
    /// Whether any state was looked at.
    changed: bool,
    /// Whether any condition is true.
    alarming: bool,
}

impl DeviceRules {
    /// Runs one set through the rules; whether the condition of any is true on it, be an alarm raised or not. Sets of
    /// one record come in ascending time.
    pub fn sample(
        &mut self,
        cx: &Context<'_>,
        sample: &Sample<'_>,
        out: &mut Vec<Emitted>,
    ) -> bool {
        if !sample.values.iter().any(is_valid) {
            return false;
        }
        let t = sample.mark.t;
        if t < self.newest.t {
            return self.late(cx, sample, false, out);
        }
        if self.next < t {
            self.run_timers(cx, t.saturating_sub(1), out);
        }
        self.newest = sample.mark;
        let lag = sample.rx.saturating_sub(t);
        self.heard = self.heard.max(sample.rx);
        self.lag = lag.max(-cx.clock_skew).min(cx.late_after.max(-cx.clock_skew));
        let touched = self.memory.take(cx.rules, t, sample.values);
        let Stepped { changed, alarming } = self.step_all(cx, sample.mark, touched, out);
        if changed {
            self.entries.retain(|entry| !entry.is_blank());
            self.find_next(cx);
        }
        if self.next <= t {
            self.run_timers(cx, t, out);
        }
        alarming
    }

    /// One set of a device whose rules are judged in another partition: what is true without a hold is raised and cleared
    /// at once, for nobody here would see its end.
    pub fn stray(&mut self, cx: &Context<'_>, sample: &Sample<'_>, out: &mut Vec<Emitted>) -> bool {
        sample.values.iter().any(is_valid) && self.late(cx, sample, true, out)
    }

    /// Every rule that the sample is one for.
    fn step_all(
        &mut self,
        cx: &Context<'_>,
        mark: Mark,
        touched: u128,
        out: &mut Vec<Emitted>,
    ) -> Stepped {
        let mut at = 0;
        let mut stepped = Stepped { changed: false, alarming: false };
        for (index, rule) in cx.rules.rules.iter().enumerate() {
            while self.entries.get(at).is_some_and(|entry| usize::from(entry.rule) < index) {
                at += 1;
            }
            if rule.mask & touched == 0 && !rule.is_absence() {
                continue;
            }
            let moment = Moment { cx, rule, memory: &self.memory, t: mark.t };
            let holds = moment.holds();
            stepped.alarming |= holds && moment.is_open();
            let known = self.entries.get(at).is_some_and(|entry| usize::from(entry.rule) == index);
            if !known {
                if !holds {
                    continue;
                }
                insert(&mut self.entries, at, (index, rule));
            }
            stepped.changed = true;
            if let Some(entry) = self.entries.get_mut(at) {
                moment.sample(entry, mark, holds, out);
            }
        }
        stepped
    }

    /// A set below the newest time, or a stray one: history, but for the rules that say otherwise, or for `all`. Whether
    /// any condition is true on it.
    fn late(
        &mut self,
        cx: &Context<'_>,
        sample: &Sample<'_>,
        all: bool,
        out: &mut Vec<Emitted>,
    ) -> bool {
        self.memory.take_late(cx.rules, sample.mark.t, sample.values);
        // Only what the set itself says: newer values are not of its time. Rare, so it may allocate.
        let mut memory = Memory::new(cx.rules);
        let touched = memory.take(cx.rules, sample.mark.t, sample.values);
        let newest = self.newest.t.max(sample.mark.t);
        let mut alarming = false;
        for (index, rule) in cx.rules.rules.iter().enumerate() {
            if rule.mask & touched == 0 {
                continue;
            }
            let moment = Moment { cx, rule, memory: &memory, t: sample.mark.t };
            alarming |= moment.holds() && moment.is_open();
            if !(rule.raises_late || all) || rule.hold != Hold::None {
                continue;
            }
            let at = self.entries.partition_point(|entry| usize::from(entry.rule) < index);
            if self.entries.get(at).is_none_or(|entry| usize::from(entry.rule) != index) {
                insert(&mut self.entries, at, (index, rule));
            }
            if let Some(entry) = self.entries.get_mut(at) {
                debug_assert!(entry.phase != Phase::Pending, "no hold, so never pending");
                moment.late(entry, newest, out);
            }
        }
        self.entries.retain(|entry| !entry.is_blank());
        alarming
    }
}
