//! The core's closed sets of words as the enums of the API. Every pair stands once, so the two cannot drift apart.

use yiwang_core::incident as core;
use yiwang_core::record::AlarmSeverity;

use crate::incident::v1;

/// Declares the pairs of one set: towards the API it is total, back `UNSPECIFIED` and unknown numbers give `None`.
macro_rules! pairs {
    ($core:ty, $wire:ty { $($name:ident),+ $(,)? }) => {
        impl From<$core> for $wire {
            fn from(word: $core) -> Self {
                match word { $(<$core>::$name => Self::$name,)+ }
            }
        }

        impl $wire {
            /// The core's word; `None` for `UNSPECIFIED`.
            #[must_use]
            pub const fn to_core(self) -> Option<$core> {
                match self { $(Self::$name => Some(<$core>::$name),)+ Self::Unspecified => None }
            }
        }
    };
}

pairs!(
    core::State,
    v1::State {
        Reported,
        Verifying,
        Accepted,
        Filed,
        Dispatched,
        Handling,
        FedBack,
        Checking,
        Suspended,
        Closed,
        Evaluated,
        Declined,
        Voided,
        Merged,
    }
);
pairs!(AlarmSeverity, v1::Severity { Info, Minor, Major, Critical });
pairs!(core::LocatedBy, v1::LocationMethod { Asset, Border, Polygon, Nearest, Stated, CatchAll });
pairs!(core::Confidence, v1::Confidence { High, Medium, Low });
pairs!(core::TaskRole, v1::TaskRole { Lead, Assist, Check });
pairs!(core::TaskState, v1::TaskState { Sent, Acked, Done, Returned, Waived, Withdrawn });
pairs!(
    core::ClockKind,
    v1::ClockKind {
        Intake,
        Verify,
        File,
        Dispatch,
        Ack,
        Handle,
        Incident,
        Milestone,
        Check,
        Request,
        Supervision,
        Review,
    }
);
pairs!(core::CloseMethod, v1::CloseMethod { Person, Sensor });
pairs!(
    core::Outcome,
    v1::Outcome {
        Opened,
        Attached,
        Member,
        Candidate,
        Silenced,
        Cleared,
        ClearedNothing,
        Late,
        Rejected,
    }
);
pairs!(core::ReturnReason, v1::ReturnReason { NotOurs, WrongPlace, NoPower, Duplicate });
pairs!(core::ChangeKind, v1::ChangeKind { Opened, State, Updated, Closed });
pairs!(core::NoticeKind, v1::NoticeKind { Task, Watch, Warn, Overdue, Unanswered, Request });
