//! Commands of persons (incidents, section 2.4): who may, in which state, on which version, and
//! what then happens.
//!
//! Invariant: a refused command changes nothing but the audit. The order of refusals is fixed:
//! unknown or out of sight, not permitted, seen version, state, and then what the action itself
//! asks for.

use super::guard::permit;
use super::rows::{Actor, AuditRow, CommandRow, Incident, UnitId};
use super::session::{Session, Staged};
use super::signals::current;
use super::step::{Origin, Step};
use super::words::{Action, Cause, CauseKind, CloseMethod, RefusalCode, ReturnReason, Role, State};
use crate::ids::{Hasher, Id};

/// What a person asks the hub to do to an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The caller's id: the same command under the same id is done once.
    pub request_id: String,
    /// Incident.
    pub incident: Id,
    /// Version that the person saw.
    pub etag: i64,
    /// Unit in whose name.
    pub unit: UnitId,
    /// The acting person.
    pub person: String,
    /// Reason or result in words.
    pub note: String,
    /// References of evidence.
    pub evidence: Vec<String>,
    /// What.
    pub verb: Verb,
}

/// The actions that persons have, with what each carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// T04.
    Accept,
    /// T05; the note is the reason.
    Decline,
    /// T06.
    File,
    /// T07; without a unit the policy chooses.
    Dispatch {
        /// Lead.
        lead: Option<UnitId>,
    },
    /// T08.
    Acknowledge,
    /// 退单 is asked for.
    RequestReturn {
        /// Why.
        reason: ReturnReason,
        /// Unit that the asker thinks is the right one.
        proposed: Option<UnitId>,
    },
    /// T09; the second approved return names the unit and binds.
    ApproveReturn {
        /// Next lead.
        lead: Option<UnitId>,
    },
    /// The return is denied: the lead stays.
    DenyReturn,
    /// T10.
    Reassign {
        /// New lead.
        lead: UnitId,
    },
    /// T12; the note is the result.
    FeedBack,
    /// T13.
    StartCheck,
    /// T14.
    Close,
    /// T16; the note is the reason.
    Rework,
    /// A note.
    Comment,
    /// An assist unit acknowledges.
    TaskAck,
    /// An assist unit is done.
    TaskDone,
    /// A unit is asked to assist.
    AddAssist {
        /// Unit.
        unit: UnitId,
        /// Must be done or waived before feedback.
        mandatory: bool,
    },
    /// An assist is no longer asked for; the note is the reason.
    WaiveAssist {
        /// Its task.
        task: Id,
    },
}

impl Verb {
    /// The action that it asks for.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Accept => Action::Accept,
            Self::Decline => Action::Decline,
            Self::File => Action::File,
            Self::Dispatch { .. } => Action::Dispatch,
            Self::Acknowledge => Action::Acknowledge,
            Self::RequestReturn { .. } => Action::Request,
            Self::ApproveReturn { .. } => Action::Return,
            Self::DenyReturn => Action::Deny,
            Self::Reassign { .. } => Action::Reassign,
            Self::FeedBack => Action::FeedBack,
            Self::StartCheck => Action::StartCheck,
            Self::Close => Action::Close,
            Self::Rework => Action::Rework,
            Self::Comment => Action::Comment,
            Self::TaskAck => Action::TaskAck,
            Self::TaskDone => Action::TaskDone,
            Self::AddAssist { .. } => Action::AddAssist,
            Self::WaiveAssist { .. } => Action::WaiveAssist,
        }
    }
}

/// A command that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Incident.
    pub incident: Id,
    /// Its version afterwards: the new etag.
    pub version: i64,
    /// Its state afterwards.
    pub state: State,
    /// It had been done before under the same id.
    pub repeat: bool,
}

/// A command that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Refusal {
    /// Stable code.
    pub code: RefusalCode,
    /// What and the remedy, for people.
    pub detail: String,
    /// How the incident stands, for callers that see it.
    pub current: Option<Current>,
}

/// How an incident stands, and who changed it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// Version.
    pub version: i64,
    /// State.
    pub state: State,
    /// Unit that made the version.
    pub unit: UnitId,
    /// Person who made it.
    pub person: String,
}

impl Refusal {
    /// A refusal that tells nothing of the incident.
    #[must_use]
    pub fn new(code: RefusalCode, detail: &str) -> Self {
        Self { code, detail: detail.into(), current: None }
    }

    pub(super) fn at(mut self, incident: &Incident) -> Self {
        self.current = Some(Current {
            version: incident.version,
            state: incident.state,
            unit: incident.updated_by_unit.clone(),
            person: incident.updated_by.clone(),
        });
        self
    }
}

impl Session<'_> {
    /// Does a command once, or says why not.
    pub fn command(&mut self, command: &Command) -> Staged<Result<Done, Refusal>> {
        let digest = digest(command);
        if command.request_id.is_empty() {
            let detail = "a command carries a request_id";
            return Staged::Done(Err(Refusal::new(RefusalCode::RequestIdRequired, detail)));
        }
        if let Some(row) = self.commands.get(&command.request_id) {
            return Staged::Done(repeat(row, digest));
        }
        let work = match self.loaded(command.incident) {
            Ok(work) => work,
            Err(id) => return Staged::Need(id),
        };
        let role = match work {
            Some(work) => permit(self.context, &self.works[work], command),
            None => Err(Refusal::new(RefusalCode::NotFound, "incident does not exist")),
        };
        match (work, role) {
            (Some(work), Ok(actor)) => Staged::Done(Ok(self.perform(work, actor, command, digest))),
            (_, Err(refusal)) => {
                self.audit_refusal(command, refusal.code);
                Staged::Done(Err(refusal))
            }
            (None, Ok(_)) => unreachable!("a missing incident is refused above"),
        }
    }

    fn perform(&mut self, work: usize, actor: Actor, command: &Command, digest: Id) -> Done {
        if matches!(command.verb, Verb::Accept | Verb::File)
            && let Some(policy) = self.works[work].policy.clone()
        {
            self.keep_policy(&policy);
        }
        let origin = Origin {
            by: actor,
            cause_kind: CauseKind::Command,
            cause_id: command.request_id.clone(),
            request_id: command.request_id.clone(),
            reason: reason(command),
        };
        let mut step = self.step(work, origin);
        apply(&mut step, command);
        step.finish();
        let incident = &self.works[work].incident;
        let (version, state) = (incident.version, incident.state);
        let row = CommandRow {
            request_id: command.request_id.clone(),
            digest,
            at: self.context.now,
            incident: Some(command.incident),
            version,
            state: Some(state),
            outcome: None,
        };
        self.commands.insert(row.request_id.clone(), row.clone());
        self.out.commands.push(row);
        Done { incident: command.incident, version, state, repeat: false }
    }

    fn audit_refusal(&mut self, command: &Command, code: RefusalCode) {
        let action = command.verb.action();
        let id = Hasher::new()
            .text(&command.request_id)
            .id(command.incident)
            .text(action.as_str())
            .text(code.as_str())
            .int(self.context.now)
            .finish();
        self.out.audit.push(AuditRow {
            id,
            at: self.context.now,
            actor: Actor {
                role: Role::Unit,
                unit: command.unit.clone(),
                person: command.person.clone(),
                on_behalf_of: None,
            },
            action,
            incident: Some(command.incident),
            version: None,
            reason: reason(command),
            request_id: command.request_id.clone(),
            refused: Some(code),
        });
    }
}

/// Hash of everything a command says but the version it saw.
#[must_use]
pub fn digest(command: &Command) -> Id {
    let Command { incident, unit, person, note, evidence, verb, .. } = command;
    let mut hasher =
        Hasher::new().id(*incident).text(unit).text(person).text(note).text(verb.action().as_str());
    hasher = match verb {
        Verb::Dispatch { lead } | Verb::ApproveReturn { lead } => {
            hasher.text(lead.as_deref().unwrap_or_default())
        }
        Verb::RequestReturn { reason, proposed } => {
            hasher.text(reason.as_str()).text(proposed.as_deref().unwrap_or_default())
        }
        Verb::Reassign { lead } => hasher.text(lead),
        Verb::AddAssist { unit, mandatory } => hasher.text(unit).int(i64::from(*mandatory)),
        Verb::WaiveAssist { task } => hasher.id(*task),
        _ => hasher,
    };
    evidence.iter().fold(hasher, |hasher, reference| hasher.text(reference)).finish()
}

fn repeat(row: &CommandRow, digest: Id) -> Result<Done, Refusal> {
    match (row.incident, row.state) {
        (Some(incident), Some(state)) if row.digest == digest => {
            Ok(Done { incident, version: row.version, state, repeat: true })
        }
        _ => Err(Refusal::new(
            RefusalCode::CommandIdReused,
            "another command has this request_id; take a new one",
        )),
    }
}

fn reason(command: &Command) -> String {
    match &command.verb {
        Verb::RequestReturn { reason, .. } => reason.as_str().into(),
        _ => command.note.clone(),
    }
}

/// Does a command whose guards have all passed.
fn apply(step: &mut Step<'_, '_>, command: &Command) {
    let lead = step.work.lead();
    match (&command.verb, lead) {
        (Verb::Accept, _) => {
            step.accept();
            let files = step.work.policy.as_ref().is_some_and(|policy| policy.auto_file);
            let category = &step.work.incident.category;
            if files && current(step.context.district, category) {
                step.as_system();
                step.file();
                step.dispatch(Action::Dispatch, Cause::Filed, None);
            }
        }
        (Verb::Decline, _) => step.decline(),
        (Verb::File, _) => step.file(),
        (Verb::Dispatch { lead }, _) => {
            step.dispatch(Action::Dispatch, Cause::Filed, lead.clone());
        }
        (Verb::Acknowledge, Some(lead)) => step.acknowledge(lead),
        (Verb::RequestReturn { reason, proposed }, Some(lead)) => {
            step.ask_return(lead, *reason, proposed.clone(), command);
        }
        (Verb::ApproveReturn { lead: next }, Some(lead)) => {
            step.approve_return(lead, next.as_ref(), command);
        }
        (Verb::DenyReturn, _) => step.deny_return(command),
        (Verb::Reassign { lead }, _) => {
            step.dispatch(Action::Reassign, Cause::Reassign, Some(lead.clone()));
        }
        (Verb::FeedBack, Some(lead)) => {
            step.record(lead, command);
            step.feed_back(lead);
            step.auto_check();
        }
        (Verb::StartCheck, _) => step.start_check(),
        (Verb::Close, Some(lead)) => {
            step.work.task(lead).evidence.extend(command.evidence.iter().cloned());
            step.close(CloseMethod::Person);
        }
        (Verb::Rework, Some(lead)) => step.rework(lead),
        (Verb::Comment, _) => step.version(Action::Comment, command.note.clone()),
        (Verb::TaskAck, _) => {
            if let Some(task) = step.work.assist(&command.unit) {
                step.task_ack(task);
            }
        }
        (Verb::TaskDone, _) => {
            if let Some(task) = step.work.assist(&command.unit) {
                step.record(task, command);
                step.task_done(task);
            }
        }
        (Verb::AddAssist { unit, mandatory }, _) => step.add_assist(unit.clone(), *mandatory),
        (Verb::WaiveAssist { task }, _) => {
            if let Some(task) = step.work.tasks.iter().position(|row| row.id == *task) {
                step.record(task, command);
                step.waive_assist(task);
            }
        }
        (_, None) => unreachable!("the states in which this is allowed have a live lead"),
    }
}
