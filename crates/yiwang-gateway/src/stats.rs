//! Counters of connections and commands, beside the ledger of messages.

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
    commands: [AtomicU64; CommandFate::ALL.len()],
}

/// What became of a command that is ours to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandFate {
    /// Written to the device's session or to its broker.
    Sent,
    /// Asked for too long ago.
    Stale,
    /// The same topic was sent one less than a minute ago.
    TooOften,
    /// The device is connected and does not subscribe to it, or takes no packet as large.
    NotSubscribed,
    /// Too many wait already.
    QueueFull,
}

impl CommandFate {
    /// All of them, in the order of the counters.
    pub const ALL: [Self; 5] =
        [Self::Sent, Self::Stale, Self::TooOften, Self::NotSubscribed, Self::QueueFull];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Stale => "stale",
            Self::TooOften => "too_often",
            Self::NotSubscribed => "not_subscribed",
            Self::QueueFull => "queue_full",
        }
    }
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

    /// Commands with this fate.
    #[must_use]
    pub fn commands_total(&self, fate: CommandFate) -> u64 {
        self.commands[fate as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn command(&self, fate: CommandFate) {
        self.commands[fate as usize].fetch_add(1, Ordering::Relaxed);
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
