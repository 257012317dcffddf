//! The devices that a partition answers for: which are its own, and since when it listens to those it has not heard.
//!
//! A device that is in service and never says a valid word is an absence too, counted from when a configuration first
//! asked for it here (devices, section 5: `max(W or IN_SERVICE, listening since)`). Until that is due it costs a number in a
//! list; then it gets a state as if it had spoken, and what follows is the same as for any other. Devices become due in
//! portions, so a list of a million that nobody switched on is not one tick.

use std::collections::{BTreeMap, HashMap};

use super::bytes::{Damaged, Reader, Writer};
use super::shared::Shared;
use crate::ids;
use crate::record::Millis;
use crate::registry::{Device, DeviceNo, Registry};
use crate::rules::GRACE_MS;

/// Most devices that one tick finds to have never been heard.
const PORTION: usize = 1024;

/// One partition of how many: what decides which devices are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number.
    pub number: u16,
    /// Partitions of topic `raw`.
    pub of: u16,
}

impl Shard {
    /// The only one there is.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// Whether the records of a device lie here.
    pub(super) fn has(self, registry: &Registry, device: &Device) -> bool {
        let hash = || ids::key_hash(registry.place_of(device));
        self.of <= 1 || hash() % u64::from(self.of) == u64::from(self.number)
    }
}

/// The devices of a partition that were not heard and are not yet due.
#[derive(Debug)]
pub(super) struct Listed {
    pub shard: Shard,
    /// By when they came, then by product.
    groups: Vec<Group>,
}

/// Devices that came together and are due together.
#[derive(Debug)]
struct Group {
    /// Partition clock when they were first named in service; `Millis::MIN` = before the first record.
    since: Millis,
    /// The shortest `absent()` of their product.
    absent: Millis,
    /// The first key last. Those that were heard meanwhile are passed over.
    devices: Vec<DeviceNo>,
}

impl Listed {
    /// Nobody.
    pub(super) fn none(shard: Shard) -> Self {
        Self { shard, groups: Vec::new() }
    }

    /// All that a configuration names and `is_heard` does not know; `since` says of some that they came before `now`.
    pub(super) fn of(
        shard: Shard,
        shared: &Shared,
        is_heard: impl Fn(DeviceNo) -> bool,
        since: &HashMap<&str, Millis>,
        now: Millis,
    ) -> Self {
        let absent: Vec<_> = shared.rules().iter().map(|set| set.shortest_absence()).collect();
        let mut groups: BTreeMap<(Millis, u16), Group> = BTreeMap::new();
        let registry = shared.registry();
        for (number, device) in registry.devices.iter().enumerate().rev() {
            let number = DeviceNo(number as u32);
            let Some(Some(absent)) = absent.get(usize::from(device.product)) else { continue };
            if !device.lifecycle.raises() || is_heard(number) || !shard.has(registry, device) {
                continue;
            }
            let since = since.get(&*device.key).copied().unwrap_or(now);
            let fresh = || Group { since, absent: *absent, devices: Vec::new() };
            let group = groups.entry((since, device.product)).or_insert_with(fresh);
            group.devices.push(number);
        }
        Self { shard, groups: groups.into_values().collect() }
    }

    /// The first record came.
    pub(super) fn begin(&mut self, now: Millis) {
        for group in self.groups.iter_mut().filter(|group| group.since == Millis::MIN) {
            group.since = now;
        }
    }

    /// Takes those that are due, a portion at most, with when they came.
    pub(super) fn take_due(
        &mut self,
        now: Millis,
        listening_since: Millis,
        is_heard: impl Fn(DeviceNo) -> bool,
    ) -> Vec<(Millis, DeviceNo)> {
        let mut due = Vec::new();
        for group in &mut self.groups {
            let from = group.since.max(listening_since);
            if from.saturating_add(GRACE_MS).saturating_add(group.absent) > now {
                continue;
            }
            while due.len() < PORTION
                && let Some(number) = group.devices.pop()
            {
                if !is_heard(number) {
                    due.push((group.since, number));
                }
            }
        }
        self.groups.retain(|group| !group.devices.is_empty());
        due
    }

    /// Who is still waited for, by key.
    pub(super) fn encode(
        &self,
        registry: &Registry,
        is_heard: impl Fn(DeviceNo) -> bool,
        to: &mut Writer,
    ) {
        let unheard = |group: &Group| -> Vec<&str> {
            let numbers = group.devices.iter().rev().filter(|number| !is_heard(**number));
            numbers.filter_map(|number| Some(&*registry.at(*number)?.key)).collect()
        };
        let groups = self.groups.iter().map(|group| (group.since, unheard(group)));
        let groups: Vec<_> = groups.filter(|(_, keys)| !keys.is_empty()).collect();
        to.count(groups.len());
        for (since, keys) in groups {
            to.int(since);
            to.count(keys.len());
            keys.into_iter().for_each(|key| to.text(key));
        }
    }

    /// Since when each was waited for.
    pub(super) fn decode<'a>(from: &mut Reader<'a>) -> Result<HashMap<&'a str, Millis>, Damaged> {
        let mut all = HashMap::new();
        for _ in 0..from.count()? {
            let since = from.int()?;
            for _ in 0..from.count()? {
                all.insert(from.text()?, since);
            }
        }
        Ok(all)
    }
}
