//! The reference interpreter: the same rules, slow and obvious, for comparison with the compiled path.
//!
//! It walks condition trees over the whole history of a device and keeps full state for every rule; it shares with the
//! compiled path only the parser and the rule texts.

mod maintenance;
mod operator;
mod silence;

use std::collections::BTreeMap;

use super::expr::{Expr, parse};
use super::model::Model;
use crate::record::{AlarmSeverity, Millis, SignalKind};
use crate::thing::{AlarmSpec, Hold, LatePolicy, MissingPolicy};
use maintenance::Held;

/// Rule, kind, time, since, severity, cause, and of what a timer gave birth to its edge with the number that sets it apart.
pub(super) type Said =
    (usize, SignalKind, Millis, Millis, AlarmSeverity, &'static str, Option<(Millis, u64)>);

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Normal,
    Pending(Millis),
    Firing,
    Clearing(Millis),
}

struct One {
    state: State,
    stale: bool,
    flapping: bool,
    /// Why nobody was told of the raise.
    held: Held,
    /// When what raised it happened: the sample, or the start of its hold.
    cause: Millis,
    severity: AlarmSeverity,
    newest_signal: Millis,
    seen: Millis,
    /// `when` was true at the newest sample, the calendar aside.
    holds: bool,
    /// Newest sample or edge of the calendar.
    judged: Millis,
    last_true: Millis,
    since: Millis,
    /// Rule samples since the state was last Normal.
    proof: Vec<(Millis, bool)>,
    steps: Vec<Option<Option<Millis>>>,
    raises: Vec<Millis>,
    remind: Option<Millis>,
    /// When an operator cleared the alarm: what is said of it, and of an absence that stays, is named after that.
    anew: Option<Millis>,
}

pub(super) struct Reference {
    pub(super) model: Model,
    pub(super) rules: Vec<AlarmSpec>,
    all: Vec<One>,
    /// In order.
    pub(super) history: Vec<(Millis, BTreeMap<String, f64>)>,
    /// As received, late ones among them.
    pub(super) received: Vec<(Millis, BTreeMap<String, f64>)>,
    /// What every `schedule` of the rules means, in ms.
    pub(super) hours: Vec<(Millis, Millis)>,
    /// Whether people work on the device.
    pub(super) maintenance: bool,
    /// When they do, overlapping or not.
    pub(super) windows: Vec<(Millis, Millis)>,
    lag: Millis,
    heard: Millis,
    pub(super) attrs: BTreeMap<String, f64>,
    pub(super) said: Vec<Said>,
}

impl Reference {
    pub(super) fn new(model: &Model, rules: &[AlarmSpec], attrs: &[(&str, f64)]) -> Self {
        let one = |rule: &AlarmSpec| One {
            state: State::Normal,
            stale: false,
            flapping: false,
            held: Held::No,
            cause: Millis::MIN,
            severity: AlarmSeverity::Info,
            newest_signal: Millis::MIN,
            seen: Millis::MIN,
            holds: false,
            judged: Millis::MIN,
            last_true: Millis::MIN,
            since: Millis::MIN,
            proof: Vec::new(),
            steps: vec![None; rule.severity.steps.len()],
            raises: Vec::new(),
            remind: None,
            anew: None,
        };
        Self {
            model: model.clone(),
            rules: rules.to_vec(),
            all: rules.iter().map(one).collect(),
            history: Vec::new(),
            received: Vec::new(),
            hours: Vec::new(),
            maintenance: false,
            windows: Vec::new(),
            lag: 0,
            heard: Millis::MIN,
            attrs: attrs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
            said: Vec::new(),
        }
    }

    pub(super) fn phase(&self, rule: usize) -> char {
        match self.all[rule].state {
            State::Normal => 'N',
            State::Pending(_) => 'P',
            State::Firing => 'F',
            State::Clearing(_) => 'C',
        }
    }

    fn newest(&self) -> Millis {
        self.history.last().map_or(Millis::MIN, |(t, _)| *t)
    }

    pub(super) fn absent(&self, rule: usize) -> Option<Millis> {
        match parse(&self.rules[rule].when.text).unwrap() {
            Expr::Call(name, list) if name == "absent" => match list[0] {
                Expr::Duration(ms) => Some(ms),
                _ => None,
            },
            _ => None,
        }
    }

    fn until(&self, rule: usize, step: usize, t: Millis) -> bool {
        let step = &self.rules[rule].severity.steps[step];
        match &step.until {
            Some(until) => self.ask(&until.text, rule, t) == Some(true),
            None => self.ask(&step.when.text, rule, t) == Some(false),
        }
    }

    fn say(&mut self, rule: usize, kind: SignalKind, t: Millis, cause: &'static str, timer: bool) {
        let one = &mut self.all[rule];
        if one.held != Held::No {
            return;
        }
        one.newest_signal = one.newest_signal.max(t);
        let said = (one.newest_signal, one.since, one.severity);
        let anew = one.anew.is_some();
        let edge = timer.then(|| if anew { (0, 0) } else { self.apart(rule, kind, t) });
        self.said.push((rule, kind, said.0, said.1, said.2, cause, edge));
    }

    /// An edge, with a number where a signal of this kind was of it or of a later one before.
    fn apart(&self, rule: usize, kind: SignalKind, t: Millis) -> (Millis, u64) {
        let of_rule = || self.said.iter().filter(|said| said.0 == rule);
        let is_old = |said: &Said| said.1 == kind && said.6.is_some_and(|edge| edge.0 >= t);
        // 0: named after an operator's record.
        if t == 0 || !of_rule().any(is_old) {
            return (t, 0);
        }
        (t, of_rule().filter_map(|said| said.6).map(|edge| edge.1).max().unwrap_or(0) + 1)
    }

    fn worst(&self, rule: usize) -> AlarmSeverity {
        let text = &self.rules[rule];
        let on =
            text.severity.steps.iter().zip(&self.all[rule].steps).filter(|(_, on)| on.is_some());
        let base = text.severity.base;
        on.map(|(s, _)| s.is).max().unwrap_or(base).max(base)
    }

    fn rest(&mut self, rule: usize) {
        let one = &mut self.all[rule];
        one.state = State::Normal;
        one.stale = false;
        one.flapping = false;
        one.held = Held::No;
        one.proof.clear();
        one.steps.fill(None);
        one.remind = None;
    }

    fn latch(&mut self, rule: usize, t: Millis) {
        for step in 0..self.rules[rule].severity.steps.len() {
            let when = self.rules[rule].severity.steps[step].when.text.clone();
            self.all[rule].steps[step] = (self.ask(&when, rule, t) == Some(true)).then_some(None);
        }
        self.all[rule].severity = self.worst(rule);
    }

    fn raise(&mut self, rule: usize, t: Millis, since: Millis, timer: bool) {
        self.latch(rule, t);
        let flap = self.rules[rule].flap;
        let absent = self.absent(rule).is_some();
        let remind = self.rules[rule].remind;
        let (silent_from, held) = (self.silent_from(), self.held(t));
        let one = &mut self.all[rule];
        one.held = held;
        one.cause = match one.state {
            State::Pending(p) if timer => p,
            _ if one.anew.is_some() => 0,
            _ if absent => silent_from,
            _ => t,
        };
        one.state = State::Firing;
        one.since = since;
        one.proof.clear();
        one.remind = remind.map(|every| t + every);
        let mut cause = "";
        // As its signal will say, never before the last one.
        let at = t.max(one.newest_signal).max(one.raises.last().copied().unwrap_or(t));
        one.raises.push(at);
        if !absent
            && one.raises.iter().filter(|r| **r > at - flap.within).count() >= flap.count as usize
        {
            one.flapping = true;
            cause = "FLAPPING";
        }
        self.say(rule, SignalKind::Raise, t, cause, timer);
    }

    fn clear(&mut self, rule: usize, t: Millis, cause: &'static str, timer: bool) {
        self.say(rule, SignalKind::Clear, t, cause, timer);
        self.all[rule].holds &= !["QUIET", "OPERATOR"].contains(&cause);
        self.rest(rule);
    }

    fn clear_hold(&self, rule: usize) -> Millis {
        let plain = self.rules[rule].clear_hold.unwrap_or(0);
        if self.all[rule].flapping { plain.max(self.rules[rule].flap.quiet) } else { plain }
    }

    /// Whether the rule's hours let `when` be true.
    fn is_open(&self, rule: usize, t: Millis) -> bool {
        self.rules[rule].schedule.is_none()
            || self.hours.iter().any(|(from, to)| (*from..*to).contains(&t))
    }

    /// Every timer as (due, rule, order at one instant).
    fn timers(&self) -> Vec<(Millis, usize, u8)> {
        let mut all = Vec::new();
        for (rule, one) in self.all.iter().enumerate() {
            let text = &self.rules[rule];
            if text.schedule.is_some() && (one.holds || one.state != State::Normal) {
                let edges = self.hours.iter().flat_map(|(from, to)| [*from, *to]);
                let next = edges.filter(|edge| *edge > one.judged).min();
                all.extend(next.map(|edge| (edge, rule, 0)));
            }
            let raised = matches!(one.state, State::Firing | State::Clearing(_));
            let lapses = one.state != State::Normal
                && !one.stale
                && text.missing != MissingPolicy::Keep
                && self.absent(rule).is_none();
            if let (true, Some(valid)) = (lapses, self.model.valid_for) {
                all.push((one.seen + valid, rule, 1));
            }
            if let (State::Pending(p), Hold::For(hold)) = (one.state, text.hold) {
                all.push((p + hold, rule, 2));
            }
            if let State::Clearing(q) = one.state {
                all.push((q + self.clear_hold(rule), rule, 3));
            }
            if let (true, Some(quiet)) = (raised, text.quiet_clear) {
                all.push((one.last_true + quiet, rule, 4));
            }
            for fall in one.steps.iter().flatten().flatten() {
                all.push((fall + text.clear_hold.unwrap_or(0), rule, 5));
            }
            if let Some(due) = one.remind {
                all.push((due, rule, 6));
            }
            if let (Held::Window(t), false) = (one.held, self.maintenance) {
                all.push((self.window_end(t).unwrap(), rule, 7));
            }
        }
        all
    }

    fn advance(&mut self, limit: Millis) {
        while let Some((t, rule, kind)) = self.timers().into_iter().min().filter(|m| m.0 <= limit) {
            match kind {
                0 => self.edge(rule, t),
                1 => match (self.all[rule].state, self.rules[rule].missing) {
                    (State::Pending(_), _) => self.rest(rule),
                    (_, MissingPolicy::Clear) => self.clear(rule, t, "MISSING", true),
                    _ => {
                        self.all[rule].state = State::Firing;
                        self.all[rule].stale = true;
                        self.all[rule].steps.iter_mut().flatten().for_each(|s| *s = None);
                    }
                },
                2 => {
                    let State::Pending(p) = self.all[rule].state else { unreachable!() };
                    self.raise(rule, t, p, true);
                }
                3 => self.clear(rule, t, "", true),
                4 => self.clear(rule, t, "QUIET", true),
                5 => {
                    let hold = self.rules[rule].clear_hold.unwrap_or(0);
                    for step in &mut self.all[rule].steps {
                        if matches!(step, Some(Some(since)) if *since + hold <= t) {
                            *step = None;
                        }
                    }
                    self.settle(rule, t, true);
                }
                7 => self.release(rule, t),
                _ => {
                    let every = self.rules[rule].remind.unwrap();
                    self.all[rule].remind = Some(t + ((limit - t) / every + 1) * every);
                    let silent = self.held(t) != Held::No;
                    if self.all[rule].state == State::Firing && !silent {
                        self.say(rule, SignalKind::Remind, t, "", true);
                    }
                }
            }
        }
    }

    fn settle(&mut self, rule: usize, t: Millis, timer: bool) {
        let worst = self.worst(rule);
        if worst != self.all[rule].severity {
            self.all[rule].severity = worst;
            self.say(rule, SignalKind::Severity, t, "", timer);
        }
    }

    pub(super) fn sample(&mut self, t: Millis, rx: Millis, set: &BTreeMap<String, f64>) {
        if t < self.newest() {
            self.received.push((t, set.clone()));
            return self.late(t, set);
        }
        self.advance(t - 1);
        self.received.push((t, set.clone()));
        self.history.push((t, set.clone()));
        self.heard = self.heard.max(rx);
        self.lag = (rx - t).clamp(-600_000, 86_400_000);
        for rule in 0..self.rules.len() {
            let absent = self.absent(rule).is_some();
            if absent {
                if self.all[rule].state == State::Firing {
                    self.clear(rule, t, "", false);
                }
                self.all[rule].anew = None;
            } else if self.properties(rule).iter().any(|name| set.contains_key(name)) {
                self.judge(rule, t);
            }
        }
        self.advance(t);
    }

    fn judge(&mut self, rule: usize, t: Millis) {
        let text = self.rules[rule].clone();
        let holds = self.ask(&text.when.text, rule, t) == Some(true);
        let yes = holds && self.is_open(rule, t);
        let one = &mut self.all[rule];
        one.seen = t;
        one.judged = t;
        one.holds = holds && text.schedule.is_some();
        one.stale = false;
        if yes {
            one.last_true = t;
        }
        match one.state {
            State::Normal | State::Pending(_) => self.prove(rule, t, yes, false),
            State::Firing | State::Clearing(_) => {
                if !self.end(rule, t, false) {
                    self.judge_steps(rule, t);
                }
            }
        }
    }

    fn edge(&mut self, rule: usize, t: Millis) {
        let text = self.rules[rule].clone();
        let holds = self.all[rule].holds && self.ask(&text.when.text, rule, t) == Some(true);
        let yes = holds && self.is_open(rule, t);
        let one = &mut self.all[rule];
        (one.judged, one.holds) = (t, holds);
        if yes {
            one.last_true = t;
        }
        let counts = matches!(text.hold, Hold::CountOf { .. } | Hold::CountWithin { .. });
        match one.state {
            State::Normal | State::Pending(_) if counts => {}
            State::Normal | State::Pending(_) => self.prove(rule, t, yes, true),
            State::Firing | State::Clearing(_) => {
                self.end(rule, t, true);
            }
        }
    }

    /// Whether a raised alarm ended.
    fn end(&mut self, rule: usize, t: Millis, timer: bool) -> bool {
        let text = self.rules[rule].clone();
        let clear = match &text.clear {
            Some(clear) => self.ask(&clear.text, rule, t) == Some(true),
            None if text.quiet_clear.is_some() => false,
            None => !self.is_open(rule, t) || self.ask(&text.when.text, rule, t) == Some(false),
        };
        if clear && self.all[rule].state == State::Firing && self.clear_hold(rule) == 0 {
            self.clear(rule, t, "", timer);
            return true;
        }
        let one = &mut self.all[rule];
        one.state = match one.state {
            State::Clearing(q) if clear => State::Clearing(q),
            _ if clear => State::Clearing(t),
            _ => State::Firing,
        };
        false
    }

    fn judge_steps(&mut self, rule: usize, t: Millis) {
        let text = self.rules[rule].clone();
        for (i, step) in text.severity.steps.iter().enumerate() {
            let firing = self.all[rule].state == State::Firing;
            let up = firing && self.ask(&step.when.text, rule, t) == Some(true);
            let down = text.severity.step_down && self.until(rule, i, t);
            let hold = text.clear_hold.unwrap_or(0);
            let state = &mut self.all[rule].steps[i];
            *state = match *state {
                None => up.then_some(None),
                Some(_) if !down => Some(None),
                Some(_) if hold == 0 => None,
                Some(None) => Some(Some(t)),
                falling => falling,
            };
        }
        self.settle(rule, t, false);
    }

    fn prove(&mut self, rule: usize, t: Millis, yes: bool, timer: bool) {
        let hold = self.rules[rule].hold;
        let count = match (hold, self.all[rule].state, yes) {
            (Hold::CountOf { count, .. } | Hold::CountWithin { count, .. }, ..) => count,
            (Hold::None, _, true) => return self.raise(rule, t, t, timer),
            (Hold::For(_), State::Normal, true) => {
                self.all[rule].state = State::Pending(t);
                return;
            }
            (Hold::For(_), State::Pending(_), false) => return self.rest(rule),
            _ => return,
        };
        let normal = self.all[rule].state == State::Normal;
        if normal && !yes {
            return;
        }
        self.all[rule].proof.push((t, yes));
        let proof = &self.all[rule].proof;
        let window: Vec<_> = match hold {
            Hold::CountOf { of, .. } => {
                proof.iter().rev().take(of as usize).rev().copied().collect()
            }
            Hold::CountWithin { within, .. } => {
                proof.iter().filter(|(s, _)| *s > t - within).copied().collect()
            }
            _ => unreachable!("returned above"),
        };
        let trues: Vec<_> = window.into_iter().filter(|(_, yes)| *yes).collect();
        match trues.first() {
            Some((first, _)) if trues.len() >= count as usize => {
                self.raise(rule, t, *first, false);
            }
            Some(_) if normal => self.all[rule].state = State::Pending(t),
            Some(_) => {}
            None => self.rest(rule),
        }
    }

    fn late(&mut self, t: Millis, set: &BTreeMap<String, f64>) {
        let newest = self.newest();
        for rule in 0..self.rules.len() {
            let one = &self.all[rule];
            let late = (self.rules[rule].late == LatePolicy::Raise) && one.state == State::Normal;
            if !late || t <= one.newest_signal {
                continue;
            }
            let history = std::mem::replace(&mut self.history, vec![(t, set.clone())]);
            let received = std::mem::replace(&mut self.received, vec![(t, set.clone())]);
            let when = self.rules[rule].when.text.clone();
            if self.is_open(rule, t) && self.ask(&when, rule, t) == Some(true) {
                self.all[rule].since = t;
                self.latch(rule, t);
                let (held, at) = match self.window_end(t).filter(|_| !self.maintenance) {
                    Some(end) if end <= newest => (Held::No, end),
                    _ => (self.held(t), t),
                };
                self.all[rule].held = held;
                self.say(rule, SignalKind::Raise, at, "LATE", false);
                self.clear(rule, newest, "LATE", false);
            }
            (self.history, self.received) = (history, received);
        }
    }
}
