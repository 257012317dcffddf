//! Seeded simulation of the three loops in one process and in paused time: gateway, router and centre over the memory
//! log and a SQLite file, with a network that drops, doubles and reorders, loops that die at any moment and a process
//! that crashes between append, receipt and commit. Afterwards the accounting of the delivery contract must hold.
//!
//! `YIWANG_SIM_SEED` runs one seed, `YIWANG_SIM_SEEDS` sets how many are run; a failure prints its seed.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod centre;
mod check;
mod fleet;
mod gateway;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Duration;
use tokio::runtime::Builder;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use yiwang_core::ledger::Stage;
use yiwang_log::{Batch, BatchLimit, Faults, Log, MemoryConfig, Route};
use yiwang_router::{Config, Router};

use fleet::GAS;
use world::{BUNDLE, Rest, topics};

/// Seeds of one run.
const SEEDS: u64 = 60;

/// Says which seed it was when a check fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0} failed: run it alone with YIWANG_SIM_SEED={0}", self.0);
        }
    }
}

fn paused<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

async fn simulate(seed: u64) -> Rest {
    let rest = world::run(seed).await;
    check::fates(&rest).await;
    check::effects(&rest).await;
    replayed(&rest.log).await;
    rest
}

/// One line of the accounting, in the words of the contract.
async fn told(seed: u64, rest: &Rest) {
    let row = |row| rest.ledger.row(Stage::Router, row);
    let readings = check::records(&rest.log, "readings").await.len();
    let signals = check::signals(&rest.log).await.len();
    let redelivered = check::records(&rest.log, "signals").await.len() - signals;
    println!(
        "seed {seed}: sent={} acked={} raw={} routed={} duplicate={} quarantined={} readings={readings} \
         signals={signals} redelivered={redelivered}",
        rest.fleet.attempted().len(),
        rest.fleet.promised().len(),
        row("raw"),
        row("routed"),
        row("duplicate"),
        row("quarantined"),
    );
}

/// Routes the same raw log without any fault: the outputs must be the same.
async fn replayed(log: &Log) {
    let again = Log::open_memory(MemoryConfig::default(), topics()).unwrap();
    let topic = again.topic("raw").unwrap();
    let mut batch = Batch::new();
    for record in check::records(log, "raw").await {
        batch.push(topic, Route::Partition(record.partition), &record.key, &[], &record.value);
    }
    again.writer().append(batch).await.unwrap().safe().await.unwrap();
    world::route_all(&again, Config::default()).await;
    for topic in ["readings", "signals", "quarantine"] {
        let (made, expected) =
            (check::outputs(log, topic).await, check::outputs(&again, topic).await);
        for (key, expected) in &expected {
            let made = made.get(key).map_or(&[][..], Vec::as_slice);
            let differ = made.iter().zip(expected).position(|(made, expected)| made != expected);
            let at = differ.unwrap_or(made.len().min(expected.len()));
            let shown = |list: &[Vec<u8>]| {
                let list = list.iter().skip(at.saturating_sub(1)).take(4);
                list.map(|value| check::shown(topic, value)).collect::<Vec<_>>().join("\n  ")
            };
            assert!(
                *made == **expected,
                "a replay without faults gives other {topic} of {}, from number {at} on:\n  {}\nmade:\n  {}",
                String::from_utf8_lossy(key),
                shown(expected),
                shown(made),
            );
        }
        assert_eq!(made.len(), expected.len(), "{topic} of a device that a replay does not make");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn no_seed_loses_doubles_or_reorders() {
    let first = number("YIWANG_SIM_SEED");
    let seeds = if first.is_some() { 1 } else { number("YIWANG_SIM_SEEDS").unwrap_or(SEEDS) };
    let next = AtomicU64::new(first.unwrap_or(1));
    let end = first.unwrap_or(1) + seeds;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let _named = Named(seed);
                    paused(async { told(seed, &simulate(seed).await).await });
                }
            });
        }
    });
}

/// The same seed makes the same log, record by record, whatever the threads of the store do.
#[test]
fn a_seed_is_one_history() {
    let history = |seed| {
        paused(async move {
            let rest = world::run(seed).await;
            let mut all = Vec::new();
            for topic in ["raw", "readings", "signals", "quarantine"] {
                all.push(check::records(&rest.log, topic).await);
            }
            all
        })
    };
    assert!(history(3) == history(3));
}

/// Outputs whose append failed come again: the step that made them had marked their ids as seen, and a snapshot of that
/// state must not outlive them.
#[test]
fn retry_the_append_never_the_step() {
    for seed in 0..40 {
        let _named = Named(seed);
        paused(failed_append(seed));
    }
}

async fn failed_append(seed: u64) {
    let slow = Duration::from_millis(100);
    let faults = Faults { sync_delay_max: slow, receipt_delay_max: slow, ..Faults::default() };
    let config = MemoryConfig { seed, faults, ..MemoryConfig::default() };
    let mut log = Log::open_memory(config, topics()).unwrap();
    let mut batch = Batch::new();
    let bodies: Vec<_> = (0..20).map(|seq| fleet::leak(seq, seq % 2 == 0)).collect();
    for body in &bodies {
        gateway::push(&log, &mut batch, GAS[0], body.as_bytes(), fleet::START + 60_000);
    }
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
    let config = Config {
        batch: BatchLimit { records_max: 3, ..BatchLimit::default() },
        snapshot_records_max: 1,
        ..Config::default()
    };
    // The log fails with outputs, snapshots and commits under way; every time the router had routed more.
    for life in 1..12 {
        let (router, _handle) = Router::new(config.clone(), log.clone(), BUNDLE.clone()).unwrap();
        let failing = async {
            sleep(slow * life / 3).await;
            log.crash()
        };
        let (ended, crashed) = tokio::join!(router.run(CancellationToken::new()), failing);
        assert!(ended.is_err() || life > 1, "the append of the outputs fails");
        log = crashed;
    }
    let ledger = world::route_all(&log, config).await;
    assert_eq!(ledger.row(Stage::Router, "routed"), 20);
    assert_eq!(ledger.row(Stage::Router, "duplicate"), 0, "a retry is no second message");
    let readings = check::outputs(&log, "readings").await;
    assert_eq!(readings.values().map(Vec::len).sum::<usize>(), 20);
    replayed(&log).await;
}
