//! Requests of units (incidents, section 3), of which this version knows 退单: asked, approved,
//! denied.
//!
//! Every guard has run before: the asker leads, the approver is another person of a unit above.

use super::command::Command;
use super::rows::{Request, UnitId};
use super::step::Step;
use super::words::{Action, Cause, ClockKind, NoticeKind, RequestKind, RequestState, ReturnReason};
use crate::ids::Hasher;

impl Step<'_, '_> {
    /// Keeps what a person says of a task.
    pub(super) fn record(&mut self, task: usize, command: &Command) {
        let row = self.work.task(task);
        row.note.clone_from(&command.note);
        row.evidence.extend(command.evidence.iter().cloned());
    }

    pub(super) fn ask_return(
        &mut self,
        lead: usize,
        reason: ReturnReason,
        proposed: Option<UnitId>,
        command: &Command,
    ) {
        let incident = &self.work.incident;
        let version = incident.version + 1;
        let id = Hasher::new().id(incident.id).text("request").int(version).finish();
        let approver = self.approver(&command.unit);
        let row = Request {
            id,
            incident: incident.id,
            kind: RequestKind::Return,
            state: RequestState::Pending,
            task: self.work.tasks[lead].id,
            version,
            asked_by_unit: command.unit.clone(),
            asked_by: command.person.clone(),
            asked_at: self.context.now,
            reason: reason.as_str().into(),
            note: command.note.clone(),
            proposed,
            approver: approver.clone(),
            decided_by_unit: None,
            decided_by: None,
            decided_at: None,
            decision_note: String::new(),
        };
        let terms = self.context.terms;
        let budget = if incident.urgent { terms.request_urgent } else { terms.request };
        self.work.add_request(row);
        self.start_clock(ClockKind::Request, id, budget, &approver);
        self.tell(approver, NoticeKind::Request);
        self.version(Action::Request, format!("RETURN {}", reason.as_str()));
    }

    /// Who decides first: the parent inside the desk's subtree, else the desk, else the unit above
    /// the desk.
    fn approver(&self, asker: &UnitId) -> UnitId {
        let district = self.context.district;
        let desk = &self.work.incident.desk;
        if asker == desk || (district.tier(asker).is_some() && !district.in_subtree(asker, desk)) {
            return district.id().clone();
        }
        let parent = district.parent(asker).map(|unit| unit.id.clone());
        parent.unwrap_or_else(|| desk.clone())
    }

    pub(super) fn approve_return(&mut self, lead: usize, next: Option<&UnitId>, command: &Command) {
        self.decide(RequestState::Approved, command);
        let binds = self.work.incident.returns + 1 >= self.context.terms.returns_max;
        self.return_lead(lead, next.filter(|_| binds).cloned());
        self.as_system();
        self.dispatch(Action::Dispatch, Cause::Returned, next.cloned());
    }

    pub(super) fn deny_return(&mut self, command: &Command) {
        self.decide(RequestState::Denied, command);
        self.version(Action::Deny, "RETURN denied".into());
    }

    fn decide(&mut self, state: RequestState, command: &Command) {
        let Some(index) = self.work.pending() else { return };
        let now = self.now();
        let request = self.work.request(index);
        request.state = state;
        request.decided_by_unit = Some(command.unit.clone());
        request.decided_by = Some(command.person.clone());
        request.decided_at = Some(now);
        request.decision_note.clone_from(&command.note);
        let id = request.id;
        self.stop_clock(ClockKind::Request, id, command.verb.action());
    }
}
