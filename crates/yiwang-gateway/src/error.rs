//! Why a gateway cannot start or must stop; whatever a sender does wrong is counted instead.

use std::io;
use std::net::SocketAddr;

/// Failure of a gateway.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("use {key} = {value} in the intake section: {remedy}")]
    Config {
        /// Name of the key.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A port could not be bound.
    #[error(
        "bind listener {listener} to {address}: {remedy}, or set intake.listen.address to another \
         address"
    )]
    Bind {
        /// Name of the listener.
        listener: String,
        /// Address it was to be bound to.
        address: SocketAddr,
        /// What to do about it.
        remedy: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The log refused in a way that only a person can mend.
    #[error("use the log for {what}")]
    Log {
        /// What for.
        what: String,
        /// What the log said.
        source: yiwang_log::Error,
    },
    /// Durability is in doubt, or a newer process has taken over: nothing was acknowledged since.
    #[error("append to the raw log; nothing was acknowledged since, start the gateway again")]
    Halted {
        /// What the log said.
        source: yiwang_log::Halt,
    },
}

/// What a caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A person must change something first.
    Configure,
    /// Stop with a non-zero exit code; nothing acknowledged is at stake.
    Halt,
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Config { .. } | Self::Bind { .. } => Action::Configure,
            Self::Log { .. } | Self::Halted { .. } => Action::Halt,
        }
    }
}
