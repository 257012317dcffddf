//! What can go wrong in the log, sorted by what the caller does next.
//!
//! `Halt` is for the append path only: durability is in doubt or a newer owner has fenced us, so
//! nothing may be acknowledged any more. A full log is not an error: `append` waits.

use std::sync::Arc;

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The cause passes by itself: try again later.
    Retry,
    /// Durability is in doubt or the setup is wrong: acknowledge nothing further and stop.
    Halt,
    /// Someone newer owns this: drop the state that belongs to it.
    Fenced,
}

/// Why the log takes no further record.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Halt {
    /// A write or sync failed; what the disk holds is unknown until recovery has read it.
    #[error("append to the log at {place}: {cause}; stop, check the disk and start again")]
    Poisoned {
        /// Data folder or brokers.
        place: Arc<str>,
        /// The first error.
        cause: Arc<str>,
    },
    /// The log was closed before the records were safe.
    #[error("append to the log: it is closed")]
    Closed,
    /// The log crashed (memory log only) before the records were safe.
    #[error("append to the log: it crashed before the records were safe")]
    Crashed,
    /// A record is larger than the log stores.
    #[error("append a record of {bytes} bytes: the limit is {bytes_max}; lower the intake limits")]
    Oversize {
        /// Size of the record.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A batch names a topic or partition that this log does not have.
    #[error("append to topic {topic} partition {partition}: the log has no such partition")]
    NoPartition {
        /// Number of the topic.
        topic: u16,
        /// The partition asked for.
        partition: u16,
    },
    /// A newer producer owns the transaction or epoch.
    #[error("append to the log at {place}: fenced by a newer owner")]
    Fenced {
        /// Brokers.
        place: Arc<str>,
    },
}

impl Halt {
    /// What the caller does next; never [`Action::Retry`]: the log retries by itself.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Fenced { .. } => Action::Fenced,
            _ => Action::Halt,
        }
    }
}

/// What can go wrong outside the append path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The append path has halted.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// Another process has the folder open.
    #[error("open the data folder {dir}: it is held by another process; stop that one first")]
    Locked {
        /// The data folder.
        dir: String,
    },
    /// Records that were acknowledged are not there.
    #[error(
        "open the log: acknowledged records {first}..{last} of topic {topic} partition {partition} \
         are missing (known from {known_from}); restore the folder from a backup, or accept the \
         loss with `yiwang log accept-loss`"
    )]
    Missing {
        /// Topic name.
        topic: String,
        /// Partition.
        partition: u16,
        /// First missing sequence number.
        first: u64,
        /// Last missing sequence number.
        last: u64,
        /// HEAD file, a reader's position or the store.
        known_from: String,
    },
    /// Stored bytes do not match their checksum or their neighbours.
    #[error("read {what}: corrupt ({detail}); restore the folder from a backup")]
    Corrupt {
        /// File, topic or partition.
        what: String,
        /// What was found.
        detail: String,
    },
    /// A position lies before what is still kept, or after the end.
    #[error(
        "read topic {topic} partition {partition} at {position}: only {first}..{next} is kept; \
         reset the reader's position on purpose"
    )]
    OutOfRange {
        /// Topic name.
        topic: String,
        /// Partition.
        partition: u16,
        /// The position asked for.
        position: u64,
        /// First kept sequence number.
        first: u64,
        /// Sequence number of the next record.
        next: u64,
    },
    /// No topic of this name was opened.
    #[error("use topic {0}: the log was opened without it")]
    UnknownTopic(String),
    /// The group has a live reader on this topic already.
    #[error("open a reader of topic {topic} for group {group}: one is open already")]
    ReaderBusy {
        /// Topic name.
        topic: String,
        /// Group name.
        group: String,
    },
    /// The partition was given to another reader of the group.
    #[error("commit partition {partition}: it was revoked from this reader")]
    Revoked {
        /// The partition.
        partition: u16,
    },
    /// The setup is wrong and stays wrong until a person changes it.
    #[error("open the log: {0}")]
    Config(String),
    /// Reading or writing files failed.
    #[error("{what}")]
    Io {
        /// What was attempted, with the path.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The storage engine failed.
    #[error("{what}: {cause}")]
    Engine {
        /// What was attempted.
        what: String,
        /// The engine's own words.
        cause: String,
    },
    /// The broker cannot be reached or refuses for now.
    #[error("{what}: {cause}")]
    Broker {
        /// What was attempted.
        what: String,
        /// The broker's or client's own words.
        cause: String,
    },
}

impl Error {
    /// What the caller does next.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Halt(halt) => halt.action(),
            Self::Revoked { .. } => Action::Fenced,
            Self::Broker { .. } => Action::Retry,
            _ => Action::Halt,
        }
    }
}
