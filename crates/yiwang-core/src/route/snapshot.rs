//! A partition's state as bytes: what a restart, a hand-over or a swap of the configuration starts from.
//!
//! Devices are named by key and rules by id, so the bytes outlive the numbers of one registry. The bytes of equal
//! states are equal. Version and lengths are checked; damaged bytes are refused, never half used.

use std::collections::HashMap;

use super::bytes::{Damaged, Reader, Writer};
use super::change::Latest;
use super::listed::{Listed, Shard};
use super::shared::Shared;
use super::state::{DeviceState, PartitionState, is_heard};
use super::step::{Cause, emit, frame};
use super::window::Window;
use super::{RouteCounters, Sink, change, fold};
use crate::codec::sparkplug::Session;
use crate::ids::Id;
use crate::record::{Millis, Signal, SignalKind};
use crate::registry::Device;
use crate::rules::{self, DeviceRules, Legend, Removed};

/// Version of the bytes; a reader knows this one and those before it. Before 3 no raise waits for a window, before 4 edges
/// have no signals.
const VERSION: u8 = 5;
/// Snapshots before this version know no changes of values and no sessions.
const FIRST_WITH_CHANGES: u8 = 2;
/// Snapshots before this version know nobody who was never heard: each is waited for from then on.
const FIRST_WITH_LISTED: u8 = 5;

impl PartitionState {
    /// The state as bytes.
    #[must_use]
    pub fn encode(&self, shared: &Shared) -> Vec<u8> {
        let mut to = Writer::default();
        to.byte(VERSION);
        for time in [self.clock, self.last_tick, self.listening_since, self.quiet_until] {
            to.int(time);
        }
        self.counters.encode(&mut to);
        let products = &shared.registry().products;
        to.count(products.len());
        for ((product, rules), checks) in products.iter().zip(shared.rules()).zip(shared.checks()) {
            to.text(&product.key);
            Legend::of(rules).encode(&mut to);
            checks.encode(&mut to);
        }
        let mut devices: Vec<(&str, u16, &DeviceState)> = Vec::with_capacity(self.devices.len());
        devices.extend(self.devices.iter().filter_map(|state| {
            let device = shared.device(state.no)?.device;
            Some((&*device.key, device.product, state))
        }));
        devices.sort_unstable_by_key(|(key, ..)| *key);
        to.count(devices.len());
        for (key, product, state) in devices {
            to.text(key);
            to.uint(u64::from(product));
            to.bool(state.own);
            state.window.encode(&mut to);
            state.rules.encode(&mut to);
            change::encode(&state.latest, &mut to);
            to.bool(state.session.is_some());
            if let Some(session) = &state.session {
                session.encode(&mut to);
            }
        }
        let is_heard = |no| is_heard(&self.places, &self.devices, no);
        self.listed.encode(shared.registry(), is_heard, &mut to);
        to.bytes
    }

    /// The state of some bytes under a configuration, be it the one they were written with or a newer one. Alarms
    /// whose rule or device is gone, or whose device speaks in another partition, end: their clears go to `sink`.
    ///
    /// # Errors
    /// Damaged bytes, or those of a newer version.
    pub fn restore(
        bytes: &[u8],
        shared: &Shared,
        shard: Shard,
        sink: &mut dyn Sink,
    ) -> Result<Self, Damaged> {
        Self::restore_from(bytes, None, (shared, shard), sink)
    }

    /// `old` is the configuration that the bytes were written with, where it is at hand and another one.
    fn restore_from(
        bytes: &[u8],
        old: Option<&Shared>,
        (shared, shard): (&Shared, Shard),
        sink: &mut dyn Sink,
    ) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes);
        let version = from.byte()?;
        if !(1..=VERSION).contains(&version) {
            return Err(Damaged("unknown version"));
        }
        let mut state = Self::empty(shared, shard);
        state.clock = from.int()?;
        state.last_tick = from.int()?;
        state.listening_since = from.int()?;
        state.quiet_until = from.int()?;
        state.counters = RouteCounters::decode(&mut from)?;
        let legends = from.list(|from| Meaning::decode(from, version))?;
        let same: Vec<bool> = legends.iter().map(|meaning| meaning.is_still_so(shared)).collect();
        let mut emitted = Vec::new();
        for _ in 0..from.count()? {
            let Stored { key, product, own: was_own, window, mut rules, latest, session } =
                Stored::decode(&mut from, version)?;
            let meaning = legends.get(product).ok_or(Damaged("unknown product"))?;
            let clock = state.clock;
            let routed = shared.registry().device(key).and_then(|(no, _)| shared.device(no));
            let own = routed.is_some_and(|it| shard.has(it.registry, it.device));
            let (about, before) = ((key, routed.map(|it| it.device)), old.unwrap_or(shared));
            let Some(routed) = routed.filter(|_| own || !was_own) else {
                state.tell_removed(about, &rules.abandon(&meaning.rules), before, sink);
                continue;
            };
            if is_let_go(&rules, routed.device) {
                state.tell_removed(about, &rules.abandon(&meaning.rules), before, sink);
                rules = DeviceRules::new(routed.rules);
            }
            let cx = routed.context();
            let removed = rules.adopt(&meaning.rules, same[product], &cx);
            state.tell_removed(about, &removed, before, sink);
            for rule in rules.raised().filter_map(|rule| routed.rules.rules.get(rule)) {
                let Some(group) = old.and_then(|old| old.group(key, &rule.id)) else { continue };
                if shared.group(key, &rule.id).is_none_or(|new| new.key != group.key) {
                    let about = frame(&routed, Id::default(), &rule.id, clock);
                    fold::leave((about, group), clock, &mut state.counters, sink);
                }
            }
            emitted.clear();
            rules.release(&cx, clock, &mut emitted);
            let cause = Cause { received_at: clock, clock, raw: None };
            emit(&routed, &cause, &mut 0, &emitted, (&mut state.counters, sink));
            let latest = routed.checks.translate(&meaning.checks, &latest);
            let (no, wake) = (routed.no, Millis::MAX);
            let device = DeviceState { no, own, window, rules, latest, session, wake };
            let at = state.keep(device);
            state.wake(at, &cx);
        }
        let knows = version >= FIRST_WITH_LISTED;
        let since = if knows { Listed::decode(&mut from)? } else { HashMap::new() };
        state.wait_for_unheard(shared, &since);
        if from.is_empty() { Ok(state) } else { Err(Damaged("bytes left over")) }
    }

    /// Says that alarms of a device end with their rules; `of` knows the groups that they were in.
    fn tell_removed(
        &mut self,
        (key, device): (&str, Option<&Device>),
        removed: &[Removed],
        of: &Shared,
        sink: &mut dyn Sink,
    ) {
        let clock = self.clock;
        for removed in removed {
            let mut signal = clear(key, removed, clock);
            if let Some(device) = device {
                signal.asset = device.asset.as_deref().map(str::to_owned);
                signal.place = Some(device.place.deepest().to_string());
                signal.point = device.point;
            }
            let group = of.group(key, &removed.rule);
            fold::tell(signal, group, clock, &mut self.counters, sink);
        }
    }

    /// The same state under another configuration; as a restart with it would make it.
    ///
    /// # Errors
    /// Never, unless the codec of snapshots is wrong.
    pub fn swap(&mut self, old: &Shared, new: &Shared, sink: &mut dyn Sink) -> Result<(), Damaged> {
        *self = Self::restore_from(&self.encode(old), Some(old), (new, self.listed.shard), sink)?;
        Ok(())
    }
}

/// What was remembered of one device.
struct Stored<'a> {
    key: &'a str,
    /// Number of what the other numbers mean.
    product: usize,
    /// Whether its records belonged here.
    own: bool,
    window: Window,
    rules: DeviceRules,
    latest: Vec<Latest>,
    session: Option<Box<Session>>,
}

impl<'a> Stored<'a> {
    fn decode(from: &mut Reader<'a>, version: u8) -> Result<Self, Damaged> {
        let (key, product) = (from.text()?, from.small()?);
        let own = version < FIRST_WITH_LISTED || from.bool()?;
        let (window, rules) = (Window::decode(from)?, DeviceRules::decode(from, version)?);
        let more = version >= FIRST_WITH_CHANGES;
        let latest = if more { change::decode(from)? } else { Vec::new() };
        let session = match more && from.bool()? {
            true => Some(Box::new(Session::decode(from)?)),
            false => None,
        };
        Ok(Self { key, product, own, window, rules, latest, session })
    }
}

/// What the numbers in the states of one product's devices mean.
struct Meaning<'a> {
    product: &'a str,
    rules: Legend,
    /// Properties whose changes were checked.
    checks: Vec<&'a str>,
}

impl<'a> Meaning<'a> {
    fn decode(from: &mut Reader<'a>, version: u8) -> Result<Self, Damaged> {
        let (product, rules) = (from.text()?, Legend::decode(from, version)?);
        let checks =
            if version < FIRST_WITH_CHANGES { Vec::new() } else { from.list(Reader::text)? };
        Ok(Self { product, rules, checks })
    }

    /// Whether the rules in force are numbered in the same way.
    fn is_still_so(&self, shared: &Shared) -> bool {
        let mut products = shared.registry().products.iter().zip(shared.rules());
        let known = products.find(|(product, _)| *product.key == *self.product);
        known.is_some_and(|(_, rules)| Legend::of(rules) == self.rules)
    }
}

/// A device that was never heard and is no longer in service: it is not waited for, nor has it been.
fn is_let_go(rules: &DeviceRules, device: &Device) -> bool {
    rules.newest().is_none() && rules.is_awaited() && !device.lifecycle.raises()
}

/// The end of an alarm whose rule or device is gone.
fn clear(device: &str, removed: &Removed, received_at: Millis) -> Signal {
    let product = device.split_once('/').map_or(device, |(product, _)| product);
    let id: Id = removed.edge.id(product, &removed.rule, SignalKind::Clear, device);
    Signal {
        source: format!("device/{device}"),
        event_id: id.to_string(),
        kind: SignalKind::Clear,
        alarm_key: format!("{device}/{}", removed.rule),
        category: removed.category.to_string(),
        severity: removed.severity,
        time: removed.time,
        since: removed.since,
        received_at,
        device: device.to_owned(),
        asset: None,
        place: None,
        point: None,
        cause: rules::Cause::RuleRemoved.as_str().to_owned(),
        text: "规则已撤销".to_owned(),
        reading: None,
        members: Vec::new(),
    }
}
