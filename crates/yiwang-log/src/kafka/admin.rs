//! Asking the brokers: waiting for them, making topics, reading heads, offsets and settings.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::{EPOCH, KafkaConfig, blocking, broker, plain_consumer, settings};
use crate::error::Error;
use crate::records::Position;
use crate::topic::{Kind, Layout, TopicSpec};

/// Group name of consumers that only look.
const LOOKER: &str = "yiwang-look";
/// Longest pause between two attempts to reach the brokers.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Waits until a broker answers.
pub(super) async fn wait_for_brokers(config: &std::sync::Arc<KafkaConfig>) -> Result<(), Error> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(200);
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

/// Makes topics that are missing. A topic of someone else keeps the partitions it has.
pub(super) async fn make_topics(
    config: &std::sync::Arc<KafkaConfig>,
    topics: &mut [TopicSpec],
    names: &[String],
) -> Result<(), Error> {
    let found = partition_counts(config).await?;
    let admin = admin_client(config)?;
    for (spec, name) in topics.iter_mut().zip(names) {
        match found.get(name) {
            None => make_topic(config, &admin, spec, name).await?,
            Some(&(count, _)) if count == i32::from(spec.partitions) => {}
            Some(&(count, _)) if spec.name.contains('.') => {
                spec.partitions = u16::try_from(count).unwrap_or(u16::MAX);
            }
            Some((count, _)) => {
                return Err(Error::Config(format!(
                    "topic {name} has {count} partitions, the configuration says {}; the count is \
                     fixed: set it back, or drain the topic and make a new one",
                    spec.partitions
                )));
            }
        }
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
        Kind::Compacted => topic.set("cleanup.policy", "compact"),
        Kind::Stream => topic.set("retention.ms", &retention_ms).set("retention.bytes", &bytes),
    };
    let options = AdminOptions::new().operation_timeout(Some(config.request_wait_max));
    let what = format!("make the topic {name}");
    let made = admin.create_topics([&topic], &options).await.map_err(broker(&what))?;
    match made.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => {
            tracing::info!(topic = name, partitions = spec.partitions, "the topic is there");
            Ok(())
        }
        Some(Err((_, code))) => Err(Error::Config(format!("{what}: {code}"))),
    }
}

fn admin_client(config: &KafkaConfig) -> Result<AdminClient<DefaultClientContext>, Error> {
    settings::admin(config).create().map_err(broker("make an administration client"))
}

/// Partitions and replicas of every topic.
async fn partition_counts(
    config: &std::sync::Arc<KafkaConfig>,
) -> Result<HashMap<String, (i32, usize)>, Error> {
    let config = config.clone();
    let read = move || {
        let consumer = plain_consumer(&settings::looker(&config, LOOKER))?;
        let metadata = consumer
            .fetch_metadata(None, config.request_wait_max)
            .map_err(broker("read the list of topics"))?;
        let counts = metadata.topics().iter().map(|topic| {
            let replicas = topic.partitions().iter().map(|p| p.replicas().len()).min();
            let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
            (topic.name().to_owned(), (count, replicas.unwrap_or(0)))
        });
        Ok(counts.collect())
    };
    blocking("read the list of topics", read).await
}

pub(super) fn head(config: &KafkaConfig, name: &str, partition: u16) -> Result<u64, Error> {
    let consumer = plain_consumer(&settings::looker(config, LOOKER))?;
    let (_, high) = watermarks(&consumer, config, name, partition)?;
    Ok(high)
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
    config: &std::sync::Arc<KafkaConfig>,
    layout: &Layout,
    names: &[String],
) -> Result<Vec<String>, Error> {
    let counts = partition_counts(config).await?;
    let admin = admin_client(config)?;
    let mut findings = Vec::new();
    for (spec, name) in layout.specs.iter().zip(names) {
        let Some(&(_, replicas)) = counts.get(name) else {
            findings.push(format!("topic {name} is missing"));
            continue;
        };
        let options = AdminOptions::new().request_timeout(Some(config.request_wait_max));
        let what = format!("read the settings of {name}");
        let found = admin.describe_configs([&ResourceSpecifier::Topic(name)], &options).await;
        let found = found.map_err(broker(&what))?.into_iter().next();
        let Some(Ok(resource)) = found else {
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
