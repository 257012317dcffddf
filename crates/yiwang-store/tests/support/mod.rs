//! Stores for the conformance suite, each empty and its own, and the rows to fill them with.

pub mod rows;

use yiwang_core::incident::Changes;
use yiwang_store::{Applied, Config, Error, Numbering, Store};

/// Numbers of every test.
pub const NUMBERING: Numbering<'static> = Numbering { district: "310118", day: "20261124" };

/// An empty store of one engine; what keeps it alive goes with it.
pub struct Place {
    pub config: Config,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub async fn open(&self) -> Store {
        Store::open(&self.config).await.unwrap()
    }
}

/// A file of its own.
pub async fn sqlite() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place { config: Config::sqlite(folder.path().join("store.db")), _folder: Some(folder) }
}

/// A database of its own on the server of `YIWANG_TEST_POSTGRES`.
#[cfg(feature = "postgres-tests")]
pub async fn postgres() -> Place {
    use std::sync::atomic::{AtomicU32, Ordering};

    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("YIWANG_TEST_POSTGRES")
        .expect("YIWANG_TEST_POSTGRES=postgres://… is missing; `cargo xtask test` sets it");
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("yiwang_test_{}_{number}", std::process::id());
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    for text in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
    }
    let (server, _) = url.rsplit_once('/').expect("the url ends with a database");
    Place { config: Config::postgres(format!("{server}/{name}")), _folder: None }
}

/// Applies and commits.
pub async fn write(store: &Store, changes: &Changes) -> Result<Applied, Error> {
    let mut tx = store.begin(None).await?;
    let applied = tx.apply(changes, &NUMBERING).await?;
    tx.commit().await?;
    Ok(applied)
}
