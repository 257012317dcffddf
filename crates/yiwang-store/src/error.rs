//! What can go wrong with the store, sorted by what the caller does next.

use std::fmt;
use std::path::PathBuf;

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It passes by itself: do the whole transaction again, from reading the position on.
    Retry,
    /// Durability or our own picture of the data is in doubt: write nothing more and exit.
    Halt,
    /// Somebody newer owns this: drop all state and compete for the lease again.
    Fenced,
    /// Nothing passes until a person acts.
    Config,
}

/// A failed call of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server or file cannot be used right now.
    #[error("reach the {engine} store: {reason}")]
    Unreachable {
        /// `sqlite` or `postgres`.
        engine: &'static str,
        /// What the driver says, or which limit was passed.
        reason: String,
    },
    /// The transaction lost against another one, or waited too long for it.
    #[error("finish the transaction beside others: {reason}")]
    Contended {
        /// What the engine says.
        reason: String,
    },
    /// The commit was sent and its outcome could not be learnt in time.
    #[error(
        "learn the outcome of commit {xid}; read the position again before anything is repeated"
    )]
    InDoubt {
        /// Transaction id of the server.
        xid: String,
    },
    /// The disk is full, a write failed or pages do not make sense.
    #[error("keep the {engine} store durable: {reason}; check disk and `yiwang doctor`")]
    Damaged {
        /// `sqlite` or `postgres`.
        engine: &'static str,
        /// What the engine says.
        reason: String,
    },
    /// A unique key or another constraint of the schema was hit.
    #[error("write rows that the schema refuses: {reason}")]
    Conflict {
        /// What the engine says.
        reason: String,
    },
    /// An incident has another version than the change was computed from.
    #[error("change {incident} from version {expected}, the store has {found}")]
    Stale {
        /// Incident.
        incident: yiwang_core::ids::Id,
        /// Version the change was computed from.
        expected: i64,
        /// Version in the store, 0 for none.
        found: i64,
    },
    /// A read position would move backwards.
    #[error("move the position of {topic}/{partition} backwards to {seq}")]
    Backwards {
        /// Topic.
        topic: String,
        /// Partition.
        partition: u16,
        /// Refused position.
        seq: u64,
    },
    /// The lease has gone to somebody else.
    #[error("write under lease {name} with token {held}, the store has {found}")]
    Fenced {
        /// Lease.
        name: String,
        /// Our token.
        held: i64,
        /// Token in the store, 0 for none.
        found: i64,
    },
    /// A transaction was used after one of its calls had failed.
    #[error("go on with a transaction of which a call has failed; begin a new one")]
    Broken,
    /// A stored value is none that this version writes.
    #[error("read {what} from {value:?}; was it written by a newer version?")]
    Unreadable {
        /// Column.
        what: String,
        /// The value, cut.
        value: String,
    },
    /// A setting of the server takes the promise of durability away.
    #[error("rely on {setting}={found}; set it to {wanted} and reload the server")]
    Setting {
        /// Name of the setting.
        setting: String,
        /// Its value.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The folder or file cannot be opened.
    #[error("open {}: {reason}", path.display())]
    Path {
        /// File.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The server refuses us, or the address is none.
    #[error("open the store: {reason}")]
    Refused {
        /// What is wrong and with what.
        reason: String,
    },
    /// The schema could not be brought to this version.
    #[error("migrate the store: {reason}")]
    Migration {
        /// Which migration and why.
        reason: String,
    },
}

impl Error {
    /// What the caller does next.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Unreachable { .. } | Self::Contended { .. } | Self::InDoubt { .. } => {
                Action::Retry
            }
            Self::Fenced { .. } | Self::Stale { .. } => Action::Fenced,
            Self::Damaged { .. }
            | Self::Conflict { .. }
            | Self::Backwards { .. }
            | Self::Broken
            | Self::Unreadable { .. } => Action::Halt,
            Self::Setting { .. }
            | Self::Path { .. }
            | Self::Refused { .. }
            | Self::Migration { .. } => Action::Config,
        }
    }

    pub(crate) fn unreadable(what: &str, value: impl fmt::Debug) -> Self {
        let mut value = format!("{value:?}");
        if let Some((cut, _)) = value.char_indices().nth(80) {
            value.truncate(cut);
        }
        Self::Unreadable { what: what.to_owned(), value }
    }

    /// Sorts what SQLite says.
    pub(crate) fn sqlite(error: sqlx::Error) -> Self {
        let engine = "sqlite";
        let reason = error.to_string();
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::PoolTimedOut => {
                    Self::Contended { reason: "waited too long for the writer".to_owned() }
                }
                sqlx::Error::PoolClosed => Self::Unreachable { engine, reason },
                _ => Self::Damaged { engine, reason },
            };
        };
        let code = database.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
        match code & 0xff {
            5 | 6 => Self::Contended { reason },         // BUSY, LOCKED
            19 => Self::Conflict { reason },             // CONSTRAINT
            3 | 8 | 14 | 23 => Self::Refused { reason }, // PERM, READONLY, CANTOPEN, AUTH
            _ => Self::Damaged { engine, reason },
        }
    }

    /// Sorts what PostgreSQL says, by SQLSTATE.
    pub(crate) fn postgres(error: sqlx::Error) -> Self {
        let engine = "postgres";
        let reason = error.to_string();
        match &error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some("40001" | "40P01" | "55P03" | "57014") => Self::Contended { reason },
                Some("53100" | "53200" | "XX001" | "XX002") => Self::Damaged { engine, reason },
                Some(code) => match code.get(..2) {
                    Some("08" | "25" | "53" | "57") => Self::Unreachable { engine, reason },
                    Some("23") => Self::Conflict { reason },
                    Some("28" | "3D" | "3F" | "42") => Self::Refused { reason },
                    _ => Self::Damaged { engine, reason },
                },
                None => Self::Unreachable { engine, reason },
            },
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => Self::Refused { reason },
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::BeginFailed
            | sqlx::Error::Protocol(_) => Self::Unreachable { engine, reason },
            _ => Self::Damaged { engine, reason },
        }
    }
}
