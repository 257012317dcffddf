//! The router role: reads topic `raw`, runs the pure step of `yiwang-core`, appends what came out.
//!
//! Owns the loop, the snapshots and the configuration swaps. Invariants: a batch's outputs are one append; a snapshot is
//! written, and `raw` committed up to it, only when all outputs before it are safe; the append is retried by the log,
//! the step never. It refuses to read a database or a clock: time comes with the records.

mod bundle;
mod careful;
mod dispatch;
mod error;
#[cfg(feature = "fault-points")]
mod fault;
mod finish;
mod forward;
mod generation;
mod handle;
pub mod metrics;
mod outputs;
mod partition;
pub use yiwang_proto::readings;
mod shelf;
mod storms;
pub mod trace;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use yiwang_log::{BatchLimit, Log, Start};

pub use bundle::Bundle;
pub use error::Error;
pub use handle::Handle;

use careful::Care;
use dispatch::Dispatcher;
use finish::finish;
use handle::{Progress, StormRow};
use outputs::Topics;
use storms::Storms;
use work::{Context, Worker};

/// Name of the router among the readers of topic `raw`.
pub const GROUP: &str = "router";
/// Name of its second stage among the readers of topic `lifecycle`.
pub const STORMS: &str = "storms";

/// Settings of the router.
#[derive(Clone, Debug)]
pub struct Config {
    /// Workers that share the partitions of this process; none counts as one.
    pub workers: usize,
    /// Most records and bytes of one batch.
    pub batch: BatchLimit,
    /// Most batches whose outputs are not yet safe.
    pub in_flight_max: usize,
    /// Longest time between two snapshots of a partition.
    pub snapshot_every: Duration,
    /// Most records between two snapshots of a partition: what a restart replays. More where devices are many.
    pub snapshot_records_max: u64,
    /// So many records for each device that a snapshot has to name: what one costs stays a share of the whole.
    pub snapshot_records_per_device: u64,
    /// Lives that may end at a record, and lives that may get nowhere before one is careful.
    pub attempts_max: u32,
    /// CloudEvents headers on outputs, for other readers of a Kafka log.
    pub cloud_events: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 1,
            batch: BatchLimit::default(),
            in_flight_max: 64,
            snapshot_every: Duration::from_secs(20),
            snapshot_records_max: 500_000,
            snapshot_records_per_device: 8,
            attempts_max: 3,
            cloud_events: false,
        }
    }
}

/// The role, ready to run.
pub struct Router {
    config: Config,
    log: Log,
    topics: Topics,
    bundles: watch::Receiver<Arc<Bundle>>,
    progress: Arc<Progress>,
    storms: Arc<Progress<StormRow>>,
}

impl Router {
    /// A router and its handle; the log must have the standard topics and those of the routes.
    ///
    /// # Errors
    /// A topic is missing.
    pub fn new(config: Config, log: Log, bundle: Arc<Bundle>) -> Result<(Self, Handle), Error> {
        let topics = Topics::of(&log)?;
        bundle.find_topics(&log)?;
        let (sender, bundles) = watch::channel(bundle);
        let (progress, storms) = (Arc::new(Progress::default()), Arc::new(Progress::default()));
        let handle = Handle::new(sender, (progress.clone(), storms.clone()), log.clone());
        Ok((Self { config, log, topics, bundles, progress, storms }, handle))
    }

    /// Routes until `drain` is cancelled; then every output is safe and every partition has a fresh snapshot.
    ///
    /// # Errors
    /// The log fails. What was not safe comes again after the next start.
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        let Self { config, log, topics, bundles, progress, storms } = self;
        let reader = log.reader("raw", GROUP, Start::Committed).await?;
        let (sender, receiver) = mpsc::channel(config.in_flight_max.max(1));
        let finished = finish(receiver, log.writer(), topics.state, reader.committer());
        let mut dispatcher = Dispatcher::new(reader, config.batch, progress.clone());
        let care = Arc::new(Care::default());
        let mut workers = JoinSet::new();
        for _ in 0..config.workers.max(1) {
            let context = Context {
                config: config.clone(),
                log: log.clone(),
                topics,
                bundles: bundles.clone(),
                progress: progress.clone(),
                care: care.clone(),
                items: sender.clone(),
                drain: drain.clone(),
            };
            let worker = Worker::new(context);
            workers.spawn(worker.run(dispatcher.worker()));
        }
        drop(sender);
        let context = (log.clone(), topics, bundles, storms);
        let storms = Storms::new(config, context, drain.clone()).run();
        // The dispatcher's reader keeps the partitions until all is finished: the next router finds the last snapshots.
        tokio::try_join!(dispatcher.run(drain), dispatch::join(workers), finished, storms)
            .map(|_| ())
    }
}
