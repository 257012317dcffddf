//! Who leads and who assists (incidents, section 9): a pure choice over district, incident and
//! policy.
//!
//! Invariant: the same inputs give the same units. Absent units are skipped at once, each with its
//! reason; a coarse place is never guessed downward; an excluded unit is never picked unless a
//! binding decision names it.

use super::rows::{Incident, UnitId};
use super::words::Cause;
use crate::district::{District, Tier, UnitKind};
use crate::policy::{Lead, Policy, Who};
use crate::record::Millis;

/// Why a unit is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Its return of this incident was approved.
    ReturnedBefore,
    /// Outside its dates, or unknown.
    NotValid,
    /// Nobody on the roster now.
    OffDuty,
    /// No usable contact.
    Unreachable,
}

impl Blocked {
    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReturnedBefore => "RETURNED_BEFORE",
            Self::NotValid => "NOT_VALID",
            Self::OffDuty => "OFF_DUTY",
            Self::Unreachable => "UNREACHABLE",
        }
    }
}

/// A chosen unit and how it was come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Unit.
    pub unit: UnitId,
    /// Units that were skipped, in order.
    pub skipped: Vec<(UnitId, Blocked)>,
    /// A person chose the unit although it is blocked.
    pub warning: Option<Blocked>,
    /// The policy asks for the asset's owner or maintainer and nobody is named.
    pub owner_unknown: bool,
}

/// Tiers climbed at most; the tree has five.
const CLIMB_MAX: usize = 6;

/// The lead for a cause: the unit chosen, else the one the policy wants, climbed past blocked ones.
#[must_use]
pub fn choose_lead(
    ground: &Ground<'_>,
    incident: &Incident,
    policy: &Policy,
    cause: Cause,
    chosen: Option<UnitId>,
) -> Choice {
    // A person's choice stands, whoever is absent; a climb and the policy's own wish go on upwards.
    let by_person = chosen.is_some() && cause != Cause::AckMissed;
    let (unit, owner_unknown) =
        chosen.map_or_else(|| ground.wanted(incident, policy), |unit| (unit, false));
    let mut choice = Choice { unit, skipped: Vec::new(), warning: None, owner_unknown };
    ground.climb(incident, &mut choice, by_person);
    choice
}

/// The unit for an assist of the policy, climbed past blocked ones like the lead.
#[must_use]
pub fn choose_assist(ground: &Ground<'_>, incident: &Incident, who: &Who) -> UnitId {
    let unit = match who {
        Who::Unit(unit) => unit.clone(),
        Who::PlaceAt(tier) => ground.ancestor_at(&incident.place, *tier),
    };
    let mut choice = Choice { unit, skipped: Vec::new(), warning: None, owner_unknown: false };
    ground.climb(incident, &mut choice, false);
    choice.unit
}

/// The tree as dispatch walks it, at one instant.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The district.
    pub district: &'a District,
    /// When: duty and validity depend on it.
    pub now: Millis,
}

impl Ground<'_> {
    /// The unit that the policy wants, and whether it had to do without a known owner.
    fn wanted(&self, incident: &Incident, policy: &Policy) -> (UnitId, bool) {
        match &policy.lead {
            Lead::CommandPost => return (self.command_post(), false),
            Lead::Unit(unit) => return (unit.clone(), false),
            Lead::Place => {}
            Lead::AssetMaintainer | Lead::AssetOwner => {
                if let Some(unit) = self.asset_unit(incident, &policy.lead) {
                    return (unit, false);
                }
            }
        }
        let unknown = policy.lead != Lead::Place;
        (self.ancestor_at(&incident.place, policy.start_tier), unknown)
    }

    fn asset_unit(&self, incident: &Incident, lead: &Lead) -> Option<UnitId> {
        let asset = self.district.asset(incident.asset.as_deref()?)?;
        let unit = match lead {
            Lead::AssetMaintainer => asset.maintainer_unit.clone(),
            _ => asset.owner_unit.clone(),
        };
        unit.filter(|unit| self.valid(unit))
    }

    fn climb(&self, incident: &Incident, choice: &mut Choice, by_person: bool) {
        for _ in 0..CLIMB_MAX {
            let Some(blocked) = self.blocked(incident, &choice.unit) else { return };
            if choice.unit == *self.district.id() {
                return;
            }
            if by_person && matches!(blocked, Blocked::OffDuty | Blocked::Unreachable) {
                choice.warning = Some(blocked);
                return;
            }
            let up = self.up(incident, &choice.unit);
            choice.skipped.push((std::mem::replace(&mut choice.unit, up), blocked));
        }
    }

    /// Why a unit cannot take the incident now.
    #[must_use]
    pub fn blocked(&self, incident: &Incident, unit: &UnitId) -> Option<Blocked> {
        if incident.excluded.contains(unit) && incident.bound.as_ref() != Some(unit) {
            return Some(Blocked::ReturnedBefore);
        }
        if !self.valid(unit) {
            return Some(Blocked::NotValid);
        }
        if !self.district.on_duty(unit, self.now) {
            return Some(Blocked::OffDuty);
        }
        (!self.district.reachable(unit)).then_some(Blocked::Unreachable)
    }

    /// Whether a unit exists and is within its dates.
    #[must_use]
    pub fn valid(&self, unit: &str) -> bool {
        self.district.unit(unit).is_some_and(|unit| unit.is_valid(self.now))
    }

    /// The next unit up: the parent in the tree; for departments and companies the town of the
    /// place.
    #[must_use]
    pub fn up(&self, incident: &Incident, unit: &str) -> UnitId {
        let root = self.district.id();
        match self.district.unit(unit).map(|unit| (&unit.kind, &unit.parent)) {
            Some((UnitKind::Tree(_), parent)) => parent.as_ref().unwrap_or(root).clone(),
            _ => incident.town.as_ref().unwrap_or(root).clone(),
        }
    }

    /// The ancestor of a place at a tier; the place itself where it is coarser.
    #[must_use]
    pub fn ancestor_at(&self, place: &UnitId, tier: Tier) -> UnitId {
        let at = |unit: &&crate::district::Unit| match unit.kind {
            UnitKind::Tree(own) => own <= tier,
            _ => true,
        };
        self.district.ancestors(place).find(at).map_or_else(|| place.clone(), |u| u.id.clone())
    }

    /// The unit's tier as a number, for tree units.
    #[must_use]
    pub fn tier_number(&self, unit: &str) -> Option<u8> {
        self.district.tier(unit).map(|tier| tier as u8)
    }

    fn command_post(&self) -> UnitId {
        self.district.command_post().clone()
    }
}
