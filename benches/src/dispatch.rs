//! `dispatch-sqlite`, `dispatch-postgres`: signals to durable, dispatched incidents through the centre's writer, in
//! batches of 256, each batch one transaction; then how long a signal takes that comes alone.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use yiwang_centre::{Config, InForce, Parts, Writer};
use yiwang_core::district::District;
use yiwang_core::incident::{Outcome, State, Terms};
use yiwang_core::record::Signal;
use yiwang_log::{Log, MemoryConfig, standard_topics};
use yiwang_store::{IncidentFilter, Position, Scope, Store};

use crate::fixture;
use crate::report::{Line, median};

/// Runs, each on a store of its own.
const ROUNDS: usize = 5;
/// Signals of a run, each an incident of its own.
const SIGNALS: usize = 40 * BATCH;
/// Signals of a transaction: the shipped configuration's.
const BATCH: usize = 256;
/// Signals that come alone, each a transaction.
const ALONE: usize = 256;

/// What a run measured.
struct Round {
    /// Incidents a second.
    rate: f64,
    /// Milliseconds of the transactions of one signal, ascending.
    alone_ms: Vec<f64>,
}

impl Round {
    fn alone_ms(&self, quantile: f64) -> f64 {
        let at = ((self.alone_ms.len().max(1) - 1) as f64 * quantile).round() as usize;
        self.alone_ms.get(at).copied().unwrap_or_default()
    }
}

/// SQLite in a temporary folder.
///
/// # Errors
/// The store's.
pub fn run_sqlite() -> anyhow::Result<Line> {
    measure(|_| {
        let folder = tempfile::tempdir().context("failed to make a folder")?;
        round(&yiwang_store::Config::sqlite(folder.path().join("bench.db")))
    })
}

/// PostgreSQL at `YIWANG_TEST_POSTGRES`, a database of its own for each run, removed after it.
///
/// # Errors
/// The store's; if there is no server.
pub fn run_postgres() -> anyhow::Result<Line> {
    let url = std::env::var("YIWANG_TEST_POSTGRES")
        .context("YIWANG_TEST_POSTGRES is not set: run by `cargo xtask bench dispatch-postgres`")?;
    let (server, _) = url.rsplit_once('/').context("the URL of PostgreSQL names no database")?;
    measure(|number| {
        let name = format!("yiwang_bench_{}_{number}", std::process::id());
        psql(&url, &format!("CREATE DATABASE {name}"))?;
        let round = round(&yiwang_store::Config::postgres(format!("{server}/{name}")));
        psql(&url, &format!("DROP DATABASE {name} WITH (FORCE)"))?;
        round
    })
}

fn measure(mut run: impl FnMut(usize) -> anyhow::Result<Round>) -> anyhow::Result<Line> {
    let mut rounds = Vec::new();
    for number in 0..ROUNDS {
        let round = run(number)?;
        println!(
            "round {}: {:.0} incidents/s; a signal alone p50 {:.2} p99 {:.2} ms",
            number + 1,
            round.rate,
            round.alone_ms(0.5),
            round.alone_ms(0.99)
        );
        rounds.push(round);
    }
    let of = |value: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
    Ok(Line {
        value: of(&|round| round.rate),
        unit: "incidents/s",
        reference: None,
        ratio: None,
        further: vec![
            ("alone_p50_ms", of(&|round| round.alone_ms(0.5))),
            ("alone_p99_ms", of(&|round| round.alone_ms(0.99))),
        ],
    })
}

fn psql(url: &str, statement: &str) -> anyhow::Result<()> {
    let output = Command::new("psql").args([url, "-qc", statement]).output();
    let output = output.context("failed to run psql: install postgresql-client")?;
    if !output.status.success() {
        bail!("psql refused {statement}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn round(store: &yiwang_store::Config) -> anyhow::Result<Round> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(store).await?;
        let district = fixture::district()?;
        let round = dispatch(&store, &district).await;
        store.close().await;
        round
    })
}

async fn dispatch(store: &Store, district: &Arc<District>) -> anyhow::Result<Round> {
    let parts = Parts {
        log: Log::open_memory(MemoryConfig::default(), standard_topics(1))?,
        store: store.clone(),
        in_force: Arc::new(ArcSwap::from_pointee(InForce {
            district: Arc::clone(district),
            terms: Arc::new(Terms::default()),
        })),
    };
    let writer = Writer::open(&config(), &parts, &CancellationToken::new()).await?;
    let signals = fixture::alarms(district, SIGNALS + ALONE, writer.now());
    let (many, alone) = signals.split_at(SIGNALS);
    let mut read = 0;
    let begun = Instant::now();
    for batch in many.chunks(BATCH) {
        commit(&writer, batch, &mut read).await?;
    }
    let rate = SIGNALS as f64 / begun.elapsed().as_secs_f64();
    let mut alone_ms = Vec::with_capacity(ALONE);
    for signal in alone {
        let begun = Instant::now();
        commit(&writer, std::slice::from_ref(signal), &mut read).await?;
        alone_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    alone_ms.sort_by(f64::total_cmp);
    let dispatched =
        IncidentFilter { states: vec![State::Dispatched], ..IncidentFilter::default() };
    let count = store.count(&Scope::All, &dispatched).await?;
    ensure!(count == read, "{count} of {read} incidents are dispatched");
    Ok(Round { rate, alone_ms })
}

async fn commit(writer: &Writer, batch: &[Signal], read: &mut u64) -> anyhow::Result<()> {
    *read += batch.len() as u64;
    let position = Position { epoch: 0, partition: 0, seq: *read };
    let answers = writer.signals(batch, Some(position)).await?;
    ensure!(
        answers.iter().all(|answer| answer.outcome == Outcome::Opened),
        "a signal did not open an incident of its own"
    );
    Ok(())
}

fn config() -> Config {
    Config {
        name: "bench".to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        batch_signals_max: BATCH,
        unsent_changes_max: 1_000,
        unsent_bytes_max: 4 << 20,
        heartbeat: Duration::from_secs(15),
        streams_max: 16,
        lease: Duration::from_secs(600),
        outbox_age_max: Duration::from_secs(86_400),
        token_key: [7; 32],
        build: "bench".to_owned(),
    }
}
