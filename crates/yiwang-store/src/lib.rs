//! The store of the event centre: incidents, their history and outbox, read positions and leases,
//! in SQLite or PostgreSQL.
//!
//! Invariant: what a [`Tx`] wrote is there as a whole or not at all, the read position included,
//! and once [`Tx::commit`] has returned `Ok` it survives `kill -9` and power loss. Outbox numbers
//! are contiguous and grow in the order of commits. This crate refuses to decide anything: the rows
//! are those of `yiwang_core::incident`, made there.
//!
//! [`Store`] is one concrete type over a private enum of engines; no caller ever names sqlx.

mod config;
mod error;

mod store;
mod tx;

mod cases;
mod lease;
mod ledger;
mod outbox;
mod signals;
mod tokens;

mod engine;
mod open;
mod rows;

pub use cases::{IncidentFilter, ListAfter, Scope};
pub use config::{Config, Limits};
pub use error::{Action, Error};
pub use lease::Lease;
pub use ledger::LedgerCount;
pub use open::check_url;
pub use outbox::{Cursor, OutboxEntry, OutboxSpan};
pub use signals::{AlarmRef, StandingAlarm};
pub use store::{Position, Store};
pub use tokens::{TokenHash, UnitToken};
pub use tx::{Applied, Numbering, Prune, Tx};
