//! Row R of the ledger for one partition, as plain integers.
//!
//! Part of the partition's state, so that they are exact after a crash: a replay counts what it repeats from the
//! snapshot's figures on. Every record that a device said adds one to `raw` and
//! one to exactly one fate; ticks and operators' clears are counted apart.

use super::bytes::{Damaged, Reader, Writer};
use super::{Fate, Rejection};
use crate::ledger::{Counters, Stage};
use crate::record::QuarantineReason;

/// What happened to the records of a partition since the log began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteCounters {
    /// Raw records of devices: ticks and operators' clears are not counted.
    pub raw: u64,
    /// Understood.
    pub routed: u64,
    /// By [`QuarantineReason::ALL`].
    pub quarantined: [u64; QuarantineReason::ALL.len()],
    /// Their id was in the window.
    pub duplicate: u64,
    /// By [`Rejection::ALL`].
    pub rejected: [u64; Rejection::ALL.len()],
    /// Heartbeats.
    pub ticks: u64,
    /// Duplicates with another content.
    pub content_differs: u64,
    /// Readings made.
    pub readings: u64,
    /// Signals made.
    pub signals: u64,
    /// Values left out by `unknown: drop`.
    pub values_dropped: u64,
    /// Items of packs that were routed, outside of the sum.
    pub items: u64,
    /// Of them: quarantined, a row each.
    pub item_quarantined: u64,
    /// Of them: seen before.
    pub item_duplicate: u64,
    /// Of them: understood and refused by policy.
    pub item_rejected: u64,
    /// Signals of absences, and what else was said of them, handed to who sees whole groups.
    pub lifecycle: u64,
    /// Operators' clears, outside of the sum as ticks are.
    pub clears: u64,
    /// Of them: no such alarm stood, or nobody knows the device or the rule.
    pub clears_void: u64,
    /// How often births of a Sparkplug edge node were wanted, at most once a minute each.
    pub rebirths_wanted: u64,
}

impl RouteCounters {
    pub(super) fn fate(&mut self, fate: Fate) {
        match fate {
            Fate::Tick => {
                self.ticks += 1;
                return;
            }
            Fate::Clear => {
                self.clears += 1;
                return;
            }
            Fate::Routed => self.routed += 1,
            Fate::Quarantined(reason) => {
                let index = QuarantineReason::ALL.iter().position(|r| *r == reason);
                self.quarantined[index.unwrap_or(0)] += 1;
            }
            Fate::Duplicate => self.duplicate += 1,
            Fate::Rejected(reason) => {
                let index = Rejection::ALL.iter().position(|r| *r == reason);
                self.rejected[index.unwrap_or(0)] += 1;
            }
        }
        self.raw += 1;
    }

    /// As rows of the ledger; `pending` raw records are on the log and not yet read.
    #[must_use]
    pub fn to_ledger(&self, pending: u64) -> Counters {
        let mut all = Counters::new();
        let mut add = |row, reason, count| all.add(Stage::Router, row, reason, count);
        add("raw", "", self.raw + pending);
        add("routed", "", self.routed);
        for (reason, count) in QuarantineReason::ALL.iter().zip(self.quarantined) {
            add("quarantined", reason.as_str(), count);
        }
        add("duplicate", "", self.duplicate);
        for (reason, count) in Rejection::ALL.iter().zip(self.rejected) {
            add("rejected", reason.as_str(), count);
        }
        add("pending", "", pending);
        add("ticks", "", self.ticks);
        add("clears", "", self.clears);
        add("clears_void", "", self.clears_void);
        add("content_differs", "", self.content_differs);
        add("readings", "", self.readings);
        add("signals", "", self.signals);
        add("lifecycle", "", self.lifecycle);
        add("values_dropped", "", self.values_dropped);
        add("items", "", self.items);
        add("item_quarantined", "", self.item_quarantined);
        add("item_duplicate", "", self.item_duplicate);
        add("item_rejected", "", self.item_rejected);
        add("rebirths_wanted", "", self.rebirths_wanted);
        all
    }

    fn all(&mut self) -> impl Iterator<Item = &mut u64> {
        let one = [&mut self.raw, &mut self.routed, &mut self.duplicate, &mut self.ticks];
        let two = [
            &mut self.content_differs,
            &mut self.readings,
            &mut self.signals,
            &mut self.values_dropped,
        ];
        // Later ones at the end: older snapshots have fewer.
        let items = [
            &mut self.items,
            &mut self.item_quarantined,
            &mut self.item_duplicate,
            &mut self.item_rejected,
            &mut self.rebirths_wanted,
            &mut self.lifecycle,
            &mut self.clears,
            &mut self.clears_void,
        ];
        let fates = one.into_iter().chain(two).chain(&mut self.quarantined);
        fates.chain(&mut self.rejected).chain(items)
    }

    pub(super) fn encode(&self, to: &mut Writer) {
        let mut copy = self.clone();
        to.count(copy.all().count());
        for count in copy.all() {
            to.uint(*count);
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut read = Self::default();
        let counts = from.list(Reader::uint)?;
        for (to, count) in read.all().zip(counts) {
            *to = count;
        }
        Ok(read)
    }
}
