//! The log on Apache Kafka: one record a message, keyed by device.
//!
//! Invariant: a receipt resolves after a delivery report with `acks=all` for every record, and by
//! nothing else. Positions are the group's offsets. Topics of the hub are named `yiwang.NAME.v1`;
//! a name with a dot in it belongs to someone else and is taken as it is. Refuses a topic whose
//! partition count differs.

mod admin;
mod producer;
mod reader;
mod rebalance;
mod settings;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;

use self::admin::Looker;
use self::producer::Producers;
pub(crate) use self::reader::{KafkaCommitter, KafkaReader};
use crate::batch::Batch;
use crate::error::{Error, Halt};
use crate::log::{Receipt, Status};
use crate::records::{Position, Start};
use crate::topic::{Kind, Layout, TopicId, TopicSpec};

/// Epoch of every topic; a drained and renamed topic begins with it again.
pub(crate) const EPOCH: u32 = 1;

/// How long `close` waits for the readers to commit and leave their groups.
const READERS_WAIT_MAX: Duration = Duration::from_secs(10);

/// Where the brokers are, and the limits.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// Shown in the brokers' logs.
    pub client_id: String,
    /// Stands before the names of the hub's topics and groups.
    pub prefix: String,
    /// Replicas of topics that the log makes.
    pub replication: u16,
    /// In-sync replicas that an acknowledgement needs, for topics that the log makes.
    pub min_insync: u16,
    /// Most bytes taken by `append` that are not yet safe.
    pub queue_bytes_max: usize,
    /// Largest record.
    pub message_bytes_max: usize,
    /// How long to wait for the brokers at start; `None` waits for ever.
    pub connect_wait_max: Option<Duration>,
    /// Longest time that a request to the brokers may take.
    pub request_wait_max: Duration,
    /// How long a role gets to finish with partitions that are taken from it.
    pub revoke_wait_max: Duration,
    /// Longest outage that retention has to outlast; [`crate::Log::check`] compares.
    pub outage_max: Duration,
    /// Further settings of librdkafka, e.g. for TLS and SASL. Those that the promise rests on
    /// cannot be set here.
    pub options: Vec<(String, String)>,
}

impl KafkaConfig {
    /// The defaults for these brokers.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: "yiwang".to_owned(),
            prefix: "yiwang.".to_owned(),
            replication: 3,
            min_insync: 2,
            queue_bytes_max: 64 << 20,
            message_bytes_max: 1_000_000,
            connect_wait_max: None,
            request_wait_max: Duration::from_secs(10),
            revoke_wait_max: Duration::from_secs(5),
            outage_max: Duration::from_hours(72),
            options: Vec::new(),
        }
    }
}

impl std::fmt::Debug for KafkaConfig {
    /// Without the options: they may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConfig").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

/// State that producers and consumers report to.
#[derive(Debug, Default)]
pub(crate) struct Health {
    connected: AtomicBool,
}

impl Health {
    fn connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    fn set(&self, connected: bool) {
        if self.connected.swap(connected, Ordering::AcqRel) == connected {
            return;
        }
        if connected {
            tracing::info!("the brokers answer");
        } else {
            tracing::warn!("the brokers are away; appends wait and nothing is acknowledged");
        }
    }
}

/// The log on Kafka.
#[derive(Debug)]
pub(crate) struct Kafka {
    config: Arc<KafkaConfig>,
    layout: Arc<Layout>,
    /// Kafka's name of each topic.
    names: Arc<Vec<String>>,
    health: Arc<Health>,
    producers: Producers,
    looker: Arc<Looker>,
    readers: Mutex<Vec<ReaderThread>>,
}

#[derive(Debug)]
struct ReaderThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Kafka {
    pub(crate) async fn open(
        config: KafkaConfig,
        mut topics: Vec<TopicSpec>,
    ) -> Result<Arc<Self>, Error> {
        let names: Arc<Vec<_>> =
            Arc::new(topics.iter().map(|spec| name_of(&config, &spec.name)).collect());
        let config = Arc::new(config);
        let health = Arc::new(Health::default());
        admin::wait_for_brokers(&config).await?;
        health.set(true);
        admin::make_topics(&config, &mut topics, &names).await?;
        let layout = Arc::new(Layout::new(topics)?);
        let producers =
            Producers::start(config.clone(), layout.clone(), names.clone(), health.clone())?;
        let looker = Arc::new(Looker::new(&config)?);
        let readers = Mutex::new(Vec::new());
        Ok(Arc::new(Self { config, layout, names, health, producers, looker, readers }))
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) async fn append(&self, batch: Batch) -> Result<Receipt, Halt> {
        self.producers.append(batch).await
    }

    pub(crate) fn reader(
        &self,
        topic: TopicId,
        group: &str,
        start: Start,
    ) -> Result<KafkaReader, Error> {
        let spec = self.layout.spec(topic);
        if spec.kind == Kind::Compacted {
            return Err(Error::Config(format!(
                "topic {} is compacted and has no readers",
                spec.name
            )));
        }
        let source = reader::Source {
            config: self.config.clone(),
            topic: spec.name.clone(),
            name: self.names[topic.index()].clone(),
            partitions: spec.partitions,
            group: group_of(&self.config, group, &spec.name),
            anonymous: group.is_empty(),
            health: self.health.clone(),
        };
        let (reader, stop, thread) = reader::start(source, start)?;
        let mut readers = self.readers.lock().expect("no code panics while it holds the readers");
        readers.retain(|other| !other.thread.is_finished());
        readers.push(ReaderThread { stop, thread });
        Ok(reader)
    }

    pub(crate) async fn compacted(
        &self,
        topic: TopicId,
        partition: u16,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let (config, name) = (self.config.clone(), self.names[topic.index()].clone());
        blocking("read the newest values", move || admin::newest(&config, &name, partition)).await
    }

    pub(crate) async fn kept(&self, topic: TopicId, partition: u16) -> Result<Range<u64>, Error> {
        let (looker, name) = (self.looker.clone(), self.names[topic.index()].clone());
        blocking("read the ends", move || looker.kept(&name, partition)).await
    }

    pub(crate) async fn committed(
        &self,
        topic: TopicId,
        group: &str,
    ) -> Result<Vec<Position>, Error> {
        let (config, name) = (self.config.clone(), self.names[topic.index()].clone());
        let TopicSpec { name: topic, partitions, .. } = self.layout.spec(topic);
        let (group, partitions) = (group_of(&self.config, group, topic), *partitions);
        let read = move || admin::committed(&config, &name, &group, partitions);
        blocking("read committed positions", read).await
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            queued_bytes: self.producers.queued_bytes(),
            connected: self.health.connected(),
            halted: self.producers.halted().map(|halt| halt.to_string()),
            ..Status::default()
        }
    }

    pub(crate) async fn check(&self) -> Result<Vec<String>, Error> {
        admin::check(&self.config, &self.layout, &self.names).await
    }

    pub(crate) async fn close(self: &Arc<Self>) -> Result<(), Error> {
        let this = self.clone();
        blocking("stop the log", move || this.stop()).await
    }

    fn stop(&self) -> Result<(), Error> {
        let flushed = self.producers.stop();
        let readers = self.readers.lock().map(|mut readers| std::mem::take(&mut *readers));
        let readers = readers.unwrap_or_default();
        readers.iter().for_each(|reader| reader.stop.store(true, Ordering::Release));
        let deadline = Instant::now() + READERS_WAIT_MAX;
        for reader in readers {
            while !reader.thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(reader::POLL_WAIT);
            }
            if !reader.thread.is_finished() {
                // It waits for brokers that are away; what it had not committed is read again.
                tracing::warn!("a reader could not take leave of its group in time");
            } else if reader.thread.join().is_err() {
                tracing::error!("a reader thread panicked");
            }
        }
        flushed.map_err(Into::into)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.producers.abandon();
        if let Ok(readers) = self.readers.lock() {
            readers.iter().for_each(|reader| reader.stop.store(true, Ordering::Release));
        }
    }
}

/// Kafka's name of a topic.
fn name_of(config: &KafkaConfig, name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{}{name}.v1", config.prefix) }
}

/// Kafka's name of a group: one for each topic, so that readers of different topics do not
/// rebalance each other.
fn group_of(config: &KafkaConfig, group: &str, topic: &str) -> String {
    format!("{}{group}.{topic}", config.prefix)
}

async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Engine { what: what.to_owned(), cause: error.to_string() })?
}

fn plain_consumer(settings: &ClientConfig) -> Result<BaseConsumer, Error> {
    settings.create().map_err(broker("make a consumer"))
}

/// Turns an error of the client into ours.
pub(crate) fn broker(what: &str) -> impl Fn(rdkafka::error::KafkaError) -> Error {
    let what = what.to_owned();
    move |error| Error::Broker { what: what.clone(), cause: error.to_string() }
}
