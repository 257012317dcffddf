//! What the rest of the program may ask of a running router: its ledger, whether it has caught up, a new configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use yiwang_core::ledger::{Counters, Stage};
use yiwang_core::outage;
use yiwang_core::record::Millis;
use yiwang_core::route::RouteCounters;
use yiwang_log::Log;

use crate::forward::Forwarded;
use crate::{Bundle, Error, metrics};

/// Where each partition of a topic stands; written once a batch.
#[derive(Debug)]
pub(crate) struct Progress<R = Row>(Mutex<BTreeMap<u16, R>>);

impl<R> Default for Progress<R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub counters: RouteCounters,
    pub forwarded: Forwarded,
    /// Next record to route.
    pub next: u64,
    /// End of the log when the partition was assigned.
    pub target: u64,
    /// Newest time of reception among the records routed so far.
    pub clock: Option<Millis>,
}

impl Row {
    fn unread(&self, head: u64) -> u64 {
        head.saturating_sub(self.next)
    }

    /// Records not routed yet, and the most that the oldest of them can have waited: it came after the newest routed
    /// one. Ticks come every second, so that is no more than a second too much.
    fn lag(&self, head: u64, now: Millis) -> (u64, Millis) {
        let records = self.unread(head);
        let waiting = self.clock.filter(|_| records > 0);
        (records, waiting.map_or(0, |clock| (now - clock).max(0)))
    }
}

/// The same of a partition of `lifecycle`.
#[derive(Clone, Debug)]
pub(crate) struct StormRow {
    pub counts: outage::Counts,
    pub held: u64,
    /// Rows that wait for other partitions.
    pub waiting: u64,
    pub forwarded: Forwarded,
    /// Next record to fold.
    pub next: u64,
}

impl<R> Progress<R> {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<u16, R>) -> T) -> T {
        // Rows are replaced whole, so a panic elsewhere leaves none half written.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn put(&self, partition: u16, row: R) {
        self.with(|rows| rows.insert(partition, row));
    }

    pub(crate) fn put_all(&self, added: Vec<(u16, R)>) {
        self.with(|rows| rows.extend(added));
    }

    pub(crate) fn remove(&self, partition: u16) {
        self.with(|rows| rows.remove(&partition));
    }
}

impl Progress {
    /// Whether every partition has replayed what lay on the log when it was assigned; false without any.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.with(|rows| !rows.is_empty() && rows.values().all(|row| row.next >= row.target))
    }
}

/// A running router, from outside.
#[derive(Clone, Debug)]
pub struct Handle {
    bundles: Arc<watch::Sender<Arc<Bundle>>>,
    progress: Arc<Progress>,
    storms: Arc<Progress<StormRow>>,
    log: Log,
}

impl Handle {
    pub(crate) fn new(
        bundles: watch::Sender<Arc<Bundle>>,
        (progress, storms): (Arc<Progress>, Arc<Progress<StormRow>>),
        log: Log,
    ) -> Self {
        Self { bundles: Arc::new(bundles), progress, storms, log }
    }

    /// Puts another configuration in force, on every partition from its next batch on.
    ///
    /// # Errors
    /// Its routes name a topic that the log was opened without: the one in force stays, a new topic needs a restart.
    pub fn swap(&self, bundle: Arc<Bundle>) -> Result<(), Error> {
        bundle.find_topics(&self.log)?;
        self.bundles.send_replace(bundle);
        Ok(())
    }

    /// Whether every assigned partition has replayed what lay on the log when it was assigned; false before the first.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.progress.is_caught_up()
    }

    /// How many partitions are this process's at the moment; in a rebalance some are on their way.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.progress.with(|rows| rows.len())
    }

    /// Row R of the ledger over the partitions of this process. Unread records count as pending, ticks among them.
    ///
    /// # Errors
    /// The log cannot say where it ends.
    pub async fn ledger(&self) -> Result<Counters, Error> {
        self.sum(&self.stand().await?).await
    }

    /// The same, and tells the metrics how far each partition is behind at `now`.
    ///
    /// # Errors
    /// As [`Handle::ledger`].
    pub async fn measure(&self, now: Millis) -> Result<Counters, Error> {
        let stand = self.stand().await?;
        self.progress.with(|rows| {
            // What has gone while the log was asked must not come back.
            for (partition, row, head) in stand.iter().filter(|(it, ..)| rows.contains_key(it)) {
                let (records, age_ms) = row.lag(*head, now);
                metrics::record_lag(*partition, records, age_ms as f64 / 1_000.0);
            }
        });
        self.sum(&stand).await
    }

    /// Every partition with where it stands and where its log ends.
    async fn stand(&self) -> Result<Vec<(u16, Row, u64)>, Error> {
        let rows = self.progress.with(|rows| rows.clone());
        let mut stand = Vec::with_capacity(rows.len());
        for (partition, row) in rows {
            let head = self.log.head("raw", partition).await?;
            stand.push((partition, row, head));
        }
        Ok(stand)
    }

    /// What was routed and what was folded. Rows of `lifecycle` that are not folded yet stand apart.
    async fn sum(&self, stand: &[(u16, Row, u64)]) -> Result<Counters, Error> {
        let mut all = Counters::new();
        for (_, row, head) in stand {
            all.merge(&row.counters.to_ledger(row.unread(*head)));
            row.forwarded.count(&mut all);
        }
        let storms = self.storms.with(|rows| rows.clone());
        for (partition, row) in storms {
            let unread = self.log.head("lifecycle", partition).await?.saturating_sub(row.next);
            all.merge(&row.counts.to_ledger(row.held));
            all.add(Stage::Router, "lifecycle_pending", "", unread);
            all.add(Stage::Router, "lifecycle_waiting", "", row.waiting);
            row.forwarded.count(&mut all);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_only_while_something_waits() {
        let row = Row {
            counters: RouteCounters::default(),
            forwarded: Forwarded::default(),
            next: 10,
            target: 0,
            clock: Some(1_000),
        };
        assert_eq!(row.lag(10, 9_000), (0, 0));
        assert_eq!(row.lag(14, 9_000), (4, 8_000));
        // A clock that stands behind the gateway's makes no negative age.
        assert_eq!(row.lag(14, 900), (4, 0));
        assert_eq!(Row { clock: None, ..row }.lag(14, 9_000), (4, 0));
    }
}
