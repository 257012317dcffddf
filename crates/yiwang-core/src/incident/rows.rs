//! The rows of the event centre exactly as the store keeps them, one struct per table.
//!
//! Invariant: the rows are plain data; every rule about them stands in this module's siblings.
//! Times are UTC milliseconds, spans of time are milliseconds, versions count from 1.

use std::sync::Arc;

use super::words::{
    Action, Cause, CauseKind, ChangeKind, ClockKind, CloseMethod, Confidence, LocatedBy,
    NoticeKind, Outcome, RefusalCode, RequestKind, RequestState, Role, State, TaskRole, TaskState,
};
use crate::ids::Id;
use crate::record::{AlarmSeverity, Millis, Point, Signal};

/// Name of a unit of the tree, a department or a company.
pub type UnitId = Arc<str>;

/// One case that people work on. Key: `id`.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// `ids::incident(source, event_id)` of the first signal.
    pub id: Id,
    /// `310118-yyyymmdd-nnnnnn`; empty until the store numbers it in the transaction that opens it.
    pub no: String,
    /// Grows by one per history row; the etag of commands.
    pub version: i64,
    /// Where it stands.
    pub state: State,
    /// Dotted category code.
    pub category: Arc<str>,
    /// `list@version` of the category list it was opened under.
    pub list_version: Arc<str>,
    /// One line for people: category and place by name.
    pub title: String,
    /// What the first signal says.
    pub text: String,
    /// 联勤联动事项, by the list version.
    pub joint_duty: bool,
    /// The worst of its signals.
    pub severity: AlarmSeverity,
    /// 1 (特别重大) to 4 (一般).
    pub level: Option<u8>,
    /// Drill it belongs to.
    pub drill_id: Option<String>,
    /// Source of the first signal.
    pub source: String,
    /// Event id of the first signal.
    pub event_id: String,
    /// Asset it is about.
    pub asset: Option<Arc<str>>,
    /// Where.
    pub point: Option<Point>,
    /// How the place was found.
    pub located_by: LocatedBy,
    /// How sure it is.
    pub confidence: Confidence,
    /// Border candidates, sorted; each of them sees the incident.
    pub candidates: Vec<UnitId>,
    /// The asset's point lies in another village than the asset's registered place.
    pub location_conflict: bool,
    /// 属地: the deepest tree unit that holds the location.
    pub place: UnitId,
    /// District of the place.
    pub district: UnitId,
    /// Town of the place.
    pub town: Option<UnitId>,
    /// Station of the place.
    pub station: Option<UnitId>,
    /// Village of the place.
    pub village: Option<UnitId>,
    /// Micro-grid of the place.
    pub grid: Option<UnitId>,
    /// 受理台: the centre whose clerks accept, file, dispatch and check.
    pub desk: UnitId,
    /// 主办: the one responsible unit, from the first dispatch on.
    pub lead: Option<UnitId>,
    /// 经办: the one unit that must act next; none once closed.
    pub holder: Option<UnitId>,
    /// Tier of the lead: DISTRICT 0 to MICROGRID 4; none for departments and companies.
    pub tier: Option<u8>,
    /// Units that are told and do not own.
    pub watchers: Vec<UnitId>,
    /// Units whose return was approved: never picked again.
    pub excluded: Vec<UnitId>,
    /// Unit named by a binding decision: it may not return.
    pub bound: Option<UnitId>,
    /// Storm parent.
    pub parent: Option<Id>,
    /// Incident this one was merged into.
    pub merged_into: Option<Id>,
    /// Last incident with the same key that was closed shortly before.
    pub recurrence_of: Option<Id>,
    /// Number of the mode epoch it was last changed under.
    pub mode_epoch: i64,
    /// 督办 level, 0 for none.
    pub supervise_level: u8,
    /// Signals attached, the first included.
    pub signals: u32,
    /// Alarms of it that still stand; signals that nothing can clear count for ever.
    pub standing: u32,
    /// Approved returns.
    pub returns: u32,
    /// Approved extensions.
    pub extensions: u32,
    /// Suspensions.
    pub suspensions: u32,
    /// Failed checks.
    pub reworks: u32,
    /// Reopenings.
    pub reopenings: u32,
    /// Time of the earliest signal.
    pub first_signal_at: Millis,
    /// Time of the latest signal.
    pub last_signal_at: Millis,
    /// T01.
    pub reported_at: Millis,
    /// T06, the last one.
    pub filed_at: Option<Millis>,
    /// T07, the first one.
    pub dispatched_at: Option<Millis>,
    /// T08, the last one.
    pub acked_at: Option<Millis>,
    /// T12, the last one.
    pub fed_back_at: Option<Millis>,
    /// T14, T15, T05.
    pub closed_at: Option<Millis>,
    /// When its last standing alarm ended.
    pub recovered_at: Option<Millis>,
    /// INCIDENT clock not overdue at closing; latched then.
    pub on_time: Option<bool>,
    /// When its INCIDENT clock was first spent.
    pub overdue_at: Option<Millis>,
    /// When its running INCIDENT clock will be spent, derived.
    pub due_at: Option<Millis>,
    /// How it was closed.
    pub close_method: Option<CloseMethod>,
    /// Reference of the reporter; personal, graded.
    pub reporter: Option<String>,
    /// Person who started the check.
    pub checker: Option<String>,
    /// Policy snapshot, from T06 on that it was filed under.
    pub policy_id: Option<Id>,
    /// Hash of the values of the policy's group key fields: equal keys may be one incident.
    pub group_key: Id,
    /// How far a signal without the same asset may be away to join.
    pub group_radius_m: u32,
    /// How long after its last signal another one may join.
    pub group_window_ms: i64,
    /// Level III and above, or exempt from storms: sent at once.
    pub urgent: bool,
    /// When its last version was made.
    pub updated_at: Millis,
    /// Unit that made its last version.
    pub updated_by_unit: UnitId,
    /// Person who made its last version; empty for the system and for sources.
    pub updated_by: String,
}

/// What one unit has to do for an incident. Key: `id`; at most one live LEAD per incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// `hash(incident, number)`.
    pub id: Id,
    /// Incident.
    pub incident: Id,
    /// Number within the incident, from 1.
    pub number: u32,
    /// Whose it is.
    pub unit: UnitId,
    /// Centre at which the department's officer sits.
    pub seat: Option<UnitId>,
    /// What for.
    pub role: TaskRole,
    /// An assist that must be done or waived before feedback.
    pub mandatory: bool,
    /// Asked for by the policy, not by a person.
    pub from_policy: bool,
    /// Where it stands.
    pub state: TaskState,
    /// Why it was sent.
    pub cause: Cause,
    /// Why it ended, for RETURNED, WAIVED and WITHDRAWN.
    pub end_cause: Option<Cause>,
    /// Persons who acted on it, in order, each once.
    pub persons: Vec<String>,
    /// Result or reason in words.
    pub note: String,
    /// References of evidence.
    pub evidence: Vec<String>,
    /// When it was sent (the last time).
    pub sent_at: Millis,
    /// When it was acknowledged (the last time).
    pub acked_at: Option<Millis>,
    /// When it was done (the last time).
    pub done_at: Option<Millis>,
    /// When it was returned, waived or withdrawn.
    pub ended_at: Option<Millis>,
    /// When its running ACK or HANDLE clock will be spent, derived.
    pub due_at: Option<Millis>,
}

/// A budget being spent. Key: `id`. The due time is derived; `fire_at` is only an index for the
/// timer wheel.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// `hash(owner, kind, milestone)`.
    pub id: Id,
    /// Incident it belongs to, directly or through its task or request.
    pub incident: Id,
    /// Incident, task or request whose time it is.
    pub owner: Id,
    /// What it measures.
    pub kind: ClockKind,
    /// Name of the milestone.
    pub milestone: Option<String>,
    /// How much may be spent.
    pub budget_ms: i64,
    /// Grows with each new budget: a new budget has its own rungs.
    pub budget_no: u32,
    /// Spent up to the last fold.
    pub consumed_ms: i64,
    /// Running since; none when paused or stopped.
    pub running_since: Option<Millis>,
    /// Stopped for good; a paused clock is neither running nor stopped.
    pub stopped: bool,
    /// Working calendar; none counts around the clock.
    pub calendar: Option<Arc<str>>,
    /// Grows at every fold: a schedule with an older generation is ignored.
    pub generation: u32,
    /// Rungs it climbs, by name.
    pub rungs: Arc<str>,
    /// Rung that fires next, as in [`TimerFire::rung`]; none when all have fired.
    pub next_rung: Option<u32>,
    /// When that rung fires; none when paused or stopped.
    pub fire_at: Option<Millis>,
    /// When consumed first passed the budget; latched.
    pub overdue_at: Option<Millis>,
    /// When it was first started.
    pub started_at: Millis,
}

/// A stretch of time charged to a clock, appended at every fold: the proof of a due time. Key:
/// (clock, generation).
#[derive(Clone, Debug, PartialEq)]
pub struct ClockSegment {
    /// Clock.
    pub clock: Id,
    /// Incident.
    pub incident: Id,
    /// Generation that this segment ended.
    pub generation: u32,
    /// From; equal to `to` when the clock was not running.
    pub from: Millis,
    /// To.
    pub to: Millis,
    /// Calendar it was counted by.
    pub calendar: Option<Arc<str>>,
    /// Budget that held during it.
    pub budget_ms: i64,
    /// Number of that budget.
    pub budget_no: u32,
    /// Working time of this stretch.
    pub added_ms: i64,
    /// Consumed after it.
    pub consumed_ms: i64,
    /// Action that folded the clock.
    pub cause: Action,
}

/// Something a unit asks for and a unit above decides. Key: `id`; one pending of a kind per
/// incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `hash(incident, version that asked)`.
    pub id: Id,
    /// Incident.
    pub incident: Id,
    /// What for.
    pub kind: RequestKind,
    /// Where it stands.
    pub state: RequestState,
    /// Task it is about.
    pub task: Id,
    /// Version of the incident that asked.
    pub version: i64,
    /// Unit that asks.
    pub asked_by_unit: UnitId,
    /// Person who asks.
    pub asked_by: String,
    /// When.
    pub asked_at: Millis,
    /// Reason code of the kind: a [`super::words::ReturnReason`] for RETURN.
    pub reason: String,
    /// Reason in words.
    pub note: String,
    /// Unit that the asker thinks is the right one.
    pub proposed: Option<UnitId>,
    /// Unit that has to decide now.
    pub approver: UnitId,
    /// Unit that decided.
    pub decided_by_unit: Option<UnitId>,
    /// Person who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Millis>,
    /// Why, in words.
    pub decision_note: String,
}

/// Who acts: a person of a unit in a role, or the system with its cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// In which role.
    pub role: Role,
    /// Unit in whose name.
    pub unit: UnitId,
    /// Person; empty for the system and for sources.
    pub person: String,
    /// Unit on whose behalf, where an ancestor acts for a desk.
    pub on_behalf_of: Option<UnitId>,
}

/// One version of an incident: what was done, by whom and why. Key: (incident, version); append
/// only, without gap.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Incident.
    pub incident: Id,
    /// Version it made.
    pub version: i64,
    /// What was done.
    pub action: Action,
    /// State before; none for the first.
    pub from: Option<State>,
    /// State after.
    pub to: State,
    /// Who.
    pub actor: Actor,
    /// Reason code or words.
    pub reason: String,
    /// What caused it.
    pub cause_kind: CauseKind,
    /// Id of the signal, command, rung or policy.
    pub cause_id: String,
    /// The command's, or for the system `hash(incident, cause kind, cause id)` with the action.
    pub request_id: String,
    /// Mode epoch.
    pub mode_epoch: i64,
    /// When.
    pub at: Millis,
    /// More for people, one line: the lead chosen, the units skipped with the reason.
    pub detail: String,
}

/// A unit that is told something with a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Unit.
    pub unit: UnitId,
    /// About what.
    pub kind: NoticeKind,
}

/// One change for the streams. Key: (incident, version); the store gives it its `seq` inside the
/// transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Incident.
    pub incident: Id,
    /// Version.
    pub version: i64,
    /// About what.
    pub kind: ChangeKind,
    /// What was done.
    pub action: Action,
    /// When.
    pub at: Millis,
    /// Every unit with sight, ancestors included, sorted: sight is membership.
    pub audience: Vec<UnitId>,
    /// Units that lost sight with this version, sorted.
    pub left: Vec<UnitId>,
    /// Sent at once to consumers that are behind.
    pub urgent: bool,
    /// Units that are told something.
    pub notices: Vec<Notice>,
    /// Number of the mode epoch.
    pub mode_epoch: i64,
    /// Drill it belongs to.
    pub drill_id: Option<String>,
    /// The incident at this version; `no` is filled by the store for a new one.
    pub view: Incident,
    /// Its tasks at this version.
    pub tasks: Vec<Task>,
    /// Who did it: for people who watch.
    pub actor: Actor,
    /// One line for people, as in the history.
    pub detail: String,
}

/// Who tried what with which result. Key: `id`; written with the change, and alone for a refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// `hash(object, version or request, action, result)`: the same attempt is one row.
    pub id: Id,
    /// When.
    pub at: Millis,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// Incident.
    pub incident: Option<Id>,
    /// Version it made; none for a refusal.
    pub version: Option<i64>,
    /// Reason given.
    pub reason: String,
    /// The caller's id.
    pub request_id: String,
    /// Why it was refused; none when it was done.
    pub refused: Option<RefusalCode>,
}

/// A signal with its outcome. Key: (source, event id).
#[derive(Clone, Debug, PartialEq)]
pub struct SignalRow {
    /// As it came.
    pub signal: Signal,
    /// Hash of its content: another one under the same key is `content_differs`.
    pub digest: Id,
    /// Drill it belongs to.
    pub drill_id: Option<String>,
    /// The one outcome.
    pub outcome: Outcome,
    /// Reason of a rejection.
    pub reason: String,
    /// Incident it opened, joined or cleared.
    pub incident: Option<Id>,
    /// Located place; none for what was not located.
    pub place: Option<UnitId>,
    /// When it got its outcome.
    pub at: Millis,
    /// When its alarm ended.
    pub cleared_at: Option<Millis>,
}

/// Marks all signals of an alarm with `time <= until` that are not cleared yet as cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmCleared {
    /// Source of the alarm.
    pub source: String,
    /// Its alarm key.
    pub alarm_key: String,
    /// Time of the clear, also what `cleared_at` becomes.
    pub until: Millis,
}

/// The stored answer of a command or report. Key: `request_id`; kept at least 7 days.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandRow {
    /// The caller's id.
    pub request_id: String,
    /// Hash of the whole command: another one under the same id is refused.
    pub digest: Id,
    /// When.
    pub at: Millis,
    /// Incident.
    pub incident: Option<Id>,
    /// Its version afterwards: the new etag.
    pub version: i64,
    /// Its state afterwards.
    pub state: Option<State>,
    /// Outcome, for reports.
    pub outcome: Option<Outcome>,
}

/// The claim on one rung of one budget. Key: all four; the insert is the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerFire {
    /// Clock.
    pub clock: Id,
    /// Number of the budget.
    pub budget_no: u32,
    /// `percent * 100`, plus the number of the repetition (80 % is 8000, its third repetition
    /// 8003).
    pub rung: u32,
    /// When it fired.
    pub at: Millis,
}

/// A policy as incidents were filed under it. Key: `id`, the hash of the content; never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    /// Hash of the content.
    pub id: Id,
    /// The policy as text, to be read back by this crate only.
    pub body: String,
}
