//! Preflight: every village × category × mode must end at a unit that somebody answers for.
//!
//! The climb is that of dispatch, but for the hour: a unit counts when it has a roster or a contact at all.

use std::sync::Arc;

use super::District;
use super::files::{At, Findings, POLICIES};
use crate::policy::{Lead, Mode, Policy};

/// Units tried at most; the tree has five tiers, and a department stands before it.
const CLIMB_MAX: usize = 6;

/// Walks all combinations. A gap is told once per category and climb, with its modes and how many villages it hits.
pub(super) fn check(district: &District, found: &mut Findings) {
    for category in district.categories.all() {
        let mut gaps: Vec<Gap> = Vec::new();
        for mode in Mode::ALL {
            for village in district.cell_units() {
                let id = &district.tree.units[village as usize].id;
                let Some(policy) = district.resolve_policy(&category.code, id, mode) else {
                    continue;
                };
                let tried = climb(district, &policy, village);
                // No unit tried: the policy names an unknown one, which has been told.
                if tried.last().is_none_or(|last| answers(district, *last)) {
                    continue;
                }
                let known = gaps.iter_mut().find(|gap| gap.policy.id == policy.id);
                match known {
                    Some(gap) => gap.add(mode),
                    None => gaps.push(Gap { policy, tried, modes: vec![mode], count: 1 }),
                }
            }
        }
        for gap in gaps {
            gap.tell(district, &category.code, found);
        }
    }
}

/// Villages and modes from which a policy reaches nobody.
struct Gap {
    policy: Arc<Policy>,
    tried: Vec<u32>,
    modes: Vec<Mode>,
    count: usize,
}

impl Gap {
    fn add(&mut self, mode: Mode) {
        self.count += 1;
        if self.modes.last() != Some(&mode) {
            self.modes.push(mode);
        }
    }

    fn tell(&self, district: &District, category: &str, found: &mut Findings) {
        let source = self.policy.sources.iter().find(|source| source.field == "lead");
        let line = source.map_or(0, |source| source.line);
        let units = self.tried.iter().map(|number| &*district.tree.units[*number as usize].id);
        let modes: Vec<_> = self.modes.iter().map(|mode| mode.as_str()).collect();
        let message = format!(
            "category {category} reaches nobody in {} combinations of village and mode ({}); \
             tried e.g. {}",
            self.count,
            modes.join(", "),
            units.collect::<Vec<_>>().join(" > ")
        );
        let remedy = "give one of these units a roster in duty.yaml or a contact";
        found.error(At { file: POLICIES, line }, "UNREACHABLE", message, remedy);
    }
}

/// The units tried from the wanted one upwards, up to the first that answers.
fn climb(district: &District, policy: &Policy, village: u32) -> Vec<u32> {
    let tree = &district.tree;
    let wanted = match &policy.lead {
        Lead::Unit(unit) => tree.number(unit),
        Lead::CommandPost => tree.number(&district.command_post),
        // Owners and maintainers are the assets' own; an asset without one goes on as its place.
        Lead::Place | Lead::AssetMaintainer | Lead::AssetOwner => {
            let below =
                |number: &u32| tree.units[*number as usize].tier() <= Some(policy.start_tier);
            tree.chain(Some(village)).find(below)
        }
    };
    let mut tried = Vec::new();
    let mut next = wanted;
    while let Some(number) = next.filter(|_| tried.len() < CLIMB_MAX) {
        tried.push(number);
        if answers(district, number) {
            break;
        }
        let in_tree = tree.units[number as usize].tier().is_some();
        next = if in_tree { tree.above[number as usize] } else { desk(district, village) };
    }
    tried
}

/// The town of a village, or the district if it has none.
fn desk(district: &District, village: u32) -> Option<u32> {
    let path = district.tree.paths[village as usize].as_ref()?;
    district.tree.number(path.town.as_ref().unwrap_or(&path.district))
}

fn answers(district: &District, number: u32) -> bool {
    let unit = &district.tree.units[number as usize];
    unit.contact.is_some() || !district.rosters.of(number).is_empty()
}
