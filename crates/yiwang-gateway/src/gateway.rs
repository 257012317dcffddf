//! Assembles the lanes: binds first, serves then, stops in the order that loses nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use yiwang_log::{Log, Start};

use crate::admission::{Admission, Waited};
use crate::config::{Config, RawSubscribe};
use crate::directory::Directory;
use crate::downlink::{COMMANDS, Downlink, Outlet};
use crate::intake::{Clock, Halted, Intake};
use crate::kafka::Intaker;
use crate::ledger::Ledger;
use crate::listen::{self, Shared, control::Closed, sessions::Sessions};
use crate::publisher::{self, Publisher};
use crate::source::{Source, SourceState};
use crate::stats::Stats;
use crate::subscribe::Subscriber;
use crate::{Error, metrics, tick};

/// Seconds between two looks for addresses and devices to forget.
const PRUNE_EVERY: u64 = 30;

/// What a gateway works with.
#[derive(Debug)]
pub struct Deps {
    /// The log; it must have been opened with the topic `raw`, and with the Kafka intake topics.
    pub log: Log,
    /// Who may connect; a new one takes effect within a second.
    pub directory: Arc<ArcSwap<Directory>>,
    /// Where the time of reception comes from.
    pub clock: Clock,
}

/// A gateway whose ports are bound.
pub struct Gateway {
    listener: Option<(TcpListener, Arc<Shared>)>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    downlink: Option<Downlink>,
    intakers: Vec<Intaker>,
    intake: Arc<Intake>,
    stats: Arc<Stats>,
    directory: Arc<ArcSwap<Directory>>,
    name: String,
    partitions: u16,
    handle: Handle,
}

/// What others may see of a gateway while it runs; a cheap clone.
#[derive(Clone, Debug)]
pub struct Handle {
    ledger: Arc<Ledger>,
    stats: Arc<Stats>,
    admission: Arc<Admission>,
    mqtt: Option<SocketAddr>,
    sources: Arc<[Arc<Source>]>,
}

impl Handle {
    /// Row G of the ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Counters of connections.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How life safety and the rest had to wait for room in the log, in this order.
    #[must_use]
    pub fn waited(&self) -> [Waited; 2] {
        self.admission.waited()
    }

    /// The brokers and topics that are read from, and how each is doing.
    pub fn sources(&self) -> impl Iterator<Item = (&str, SourceState)> {
        self.sources.iter().map(|source| (source.name(), source.state()))
    }

    /// The address that the MQTT front is bound to.
    #[must_use]
    pub fn mqtt_address(&self) -> Option<SocketAddr> {
        self.mqtt
    }
}

impl Gateway {
    /// Binds ports and opens readers; nothing is accepted or read before [`Gateway::run`].
    pub async fn bind(config: Config, deps: Deps) -> Result<Self, Error> {
        let raw = deps.log.topic("raw").ok_or_else(|| Error::Log {
            what: "topic raw".to_owned(),
            source: yiwang_log::Error::UnknownTopic("raw".to_owned()),
        })?;
        let stats = Arc::<Stats>::default();
        let ledger = Arc::<Ledger>::default();
        let admission = Arc::new(Admission::new(deps.log.writer(), config.pressure));
        let intake = Arc::new(Intake {
            writer: deps.log.writer(),
            admission: Arc::clone(&admission),
            raw,
            ledger: Arc::clone(&ledger),
            clock: deps.clock,
            halted: Halted::default(),
            waiting: false.into(),
        });
        let listener = match config.listen {
            None => None,
            Some(listen) => {
                let listener = listen::bind(&listen)?;
                let (intake, stats) = (Arc::clone(&intake), Arc::clone(&stats));
                let shared = Shared::new(listen, intake, stats, Arc::clone(&deps.directory));
                Some((listener, Arc::new(shared)))
            }
        };
        let mqtt = listener.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        let mut sources = Vec::new();
        let mut source = |name: &str| {
            sources.push(Arc::new(Source::new(name)));
            Arc::clone(&sources[sources.len() - 1])
        };
        let sessions = listener.as_ref().map(|(_, shared)| Arc::clone(&shared.sessions));
        let counted = (Arc::clone(&intake), Arc::clone(&stats));
        let (publishers, downlink) =
            downlink(&deps.log, &config.subscribe, counted, sessions).await;
        let subscribers = config.subscribe.into_iter().map(|config| Subscriber {
            source: source(&config.name),
            intake: Arc::clone(&intake),
            stats: Arc::clone(&stats),
            directory: Arc::clone(&deps.directory),
            config,
        });
        let subscribers = subscribers.collect();
        let (topics, group) = config.kafka.map(|kafka| (kafka.topics, kafka.group)).unzip();
        let group = group.unwrap_or_default();
        let mut intakers = Vec::new();
        for topic in topics.unwrap_or_default() {
            let reader = deps.log.reader(&topic, &group, Start::Committed).await;
            let what = format!("intake topic {topic}");
            let reader = reader.map_err(|source| Error::Log { what, source })?;
            let (source, intake) = (source(&topic), Arc::clone(&intake));
            let directory = Arc::clone(&deps.directory);
            intakers.push(Intaker { topic, reader, intake, source, directory });
        }
        let sources = sources.into();
        Ok(Self {
            listener,
            subscribers,
            publishers,
            downlink,
            intakers,
            handle: Handle { ledger, stats: Arc::clone(&stats), admission, mqtt, sources },
            intake,
            stats,
            directory: deps.directory,
            name: config.name,
            partitions: deps.log.partitions("raw"),
        })
    }

    /// What others may see of it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `stop`, then drains: stops accepting and reading, waits for receipts, sends the acknowledgements
    /// they allow. Returns an error when durability is in doubt; then nothing further was acknowledged.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        // A halt stops the lanes as well, but the caller's token is not ours to cancel.
        let lanes = stop.child_token();
        let mut tasks = JoinSet::new();
        let shared = self.listener.as_ref().map(|(_, shared)| Arc::clone(shared));
        if let Some((listener, shared)) = self.listener {
            let serving = listen::serve(listener, shared, lanes.clone());
            tasks.spawn(serving.map(Ok));
        }
        for subscriber in self.subscribers {
            let running = subscriber.run(lanes.clone());
            tasks.spawn(running.map(Ok));
        }
        for publisher in self.publishers {
            tasks.spawn(publisher.run(lanes.clone()).map(Ok));
        }
        if let Some(downlink) = self.downlink {
            tasks.spawn(downlink.run(lanes.clone()));
        }
        for intaker in self.intakers {
            tasks.spawn(intaker.run(lanes.clone()));
        }
        let (intake, stats) = (self.intake, self.stats);
        let admission = Arc::clone(&intake.admission);
        // Ends with this function, after every lane has seen its batches through.
        let _in_turn = AbortOnDropHandle::new(tokio::spawn(async move { admission.run().await }));
        let ticks =
            tick::run(Arc::clone(&intake), stats, self.name, self.partitions, lanes.clone());
        tasks.spawn(ticks.map(Ok));
        let upkeep = upkeep(self.handle, self.directory, shared.clone());
        let mut result = tokio::select! {
            () = stop.cancelled() => Ok(()),
            failed = first_failure(&mut tasks) => Err(failed),
            halt = intake.halted.wait() => Err(Error::Halted { source: halt.clone() }),
            () = upkeep => Ok(()),
        };
        if let Err(error) = &result {
            tracing::error!(%error, "gateway stops");
        }
        if let (Some(_), Some(shared)) = (intake.halted.get(), &shared) {
            shared.sessions.end_all(Closed::Halt);
        }
        lanes.cancel();
        while let Some(ended) = tasks.join_next().await {
            result = result.and(ended.unwrap_or_else(|panic| panic_on(panic)));
        }
        match intake.halted.get() {
            Some(halt) => Err(Error::Halted { source: halt.clone() }),
            None => result,
        }
    }
}

/// The way back to devices: a publisher for each broker, and what reads the commands if the log has them.
async fn downlink(
    log: &Log,
    brokers: &[RawSubscribe],
    (intake, stats): (Arc<Intake>, Arc<Stats>),
    sessions: Option<Arc<Sessions>>,
) -> (Vec<Publisher>, Option<Downlink>) {
    let (mut publishers, mut outlets) = (Vec::new(), Vec::new());
    for config in brokers {
        let (sender, queue) = mpsc::channel(publisher::QUEUE_MAX);
        outlets.push(Outlet { name: config.name.clone(), queue: sender });
        publishers.push(Publisher { config: config.clone(), queue, stats: Arc::clone(&stats) });
    }
    let downlink = match log.topic(COMMANDS) {
        Some(_) => Some(Downlink::open(log, (intake, stats), sessions, outlets).await),
        None => None,
    };
    (publishers, downlink)
}

/// Resolves with the first error of a lane; lanes that end well are not waited for.
async fn first_failure(tasks: &mut JoinSet<Result<(), Error>>) -> Error {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return error,
            Some(Err(panic)) => panic_on(panic),
            None => std::future::pending().await,
        }
    }
}

/// A panic of a lane is a defect of ours: it goes on where the process decides.
fn panic_on(error: tokio::task::JoinError) -> ! {
    std::panic::resume_unwind(error.into_panic())
}

/// Once a second: metrics, addresses, and sessions that a new directory no longer admits.
async fn upkeep(handle: Handle, directory: Arc<ArcSwap<Directory>>, shared: Option<Arc<Shared>>) {
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    let mut known = directory.load_full();
    let mut seconds = 0_u64;
    loop {
        timer.tick().await;
        let sessions = shared.as_ref().map_or(0, |shared| shared.sessions.len());
        metrics::publish(&handle.ledger, &handle.stats, sessions);
        metrics::publish_turns(&handle.admission);
        let Some(shared) = &shared else { continue };
        seconds += 1;
        if seconds.is_multiple_of(PRUNE_EVERY) {
            shared.prune();
        }
        let current = directory.load_full();
        if !Arc::ptr_eq(&known, &current) {
            shared.sessions.revoke(&current);
            known = current;
        }
    }
}
