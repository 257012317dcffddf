//! Maintenance in the reference interpreter: windows as they were written, overlapping or not.

use super::Reference;
use crate::record::{Millis, SignalKind};

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Held {
    No,
    /// Until a configuration says otherwise.
    Maintenance,
    /// Until the windows end that this instant lies in.
    Window(Millis),
}

impl Reference {
    /// Why a raise at this instant is held.
    pub(super) fn held(&self, t: Millis) -> Held {
        match self.window_end(t) {
            _ if self.maintenance => Held::Maintenance,
            Some(_) => Held::Window(t),
            None => Held::No,
        }
    }

    /// The first instant from then on that lies in no window, if that one does.
    pub(super) fn window_end(&self, t: Millis) -> Option<Millis> {
        let mut end = t;
        while let Some((_, to)) = self.windows.iter().find(|(from, to)| *from <= end && end < *to) {
            end = *to;
        }
        (end != t).then_some(end)
    }

    /// Another configuration: maintenance or windows are not what they were.
    pub(in crate::rules) fn reconfigure(&mut self, now: Millis) {
        let t = self.newest().max(now - self.lag);
        for rule in 0..self.rules.len() {
            match self.all[rule].held {
                Held::No => continue,
                Held::Window(at) if !self.maintenance && self.window_end(at).is_some() => continue,
                _ => {}
            }
            match self.held(t) {
                Held::No => self.release(rule, t),
                held => self.all[rule].held = held,
            }
        }
    }

    pub(super) fn release(&mut self, rule: usize, t: Millis) {
        let one = &mut self.all[rule];
        one.held = Held::No;
        one.newest_signal = one.newest_signal.max(t);
        let said = (one.newest_signal, one.since, one.severity);
        let edge = self.apart(rule, SignalKind::Raise, self.all[rule].cause);
        self.said.push((rule, SignalKind::Raise, said.0, said.1, said.2, "", Some(edge)));
        let one = &mut self.all[rule];
        while let (Some(due), Some(every)) = (one.remind, self.rules[rule].remind) {
            if due > t {
                break;
            }
            one.remind = Some(due + every);
        }
    }
}
