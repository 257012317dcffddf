//! What is remembered of the rules of one device, and what they emit.
//!
//! Sparse on purpose: a rule that never was anything but Normal has no [`Entry`], so a quiet device costs its values
//! only. Times are device times; the [`Mark`] beside each keeps what its id needs when the time was our own.

use super::memory::Memory;
use super::{Rule, RuleSet, Step};
use crate::ids::{self, Id};
use crate::record::{AlarmSeverity, Millis, SignalKind};

/// A moment in device time, and the raw record that gave it where the time was the time of reception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub t: Millis,
    /// Raw id if `t` is a time of reception, which never enters an id; else zero.
    pub raw: Id,
}

impl Mark {
    /// Before everything.
    pub const NEVER: Self = Self { t: Millis::MIN, raw: Id(0) };

    /// The edge of a timer that this mark opened and that ends at `t`.
    fn edge(self, t: Millis) -> Edge {
        if self.raw == Id(0) { Edge::At(t) } else { Edge::Raw(self.raw) }
    }

    /// That edge as the birth of a signal.
    pub(super) fn born(self, t: Millis) -> Born {
        Born::Timer(self.edge(t))
    }
}

/// What stands for a timer's edge in its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Device time in ms.
    At(Millis),
    /// The same where the rule may have said as much of this edge or a later one before: with a number that grows.
    Again(Millis, u64),
    /// The sample that opened the timer had no time of its own.
    Raw(Id),
}

impl Edge {
    /// Id of a timer-born signal of this edge.
    #[must_use]
    pub fn id(self, product: &str, rule: &str, kind: SignalKind, device: &str) -> Id {
        match self {
            Self::At(t) => ids::timer_signal(product, rule, kind.as_str(), device, t),
            Self::Again(t, number) => ids::Hasher::new()
                .text("t")
                .text(&format!("{product}/{rule}/{}", kind.as_str()))
                .text(device)
                .int(t)
                .int(number.cast_signed())
                .finish(),
            Self::Raw(raw) => ids::Hasher::new()
                .text("t")
                .text(&format!("{product}/{rule}/{}", kind.as_str()))
                .text(device)
                .id(raw)
                .finish(),
        }
    }
}

/// How a signal came to be, which decides its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// By the sample at hand: raw id and index.
    Sample,
    /// By a timer: rule, device and edge.
    Timer(Edge),
}

/// Why, where the kind does not say it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The condition itself.
    Condition,
    /// No data for too long.
    Missing,
    /// No true sample for too long.
    Quiet,
    /// Raised and cleared by a late sample.
    Late,
    /// An operator said so.
    Operator,
    /// The rule is gone from the configuration.
    RuleRemoved,
    /// Raises too often.
    Flapping,
}

impl Cause {
    /// The published word; empty for the ordinary one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Condition => "",
            Self::Missing => "MISSING",
            Self::Quiet => "QUIET",
            Self::Late => "LATE",
            Self::Operator => "OPERATOR",
            Self::RuleRemoved => "RULE_REMOVED",
            Self::Flapping => "FLAPPING",
        }
    }
}

/// One signal of a rule, before it has an id.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// Index into the rules of the product.
    pub rule: u16,
    /// What it says.
    pub kind: SignalKind,
    /// Device time of the edge, never before the rule's last signal.
    pub time: Millis,
    /// Since when the condition held.
    pub since: Millis,
    /// How bad.
    pub severity: AlarmSeverity,
    /// Why.
    pub cause: Cause,
    /// What its id is made of.
    pub born: Born,
    /// One line for people.
    pub text: String,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is wrong.
    Normal,
    /// The condition holds, the proof is not complete.
    Pending,
    /// The alarm stands.
    Firing,
    /// The alarm stands, its end is not proved.
    Clearing,
}

/// State of one rule that is, or once was, more than Normal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub rule: u16,
    pub phase: Phase,
    /// Silence was noticed since the newest sample.
    pub stale: bool,
    pub flapping: bool,
    /// Whether anybody was told of the alarm that stands.
    pub held: Held,
    /// With a schedule: `when` was true at the newest sample, the calendar aside.
    pub holds: bool,
    /// With a schedule: the newest sample or edge of the calendar that was judged.
    pub judged: Millis,
    pub severity: AlarmSeverity,
    /// Start of Pending (`p`) or Clearing (`q`). Of an absence that an operator cleared: when by our clock it began to be
    /// counted anew, named after that clear, up to the next sample.
    pub start: Mark,
    /// Newest sample of the rule.
    pub seen: Mark,
    /// Last true sample (`x`).
    pub last_true: Mark,
    /// Since when the raised condition holds.
    pub since: Millis,
    /// Time of the newest signal (`E`).
    pub newest_signal: Millis,
    /// Samples counted since the rule left Normal, for `{count, of}`.
    pub samples: u64,
    /// The newest true samples while pending: (sample number, time).
    pub trues: Vec<(u64, Millis)>,
    /// Per severity step: not in force, in force, or falling since.
    pub steps: Vec<StepState>,
    /// Times of raises within the flap window.
    pub raises: Vec<Millis>,
    /// When the next repeat is due, and how many there were.
    pub remind: Option<(Millis, u64)>,
    /// What raised it, for ids of repeats.
    pub raised_by: Mark,
    /// The latest edges that gave birth to signals, and how many had to be told apart from earlier ones.
    pub edges: Edges,
    /// The text of the rule has changed while its alarm stands: no timer judges it before a sample has.
    pub changed: bool,
}

/// What keeps ids of timer-born signals apart: timers may run ahead of the samples that then open others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edges {
    /// By kind.
    pub latest: [Option<Millis>; EDGE_KINDS.len()],
    pub again: u64,
}

/// Kinds of signals that timers give birth to.
pub(super) const EDGE_KINDS: [SignalKind; 4] =
    [SignalKind::Raise, SignalKind::Clear, SignalKind::Severity, SignalKind::Remind];

impl Edges {
    /// The edge as it enters the id of a signal of this kind.
    pub(super) fn take(&mut self, kind: SignalKind, edge: Edge) -> Edge {
        let Edge::At(t) = edge else { return edge };
        let Some(at) = EDGE_KINDS.iter().position(|known| *known == kind) else { return edge };
        let latest = self.latest[at].replace(t.max(self.latest[at].unwrap_or(t)));
        if latest.is_none_or(|latest| latest < t) {
            return edge;
        }
        self.again = self.again.wrapping_add(1);
        Edge::Again(t, self.again)
    }
}

/// Why nobody was told of a raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It was told.
    No,
    /// Because of where the device is in its life, until a configuration changes that.
    Lifecycle,
    /// Because of the window of maintenance that this instant lies in, until it ends.
    Window(Millis),
}

impl Held {
    /// The instant in the window whose end it waits for.
    pub(super) fn window(self) -> Option<Millis> {
        if let Self::Window(t) = self { Some(t) } else { None }
    }
}

/// State of one severity step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepState {
    Off,
    On,
    /// `until` holds since.
    Falling(Mark),
}

impl Entry {
    pub(super) fn new(rule: u16, steps: usize, base: AlarmSeverity) -> Self {
        Self {
            rule,
            phase: Phase::Normal,
            stale: false,
            flapping: false,
            held: Held::No,
            holds: false,
            judged: Millis::MIN,
            severity: base,
            start: Mark::NEVER,
            seen: Mark::NEVER,
            last_true: Mark::NEVER,
            since: Millis::MIN,
            newest_signal: Millis::MIN,
            samples: 0,
            trues: Vec::new(),
            steps: vec![StepState::Off; steps],
            raises: Vec::new(),
            remind: None,
            raised_by: Mark::NEVER,
            edges: Edges::default(),
            changed: false,
        }
    }

    /// Whether the alarm stands.
    pub(super) fn raised(&self) -> bool {
        matches!(self.phase, Phase::Firing | Phase::Clearing)
    }

    /// The highest severity of the steps in force, or the base.
    pub(super) fn highest(&self, base: AlarmSeverity, steps: &[Step]) -> AlarmSeverity {
        let on = steps.iter().zip(&self.steps).filter(|(_, state)| **state != StepState::Off);
        on.map(|(step, _)| step.is).max().unwrap_or(base).max(base)
    }

    /// A raised alarm of whose end nothing is proved any more, nor of that of a step.
    pub(super) fn unproved(&mut self) {
        self.phase = Phase::Firing;
        for state in &mut self.steps {
            if *state != StepState::Off {
                *state = StepState::On;
            }
        }
    }

    /// Back to where nothing is wrong; what only a raised alarm needs is forgotten.
    pub(super) fn rest(&mut self) {
        self.phase = Phase::Normal;
        self.stale = false;
        self.changed = false;
        self.flapping = false;
        self.held = Held::No;
        self.start = Mark::NEVER;
        self.samples = 0;
        self.trues.clear();
        self.steps.fill(StepState::Off);
        self.remind = None;
    }

    /// Whether forgetting this entry changes nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.phase == Phase::Normal
            && !self.holds
            && self.start == Mark::NEVER
            && self.newest_signal == Millis::MIN
            && self.raises.is_empty()
    }
}

/// Puts in a new entry of the rule with this number. Room is made for this one alone: most devices never have a second.
pub(super) fn insert(entries: &mut Vec<Entry>, at: usize, (number, rule): (usize, &Rule)) {
    entries.reserve_exact(1);
    entries.insert(at, Entry::new(number as u16, rule.steps.len(), rule.base));
}

/// The rules of one device.
#[derive(Clone, Debug)]
pub struct DeviceRules {
    /// Its values.
    pub(super) memory: Memory,
    /// Newest in-order sample (`W`).
    pub(super) newest: Mark,
    /// Its delay from the device to us, within the product's bounds.
    pub(super) lag: Millis,
    /// When we received it, whatever its delay: until then it was not silent. Of a device that was never heard, since
    /// when we wait for it; `Millis::MIN` = we do not.
    pub(super) heard: Millis,
    /// By rule.
    pub(super) entries: Vec<Entry>,
    /// Earliest timer of any entry; `Millis::MAX` = none.
    pub(super) next: Millis,
}

impl DeviceRules {
    /// A device that has sent nothing.
    #[must_use]
    pub fn new(rules: &RuleSet) -> Self {
        Self {
            memory: Memory::new(rules),
            newest: Mark::NEVER,
            lag: 0,
            heard: Millis::MIN,
            entries: Vec::new(),
            next: Millis::MAX,
        }
    }

    /// Reads what a sample will read; the answer says nothing.
    pub(crate) fn touch(&self) -> usize {
        self.newest.t as usize ^ self.next as usize ^ self.entries.len()
    }

    /// The same for what is pointed to.
    pub(crate) fn touch_values(&self) -> usize {
        self.memory.touch()
    }

    /// Time of the newest in-order sample; `None` before the first.
    #[must_use]
    pub fn newest(&self) -> Option<Millis> {
        (self.newest.t != Millis::MIN).then_some(self.newest.t)
    }

    /// Whether a silence of the device has a beginning: it was heard, or is waited for.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.heard != Millis::MIN
    }

    /// From then on, by our own clock, silence is an absence though the device was never heard; nothing if it was.
    pub fn wait(&mut self, since: Millis) {
        if !self.is_awaited() {
            self.heard = since;
        }
    }

    /// What silence is counted from: the newest sample, else since when the device is waited for.
    pub(super) fn silent_from(&self) -> Mark {
        match self.newest() {
            Some(_) => self.newest,
            None => Mark { t: self.heard, ..Mark::NEVER },
        }
    }

    /// Where a rule stands.
    #[must_use]
    pub fn phase(&self, rule: usize) -> Phase {
        let entry = self.entries.iter().find(|entry| usize::from(entry.rule) == rule);
        entry.map_or(Phase::Normal, |entry| entry.phase)
    }

    /// Whether silence was noticed while a rule's alarm stands.
    #[must_use]
    pub fn is_stale(&self, rule: usize) -> bool {
        self.entries.iter().any(|entry| usize::from(entry.rule) == rule && entry.stale)
    }

    /// Whether any alarm stands.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.entries.iter().any(Entry::raised)
    }

    /// Numbers of the rules whose alarm stands and was told.
    pub(crate) fn raised(&self) -> impl Iterator<Item = usize> {
        let told = self.entries.iter().filter(|entry| entry.raised() && entry.held == Held::No);
        told.map(|entry| usize::from(entry.rule))
    }
}
