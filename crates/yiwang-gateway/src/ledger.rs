//! The gateway's row of the ledger: what became of every message, per lane and process life.
//!
//! Invariant, at any time: received = appended + refused + shed + in flight, and acknowledged ≤ appended. All figures
//! change together under one lock that is taken once per batch, so a snapshot always balances.

use std::sync::{Mutex, MutexGuard, PoisonError};

use yiwang_core::record::Lane;
use yiwang_core::topic;

/// Why a message was refused: never stored and never acknowledged as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Not a native topic.
    NotNative,
    /// Topic of too many levels or bytes.
    TopicTooLong,
    /// A character that no topic of ours holds.
    BadCharacter,
    /// Another device's topic.
    ForeignIdentity,
    /// An own topic that a device may not publish to.
    NotAllowed,
    /// Retained, and not a status.
    Retained,
    /// Larger than the packet limit.
    Size,
    /// QoS 2.
    Qos,
    /// More unacknowledged messages than the Receive Maximum.
    ReceiveMaximum,
}

impl Refused {
    /// All reasons, in the order of the counters.
    pub const ALL: [Self; 9] = [
        Self::NotNative,
        Self::TopicTooLong,
        Self::BadCharacter,
        Self::ForeignIdentity,
        Self::NotAllowed,
        Self::Retained,
        Self::Size,
        Self::Qos,
        Self::ReceiveMaximum,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotNative => "not_native",
            Self::TopicTooLong => "topic_too_long",
            Self::BadCharacter => "bad_character",
            Self::ForeignIdentity => "foreign_identity",
            Self::NotAllowed => "not_allowed",
            Self::Retained => "retained",
            Self::Size => "size",
            Self::Qos => "qos",
            Self::ReceiveMaximum => "receive_maximum",
        }
    }
}

impl From<topic::Refusal> for Refused {
    fn from(refusal: topic::Refusal) -> Self {
        match refusal {
            topic::Refusal::NotNative => Self::NotNative,
            topic::Refusal::TooLong => Self::TopicTooLong,
            topic::Refusal::BadCharacter => Self::BadCharacter,
            topic::Refusal::ForeignIdentity => Self::ForeignIdentity,
            topic::Refusal::NotAllowed => Self::NotAllowed,
        }
    }
}

/// Why a QoS 0 message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shed {
    /// The log was waiting for room and the connection's buffer was full.
    LogWaiting,
    /// More messages of an outside broker than its queue holds.
    QueueFull,
}

impl Shed {
    /// All reasons, in the order of the counters.
    pub const ALL: [Self; 2] = [Self::LogWaiting, Self::QueueFull];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LogWaiting => "log_waiting",
            Self::QueueFull => "queue_full",
        }
    }
}

/// What became of the messages of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Messages that came in, whatever became of them.
    pub received: u64,
    /// Messages that can no longer be lost.
    pub appended: u64,
    /// Refused messages by reason, in the order of [`Refused::ALL`].
    pub refused: [u64; Refused::ALL.len()],
    /// Dropped QoS 0 messages by reason, in the order of [`Shed::ALL`].
    pub shed: [u64; Shed::ALL.len()],
    /// Messages on their way into the log.
    pub in_flight: u64,
    /// Messages acknowledged to their sender.
    pub acknowledged: u64,
    /// Bytes of the messages that came in.
    pub received_bytes: u64,
}

impl Row {
    /// Received minus all fates: 0 at any time, or we lost count of something.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let fates = self.appended
            + self.refused.iter().sum::<u64>()
            + self.shed.iter().sum::<u64>()
            + self.in_flight;
        self.received.cast_signed() - fates.cast_signed()
    }

    /// Counts refused messages, which were received too.
    pub(crate) fn refuse(&mut self, reason: Refused, count: u64) {
        self.received += count;
        self.refused[reason as usize] += count;
    }

    /// Counts dropped messages, which were received too.
    pub(crate) fn shed(&mut self, reason: Shed, count: u64) {
        self.received += count;
        self.shed[reason as usize] += count;
    }
}

/// The lanes, in the order of a snapshot's rows.
pub const LANES: [Lane; 3] = [Lane::Listen, Lane::Subscribe, Lane::Kafka];

/// The label of a lane.
#[must_use]
pub const fn lane_str(lane: Lane) -> &'static str {
    match lane {
        Lane::Listen => "listen",
        Lane::Subscribe => "subscribe",
        Lane::Kafka => "kafka",
    }
}

/// The counters of a gateway process.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<[Row; LANES.len()]>);

impl Ledger {
    /// One row per lane, in the order of [`LANES`], all of one moment.
    #[must_use]
    pub fn snapshot(&self) -> [Row; LANES.len()] {
        *self.lock()
    }

    /// The row of a lane.
    #[must_use]
    pub fn row(&self, lane: Lane) -> Row {
        self.lock()[lane as usize]
    }

    /// Changes the row of a lane; called once per batch.
    pub(crate) fn update(&self, lane: Lane, change: impl FnOnce(&mut Row)) {
        change(&mut self.lock()[lane as usize]);
    }

    fn lock(&self) -> MutexGuard<'_, [Row; LANES.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
