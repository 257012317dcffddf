//! An operator's clear: the alarm of a rule ends because a person says so (devices §5).
//!
//! It ends as any other does, and nothing is proved by it: the next true sample raises anew, a hold begins from nothing. An
//! absence has no true sample, so it is counted anew from the clear: a device that stays silent is told again.

use super::state::{Cause, DeviceRules, Emitted, Entry, Mark};
use super::{Context, machine::Moment};

impl DeviceRules {
    /// Clears the alarm of a rule if one stands, and says whether one did. `by` is the record of it and when it came by our
    /// own clock; the signal has the device's clock of then. Of a raise that nobody was told of nothing is said.
    pub fn clear(
        &mut self,
        cx: &Context<'_>,
        rule: usize,
        by: Mark,
        out: &mut Vec<Emitted>,
    ) -> bool {
        let t = self.newest.t.max(self.clock(by.t));
        let stands = |entry: &Entry| usize::from(entry.rule) == rule && entry.raised();
        let Some(at) = self.entries.iter().position(stands) else { return false };
        let (Some(text), Some(entry)) = (cx.rules.rules.get(rule), self.entries.get_mut(at)) else {
            return false;
        };
        let moment = Moment { cx, rule: text, memory: &self.memory, t };
        moment.clear(entry, (t, Cause::Operator, by.born(t)), out);
        // Edges of the calendar up to here are past: none of them raises what was cleared after it.
        entry.judged = entry.judged.max(t);
        if text.is_absence() {
            entry.start = by;
        }
        if entry.is_blank() {
            self.entries.remove(at);
        }
        self.find_next(cx);
        true
    }
}
