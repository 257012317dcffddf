//! Who may write.

use std::time::Duration;

use yiwang_store::{Action, Error, Position};

use crate::support::Place;

const LONG: Duration = Duration::from_secs(600);
const POSITION: Position = Position { epoch: 1, partition: 0, seq: 1 };

pub async fn a_stale_holder_is_fenced(place: &Place) {
    let store = place.open().await;
    let old = store.acquire_lease("centre", "a", Duration::ZERO).await.unwrap().unwrap();
    // Run out, but nobody else has it: writing is safe.
    store.begin(Some(&old)).await.unwrap().commit().await.unwrap();
    let new = store.acquire_lease("centre", "b", LONG).await.unwrap().unwrap();
    assert!(new.token > old.token);
    let error = store.begin(Some(&old)).await.err().unwrap();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert_eq!(error.action(), Action::Fenced);
    assert_eq!(store.renew_lease(&old, LONG).await.unwrap_err().action(), Action::Fenced);
    assert_eq!(store.release_lease(&old).await.unwrap_err().action(), Action::Fenced);
    let mut tx = store.begin(Some(&new)).await.unwrap();
    tx.set_position("signals", POSITION).await.unwrap();
    tx.commit().await.unwrap();
    let missing = yiwang_store::Lease { name: "other".to_owned(), ..new };
    assert!(store.begin(Some(&missing)).await.is_err());
}

pub async fn a_lease_is_taken_over_when_it_has_run_out(place: &Place) {
    let store = place.open().await;
    let first = store.acquire_lease("centre", "a", LONG).await.unwrap().unwrap();
    assert_eq!(store.acquire_lease("centre", "b", LONG).await.unwrap(), None);
    store.renew_lease(&first, Duration::ZERO).await.unwrap();
    let second = store.acquire_lease("centre", "b", LONG).await.unwrap().unwrap();
    assert!(second.token > first.token);
    store.release_lease(&second).await.unwrap();
    let third = store.acquire_lease("centre", "a", LONG).await.unwrap().unwrap();
    let again = store.acquire_lease("centre", "a", LONG).await.unwrap().unwrap();
    assert!(third.token > second.token && again.token > third.token, "each start is a new holder");
    assert!(store.acquire_lease("other", "b", LONG).await.unwrap().is_some());
}

pub async fn a_takeover_waits_for_the_open_transaction(place: &Place) {
    let store = place.open().await;
    let old = store.acquire_lease("centre", "a", Duration::ZERO).await.unwrap().unwrap();
    let mut tx = store.begin(Some(&old)).await.unwrap();
    let takeover = tokio::spawn({
        let store = place.open().await;
        async move { store.acquire_lease("centre", "b", LONG).await.unwrap().unwrap() }
    });
    tx.set_position("signals", POSITION).await.unwrap();
    assert!(!takeover.is_finished());
    tx.commit().await.unwrap();
    let new = takeover.await.unwrap();
    assert!(new.token > old.token);
    assert_eq!(store.positions("signals").await.unwrap(), [POSITION]);
    assert!(store.begin(Some(&old)).await.is_err());
}
