//! The two engines behind one narrow door: statements with neutral values in, neutral rows out.
//!
//! Invariant: a write link that saw an error or a timeout is never used again; PostgreSQL
//! connections in that state are closed, not pooled.

mod link;
mod value;

pub(crate) use link::{Link, PostgresLink, Rows, SqliteLink};
pub(crate) use value::{Kind, Shared, Value, add_arguments, storable};

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr as _, SqlStr, SqlitePool};

use crate::config::Limits;

/// Which dialect is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Dialect {
    /// `column` is one of the list bound to `$number`.
    pub(crate) fn member(self, column: &str, number: usize, of: Kind) -> String {
        match (self, of) {
            (Self::Postgres, _) => format!("{column} = ANY(${number})"),
            (Self::Sqlite, Kind::Bytes) => {
                format!("{column} IN (SELECT unhex(value) FROM json_each(${number}))")
            }
            (Self::Sqlite, _) => format!("{column} IN (SELECT value FROM json_each(${number}))"),
        }
    }

    /// A source of rows `j` from a JSON list of lists bound to `$number`: `j.value->>0` is a row's
    /// first text.
    pub(crate) fn lists(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("json_array_elements(${number}::text::json) AS j(value)"),
            Self::Sqlite => format!("json_each(${number}) AS j"),
        }
    }

    /// The engine's own clock in ms: the one clock that all processes of a store share.
    pub(crate) fn now(self) -> &'static str {
        match self {
            Self::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        }
    }
}

/// An open engine.
pub(crate) enum Engine {
    /// One connection writes, others read.
    Sqlite {
        /// Exactly one connection: its pool is the queue of writers.
        write: SqlitePool,
        /// Reads while the writer writes.
        read: SqlitePool,
        /// One more connection, which only moves what is committed from the log into the file.
        tend: SqlitePool,
    },
    /// Writers are ordered by the row locks of lease and counters.
    Postgres {
        /// All connections.
        pool: PgPool,
        /// Named limits.
        limits: Limits,
    },
}

impl Engine {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite { .. } => Dialect::Sqlite,
            Self::Postgres { .. } => Dialect::Postgres,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { write, read, tend } => {
                read.close().await;
                tend.close().await;
                write.close().await;
            }
            Self::Postgres { pool, .. } => pool.close().await,
        }
    }
}

/// Text built by this crate from its own column names only, never from input.
pub(crate) fn sql(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}

/// `"a", "b"` of the column names, with an optional table alias.
pub(crate) fn quoted<'a>(alias: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for name in names {
        let comma = if out.is_empty() { "" } else { ", " };
        let dot = if alias.is_empty() { "" } else { "." };
        // Writing to a String cannot fail.
        let _ = write!(out, "{comma}{alias}{dot}\"{name}\"");
    }
    out
}
