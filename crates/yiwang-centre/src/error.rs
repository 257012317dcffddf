//! What can go wrong in the centre, sorted by what has to happen next.

use std::net::SocketAddr;

use yiwang_store as store;

/// A failure that ends the centre. What passes by itself is retried and never gets here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error(
        "failed to listen on {address} for gRPC; stop what holds the port, or set centre.listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A newer centre owns the store.
    #[error("another centre has taken over; this one wrote nothing since")]
    Fenced,
    /// The store failed in a way that waiting does not cure.
    #[error("failed to use the store")]
    Store(#[source] store::Error),
    /// The log failed in a way that waiting does not cure.
    #[error("failed to use the log")]
    Log(#[from] yiwang_log::Error),
    /// Told to stop before it was done: nothing of it was written.
    #[error("told to stop before it was done")]
    Stopped,
    /// The store is away, and others wait for it already.
    #[error("the store is away; try again with the same request_id")]
    Away,
    /// So many transactions wait that this one was not begun.
    #[error("too many transactions wait for the store; try again with the same request_id")]
    Busy,
    /// The core panicked in a step: nothing of it was written.
    #[error("the core panicked: {0}")]
    Panicked(String),
    /// Durability is in doubt.
    #[error("{0}")]
    Halt(String),
    /// The gRPC server ended.
    #[error("failed to serve gRPC")]
    Serve(#[from] tonic::transport::Error),
}

impl Error {
    /// Whether it passes by itself.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Store(error) => error.action() == store::Action::Retry,
            Self::Log(error) => error.action() == yiwang_log::Action::Retry,
            _ => false,
        }
    }

    /// Whether it may have been committed all the same.
    pub(crate) fn in_doubt(&self) -> bool {
        matches!(self, Self::Store(store::Error::InDoubt { .. }))
    }

    /// The error with its causes, for a line of the log.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error.action() {
            store::Action::Fenced => Self::Fenced,
            _ => Self::Store(error),
        }
    }
}

impl From<yiwang_log::Halt> for Error {
    fn from(halt: yiwang_log::Halt) -> Self {
        Self::Halt(halt.to_string())
    }
}
