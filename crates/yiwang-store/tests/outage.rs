//! PostgreSQL that goes away in mid-run: every call says what to do, and all goes on without a
//! restart.
#![cfg(feature = "postgres-tests")]
#![expect(clippy::unwrap_used, reason = "a failed call is a failed test")]

#[path = "support/proxy.rs"]
mod proxy;
#[expect(dead_code, reason = "the conformance suite uses the rest")]
mod support;

use proxy::{Cut, Proxy};
use support::rows::dispatched;
use support::{NUMBERING, Place, write};
use yiwang_store::{Action, Config, Error, IncidentFilter, Limits, Position, Scope, Store};

const POSITION: Position = Position { epoch: 1, partition: 0, seq: 1 };

/// A store whose server is reached through a proxy that can be cut.
async fn behind_proxy(place: &Place) -> (Proxy, Store) {
    let Config::Postgres { url, .. } = &place.config else { panic!("a PostgreSQL place") };
    let (proxy, url) = Proxy::in_front_of(url).await;
    let limits = Limits {
        acquire_max: std::time::Duration::from_secs(2),
        call_max: std::time::Duration::from_secs(2),
        ..Limits::default()
    };
    let store = Store::open(&Config::Postgres { url, limits }).await.unwrap();
    (proxy, store)
}

async fn open_transaction(store: &Store) -> yiwang_store::Tx {
    let mut tx = store.begin(None).await.unwrap();
    tx.apply(&dispatched(1, 1, "town-3", "village-7"), &NUMBERING).await.unwrap();
    tx.set_position("signals", POSITION).await.unwrap();
    tx
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_looked_up() {
    let place = support::postgres().await;
    let (proxy, store) = behind_proxy(&place).await;
    let tx = open_transaction(&store).await;
    proxy.cut_at(Cut::AnswerOf(b"COMMIT"));
    tx.commit().await.expect("the server had committed");
    assert_eq!(store.positions("signals").await.unwrap(), [POSITION]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_is_a_retry() {
    let place = support::postgres().await;
    let (proxy, store) = behind_proxy(&place).await;
    let tx = open_transaction(&store).await;
    proxy.cut_at(Cut::Request(b"COMMIT"));
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.action(), Action::Retry, "{error}");
    assert!(!matches!(error, Error::InDoubt { .. }), "{error}");
    assert!(store.positions("signals").await.unwrap().is_empty());
    open_transaction(&store).await.commit().await.unwrap();
    assert_eq!(store.positions("signals").await.unwrap(), [POSITION]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_is_used_again() {
    let place = support::postgres().await;
    let (proxy, store) = behind_proxy(&place).await;
    let mut tx = open_transaction(&store).await;
    proxy.refuse(true);
    let error = tx.set_position("signals", POSITION).await.unwrap_err();
    assert_eq!(error.action(), Action::Retry, "{error}");
    assert!(tx.commit().await.is_err());
    for _ in 0..3 {
        let error = store.positions("signals").await.unwrap_err();
        assert_eq!(error.action(), Action::Retry, "{error}");
        let error = store.begin(None).await.err().unwrap();
        assert_eq!(error.action(), Action::Retry, "{error}");
    }
    proxy.refuse(false);
    write(&store, &dispatched(1, 1, "town-3", "village-7")).await.unwrap();
    let all = IncidentFilter::default();
    assert_eq!(store.count(&Scope::All, &all).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_session_is_a_retry() {
    let place = support::postgres().await;
    let store = place.open().await;
    let mut tx = open_transaction(&store).await;
    let Config::Postgres { url, .. } = &place.config else { panic!("a PostgreSQL place") };
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.unwrap();
    let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE pid <> pg_backend_pid() AND datname = current_database()";
    sqlx::raw_sql(text).execute(&mut admin).await.unwrap();
    let error = tx.set_position("signals", POSITION).await.unwrap_err();
    assert_eq!(error.action(), Action::Retry, "{error}");
    drop(tx);
    write(&store, &dispatched(1, 1, "town-3", "village-7")).await.unwrap();
}

#[tokio::test]
async fn an_address_without_server_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = Config::postgres(format!("postgres://postgres@127.0.0.1:{port}/yiwang"));
    let error = Store::open(&config).await.err().unwrap();
    assert_eq!(error.action(), Action::Retry, "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn a_database_that_is_missing_is_a_matter_of_configuration() {
    let place = support::postgres().await;
    let Config::Postgres { url, .. } = &place.config else { panic!("a PostgreSQL place") };
    let error = Store::open(&Config::postgres(format!("{url}_missing"))).await.err().unwrap();
    assert_eq!(error.action(), Action::Config, "{error}");
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_refused() {
    let place = support::postgres().await;
    let Config::Postgres { url, .. } = &place.config else { panic!("a PostgreSQL place") };
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.unwrap();
    let (_, name) = url.rsplit_once('/').unwrap();
    let text = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
    let error = Store::open(&place.config).await.err().unwrap();
    assert_eq!(error.action(), Action::Config, "{error}");
    assert!(error.to_string().contains("synchronous_commit=off"), "{error}");
}
