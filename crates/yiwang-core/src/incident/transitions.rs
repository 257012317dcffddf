//! The transitions themselves: what each does to tasks and clocks beside state and history
//! (incidents, section 2.3).
//!
//! Every guard has run before: nothing here refuses. Each function makes exactly one version.

use super::dispatch::{Choice, choose_assist, choose_lead};
use super::rows::{Task, UnitId};
use super::step::{Context, Step};
use super::words::{
    Action, Cause, ClockKind, CloseMethod, NoticeKind, RequestState, TaskRole, TaskState,
};
use crate::ids::{Hasher, Id};
use crate::policy::{Assist, Budget};

impl Step<'_, '_> {
    /// T01.
    pub(crate) fn report(&mut self, detail: String) {
        let desk = self.work.incident.desk.clone();
        if let Some(budget) = self.policy_budget(|policy| policy.intake) {
            self.start_clock(ClockKind::Intake, self.work.incident.id, budget, &desk);
        }
        self.version(Action::Report, detail);
    }

    /// T04.
    pub(crate) fn accept(&mut self) {
        let (id, desk) = (self.work.incident.id, self.work.incident.desk.clone());
        self.stop_clock(ClockKind::Intake, id, Action::Accept);
        if let Some(budget) = self.policy_budget(|policy| policy.file) {
            self.start_clock(ClockKind::File, id, budget, &desk);
        }
        self.version(Action::Accept, String::new());
    }

    /// T05.
    pub(crate) fn decline(&mut self) {
        self.stop_all(Action::Decline);
        self.work.incident.closed_at = Some(self.now());
        self.version(Action::Decline, String::new());
    }

    /// T06: from here on the incident keeps the policy it was filed under.
    pub(crate) fn file(&mut self) {
        let (id, desk, now) = (self.work.incident.id, self.work.incident.desk.clone(), self.now());
        self.work.incident.filed_at = Some(now);
        self.work.incident.policy_id = self.work.policy.as_ref().map(|policy| policy.id);
        self.stop_clock(ClockKind::File, id, Action::File);
        if let Some(budget) = self.policy_budget(|policy| policy.dispatch) {
            self.start_clock(ClockKind::Dispatch, id, budget, &desk);
        }
        if let Some(budget) = self.policy_budget(|p| p.incident.unwrap_or(p.handle)) {
            self.start_clock(ClockKind::Incident, id, budget, &desk);
        }
        self.version(Action::File, String::new());
    }

    /// T07, T10 and T11: a lead is chosen and gets its task; assists of the policy come with the
    /// first dispatch.
    pub(crate) fn dispatch(&mut self, action: Action, cause: Cause, chosen: Option<UnitId>) {
        let Some(policy) = self.work.policy.clone() else { return };
        let ground = self.context.ground();
        let choice = choose_lead(&ground, &self.work.incident, &policy, cause, chosen);
        self.lapse_request(action);
        let former = self.withdraw_lead(cause, action);
        self.withdraw_assist_of(&choice.unit, cause, action);
        self.place_lead(&choice, cause, policy.ack);
        if action == Action::Dispatch && cause == Cause::Filed {
            self.send_assists(&policy.assists, policy.ack);
        }
        if action == Action::Climb
            && let Some(former) = former.filter(|former| *former != choice.unit)
        {
            self.send(former, TaskRole::Assist, cause, policy.ack, Asked::Kept);
        }
        self.stop_clock(ClockKind::Dispatch, self.work.incident.id, action);
        self.watch(&choice);
        self.work.incident.dispatched_at.get_or_insert(self.context.now);
        self.version(action, describe(&choice));
    }

    /// T08.
    pub(crate) fn acknowledge(&mut self, lead: usize) {
        let (now, id, unit) = (self.now(), self.work.tasks[lead].id, self.lead_unit(lead));
        let person = self.origin.by.person.clone();
        let task = self.work.task(lead);
        task.state = TaskState::Acked;
        task.acked_at = Some(now);
        act(task, person);
        self.work.incident.acked_at = Some(now);
        self.stop_clock(ClockKind::Ack, id, Action::Acknowledge);
        self.run_handle(id, &unit);
        self.version(Action::Acknowledge, String::new());
    }

    /// T09: the unit is excluded; the second approved return binds the unit that the decision
    /// names.
    pub(crate) fn return_lead(&mut self, lead: usize, bound: Option<UnitId>) {
        let (now, unit) = (self.now(), self.lead_unit(lead));
        self.end_task(lead, TaskState::Returned, Cause::Returned, Action::Return);
        let incident = &mut self.work.incident;
        incident.returns += 1;
        if !incident.excluded.contains(&unit) {
            incident.excluded.push(unit.clone());
        }
        incident.bound = bound;
        incident.lead = None;
        incident.tier = None;
        incident.filed_at = Some(now);
        let (incident, desk) = (incident.id, incident.desk.clone());
        if let Some(budget) = self.policy_budget(|policy| policy.dispatch) {
            self.start_clock(ClockKind::Dispatch, incident, budget, &desk);
        }
        self.version(Action::Return, format!("returned by {unit}"));
    }

    /// T12: the unit's time and the incident's stop being charged, the check's own begins.
    pub(crate) fn feed_back(&mut self, lead: usize) {
        let (now, incident) = (self.now(), self.work.incident.id);
        let id = self.work.tasks[lead].id;
        let person = self.origin.by.person.clone();
        let task = self.work.task(lead);
        task.state = TaskState::Done;
        task.done_at = Some(now);
        act(task, person);
        self.work.incident.fed_back_at = Some(now);
        self.lapse_request(Action::FeedBack);
        self.pause_clock(ClockKind::Handle, id, Action::FeedBack);
        self.pause_clock(ClockKind::Incident, incident, Action::FeedBack);
        let desk = self.work.incident.desk.clone();
        if let Some(budget) = self.policy_budget(|policy| policy.check) {
            self.start_clock(ClockKind::Check, incident, budget, &desk);
        }
        self.version(Action::FeedBack, String::new());
    }

    /// T13.
    pub(crate) fn start_check(&mut self) {
        self.work.incident.checker = Some(self.origin.by.person.clone());
        self.version(Action::StartCheck, String::new());
    }

    /// T14 and T15: `on_time` is latched for good.
    pub(crate) fn close(&mut self, method: CloseMethod) {
        let action = match method {
            CloseMethod::Person => Action::Close,
            CloseMethod::Sensor => Action::AutoCheck,
        };
        self.stop_all(action);
        let clock = self.work.clock(self.work.incident.id, ClockKind::Incident);
        let overdue = clock.is_some_and(|index| self.work.clocks[index].overdue_at.is_some());
        let incident = &mut self.work.incident;
        incident.on_time = Some(!overdue && incident.overdue_at.is_none());
        incident.closed_at = Some(self.context.now);
        incident.close_method = Some(method);
        self.version(action, String::new());
    }

    /// T16: the same task again, with the time it has left.
    pub(crate) fn rework(&mut self, lead: usize) {
        let (now, incident) = (self.now(), self.work.incident.id);
        let (id, unit) = (self.work.tasks[lead].id, self.lead_unit(lead));
        let task = self.work.task(lead);
        task.state = TaskState::Sent;
        task.cause = Cause::Rework;
        task.sent_at = now;
        task.done_at = None;
        self.work.incident.reworks += 1;
        self.work.incident.checker = None;
        self.stop_clock(ClockKind::Check, incident, Action::Rework);
        self.resume_clock(ClockKind::Incident, incident, Action::Rework);
        self.resume_clock(ClockKind::Handle, id, Action::Rework);
        if let Some(budget) = self.policy_budget(|policy| policy.ack) {
            self.start_clock(ClockKind::Ack, id, budget, &unit);
        }
        self.tell(unit, NoticeKind::Task);
        self.version(Action::Rework, String::new());
    }

    /// An assist unit acknowledges.
    pub(crate) fn task_ack(&mut self, task: usize) {
        let (now, id, unit) = (self.now(), self.work.tasks[task].id, self.lead_unit(task));
        let person = self.origin.by.person.clone();
        let row = self.work.task(task);
        row.state = TaskState::Acked;
        row.acked_at = Some(now);
        act(row, person);
        self.stop_clock(ClockKind::Ack, id, Action::TaskAck);
        self.run_handle(id, &unit);
        self.version(Action::TaskAck, format!("{unit} acknowledged"));
    }

    /// An assist unit is done; an acknowledgement that was forgotten is implied.
    pub(crate) fn task_done(&mut self, task: usize) {
        let (now, id, unit) = (self.now(), self.work.tasks[task].id, self.lead_unit(task));
        let person = self.origin.by.person.clone();
        let row = self.work.task(task);
        row.state = TaskState::Done;
        row.acked_at.get_or_insert(now);
        row.done_at = Some(now);
        act(row, person);
        self.stop_clock(ClockKind::Ack, id, Action::TaskDone);
        self.stop_clock(ClockKind::Handle, id, Action::TaskDone);
        self.version(Action::TaskDone, format!("{unit} done"));
    }

    /// A task beside the lead's, asked for by a person.
    pub(crate) fn add_assist(&mut self, unit: UnitId, mandatory: bool) {
        let Some(budget) = self.policy_budget(|policy| policy.ack) else { return };
        let asked = if mandatory { Asked::Mandatory } else { Asked::Optional };
        let detail = format!("{unit} assists");
        self.send(unit, TaskRole::Assist, Cause::Added, budget, asked);
        self.version(Action::AddAssist, detail);
    }

    /// The only way past a mandatory assist that is not done.
    pub(crate) fn waive_assist(&mut self, task: usize) {
        let unit = self.lead_unit(task);
        self.end_task(task, TaskState::Waived, Cause::Added, Action::WaiveAssist);
        self.version(Action::WaiveAssist, format!("{unit} waived"));
    }

    /// A pending request ends because the incident left the states in which it may be asked.
    pub(crate) fn lapse_request(&mut self, cause: Action) {
        let Some(index) = self.work.pending() else { return };
        let now = self.now();
        let request = self.work.request(index);
        request.state = RequestState::Lapsed;
        request.decided_at = Some(now);
        let id = request.id;
        self.stop_clock(ClockKind::Request, id, cause);
    }

    pub(crate) fn policy_budget(
        &self,
        of: impl FnOnce(&crate::policy::Policy) -> Budget,
    ) -> Option<Budget> {
        self.work.policy.as_deref().map(of)
    }

    fn lead_unit(&self, task: usize) -> UnitId {
        self.work.tasks[task].unit.clone()
    }

    /// HANDLE starts with the first acknowledgement; after a rework it runs already.
    fn run_handle(&mut self, task: Id, unit: &str) {
        if self.work.clock(task, ClockKind::Handle).is_none()
            && let Some(budget) = self.policy_budget(|policy| policy.handle)
        {
            self.start_clock(ClockKind::Handle, task, budget, unit);
        }
    }

    fn withdraw_lead(&mut self, cause: Cause, action: Action) -> Option<UnitId> {
        let lead = self.work.lead()?;
        self.end_task(lead, TaskState::Withdrawn, cause, action);
        Some(self.lead_unit(lead))
    }

    /// The new lead needs no task beside its own.
    fn withdraw_assist_of(&mut self, unit: &str, cause: Cause, action: Action) {
        if let Some(task) = self.work.assist(unit) {
            self.end_task(task, TaskState::Withdrawn, cause, action);
        }
    }

    fn end_task(&mut self, task: usize, state: TaskState, cause: Cause, action: Action) {
        let now = self.now();
        let row = self.work.task(task);
        row.state = state;
        row.end_cause = Some(cause);
        row.ended_at = Some(now);
        let id = row.id;
        self.stop_clock(ClockKind::Ack, id, action);
        self.stop_clock(ClockKind::Handle, id, action);
    }

    fn place_lead(&mut self, choice: &Choice, cause: Cause, ack: Budget) {
        let unit = choice.unit.clone();
        self.work.incident.tier = self.context.ground().tier_number(&unit);
        self.work.incident.lead = Some(unit.clone());
        self.send(unit, TaskRole::Lead, cause, ack, Asked::Mandatory);
    }

    fn send_assists(&mut self, assists: &[Assist], ack: Budget) {
        for assist in assists {
            let ground = self.context.ground();
            let unit = choose_assist(&ground, &self.work.incident, &assist.who);
            if self.work.incident.lead.as_ref() == Some(&unit) {
                continue;
            }
            match self.work.assist(&unit) {
                Some(task) if assist.mandatory => self.work.task(task).mandatory = true,
                Some(_) => {}
                None => {
                    let asked = Asked::Policy { mandatory: assist.mandatory };
                    self.send(unit, TaskRole::Assist, Cause::Filed, ack, asked);
                }
            }
        }
    }

    fn send(&mut self, unit: UnitId, role: TaskRole, cause: Cause, ack: Budget, asked: Asked) {
        let number = self.work.tasks.len() as u32 + 1;
        let incident = self.work.incident.id;
        let id = Hasher::new().id(incident).int(i64::from(number)).finish();
        self.work.add_task(Task {
            id,
            incident,
            number,
            unit: unit.clone(),
            seat: self.seat(&unit),
            role,
            mandatory: matches!(asked, Asked::Mandatory | Asked::Policy { mandatory: true }),
            from_policy: matches!(asked, Asked::Policy { .. }),
            state: TaskState::Sent,
            cause,
            end_cause: None,
            persons: Vec::new(),
            note: String::new(),
            evidence: Vec::new(),
            sent_at: self.context.now,
            acked_at: None,
            done_at: None,
            ended_at: None,
            due_at: None,
        });
        self.start_clock(ClockKind::Ack, id, ack, &unit);
        self.tell(unit, NoticeKind::Task);
    }

    /// Where a department sits: at the town of the place, else at the district.
    fn seat(&self, unit: &str) -> Option<UnitId> {
        let Context { district, now, .. } = self.context;
        let town = self.work.incident.town.as_deref();
        let at = |centre: &str| district.seat(unit, centre, now);
        town.and_then(at).or_else(|| at(district.id())).map(|seat| seat.at.clone())
    }

    /// Who is told and does not own: parent of the lead, town, place, its station, candidates,
    /// skipped tree units.
    fn watch(&mut self, choice: &Choice) {
        let ground = self.context.ground();
        let incident = &self.work.incident;
        let parent = ground.up(incident, &choice.unit);
        let skipped = choice.skipped.iter().map(|(unit, _)| unit);
        let mut watchers: Vec<UnitId> = std::iter::once(&parent)
            .chain(&incident.town)
            .chain([&incident.place])
            .chain(&incident.station)
            .chain(&incident.candidates)
            .chain(skipped.filter(|unit| ground.tier_number(unit).is_some()))
            .filter(|unit| **unit != choice.unit)
            .filter(|unit| {
                crate::access::sees(self.context.district, unit, incident, &self.work.tasks)
            })
            .cloned()
            .collect();
        watchers.sort_unstable();
        watchers.dedup();
        for unit in &watchers {
            self.tell(unit.clone(), NoticeKind::Watch);
        }
        self.work.incident.watchers = watchers;
    }
}

/// Who asked for a task, and how much.
#[derive(Clone, Copy)]
enum Asked {
    Policy {
        mandatory: bool,
    },
    Mandatory,
    Optional,
    /// The former lead keeps an eye on it.
    Kept,
}

/// Adds a person and the words of an act to a task.
fn act(task: &mut Task, person: String) {
    if !person.is_empty() && !task.persons.contains(&person) {
        task.persons.push(person);
    }
}

fn describe(choice: &Choice) -> String {
    use std::fmt::Write as _;
    let mut text = format!("lead {}", choice.unit);
    for (unit, blocked) in &choice.skipped {
        let _ = write!(text, "; skipped {unit} {}", blocked.as_str());
    }
    if let Some(blocked) = choice.warning {
        let _ = write!(text, "; chosen although {}", blocked.as_str());
    }
    if choice.owner_unknown {
        text.push_str("; OWNER_UNKNOWN");
    }
    text
}
