//! An operator's clear in the reference interpreter.

use super::{Reference, State};
use crate::record::Millis;

impl Reference {
    /// The alarm ends by an operator's word at `now`, if it stands.
    pub(in crate::rules) fn operator_clears(&mut self, rule: usize, now: Millis) {
        if !matches!(self.all[rule].state, State::Firing | State::Clearing(_)) {
            return;
        }
        let t = self.newest().max(now - self.lag - 10_000);
        let absent = self.absent(rule).is_some();
        self.all[rule].anew = Some(now);
        self.clear(rule, t, "OPERATOR", true);
        let one = &mut self.all[rule];
        one.judged = one.judged.max(t);
        one.anew = one.anew.filter(|_| absent);
    }
}
