//! What the rest of the program may ask of a running router: its ledger, whether it has caught up, a new configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use yiwang_core::ledger::Counters;
use yiwang_core::route::RouteCounters;
use yiwang_log::Log;

use crate::forward::Forwarded;
use crate::{Bundle, Error};

/// Where each partition stands; written once a batch.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<BTreeMap<u16, Row>>);

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub counters: RouteCounters,
    pub forwarded: Forwarded,
    /// Next record to route.
    pub next: u64,
    /// End of the log when the partition was assigned.
    pub target: u64,
}

impl Progress {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<u16, Row>) -> T) -> T {
        // Rows are replaced whole, so a panic elsewhere leaves none half written.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn put(&self, partition: u16, row: Row) {
        self.with(|rows| rows.insert(partition, row));
    }

    pub(crate) fn put_all(&self, added: Vec<(u16, Row)>) {
        self.with(|rows| rows.extend(added));
    }

    pub(crate) fn remove(&self, partition: u16) {
        self.with(|rows| rows.remove(&partition));
    }
}

/// A running router, from outside.
#[derive(Clone, Debug)]
pub struct Handle {
    bundles: Arc<watch::Sender<Arc<Bundle>>>,
    progress: Arc<Progress>,
    log: Log,
}

impl Handle {
    pub(crate) fn new(
        bundles: watch::Sender<Arc<Bundle>>,
        progress: Arc<Progress>,
        log: Log,
    ) -> Self {
        Self { bundles: Arc::new(bundles), progress, log }
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
        self.progress
            .with(|rows| !rows.is_empty() && rows.values().all(|row| row.next >= row.target))
    }

    /// Row R of the ledger over the partitions of this process. Unread records count as pending, ticks among them.
    ///
    /// # Errors
    /// The log cannot say where it ends.
    pub async fn ledger(&self) -> Result<Counters, Error> {
        let rows = self.progress.with(|rows| rows.clone());
        let mut all = Counters::new();
        for (partition, row) in rows {
            let head = self.log.head("raw", partition).await?;
            all.merge(&row.counters.to_ledger(head.saturating_sub(row.next)));
            row.forwarded.count(&mut all);
        }
        Ok(all)
    }
}
