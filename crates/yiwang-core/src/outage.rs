//! Storms: many devices of one gateway device, area or carrier that fall silent together are one outage (devices §7).
//!
//! Owns the folding alone, as a pure machine over changes in order of time: each is held for a while; if enough of its
//! group join it, they are told together, and no single ones until it has been quiet; the return likewise. Nothing is
//! told twice and nothing is lost but a silence that ends while it is held. Whoever sees all devices of a group runs it:
//! a partition sees only its share.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Millis;

/// When single changes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Least share of the group's devices, in percent *(design)*.
    pub share_percent: u64,
    /// Least number of devices *(design)*.
    pub members_min: usize,
    /// … that change within this time; so long is a change held *(design)*.
    pub within: Millis,
    /// No single ones until so long after the last change *(design)*.
    pub quiet: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Self { share_percent: 30, members_min: 20, within: 60_000, quiet: 600_000 }
    }
}

/// What a device did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It fell silent, or its connection ended.
    Silent,
    /// It is back.
    Back,
}

/// A change of one device.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Device key.
    pub device: &'a str,
    /// Its gateway device, area or carrier.
    pub group: &'a str,
    /// Devices in service of that group.
    pub group_size: usize,
    /// When; never before what was seen or passed earlier.
    pub at: Millis,
    /// What it did.
    pub change: Change,
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// One device.
    Single {
        /// Device key.
        device: Box<str>,
        /// When it changed.
        at: Millis,
        /// What it did.
        change: Change,
    },
    /// Many at once: with `Silent` an outage begins.
    Together {
        /// Their group.
        group: Box<str>,
        /// What they did.
        change: Change,
        /// When the first of them did.
        since: Millis,
        /// Device keys, ascending.
        members: Vec<Box<str>>,
    },
    /// More of a group that was told together a short time ago.
    More {
        /// Their group.
        group: Box<str>,
        /// What they did.
        change: Change,
        /// Device keys, ascending.
        members: Vec<Box<str>>,
    },
    /// Every device of the outage is back.
    Over {
        /// The group.
        group: Box<str>,
        /// When the last of them came back.
        at: Millis,
    },
}

/// Changes of one kind in one group.
#[derive(Clone, Debug)]
struct Side {
    /// Not yet told: when each device changed.
    held: BTreeMap<Box<str>, Millis>,
    /// Newest change that was told with others, or would have been; `Millis::MIN` = none.
    newest: Millis,
}

#[derive(Clone, Debug)]
struct Group {
    silent: Side,
    back: Side,
    /// Told together as silent, and not back.
    out: BTreeSet<Box<str>>,
}

/// The machine.
#[derive(Clone, Debug, Default)]
pub struct Folding {
    limits: Limits,
    groups: BTreeMap<Box<str>, Group>,
}

impl Side {
    const EMPTY: Self = Self { held: BTreeMap::new(), newest: Millis::MIN };

    fn is_storm(&self, limits: &Limits, now: Millis) -> bool {
        now.saturating_sub(limits.quiet) < self.newest
    }

    fn take(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.held).into_keys().collect()
    }
}

impl Group {
    fn side(&mut self, change: Change) -> &mut Side {
        match change {
            Change::Silent => &mut self.silent,
            Change::Back => &mut self.back,
        }
    }

    fn is_idle(&self, limits: &Limits, now: Millis) -> bool {
        let idle = |side: &Side| side.held.is_empty() && !side.is_storm(limits, now);
        idle(&self.silent) && idle(&self.back) && self.out.is_empty()
    }
}

impl Folding {
    /// With these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, groups: BTreeMap::new() }
    }

    /// Takes a change, after everything that is due before it.
    pub fn see(&mut self, seen: &Seen<'_>, told: &mut Vec<Told>) {
        self.pass(seen.at, told);
        let limits = self.limits;
        let group = self.groups.entry(seen.group.into()).or_insert_with(|| Group {
            silent: Side::EMPTY,
            back: Side::EMPTY,
            out: BTreeSet::new(),
        });
        let opposite = match seen.change {
            Change::Silent => Change::Back,
            Change::Back => Change::Silent,
        };
        // What was not told yet and is undone never was.
        if group.side(opposite).held.remove(seen.device).is_some() {
            return;
        }
        if seen.change == Change::Back && group.out.remove(seen.device) {
            if group.out.is_empty() {
                told.push(Told::Over { group: seen.group.into(), at: seen.at });
            }
            return;
        }
        let side = group.side(seen.change);
        side.held.entry(seen.device.into()).or_insert(seen.at);
        if side.is_storm(&limits, seen.at) {
            side.newest = seen.at;
            return;
        }
        let members = side.held.len();
        let share = members as u64 * 100 >= limits.share_percent * seen.group_size as u64;
        if members < limits.members_min || !share {
            return;
        }
        side.newest = seen.at;
        let since = side.held.values().copied().min().unwrap_or(seen.at);
        let members = side.take();
        if seen.change == Change::Silent {
            group.out.extend(members.iter().cloned());
        }
        let (group, change) = (seen.group.into(), seen.change);
        told.push(Told::Together { group, change, since, members });
    }

    /// Time passes: what was held long enough is told.
    pub fn pass(&mut self, now: Millis, told: &mut Vec<Told>) {
        let limits = self.limits;
        let due = |at: Millis| at.saturating_add(limits.within) <= now;
        for (name, group) in &mut self.groups {
            for change in [Change::Silent, Change::Back] {
                let side = group.side(change);
                if !side.held.values().any(|at| due(*at)) {
                    continue;
                }
                if side.is_storm(&limits, now) {
                    let members = side.take();
                    if change == Change::Silent {
                        group.out.extend(members.iter().cloned());
                    }
                    told.push(Told::More { group: name.clone(), change, members });
                    continue;
                }
                let mut ripe: Vec<_> =
                    side.held.extract_if(.., |_, at| due(*at)).map(|(d, at)| (at, d)).collect();
                ripe.sort();
                told.extend(ripe.into_iter().map(|(at, device)| Told::Single {
                    device,
                    at,
                    change,
                }));
            }
        }
        self.groups.retain(|_, group| !group.is_idle(&limits, now));
    }
}

#[cfg(test)]
#[path = "outage_tests.rs"]
mod tests;
