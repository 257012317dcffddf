//! The table of transitions (incidents, section 2.3): what may follow what, in which role.
//!
//! Invariant: a state changes only by a row of [`TABLE`]; everything else is refused. Guards that
//! look at persons, tasks and time stand with the commands.

use super::words::{Action, Role, State};

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What is done.
    pub action: Action,
    /// States in which it may be done; empty for the first version.
    pub from: &'static [State],
    /// State afterwards; none leaves it alone.
    pub to: Option<State>,
    /// Roles that may.
    pub roles: &'static [Role],
}

use Action as A;
use Role as R;
use State as S;

const OPEN: &[State] = &[
    S::Reported,
    S::Verifying,
    S::Accepted,
    S::Filed,
    S::Dispatched,
    S::Handling,
    S::FedBack,
    S::Checking,
    S::Suspended,
];
const SENT: &[State] = &[S::Dispatched, S::Handling];
const TASKS: &[State] = &[S::Dispatched, S::Handling, S::Suspended];

/// The whole table.
pub const TABLE: &[Transition] = &[
    row(A::Report, &[], Some(S::Reported), &[R::Src, R::Clerk, R::Unit]),
    row(A::Accept, &[S::Reported], Some(S::Accepted), &[R::Clerk, R::Sys]),
    row(A::Decline, &[S::Reported, S::Accepted], Some(S::Declined), &[R::Clerk]),
    row(A::File, &[S::Accepted], Some(S::Filed), &[R::Leader, R::Sys]),
    row(A::Dispatch, &[S::Filed], Some(S::Dispatched), &[R::Disp, R::Sys]),
    row(A::Acknowledge, &[S::Dispatched], Some(S::Handling), &[R::Unit]),
    row(A::Return, SENT, Some(S::Filed), &[R::Disp]),
    row(A::Reassign, SENT, Some(S::Dispatched), &[R::Disp]),
    row(A::Climb, &[S::Dispatched], Some(S::Dispatched), &[R::Sys]),
    row(A::FeedBack, &[S::Handling], Some(S::FedBack), &[R::Unit]),
    row(A::StartCheck, &[S::FedBack], Some(S::Checking), &[R::Checker, R::Leader]),
    row(A::Close, &[S::Checking], Some(S::Closed), &[R::Leader]),
    row(A::AutoCheck, &[S::FedBack], Some(S::Closed), &[R::Sys]),
    row(A::Rework, &[S::Checking], Some(S::Dispatched), &[R::Checker]),
    row(A::AttachSignal, OPEN, None, &[R::Src]),
    row(A::ClearSignal, OPEN, None, &[R::Src]),
    row(A::Comment, OPEN, None, &[R::Unit]),
    row(A::TaskAck, TASKS, None, &[R::Unit]),
    row(A::TaskDone, TASKS, None, &[R::Unit]),
    row(A::AddAssist, SENT, None, &[R::Unit, R::Disp]),
    row(A::WaiveAssist, TASKS, None, &[R::Disp]),
    row(A::Request, SENT, None, &[R::Unit]),
    row(A::Deny, SENT, None, &[R::Disp]),
    row(A::RequestStep, OPEN, None, &[R::Sys]),
    row(A::Rung, OPEN, None, &[R::Sys]),
];

const fn row(
    action: Action,
    from: &'static [State],
    to: Option<State>,
    roles: &'static [Role],
) -> Transition {
    Transition { action, from, to, roles }
}

/// The row of an action.
#[must_use]
pub fn transition(action: Action) -> &'static Transition {
    TABLE.iter().find(|row| row.action == action).expect("the table has a row for every action")
}

/// Whether the table allows an action in a state.
#[must_use]
pub fn allowed(action: Action, from: Option<State>) -> bool {
    let row = transition(action);
    match from {
        None => row.from.is_empty(),
        Some(state) => row.from.contains(&state),
    }
}

/// The state after an action, by the table alone: the fold of a history.
#[must_use]
pub fn next(action: Action, from: Option<State>) -> Option<State> {
    allowed(action, from).then(|| transition(action).to.or(from)).flatten()
}
