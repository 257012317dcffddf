//! Which signals are of an absence that may be folded, and of which group: the storms of the district, bound to a registry.
//!
//! Such a signal leaves by [`Sink::absence`] instead of [`Sink::signal`], in the same order and with the same id. Life
//! safety is never folded: a rule whose category policies exempt keeps the straight way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{RouteCounters, Sink};
use crate::district::District;
use crate::record::{Absence, Absent, Group, Millis, Signal};
use crate::registry::{Device, Registry};
use crate::rules::RuleSet;
use crate::storms::Storms;

/// So many times within the span of a storm does time pass for whoever holds absences …
const TURNS: Millis = 20;
/// … while there are no more partitions than this: each tells all, so many would tell too much.
const PARTITIONS: Millis = 32;
/// How time passes for what is still held where nothing is folded any more.
const LAST: Turn = Turn { within: 60_000, late: 300_000 };

/// How time passes for whoever holds absences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    within: Millis,
    /// Longest that a partition is waited for.
    pub late: Millis,
}

impl Turn {
    /// Whether a partition, one of so many, tells that its clock has moved.
    #[must_use]
    pub fn is_told(&self, partitions: u16, before: Option<Millis>, now: Millis) -> bool {
        let many = (i64::from(partitions) / PARTITIONS).max(1);
        let every = (self.within / TURNS * many).clamp(1, self.within.max(1));
        before.is_none_or(|before| before.div_euclid(every) != now.div_euclid(every))
    }
}

/// The storms of a configuration.
#[derive(Debug)]
pub(super) struct Folds {
    storms: Storms,
    registry: Arc<Registry>,
    district: Arc<District>,
    /// By product number: a bit for each rule that is folded.
    rules: Vec<u128>,
    /// Devices that others speak through.
    gateways: HashSet<Box<str>>,
    /// Devices in service with such a rule, by the key of their group.
    sizes: HashMap<Box<str>, u32>,
}

impl Folds {
    /// `None` where there is no district, and so no area.
    pub(super) fn new(storms: Storms, registry: &Arc<Registry>, sets: &[RuleSet]) -> Option<Self> {
        let district = registry.district.clone()?;
        let bits = |set: &RuleSet| {
            let folded = |bits, (at, rule): (usize, &crate::rules::Rule)| {
                bits | u128::from(rule.is_absence() && !district.is_storm_exempt(&rule.category))
                    << at
            };
            set.rules.iter().enumerate().fold(0, folded)
        };
        let rules = sets.iter().map(bits).collect();
        let gateways = registry.devices.iter().filter_map(Device::gateway).map(Into::into);
        let mut folds = Self {
            gateways: gateways.collect(),
            storms,
            registry: registry.clone(),
            district: district.clone(),
            rules,
            sizes: HashMap::new(),
        };
        let mut sizes: HashMap<Box<str>, u32> = HashMap::new();
        for device in registry.devices.iter().filter(|device| device.lifecycle.raises()) {
            if folds.rules.get(usize::from(device.product)).is_some_and(|bits| *bits != 0) {
                *sizes.entry(folds.key(device)).or_default() += 1;
            }
        }
        folds.sizes = sizes;
        Some(folds)
    }

    pub(super) fn turn(&self) -> Turn {
        Turn { within: self.storms.limits.within, late: self.storms.late }
    }

    /// The group of a device, if a rule of it is folded.
    pub(super) fn group(&self, device: &Device, rule: usize) -> Option<Group> {
        let bits = *self.rules.get(usize::from(device.product))?;
        let folded = u32::try_from(rule).ok().and_then(|rule| bits.checked_shr(rule));
        (folded? & 1 == 1).then(|| self.group_of(device))
    }

    /// The group of a device by names; what a rule was that is not known is not known either, so it counts.
    pub(super) fn group_by_name(
        &self,
        device: &str,
        rule: &str,
        sets: &[RuleSet],
    ) -> Option<Group> {
        let (_, device) = self.registry.device(device)?;
        let known = sets.get(usize::from(device.product))?.position(rule);
        known.map_or_else(|| Some(self.group_of(device)), |rule| self.group(device, rule))
    }

    fn group_of(&self, device: &Device) -> Group {
        let key = self.key(device);
        let Storms { limits, category, severity, .. } = &self.storms;
        let gateway = self.gateway(device);
        let area = self.area(device);
        let named = |device: &Device| device.name.clone().unwrap_or_else(|| device.key.clone());
        let area_name = || {
            let unit = self.district.unit(area);
            unit.map_or_else(|| area.into(), |unit| Box::from(unit.name.as_str()))
        };
        Group {
            size: self.sizes.get(&key).copied().unwrap_or_default(),
            key,
            limits: *limits,
            category: category.clone(),
            severity: *severity,
            name: gateway.map_or_else(area_name, named),
            device: gateway.map(|gateway| gateway.key.clone()).unwrap_or_default(),
            asset: gateway.and_then(|gateway| gateway.asset.clone()),
            place: gateway.map_or(area, |gateway| gateway.place.deepest()).into(),
            point: gateway.and_then(|gateway| gateway.point),
        }
    }

    /// A gateway device is of the group of those that speak through it: if it fails, they do.
    fn gateway<'a>(&'a self, device: &'a Device) -> Option<&'a Device> {
        if self.gateways.contains(&device.key) {
            return Some(device);
        }
        self.registry.device(device.gateway()?).map(|(_, gateway)| gateway)
    }

    fn area<'a>(&self, device: &'a Device) -> &'a str {
        let place = &device.place;
        place.at(self.storms.tier).unwrap_or_else(|| place.deepest())
    }

    fn key(&self, device: &Device) -> Box<str> {
        let key = match self.gateway(device) {
            Some(gateway) => ["gateway/", &gateway.key].concat(),
            None => ["area/", self.area(device)].concat(),
        };
        key.into()
    }
}

/// How time passes for whoever holds absences; `None` where there are none.
pub(super) fn turn(folds: Option<&Folds>, counters: &RouteCounters) -> Option<Turn> {
    folds.map(Folds::turn).or((counters.lifecycle > 0).then_some(LAST))
}

/// Hands a signal out on its way, and counts it.
pub(super) fn tell(
    signal: Signal,
    group: Option<Group>,
    clock: Millis,
    counters: &mut RouteCounters,
    sink: &mut dyn Sink,
) {
    match group {
        None => {
            counters.signals += 1;
            sink.signal(&signal);
        }
        Some(group) => absent(Absent::Says, (signal, group), clock, counters, sink),
    }
}

/// Says that an alarm which stands has left its group.
pub(super) fn leave(
    about: (Signal, Group),
    clock: Millis,
    counters: &mut RouteCounters,
    sink: &mut dyn Sink,
) {
    absent(Absent::Left, about, clock, counters, sink);
}

fn absent(
    what: Absent,
    (signal, group): (Signal, Group),
    clock: Millis,
    counters: &mut RouteCounters,
    sink: &mut dyn Sink,
) {
    counters.lifecycle += 1;
    sink.absence(&Absence { signal, group, what, clock, number: counters.lifecycle });
}
