//! Outbox numbers under many writers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use yiwang_store::{Config, Prune, Store};

use crate::support::rows::{START, dispatched};
use crate::support::{Place, write};

const WRITERS: u64 = 4;
const STEPS: u64 = 25;

/// Follows the outbox as `Watch` does: whoever has seen n never finds a smaller number later.
async fn follow(store: Store, done: Arc<AtomicBool>) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let ended = done.load(Ordering::SeqCst);
        let after = seen.last().copied().unwrap_or(0);
        let page = store.outbox_after(after, 50).await.unwrap();
        if page.is_empty() && ended {
            return seen;
        }
        seen.extend(page.iter().map(|entry| entry.seq));
        tokio::task::yield_now().await;
    }
}

async fn writer(store: Store, writer: u64) {
    for step in 0..STEPS {
        let changes = dispatched(writer, writer * STEPS + step, "town-3", "village-7");
        if step % 5 == 4 {
            // A transaction that took numbers and gave them back.
            let mut tx = store.begin(None).await.unwrap();
            tx.apply(&changes, &crate::support::NUMBERING).await.unwrap();
            tx.rollback().await.unwrap();
        }
        loop {
            match write(&store, &changes).await {
                Ok(_) => break,
                Err(error) if error.action() == yiwang_store::Action::Retry => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub async fn outbox_numbers_are_in_the_order_of_commits(place: &Place) {
    let store = place.open().await;
    let done = Arc::new(AtomicBool::new(false));
    let follower = tokio::spawn(follow(store.clone(), done.clone()));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        // Each writer like a process of its own where the engine allows it.
        let own = match &place.config {
            Config::Sqlite { .. } => store.clone(),
            Config::Postgres { .. } => place.open().await,
        };
        writers.spawn(writer(own, number));
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let seen = follower.await.unwrap();
    let all = WRITERS * STEPS * 4;
    assert_eq!(seen, (1..=all).collect::<Vec<_>>(), "contiguous and in order");
    assert_eq!(store.outbox_span().await.unwrap().head, all);
    let numbers: HashSet<_> =
        store.outbox_after(0, 1000).await.unwrap().into_iter().map(|e| e.row.view.no).collect();
    assert_eq!(numbers.len() as u64, WRITERS * STEPS);
}

pub async fn old_changes_go_from_the_front(place: &Place) {
    let store = place.open().await;
    for number in 0..3 {
        write(&store, &dispatched(1, number, "town-3", "village-7")).await.unwrap();
    }
    let prune = async |before, limit| {
        let mut tx = store.begin(None).await.unwrap();
        let removed = tx.prune(Prune::Outbox, before, limit).await.unwrap();
        tx.commit().await.unwrap();
        removed
    };
    assert_eq!(prune(START, 100).await, 0);
    assert_eq!(prune(START + 1, 3).await, 3);
    assert_eq!(prune(START + 1, 100).await, 1);
    assert_eq!(prune(START + 1, 100).await, 0);
    let span = store.outbox_span().await.unwrap();
    assert_eq!((span.first, span.head), (5, 12));
    assert_eq!(prune(i64::MAX, 100).await, 8);
    let span = store.outbox_span().await.unwrap();
    assert_eq!((span.first, span.head), (13, 12), "the head is remembered");
}
