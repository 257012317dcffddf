//! Counters of connections, beside the ledger of messages.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::listen::connect::ConnectRefused;
use crate::listen::control::Closed;

/// What became of connections, since the process began.
#[derive(Debug, Default)]
pub struct Stats {
    opened: AtomicU64,
    taken_over: AtomicU64,
    refused: [AtomicU64; ConnectRefused::ALL.len()],
    closed: [AtomicU64; Closed::ALL.len()],
    reconnects: AtomicU64,
    ticks: AtomicU64,
}

impl Stats {
    /// Connections that were admitted.
    #[must_use]
    pub fn opened_total(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Connections that took the place of an older one of the same device.
    #[must_use]
    pub fn taken_over_total(&self) -> u64 {
        self.taken_over.load(Ordering::Relaxed)
    }

    /// Connections that were refused for this reason.
    #[must_use]
    pub fn refused_total(&self, reason: ConnectRefused) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// Connections that ended for this reason.
    #[must_use]
    pub fn closed_total(&self, reason: Closed) -> u64 {
        self.closed[reason as usize].load(Ordering::Relaxed)
    }

    /// Times that a connection to an outside broker was lost or could not be made.
    #[must_use]
    pub fn reconnects_total(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Rounds of ticks that were appended.
    #[must_use]
    pub fn ticks_total(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn took_over(&self) {
        self.taken_over.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, reason: ConnectRefused) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self, reason: Closed) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ticked(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }
}
