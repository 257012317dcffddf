//! Asking the brokers: waiting for them, making topics, reading heads, offsets and settings.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::{EPOCH, KafkaConfig, blocking, broker, plain_consumer, settings};
use crate::error::Error;
use crate::records::Position;
use crate::topic::{Kind, Layout, TopicSpec};

/// Group name of consumers that only look.
const LOOKER: &str = "yiwang-look";
/// Shortest and longest pause between two attempts to reach the brokers.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The newest segment is never compacted, and all of it is read at a start: it stays small and is
/// closed after an hour, where Kafka's defaults are 1 GiB and a week.
const COMPACTED_SEGMENT_BYTES: &str = "33554432";
const COMPACTED_SEGMENT_MS: &str = "3600000";
/// How long the brokers may take to agree on new topics.
const LEADERS_WAIT_MAX: Duration = Duration::from_secs(30);

/// Waits until a broker answers.
pub(super) async fn wait_for_brokers(config: &Arc<KafkaConfig>) -> Result<(), Error> {
    let begun = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        let for_look = config.clone();
        let look = move || {
            let consumer = plain_consumer(&settings::looker(&for_look, LOOKER))?;
            let metadata = consumer.fetch_metadata(None, for_look.request_wait_max);
            metadata.map(drop).map_err(broker(&format!("reach Kafka at {}", for_look.brokers)))
        };
        let Err(error) = blocking("reach Kafka", look).await else { return Ok(()) };
        if config.connect_wait_max.is_some_and(|max| begun.elapsed() + pause > max) {
            return Err(error);
        }
        tracing::warn!(brokers = %config.brokers, %error, "waiting for Kafka");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Makes topics that are missing, one by one, and waits until the brokers know all of them with a
/// leader for each partition. Several processes may do so at once. A topic of someone else keeps the
/// partitions it has.
pub(super) async fn make_topics(
    config: &Arc<KafkaConfig>,
    topics: &mut [TopicSpec],
    names: &[String],
) -> Result<(), Error> {
    let found = counts(&topic_list(config).await?);
    let admin = admin_client(config)?;
    for (spec, name) in topics.iter().zip(names) {
        if !found.contains_key(name) {
            make_topic(config, &admin, spec, name).await?;
        }
    }
    let found = counts(&wait_for_leaders(config, names).await?);
    for (spec, name) in topics.iter_mut().zip(names) {
        let count = found.get(name).copied().unwrap_or(0);
        if count == usize::from(spec.partitions) {
            continue;
        }
        if spec.name.contains('.') {
            spec.partitions = u16::try_from(count).unwrap_or(u16::MAX);
            continue;
        }
        return Err(Error::Config(format!(
            "topic {name} has {count} partitions, the configuration says {}; the count is fixed: \
             set it back, or drain the topic and make a new one",
            spec.partitions
        )));
    }
    Ok(())
}

async fn make_topic(
    config: &KafkaConfig,
    admin: &AdminClient<DefaultClientContext>,
    spec: &TopicSpec,
    name: &str,
) -> Result<(), Error> {
    let min_insync = config.min_insync.min(config.replication).to_string();
    let retention_ms = spec.retention.age_max.as_millis().to_string();
    let bytes = (spec.retention.bytes_max / u64::from(spec.partitions)).to_string();
    let replication = TopicReplication::Fixed(i32::from(config.replication));
    let mut topic = NewTopic::new(name, i32::from(spec.partitions), replication)
        .set("min.insync.replicas", &min_insync)
        .set("unclean.leader.election.enable", "false");
    topic = match spec.kind {
        Kind::Compacted => topic
            .set("cleanup.policy", "compact")
            .set("segment.bytes", COMPACTED_SEGMENT_BYTES)
            .set("segment.ms", COMPACTED_SEGMENT_MS),
        Kind::Stream => topic.set("retention.ms", &retention_ms).set("retention.bytes", &bytes),
    };
    let options = AdminOptions::new().operation_timeout(Some(config.request_wait_max));
    let what = format!("make the topic {name}");
    let made = admin.create_topics([&topic], &options).await.map_err(broker(&what))?;
    match made.into_iter().next() {
        Some(Ok(_)) => tracing::info!(topic = name, partitions = spec.partitions, "topic made"),
        // Another process of ours was faster.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => {}
        Some(Err((_, code))) if passes(code) => {
            return Err(Error::Broker { what, cause: code.to_string() });
        }
        Some(Err((_, code))) => return Err(Error::Config(format!("{what}: {code}"))),
    }
    Ok(())
}

/// Whether making a topic is worth another try, without anybody changing anything.
fn passes(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerNotAvailable
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NetworkException
            | RDKafkaErrorCode::NotController
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::ThrottlingQuotaExceeded
            | RDKafkaErrorCode::UnknownTopicOrPartition
    )
}

/// What was made is not known to every broker at once: waits until it is.
async fn wait_for_leaders(
    config: &Arc<KafkaConfig>,
    names: &[String],
) -> Result<Vec<Found>, Error> {
    let begun = Instant::now();
    loop {
        let found = topic_list(config).await?;
        let led = |name: &&String| found.iter().any(|it| it.name == **name && it.led);
        let Some(missing) = names.iter().find(|name| !led(name)) else { return Ok(found) };
        if begun.elapsed() > LEADERS_WAIT_MAX {
            return Err(Error::Broker {
                what: format!("wait for the topic {missing}"),
                cause: format!(
                    "a partition has no leader after {} s; see the brokers' logs",
                    LEADERS_WAIT_MAX.as_secs()
                ),
            });
        }
        tokio::time::sleep(PAUSE_MIN).await;
    }
}

fn admin_client(config: &KafkaConfig) -> Result<AdminClient<DefaultClientContext>, Error> {
    settings::admin(config).create().map_err(broker("make an administration client"))
}

/// A topic as the brokers describe it.
struct Found {
    name: String,
    partitions: usize,
    /// Of the partition that has fewest.
    replicas: usize,
    /// Whether it has partitions and each has a leader.
    led: bool,
}

/// Every topic that the brokers know.
async fn topic_list(config: &Arc<KafkaConfig>) -> Result<Vec<Found>, Error> {
    let config = config.clone();
    let read = move || {
        let consumer = plain_consumer(&settings::looker(&config, LOOKER))?;
        let metadata = consumer
            .fetch_metadata(None, config.request_wait_max)
            .map_err(broker("read the list of topics"))?;
        Ok(metadata.topics().iter().map(Found::of).collect())
    };
    blocking("read the list of topics", read).await
}

fn counts(found: &[Found]) -> HashMap<String, usize> {
    found.iter().map(|topic| (topic.name.clone(), topic.partitions)).collect()
}

impl Found {
    fn of(topic: &MetadataTopic) -> Self {
        let partitions = topic.partitions();
        let led = |it: &MetadataPartition| it.leader() >= 0;
        Self {
            name: topic.name().to_owned(),
            partitions: partitions.len(),
            replicas: partitions.iter().map(|it| it.replicas().len()).min().unwrap_or(0),
            led: topic.error().is_none() && !partitions.is_empty() && partitions.iter().all(led),
        }
    }
}

/// A connection for questions that come often.
pub(super) struct Looker {
    consumer: BaseConsumer,
    config: Arc<KafkaConfig>,
}

impl std::fmt::Debug for Looker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Looker")
    }
}

impl Looker {
    pub(super) fn new(config: &Arc<KafkaConfig>) -> Result<Self, Error> {
        let consumer = plain_consumer(&settings::looker(config, LOOKER))?;
        Ok(Self { consumer, config: config.clone() })
    }

    /// From the oldest record of a partition to where the next one will lie.
    pub(super) fn kept(&self, name: &str, partition: u16) -> Result<Range<u64>, Error> {
        // What the client has to report would gather otherwise; it comes with the answer as well.
        while self.consumer.poll(Duration::ZERO).is_some() {}
        let (low, high) = watermarks(&self.consumer, &self.config, name, partition)?;
        Ok(low..high)
    }
}

fn watermarks(
    consumer: &BaseConsumer,
    config: &KafkaConfig,
    name: &str,
    partition: u16,
) -> Result<(u64, u64), Error> {
    let (low, high) = consumer
        .fetch_watermarks(name, i32::from(partition), config.request_wait_max)
        .map_err(broker(&format!("read the ends of {name} partition {partition}")))?;
    Ok((u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0)))
}

pub(super) fn committed(
    config: &KafkaConfig,
    name: &str,
    group: &str,
    partitions: u16,
) -> Result<Vec<Position>, Error> {
    let consumer = plain_consumer(&settings::looker(config, group))?;
    let mut list = TopicPartitionList::new();
    list.add_partition_range(name, 0, i32::from(partitions) - 1);
    let found = consumer
        .committed_offsets(list, config.request_wait_max)
        .map_err(broker(&format!("read the positions of group {group}")))?;
    let position = |(partition, offset): (i32, Offset)| {
        let Offset::Offset(seq) = offset else { return None };
        let partition = u16::try_from(partition).ok()?;
        Some(Position { epoch: EPOCH, partition, seq: u64::try_from(seq).ok()? })
    };
    let mut positions: Vec<_> =
        found.elements().iter().filter_map(|e| position((e.partition(), e.offset()))).collect();
    positions.sort_unstable();
    Ok(positions)
}

/// Reads a compacted partition to its end.
pub(super) fn newest(
    config: &KafkaConfig,
    name: &str,
    partition: u16,
) -> Result<Vec<(Bytes, Bytes)>, Error> {
    let what = format!("read {name} partition {partition}");
    let consumer = plain_consumer(&settings::looker(config, LOOKER))?;
    let (low, high) = watermarks(&consumer, config, name, partition)?;
    let mut newest = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    let start = Offset::Offset(i64::try_from(low).unwrap_or(0));
    list.add_partition_offset(name, i32::from(partition), start).map_err(broker(&what))?;
    consumer.assign(&list).map_err(broker(&what))?;
    let mut next = low;
    while next < high {
        match consumer.poll(config.request_wait_max) {
            Some(Ok(message)) => {
                next = u64::try_from(message.offset()).unwrap_or(0) + 1;
                let key = Bytes::copy_from_slice(message.key().unwrap_or_default());
                match message.payload() {
                    Some(value) if !value.is_empty() => {
                        newest.insert(key, Bytes::copy_from_slice(value));
                    }
                    _ => drop(newest.remove(&key)),
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => return Err(broker(&what)(error)),
            None => {
                let cause = "no answer in time".to_owned();
                return Err(Error::Broker { what, cause });
            }
        }
    }
    Ok(newest.into_iter().collect())
}

/// Compares topics with the settings that the promise rests on.
pub(super) async fn check(
    config: &Arc<KafkaConfig>,
    layout: &Layout,
    names: &[String],
) -> Result<Vec<String>, Error> {
    let found = topic_list(config).await?;
    let admin = admin_client(config)?;
    let mut findings = Vec::new();
    for (spec, name) in layout.specs.iter().zip(names) {
        let Some(replicas) = found.iter().find(|it| it.name == *name).map(|it| it.replicas) else {
            findings.push(format!("topic {name} is missing"));
            continue;
        };
        let options = AdminOptions::new().request_timeout(Some(config.request_wait_max));
        let what = format!("read the settings of {name}");
        let read = admin.describe_configs([&ResourceSpecifier::Topic(name)], &options).await;
        let read = read.map_err(broker(&what))?.into_iter().next();
        let Some(Ok(resource)) = read else {
            findings.push(format!("topic {name}: its settings cannot be read"));
            continue;
        };
        let setting = |key: &str| resource.get(key).and_then(|entry| entry.value.clone());
        check_topic(config, spec, name, replicas, &setting, &mut findings);
    }
    Ok(findings)
}

fn check_topic(
    config: &KafkaConfig,
    spec: &TopicSpec,
    name: &str,
    replicas: usize,
    setting: &dyn Fn(&str) -> Option<String>,
    findings: &mut Vec<String>,
) {
    let number = |key: &str| setting(key).and_then(|value| value.parse::<i64>().ok());
    let insync = number("min.insync.replicas").unwrap_or(1);
    if replicas < 3 || insync < 2 {
        findings.push(format!(
            "topic {name} has {replicas} replicas with min.insync.replicas={insync}; below 3 and 2 \
             an acknowledgement does not survive the loss of a broker or of power"
        ));
    }
    if setting("unclean.leader.election.enable").as_deref() == Some("true") {
        findings.push(format!(
            "topic {name} allows unclean leader election, which loses acknowledged records; set \
             unclean.leader.election.enable=false"
        ));
    }
    let largest = number("max.message.bytes").unwrap_or(0);
    if largest < i64::try_from(config.message_bytes_max).unwrap_or(i64::MAX) {
        findings.push(format!(
            "topic {name} takes messages up to {largest} bytes, records may have {}; raise \
             max.message.bytes",
            config.message_bytes_max
        ));
    }
    let policy = setting("cleanup.policy").unwrap_or_default();
    match spec.kind {
        Kind::Compacted if policy != "compact" => findings.push(format!(
            "topic {name} has cleanup.policy={policy}; it keeps state and needs compact"
        )),
        Kind::Stream if policy.contains("compact") => findings.push(format!(
            "topic {name} has cleanup.policy={policy}, which drops records; it needs delete"
        )),
        _ => {}
    }
    let outage = i64::try_from(config.outage_max.as_millis()).unwrap_or(i64::MAX);
    let kept = number("retention.ms").unwrap_or(-1);
    if spec.kind == Kind::Stream && (0..outage).contains(&kept) {
        findings.push(format!(
            "topic {name} keeps records for {kept} ms, less than the longest allowed outage of \
             {outage} ms; raise retention.ms"
        ));
    }
}
