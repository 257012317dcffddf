//! Incidents: from signals to closed cases, as pure steps over plain rows.
//!
//! A [`Changes`] is everything one transaction writes. Nothing here reads a clock, waits or stores: time comes in with
//! each call, and what was staged becomes true only when the store has committed it.

pub mod words;

pub mod rows;

pub mod changes;

pub use changes::{Case, Changes, Upsert};
pub use rows::{
    Actor, AlarmCleared, AuditRow, Clock, ClockSegment, CommandRow, History, Incident, Notice,
    OutboxRow, PolicyRow, Request, SignalRow, Task, TimerFire, UnitId,
};
pub use words::{
    Action, Cause, CauseKind, ChangeKind, ClockKind, CloseMethod, Confidence, LocatedBy,
    NoticeKind, Outcome, RefusalCode, RequestKind, RequestState, ReturnReason, Role, State,
    TaskRole, TaskState,
};
