//! Windows of maintenance: when people work on which devices, so that raises of these are held until the end.
//!
//! Owns what a window covers and the times of each device. Windows that overlap or touch are one. Devices that the same
//! windows cover share their times; one that none covers has set 0, which is empty. Reading the file is the district's.

use std::collections::HashMap;
use std::sync::Arc;

use crate::district::files::{At, Findings, MAINTENANCE};
use crate::district::{Tier, UnitId};
use crate::record::Millis;
use crate::registry::{Device, Registry};

/// From an instant up to, without, another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first instant in it.
    pub from: Millis,
    /// The first one after it.
    pub to: Millis,
}

impl Span {
    /// Whether an instant lies in it.
    #[must_use]
    pub const fn holds(self, t: Millis) -> bool {
        self.from <= t && t < self.to
    }
}

/// The same instants in ascending spans with something between any two.
#[must_use]
pub fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    spans.dedup_by(|next, span| {
        let one = next.from <= span.to;
        if one {
            span.to = span.to.max(next.to);
        }
        one
    });
    spans
}

/// The end of the span that an instant lies in; of [`joined`] spans.
#[must_use]
pub fn end_of(spans: &[Span], t: Millis) -> Option<Millis> {
    let next = spans.partition_point(|span| span.to <= t);
    spans.get(next).filter(|span| span.from <= t).map(|span| span.to)
}

/// One window; every condition that it states holds for the devices that it covers.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its name.
    pub name: Arc<str>,
    /// Why, for people.
    pub reason: Box<str>,
    /// When.
    pub span: Span,
    pub(crate) covers: Covers,
    pub(crate) line: u32,
}

/// What a window covers; an empty list states nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Covers {
    /// Device keys, with their lines.
    pub(crate) devices: Vec<(Box<str>, u32)>,
    /// Product keys, with their lines.
    pub(crate) products: Vec<(Box<str>, u32)>,
    /// Units whose subtrees are meant.
    pub(crate) areas: Vec<UnitId>,
    /// Names and values.
    pub(crate) tags: Vec<(Box<str>, Box<str>)>,
}

impl Covers {
    /// Whether it covers a device, which is one of the listed ones if any are; `products` are numbers.
    fn holds(&self, device: &Device, products: &[u16]) -> bool {
        let in_area = || {
            let mut units = Tier::ALL.into_iter().filter_map(|tier| device.place.at(tier));
            units.any(|unit| self.areas.contains(unit))
        };
        let tagged = || {
            let tags = device.extra.as_ref().map_or(&[][..], |extra| &extra.tags);
            tags.iter().any(|tag| self.tags.contains(tag))
        };
        (self.products.is_empty() || products.contains(&device.product))
            && (self.areas.is_empty() || in_area())
            && (self.tags.is_empty() || tagged())
    }
}

/// Number of the windows that cover a device, all of them together; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetNo(u32);

/// The windows of a registry.
#[derive(Debug)]
pub struct Windows {
    windows: Vec<Window>,
    /// By number of a set: numbers of its windows, and their joined times.
    sets: Vec<(Vec<u16>, Vec<Span>)>,
}

impl Default for Windows {
    fn default() -> Self {
        Self { windows: Vec::new(), sets: vec![Default::default()] }
    }
}

impl Windows {
    /// When a device with this set is worked on.
    #[must_use]
    pub fn times(&self, set: SetNo) -> &[Span] {
        self.sets.get(set.0 as usize).map_or(&[], |(_, times)| times)
    }

    /// The windows in force for a device with this set at an instant.
    pub fn at(&self, set: SetNo, t: Millis) -> impl Iterator<Item = &Window> {
        let numbers = self.sets.get(set.0 as usize).map_or(&[][..], |(numbers, _)| numbers);
        let windows = numbers.iter().filter_map(|number| self.windows.get(usize::from(*number)));
        windows.filter(move |window| window.span.holds(t))
    }

    fn set_of(&self, numbers: &[u16]) -> (Vec<u16>, Vec<Span>) {
        let spans = numbers.iter().map(|number| self.windows[usize::from(*number)].span);
        (numbers.to_vec(), joined(spans.collect()))
    }
}

impl Registry {
    /// Gives every device the windows that cover it; what they name and is not there is an error.
    pub(crate) fn maintain(&mut self, windows: &[Window], found: &mut Findings) {
        // By device: the numbers of its windows, ascending.
        let mut covering: Vec<(u32, Vec<u16>)> = Vec::new();
        let mut of_device: HashMap<u32, usize> = HashMap::new();
        for (number, window) in (0..).zip(windows) {
            let covered = self.covered(window, found);
            if covered.is_empty() {
                let message = format!("window {} covers no device", window.name);
                let at = At { file: MAINTENANCE, line: window.line };
                found.warning(at, "WINDOW_EMPTY", message, "correct its conditions, or remove it");
            }
            for device in covered {
                let at = *of_device.entry(device).or_insert_with(|| {
                    covering.push((device, Vec::new()));
                    covering.len() - 1
                });
                covering[at].1.push(number);
            }
        }
        self.windows = Windows { windows: windows.to_vec(), ..Windows::default() };
        let mut known: HashMap<Vec<u16>, SetNo> = HashMap::new();
        for (device, numbers) in covering {
            let set = *known.entry(numbers).or_insert_with_key(|numbers| {
                self.windows.sets.push(self.windows.set_of(numbers));
                SetNo(self.windows.sets.len() as u32 - 1)
            });
            self.devices[device as usize].windows = set;
        }
    }

    /// Numbers of the devices that a window covers, each once.
    fn covered(&self, window: &Window, found: &mut Findings) -> Vec<u32> {
        let at = |line: &u32| At { file: MAINTENANCE, line: *line };
        let mut products = Vec::new();
        for (key, line) in &window.covers.products {
            match self.products.iter().position(|product| *product.key == **key) {
                Some(number) => products.push(number as u16),
                None => {
                    let message = format!("no product {key} is loaded");
                    found.error(at(line), "PRODUCT_UNKNOWN", message, "use a productKey");
                }
            }
        }
        let mut devices = Vec::new();
        for (key, line) in &window.covers.devices {
            match self.device(key) {
                Some((number, _)) => devices.push(number.0),
                None => {
                    let message = format!("device {key} is in no list");
                    found.error(at(line), "DEVICE_UNKNOWN", message, "write the key pk/dn of one");
                }
            }
        }
        devices.sort_unstable();
        devices.dedup();
        let holds = |number: &u32| window.covers.holds(&self.devices[*number as usize], &products);
        match window.covers.devices.is_empty() {
            true => (0..self.devices.len() as u32).filter(holds).collect(),
            false => devices.into_iter().filter(holds).collect(),
        }
    }
}

#[cfg(test)]
#[path = "maintenance_tests.rs"]
pub(crate) mod tests;
