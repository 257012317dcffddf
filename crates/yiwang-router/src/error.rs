//! What can go wrong in the router, sorted by what the caller does next.
//!
//! Bad records are data, not errors: they are quarantined. What is here stops the role.

use yiwang_core::route::bytes::Damaged;
use yiwang_log::Action;

/// Why the router stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log takes no further outputs.
    #[error("append the router's outputs")]
    Append(#[from] yiwang_log::Halt),
    /// The log gives no further records.
    #[error("read topic raw or state")]
    Log(#[from] yiwang_log::Error),
    /// The log was opened without a topic that the router needs.
    #[error("use topic {0}: the log was opened without it")]
    NoTopic(Box<str>),
    /// A complete snapshot does not decode.
    #[error("restore the state of partition {partition}; start with an older program or drop it")]
    Snapshot {
        /// Partition of `raw`.
        partition: u16,
        /// What is wrong with it.
        source: Damaged,
    },
}

impl Error {
    pub(crate) fn no_topic(name: &str) -> Self {
        Self::NoTopic(name.into())
    }

    /// What the caller does next.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Append(halt) => halt.action(),
            Self::Log(error) => error.action(),
            Self::NoTopic(_) | Self::Snapshot { .. } => Action::Halt,
        }
    }
}
