//! Rule state as bytes, and its move to another version of the rules.
//!
//! State refers to rules and properties by number; a [`Legend`] says what the numbers meant. On a swap of the
//! configuration the state moves by rule id and property identifier: an unchanged rule notices nothing, a changed one
//! drops what was pending, a removed one ends its alarm.

use super::memory::{Memory, Slot};
use super::model::PropertyModel;
use super::program::WindowSpan;
use super::state::{DeviceRules, EDGE_KINDS, Edge, Edges, Entry, Held, Mark, Phase, StepState};
use super::window::Window;
use super::{Context, RuleSet};
use crate::ids::Id;
use crate::record::{AlarmSeverity, Millis, SignalKind};
use crate::route::bytes::{Damaged, Reader, Writer};

/// Snapshots before this version know neither when a device was heard nor which edges had signals.
pub(super) const FIRST_WITH_EDGES: u8 = 4;
/// Snapshots before this version know no windows, `prev()` and schedules.
pub(super) const FIRST_WITH_WINDOWS: u8 = 2;

/// What the rule and slot numbers of a state mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legend {
    /// Per rule: id, hash of its text, category.
    rules: Vec<(Box<str>, Id, Box<str>)>,
    /// Per slot: property identifier.
    slots: Vec<Box<str>>,
    /// Per number of `prev()`: slot.
    previous: Vec<u8>,
    /// Per number of a window: slot and span.
    windows: Vec<WindowSpan>,
}

/// An alarm whose rule is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Removed {
    /// Id of the rule that was.
    pub rule: Box<str>,
    /// Its category.
    pub category: Box<str>,
    /// Severity when it ended.
    pub severity: AlarmSeverity,
    /// Since when it held.
    pub since: Millis,
    /// When it ends.
    pub time: Millis,
    /// For the id of the clear.
    pub edge: Edge,
}

impl Legend {
    /// Of the rules in force.
    #[must_use]
    pub fn of(rules: &RuleSet) -> Self {
        let of_rule = |rule: &super::Rule| (rule.id.clone(), rule.hash, rule.category.clone());
        Self {
            rules: rules.rules.iter().map(of_rule).collect(),
            slots: rules.properties.iter().map(|p| p.identifier.as_str().into()).collect(),
            previous: rules.previous.clone(),
            windows: rules.windows.clone(),
        }
    }

    /// Writes it.
    pub fn encode(&self, to: &mut Writer) {
        to.count(self.rules.len());
        for (id, hash, category) in &self.rules {
            to.text(id);
            to.id(*hash);
            to.text(category);
        }
        to.count(self.slots.len());
        for slot in &self.slots {
            to.text(slot);
        }
        to.count(self.previous.len());
        for slot in &self.previous {
            to.byte(*slot);
        }
        to.count(self.windows.len());
        for window in &self.windows {
            to.byte(window.slot);
            to.int(window.span);
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Damaged bytes.
    pub fn decode(from: &mut Reader<'_>, version: u8) -> Result<Self, Damaged> {
        let rules = from.list(|r| Ok((r.text()?.into(), r.id()?, r.text()?.into())))?;
        let slots = from.list(|r| Ok(r.text()?.into()))?;
        if version < FIRST_WITH_WINDOWS {
            return Ok(Self { rules, slots, previous: Vec::new(), windows: Vec::new() });
        }
        let previous = from.list(Reader::byte)?;
        let windows = from.list(|r| Ok(WindowSpan { slot: r.byte()?, span: r.int()? }))?;
        Ok(Self { rules, slots, previous, windows })
    }

    /// The values of a state under the rules in force: what they still read is kept, by name.
    fn translate(&self, memory: &Memory, rules: &RuleSet) -> Memory {
        let new_name = |slot: &u8| rules.properties.get(usize::from(*slot)).map(|p| &*p.identifier);
        let old_name = |slot: &u8| self.slots.get(usize::from(*slot)).map(|name| &**name);
        let slot = |property: &PropertyModel| {
            let old = self.slots.iter().position(|slot| **slot == *property.identifier);
            old.and_then(|old| memory.slots.get(old)).copied().unwrap_or(Slot::EMPTY)
        };
        let previous = |new: &u8| {
            let old = self.previous.iter().position(|old| old_name(old) == new_name(new));
            old.and_then(|old| memory.previous.get(old)).copied().unwrap_or(Slot::EMPTY)
        };
        let window = |new: &WindowSpan| {
            let same = |old: &WindowSpan| {
                old.span == new.span && old_name(&old.slot) == new_name(&new.slot)
            };
            let old = self.windows.iter().position(same);
            old.and_then(|old| memory.windows.get(old)).cloned().unwrap_or(Window::EMPTY)
        };
        Memory {
            slots: rules.properties.iter().map(slot).collect(),
            previous: rules.previous.iter().map(previous).collect(),
            windows: rules.windows.iter().map(window).collect(),
        }
    }
}

impl DeviceRules {
    /// Writes the state.
    pub fn encode(&self, to: &mut Writer) {
        mark(to, self.newest);
        to.int(self.lag);
        to.int(self.heard.wrapping_sub(self.newest.t));
        self.memory.encode(to);
        to.count(self.entries.len());
        for entry in &self.entries {
            encode_entry(to, entry);
        }
    }

    /// Reads a state; [`DeviceRules::adopt`] makes it fit the rules in force.
    ///
    /// # Errors
    /// Damaged bytes.
    pub fn decode(from: &mut Reader<'_>, version: u8) -> Result<Self, Damaged> {
        let newest = read_mark(from)?;
        let lag = from.int()?;
        let later = if version < FIRST_WITH_EDGES { lag } else { from.int()? };
        let heard = newest.t.wrapping_add(later);
        let memory = Memory::decode(from, version)?;
        let entries = from.list(|from| decode_entry(from, version))?;
        Ok(Self { memory, newest, lag, heard, entries, next: Millis::MAX })
    }

    /// Moves the state from the rules that `legend` names to those in force; gives the alarms that end with their rule.
    #[must_use]
    pub fn adopt(&mut self, legend: &Legend, same: bool, cx: &Context<'_>) -> Vec<Removed> {
        let mut removed = Vec::new();
        if !same {
            for entry in std::mem::take(&mut self.entries) {
                let Some((id, hash, _)) = legend.rules.get(usize::from(entry.rule)) else {
                    continue;
                };
                match cx.rules.position(id) {
                    Some(new) => self.entries.push(moved(entry, new, *hash, cx.rules)),
                    None => removed.extend(self.ended(&entry, legend)),
                }
            }
            self.entries.sort_by_key(|entry| entry.rule);
            self.entries.retain(|entry| !entry.is_blank());
            self.memory = legend.translate(&self.memory, cx.rules);
        }
        self.find_next(cx);
        removed
    }

    /// The alarms that end with their device.
    #[must_use]
    pub fn abandon(&self, legend: &Legend) -> Vec<Removed> {
        self.entries.iter().filter_map(|entry| self.ended(entry, legend)).collect()
    }

    fn ended(&self, entry: &Entry, legend: &Legend) -> Option<Removed> {
        let (rule, _, category) = legend.rules.get(usize::from(entry.rule))?;
        let mut edges = entry.edges;
        (entry.raised() && entry.held == Held::No).then(|| Removed {
            rule: rule.clone(),
            category: category.clone(),
            severity: entry.severity,
            since: entry.since,
            time: entry.newest_signal.max(self.newest.t),
            edge: edges.take(SignalKind::Clear, Edge::At(entry.newest_signal)),
        })
    }
}

fn moved(mut entry: Entry, new: usize, hash: Id, rules: &RuleSet) -> Entry {
    let Some(rule) = rules.rules.get(new) else { return entry };
    entry.rule = new as u16;
    if rule.hash != hash {
        entry.steps.resize(rule.steps.len(), StepState::Off);
        entry.holds = false;
        match entry.phase {
            Phase::Normal => {}
            Phase::Pending => entry.rest(),
            Phase::Firing | Phase::Clearing => {
                // What was proved by the other text counts for nothing.
                entry.unproved();
                entry.changed = true;
            }
        }
        entry.remind = rule.remind.filter(|_| entry.raised()).map(|every| {
            let count = entry.remind.map_or(0, |(_, count)| count);
            (entry.newest_signal.saturating_add(every), count)
        });
    }
    entry
}

fn mark(to: &mut Writer, mark: Mark) {
    to.int(mark.t);
    to.bool(mark.raw != Id(0));
    if mark.raw != Id(0) {
        to.id(mark.raw);
    }
}

fn read_mark(from: &mut Reader<'_>) -> Result<Mark, Damaged> {
    let t = from.int()?;
    let raw = if from.bool()? { from.id()? } else { Id(0) };
    Ok(Mark { t, raw })
}

fn encode_entry(to: &mut Writer, e: &Entry) {
    to.uint(u64::from(e.rule));
    to.byte(match e.phase {
        Phase::Normal => 0,
        Phase::Pending => 1,
        Phase::Firing => 2,
        Phase::Clearing => 3,
    });
    let windowed = e.held.window();
    let held = e.held != Held::No;
    let bits = [e.stale, e.flapping, held, e.holds, windowed.is_some(), e.changed];
    to.byte(mask(&bits));
    if let Some(t) = windowed {
        to.int(t);
    }
    to.byte(AlarmSeverity::ALL.iter().position(|s| *s == e.severity).unwrap_or(0) as u8);
    for one in [e.start, e.seen, e.last_true, e.raised_by] {
        mark(to, one);
    }
    to.int(e.judged);
    to.int(e.since);
    to.int(e.newest_signal);
    to.uint(e.samples);
    to.count(e.trues.len());
    for (number, t) in &e.trues {
        to.uint(*number);
        to.int(*t);
    }
    to.count(e.steps.len());
    for step in &e.steps {
        match step {
            StepState::Off => to.byte(0),
            StepState::On => to.byte(1),
            StepState::Falling(since) => {
                to.byte(2);
                mark(to, *since);
            }
        }
    }
    to.count(e.raises.len());
    for t in &e.raises {
        to.int(*t);
    }
    to.bool(e.remind.is_some());
    if let Some((due, count)) = e.remind {
        to.int(due);
        to.uint(count);
    }
    to.byte(mask(&e.edges.latest.map(|edge| edge.is_some())));
    for edge in e.edges.latest.into_iter().flatten() {
        to.int(e.newest_signal.wrapping_sub(edge));
    }
    to.uint(e.edges.again);
}

/// A bit for each, the first lowest.
fn mask(bits: &[bool]) -> u8 {
    bits.iter().zip(0..).fold(0, |byte, (bit, place)| byte | u8::from(*bit) << place)
}

fn decode_entry(from: &mut Reader<'_>, version: u8) -> Result<Entry, Damaged> {
    let rule = from.small()?;
    let phase = match from.byte()? {
        0 => Phase::Normal,
        1 => Phase::Pending,
        2 => Phase::Firing,
        3 => Phase::Clearing,
        _ => return Err(Damaged("unknown phase")),
    };
    let bits = from.byte()?;
    let held = match bits & (4 | 16) {
        0 => Held::No,
        4 => Held::Lifecycle,
        _ => Held::Window(from.int()?),
    };
    let severity = AlarmSeverity::ALL.get(usize::from(from.byte()?));
    let severity = *severity.ok_or(Damaged("unknown severity"))?;
    let mut entry = Entry::new(rule, 0, severity);
    entry.phase = phase;
    (entry.stale, entry.flapping, entry.changed) = (bits & 1 != 0, bits & 2 != 0, bits & 32 != 0);
    (entry.held, entry.holds) = (held, bits & 8 != 0);
    entry.start = read_mark(from)?;
    entry.seen = read_mark(from)?;
    entry.last_true = read_mark(from)?;
    entry.raised_by = read_mark(from)?;
    entry.judged = if version < FIRST_WITH_WINDOWS { entry.seen.t } else { from.int()? };
    entry.since = from.int()?;
    entry.newest_signal = from.int()?;
    entry.samples = from.uint()?;
    entry.trues = from.list(|r| Ok((r.uint()?, r.int()?)))?;
    entry.steps = from.list(|r| match r.byte()? {
        0 => Ok(StepState::Off),
        1 => Ok(StepState::On),
        2 => Ok(StepState::Falling(read_mark(r)?)),
        _ => Err(Damaged("unknown step state")),
    })?;
    entry.raises = from.list(Reader::int)?;
    entry.remind = if from.bool()? { Some((from.int()?, from.uint()?)) } else { None };
    if version >= FIRST_WITH_EDGES {
        entry.edges = read_edges(from, entry.newest_signal)?;
    } else {
        // Whether a signal was of its edge is not known: from here on each is of a later one, or told apart.
        let signalled = (entry.newest_signal != Millis::MIN).then_some(entry.newest_signal);
        entry.edges.latest = [signalled; EDGE_KINDS.len()];
    }
    Ok(entry)
}

fn read_edges(from: &mut Reader<'_>, newest_signal: Millis) -> Result<Edges, Damaged> {
    let known = from.byte()?;
    if known >> EDGE_KINDS.len() != 0 {
        return Err(Damaged("unknown kind of an edge"));
    }
    let mut edges = Edges::default();
    for (place, latest) in edges.latest.iter_mut().enumerate() {
        if known & (1 << place) != 0 {
            *latest = Some(newest_signal.wrapping_sub(from.int()?));
        }
    }
    edges.again = from.uint()?;
    Ok(edges)
}
