//! The guards of commands: every reason to refuse, in a fixed order.
//!
//! Invariant: nothing here changes anything. Existence is not leaked: outside its sight a unit is
//! told that the incident does not exist.

use super::clock::worked;
use super::command::{Command, Refusal, Verb};
use super::machine;
use super::rows::{Actor, Request, Task, UnitId};
use super::signals::current;
use super::step::{Context, Work};
use super::words::{RefusalCode, Role, State, TaskRole, TaskState};
use crate::access::{Authorizer, Decision};
use crate::ids::Id;
use crate::policy::{Evidence, Policy};

/// Every guard that holds for all verbs, in the fixed order; then the verb's own.
pub(super) fn permit(
    context: Context<'_>,
    work: &Work,
    command: &Command,
) -> Result<Actor, Refusal> {
    let incident = &work.incident;
    let action = command.verb.action();
    let authorizer = Authorizer::new(context.district);
    let (role, on_behalf_of) = match authorizer.decide(&command.unit, action, incident, &work.tasks)
    {
        Decision::NotFound => {
            return Err(Refusal::new(RefusalCode::NotFound, "incident does not exist"));
        }
        Decision::NotYours => {
            let detail = format!("{} is not {}'s to do", action.as_str(), command.unit);
            return Err(Refusal::new(RefusalCode::NotYours, &detail));
        }
        Decision::Allowed { role, on_behalf_of } => (role, on_behalf_of),
    };
    let refuse = |code, detail: &str| Err(Refusal::new(code, detail).at(incident));
    if command.person.is_empty() {
        return refuse(RefusalCode::PersonRequired, "name the acting person");
    }
    if command.etag != incident.version {
        return refuse(RefusalCode::VersionConflict, "the incident has changed; look again");
    }
    if !machine::allowed(action, Some(incident.state)) {
        let detail = format!("{} is not possible in {}", action.as_str(), incident.state.as_str());
        return refuse(RefusalCode::WrongState, &detail);
    }
    Guard { context, work, command, role }.check().map_err(|refusal| refusal.at(incident))?;
    Ok(Actor { role, unit: command.unit.clone(), person: command.person.clone(), on_behalf_of })
}

/// The guards of single verbs.
struct Guard<'g> {
    context: Context<'g>,
    work: &'g Work,
    command: &'g Command,
    role: Role,
}

impl Guard<'_> {
    fn check(&self) -> Result<(), Refusal> {
        match &self.command.verb {
            Verb::Accept | Verb::Acknowledge | Verb::Comment => Ok(()),
            Verb::Decline => self.noted(),
            Verb::File => self.fileable(),
            Verb::Dispatch { lead } => lead.as_ref().map_or(Ok(()), |unit| self.target(unit)),
            Verb::RequestReturn { .. } => self.returnable(),
            Verb::ApproveReturn { lead } => {
                self.decider()?;
                self.next_lead(lead.as_ref())
            }
            Verb::DenyReturn => self.decider(),
            Verb::Reassign { lead } => {
                self.noted()?;
                self.inside(lead)?;
                self.target(lead)
            }
            Verb::FeedBack => {
                self.assists_done()?;
                self.evidence(|policy| &policy.evidence_feedback)
            }
            Verb::StartCheck => self.other_hands(),
            Verb::Close => {
                self.other_person()?;
                self.evidence(|policy| &policy.evidence_close)
            }
            Verb::Rework => {
                self.noted()?;
                self.other_hands()
            }
            Verb::TaskAck => self.own_task(&[TaskState::Sent]),
            Verb::TaskDone => self.own_task(&[TaskState::Sent, TaskState::Acked]),
            Verb::AddAssist { unit, mandatory } => self.assistant(unit, *mandatory),
            Verb::WaiveAssist { task } => {
                self.noted()?;
                self.waivable(*task)
            }
        }
    }

    fn noted(&self) -> Result<(), Refusal> {
        require(!self.command.note.is_empty(), RefusalCode::ReasonRequired, "give a reason")
    }

    fn fileable(&self) -> Result<(), Refusal> {
        let known = current(self.context.district, &self.work.incident.category);
        require(known, RefusalCode::CategoryInvalid, "the category is no longer in the list")?;
        require(self.work.policy.is_some(), RefusalCode::NoPolicy, "no policy covers the category")
    }

    /// A unit that may lead: valid, not the lead, and not excluded unless a binding decision names
    /// it.
    fn target(&self, unit: &UnitId) -> Result<(), Refusal> {
        let incident = &self.work.incident;
        let excluded = incident.excluded.contains(unit) && incident.bound.as_ref() != Some(unit);
        let other = incident.lead.as_ref() != Some(unit);
        let valid = self.context.ground().valid(unit) && !excluded && other;
        let detail = format!("{unit} is unknown, not valid now, excluded, or leads already");
        require(valid, RefusalCode::TargetInvalid, &detail)
    }

    /// A dispatcher who is not of the desk moves the lead only inside its own subtree.
    fn inside(&self, lead: &UnitId) -> Result<(), Refusal> {
        let district = self.context.district;
        let unit = &self.command.unit;
        let of_desk = district.in_subtree(&self.work.incident.desk, unit);
        let own = of_desk || district.in_subtree(lead, unit);
        require(own, RefusalCode::NotYours, "the new lead is outside your subtree")
    }

    fn returnable(&self) -> Result<(), Refusal> {
        let incident = &self.work.incident;
        let bound = incident.bound.is_some() || incident.returns >= self.context.terms.returns_max;
        require(!bound, RefusalCode::ReturnBound, "a binding decision named the unit")?;
        let root = incident.lead.as_deref() == Some(&**self.context.district.id());
        require(!root, RefusalCode::ReturnBound, "nobody stands above the district")?;
        let free = self.work.pending().is_none();
        require(free, RefusalCode::RequestPending, "a request waits for its decision")?;
        let span = self.context.terms.return_after_ack;
        let policy = self.work.policy.as_deref();
        let calendar = policy
            .filter(|_| span.working)
            .and_then(|policy| policy.calendar.as_deref())
            .and_then(|name| self.context.district.calendar(name));
        let acked = incident.acked_at.filter(|_| incident.state == State::Handling);
        let spent = acked.map_or(0, |at| worked(calendar, at, self.context.now));
        require(spent <= span.ms, RefusalCode::ReturnTooLate, "acknowledged too long ago")
    }

    fn request(&self) -> Result<&Request, Refusal> {
        let pending = self.work.pending().map(|index| &self.work.requests[index]);
        pending.ok_or_else(|| Refusal::new(RefusalCode::NoRequest, "no request is pending"))
    }

    /// The approver is a unit above the asker's, and another person.
    fn decider(&self) -> Result<(), Refusal> {
        let request = self.request()?;
        let above = self.context.district.in_subtree(&request.approver, &self.command.unit);
        require(above, RefusalCode::NotYours, "another unit decides this request")?;
        let other = request.asked_by != self.command.person;
        require(other, RefusalCode::SamePerson, "the asker does not decide")
    }

    fn next_lead(&self, lead: Option<&UnitId>) -> Result<(), Refusal> {
        let binds = self.work.incident.returns + 1 >= self.context.terms.returns_max;
        match lead {
            None if binds => Err(Refusal::new(
                RefusalCode::TargetInvalid,
                "this return binds: name the responsible unit",
            )),
            None => Ok(()),
            Some(unit) if binds => {
                let valid = self.context.ground().valid(unit);
                require(valid, RefusalCode::TargetInvalid, "the named unit is not valid now")
            }
            Some(unit) => self.target(unit),
        }
    }

    fn assists_done(&self) -> Result<(), Refusal> {
        let open = |task: &&Task| {
            task.role == TaskRole::Assist
                && task.mandatory
                && matches!(task.state, TaskState::Sent | TaskState::Acked)
        };
        let waiting: Vec<&str> = self.work.tasks.iter().filter(open).map(|t| &*t.unit).collect();
        let detail = format!("wait for, or waive, the assists of {}", waiting.join(", "));
        require(waiting.is_empty(), RefusalCode::AssistsOpen, &detail)
    }

    /// Evidence is named `kind:reference`; what the lead's task holds already counts.
    fn evidence(&self, of: impl FnOnce(&Policy) -> &[Evidence]) -> Result<(), Refusal> {
        let Some(policy) = self.work.policy.as_deref() else { return Ok(()) };
        let held = self.work.lead().map(|lead| &self.work.tasks[lead].evidence);
        for Evidence { kind, count } in of(policy) {
            let given = held.into_iter().flatten().chain(&self.command.evidence);
            let of_kind = given
                .filter(|reference| reference.split_once(':').is_some_and(|(own, _)| own == kind));
            let enough = of_kind.count() >= *count as usize;
            let detail = format!("give at least {count} evidence named {kind}:reference");
            require(enough, RefusalCode::EvidenceMissing, &detail)?;
        }
        Ok(())
    }

    fn other_person(&self) -> Result<(), Refusal> {
        let handled = |task: &&Task| task.role == TaskRole::Lead;
        let mut hands = self.work.tasks.iter().filter(handled).flat_map(|task| &task.persons);
        let other = hands.all(|person| *person != self.command.person);
        require(other, RefusalCode::SamePerson, "who handled an incident does not check it")
    }

    /// Checkers are of no person and no unit that handled; above the district there is only another
    /// person.
    fn other_hands(&self) -> Result<(), Refusal> {
        self.other_person()?;
        let unit = &self.command.unit;
        let handled = self.work.tasks.iter().any(|task| {
            task.role == TaskRole::Lead && task.acked_at.is_some() && task.unit == *unit
        });
        let root = unit == self.context.district.id();
        let detail = "a unit that handled an incident does not check it; the unit above does";
        require(!handled || root, RefusalCode::NotYours, detail)
    }

    fn own_task(&self, states: &[TaskState]) -> Result<(), Refusal> {
        let task = self.work.assist(&self.command.unit).map(|index| &self.work.tasks[index]);
        let fits = task.is_some_and(|task| states.contains(&task.state));
        require(fits, RefusalCode::WrongState, "the task is past that")
    }

    fn assistant(&self, unit: &UnitId, mandatory: bool) -> Result<(), Refusal> {
        let desk = !mandatory || self.role == Role::Disp;
        require(desk, RefusalCode::NotYours, "only the desk makes an assist mandatory")?;
        let free = self.work.assist(unit).is_none()
            && self.work.incident.lead.as_ref() != Some(unit)
            && self.context.ground().valid(unit);
        require(free, RefusalCode::TargetInvalid, "the unit is not valid now, or has a task")
    }

    fn waivable(&self, task: Id) -> Result<(), Refusal> {
        let open = |row: &&Task| {
            let waits = matches!(row.state, TaskState::Sent | TaskState::Acked);
            row.id == task && row.role == TaskRole::Assist && waits
        };
        let found = self.work.tasks.iter().find(open);
        require(found.is_some(), RefusalCode::TaskNotFound, "no such open assist")
    }
}

fn require(holds: bool, code: RefusalCode, detail: &str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::new(code, detail)) }
}
