//! Policies: who leads, who assists and how fast, by category, place and mode (incidents, section 8).
//!
//! All policies that match are merged field by field from the least to the most specific; two of equal specificity for
//! one point are an error of the files. The merged record with the source of each field is one [`Policy`]; it never
//! changes, and its id is the hash of its content. Every combination is merged at load, so a lookup is two hash
//! lookups and an index.

mod budget;
mod content;
mod fields;
mod merge;
mod read;

use std::sync::Arc;

use crate::district::{Tier, UnitId};
use crate::ids::Id;

pub use budget::Budget;
pub(crate) use merge::{Classes, Policies};
pub(crate) use read::{Known, PolicyFile, read};

/// 平 and the four emergency levels, from ordinary to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// 平
    Ordinary,
    /// 蓝
    IV,
    /// 黄
    III,
    /// 橙
    II,
    /// 红
    I,
}

impl Mode {
    /// All modes, from ordinary to I.
    pub const ALL: [Self; 5] = [Self::Ordinary, Self::IV, Self::III, Self::II, Self::I];

    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::IV => "IV",
            Self::III => "III",
            Self::II => "II",
            Self::I => "I",
        }
    }
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lead {
    /// The ancestor of the place at the start tier.
    Place,
    /// Who maintains the asset.
    AssetMaintainer,
    /// Who owns the asset.
    AssetOwner,
    /// A named unit.
    Unit(UnitId),
    /// The district's command post.
    CommandPost,
}

/// Who assists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A named unit.
    Unit(UnitId),
    /// The ancestor of the place at a tier.
    PlaceAt(Tier),
}

/// A task beside the lead's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Assist {
    /// Whose it is.
    pub who: Who,
    /// Must be done or waived before feedback.
    pub mandatory: bool,
}

/// A named part of the incident's time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Milestone {
    /// Name.
    pub name: String,
    /// When it is due, from filing on.
    pub budget: Budget,
}

/// Evidence that is asked for: a kind and how many of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// Kind, e.g. `photo`.
    pub kind: String,
    /// At least this many.
    pub count: u32,
}

/// The merged policy of one category, place and mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Hash of the content.
    pub id: Id,
    /// Where a place-led incident starts.
    pub start_tier: Tier,
    /// Who leads.
    pub lead: Lead,
    /// Who assists.
    pub assists: Vec<Assist>,
    /// 签收时限
    pub ack: Budget,
    /// 处置时限
    pub handle: Budget,
    /// 结案时限; as `handle` if absent.
    pub incident: Option<Budget>,
    /// Named parts of the incident's time.
    pub milestones: Vec<Milestone>,
    /// Calendar of the working budgets.
    pub calendar: Option<Arc<str>>,
    /// Accepted by the system.
    pub auto_accept: bool,
    /// Filed by the system.
    pub auto_file: bool,
    /// Closed by the system when the sensor has recovered.
    pub auto_check: bool,
    /// Level at opening, 1 (特别重大) to 4 (一般).
    pub level: Option<u8>,
    /// 自处置 allowed.
    pub self_handle_ok: bool,
    /// Evidence of a feedback.
    pub evidence_feedback: Vec<Evidence>,
    /// Evidence of a closing.
    pub evidence_close: Vec<Evidence>,
    /// Fields that must be equal for a signal to join: category, asset, device, place.
    pub group_key: Vec<String>,
    /// How far a signal without the same asset may be away to join.
    pub group_radius_m: u32,
    /// How long after the last signal another one may join.
    pub group_window_ms: i64,
    /// Signals needed to open.
    pub min_count: u32,
    /// Within which time.
    pub count_window_ms: i64,
    /// Within how many days after closing a new incident is a recurrence.
    pub recurrence_days: u32,
    /// Storm it may be folded into.
    pub storm_group: Option<String>,
    /// Never folded.
    pub storm_exempt: bool,
    /// Signals older than this at reception are late.
    pub late_max_ms: i64,
    /// A late signal opens an incident all the same.
    pub late_opens: bool,
    /// Rungs of its clocks.
    pub rungs: Arc<str>,
    /// 受理时限
    pub intake: Budget,
    /// 核实时限
    pub verify: Budget,
    /// 立案时限
    pub file: Budget,
    /// 派遣时限
    pub dispatch: Budget,
    /// 核查时限
    pub check: Budget,
    /// Where each field comes from.
    pub sources: Vec<Source>,
}

/// Where a field of a merged policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the field in policies.yaml, dotted.
    pub field: &'static str,
    /// What the policy matches: `category / area / mode`, `*` for all.
    pub selector: Arc<str>,
    /// Its line in policies.yaml; 0 in a policy read back from a store.
    pub line: u32,
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
