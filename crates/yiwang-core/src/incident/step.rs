//! One effect on one incident while it is staged: the rows of the case, and how a version is made
//! of them.
//!
//! Invariant: every version leaves one history row and the state follows the table; clocks are
//! touched only through here, so that due times in views are never stale.

use std::sync::Arc;

use super::changes::{Case, Changes, Upsert};
use super::clock::{ClockSpec, Fold, clock_id};
use super::dispatch::Ground;
use super::machine;
use super::rows::{
    Actor, AuditRow, Clock, History, Incident, Notice, OutboxRow, Request, Task, UnitId,
};
use super::terms::{OutboxGrain, Terms};
use super::words::{
    Action, CauseKind, ChangeKind, ClockKind, NoticeKind, RequestState, Role, State, TaskRole,
};
use crate::access;
use crate::district::District;
use crate::ids::{Hasher, Id};
use crate::policy::{Budget, Policy};
use crate::record::Millis;

/// What every step may look at.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) district: &'a District,
    pub(crate) terms: &'a Terms,
    pub(crate) now: Millis,
    pub(crate) mode_epoch: i64,
}

impl<'a> Context<'a> {
    pub(crate) fn ground(&self) -> Ground<'a> {
        Ground { district: self.district, now: self.now }
    }
}

/// A case being changed, and which of its rows have changed.
pub(crate) struct Work {
    pub(crate) incident: Incident,
    pub(crate) tasks: Vec<Task>,
    pub(crate) clocks: Vec<Clock>,
    pub(crate) requests: Vec<Request>,
    pub(crate) policy: Option<Arc<Policy>>,
    audience: Vec<UnitId>,
    base: i64,
    changed: bool,
    changed_tasks: Vec<usize>,
    changed_clocks: Vec<usize>,
    changed_requests: Vec<usize>,
    clocks_stored: usize,
}

impl Work {
    /// A case as loaded.
    pub(crate) fn load(district: &District, case: Case, policy: Option<Arc<Policy>>) -> Self {
        let Case { incident, tasks, clocks, requests } = case;
        Self {
            audience: access::audience(district, &incident, &tasks),
            base: incident.version,
            changed: false,
            clocks_stored: clocks.len(),
            incident,
            tasks,
            clocks,
            requests,
            policy,
            changed_tasks: Vec::new(),
            changed_clocks: Vec::new(),
            changed_requests: Vec::new(),
        }
    }

    /// A new incident: version 0 until its first version is made.
    pub(crate) fn open(incident: Incident, policy: Arc<Policy>) -> Self {
        Self {
            audience: Vec::new(),
            base: 0,
            changed: false,
            clocks_stored: 0,
            incident,
            tasks: Vec::new(),
            clocks: Vec::new(),
            requests: Vec::new(),
            policy: Some(policy),
            changed_tasks: Vec::new(),
            changed_clocks: Vec::new(),
            changed_requests: Vec::new(),
        }
    }

    /// The live LEAD task.
    pub(crate) fn lead(&self) -> Option<usize> {
        self.tasks.iter().position(|task| task.role == TaskRole::Lead && task.state.is_live())
    }

    /// The live ASSIST task of a unit.
    pub(crate) fn assist(&self, unit: &str) -> Option<usize> {
        self.tasks.iter().position(|task| {
            task.role == TaskRole::Assist && task.state.is_live() && &*task.unit == unit
        })
    }

    /// The pending request.
    pub(crate) fn pending(&self) -> Option<usize> {
        self.requests.iter().position(|request| request.state == RequestState::Pending)
    }

    /// The clock of an owner.
    pub(crate) fn clock(&self, owner: Id, kind: ClockKind) -> Option<usize> {
        self.clocks.iter().position(|clock| clock.owner == owner && clock.kind == kind)
    }

    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    pub(crate) fn task(&mut self, index: usize) -> &mut Task {
        mark(&mut self.changed_tasks, index);
        &mut self.tasks[index]
    }

    pub(crate) fn request(&mut self, index: usize) -> &mut Request {
        mark(&mut self.changed_requests, index);
        &mut self.requests[index]
    }

    pub(crate) fn add_task(&mut self, task: Task) {
        mark(&mut self.changed_tasks, self.tasks.len());
        self.tasks.push(task);
    }

    pub(crate) fn add_request(&mut self, request: Request) {
        mark(&mut self.changed_requests, self.requests.len());
        self.requests.push(request);
    }

    /// Moves the changed rows out, each once. Clocks that lived for no time at all prove nothing
    /// and are left out.
    pub(crate) fn finish(mut self, out: &mut Changes) {
        let stored = self.clocks_stored;
        self.changed_clocks.retain(|index| {
            let clock = &self.clocks[*index];
            *index < stored || !clock.stopped || clock.consumed_ms > 0 || clock.budget_no > 1
        });
        take(self.tasks, self.changed_tasks, &mut out.tasks);
        take(self.clocks, self.changed_clocks, &mut out.clocks);
        take(self.requests, self.changed_requests, &mut out.requests);
        if self.changed {
            out.incidents.push(Upsert { base: self.base, row: self.incident });
        }
    }
}

fn mark(changed: &mut Vec<usize>, index: usize) {
    if !changed.contains(&index) {
        changed.push(index);
    }
}

fn take<T>(rows: Vec<T>, mut changed: Vec<usize>, out: &mut Vec<T>) {
    changed.sort_unstable();
    let mut wanted = changed.into_iter().peekable();
    for (index, row) in rows.into_iter().enumerate() {
        if wanted.next_if_eq(&index).is_some() {
            out.push(row);
        }
    }
}

/// Who or what makes a step.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) by: Actor,
    pub(crate) cause_kind: CauseKind,
    pub(crate) cause_id: String,
    pub(crate) request_id: String,
    pub(crate) reason: String,
}

impl Origin {
    /// The system, in the desk's name, with the id that makes a replay a duplicate.
    pub(crate) fn system(incident: &Incident, cause_kind: CauseKind, cause_id: String) -> Self {
        let id = Hasher::new().id(incident.id).text(cause_kind.as_str()).text(&cause_id).finish();
        Self {
            by: Actor {
                role: Role::Sys,
                unit: incident.desk.clone(),
                person: String::new(),
                on_behalf_of: None,
            },
            cause_kind,
            cause_id,
            request_id: id.to_string(),
            reason: String::new(),
        }
    }
}

/// One effect on one incident: a signal, a command or a rung, with the versions it makes.
pub(crate) struct Step<'s, 'a> {
    pub(crate) context: Context<'a>,
    pub(crate) work: &'s mut Work,
    pub(crate) out: &'s mut Changes,
    pub(crate) origin: Origin,
    notices: Vec<Notice>,
    pending: Option<Pending>,
    last_action: Option<Action>,
}

/// A version that the streams have not been told of yet.
struct Pending {
    kind: ChangeKind,
    action: Action,
    detail: String,
}

impl<'s, 'a> Step<'s, 'a> {
    pub(crate) fn new(
        context: Context<'a>,
        work: &'s mut Work,
        out: &'s mut Changes,
        origin: Origin,
    ) -> Self {
        Self { context, work, out, origin, notices: Vec::new(), pending: None, last_action: None }
    }

    pub(crate) fn now(&self) -> Millis {
        self.context.now
    }

    /// Goes on as the system: what follows is a consequence, not the caller's doing.
    pub(crate) fn as_system(&mut self) {
        self.origin.by = Actor {
            role: Role::Sys,
            unit: self.work.incident.desk.clone(),
            person: String::new(),
            on_behalf_of: None,
        };
    }

    /// Tells a unit with the next version.
    pub(crate) fn tell(&mut self, unit: UnitId, kind: NoticeKind) {
        if !self.notices.iter().any(|n| n.unit == unit && n.kind == kind) {
            self.notices.push(Notice { unit, kind });
        }
    }

    /// Makes the next version: state by the table, holder, history and the change for the streams.
    pub(crate) fn version(&mut self, action: Action, detail: String) {
        let incident = &mut self.work.incident;
        let from = (incident.version > 0).then_some(incident.state);
        let to = machine::next(action, from).expect("the guards allow only what the table allows");
        incident.state = to;
        incident.version += 1;
        incident.mode_epoch = self.context.mode_epoch;
        incident.updated_at = self.context.now;
        incident.updated_by_unit = self.origin.by.unit.clone();
        incident.updated_by.clone_from(&self.origin.by.person);
        incident.holder = match action {
            Action::StartCheck => Some(self.origin.by.unit.clone()),
            _ => holder(incident),
        };
        self.work.changed = true;
        self.last_action = Some(action);
        self.out.history.push(History {
            incident: self.work.incident.id,
            version: self.work.incident.version,
            action,
            from,
            to,
            actor: self.origin.by.clone(),
            reason: self.origin.reason.clone(),
            cause_kind: self.origin.cause_kind,
            cause_id: self.origin.cause_id.clone(),
            request_id: self.origin.request_id.clone(),
            mode_epoch: self.context.mode_epoch,
            at: self.context.now,
            detail: detail.clone(),
        });
        let earlier = self.pending.take().map(|pending| pending.kind);
        let opened = earlier == Some(ChangeKind::Opened);
        let kind = if opened { ChangeKind::Opened } else { change_kind(from, to) };
        self.pending = Some(Pending { kind, action, detail });
        if self.context.terms.outbox == OutboxGrain::Version {
            self.publish();
        }
    }

    /// Tells the streams of the last version, and of all since they were told last.
    fn publish(&mut self) {
        let Some(Pending { kind, action, detail }) = self.pending.take() else { return };
        let work = &mut *self.work;
        let now_seen = access::audience(self.context.district, &work.incident, &work.tasks);
        let left = work.audience.iter().filter(|unit| !now_seen.contains(unit)).cloned().collect();
        work.audience.clone_from(&now_seen);
        let mut notices = std::mem::take(&mut self.notices);
        notices.retain(|notice| now_seen.contains(&notice.unit));
        self.out.outbox.push(OutboxRow {
            incident: work.incident.id,
            version: work.incident.version,
            kind,
            action,
            at: self.context.now,
            audience: now_seen,
            left,
            urgent: work.incident.urgent,
            notices,
            mode_epoch: self.context.mode_epoch,
            drill_id: work.incident.drill_id.clone(),
            view: work.incident.clone(),
            tasks: work.tasks.clone(),
            actor: self.origin.by.clone(),
            detail,
        });
    }

    /// Ends the step: one audit row for what it did, with the last version it made.
    pub(crate) fn finish(mut self) {
        self.publish();
        let Some(action) = self.last_action else { return };
        let incident = &self.work.incident;
        let id = Hasher::new()
            .id(incident.id)
            .int(incident.version)
            .text(action.as_str())
            .text("OK")
            .finish();
        self.out.audit.push(AuditRow {
            id,
            at: self.context.now,
            actor: self.origin.by,
            action,
            incident: Some(incident.id),
            version: Some(incident.version),
            reason: self.origin.reason,
            request_id: self.origin.request_id,
            refused: None,
        });
    }

    /// Starts a clock, or starts it again from nothing under its next budget number.
    pub(crate) fn start_clock(&mut self, kind: ClockKind, owner: Id, budget: Budget, of: &str) {
        let spec = ClockSpec {
            incident: self.work.incident.id,
            owner,
            kind,
            budget_ms: budget.ms,
            calendar: self.calendar_for(budget, kind, of),
            rungs: self.rungs(),
        };
        let id = clock_id(owner, kind, "");
        let index = self.work.clocks.iter().position(|clock| clock.id == id);
        if let Some(index) = index {
            self.work.clocks[index].calendar = spec.calendar;
            let budget_ms = budget.ms;
            self.fold(index, Action::Rung, |fold, clock| fold.restart(clock, budget_ms));
            return;
        }
        self.work.clocks.push(Clock::start(spec, self.context.now));
        self.fold(self.work.clocks.len() - 1, Action::Rung, |fold, clock| fold.plan(clock));
    }

    pub(crate) fn stop_clock(&mut self, kind: ClockKind, owner: Id, cause: Action) {
        let open = |work: &Work| work.clock(owner, kind).filter(|i| !work.clocks[*i].stopped);
        if let Some(index) = open(self.work) {
            self.fold(index, cause, |fold, clock| fold.stop(clock));
        }
    }

    pub(crate) fn pause_clock(&mut self, kind: ClockKind, owner: Id, cause: Action) {
        if let Some(index) = self.work.clock(owner, kind)
            && self.work.clocks[index].running_since.is_some()
        {
            self.fold(index, cause, |fold, clock| fold.pause(clock));
        }
    }

    pub(crate) fn resume_clock(&mut self, kind: ClockKind, owner: Id, cause: Action) {
        if let Some(index) = self.work.clock(owner, kind)
            && !self.work.clocks[index].stopped
            && self.work.clocks[index].running_since.is_none()
        {
            self.fold(index, cause, |fold, clock| fold.resume(clock));
        }
    }

    /// Stops every clock of the incident.
    pub(crate) fn stop_all(&mut self, cause: Action) {
        for index in 0..self.work.clocks.len() {
            if !self.work.clocks[index].stopped {
                self.fold(index, cause, |fold, clock| fold.stop(clock));
            }
        }
    }

    /// Runs an operation of clock arithmetic on one clock and refreshes the due time of its owner.
    pub(crate) fn fold(
        &mut self,
        index: usize,
        cause: Action,
        operation: impl FnOnce(&mut Fold<'_>, &mut Clock),
    ) {
        let Context { district, terms, now, .. } = self.context;
        let clock = &mut self.work.clocks[index];
        let name = clock.calendar.clone();
        let calendar = name.as_deref().and_then(|name| district.calendar(name));
        let mut fold = Fold { calendar, terms, now, cause, segments: &mut self.out.segments };
        operation(&mut fold, clock);
        mark(&mut self.work.changed_clocks, index);
        let (kind, owner) = (self.work.clocks[index].kind, self.work.clocks[index].owner);
        let due = self.work.clocks[index].due(calendar);
        match kind {
            ClockKind::Incident => {
                self.work.incident.due_at = due.or(self.work.incident.due_at);
                if let Some(at) = self.work.clocks[index].overdue_at {
                    self.work.incident.overdue_at.get_or_insert(at);
                }
            }
            ClockKind::Ack | ClockKind::Handle => {
                if let Some(task) = self.work.tasks.iter().position(|task| task.id == owner) {
                    self.work.task(task).due_at = due;
                }
            }
            _ => {}
        }
    }

    /// The calendar a budget counts by: ACK and HANDLE use the unit's own where it has one, else
    /// the policy's.
    fn calendar_for(&self, budget: Budget, kind: ClockKind, unit: &str) -> Option<Arc<str>> {
        if !budget.working {
            return None;
        }
        let of_policy = self.work.policy.as_ref().and_then(|policy| policy.calendar.clone());
        if !matches!(kind, ClockKind::Ack | ClockKind::Handle | ClockKind::Request) {
            return of_policy;
        }
        let own = self.context.district.unit(unit).and_then(|unit| unit.calendar.as_deref());
        own.map(Arc::from).or(of_policy)
    }

    fn rungs(&self) -> Arc<str> {
        self.work.policy.as_ref().map_or_else(|| "rungs-default".into(), |p| p.rungs.clone())
    }
}

/// The one unit that must act next, by the state.
fn holder(incident: &Incident) -> Option<UnitId> {
    match incident.state {
        State::Reported | State::Accepted | State::Filed | State::FedBack | State::Suspended => {
            Some(incident.desk.clone())
        }
        State::Dispatched | State::Handling => incident.lead.clone(),
        State::Verifying | State::Checking => incident.holder.clone(),
        State::Closed | State::Evaluated | State::Declined | State::Voided | State::Merged => None,
    }
}

fn change_kind(from: Option<State>, to: State) -> ChangeKind {
    match from {
        None => ChangeKind::Opened,
        Some(_) if !to.is_open() => ChangeKind::Closed,
        Some(from) if from != to => ChangeKind::State,
        Some(_) => ChangeKind::Updated,
    }
}
