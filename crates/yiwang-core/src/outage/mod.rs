//! Storms: devices of one gateway device or area that fall silent together are one outage (devices §7).
//!
//! Owns the folding alone, as a pure machine over the absences of whole groups: each raise is held for a while; if enough
//! of its group join it they are told together, as one alarm with members, and no single ones until it has been quiet. A
//! clear is never held: it undoes a raise that was not told, takes a member off its outage, or is passed on to end what
//! was told singly.
//!
//! Whoever sees all devices of a group runs it: a partition of `raw` sees only its share. Those run apart, far so when the
//! hub catches up, so records wait until every partition has come as far, and are taken in the order of their time: how
//! the partitions were interleaved, how time was cut and where it was restarted changes nothing. What it needs of the
//! configuration comes with the records.

mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids;
use crate::ledger::{Counters, Stage};
use crate::record::{Absence, Absent, Group, Millis, Passed, Signal, SignalKind};

/// Most members that one signal names; those of a larger outage follow in further ones.
const MEMBERS_MAX: usize = 1_000;
/// Most devices that a text names.
const NAMED_MAX: usize = 10;

/// What became of the absences of a partition of `lifecycle` since the log began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Raises read.
    pub absences: u64,
    /// Of them: told as they came.
    pub singly: u64,
    /// Of them: told as members of an outage.
    pub folded: u64,
    /// Of them: ended before they were told.
    pub undone: u64,
    /// Clears and reminders of what was folded or undone, which nobody is sent.
    pub unsent: u64,
    /// Outages that began.
    pub outages: u64,
    /// Outages that ended.
    pub over: u64,
    /// Signals told.
    pub signals: u64,
    /// Records read that had been read before: the first stage repeats some after a crash.
    pub repeats: u64,
}

/// An outage that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outage {
    /// Event id of the member that it is named after.
    first: Box<str>,
    /// Since when the first of its members is silent.
    since: Millis,
    /// Alarm keys of those that are not back.
    out: BTreeSet<Box<str>>,
}

/// A raise that is not told yet.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    at: Millis,
    /// The raise, and what its rule said after it.
    signals: Vec<Signal>,
}

#[derive(Clone, Debug, PartialEq)]
struct State {
    /// As the newest record has it.
    group: Arc<Group>,
    /// By alarm key, so the alarms of one device lie together.
    held: BTreeMap<Box<str>, Held>,
    /// Its alarm keys by the time since which they are held.
    queue: BTreeSet<(Millis, Box<str>)>,
    /// How many alarms of each device are held.
    devices: BTreeMap<Box<str>, u32>,
    /// Newest raise that was told with others, or will be; `Millis::MIN` = none.
    newest: Millis,
    outage: Option<Outage>,
    /// When time alone changes something; `Millis::MAX` = never.
    wake: Millis,
}

/// The machine of one partition of `lifecycle`.
#[derive(Clone, Debug, PartialEq)]
pub struct Folding {
    /// Everything before it is taken.
    clock: Millis,
    groups: BTreeMap<Box<str>, State>,
    wakes: BTreeSet<(Millis, Box<str>)>,
    /// How far each partition of `raw` has come.
    sources: BTreeMap<u16, Source>,
    /// How many of them there are; 0 = not heard yet.
    partitions: u16,
    /// Longest that one is waited for while others go on.
    late: Millis,
    /// Records that wait for other partitions, by clock, partition and number.
    waiting: BTreeMap<(Millis, u16, u64), Absence>,
    counts: Counts,
}

/// How far a partition of `raw` has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    clock: Millis,
    /// Clock and number of its newest record: they come in order, so what is not newer is a repeat.
    newest: (Millis, u64),
}

impl Source {
    const NONE: Self = Self { clock: Millis::MIN, newest: (Millis::MIN, 0) };
}

impl Default for Folding {
    fn default() -> Self {
        Self {
            clock: Millis::MIN,
            groups: BTreeMap::new(),
            wakes: BTreeSet::new(),
            sources: BTreeMap::new(),
            partitions: 0,
            late: 0,
            waiting: BTreeMap::new(),
            counts: Counts::default(),
        }
    }
}

impl Folding {
    /// What became of everything so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Raises that are held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.groups.values().map(|state| state.held.len() as u64).sum()
    }

    /// Records that wait for other partitions of `raw`.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Takes a record that came of a partition of `raw`.
    pub fn take(&mut self, partition: u16, absence: Absence, told: &mut Vec<Signal>) {
        let (clock, number) = (absence.clock, absence.number);
        let source = self.sources.entry(partition).or_insert(Source::NONE);
        if (clock, number) <= source.newest {
            self.counts.repeats += 1;
            return;
        }
        source.newest = (clock, number);
        source.clock = source.clock.max(clock);
        self.waiting.insert((clock, partition, number), absence);
        self.advance(told);
    }

    /// Time has passed on a partition of `raw`.
    pub fn pass(&mut self, passed: Passed, told: &mut Vec<Signal>) {
        let Passed { partition, partitions, at, late } = passed;
        let source = self.sources.entry(partition).or_insert(Source::NONE);
        source.clock = source.clock.max(at);
        (self.partitions, self.late) = (partitions, late);
        self.advance(told);
    }

    /// The time before which no record is expected any more.
    fn settled(&self) -> Millis {
        let of_all = (0..self.partitions).map(|partition| self.sources.get(&partition));
        let clocks = of_all.map(|source| source.map_or(Millis::MIN, |source| source.clock));
        let least = clocks.min().unwrap_or(Millis::MIN);
        let most = self.sources.values().map(|source| source.clock).max().unwrap_or(Millis::MIN);
        least.max(most.saturating_sub(self.late))
    }

    /// Takes what waits and is expected to be complete, each after everything that is due before it.
    fn advance(&mut self, told: &mut Vec<Signal>) {
        if self.partitions == 0 {
            return;
        }
        let (settled, before) = (self.settled(), told.len());
        while let Some(first) = self.waiting.first_entry().filter(|it| it.key().0 < settled) {
            let absence = first.remove();
            // One that is later than it was waited for counts as of now.
            self.due(absence.clock.max(self.clock), told);
            self.apply(absence, told);
        }
        self.due(settled.saturating_sub(1), told);
        self.counts.signals += (told.len() - before) as u64;
    }

    fn apply(&mut self, absence: Absence, told: &mut Vec<Signal>) {
        let Absence { signal, group, what, .. } = absence;
        let key = group.key.clone();
        let mut state = self.groups.remove(&key).unwrap_or_else(|| State::new(&group));
        self.wakes.remove(&(state.wake, key.clone()));
        if *state.group != group {
            state.group = Arc::new(group);
        }
        let (at, counts) = (self.clock, &mut self.counts);
        match (what, signal.kind) {
            (Absent::Left, _) => state.leave(&signal, at, counts, told),
            (Absent::Says, SignalKind::Raise) => state.raise(signal, at, counts, told),
            (Absent::Says, SignalKind::Clear) => state.clear(signal, at, counts, told),
            (Absent::Says, _) => state.remind(signal, counts, told),
        }
        self.put(key, state);
    }

    /// What was held long enough by then is told.
    fn due(&mut self, now: Millis, told: &mut Vec<Signal>) {
        self.clock = self.clock.max(now);
        while let Some((at, key)) = self.wakes.pop_first() {
            if at > self.clock {
                self.wakes.insert((at, key));
                break;
            }
            let Some(mut state) = self.groups.remove(&key) else { continue };
            state.due(at, &mut self.counts, told);
            self.put(key, state);
        }
    }

    fn put(&mut self, key: Box<str>, mut state: State) {
        state.wake = state.next();
        if state.is_idle(self.clock) {
            return;
        }
        if state.wake != Millis::MAX {
            self.wakes.insert((state.wake, key.clone()));
        }
        self.groups.insert(key, state);
    }
}

impl State {
    fn new(group: &Group) -> Self {
        Self {
            group: Arc::new(group.clone()),
            held: BTreeMap::new(),
            queue: BTreeSet::new(),
            devices: BTreeMap::new(),
            newest: Millis::MIN,
            outage: None,
            wake: Millis::MAX,
        }
    }

    fn is_storm(&self, now: Millis) -> bool {
        self.newest > now.saturating_sub(self.group.limits.quiet)
    }

    fn is_idle(&self, now: Millis) -> bool {
        self.held.is_empty() && self.outage.is_none() && !self.is_storm(now)
    }

    /// When time alone changes something.
    fn next(&self) -> Millis {
        let limits = &self.group.limits;
        match self.queue.first() {
            Some((at, _)) => at.saturating_add(limits.within),
            None if self.outage.is_none() && self.newest != Millis::MIN => {
                self.newest.saturating_add(limits.quiet)
            }
            None => Millis::MAX,
        }
    }

    /// The first of what is held has been held long enough at `at`.
    fn due(&mut self, at: Millis, counts: &mut Counts, told: &mut Vec<Signal>) {
        if self.is_storm(at) {
            return self.together(at, counts, told);
        }
        let latest = at.saturating_sub(self.group.limits.within);
        while let Some((_, key)) = self.queue.first().filter(|(since, _)| *since <= latest).cloned()
        {
            self.singly(&key, counts, told);
        }
    }

    fn raise(&mut self, signal: Signal, at: Millis, counts: &mut Counts, told: &mut Vec<Signal>) {
        let key: Box<str> = signal.alarm_key.as_str().into();
        let is_out = self.outage.as_ref().is_some_and(|outage| outage.out.contains(&key));
        if is_out || self.held.contains_key(&key) {
            return self.remind(signal, counts, told);
        }
        counts.absences += 1;
        self.hold(key, Held { at, signals: vec![signal] });
        if self.is_storm(at) {
            self.newest = at;
            return;
        }
        let limits = &self.group.limits;
        let (members, size) = (self.devices.len() as u64, u64::from(self.group.size));
        let share = members * 100 >= u64::from(limits.share_percent) * size;
        if members >= u64::from(limits.members_min) && share {
            self.newest = at;
            self.together(at, counts, told);
        }
    }

    fn clear(&mut self, signal: Signal, at: Millis, counts: &mut Counts, told: &mut Vec<Signal>) {
        if let Some(held) = self.take(&signal.alarm_key) {
            counts.undone += 1;
            counts.unsent += held.signals.len() as u64;
        } else if self.is_back(&signal.alarm_key, at, counts, told) {
            counts.unsent += 1;
        } else {
            told.push(signal);
        }
    }

    /// Keeps its place behind the raise that it is about.
    fn remind(&mut self, signal: Signal, counts: &mut Counts, told: &mut Vec<Signal>) {
        let key = signal.alarm_key.as_str();
        if let Some(held) = self.held.get_mut(key) {
            held.signals.push(signal);
        } else if self.outage.as_ref().is_some_and(|outage| outage.out.contains(key)) {
            counts.unsent += 1;
        } else {
            told.push(signal);
        }
    }

    /// The alarm is of another group from now on, or of none, and still stands.
    fn leave(&mut self, signal: &Signal, at: Millis, counts: &mut Counts, told: &mut Vec<Signal>) {
        if self.held.contains_key(signal.alarm_key.as_str()) {
            self.singly(&signal.alarm_key, counts, told);
        } else {
            self.is_back(&signal.alarm_key, at, counts, told);
        }
    }

    /// Whether it was a member that is out; the last one ends the outage.
    fn is_back(
        &mut self,
        key: &str,
        at: Millis,
        counts: &mut Counts,
        told: &mut Vec<Signal>,
    ) -> bool {
        if !self.outage.as_mut().is_some_and(|outage| outage.out.remove(key)) {
            return false;
        }
        if let Some(outage) = self.outage.take_if(|outage| outage.out.is_empty()) {
            let text = format!("{}：失联设备已全部恢复", self.group.name);
            let signal = self.signal(SignalKind::Clear, &outage.first, (outage.since, at));
            told.push(Signal { text, ..signal });
            counts.over += 1;
        }
        true
    }

    fn singly(&mut self, key: &str, counts: &mut Counts, told: &mut Vec<Signal>) {
        if let Some(held) = self.take(key) {
            counts.singly += 1;
            told.extend(held.signals);
        }
    }

    /// Everything that is held is told as one: a new outage, or more of the one that stands.
    fn together(&mut self, at: Millis, counts: &mut Counts, told: &mut Vec<Signal>) {
        self.queue.clear();
        self.devices.clear();
        let held: Vec<(Box<str>, Held)> = std::mem::take(&mut self.held).into_iter().collect();
        for part in held.chunks(MEMBERS_MAX) {
            let raises = || part.iter().filter_map(|(_, held)| held.signals.first());
            let Some(first) = raises().next().map(|raise| Box::from(&*raise.event_id)) else {
                continue;
            };
            let since = raises().map(|raise| raise.since).min().unwrap_or(at);
            let mut members: Vec<String> = raises().map(|raise| raise.device.clone()).collect();
            members.dedup();
            let is_new = self.outage.is_none();
            let kind = if is_new { SignalKind::Raise } else { SignalKind::Remind };
            let text = self.text(is_new, &members);
            told.push(Signal { text, members, ..self.signal(kind, &first, (since, at)) });
            counts.outages += u64::from(is_new);
            let outage =
                self.outage.get_or_insert_with(|| Outage { first, since, out: BTreeSet::new() });
            outage.out.extend(part.iter().map(|(key, _)| key.clone()));
        }
        counts.folded += held.len() as u64;
        let behind = held.iter().map(|(_, held)| held.signals.len() as u64 - 1);
        counts.unsent += behind.sum::<u64>();
    }

    fn text(&self, is_new: bool, members: &[String]) -> String {
        let Group { name, size, .. } = &*self.group;
        let count = members.len();
        let named = members.get(..NAMED_MAX).unwrap_or(members).join("、");
        let more = if count > NAMED_MAX { "等" } else { "" };
        match is_new {
            true => format!("{name}：{count} 台设备同时失联（在用 {size} 台）：{named}{more}"),
            false => format!("{name}：又有 {count} 台设备失联：{named}{more}"),
        }
    }

    /// A signal of the group's outage; `first` names it.
    fn signal(&self, kind: SignalKind, first: &str, (since, at): (Millis, Millis)) -> Signal {
        let group = &*self.group;
        Signal {
            source: format!("outage/{}", group.key),
            event_id: ids::outage_signal(&group.key, kind.as_str(), first).to_hex(),
            kind,
            alarm_key: format!("{}/outage", group.key),
            category: group.category.to_string(),
            severity: group.severity,
            time: at,
            since,
            received_at: at,
            device: group.device.to_string(),
            asset: group.asset.as_deref().map(str::to_owned),
            place: Some(group.place.to_string()),
            point: group.point,
            cause: String::new(),
            text: String::new(),
            reading: None,
            members: Vec::new(),
        }
    }

    /// Holds a raise.
    fn hold(&mut self, key: Box<str>, held: Held) {
        *self.devices.entry(held.device().into()).or_default() += 1;
        self.queue.insert((held.at, key.clone()));
        self.held.insert(key, held);
    }

    /// Takes a raise out of what is held.
    fn take(&mut self, key: &str) -> Option<Held> {
        let (key, held) = self.held.remove_entry(key)?;
        if let Some(alarms) = self.devices.get_mut(held.device()) {
            *alarms -= 1;
            if *alarms == 0 {
                self.devices.remove(held.device());
            }
        }
        self.queue.remove(&(held.at, key));
        Some(held)
    }
}

impl Held {
    fn device(&self) -> &str {
        self.signals.first().map_or("", |raise| &raise.device)
    }
}

impl Counts {
    /// As rows of the ledger; `held` raises are neither told nor undone.
    #[must_use]
    pub fn to_ledger(&self, held: u64) -> Counters {
        let mut all = Counters::new();
        let mut add = |row, count| all.add(Stage::Router, row, "", count);
        add("absences", self.absences);
        add("absences_singly", self.singly);
        add("absences_folded", self.folded);
        add("absences_undone", self.undone);
        add("absences_held", held);
        add("absences_unsent", self.unsent);
        add("outages", self.outages);
        add("outages_over", self.over);
        add("lifecycle_repeats", self.repeats);
        add("signals", self.signals);
        all
    }
}
