//! Ticks and absences in the reference interpreter.

use super::{Reference, State};
use crate::record::Millis;

impl Reference {
    /// The device is waited for from `since` on, though it was never heard.
    pub(in crate::rules) fn wait(&mut self, since: Millis) {
        self.heard = since;
    }

    /// What silence is counted from.
    pub(super) fn silent_from(&self) -> Millis {
        if self.history.is_empty() { self.heard } else { self.newest() }
    }

    pub(in crate::rules) fn tick(&mut self, now: Millis, listening_since: Millis) {
        if self.heard == Millis::MIN {
            return;
        }
        self.advance(now - self.lag - 10_000);
        for rule in 0..self.rules.len() {
            let Some(ms) = self.absent(rule) else { continue };
            let anew = self.all[rule].anew.unwrap_or(Millis::MIN);
            let due = self.silent_from().max(listening_since).max(anew) + ms + 10_000;
            let due = due.max(self.heard + ms);
            if self.all[rule].state == State::Normal && now >= due {
                let edge = self.silent_from().max(anew.saturating_sub(self.lag + 10_000)) + ms;
                self.raise(rule, edge, edge, true);
            }
        }
    }
}
