//! [`Case`], what a step reads, and [`Changes`], everything that one transaction writes.

use super::rows::{
    AlarmCleared, AuditRow, Clock, ClockSegment, CommandRow, History, Incident, OutboxRow,
    PolicyRow, Request, SignalRow, Task, TimerFire,
};

/// An incident with everything that hangs on it, as loaded from the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The incident.
    pub incident: Incident,
    /// All its tasks by number, ended ones included.
    pub tasks: Vec<Task>,
    /// All its clocks.
    pub clocks: Vec<Clock>,
    /// All its requests.
    pub requests: Vec<Request>,
}

/// A changed incident with the version that the change was computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsert {
    /// Version in the store, 0 for a new one; another one there means that somebody was faster.
    pub base: i64,
    /// The new row.
    pub row: Incident,
}

/// All rows of one transaction: upserts hold the last state once, the rest is inserted in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Upsert by id, guarded by `base`.
    pub incidents: Vec<Upsert>,
    /// Upsert by id.
    pub tasks: Vec<Task>,
    /// Upsert by id.
    pub clocks: Vec<Clock>,
    /// Insert.
    pub segments: Vec<ClockSegment>,
    /// Upsert by id.
    pub requests: Vec<Request>,
    /// Insert.
    pub history: Vec<History>,
    /// Insert, ordered; per incident by version.
    pub outbox: Vec<OutboxRow>,
    /// Insert.
    pub audit: Vec<AuditRow>,
    /// Insert.
    pub signals: Vec<SignalRow>,
    /// Update, before `signals` are inserted: a signal of this batch carries its own `cleared_at`.
    pub cleared: Vec<AlarmCleared>,
    /// Insert.
    pub commands: Vec<CommandRow>,
    /// Insert; an existing row means that the rung has fired already.
    pub fires: Vec<TimerFire>,
    /// Insert unless there.
    pub policies: Vec<PolicyRow>,
}

impl Changes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.incidents.is_empty()
            && self.audit.is_empty()
            && self.signals.is_empty()
            && self.cleared.is_empty()
            && self.commands.is_empty()
            && self.fires.is_empty()
    }
}
