//! The ledger's words: stages, rows and the equation of each stage (contract §5).
//!
//! Every role keeps its own plain counters and puts them into [`Counters`] to be stored, compared and shown. A counter
//! only grows; [`Counters::imbalance`] is zero at any time for a stage whose counters were taken together.

use std::collections::BTreeMap;

/// A stage of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// G: per process life.
    Gateway,
    /// L
    Log,
    /// R
    Router,
    /// Q
    Quarantine,
    /// H
    History,
    /// C
    Centre,
    /// I
    Incidents,
    /// W: per consumer.
    Watch,
    /// F
    Sink,
    /// D
    Commands,
}

impl Stage {
    /// All stages in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::Gateway,
        Self::Log,
        Self::Router,
        Self::Quarantine,
        Self::History,
        Self::Centre,
        Self::Incidents,
        Self::Watch,
        Self::Sink,
        Self::Commands,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Log => "log",
            Self::Router => "router",
            Self::Quarantine => "quarantine",
            Self::History => "history",
            Self::Centre => "centre",
            Self::Incidents => "incidents",
            Self::Watch => "watch",
            Self::Sink => "sink",
            Self::Commands => "commands",
        }
    }

    /// The inverse of [`Stage::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }

    /// The rows on both sides of the stage's equation.
    #[must_use]
    pub const fn equation(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Gateway => (&["received"], &["appended", "refused", "shed", "in_flight"]),
            Self::Log => (&["appended"], &["retained", "expired"]),
            Self::Router => {
                (&["raw"], &["routed", "quarantined", "duplicate", "rejected", "pending"])
            }
            Self::Quarantine => (&["quarantined"], &["held", "replayed", "discarded", "expired"]),
            Self::History => (&["readings"], &["stored", "duplicate", "pending"]),
            Self::Centre => (
                &["signals"],
                &[
                    "opened",
                    "attached",
                    "member",
                    "candidate",
                    "silenced",
                    "cleared",
                    "cleared_nothing",
                    "late",
                    "rejected",
                    "duplicate",
                    "pending",
                ],
            ),
            Self::Incidents => {
                (&["opened"], &["open", "closed", "evaluated", "declined", "voided", "merged"])
            }
            Self::Watch => (&["in_scope"], &["delivered", "pending"]),
            Self::Sink => (&["matched"], &["delivered", "dead_letter", "pending"]),
            Self::Commands => {
                (&["created"], &["succeeded", "failed", "timeout", "expired", "cancelled", "open"])
            }
        }
    }
}

/// The key of a counter: stage, row, reason (empty where the row has none).
pub type Key = (Stage, String, String);

/// Counters of any stages, taken at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<Key, u64>);

impl Counters {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to a row; zero makes the row visible.
    pub fn add(&mut self, stage: Stage, row: &str, reason: &str, count: u64) {
        *self.0.entry((stage, row.to_owned(), reason.to_owned())).or_default() += count;
    }

    /// Adds all of `other`: partitions of one stage, or stages of one hub.
    pub fn merge(&mut self, other: &Self) {
        for (key, count) in &other.0 {
            *self.0.entry(key.clone()).or_default() += count;
        }
    }

    /// What was added since `earlier`; a counter that shrank counts from zero.
    #[must_use]
    pub fn diff(&self, earlier: &Self) -> Self {
        let since = |(key, count): (&Key, &u64)| {
            let before = earlier.0.get(key).copied().unwrap_or(0);
            (key.clone(), count.checked_sub(before).unwrap_or(*count))
        };
        Self(self.0.iter().map(since).collect())
    }

    /// Sum of a row over its reasons.
    #[must_use]
    pub fn row(&self, stage: Stage, row: &str) -> u64 {
        let of_row = self.0.iter().filter(|((s, r, _), _)| *s == stage && r == row);
        of_row.map(|(_, count)| *count).sum()
    }

    /// One row with one reason.
    #[must_use]
    pub fn get(&self, stage: Stage, row: &str, reason: &str) -> u64 {
        self.0.get(&(stage, row.to_owned(), reason.to_owned())).copied().unwrap_or(0)
    }

    /// All counters by stage, row and reason.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, &str, &str, u64)> {
        self.0.iter().map(|((stage, row, reason), count)| (*stage, &**row, &**reason, *count))
    }

    /// Left less right side of the stage's equation; zero when every record has exactly one fate.
    #[must_use]
    pub fn imbalance(&self, stage: Stage) -> i128 {
        let (left, right) = stage.equation();
        let sum = |rows: &[&str]| rows.iter().map(|row| i128::from(self.row(stage, row))).sum();
        let (left, right): (i128, i128) = (sum(left), sum(right));
        left - right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balance_merge_and_diff() {
        let mut one = Counters::new();
        one.add(Stage::Router, "raw", "", 10);
        one.add(Stage::Router, "routed", "", 7);
        one.add(Stage::Router, "quarantined", "CODEC", 1);
        one.add(Stage::Router, "quarantined", "SCHEMA", 1);
        assert_eq!(one.imbalance(Stage::Router), 1);
        one.add(Stage::Router, "rejected", "REPLAY", 1);
        assert_eq!(one.imbalance(Stage::Router), 0);
        let mut both = one.clone();
        both.merge(&one);
        assert_eq!(both.row(Stage::Router, "quarantined"), 4);
        assert_eq!(both.get(Stage::Router, "quarantined", "CODEC"), 2);
        assert_eq!(both.diff(&one), one);
        assert_eq!(Stage::parse("centre"), Some(Stage::Centre));
    }
}
