//! One assigned partition: its state, the configuration in force and what is left to replay.
//!
//! Loading finds the newest whole generation, the configuration it belongs to and the markers after it; a marker of
//! the present configuration is made safe before the first record is routed with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use yiwang_core::ids::Id;
use yiwang_core::ledger::Counters;
use yiwang_core::route::PartitionState;
use yiwang_log::Position;

use crate::bundle::Bundle;
use crate::careful::Trial;
use crate::forward::Forwarded;
use crate::generation::{
    Entry, Generation, Marker, Of, add_marker, in_force, markers, markers_entry, pending,
};
use crate::handle::Row;

/// A partition while it is ours.
pub(crate) struct Partition {
    pub number: u16,
    pub state: PartitionState,
    pub bundle: Arc<Bundle>,
    /// Next record to route.
    pub next: u64,
    /// Topic epoch of `raw`, once known.
    pub topic_epoch: Option<u32>,
    /// Number of the newest generation, written or about to be.
    pub generation: u64,
    pub markers: Vec<Marker>,
    /// Markers that the replay has not reached.
    pub pending: VecDeque<Marker>,
    /// What earlier lives left behind.
    pub trial: Trial,
    /// End of the log when it was assigned: what is below was perhaps routed before.
    pub target: u64,
    pub records_since_snapshot: u64,
    pub snapshot_at: Instant,
    pub forwarded: Forwarded,
    /// What was already published of the counters.
    pub published: Counters,
}

/// What topic `state` says of a partition.
pub(crate) struct Known {
    pub generation: Option<Generation>,
    pub markers: Vec<Marker>,
    pub trial: Trial,
}

impl Known {
    pub(crate) fn of(entries: &[(Bytes, Bytes)]) -> Self {
        let generation = Generation::newest(entries, Of::Routing);
        Self { generation, markers: markers(entries), trial: Trial::of(entries) }
    }

    /// Where the replay starts and under which configuration; `committed` counts only without a generation.
    pub(crate) fn start(&self, committed: u64) -> (u64, Option<Id>) {
        match &self.generation {
            Some(generation) => (generation.seq, Some(generation.config)),
            None => (committed, in_force(&self.markers, committed)),
        }
    }

    /// The markers that a replay from `seq` under `config` still meets.
    pub(crate) fn pending(&self, seq: u64, config: Id) -> VecDeque<Marker> {
        pending(&self.markers, seq, config)
    }
}

impl Partition {
    /// Sets a marker where the replay, or what comes next, meets it; gives what makes it safe. One at the same place that
    /// no record has reached is replaced: nothing was routed with it.
    pub(crate) fn mark(&mut self, marker: Marker) -> Entry {
        if self.pending.back().is_some_and(|last| last.from == marker.from) {
            self.pending.pop_back();
            self.markers.pop();
        }
        self.pending.push_back(marker);
        add_marker(&mut self.markers, marker);
        markers_entry(&self.markers)
    }

    /// What it has counted so far.
    pub(crate) fn counted(&self) -> Counters {
        let mut counters = self.state.counters().to_ledger(0);
        self.forwarded.count(&mut counters);
        counters
    }

    /// What is shown of it.
    pub(crate) fn row(&self) -> Row {
        Row {
            counters: self.state.counters().clone(),
            forwarded: self.forwarded.clone(),
            next: self.next,
            target: self.target,
            clock: self.state.clock(),
        }
    }

    /// The same as [`Self::snapshot`] between two batches, if anything was routed since the last one.
    pub(crate) fn snapshot_at_rest(&mut self) -> Option<Generation> {
        let epoch = self.topic_epoch.filter(|_| self.records_since_snapshot > 0)?;
        Some(self.snapshot(Position { epoch, partition: self.number, seq: self.next }))
    }

    /// The state after the newest routed record, as a generation.
    pub(crate) fn snapshot(&mut self, position: Position) -> Generation {
        self.generation += 1;
        self.records_since_snapshot = 0;
        self.snapshot_at = Instant::now();
        Generation {
            of: Of::Routing,
            number: self.generation,
            topic_epoch: position.epoch,
            seq: position.seq,
            config: self.bundle.epoch(),
            bytes: self.state.encode(self.bundle.shared()),
            forwarded: self.forwarded.clone(),
        }
    }
}

/// Waits until a snapshot of a partition is due by its time, records or none: the topic that it reads may be so full that
/// no more come before it is committed. `dirty` gives the partitions with something new and the times of their newest
/// snapshots.
pub(crate) async fn overdue(dirty: impl Iterator<Item = (u16, Instant)>, every: Duration) -> u16 {
    match dirty.map(|(number, since)| (since, number)).min() {
        Some((since, number)) => {
            tokio::time::sleep_until(since + every).await;
            number
        }
        None => std::future::pending().await,
    }
}
