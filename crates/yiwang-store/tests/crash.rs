//! A process that is killed in the middle of a transaction leaves all of it or nothing.
//!
//! The parent starts this test binary again as a writer, follows its marks and kills it at a chosen
//! one.
#![expect(clippy::unwrap_used, reason = "a failed call is a failed test")]

#[expect(dead_code, reason = "the conformance suite uses the rest")]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use yiwang_core::incident::Changes;
use yiwang_store::{Config, IncidentFilter, Position, Scope, Store};

use support::NUMBERING;
use support::rows::{dispatched, merge};

/// Path of the store that the child writes to.
const CHILD: &str = "YIWANG_STORE_CRASH_CHILD";

/// Incidents per transaction.
const BATCH: u64 = 16;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn position(store: &Store) -> u64 {
    store.positions("signals").await.unwrap().first().map_or(0, |position| position.seq)
}

fn mark(word: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{word} {number}").unwrap();
    out.flush().unwrap();
}

/// Writes transaction after transaction and says where it is.
#[test]
fn child_writes_until_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    block_on(async {
        let store = Store::open(&Config::sqlite(path)).await.unwrap();
        let mut next = position(&store).await;
        loop {
            let mut changes = Changes::default();
            for number in next..next + BATCH {
                merge(&mut changes, dispatched(1, number, "town-3", "village-7"));
            }
            mark("begin", next);
            let mut tx = store.begin(None).await.unwrap();
            tx.apply(&changes, &NUMBERING).await.unwrap();
            next += BATCH;
            let end = Position { epoch: 1, partition: 0, seq: next };
            tx.set_position("signals", end).await.unwrap();
            mark("applied", next);
            tx.commit().await.unwrap();
            mark("committed", next);
        }
    });
}

fn start(path: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_killed", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child at the `count`th mark of this word; says what it had committed by its own words.
fn kill_at(mut child: Child, word: &str, count: usize) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut committed, mut seen) = (0, 0);
    while seen < count {
        let line = lines.next().expect("the child goes on until it is killed").unwrap();
        let Some((_, marked)) = line.split_once('@') else { continue };
        let (what, number) = marked.split_once(' ').unwrap();
        if what == "committed" {
            committed = number.parse().unwrap();
        }
        seen += usize::from(what == word);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        if let Some(number) = line.strip_prefix("@committed ") {
            committed = number.parse().unwrap_or(committed);
        }
    }
    committed
}

async fn whole(path: &std::path::Path, acknowledged: u64) {
    let store = Store::open(&Config::sqlite(path)).await.unwrap();
    let stored = position(&store).await;
    assert!(stored >= acknowledged, "{acknowledged} acknowledged, {stored} stored");
    assert_eq!(stored % BATCH, 0);
    let all = IncidentFilter::default();
    assert_eq!(store.count(&Scope::All, &all).await.unwrap(), stored);
    assert_eq!(store.outbox_span().await.unwrap().head, stored * 4);
    assert_eq!(store.ledger().await.unwrap(), store.recount().await.unwrap());
    assert_eq!(store.damage().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[test]
fn a_killed_writer_leaves_whole_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    for round in 0..15 {
        let word = ["begin", "applied", "committed"][round % 3];
        let acknowledged = kill_at(start(&path), word, 1 + round / 3);
        block_on(whole(&path, acknowledged));
    }
}
