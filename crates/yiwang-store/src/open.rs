//! Opening an engine: connections, the settings the promise rests on, and the schema.
//!
//! Refuses to run over a server whose settings lose acknowledged transactions; every refusal names
//! the setting.

use std::path::Path;
use std::str::FromStr as _;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, SqlSafeStr as _, SqlitePool};

use crate::Error;
use crate::config::{Config, Limits};
use crate::engine::Engine;

/// Statements kept prepared per connection; all of ours fit.
const STATEMENTS_MAX: usize = 256;

/// Pages of WAL after which a commit copies them into the file itself, when nobody else does: 64 MiB
/// keeps that off most commits.
const CHECKPOINT_PAGES: &str = "16384";

/// Migrations of SQLite: version, what it does, text.
const SQLITE: &[(i64, &str, &str)] = &[
    (1, "event centre", include_str!("../migrations/sqlite/0001_event_centre.sql")),
    (2, "outage members", include_str!("../migrations/sqlite/0002_outage_members.sql")),
];

/// Migrations of PostgreSQL: the same versions.
const POSTGRES: &[(i64, &str, &str)] = &[
    (1, "event centre", include_str!("../migrations/postgres/0001_event_centre.sql")),
    (2, "outage members", include_str!("../migrations/postgres/0002_outage_members.sql")),
];

/// Opens the engine, migrates it and lists what is worth a warning.
pub(crate) async fn open(config: &Config) -> Result<(Engine, Vec<String>), Error> {
    match config {
        Config::Sqlite { path, limits } => Ok((sqlite(path, limits).await?, Vec::new())),
        Config::Postgres { url, limits } => postgres(url, limits).await,
    }
}

async fn sqlite(path: &Path, limits: &Limits) -> Result<Engine, Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let reason = "its folder does not exist".to_owned();
        return Err(Error::Path { path: folder.to_owned(), reason });
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(limits.busy_max)
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", "-65536")
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    let named = |error| match Error::sqlite(error) {
        Error::Refused { reason } => Error::Path { path: path.to_owned(), reason },
        error => error,
    };
    let write = SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        // A file does not go away like a server.
        .test_before_acquire(false)
        .acquire_timeout(limits.acquire_max)
        .idle_timeout(None)
        .max_lifetime(None)
        // What comes back within a transaction is closed, as with PostgreSQL. On a full disk SQLite itself rolls back, which
        // the driver does not see: it would refuse every later transaction as one within this one, and what is wrong with
        // the disk would not be said.
        .after_release(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
        .connect_with(options.clone())
        .await
        .map_err(named)?;
    check_sqlite(&write).await?;
    migrate(&write, SQLITE).await.map_err(|error| migration_error(error, Error::sqlite))?;
    let read = SqlitePoolOptions::new()
        .max_connections(limits.connections_max)
        .test_before_acquire(false)
        .acquire_timeout(limits.acquire_max)
        .max_lifetime(None)
        .connect_with(options.clone().read_only(true).create_if_missing(false))
        .await
        .map_err(named)?;
    let tend = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(limits.acquire_max)
        .test_before_acquire(false)
        .max_lifetime(None)
        .connect_lazy_with(options);
    Ok(Engine::Sqlite { write, read, tend })
}

/// A file system may refuse WAL silently; then `NORMAL` durability would be a lie, so look.
async fn check_sqlite(write: &SqlitePool) -> Result<(), Error> {
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(write).await.map_err(Error::sqlite)?;
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(write).await.map_err(Error::sqlite)?;
    let setting = |setting: &str, found, wanted| Error::Setting {
        setting: setting.to_owned(),
        found,
        wanted,
    };
    if mode != "wal" {
        return Err(setting("journal_mode", mode, "wal (a local file system)"));
    }
    if synchronous != 2 {
        return Err(setting("synchronous", synchronous.to_string(), "FULL"));
    }
    Ok(())
}

/// Whether a URL of a database can be understood; nothing is reached for.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str) -> Result<(), Error> {
    options_of(url).map(|_| ())
}

fn options_of(url: &str) -> Result<PgConnectOptions, Error> {
    // The driver takes any scheme.
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        let reason = "the URL must begin with postgres:// (SQLite: leave it empty)".to_owned();
        return Err(Error::Refused { reason });
    }
    PgConnectOptions::from_str(url).map_err(Error::postgres)
}

async fn postgres(url: &str, limits: &Limits) -> Result<(Engine, Vec<String>), Error> {
    let millis = |limit: std::time::Duration| limit.as_millis().to_string();
    let options = options_of(url)?
        .application_name("yiwang")
        .statement_cache_capacity(STATEMENTS_MAX)
        .options([
            ("statement_timeout", millis(limits.call_max)),
            ("lock_timeout", millis(limits.call_max)),
            ("idle_in_transaction_session_timeout", millis(limits.idle_in_transaction_max)),
            ("tcp_user_timeout", millis(limits.call_max)),
        ])
        .disable_statement_logging();
    reach(&options, limits).await?;
    let pool = PgPoolOptions::new()
        .max_connections(limits.connections_max)
        .acquire_timeout(limits.acquire_max)
        .connect_with(options)
        .await
        .map_err(Error::postgres)?;
    let warnings = check_postgres(&pool).await?;
    migrate(&pool, POSTGRES).await.map_err(|error| migration_error(error, Error::postgres))?;
    Ok((Engine::Postgres { pool, limits: limits.clone() }, warnings))
}

/// One connection by hand: a pool would only say that it waited too long.
async fn reach(options: &PgConnectOptions, limits: &Limits) -> Result<(), Error> {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let unreachable = |reason: String| Error::Unreachable {
        engine: "postgres",
        reason: format!("{place}: {reason}"),
    };
    match tokio::time::timeout(limits.acquire_max, options.connect()).await {
        Ok(Ok(connection)) => connection.close().await.map_err(Error::postgres),
        Ok(Err(error)) => Err(match Error::postgres(error) {
            Error::Unreachable { reason, .. } => unreachable(reason),
            error => error,
        }),
        Err(_) => Err(unreachable(format!("no answer in {} s", limits.acquire_max.as_secs()))),
    }
}

/// Setting, values that keep the promise, and what to write into the server's configuration.
const SETTINGS: &[(&str, &[&str], &str)] = &[
    ("fsync", &["on"], "on"),
    ("full_page_writes", &["on"], "on"),
    ("synchronous_commit", &["on", "remote_apply"], "on"),
    ("server_encoding", &["UTF8"], "UTF8 (initdb -E UTF8)"),
    ("transaction_read_only", &["off"], "off (a primary, not a standby)"),
];

async fn check_postgres(pool: &PgPool) -> Result<Vec<String>, Error> {
    for (setting, good, wanted) in SETTINGS {
        let found = setting_of(pool, setting).await?;
        if !good.contains(&found.as_str()) {
            return Err(Error::Setting { setting: (*setting).to_owned(), found, wanted });
        }
    }
    let mut warnings = Vec::new();
    if setting_of(pool, "data_checksums").await? != "on" {
        warnings.push(
            "data_checksums=off: the server cannot tell a damaged page; stop it and run \
             pg_checksums --enable"
                .to_owned(),
        );
    }
    Ok(warnings)
}

async fn setting_of(pool: &PgPool, setting: &str) -> Result<String, Error> {
    sqlx::query_scalar("SELECT current_setting($1)")
        .bind(setting)
        .fetch_one(pool)
        .await
        .map_err(Error::postgres)
}

/// Applies what is missing. A schema newer than this program is fine: N reads what N+1 expanded.
async fn migrate<DB>(
    pool: &sqlx::Pool<DB>,
    files: &[(i64, &str, &'static str)],
) -> Result<(), MigrateError>
where
    DB: sqlx::Database,
    DB::Connection: Migrate,
{
    let migration = |(version, name, text): &(i64, &str, &'static str)| {
        let kind = MigrationType::Simple;
        Migration::new(*version, (*name).to_owned().into(), kind, text.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(files.iter().map(migration).collect());
    migrator.set_ignore_missing(true);
    let mut connection = pool.acquire().await?;
    migrator.run_direct(None, &mut *connection, false).await
}

fn migration_error(error: MigrateError, sort: fn(sqlx::Error) -> Error) -> Error {
    match error {
        MigrateError::Execute(error) => sort(error),
        error => Error::Migration { reason: error.to_string() },
    }
}
