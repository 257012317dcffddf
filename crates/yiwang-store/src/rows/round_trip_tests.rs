//! Every table gives back what was put into it, and the schema has exactly the columns of the rows.

use std::collections::BTreeSet;

use proptest::prelude::*;
use yiwang_core::incident::Changes;

use super::{Row, Table, blob, read_all};
use crate::engine::{Dialect, Kind, Value};
use crate::{Config, Error, Numbering, Store};

#[path = "../../tests/support/rows.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses the rest")]
mod sample;

const NUMBERING: Numbering<'static> = Numbering { district: "310118", day: "20261124" };

async fn all_of<R: Row>(store: &Store, table: &Table) -> Result<Vec<R>, Error> {
    let text = format!("SELECT {} FROM {}", table.select(table.name), table.name);
    read_all(store.rows(&text, vec![], &table.kinds).await?)
}

/// Same rows in any order.
fn same<R: Row + PartialEq + std::fmt::Debug>(mut stored: Vec<R>, given: &[R]) {
    assert_eq!(stored.len(), given.len());
    for row in given {
        let place = stored.iter().position(|other| other == row);
        let place = place.unwrap_or_else(|| panic!("not stored as given: {row:?} in {stored:?}"));
        stored.swap_remove(place);
    }
}

async fn round_trip(store: &Store, given: &Changes) {
    let mut tx = store.begin(None).await.unwrap();
    tx.apply(given, &NUMBERING).await.unwrap();
    tx.commit().await.unwrap();
    let tables = &store.shared.tables;
    let incidents: Vec<_> = given.incidents.iter().map(|upsert| upsert.row.clone()).collect();
    same(all_of(store, &tables.incident).await.unwrap(), &incidents);
    same(all_of(store, &tables.task).await.unwrap(), &given.tasks);
    same(all_of(store, &tables.clock).await.unwrap(), &given.clocks);
    same(all_of(store, &tables.segment).await.unwrap(), &given.segments);
    same(all_of(store, &tables.request).await.unwrap(), &given.requests);
    same(all_of(store, &tables.history).await.unwrap(), &given.history);
    same(all_of(store, &tables.outbox).await.unwrap(), &given.outbox);
    same(all_of(store, &tables.audit).await.unwrap(), &given.audit);
    same(all_of(store, &tables.signal).await.unwrap(), &given.signals);
    same(all_of(store, &tables.command).await.unwrap(), &given.commands);
    same(all_of(store, &tables.fire).await.unwrap(), &given.fires);
    same(all_of(store, &tables.policy).await.unwrap(), &given.policies);
}

async fn sqlite(folder: &tempfile::TempDir) -> Store {
    Store::open(&Config::sqlite(folder.path().join("store.db"))).await.unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_row_round_trips(seed: u64) {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let store = sqlite(&folder).await;
            round_trip(&store, &sample::everything(seed)).await;
            store.close().await;
        });
    }

    #[test]
    fn a_blob_never_panics(bytes: Vec<u8>) {
        let _ = blob::read::<yiwang_core::incident::Incident>(&bytes);
    }

    #[test]
    fn a_blob_round_trips_and_fills_up(seed: u64, cut in 0usize..19) {
        let row = sample::task(&mut sample::Rng(seed), yiwang_core::ids::Id(seed.into()), 1);
        let mut values = Vec::new();
        row.put(&mut values);
        let mut out = blob::start();
        blob::push(&values, &mut out);
        prop_assert_eq!(blob::read(&out), Some(vec![row.clone()]));
        // What an older version wrote has fewer columns: the rest reads as null, here only the
        // optional last ones.
        let mut shorter = blob::start();
        blob::push(&values[..19 - cut], &mut shorter);
        let read = blob::read::<yiwang_core::incident::Task>(&shorter);
        prop_assert_eq!(read.is_some(), cut <= 4);
    }
}

#[tokio::test]
async fn the_schema_of_sqlite_has_the_columns_of_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder).await;
    schema(&store, "SELECT name FROM pragma_table_info($1)").await;
}

#[cfg(feature = "postgres-tests")]
#[tokio::test]
async fn the_schema_of_postgres_has_the_columns_of_the_rows() {
    let url = std::env::var("YIWANG_TEST_POSTGRES")
        .expect("YIWANG_TEST_POSTGRES is set by `cargo xtask test`");
    // A database of its own: the given one may hold the schema of another version.
    let name = format!("yiwang_schema_{}", std::process::id());
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    for text in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
    }
    let (server, _) = url.rsplit_once('/').unwrap();
    let store = Store::open(&Config::postgres(format!("{server}/{name}"))).await.unwrap();
    let text = "SELECT column_name::text FROM information_schema.columns \
                WHERE table_schema = current_schema() AND table_name = $1";
    schema(&store, text).await;
}

async fn schema(store: &Store, text: &str) {
    let tables = &store.shared.tables;
    let all = [
        &tables.incident,
        &tables.task,
        &tables.clock,
        &tables.segment,
        &tables.request,
        &tables.history,
        &tables.outbox,
        &tables.audit,
        &tables.signal,
        &tables.command,
        &tables.fire,
        &tables.policy,
        &tables.audience,
        &tables.ledger,
    ];
    for table in all {
        let rows = store.rows(text, vec![Value::text(table.name)], &[Kind::Text]).await.unwrap();
        let column = |value: Value<'static>| match value {
            Value::Text(Some(name)) => name.into_owned(),
            other => panic!("{other:?}"),
        };
        let there: BTreeSet<String> = rows.into_iter().flatten().map(column).collect();
        let wanted: BTreeSet<String> = table.names().map(str::to_owned).collect();
        assert_eq!(there, wanted, "{}", table.name);
    }
}

#[test]
fn both_dialects_know_their_words() {
    assert_eq!(Dialect::Postgres.member("id", 2, Kind::Bytes), "id = ANY($2)");
    assert!(Dialect::Sqlite.member("id", 2, Kind::Bytes).contains("unhex"));
}
