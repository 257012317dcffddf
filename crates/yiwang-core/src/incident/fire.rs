//! What happens when a clock reaches a rung (incidents, section 11).
//!
//! Invariant: a rung fires once per (clock, budget number, rung): the row in `fires` is the claim
//! and lies in the same transaction as the effect. Rungs that were missed fire in order, once.

use super::rows::{TimerFire, UnitId};
use super::session::{Session, Staged};
use super::step::{Origin, Step};
use super::terms::{Rung, RungAct};
use super::words::{Action, Cause, CauseKind, NoticeKind};
use crate::ids::Id;

/// A schedule that has come: which clock of which incident, as it was when it was scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Incident.
    pub incident: Id,
    /// Clock.
    pub clock: Id,
    /// Generation of the clock; an older one is ignored.
    pub generation: u32,
}

impl Session<'_> {
    /// Fires every rung that a clock has reached; the answer is their number.
    pub fn fire(&mut self, due: Due) -> Staged<u32> {
        let work = match self.loaded(due.incident) {
            Ok(Some(work)) => work,
            Ok(None) => return Staged::Done(0),
            Err(id) => return Staged::Need(id),
        };
        let clocks = &self.works[work].clocks;
        let Some(index) = clocks.iter().position(|clock| clock.id == due.clock) else {
            return Staged::Done(0);
        };
        if clocks[index].generation != due.generation {
            return Staged::Done(0);
        }
        let mut fired = 0;
        while let Some((code, rung)) = self.reached(work, index) {
            self.fire_one(work, index, code, &rung);
            fired += 1;
        }
        Staged::Done(fired)
    }

    fn reached(&self, work: usize, index: usize) -> Option<(u32, Rung)> {
        let clock = &self.works[work].clocks[index];
        let code = clock.next_rung?;
        clock.fire_at.filter(|at| *at <= self.context.now)?;
        let terms = self.context.terms;
        let rung = terms.rung(&clock.rungs, clock.kind, clock.budget_ms, code)?;
        Some((code, rung.clone()))
    }

    fn fire_one(&mut self, work: usize, index: usize, code: u32, rung: &Rung) {
        let clock = &self.works[work].clocks[index];
        let claim = TimerFire {
            clock: clock.id,
            budget_no: clock.budget_no,
            rung: code,
            at: self.context.now,
        };
        let cause_id = format!("{}/{}/{code}", clock.id, clock.budget_no);
        let origin = Origin::system(&self.works[work].incident, CauseKind::Rung, cause_id);
        self.out.fires.push(claim);
        let mut step = self.step(work, origin);
        step.next_rung(index, code);
        step.climb_rung(index, code, rung);
        step.finish();
    }
}

impl Step<'_, '_> {
    /// Moves the clock to the rung after this one; old schedules die with the generation.
    fn next_rung(&mut self, index: usize, code: u32) {
        let terms = self.context.terms;
        let clock = &self.work.clocks[index];
        let next = terms.after(&clock.rungs, clock.kind, clock.budget_ms, code);
        self.fold(index, Action::Rung, |fold, clock| {
            clock.generation += 1;
            clock.next_rung = next;
            fold.schedule(clock);
        });
    }

    /// No further repetition of a rung that has done its work.
    fn last_rung(&mut self, index: usize) {
        self.fold(index, Action::Rung, |_, clock| {
            clock.next_rung = None;
            clock.fire_at = None;
        });
    }

    fn climb_rung(&mut self, index: usize, code: u32, rung: &Rung) {
        let kind = self.work.clocks[index].kind;
        let detail = format!("{} at {} %", kind.as_str(), rung.percent);
        match rung.act {
            RungAct::Climb => return self.ack_missed(index, code, detail),
            RungAct::NextApprover => return self.next_approver(index, detail),
            RungAct::Warn => self.tell_owner(index, NoticeKind::Warn),
            RungAct::TellDesk => {
                self.tell(self.work.incident.desk.clone(), NoticeKind::Overdue);
            }
            RungAct::TellAbove => {
                let desk = self.work.incident.desk.clone();
                let above = self.context.ground().up(&self.work.incident, &desk);
                self.tell(above, NoticeKind::Overdue);
            }
            RungAct::Overdue => {
                self.latch(index);
                self.tell_owner(index, NoticeKind::Overdue);
            }
            RungAct::OverdueMore => {
                self.latch(index);
                self.tell_owner(index, NoticeKind::Overdue);
                self.tell(self.context.district.id().clone(), NoticeKind::Overdue);
            }
        }
        self.version(Action::Rung, detail);
    }

    /// The unit whose time it is and the one above it.
    fn tell_owner(&mut self, index: usize, kind: NoticeKind) {
        let owner = self.work.clocks[index].owner;
        let task = self.work.tasks.iter().find(|task| task.id == owner);
        let unit = task.map(|task| &task.unit).or(self.work.incident.holder.as_ref());
        let Some(unit) = unit.cloned() else { return };
        let above = self.context.ground().up(&self.work.incident, &unit);
        self.tell(unit, kind);
        self.tell(above, kind);
    }

    /// Overdue is latched once, at the time the clock was spent.
    fn latch(&mut self, index: usize) {
        let now = self.now();
        self.fold(index, Action::Rung, |fold, clock| {
            let at = clock.reaches(fold.calendar, 100).unwrap_or(now);
            clock.overdue_at.get_or_insert(at);
        });
    }

    /// T11 for the lead; at the top the commander is told; an assist is only reported.
    fn ack_missed(&mut self, index: usize, code: u32, detail: String) {
        let owner = self.work.clocks[index].owner;
        let lead = self.work.lead().map(|lead| &self.work.tasks[lead]);
        let leads = lead.filter(|task| task.id == owner).map(|task| task.unit.clone());
        self.latch(index);
        let Some(unit) = leads else {
            self.last_rung(index);
            self.tell_owner(index, NoticeKind::Overdue);
            return self.version(Action::Rung, detail);
        };
        if unit == *self.context.district.id() {
            self.tell(unit, NoticeKind::Unanswered);
            let detail = format!("{detail}, notice {}", code % 100 + 1);
            return self.version(Action::Rung, detail);
        }
        let up: UnitId = self.context.ground().up(&self.work.incident, &unit);
        self.dispatch(Action::Climb, Cause::AckMissed, Some(up));
    }

    /// Silence is never consent: the request goes to the next approver up, with a budget of its
    /// own.
    fn next_approver(&mut self, index: usize, detail: String) {
        let owner = self.work.clocks[index].owner;
        let Some(place) = self.work.requests.iter().position(|request| request.id == owner) else {
            return self.last_rung(index);
        };
        let approver = self.work.requests[place].approver.clone();
        let up = self.context.ground().up(&self.work.incident, &approver);
        self.latch(index);
        if approver == *self.context.district.id() {
            self.tell(approver, NoticeKind::Unanswered);
        } else {
            self.work.request(place).approver = up.clone();
            let budget_ms = self.work.clocks[index].budget_ms;
            self.fold(index, Action::RequestStep, |fold, clock| fold.restart(clock, budget_ms));
            self.tell(up, NoticeKind::Request);
        }
        self.version(Action::RequestStep, detail);
    }
}
