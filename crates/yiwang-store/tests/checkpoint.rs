//! SQLite's log is kept short beside the writer, and nothing is lost by it.
#![expect(clippy::unwrap_used, reason = "a failed call is a failed test")]

#[expect(dead_code, reason = "the conformance suite uses the rest")]
mod support;

use support::rows::dispatched;
use support::{NUMBERING, Place, write};
use yiwang_store::{Config, IncidentFilter, Scope};

const WRITES: u64 = 40;

fn log_bytes(place: &Place) -> u64 {
    let Config::Sqlite { path, .. } = &place.config else { panic!("a file") };
    std::fs::metadata(path.with_extension("db-wal")).unwrap().len()
}

#[tokio::test]
async fn the_log_stays_short_however_much_is_written() {
    let place = support::sqlite().await;
    let store = place.open().await;
    let changes = |number| dispatched(1, number, "town-3", "village-7");
    let before = log_bytes(&place);
    write(&store, &changes(0)).await.unwrap();
    let one = log_bytes(&place) - before;
    assert_eq!(store.checkpoint().await.unwrap(), 0, "nobody reads");
    for number in 1..WRITES {
        write(&store, &changes(number)).await.unwrap();
        assert_eq!(store.checkpoint().await.unwrap(), 0);
    }
    let most = log_bytes(&place);
    assert!(most < one * WRITES / 4, "{most} bytes of log, {one} for one write");

    // It waits for no writer, and no writer for it.
    let mut tx = store.begin(None).await.unwrap();
    tx.apply(&changes(WRITES), &NUMBERING).await.unwrap();
    store.checkpoint().await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let store = place.open().await;
    let count = store.count(&Scope::All, &IncidentFilter::default()).await.unwrap();
    assert_eq!(count, WRITES + 1);
    assert_eq!(store.damage().await.unwrap(), Vec::<String>::new());
}
