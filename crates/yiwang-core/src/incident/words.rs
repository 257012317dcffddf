//! The closed sets of words of the event centre, each with its published spelling.
//!
//! `as_str` is what stores, streams and people see; `parse` is its inverse and the only way back.

/// Declares an enum whose variants have one published word each.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every word of the set, in its order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The published word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The inverse of `as_str`.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// Where an incident stands (incidents, section 2.2).
    State {
        /// 已上报(待受理)
        Reported = "REPORTED",
        /// 核实中
        Verifying = "VERIFYING",
        /// 已受理(待立案)
        Accepted = "ACCEPTED",
        /// 已立案(待派遣)
        Filed = "FILED",
        /// 已派遣(待签收)
        Dispatched = "DISPATCHED",
        /// 处置中
        Handling = "HANDLING",
        /// 已反馈(待核查)
        FedBack = "FED_BACK",
        /// 核查中
        Checking = "CHECKING",
        /// 挂账
        Suspended = "SUSPENDED",
        /// 已结案
        Closed = "CLOSED",
        /// 已评价归档
        Evaluated = "EVALUATED",
        /// 不予受理
        Declined = "DECLINED",
        /// 作废
        Voided = "VOIDED",
        /// 并案
        Merged = "MERGED",
    }
}

impl State {
    /// Whether somebody still has to act.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(
            self,
            Self::Closed | Self::Evaluated | Self::Declined | Self::Voided | Self::Merged
        )
    }
}

words! {
    /// What was done; every version of an incident has exactly one. The first block changes the
    /// state.
    Action {
        /// T01 上报
        Report = "REPORT",
        /// T04 受理
        Accept = "ACCEPT",
        /// T05 不予受理
        Decline = "DECLINE",
        /// T06 立案
        File = "FILE",
        /// T07 派遣
        Dispatch = "DISPATCH",
        /// T08 签收
        Acknowledge = "ACKNOWLEDGE",
        /// T09 退单成立
        Return = "RETURN",
        /// T10 改派
        Reassign = "REASSIGN",
        /// T11 上提
        Climb = "CLIMB",
        /// T12 反馈
        FeedBack = "FEED_BACK",
        /// T13 核查
        StartCheck = "START_CHECK",
        /// T14 结案
        Close = "CLOSE",
        /// T15 自动核查结案
        AutoCheck = "AUTO_CHECK",
        /// T16 返工
        Rework = "REWORK",
        /// A signal joined the incident.
        AttachSignal = "ATTACH_SIGNAL",
        /// An alarm of the incident ended.
        ClearSignal = "CLEAR_SIGNAL",
        /// A note of a person.
        Comment = "COMMENT",
        /// An assist unit acknowledges its task.
        TaskAck = "TASK_ACK",
        /// An assist unit has done its task.
        TaskDone = "TASK_DONE",
        /// A task beside the lead's is added.
        AddAssist = "ADD_ASSIST",
        /// A mandatory assist is no longer asked for.
        WaiveAssist = "WAIVE_ASSIST",
        /// A request (退单, …) was made.
        Request = "REQUEST",
        /// A request was denied.
        Deny = "DENY",
        /// A request lapsed or went to the next approver.
        RequestStep = "REQUEST_STEP",
        /// A rung of a clock fired: warning, overdue, told.
        Rung = "RUNG",
    }
}

impl Action {
    /// Number of the transition in the table of the access standard; `T29` leaves the state alone.
    #[must_use]
    pub const fn transition(self) -> &'static str {
        match self {
            Self::Report => "T01",
            Self::Accept => "T04",
            Self::Decline => "T05",
            Self::File => "T06",
            Self::Dispatch => "T07",
            Self::Acknowledge => "T08",
            Self::Return => "T09",
            Self::Reassign => "T10",
            Self::Climb => "T11",
            Self::FeedBack => "T12",
            Self::StartCheck => "T13",
            Self::Close => "T14",
            Self::AutoCheck => "T15",
            Self::Rework => "T16",
            _ => "T29",
        }
    }
}

words! {
    /// In which role somebody acts (incidents, section 2.1).
    Role {
        /// 感知源/上报方
        Src = "SRC",
        /// 受理员
        Clerk = "CLERK",
        /// 值班长
        Leader = "LEADER",
        /// 派遣员
        Disp = "DISP",
        /// 处置单位
        Unit = "UNIT",
        /// 核查员
        Checker = "CHECKER",
        /// 指挥长
        Cmd = "CMD",
        /// 督办员
        Sup = "SUP",
        /// 系统
        Sys = "SYS",
    }
}

words! {
    /// What a task is for.
    TaskRole {
        /// 主办
        Lead = "LEAD",
        /// 协办
        Assist = "ASSIST",
        /// 核查
        Check = "CHECK",
    }
}

words! {
    /// Where a task stands.
    TaskState {
        /// Sent, not yet acknowledged.
        Sent = "SENT",
        /// 已签收
        Acked = "ACKED",
        /// Its unit has fed back.
        Done = "DONE",
        /// 退单: not theirs.
        Returned = "RETURNED",
        /// No longer asked for.
        Waived = "WAIVED",
        /// Taken back by a dispatcher or the system.
        Withdrawn = "WITHDRAWN",
    }
}

impl TaskState {
    /// Whether the unit still stands for the task: the lead of a fed back incident is live.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Sent | Self::Acked | Self::Done)
    }
}

words! {
    /// Why a task was sent or taken back; the cause of a dispatch.
    Cause {
        /// First dispatch.
        Filed = "FILED",
        /// After an approved return.
        Returned = "RETURNED",
        /// A dispatcher's decision.
        Reassign = "REASSIGN",
        /// Nobody acknowledged in time.
        AckMissed = "ACK_MISSED",
        /// The check failed.
        Rework = "REWORK",
        /// Asked for beside the policy.
        Added = "ADDED",
        /// The incident was closed.
        Closed = "CLOSED",
    }
}

words! {
    /// What a clock measures (incidents, section 10).
    ClockKind {
        /// 受理时限
        Intake = "INTAKE",
        /// 核实时限
        Verify = "VERIFY",
        /// 立案时限
        File = "FILE",
        /// 派遣时限
        Dispatch = "DISPATCH",
        /// 签收时限, per task
        Ack = "ACK",
        /// 处置时限, per task
        Handle = "HANDLE",
        /// 结案时限
        Incident = "INCIDENT",
        /// A named part of the incident's time.
        Milestone = "MILESTONE",
        /// 核查时限
        Check = "CHECK",
        /// Time to decide a request.
        Request = "REQUEST",
        /// Time to answer a 督办.
        Supervision = "SUPERVISION",
        /// A date on which a suspension is looked at.
        Review = "REVIEW",
    }
}

words! {
    /// What somebody asks for (incidents, section 3).
    RequestKind {
        /// 退单
        Return = "RETURN",
        /// 转派
        Transfer = "TRANSFER",
        /// 延期
        Extend = "EXTEND",
        /// 挂账
        Suspend = "SUSPEND",
        /// 作废
        Void = "VOID",
    }
}

words! {
    /// Where a request stands.
    RequestState {
        /// Nobody has decided.
        Pending = "PENDING",
        /// Granted.
        Approved = "APPROVED",
        /// Refused by the approver.
        Denied = "DENIED",
        /// The incident left the states in which it may be asked.
        Lapsed = "LAPSED",
    }
}

words! {
    /// Why a lead returns an incident.
    ReturnReason {
        /// Not this unit's duty.
        NotOurs = "NOT_OURS",
        /// Elsewhere.
        WrongPlace = "WRONG_PLACE",
        /// No power to act.
        NoPower = "NO_POWER",
        /// Already handled under another number.
        Duplicate = "DUPLICATE",
    }
}

words! {
    /// The one outcome of a signal (contract, section 5, row C).
    Outcome {
        /// Opened an incident.
        Opened = "OPENED",
        /// Joined an open incident.
        Attached = "ATTACHED",
        /// Member of a storm.
        Member = "MEMBER",
        /// Counted towards `min_count`.
        Candidate = "CANDIDATE",
        /// Under a silence.
        Silenced = "SILENCED",
        /// Ended at least one alarm.
        Cleared = "CLEARED",
        /// Ended nothing.
        ClearedNothing = "CLEARED_NOTHING",
        /// Too old to open anything.
        Late = "LATE",
        /// No id, no permitted source, no readable form.
        Rejected = "REJECTED",
    }
}

words! {
    /// How a place was found (incidents, section 7).
    LocatedBy {
        /// The asset's registered place.
        Asset = "ASSET",
        /// Near a border: the lowest common ancestor of the candidates.
        Border = "BORDER",
        /// Inside an area.
        Polygon = "POLYGON",
        /// The nearest area.
        Nearest = "NEAREST",
        /// A code or unit in the report.
        Stated = "STATED",
        /// Nowhere: the district.
        CatchAll = "CATCH_ALL",
    }
}

words! {
    /// How sure a place is.
    Confidence {
        /// Registered or inside.
        High = "HIGH",
        /// One of several, or stated.
        Medium = "MEDIUM",
        /// A guess.
        Low = "LOW",
    }
}

words! {
    /// How an incident was closed.
    CloseMethod {
        /// A person checked it.
        Person = "PERSON",
        /// The sensor recovered and the policy takes its word.
        Sensor = "SENSOR",
    }
}

words! {
    /// What a change on the stream is about; the action says what was done.
    ChangeKind {
        /// The first version.
        Opened = "OPENED",
        /// The state changed.
        State = "STATE",
        /// Anything else.
        Updated = "UPDATED",
        /// The last version of an open incident.
        Closed = "CLOSED",
    }
}

words! {
    /// Why a unit is told something beside the change itself.
    NoticeKind {
        /// A new task.
        Task = "TASK",
        /// A watcher: told, does not own.
        Watch = "WATCH",
        /// 80 % of a clock are spent.
        Warn = "WARN",
        /// A clock is spent.
        Overdue = "OVERDUE",
        /// Nobody answers and there is no parent to climb to: the commander's list.
        Unanswered = "UNANSWERED",
        /// A request waits for a decision.
        Request = "REQUEST",
    }
}

words! {
    /// What kind of thing made the system or a person act.
    CauseKind {
        /// A signal; the id is its event id.
        Signal = "SIGNAL",
        /// A command of a person.
        Command = "COMMAND",
        /// A rung of a clock.
        Rung = "RUNG",
        /// A policy that accepts, files or dispatches by itself.
        Policy = "POLICY",
    }
}

words! {
    /// Why a command was refused: stable codes for callers (incidents, section 2.4).
    RefusalCode {
        /// Not there, or outside the caller's scope: the same answer.
        NotFound = "NOT_FOUND",
        /// In scope, but not theirs to do.
        NotYours = "NOT_YOURS",
        /// The state does not allow it.
        WrongState = "WRONG_STATE",
        /// Somebody changed the incident since the caller saw it.
        VersionConflict = "VERSION_CONFLICT",
        /// The same id with another content.
        CommandIdReused = "COMMAND_ID_REUSED",
        /// A binding decision names the unit: it may not return.
        ReturnBound = "RETURN_BOUND",
        /// Returned too long after the acknowledgement.
        ReturnTooLate = "RETURN_TOO_LATE",
        /// A request of this kind is pending already.
        RequestPending = "REQUEST_PENDING",
        /// No request is pending.
        NoRequest = "NO_REQUEST",
        /// Two persons are needed and it was the same one.
        SamePerson = "SAME_PERSON",
        /// A command names no person.
        PersonRequired = "PERSON_REQUIRED",
        /// A command carries no `request_id`.
        RequestIdRequired = "REQUEST_ID_REQUIRED",
        /// A reason is missing.
        ReasonRequired = "REASON_REQUIRED",
        /// A mandatory assist is neither done nor waived.
        AssistsOpen = "ASSISTS_OPEN",
        /// Evidence that the category asks for is missing.
        EvidenceMissing = "EVIDENCE_MISSING",
        /// The named unit does not exist, is not valid now or is excluded.
        TargetInvalid = "TARGET_INVALID",
        /// The incident has no such task, or it has ended.
        TaskNotFound = "TASK_NOT_FOUND",
        /// The category is not in the list.
        CategoryInvalid = "CATEGORY_INVALID",
        /// No policy covers the category.
        NoPolicy = "NO_POLICY",
        /// A field is missing or malformed; the detail names it.
        InvalidArgument = "INVALID_ARGUMENT",
    }
}
