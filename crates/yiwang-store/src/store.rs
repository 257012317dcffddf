//! The open store and the few things that belong to no part of the domain: positions and policies.

use std::sync::Arc;

use yiwang_core::incident::PolicyRow;

use crate::config::{Config, Limits};
use crate::engine::{Dialect, Engine, Kind, Rows, Value, sql};
use crate::rows::{Tables, read_all};
use crate::{Error, open};

/// An open store; clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// What all clones and transactions share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) tables: Tables,
    pub(crate) limits: Limits,
    pub(crate) log_epoch: u32,
    warnings: Vec<String>,
}

/// The next record to read from one partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Epoch of the topic.
    pub epoch: u32,
    /// Partition.
    pub partition: u16,
    /// Number of the next record.
    pub seq: u64,
}

impl Store {
    /// Opens the store and brings its schema to this version.
    ///
    /// # Errors
    /// Unreachable servers are `Retry`; wrong settings, paths and credentials are `Config` and say
    /// what to change.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let (Config::Sqlite { limits, .. } | Config::Postgres { limits, .. }) = config;
        let (engine, warnings) = open::open(config).await?;
        for warning in &warnings {
            tracing::warn!(warning, "a setting of the store is weaker than it should be");
        }
        let query = sql("SELECT value FROM meta WHERE name = 'log_epoch'".to_owned());
        let rows = engine.rows(query, vec![], &[Kind::Int]).await?;
        let log_epoch = u32::try_from(first_int(&rows).unwrap_or_default())
            .map_err(|_| Error::unreadable("meta.log_epoch", &rows))?;
        let tables = Tables::new(engine.dialect());
        let shared = Shared { engine, tables, limits: limits.clone(), log_epoch, warnings };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What `open` found weaker than it should be; each says what to do.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.shared.warnings
    }

    /// Epoch of the outbox numbers; watch tokens carry it.
    #[must_use]
    pub fn log_epoch(&self) -> u32 {
        self.shared.log_epoch
    }

    /// Closes all connections; transactions still open are waited for.
    pub async fn close(&self) {
        self.shared.engine.close().await;
    }

    /// All read positions of a topic, by partition.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn positions(&self, topic: &str) -> Result<Vec<Position>, Error> {
        let text = "SELECT epoch, partition, seq FROM read_position WHERE topic = $1 \
                    ORDER BY partition";
        let rows = self.rows(text, vec![Value::text(topic)], &[Kind::Int; 3]).await?;
        let position = |row: Vec<Value<'_>>| match row.as_slice() {
            [Value::Int(Some(epoch)), Value::Int(Some(partition)), Value::Int(Some(seq))] => {
                Ok(Position {
                    epoch: u32::try_from(*epoch).map_err(|_| Error::unreadable("epoch", epoch))?,
                    partition: u16::try_from(*partition)
                        .map_err(|_| Error::unreadable("partition", partition))?,
                    seq: u64::try_from(*seq).map_err(|_| Error::unreadable("seq", seq))?,
                })
            }
            other => Err(Error::unreadable("read_position", other)),
        };
        rows.into_iter().map(position).collect()
    }

    /// All policy snapshots that incidents were filed under.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn policies(&self) -> Result<Vec<PolicyRow>, Error> {
        let table = &self.shared.tables.policy;
        let text = format!("SELECT {} FROM policy", table.select(table.name));
        read_all(self.rows(&text, vec![], &table.kinds).await?)
    }

    /// Moves what is committed from SQLite's write-ahead log into its file, beside the writer, and
    /// says how many pages are left because somebody still reads there. Whoever writes often calls
    /// it often: else once in 64 MiB a commit has to do it, and takes a hundred times as long.
    /// PostgreSQL does so by itself.
    ///
    /// # Errors
    /// `Halt` when the disk failed: the log is then all there is, and must not be moved again.
    pub async fn checkpoint(&self) -> Result<u64, Error> {
        let Engine::Sqlite { tend, .. } = &self.shared.engine else { return Ok(0) };
        let (_, pages, moved): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)")
            .fetch_one(tend)
            .await
            .map_err(Error::sqlite)?;
        Ok((pages - moved).max(0) as u64)
    }

    /// Looks for damage that the engine can find in its own file; empty means sound. Slow, for
    /// `doctor`. PostgreSQL has its own tool for it, `pg_amcheck`.
    ///
    /// # Errors
    /// As the engine fails; a file too damaged to be read is `Halt`.
    pub async fn damage(&self) -> Result<Vec<String>, Error> {
        if self.shared.engine.dialect() == Dialect::Postgres {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let rows = self.rows("PRAGMA integrity_check", vec![], &[Kind::Text]).await?;
        for value in rows.into_iter().flatten() {
            match value {
                Value::Text(Some(text)) if text == "ok" => {}
                Value::Text(Some(text)) => found.push(text.into_owned()),
                _ => {}
            }
        }
        let text = "SELECT \"table\" FROM pragma_foreign_key_check";
        for value in self.rows(text, vec![], &[Kind::Text]).await?.into_iter().flatten() {
            if let Value::Text(Some(table)) = value {
                found.push(format!("a row of {table} has no incident"));
            }
        }
        Ok(found)
    }

    pub(crate) async fn rows(
        &self,
        text: &str,
        values: Vec<Value<'_>>,
        kinds: &[Kind],
    ) -> Result<Rows, Error> {
        self.shared.engine.rows(sql(text.to_owned()), values, kinds).await
    }
}

/// The integer in the first column of the first row.
pub(crate) fn first_int(rows: &Rows) -> Option<i64> {
    match rows.first()?.first()? {
        Value::Int(value) => *value,
        _ => None,
    }
}
