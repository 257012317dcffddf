//! Preflight: every village × category × mode must end at a unit that somebody answers for.
//!
//! The climb is that of dispatch, but for the hour: a unit counts when it has a roster or a contact at all.

use super::District;
use super::files::{At, Findings, POLICIES};
use crate::policy::{Lead, Mode, Policy};

/// Units tried at most; the tree has five tiers, and a department stands before it.
const CLIMB_MAX: usize = 6;

/// Walks all combinations; gaps of one category and mode are told once, with how many villages they hit.
pub(super) fn check(district: &District, found: &mut Findings) {
    for category in district.categories.all() {
        for mode in Mode::ALL {
            let mut gap: Option<(u32, Vec<u32>, usize)> = None;
            for village in district.cell_units() {
                let id = &district.tree.units[village as usize].id;
                let Some(policy) = district.resolve_policy(&category.code, id, mode) else {
                    continue;
                };
                let tried = climb(district, &policy, village);
                if tried.last().is_some_and(|last| answers(district, *last)) {
                    continue;
                }
                let line =
                    policy.sources.iter().find(|it| it.field == "lead").map_or(0, |it| it.line);
                gap.get_or_insert((line, tried, 0)).2 += 1;
            }
            let Some((line, tried, villages)) = gap else { continue };
            let names: Vec<_> =
                tried.iter().map(|number| &*district.tree.units[*number as usize].id).collect();
            let message = format!(
                "category {} in mode {} reaches nobody from {villages} villages; tried {}",
                category.code,
                mode.as_str(),
                names.join(" > ")
            );
            let remedy = "give one of these units a roster in duty.yaml or a contact";
            found.error(At { file: POLICIES, line }, "UNREACHABLE", message, remedy);
        }
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
