//! Where the store lies and its named limits.

use std::path::PathBuf;
use std::time::Duration;

/// Where the store lies.
#[derive(Clone, Debug)]
pub enum Config {
    /// A file, made when missing; its folder must exist.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Named limits.
        limits: Limits,
    },
    /// A server and database that exist; the schema is made.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: String,
        /// Named limits.
        limits: Limits,
    },
}

impl Config {
    /// A file with the default limits.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite { path: path.into(), limits: Limits::default() }
    }

    /// A server with the default limits.
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::Postgres { url: url.into(), limits: Limits::default() }
    }
}

/// Named limits of the store.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that read; PostgreSQL writes over the same ones.
    pub connections_max: u32,
    /// How long a call waits for a connection or, in SQLite, for the one writer.
    pub acquire_max: Duration,
    /// How long SQLite waits for a lock of another process.
    pub busy_max: Duration,
    /// How long one statement of PostgreSQL may take before the connection is given up.
    pub call_max: Duration,
    /// How long PostgreSQL keeps a transaction whose owner says nothing: past it a frozen process
    /// loses its locks.
    pub idle_in_transaction_max: Duration,
    /// How long a commit whose answer was lost is looked after.
    pub doubt_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 8,
            acquire_max: Duration::from_secs(10),
            busy_max: Duration::from_secs(5),
            call_max: Duration::from_secs(30),
            idle_in_transaction_max: Duration::from_secs(15),
            doubt_max: Duration::from_secs(30),
        }
    }
}
