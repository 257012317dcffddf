//! Units: the nodes of the tree, departments and companies.
//!
//! The five tier words are those of the access standard; which of them a district uses, how ids look and who is whose
//! parent is data. Ids are opaque: only `parent` makes the tree.

use std::sync::Arc;

use crate::record::{Millis, Point};

/// Name of a unit of the tree, a department or a company.
pub type UnitId = Arc<str>;

/// A level of the tree; "higher" means nearer to the district, which is the smaller number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// 区城运中心
    District,
    /// 街镇城运中心
    Town,
    /// 联勤联动站
    Station,
    /// 村居工作站
    Village,
    /// 微网格
    Microgrid,
}

impl Tier {
    /// All tiers, from the district downwards.
    pub const ALL: [Self; 5] =
        [Self::District, Self::Town, Self::Station, Self::Village, Self::Microgrid];

    /// DISTRICT 0 to MICROGRID 4.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The published word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::District => "district",
            Self::Town => "town",
            Self::Station => "station",
            Self::Village => "village",
            Self::Microgrid => "microgrid",
        }
    }

    /// The inverse of [`Tier::as_str`]; policies write the words in capitals, which is read alike.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str().eq_ignore_ascii_case(text))
    }
}

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// A node of the tree.
    Tree(Tier),
    /// 委办局
    Department,
    /// 企业
    Company,
}

impl UnitKind {
    /// The tier word, `department` or `company`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tree(tier) => tier.as_str(),
            Self::Department => "department",
            Self::Company => "company",
        }
    }

    /// The inverse of [`UnitKind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "department" => Some(Self::Department),
            "company" => Some(Self::Company),
            _ => Tier::ALL.into_iter().find(|tier| tier.as_str() == text).map(Self::Tree),
        }
    }
}

/// A node of the tree, a department or a company that can be responsible.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Id, never reused.
    pub id: UnitId,
    /// What it is.
    pub kind: UnitKind,
    /// The unit above; none for the root, departments and companies.
    pub parent: Option<UnitId>,
    /// Name for people.
    pub name: String,
    /// English name; empty for units of the tree.
    pub name_en: String,
    /// Its point, in the district's datum.
    pub point: Option<Point>,
    /// Working calendar of its own, for working budgets.
    pub calendar: Option<String>,
    /// How it is reached.
    pub contact: Option<String>,
    /// Official codes it covers, for villages.
    pub covers: Vec<String>,
    /// What of it is invented: `all`, or some of parent, point, covers, contact; empty when real.
    pub synthetic: Vec<String>,
    /// Since when it exists; none for ever.
    pub valid_from: Option<Millis>,
    /// When it ended.
    pub valid_to: Option<Millis>,
}

impl Unit {
    /// Whether anything of it is invented.
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        !self.synthetic.is_empty()
    }

    /// Whether it exists at a time.
    #[must_use]
    pub fn is_valid(&self, at: Millis) -> bool {
        self.valid_from.is_none_or(|from| from <= at) && self.valid_to.is_none_or(|to| at < to)
    }

    /// Its tier, for units of the tree.
    #[must_use]
    pub const fn tier(&self) -> Option<Tier> {
        match self.kind {
            UnitKind::Tree(tier) => Some(tier),
            UnitKind::Department | UnitKind::Company => None,
        }
    }
}

/// A unit of the tree with everything above it, tier by tier; tiers that a district does not have are absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AreaPath {
    /// The root.
    pub district: UnitId,
    /// Town.
    pub town: Option<UnitId>,
    /// Station.
    pub station: Option<UnitId>,
    /// Village.
    pub village: Option<UnitId>,
    /// Micro-grid.
    pub grid: Option<UnitId>,
}

impl AreaPath {
    /// The unit whose path this is.
    #[must_use]
    pub fn deepest(&self) -> &UnitId {
        let deeper = self.grid.as_ref().or(self.village.as_ref());
        deeper.or(self.station.as_ref()).or(self.town.as_ref()).unwrap_or(&self.district)
    }

    /// The unit at a tier.
    #[must_use]
    pub const fn at(&self, tier: Tier) -> Option<&UnitId> {
        match tier {
            Tier::District => Some(&self.district),
            Tier::Town => self.town.as_ref(),
            Tier::Station => self.station.as_ref(),
            Tier::Village => self.village.as_ref(),
            Tier::Microgrid => self.grid.as_ref(),
        }
    }
}
