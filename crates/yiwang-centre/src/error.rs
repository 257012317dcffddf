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
    /// Durability is in doubt.
    #[error("{0}")]
    Halt(String),
    /// The gRPC server ended.
    #[error("failed to serve gRPC")]
    Serve(#[from] tonic::transport::Error),
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
