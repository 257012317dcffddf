//! One write transaction or one read, on either engine.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Executor as _, Postgres, SqlStr, Sqlite, Transaction};
use tokio::time::timeout;

use super::value::{
    Shared, add_arguments, postgres_arguments, postgres_columns, postgres_row, sqlite_row,
};
use super::{Engine, Kind, Value, sql};
use crate::Error;

/// Rows of neutral values.
pub(crate) type Rows = Vec<Vec<Value<'static>>>;

impl Engine {
    /// All rows of a statement, outside any transaction.
    pub(crate) async fn rows(
        &self,
        sql: SqlStr,
        values: Vec<Value<'_>>,
        kinds: &[Kind],
    ) -> Result<Rows, Error> {
        match self {
            Self::Sqlite { read, .. } => {
                let query = sqlx::query_with(sql, arguments(values)?);
                let rows = read.fetch_all(query).await.map_err(Error::sqlite)?;
                rows.iter().map(|row| sqlite_row(row, kinds)).collect()
            }
            Self::Postgres { pool, limits } => {
                let connection = pool.acquire().await.map_err(Error::postgres)?;
                let mut link = PostgresLink::new(connection, limits.call_max);
                let rows = link.rows(sql, values, kinds).await?;
                link.keep();
                Ok(rows)
            }
        }
    }
}

/// An open write transaction; dropped without `commit`, it never happened.
pub(crate) enum Link {
    /// sqlx rolls back on drop.
    Sqlite(SqliteLink),
    /// The server rolls back when the connection closes, which drop does.
    Postgres(PostgresLink),
}

/// A transaction of SQLite. Each call of the driver wakes the engine's thread and waits to be woken
/// by it, which on a busy machine costs more than a statement of one row: few rows are gathered, all
/// their statements one call.
pub(crate) struct SqliteLink {
    transaction: Transaction<'static, Sqlite>,
    gathered: Option<Script>,
}

/// Statements that go together; their parameters are all `?`.
#[derive(Default)]
pub(crate) struct Script {
    text: String,
    pub(crate) arguments: SqliteArguments,
}

impl Script {
    /// Adds a statement whose values are among the arguments already.
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push(';');
    }
}

impl SqliteLink {
    fn new(transaction: Transaction<'static, Sqlite>) -> Self {
        Self { transaction, gathered: None }
    }

    /// What is gathered, if it is.
    pub(crate) fn script(&mut self) -> Option<&mut Script> {
        self.gathered.as_mut()
    }

    /// Runs what was gathered; goes on gathering.
    async fn flush(&mut self) -> Result<(), Error> {
        let Some(script) = &mut self.gathered else { return Ok(()) };
        let Script { text, arguments } = std::mem::take(script);
        if text.is_empty() {
            return Ok(());
        }
        self.run(sql(text), arguments).await.map(drop)
    }

    /// Runs a statement; says how many rows it touched.
    pub(crate) async fn run(
        &mut self,
        sql: SqlStr,
        arguments: SqliteArguments,
    ) -> Result<u64, Error> {
        let done = (&mut *self.transaction).execute(sqlx::query_with(sql, arguments)).await;
        Ok(done.map_err(Error::sqlite)?.rows_affected())
    }
}

impl Link {
    pub(crate) async fn begin(engine: &Engine) -> Result<Self, Error> {
        match engine {
            Engine::Sqlite { write, .. } => {
                let begun = write.begin_with("BEGIN IMMEDIATE").await;
                Ok(Self::Sqlite(SqliteLink::new(begun.map_err(Error::sqlite)?)))
            }
            Engine::Postgres { pool, limits } => {
                let connection = pool.acquire().await.map_err(Error::postgres)?;
                let mut link = PostgresLink::new(connection, limits.call_max);
                link.plain("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
                Ok(Self::Postgres(link))
            }
        }
    }

    /// From here on the rows of tables wait for those that follow, where that saves time.
    pub(crate) fn gather(&mut self) {
        if let Self::Sqlite(link) = self {
            link.gathered = Some(Script::default());
        }
    }

    /// Runs what was gathered.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        let Self::Sqlite(link) = self else { return Ok(()) };
        link.flush().await?;
        link.gathered = None;
        Ok(())
    }

    /// Runs a statement; says how many rows it touched.
    pub(crate) async fn run(&mut self, sql: SqlStr, values: Vec<Value<'_>>) -> Result<u64, Error> {
        match self {
            Self::Sqlite(link) => {
                link.flush().await?;
                link.run(sql, arguments(values)?).await
            }
            Self::Postgres(link) => link.run(sql, postgres_arguments(values)?).await,
        }
    }

    /// All rows of a statement.
    pub(crate) async fn rows(
        &mut self,
        sql: SqlStr,
        values: Vec<Value<'_>>,
        kinds: &[Kind],
    ) -> Result<Rows, Error> {
        match self {
            Self::Sqlite(link) => {
                link.flush().await?;
                let query = sqlx::query_with(sql, arguments(values)?);
                let rows = (&mut *link.transaction).fetch_all(query).await;
                let rows = rows.map_err(Error::sqlite)?;
                rows.iter().map(|row| sqlite_row(row, kinds)).collect()
            }
            Self::Postgres(link) => link.rows(sql, values, kinds).await,
        }
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(mut link) => {
                link.flush().await?;
                link.transaction.commit().await.map_err(Error::sqlite)
            }
            Self::Postgres(mut link) => {
                link.plain("COMMIT").await?;
                link.keep();
                Ok(())
            }
        }
    }

    pub(crate) async fn rollback(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(link) => link.transaction.rollback().await.map_err(Error::sqlite),
            Self::Postgres(mut link) => {
                link.plain("ROLLBACK").await?;
                link.keep();
                Ok(())
            }
        }
    }
}

/// Arguments of a statement of its own.
fn arguments(values: Vec<Value<'_>>) -> Result<SqliteArguments, Error> {
    let mut arguments = SqliteArguments::default();
    add_arguments(&mut arguments, values.into_iter(), &mut Shared::new())?;
    Ok(arguments)
}

/// A connection that is closed on drop unless it was found sound at the end.
pub(crate) struct PostgresLink {
    connection: Option<PoolConnection<Postgres>>,
    call_max: Duration,
}

impl PostgresLink {
    fn new(connection: PoolConnection<Postgres>, call_max: Duration) -> Self {
        Self { connection: Some(connection), call_max }
    }

    /// The connection is in a known state: back to the pool.
    fn keep(mut self) {
        drop(self.connection.take());
    }

    fn connection(&mut self) -> &mut PoolConnection<Postgres> {
        self.connection.as_mut().expect("the connection is taken only by keep and drop")
    }

    async fn plain(&mut self, sql: &'static str) -> Result<(), Error> {
        let call_max = self.call_max;
        let call = self.connection().execute(sqlx::raw_sql(sql));
        within(call_max, call).await.map(|_| ())
    }

    /// Runs a bulk statement over whole columns.
    pub(crate) async fn run_columns(
        &mut self,
        sql: SqlStr,
        values: &[Value<'_>],
        kinds: &[Kind],
    ) -> Result<u64, Error> {
        self.run(sql, postgres_columns(values, kinds)?).await
    }

    async fn run(
        &mut self,
        sql: SqlStr,
        arguments: sqlx::postgres::PgArguments,
    ) -> Result<u64, Error> {
        let call_max = self.call_max;
        let call = self.connection().execute(sqlx::query_with(sql, arguments));
        within(call_max, call).await.map(|done| done.rows_affected())
    }

    async fn rows(
        &mut self,
        sql: SqlStr,
        values: Vec<Value<'_>>,
        kinds: &[Kind],
    ) -> Result<Rows, Error> {
        let call_max = self.call_max;
        let query = sqlx::query_with(sql, postgres_arguments(values)?);
        let rows = within(call_max, self.connection().fetch_all(query)).await?;
        rows.iter().map(|row| postgres_row(row, kinds)).collect()
    }
}

impl Drop for PostgresLink {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}

async fn within<T>(
    call_max: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    match timeout(call_max, call).await {
        Ok(answer) => answer.map_err(Error::postgres),
        Err(_) => Err(Error::Unreachable {
            engine: "postgres",
            reason: format!("no answer within {} s", call_max.as_secs()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_transaction_that_sqlite_gave_up_leaves_the_next_one_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config::sqlite(folder.path().join("store.db"));
        let (engine, _) = crate::open::open(&config).await.expect("it opens");
        let Engine::Sqlite { write, .. } = &engine else { panic!("SQLite was asked for") };
        // No page more than there are: as on a full disk.
        sqlx::query("PRAGMA max_page_count = 1").execute(write).await.expect("a number");
        let insert = |bytes: usize| {
            sql(format!("INSERT INTO meta (name, value) VALUES (hex(zeroblob({bytes})), 1)"))
        };
        let mut link = Link::begin(&engine).await.expect("the first");
        let full = link.run(insert(1 << 20), vec![]).await.expect_err("no room");
        assert!(
            matches!(&full, Error::Damaged { reason, .. } if reason.contains("full")),
            "{full}"
        );
        drop(link);
        let mut link = Link::begin(&engine).await.expect("the next");
        link.run(insert(1), vec![]).await.expect("another connection has no such limit");
        link.commit().await.expect("it is durable");
    }
}
