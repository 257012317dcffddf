//! Incidents: from signals to closed cases, as pure steps over plain rows.
//!
//! A [`Changes`] is everything one transaction writes. Nothing here reads a clock, waits or stores:
//! time comes in with each call, and what was staged becomes true only when the store has committed
//! it.

pub mod words;

pub mod rows;

pub mod changes;

pub mod terms;

mod terms_file;

pub mod machine;

pub mod clock;

pub mod locate;

pub mod dispatch;

pub mod open_index;

mod step;

mod transitions;

pub mod session;

pub mod signals;

pub mod command;

mod guard;

mod requests;

pub mod fire;

pub mod check;

pub use changes::{Case, Changes, Upsert};
pub use command::{Command, Current, Done, Refusal, Verb};
pub use fire::Due;
pub use open_index::{OpenIndex, Standing, alarm_id};
pub use rows::{
    Actor, AlarmCleared, AuditRow, Clock, ClockSegment, CommandRow, History, Incident, Notice,
    OutboxRow, PolicyRow, Request, SignalRow, Task, TimerFire, UnitId,
};
pub use session::{Answer, Inputs, Session, Staged};
pub use terms::{OutboxGrain, Rung, RungAct, Terms};
pub use words::{
    Action, Cause, CauseKind, ChangeKind, ClockKind, CloseMethod, Confidence, LocatedBy,
    NoticeKind, Outcome, RefusalCode, RequestKind, RequestState, ReturnReason, Role, State,
    TaskRole, TaskState,
};

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod clock_tests;

#[cfg(test)]
mod session_tests;

#[cfg(test)]
mod random_tests;
