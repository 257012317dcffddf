//! Timers of one device: what is due when, in device time, and what ticks make of it.
//!
//! Equal timers of a rule run in the order edge of its calendar, lapse, hold, clear, quiet, step-down, remind, release; equal timers
//! of several rules in the order of the file. Ticks see the device's clock as their own time less its lag and a grace, so a sample on its
//! way is not overtaken.

use super::machine::{Moment, clear_hold};
use super::state::{Cause, DeviceRules, Emitted, Entry, Held, Mark, Phase, StepState, insert};
use super::{Condition, Context, GRACE_MS, Rule};
use crate::ids;
use crate::maintenance::end_of;
use crate::record::Millis;
use crate::thing::{Hold, MissingPolicy};

/// The timers of a rule, in the order in which equal ones run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// An edge of the calendar counts as what a sample would say at that instant, so it comes first.
    Edge,
    Lapse,
    Hold,
    Clear,
    Quiet,
    StepDown,
    Remind,
    /// A window of maintenance ends: what still stands after all that happens at that instant is raised.
    Release,
}

/// The earliest timer of an entry.
fn earliest(cx: &Context<'_>, rule: &Rule, e: &Entry) -> Option<(Millis, Timer)> {
    if e.phase == Phase::Normal && !e.holds {
        return None;
    }
    let remind = e.remind.filter(|_| e.raised()).map(|(due, _)| (due, Timer::Remind));
    let waits = e.held.window().filter(|_| !cx.held);
    let release = waits.and_then(|t| Some((end_of(cx.windows, t)?, Timer::Release)));
    if e.changed {
        return [remind, release].into_iter().flatten().min();
    }
    let edge = rule.schedule.as_ref().and_then(|calendar| calendar.next_edge(e.judged));
    let edge = edge.map(|t| (t, Timer::Edge));
    if e.phase == Phase::Normal {
        return edge;
    }
    let lapse = match (rule.missing, cx.valid_for, &rule.condition) {
        (MissingPolicy::Keep, _, _) | (_, None, _) | (_, _, Condition::Absent(_)) => None,
        (_, Some(ms), _) if !e.stale => Some((e.seen.t.saturating_add(ms), Timer::Lapse)),
        _ => None,
    };
    let hold = match (e.phase, rule.hold) {
        (Phase::Pending, Hold::For(ms)) => Some((e.start.t.saturating_add(ms), Timer::Hold)),
        _ => None,
    };
    let clear = (e.phase == Phase::Clearing)
        .then(|| (e.start.t.saturating_add(clear_hold(rule, e)), Timer::Clear));
    let quiet = rule.quiet_clear.filter(|_| e.raised());
    let quiet = quiet.map(|ms| (e.last_true.t.saturating_add(ms), Timer::Quiet));
    let falling = e.steps.iter().filter_map(|state| match state {
        StepState::Falling(since) if e.raised() => Some(since.t),
        _ => None,
    });
    let falling = falling.min().map(|t| (t.saturating_add(rule.clear_hold), Timer::StepDown));
    [edge, lapse, hold, clear, quiet, falling, remind, release].into_iter().flatten().min()
}

impl DeviceRules {
    /// Finds the earliest timer anew.
    pub(super) fn find_next(&mut self, cx: &Context<'_>) {
        let due = self.entries.iter().filter_map(|entry| {
            let rule = cx.rules.rules.get(usize::from(entry.rule))?;
            earliest(cx, rule, entry).map(|(due, _)| due)
        });
        self.next = due.min().unwrap_or(Millis::MAX);
    }

    /// Runs every timer due at or before `limit`, earliest first.
    pub(super) fn run_timers(&mut self, cx: &Context<'_>, limit: Millis, out: &mut Vec<Emitted>) {
        loop {
            let due = self.entries.iter().enumerate().filter_map(|(at, entry)| {
                let rule = cx.rules.rules.get(usize::from(entry.rule))?;
                earliest(cx, rule, entry).map(|(due, timer)| (due, at, timer, rule))
            });
            let Some((due, at, timer, rule)) = due.min_by_key(|(due, at, ..)| (*due, *at)) else {
                self.next = Millis::MAX;
                return;
            };
            self.next = due;
            if due > limit {
                return;
            }
            let Some(entry) = self.entries.get_mut(at) else { return };
            let moment = Moment { cx, rule, memory: &self.memory, t: due };
            moment.timer(entry, timer, limit, out);
            if entry.is_blank() {
                self.entries.remove(at);
            }
        }
    }

    /// A tick that may move timers: `now` is its time, `listening_since` the end of our last silence.
    pub fn tick(
        &mut self,
        cx: &Context<'_>,
        now: Millis,
        listening_since: Millis,
        out: &mut Vec<Emitted>,
    ) {
        if !self.is_awaited() {
            return;
        }
        let limit = self.clock(now);
        if self.next <= limit {
            self.run_timers(cx, limit, out);
        }
        if cx.rules.shortest_absence.is_some() {
            self.run_absent(cx, now, listening_since, out);
        }
    }

    fn run_absent(
        &mut self,
        cx: &Context<'_>,
        now: Millis,
        listening_since: Millis,
        out: &mut Vec<Emitted>,
    ) {
        for (index, rule) in cx.rules.rules.iter().enumerate() {
            let Some(ms) = rule.absent() else { continue };
            let at = self.entries.partition_point(|entry| usize::from(entry.rule) < index);
            let known = self.entries.get(at).is_some_and(|e| usize::from(e.rule) == index);
            let Some((opened, from)) = self.silent_since(index) else { continue };
            if now < self.absent_due(opened, listening_since, ms) {
                continue;
            }
            if !known {
                insert(&mut self.entries, at, (index, rule));
            }
            let Some(entry) = self.entries.get_mut(at) else { continue };
            let edge = from.saturating_add(ms);
            let moment = Moment { cx, rule, memory: &self.memory, t: edge };
            moment.raise(entry, edge, edge, (opened, opened.born(edge)), out);
        }
        self.find_next(cx);
    }

    /// Another configuration: what was held and is held no more is raised, at `now` by the device's clock. What waits for
    /// the end of a window that is still there goes on waiting; the same configuration changes nothing.
    pub fn release(&mut self, cx: &Context<'_>, now: Millis, out: &mut Vec<Emitted>) {
        let t = self.newest.t.max(now.saturating_sub(self.lag));
        for entry in &mut self.entries {
            let Some(rule) = cx.rules.rules.get(usize::from(entry.rule)) else { continue };
            match entry.held {
                Held::No => continue,
                Held::Window(at) if !cx.held && end_of(cx.windows, at).is_some() => continue,
                Held::Window(_) | Held::Lifecycle => {}
            }
            let moment = Moment { cx, rule, memory: &self.memory, t };
            match moment.held() {
                Held::No => moment.release(entry, out),
                held => entry.held = held,
            }
        }
        self.find_next(cx);
    }

    /// The device's clock as timers see it at `now`.
    pub(super) fn clock(&self, now: Millis) -> Millis {
        now.saturating_sub(self.lag).saturating_sub(GRACE_MS)
    }

    /// What an absence that is not raised is counted from, and when that was by the device's clock: its newest sample or
    /// when it began to be waited for, or an operator's clear since then.
    fn silent_since(&self, rule: usize) -> Option<(Mark, Millis)> {
        let heard = self.silent_from();
        match self.entries.iter().find(|entry| usize::from(entry.rule) == rule) {
            Some(entry) if entry.raised() => None,
            Some(Entry { start, .. }) if *start != Mark::NEVER => {
                Some((*start, self.clock(start.t).max(heard.t)))
            }
            _ => Some((heard, heard.t)),
        }
    }

    /// The earliest tick that can move a timer other than an absence.
    fn timer_due(&self) -> Option<Millis> {
        (self.next != Millis::MAX)
            .then(|| self.next.saturating_add(self.lag).saturating_add(GRACE_MS))
    }

    /// The earliest tick that can move anything; `None` while there is no timer.
    #[must_use]
    pub fn due(&self, cx: &Context<'_>, listening_since: Millis) -> Option<Millis> {
        if !self.is_awaited() {
            return None;
        }
        let timers = self.timer_due();
        if cx.rules.shortest_absence.is_none() {
            return timers;
        }
        let absent = cx.rules.rules.iter().enumerate().filter_map(|(index, rule)| {
            let ms = rule.absent()?;
            let (opened, _) = self.silent_since(index)?;
            Some(self.absent_due(opened, listening_since, ms))
        });
        absent.chain(timers).min()
    }

    /// By our own clock: we must have listened for all of that time. A device that brings what it kept is not silent,
    /// however old its samples are.
    fn absent_due(&self, opened: Mark, listening_since: Millis, ms: Millis) -> Millis {
        let since = self.silent_from().t.max(opened.t).max(listening_since);
        since.saturating_add(GRACE_MS).max(self.heard).saturating_add(ms)
    }
}

impl Moment<'_> {
    /// Runs a timer; `limit` is up to when time passes at once.
    fn timer(&self, e: &mut Entry, timer: Timer, limit: Millis, out: &mut Vec<Emitted>) {
        let t = self.t;
        match timer {
            Timer::Edge => self.edge(e, out),
            Timer::Lapse => self.lapse(e, out),
            Timer::Hold => {
                let start = e.start;
                self.raise(e, t, start.t, (start, start.born(t)), out);
            }
            Timer::Clear => {
                let born = e.start.born(t);
                self.clear(e, (t, Cause::Condition, born), out);
            }
            Timer::Quiet => {
                let born = e.last_true.born(t);
                self.clear(e, (t, Cause::Quiet, born), out);
            }
            Timer::StepDown => {
                let mut opened = Mark::NEVER;
                for state in &mut e.steps {
                    if let StepState::Falling(since) = *state
                        && since.t.saturating_add(self.rule.clear_hold) <= t
                    {
                        opened = since;
                        *state = StepState::Off;
                    }
                }
                self.settle(e, t, opened.born(t), out);
            }
            Timer::Remind => {
                let Some((due, count)) = e.remind else { return };
                // One for all of a jump: a clock that was wrong, or we were away.
                let every = self.rule.remind.unwrap_or(Millis::MAX).max(1);
                let passed = limit.saturating_sub(due).max(0) / every + 1;
                e.remind = Some((due.saturating_add(passed.saturating_mul(every)), count + 1));
                if e.phase == Phase::Firing {
                    // Repeats of one alarm without device time differ by their number.
                    let mut mark = e.raised_by;
                    if mark.raw != ids::Id(0) {
                        mark.raw = ids::output(mark.raw, count + 1);
                    }
                    self.remind(e, t, mark.born(t), out);
                }
            }
            Timer::Release => self.release(e, out),
        }
    }

    /// The newest sample is too old to count.
    fn lapse(&self, e: &mut Entry, out: &mut Vec<Emitted>) {
        match (e.phase, self.rule.missing) {
            (Phase::Pending, _) => e.rest(),
            (_, MissingPolicy::Clear) => {
                let born = e.seen.born(self.t);
                self.clear(e, (self.t, Cause::Missing, born), out);
            }
            _ => {
                // One good sample before a silence proves no end, of the alarm or of a step.
                e.unproved();
                e.stale = true;
            }
        }
    }
}
