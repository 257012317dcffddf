//! JUMP and STUCK: findings on a value that need the one before it (devices 4.4: kept, flagged, rules run).
//!
//! Owns what a product asks for, and the newest in-order value of the properties it asks it for; other products and
//! properties cost nothing. Late values are compared with nothing: their neighbours are not at hand.

use super::bytes::{Damaged, Reader, Writer};
use crate::record::Millis;
use crate::rules::{is_valid, number};
use crate::sample::{Flags, PropertyRef, Samples};
use crate::thing::Product;

/// What a product wants to know of the changes of one property.
#[derive(Clone, Debug)]
struct Check {
    identifier: Box<str>,
    /// Fastest believable change per ms.
    rate_max: Option<f64>,
    /// Longest believable time without a change.
    stuck_after: Option<Millis>,
}

/// The checks of one product.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    /// Number of the check by property index; `u16::MAX` = none. Empty where the product asks for none at all.
    of_property: Box<[u16]>,
    checks: Vec<Check>,
}

/// The newest in-order value of a property.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    value: f64,
    t: Millis,
    /// Since when it has been the same.
    since: Millis,
}

impl Latest {
    const NONE: Self = Self { value: f64::NAN, t: Millis::MIN, since: Millis::MIN };
}

impl Checks {
    pub(super) fn of(product: &Product) -> Self {
        let mut of_property = vec![u16::MAX; product.properties.len()];
        let mut checks = Vec::new();
        for (place, property) in of_property.iter_mut().zip(&product.properties) {
            if property.max_rate.is_some() || property.stuck_after.is_some() {
                *place = checks.len() as u16;
                checks.push(Check {
                    identifier: property.identifier.clone(),
                    rate_max: property.max_rate,
                    stuck_after: property.stuck_after,
                });
            }
        }
        if checks.is_empty() {
            return Self::default();
        }
        Self { of_property: of_property.into(), checks }
    }

    /// What is remembered of a device that has sent nothing.
    pub(super) fn nothing(&self) -> Box<[Latest]> {
        vec![Latest::NONE; self.checks.len()].into()
    }

    /// Flags the values of a report, set by set in ascending time.
    #[inline]
    pub(super) fn judge(&self, latest: &mut [Latest], samples: &mut Samples) {
        if self.checks.is_empty() {
            return;
        }
        let Samples { sets, values, .. } = samples;
        for set in sets {
            let range = set.values.start as usize..set.values.end as usize;
            for sampled in values.get_mut(range).unwrap_or_default() {
                let PropertyRef::Known(property) = sampled.property else { continue };
                let place = self.of_property.get(usize::from(property)).copied();
                let place = usize::from(place.unwrap_or(u16::MAX));
                let (Some(check), Some(latest)) = (self.checks.get(place), latest.get_mut(place))
                else {
                    continue;
                };
                if let Some(value) = number(sampled.value).filter(|_| is_valid(sampled)) {
                    sampled.flags.add(check.judge(latest, set.t, value));
                }
            }
        }
    }

    pub(super) fn encode(&self, to: &mut Writer) {
        to.count(self.checks.len());
        self.checks.iter().for_each(|check| to.text(&check.identifier));
    }

    /// What a device's state becomes under these checks; `names` says what its places meant.
    pub(super) fn translate(&self, names: &[&str], old: &[Latest]) -> Box<[Latest]> {
        let find = |check: &Check| {
            let place = names.iter().position(|name| **name == *check.identifier);
            place.and_then(|place| old.get(place)).copied().unwrap_or(Latest::NONE)
        };
        self.checks.iter().map(find).collect()
    }
}

impl Check {
    fn judge(&self, latest: &mut Latest, t: Millis, value: f64) -> Flags {
        let mut flags = Flags::default();
        if t <= latest.t {
            return flags;
        }
        let before = std::mem::replace(latest, Latest { value, t, since: t });
        if before.t == Millis::MIN {
            return flags;
        }
        if value == before.value {
            latest.since = before.since;
            if self.stuck_after.is_some_and(|longest| t.saturating_sub(before.since) > longest) {
                flags.add(Flags::STUCK);
            }
        }
        let change = (value - before.value).abs();
        if self.rate_max.is_some_and(|rate| change > rate * t.saturating_sub(before.t) as f64) {
            flags.add(Flags::JUMP);
        }
        flags
    }
}

pub(super) fn encode(latest: &[Latest], to: &mut Writer) {
    to.count(latest.len());
    for one in latest {
        to.float(one.value);
        to.int(one.t);
        to.int(one.since);
    }
}

pub(super) fn decode(from: &mut Reader<'_>) -> Result<Vec<Latest>, Damaged> {
    from.list(|r| Ok(Latest { value: r.float()?, t: r.int()?, since: r.int()? }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Judged over the whole history: what a value is flagged with, given every value before it as received.
    fn slow(history: &[(Millis, f64)], (t, value): (Millis, f64), check: &Check) -> Flags {
        let mut flags = Flags::default();
        let mut in_order: Vec<(Millis, f64)> = Vec::new();
        for one in history {
            if in_order.last().is_none_or(|last| one.0 > last.0) {
                in_order.push(*one);
            }
        }
        let Some(last) = in_order.last().filter(|last| t > last.0) else { return flags };
        if (value - last.1).abs() > check.rate_max.unwrap() * (t - last.0) as f64 {
            flags.add(Flags::JUMP);
        }
        let same = in_order.iter().rev().take_while(|one| one.1 == value).last();
        if same.is_some_and(|first| t - first.0 > check.stuck_after.unwrap()) {
            flags.add(Flags::STUCK);
        }
        flags
    }

    proptest! {
        #[test]
        fn flags_equal_those_of_the_whole_history(
            values in prop::collection::vec((-3..8_i64, 0..4_u8), 1..60),
        ) {
            let check =
                Check { identifier: "a".into(), rate_max: Some(0.4), stuck_after: Some(9) };
            let (mut latest, mut history, mut now) = (Latest::NONE, Vec::new(), 1_000);
            for (ahead, value) in values {
                let (t, value) = (now + ahead, f64::from(value));
                now = now.max(t);
                let flags = check.judge(&mut latest, t, value);
                prop_assert_eq!(flags, slow(&history, (t, value), &check));
                history.push((t, value));
            }
        }
    }
}
