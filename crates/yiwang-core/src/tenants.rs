//! Tenants: whose devices share the way in, and what share each has when there is less room than is sent.
//!
//! A tenant is who owns a device (权属单位): its own entry, else its asset's, else the town it stands in. `tenants.yaml`
//! gives weights; a district without the file treats all alike. Life safety is no matter of weight: a product is of that
//! lane if one of its alarms or events has a category that policies exempt from storm folding.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::district::files::{self, At, FileSet, Findings, TENANTS};
use crate::district::{District, UnitId};
use crate::problem::Problem;
use crate::registry::{Device, Registry};
use crate::thing::Product;

/// Largest weight; the smallest is 1.
pub const WEIGHT_MAX: u32 = 1_000;

/// What share each tenant has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants {
    weight: u32,
    weights: BTreeMap<UnitId, u32>,
}

impl Default for Tenants {
    fn default() -> Self {
        Self { weight: 1, weights: BTreeMap::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    weight: Spanned<u32>,
    #[serde(default)]
    tenants: Vec<RawTenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTenant {
    unit: Spanned<String>,
    weight: Spanned<u32>,
}

impl Tenants {
    /// Reads the shares of a district; every problem with its line, `None` on any error.
    #[must_use]
    pub fn load(files: &FileSet, district: &District) -> (Option<Self>, Vec<Problem>) {
        if !files.contains_key(TENANTS) {
            return (Some(Self::default()), Vec::new());
        }
        let mut found = Findings::default();
        let raw = files::yaml::<RawFile>(files, TENANTS, &mut found);
        let tenants = raw.map(|raw| check(&raw, district, &mut found));
        (tenants.filter(|_| !found.has_errors()), found.problems)
    }

    /// The weight of a tenant.
    #[must_use]
    pub fn weight(&self, tenant: &str) -> u32 {
        self.weights.get(tenant).copied().unwrap_or(self.weight)
    }

    /// The weight of whoever is not listed.
    #[must_use]
    pub fn weight_of_others(&self) -> u32 {
        self.weight
    }
}

fn check(raw: &RawFile, district: &District, found: &mut Findings) -> Tenants {
    let mut tenants = Tenants { weight: weight(&raw.weight, found), weights: BTreeMap::new() };
    for RawTenant { unit, weight: of } in &raw.tenants {
        let weight = weight(of, found);
        let Some(known) = district.unit(&unit.value) else {
            let message = format!("no unit {}", unit.value);
            found.error(at(unit), "UNKNOWN_UNIT", message, "name a unit that owns devices");
            continue;
        };
        if tenants.weights.insert(known.id.clone(), weight).is_some() {
            let message = format!("{} stands above already", unit.value);
            found.error(at(unit), "ID_DUPLICATE", message, "remove one of the two");
        }
    }
    tenants
}

fn weight(raw: &Spanned<u32>, found: &mut Findings) -> u32 {
    if !(1..=WEIGHT_MAX).contains(&raw.value) {
        let message = format!("weight {} is out of 1 to {WEIGHT_MAX}", raw.value);
        found.error(at(raw), "NUMBER_INVALID", message, "correct it");
    }
    raw.value.clamp(1, WEIGHT_MAX)
}

fn at<T>(value: &Spanned<T>) -> At {
    files::at(TENANTS, value)
}

impl Registry {
    /// Whose device it is: its own entry, else its asset's, else its town, else the district.
    #[must_use]
    pub fn tenant(&self, device: &Device) -> UnitId {
        let own = device.extra.as_ref().and_then(|extra| extra.owner_unit.clone());
        let of_asset =
            || self.district.as_ref()?.asset(device.asset.as_deref()?)?.owner_unit.clone();
        let place = &device.place;
        own.or_else(of_asset)
            .or_else(|| place.town.clone())
            .unwrap_or_else(|| place.district.clone())
    }

    /// Whether lives may hang on a product's alarms: one of its categories is exempt from storm folding.
    #[must_use]
    pub fn is_life_safety(&self, product: &Product) -> bool {
        let Some(district) = self.district.as_deref() else { return false };
        let alarms = product.alarms.iter().map(|alarm| &*alarm.category);
        let events = product.events.iter().filter_map(|event| event.category.as_deref());
        alarms.chain(events).any(|category| district.is_storm_exempt(category))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::fixture;

    const SHIPPED: &str = include_str!("../../../config/district/tenants.yaml");

    fn load(text: &str) -> (Option<Tenants>, Vec<String>) {
        let files = FileSet::from([("tenants.yaml".to_owned(), text.to_owned())]);
        let (tenants, problems) = Tenants::load(&files, &fixture::DISTRICT);
        (tenants, problems.iter().map(|it| format!("{} {}", it.line, it.code)).collect())
    }

    #[test]
    fn weights_are_data() {
        let (tenants, problems) = load(SHIPPED);
        assert_eq!(problems, Vec::<String>::new());
        let tenants = tenants.unwrap();
        assert_eq!(tenants.weight("company:gas"), 4);
        assert_eq!(tenants.weight("310118001"), tenants.weight_of_others());
        let (none, _) = Tenants::load(&FileSet::new(), &fixture::DISTRICT);
        assert_eq!(none, Some(Tenants::default()));
        let wrong = [
            ("weight: 0\n", "1 NUMBER_INVALID"),
            ("weight: 1\ntenants:\n  - {unit: company:none, weight: 2}\n", "3 UNKNOWN_UNIT"),
            ("weight: 1\ntenants:\n  - {unit: company:gas, weight: 2000}\n", "3 NUMBER_INVALID"),
            ("weight: 1\nshare: 3\n", "2 YAML_INVALID"),
        ];
        for (text, expected) in wrong {
            let (tenants, problems) = load(text);
            assert_eq!(problems, [expected]);
            assert!(tenants.is_none());
        }
    }

    #[test]
    fn life_safety_is_what_no_storm_may_fold() {
        let (registry, _) = fixture::registry(|_, text| text);
        let registry = registry.unwrap();
        let is = |key: &str| registry.is_life_safety(registry.product(key).unwrap());
        assert!(is("smoke-01"));
        assert!(!is("manhole-01") && !is("wl-radar-01"));
        let (_, device) = registry.device("smoke-01/S-0007").unwrap();
        assert_eq!(&*registry.tenant(device), "310118001", "nobody else owns it");
    }
}
