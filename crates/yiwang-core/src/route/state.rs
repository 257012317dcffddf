//! The state of one partition: its clock, its counters, and per device the dedup window and the rules.
//!
//! Devices are found by their dense number; snapshots name them by key, so that a swap of the registry keeps them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::RouteCounters;
use super::change::Latest;
use super::fold::{self, Turn};
use super::listed::{Listed, Shard};
use super::shared::{Routed, Shared};
use super::window::Window;
use crate::codec::Scratch;
use crate::codec::pack::Pack;
use crate::codec::sparkplug::Session;
use crate::ids::Id;
use crate::record::Millis;
use crate::registry::DeviceNo;
use crate::rules::{Context, DeviceRules, Emitted, Standing};
use crate::sample::Samples;

/// No tick for this long means that we were down.
pub(super) const DOWN_MS: Millis = 30_000;
/// After that, for this long, only samples move timers.
pub(super) const SETTLE_MS: Millis = 120_000;

/// Reused memory of a worker: nothing in it outlives a batch.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(super) scratch: Scratch,
    pub(super) samples: Samples,
    /// The samples of records in a chunk that were decoded before their turn.
    pub(super) arenas: Vec<Samples>,
    /// The keys of a chunk's devices, one after the other, and the devices.
    pub(super) keys: String,
    pub(super) numbers: Vec<DeviceNo>,
    pub(super) emitted: Vec<Emitted>,
    pub(super) due: Vec<(Millis, u32)>,
    pub(super) pack: Pack,
    pub(super) alias: String,
    /// Id of the newest record of a device.
    pub(super) id: Id,
}

impl Workspace {
    /// Raw id of the newest record of a device that was routed: what a record is called that nothing came out of.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// Exchanges the samples with those of a place in the chunk.
    pub(super) fn swap_arena(&mut self, at: usize) {
        if self.arenas.len() <= at {
            self.arenas.resize_with(at + 1, Samples::default);
        }
        std::mem::swap(&mut self.samples, &mut self.arenas[at]);
    }
}

/// What is remembered of one device.
#[derive(Debug)]
pub(super) struct DeviceState {
    pub no: DeviceNo,
    /// Whether its records belong in this partition: else another one judges it, and what still lies here is history.
    pub own: bool,
    pub window: Window,
    pub rules: DeviceRules,
    /// By check of the product.
    pub latest: Box<[Latest]>,
    /// Of an edge node that speaks Sparkplug.
    pub session: Option<Box<Session>>,
    /// When it stands in the wake list; `Millis::MAX` = not at all.
    pub wake: Millis,
}

impl DeviceState {
    /// Since when its partition would have heard it: never, if its records lie in another.
    pub fn listened(&self, since: Millis) -> Millis {
        if self.own { since } else { Millis::MAX }
    }
}

/// Whether a device was heard, or found never to have been.
pub(super) fn is_heard(places: &[u32], devices: &[DeviceState], no: DeviceNo) -> bool {
    let place = places.get(no.0 as usize).map(|place| *place as usize);
    place.and_then(|place| devices.get(place)).is_some_and(|device| device.rules.is_awaited())
}

/// The state of one partition under one configuration.
#[derive(Debug)]
pub struct PartitionState {
    /// Running maximum of `received_at` over records and ticks.
    pub(super) clock: Millis,
    pub(super) last_tick: Millis,
    /// End of the last time that we were down.
    pub(super) listening_since: Millis,
    /// Until then only samples move timers.
    pub(super) quiet_until: Millis,
    pub(super) counters: RouteCounters,
    /// Who is waited for and was not heard.
    pub(super) listed: Listed,
    /// By device number: index into `devices`, or `u32::MAX`.
    pub(super) places: Vec<u32>,
    pub(super) devices: Vec<DeviceState>,
    /// Due devices, earliest first; an entry that is not its device's `wake` is stale.
    pub(super) wakes: BinaryHeap<Reverse<(Millis, u32)>>,
}

impl PartitionState {
    /// A partition that has seen nothing.
    #[must_use]
    pub fn new(shared: &Shared, shard: Shard) -> Self {
        let mut state = Self::empty(shared, shard);
        state.wait_for_unheard(shared, &HashMap::new());
        state
    }

    /// The same before anybody is waited for.
    pub(super) fn empty(shared: &Shared, shard: Shard) -> Self {
        Self {
            clock: Millis::MIN,
            last_tick: Millis::MIN,
            listening_since: Millis::MIN,
            quiet_until: Millis::MIN,
            counters: RouteCounters::default(),
            listed: Listed::none(shard),
            places: vec![u32::MAX; shared.registry().devices.len()],
            devices: Vec::new(),
            wakes: BinaryHeap::new(),
        }
    }

    /// So many devices are likely to be heard: their states take one piece of memory from the start.
    pub fn reserve(&mut self, devices: usize) {
        self.devices.reserve_exact(devices);
    }

    /// Devices of which something is remembered: what a snapshot is mostly made of.
    #[must_use]
    pub fn devices_heard(&self) -> usize {
        self.devices.len()
    }

    /// Row R of the ledger.
    #[must_use]
    pub fn counters(&self) -> &RouteCounters {
        &self.counters
    }

    /// The partition's clock; `None` before the first record.
    #[must_use]
    pub fn clock(&self) -> Option<Millis> {
        (self.clock != Millis::MIN).then_some(self.clock)
    }

    /// How time passes for whoever holds this partition's absences; `None` where it never had any, nor will.
    #[must_use]
    pub fn turn(&self, shared: &Shared) -> Option<Turn> {
        fold::turn(shared.folds(), &self.counters)
    }

    /// Number of devices with an alarm that stands.
    #[must_use]
    pub fn raised(&self) -> usize {
        self.devices.iter().filter(|device| device.rules.is_raised()).count()
    }

    /// Where a rule of a device stands; for traces and tests.
    #[must_use]
    pub fn phase(&self, shared: &Shared, device: &str, rule: &str) -> Option<crate::rules::Phase> {
        let (no, _) = shared.registry().device(device)?;
        let at = *self.places.get(no.0 as usize)?;
        let state = self.devices.get(at as usize)?;
        let rule = shared.device(no)?.rules.position(rule)?;
        Some(state.rules.phase(rule))
    }

    /// Where every rule of a device stands; `None` for a device that was not heard. For traces.
    #[must_use]
    pub fn standings(&self, shared: &Shared, device: &str) -> Option<Vec<Standing>> {
        let (no, _) = shared.registry().device(device)?;
        let state = self.state(no)?;
        Some(state.rules.standings(&shared.device(no)?.context()))
    }

    /// A copy of the rules of a device as they stand; `None` for a device that was not heard. For traces.
    #[must_use]
    pub fn rules_of(&self, shared: &Shared, device: &str) -> Option<DeviceRules> {
        let (no, _) = shared.registry().device(device)?;
        Some(self.state(no)?.rules.clone())
    }

    /// Whether the records of a device belong in this partition; false for one that is not registered. For traces.
    #[must_use]
    pub fn is_of_here(&self, shared: &Shared, device: &str) -> bool {
        let known = shared.registry().device(device);
        known.is_some_and(|(_, device)| self.listed.shard.has(shared.registry(), device))
    }

    /// Moves the clock; a gap without ticks means that we were down.
    pub(super) fn advance(&mut self, received_at: Millis, is_tick: bool) {
        let first = self.clock == Millis::MIN;
        self.clock = self.clock.max(received_at);
        if first {
            // Nothing was missed: there was nothing before.
            (self.listening_since, self.last_tick) = (self.clock, self.clock);
            self.listed.begin(self.clock);
        } else if self.clock.saturating_sub(self.last_tick) > DOWN_MS {
            self.listening_since = self.clock;
            self.quiet_until = self.clock.saturating_add(SETTLE_MS);
            self.last_tick = self.clock;
        }
        if is_tick {
            self.last_tick = self.clock;
        }
    }

    /// Reads where the state of a device stands; like the next two for the sake of the processor's cache alone.
    pub(super) fn touch_place(&self, no: DeviceNo) -> usize {
        self.places.get(no.0 as usize).map_or(0, |place| *place as usize)
    }

    /// Reads the state of a device.
    pub(super) fn touch_state(&self, no: DeviceNo) -> usize {
        self.state(no).map_or(0, |device| device.wake as usize ^ device.rules.touch())
    }

    /// Reads what the state of a device points to.
    pub(super) fn touch_values(&self, no: DeviceNo) -> usize {
        self.state(no).map_or(0, |device| device.rules.touch_values())
    }

    fn state(&self, no: DeviceNo) -> Option<&DeviceState> {
        let place = *self.places.get(no.0 as usize)?;
        self.devices.get(place as usize)
    }

    /// The state of a device, made when first heard.
    pub(super) fn place_of(&mut self, routed: &Routed<'_>) -> usize {
        match self.places.get(routed.no.0 as usize) {
            Some(place) if *place != u32::MAX => *place as usize,
            _ => self.keep(DeviceState {
                no: routed.no,
                own: self.listed.shard.has(routed.registry, routed.device),
                window: Window::default(),
                rules: DeviceRules::new(routed.rules),
                latest: routed.checks.nothing(),
                session: None,
                wake: Millis::MAX,
            }),
        }
    }

    /// Takes in the state of a device; where it stands from then on.
    pub(super) fn keep(&mut self, device: DeviceState) -> usize {
        let Some(place) = self.places.get_mut(device.no.0 as usize) else {
            // Only a registry of another epoch has such a number; the state was moved to this one.
            debug_assert!(false, "device number beyond the registry of this state");
            return usize::MAX;
        };
        match self.devices.get_mut(*place as usize) {
            Some(known) => *known = device,
            None => {
                *place = self.devices.len() as u32;
                self.devices.push(device);
            }
        }
        *place as usize
    }

    /// Whoever a configuration names and nobody has heard is waited for; some were before, since then.
    pub(super) fn wait_for_unheard(&mut self, shared: &Shared, since: &HashMap<&str, Millis>) {
        let is_heard = |no| is_heard(&self.places, &self.devices, no);
        self.listed = Listed::of(self.listed.shard, shared, is_heard, since, self.clock);
    }

    /// Puts a device on the wake list if it is due before it would be looked at.
    pub(super) fn wake(&mut self, at: usize, cx: &Context<'_>) {
        let Some(device) = self.devices.get_mut(at) else { return };
        // With absences: one that a sample just ended begins anew, perhaps long before what the device waits for.
        let due = device.rules.due(cx, device.listened(self.listening_since));
        if let Some(due) = due.filter(|due| *due < device.wake) {
            device.wake = due;
            self.wakes.push(Reverse((due, at as u32)));
        }
        if self.wakes.len() > 2 * self.devices.len() + 1024 {
            let awake = self.devices.iter().enumerate().filter(|(_, d)| d.wake != Millis::MAX);
            self.wakes = awake.map(|(at, d)| Reverse((d.wake, at as u32))).collect();
        }
    }
}
