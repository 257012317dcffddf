//! The district's terms: rungs of clocks and limits of requests, as data with a demo default.
//!
//! Nothing here acts; `fire` interprets the rungs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::words::ClockKind;
use crate::policy::Budget;

const MINUTE_MS: i64 = 60_000;

/// What a rung does when its clock reaches it (incidents, section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RungAct {
    /// Warns the holder and its parent.
    Warn,
    /// T11 for a lead; at the district the commander's list.
    Climb,
    /// Tells the desk.
    TellDesk,
    /// Tells the next centre above the desk.
    TellAbove,
    /// Latches overdue and tells holder and parent: 督办 1.
    Overdue,
    /// Tells holder and district: 督办 2.
    OverdueMore,
    /// Hands a request to the next approver.
    NextApprover,
}

impl RungAct {
    /// The word of the file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "WARN" => Self::Warn,
            "CLIMB" => Self::Climb,
            "TELL_DESK" => Self::TellDesk,
            "TELL_ABOVE" => Self::TellAbove,
            "OVERDUE" => Self::Overdue,
            "OVERDUE_MORE" => Self::OverdueMore,
            "NEXT_APPROVER" => Self::NextApprover,
            _ => return None,
        })
    }
}

/// One rung: which clocks, at which share of their budget, what, how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Clocks it is for.
    pub clocks: Vec<ClockKind>,
    /// Share of the budget, in percent.
    pub percent: u32,
    /// Smallest budget it is for.
    pub budget_min_ms: i64,
    /// What it does.
    pub act: RungAct,
    /// Time between repetitions, around the clock.
    pub every_ms: i64,
    /// Number of repetitions after the first, below 100.
    pub repeat_max: u32,
}

/// Rungs by name, and the limits of requests and of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Rung sets by the name that policies give.
    pub rungs: BTreeMap<Arc<str>, Vec<Rung>>,
    /// Time to decide a request.
    pub request: Budget,
    /// The same for an urgent incident.
    pub request_urgent: Budget,
    /// How long after its acknowledgement a lead may ask to return.
    pub return_after_ack: Budget,
    /// Number of approved returns that binds.
    pub returns_max: u32,
    /// Least time between two versions that only count further signals.
    pub attach_quiet_ms: i64,
    /// Closed incidents remembered for recurrence.
    pub closed_max: usize,
    /// Whether each version or only the last one of a step goes to the streams.
    pub outbox: OutboxGrain,
}

/// How much of a step (say report, accept, file, dispatch at once) the streams see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxGrain {
    /// Every version is a change.
    Version,
    /// The last version of a step is the change.
    Step,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            rungs: BTreeMap::from([("rungs-default".into(), default_rungs())]),
            request: Budget { ms: 120 * MINUTE_MS, working: true },
            request_urgent: Budget { ms: 15 * MINUTE_MS, working: false },
            return_after_ack: Budget { ms: 60 * MINUTE_MS, working: true },
            returns_max: 2,
            attach_quiet_ms: 5_000,
            closed_max: 100_000,
            outbox: OutboxGrain::Version,
        }
    }
}

impl Terms {
    /// The first rung of a clock, in the code of [`super::TimerFire::rung`].
    #[must_use]
    pub fn first(&self, set: &str, kind: ClockKind, budget_ms: i64) -> Option<u32> {
        self.next_percent(set, kind, budget_ms, 0)
    }

    /// The rung after `code`: its next repetition, else the next share; a repetition must still be
    /// wanted.
    #[must_use]
    pub fn after(&self, set: &str, kind: ClockKind, budget_ms: i64, code: u32) -> Option<u32> {
        let rung = self.rung(set, kind, budget_ms, code)?;
        if code % 100 < rung.repeat_max {
            return Some(code + 1);
        }
        self.next_percent(set, kind, budget_ms, rung.percent)
    }

    /// The rung behind a code.
    #[must_use]
    pub fn rung(&self, set: &str, kind: ClockKind, budget_ms: i64, code: u32) -> Option<&Rung> {
        self.of(set, kind, budget_ms).find(|rung| rung.percent == code / 100)
    }

    fn next_percent(&self, set: &str, kind: ClockKind, budget_ms: i64, above: u32) -> Option<u32> {
        let shares = self.of(set, kind, budget_ms).map(|rung| rung.percent);
        shares.filter(|percent| *percent > above).min().map(|percent| percent * 100)
    }

    fn of(&self, set: &str, kind: ClockKind, budget_ms: i64) -> impl Iterator<Item = &Rung> {
        let rungs = self.rungs.get(set).map(Vec::as_slice).unwrap_or_default();
        rungs
            .iter()
            .filter(move |rung| rung.clocks.contains(&kind) && budget_ms >= rung.budget_min_ms)
    }
}

fn default_rungs() -> Vec<Rung> {
    use ClockKind::{Ack, Check, Dispatch, File, Handle, Incident, Intake, Request, Verify};
    let rung = |clocks: &[ClockKind], percent, act| Rung {
        clocks: clocks.to_vec(),
        percent,
        budget_min_ms: 0,
        act,
        every_ms: 0,
        repeat_max: 0,
    };
    let desk = [Intake, Verify, File, Dispatch, Check];
    let warned = [Intake, Verify, File, Dispatch, Check, Ack, Handle, Incident];
    vec![
        Rung { budget_min_ms: 30 * MINUTE_MS, ..rung(&warned, 80, RungAct::Warn) },
        Rung { every_ms: 5 * MINUTE_MS, repeat_max: 12, ..rung(&[Ack], 100, RungAct::Climb) },
        rung(&desk, 100, RungAct::TellDesk),
        rung(&desk, 200, RungAct::TellAbove),
        rung(&[Handle, Incident], 100, RungAct::Overdue),
        rung(&[Handle, Incident], 150, RungAct::OverdueMore),
        rung(&[Request], 100, RungAct::NextApprover),
    ]
}
