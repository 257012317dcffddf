//! One rule's state machine: transitions and the signals they emit (devices §5).
//!
//! Owns raise, clear and severity changes. It is given samples and due timers in device time and never asks for either;
//! `samples` and `timers` do. Times of one alarm's signals never decrease.

use super::describe;
use super::memory::Memory;
use super::program::Inputs;
use super::state::{Born, Cause, Emitted, Entry, Held, Mark, Phase, StepState};
use super::{Condition, Context, Rule};
use crate::maintenance::end_of;
use crate::record::{Millis, SignalKind};
use crate::thing::{Flap, Hold, MissingPolicy};

/// A moment at which a rule is judged: inputs as they are then.
pub(super) struct Moment<'a> {
    pub cx: &'a Context<'a>,
    pub rule: &'a Rule,
    pub memory: &'a Memory,
    /// Device time.
    pub t: Millis,
}

/// What is said by a transition, before stamping.
struct Said {
    kind: SignalKind,
    time: Millis,
    cause: Cause,
    born: Born,
}

impl Moment<'_> {
    pub(super) fn inputs(&self) -> Inputs<'_> {
        let horizon = match self.cx.valid_for {
            Some(ms) if self.rule.missing != MissingPolicy::Keep => self.t.saturating_sub(ms),
            // A value before the first stands at `Millis::MIN` and is NaN, so it stays unknown.
            _ => Millis::MIN,
        };
        let (memory, spans) = (self.memory, self.cx.rules.windows.as_slice());
        Inputs { memory, spans, t: self.t, horizon, attributes: self.cx.attributes }
    }

    /// Whether the rule's calendar lets `when` be true.
    pub(super) fn is_open(&self) -> bool {
        self.rule.schedule.as_ref().is_none_or(|calendar| calendar.is_open(self.t))
    }

    /// Whether `when` is true, the calendar aside; an `absent()` is judged by its timer only.
    pub(super) fn holds(&self) -> bool {
        match &self.rule.condition {
            Condition::When(program) => program.is_true(&self.inputs()),
            Condition::Absent(_) => false,
        }
    }

    fn clears(&self) -> bool {
        match (&self.rule.clear, &self.rule.condition) {
            (Some(clear), _) => clear.is_true(&self.inputs()),
            // Quiet alone clears such a rule: a single false sample is no proof.
            (None, _) if self.rule.quiet_clear.is_some() => false,
            (None, Condition::When(when)) => !self.is_open() || when.is_false(&self.inputs()),
            (None, Condition::Absent(_)) => true,
        }
    }

    /// An in-order sample of the rule; `holds` is whether `when` is true, the calendar aside.
    pub(super) fn sample(&self, e: &mut Entry, mark: Mark, holds: bool, out: &mut Vec<Emitted>) {
        let when = holds && self.is_open();
        e.seen = mark;
        e.stale = false;
        // Where no sample was true by this text, quiet is counted from the first that is judged by it.
        let first = std::mem::take(&mut e.changed);
        e.judged = mark.t;
        e.holds = holds && self.rule.schedule.is_some();
        if self.rule.is_absence() {
            // Heard: the next absence is counted from here again.
            e.start = Mark::NEVER;
        }
        if when || first {
            e.last_true = mark;
        }
        match e.phase {
            Phase::Normal | Phase::Pending => self.prove(e, (mark, Born::Sample), when, out),
            Phase::Firing | Phase::Clearing => {
                if !self.end(e, (mark, Born::Sample), out) {
                    self.judge(e, mark, out);
                }
            }
        }
    }

    /// An edge of the calendar: the condition of the newest sample, as far as it still holds, begins or ceases to count.
    pub(super) fn edge(&self, e: &mut Entry, out: &mut Vec<Emitted>) {
        // Of device time as the calendar has it, so no time of reception is in it.
        let mark = Mark { t: self.t, ..Mark::NEVER };
        let by = (mark, mark.born(self.t));
        e.judged = self.t;
        e.holds = e.holds && self.holds();
        let when = e.holds && self.is_open();
        if when {
            e.last_true = mark;
        }
        match (e.phase, self.rule.hold) {
            (Phase::Normal | Phase::Pending, Hold::None | Hold::For(_)) => {
                self.prove(e, by, when, out);
            }
            // An edge is no sample, so there is nothing to count.
            (Phase::Normal | Phase::Pending, _) => {}
            (Phase::Firing | Phase::Clearing, _) => {
                self.end(e, by, out);
            }
        }
    }

    /// Whether a raise at this instant is held.
    pub(super) fn held(&self) -> Held {
        match self.cx.held {
            true => Held::Lifecycle,
            false => end_of(self.cx.windows, self.t).map_or(Held::No, |_| Held::Window(self.t)),
        }
    }

    /// In maintenance nobody was told; what still stands at its end is raised then. The id is that of the raise that was
    /// held, so it does not depend on when the end was noticed.
    pub(super) fn release(&self, e: &mut Entry, out: &mut Vec<Emitted>) {
        if e.held != Held::No && e.raised() {
            e.held = Held::No;
            let (time, cause) = (self.t, Cause::Condition);
            let born = e.raised_by.born(e.raised_by.t);
            self.say(e, Said { kind: SignalKind::Raise, time, cause, born }, out);
            // Repeats keep their rhythm, but none is due before what it repeats.
            if let (Some((due, _)), Some(every)) = (&mut e.remind, self.rule.remind) {
                let missed = (time - *due).div_euclid(every) + 1;
                *due = due.saturating_add(every.saturating_mul(missed.max(0)));
            }
        }
    }

    /// Normal and Pending: is the proof complete?
    fn prove(&self, e: &mut Entry, by: (Mark, Born), when: bool, out: &mut Vec<Emitted>) {
        let mark = by.0;
        let (count, window) = match self.rule.hold {
            Hold::None => {
                if when {
                    self.raise(e, mark.t, mark.t, by, out);
                }
                return;
            }
            Hold::For(_) => {
                match (e.phase, when) {
                    (Phase::Normal, true) => (e.phase, e.start) = (Phase::Pending, mark),
                    (Phase::Pending, false) => e.rest(),
                    _ => {}
                }
                return;
            }
            Hold::CountOf { count, of } => (count, Some(of)),
            Hold::CountWithin { count, .. } => (count, None),
        };
        e.samples += 1;
        if when {
            e.trues.push((e.samples, mark.t));
        }
        let oldest = e.samples.saturating_sub(window.map_or(u64::MAX, u64::from));
        let since = match self.rule.hold {
            Hold::CountWithin { within, .. } => mark.t.saturating_sub(within),
            _ => Millis::MIN,
        };
        let of = window.is_some();
        e.trues.retain(|(number, t)| if of { *number > oldest } else { *t > since });
        match e.trues.first() {
            Some((_, first)) if e.trues.len() >= count as usize => {
                let first = *first;
                self.raise(e, mark.t, first, by, out);
            }
            Some(_) => {
                if e.phase == Phase::Normal {
                    (e.phase, e.start) = (Phase::Pending, mark);
                }
            }
            None => e.rest(),
        }
    }

    /// Firing and Clearing: does the alarm end, or begin to?
    fn end(&self, e: &mut Entry, (mark, born): (Mark, Born), out: &mut Vec<Emitted>) -> bool {
        match (e.phase, self.clears()) {
            (Phase::Firing, true) if self.clear_hold(e) == 0 => {
                self.clear(e, (mark.t, Cause::Condition, born), out);
                return true;
            }
            (Phase::Firing, true) => (e.phase, e.start) = (Phase::Clearing, mark),
            (Phase::Clearing, false) => e.phase = Phase::Firing,
            _ => {}
        }
        false
    }

    /// Firing and Clearing: does the severity change?
    fn judge(&self, e: &mut Entry, mark: Mark, out: &mut Vec<Emitted>) {
        let inputs = self.inputs();
        for (step, state) in self.rule.steps.iter().zip(&mut e.steps) {
            if *state == StepState::Off {
                if e.phase == Phase::Firing && step.when.is_true(&inputs) {
                    *state = StepState::On;
                }
                continue;
            }
            let falls = self.rule.steps_down
                && match &step.until {
                    Some(until) => until.is_true(&inputs),
                    None => step.when.is_false(&inputs),
                };
            *state = match (falls, *state) {
                (false, _) => StepState::On,
                (true, _) if self.rule.clear_hold == 0 => StepState::Off,
                (true, StepState::Falling(since)) => StepState::Falling(since),
                (true, _) => StepState::Falling(mark),
            };
        }
        self.settle(e, mark.t, Born::Sample, out);
    }

    /// Says so if the severity of the steps in force is another one than before.
    pub(super) fn settle(&self, e: &mut Entry, t: Millis, born: Born, out: &mut Vec<Emitted>) {
        let severity = e.highest(self.rule.base, &self.rule.steps);
        if severity != e.severity {
            e.severity = severity;
            let said = Said { kind: SignalKind::Severity, time: t, cause: Cause::Condition, born };
            self.say(e, said, out);
        }
    }

    /// How long `clear` must hold now.
    pub(super) fn clear_hold(&self, e: &Entry) -> Millis {
        clear_hold(self.rule, e)
    }

    /// The alarm begins at `t`; `by` is what its repeats are named after.
    pub(super) fn raise(
        &self,
        e: &mut Entry,
        t: Millis,
        since: Millis,
        by: (Mark, Born),
        out: &mut Vec<Emitted>,
    ) {
        let (mark, born) = by;
        e.phase = Phase::Firing;
        e.since = since;
        e.raised_by = mark;
        e.held = self.held();
        e.trues.clear();
        e.samples = 0;
        let inputs = self.inputs();
        for (step, state) in self.rule.steps.iter().zip(&mut e.steps) {
            *state = if step.when.is_true(&inputs) { StepState::On } else { StepState::Off };
        }
        e.severity = e.highest(self.rule.base, &self.rule.steps);
        let mut cause = Cause::Condition;
        // Counted at the times that signals have, or would have if nobody held them back. They never decrease: a
        // calendar's edge may have led before this.
        let at = t.max(e.newest_signal).max(e.raises.last().copied().unwrap_or(t));
        // A sample ends an absence at once, so it cannot flap.
        if !self.rule.is_absence() && flaps(self.rule.flap, e, at) {
            e.flapping = true;
            cause = Cause::Flapping;
        }
        e.remind = self.rule.remind.map(|every| (t.saturating_add(every), 0));
        self.say(e, Said { kind: SignalKind::Raise, time: t, cause, born }, out);
    }

    /// The alarm ends.
    pub(super) fn clear(&self, e: &mut Entry, edge: (Millis, Cause, Born), out: &mut Vec<Emitted>) {
        let (time, cause, born) = edge;
        self.say(e, Said { kind: SignalKind::Clear, time, cause, born }, out);
        if matches!(cause, Cause::Operator | Cause::Quiet) {
            // Only another true sample raises anew, no edge of the calendar does.
            e.holds = false;
        }
        e.rest();
    }

    /// The alarm still stands. Where people work on the device, nobody needs to be told again.
    pub(super) fn remind(&self, e: &mut Entry, t: Millis, born: Born, out: &mut Vec<Emitted>) {
        if self.held() != Held::No {
            return;
        }
        let said = Said { kind: SignalKind::Remind, time: t, cause: Cause::Condition, born };
        self.say(e, said, out);
    }

    /// A late sample of a life-safety rule: raised at its own time and cleared at the newest at once.
    pub(super) fn late(&self, e: &mut Entry, newest: Millis, out: &mut Vec<Emitted>) {
        if e.phase != Phase::Normal || self.t <= e.newest_signal || !self.is_open() || !self.holds()
        {
            return;
        }
        e.since = self.t;
        let inputs = self.inputs();
        for (step, state) in self.rule.steps.iter().zip(&mut e.steps) {
            *state = if step.when.is_true(&inputs) { StepState::On } else { StepState::Off };
        }
        e.severity = e.highest(self.rule.base, &self.rule.steps);
        let (kind, cause, mut time) = (SignalKind::Raise, Cause::Late, self.t);
        e.held = self.held();
        // It stands up to the newest sample: if the window ended before, it is told as of that end.
        if e.held != Held::Lifecycle
            && let Some(end) = end_of(self.cx.windows, self.t).filter(|end| *end <= newest)
        {
            (e.held, time) = (Held::No, end);
        }
        self.say(e, Said { kind, time, cause, born: Born::Sample }, out);
        // By the published vector this clear carries the sample's next index, not an edge.
        self.clear(e, (newest, Cause::Late, Born::Sample), out);
    }

    /// Emits one signal; held back in maintenance, but then nothing was ever raised and nothing needs a clear.
    fn say(&self, e: &mut Entry, said: Said, out: &mut Vec<Emitted>) {
        if e.held != Held::No {
            return;
        }
        let time = said.time.max(e.newest_signal);
        e.newest_signal = time;
        let born = match said.born {
            Born::Timer(edge) => Born::Timer(e.edges.take(said.kind, edge)),
            Born::Sample => Born::Sample,
        };
        out.push(Emitted {
            rule: e.rule,
            kind: said.kind,
            time,
            since: e.since,
            severity: e.severity,
            cause: said.cause,
            born,
            text: describe::signal(self, said.kind),
        });
    }
}

/// How long `clear` must hold: longer while the alarm flaps.
pub(super) fn clear_hold(rule: &Rule, e: &Entry) -> Millis {
    if e.flapping { rule.clear_hold.max(rule.flap.quiet) } else { rule.clear_hold }
}

/// Notes a raise at `t`; whether there were too many lately.
fn flaps(flap: Flap, e: &mut Entry, t: Millis) -> bool {
    e.raises.retain(|raised| *raised > t.saturating_sub(flap.within));
    e.raises.push(t);
    let many = e.raises.len() >= flap.count as usize;
    if many {
        e.raises.remove(0);
    }
    many
}
