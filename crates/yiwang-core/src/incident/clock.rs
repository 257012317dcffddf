//! Arithmetic of clocks (incidents, section 10): a clock stores budget and consumed time, and
//! derives its due time.
//!
//! Invariant: `consumed_ms` only grows, by folds, and each fold that charged time leaves a segment.
//! A stopped clock never runs again unless it is restarted with a new budget number.

use std::sync::Arc;

use super::rows::{Clock, ClockSegment};
use super::terms::Terms;
use super::words::{Action, ClockKind};
use crate::calendar::Calendar;
use crate::ids::{Hasher, Id};
use crate::record::Millis;

/// Working time between two instants; all of it without a calendar.
#[must_use]
pub fn worked(calendar: Option<&Calendar>, from: Millis, to: Millis) -> i64 {
    if to <= from {
        return 0;
    }
    calendar.map_or(to - from, |calendar| calendar.worked(from, to))
}

/// The earliest instant at which `span_ms` of working time have passed since `from`.
#[must_use]
pub fn after(calendar: Option<&Calendar>, from: Millis, span_ms: i64) -> Millis {
    if span_ms <= 0 {
        return from;
    }
    calendar.map_or(from + span_ms, |calendar| calendar.add(from, span_ms))
}

/// What a new clock is for.
#[derive(Clone, Debug)]
pub struct ClockSpec {
    /// Incident it belongs to.
    pub incident: Id,
    /// Incident, task or request whose time it is.
    pub owner: Id,
    /// What it measures.
    pub kind: ClockKind,
    /// How much may be spent.
    pub budget_ms: i64,
    /// Working calendar; none counts around the clock.
    pub calendar: Option<Arc<str>>,
    /// Rung set by name.
    pub rungs: Arc<str>,
}

/// The id of an owner's clock of a kind.
#[must_use]
pub fn clock_id(owner: Id, kind: ClockKind, milestone: &str) -> Id {
    Hasher::new().id(owner).text(kind.as_str()).text(milestone).finish()
}

impl Clock {
    /// A clock that starts running.
    #[must_use]
    pub fn start(spec: ClockSpec, now: Millis) -> Self {
        Self {
            id: clock_id(spec.owner, spec.kind, ""),
            incident: spec.incident,
            owner: spec.owner,
            kind: spec.kind,
            milestone: None,
            budget_ms: spec.budget_ms,
            budget_no: 1,
            consumed_ms: 0,
            running_since: Some(now),
            stopped: false,
            calendar: spec.calendar,
            generation: 1,
            rungs: spec.rungs,
            next_rung: None,
            fire_at: None,
            overdue_at: None,
            started_at: now,
        }
    }

    /// Consumed so far.
    #[must_use]
    pub fn consumed(&self, calendar: Option<&Calendar>, now: Millis) -> i64 {
        let running = self.running_since.map_or(0, |since| worked(calendar, since, now));
        self.consumed_ms + running
    }

    /// When a running clock will be spent.
    #[must_use]
    pub fn due(&self, calendar: Option<&Calendar>) -> Option<Millis> {
        self.running_since.map(|since| after(calendar, since, self.budget_ms - self.consumed_ms))
    }

    /// When a running clock reaches a share of its budget.
    #[must_use]
    pub fn reaches(&self, calendar: Option<&Calendar>, percent: u32) -> Option<Millis> {
        let share = self.budget_ms * i64::from(percent) / 100;
        self.running_since.map(|since| after(calendar, since, share - self.consumed_ms))
    }
}

/// Folds and reschedules one clock: the calendar it counts by, the rungs it climbs and what proves
/// it.
pub struct Fold<'a> {
    /// Calendar of the clock.
    pub calendar: Option<&'a Calendar>,
    /// Rungs by name.
    pub terms: &'a Terms,
    /// When.
    pub now: Millis,
    /// Action that folds.
    pub cause: Action,
    /// Where the segments go.
    pub segments: &'a mut Vec<ClockSegment>,
}

impl Fold<'_> {
    /// Sets the first rung of a new budget and when it fires.
    pub fn plan(&self, clock: &mut Clock) {
        clock.next_rung = self.terms.first(&clock.rungs, clock.kind, clock.budget_ms);
        self.schedule(clock);
    }

    /// Charges the time since the last fold; a running clock runs on.
    pub fn fold(&mut self, clock: &mut Clock) {
        let from = clock.running_since.unwrap_or(self.now);
        let added_ms = worked(self.calendar, from, self.now);
        if clock.overdue_at.is_none() && clock.consumed_ms + added_ms > clock.budget_ms {
            clock.overdue_at = clock.due(self.calendar);
        }
        clock.consumed_ms += added_ms;
        if self.now > from {
            self.segments.push(ClockSegment {
                clock: clock.id,
                incident: clock.incident,
                generation: clock.generation,
                from,
                to: self.now,
                calendar: clock.calendar.clone(),
                budget_ms: clock.budget_ms,
                budget_no: clock.budget_no,
                added_ms,
                consumed_ms: clock.consumed_ms,
                cause: self.cause,
            });
        }
        clock.generation += 1;
        clock.running_since = clock.running_since.map(|_| self.now);
    }

    /// Stops charging until resumed.
    pub fn pause(&mut self, clock: &mut Clock) {
        self.fold(clock);
        clock.running_since = None;
        clock.fire_at = None;
    }

    /// Charges again from now on.
    pub fn resume(&mut self, clock: &mut Clock) {
        self.fold(clock);
        clock.running_since = Some(self.now);
        self.schedule(clock);
    }

    /// Stops charging for good.
    pub fn stop(&mut self, clock: &mut Clock) {
        self.pause(clock);
        clock.stopped = true;
        clock.next_rung = None;
    }

    /// A larger or smaller budget: what was consumed stays, the rungs begin anew.
    pub fn rebudget(&mut self, clock: &mut Clock, budget_ms: i64) {
        self.fold(clock);
        clock.budget_ms = budget_ms;
        clock.budget_no += 1;
        clock.next_rung = self.terms.first(&clock.rungs, clock.kind, budget_ms);
        self.schedule(clock);
    }

    /// Starts again from nothing under the next budget number.
    pub fn restart(&mut self, clock: &mut Clock, budget_ms: i64) {
        self.fold(clock);
        clock.stopped = false;
        clock.budget_ms = budget_ms;
        clock.budget_no += 1;
        clock.consumed_ms = 0;
        clock.overdue_at = None;
        clock.started_at = self.now;
        clock.running_since = Some(self.now);
        self.plan(clock);
    }

    /// Recomputes when the next rung fires. A repetition counts from now, around the clock.
    pub fn schedule(&self, clock: &mut Clock) {
        clock.fire_at = None;
        let Some(code) = clock.next_rung.filter(|_| clock.running_since.is_some()) else {
            return;
        };
        let Some(rung) = self.terms.rung(&clock.rungs, clock.kind, clock.budget_ms, code) else {
            return;
        };
        clock.fire_at = if code % 100 == 0 {
            clock.reaches(self.calendar, rung.percent)
        } else {
            Some(self.now + rung.every_ms)
        };
    }
}
