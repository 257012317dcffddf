//! Topics: their names, partitions and limits, and the dense numbering that the hot path uses.
//!
//! Invariant: the partition count of a topic never changes while its epoch lives.

use std::time::Duration;

use crate::error::Error;

/// Most partitions a topic may have.
pub(crate) const PARTITIONS_MAX: u16 = 1024;

/// Number of a topic within one opened log, from [`crate::Log::topic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub(crate) u16);

impl TopicId {
    /// Position of the topic in the list the log was opened with.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a topic keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every record in order, until retention and all named readers have passed it.
    Stream,
    /// The newest value of each key; an empty value removes the key.
    Compacted,
}

/// Limits of what a stream keeps once every named reader has passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes over all partitions; with unread data at this limit `append` waits.
    pub bytes_max: u64,
    /// Age of a record since its append.
    pub age_max: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { bytes_max: 8 << 30, age_max: Duration::from_hours(7 * 24) }
    }
}

/// One topic as the log is asked to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Logical name, e.g. `raw`; Kafka puts `yiwang.` before and `.v1` after it.
    pub name: String,
    /// How many partitions; fixed when the topic is made.
    pub partitions: u16,
    /// Stream or compacted.
    pub kind: Kind,
    /// Limits of what is kept.
    pub retention: Retention,
    /// Groups whose committed positions bound retention.
    pub readers: Vec<String>,
    /// Takes what comes from outside: its appends are the first to wait when the disk fills.
    pub intake: bool,
}

impl TopicSpec {
    /// A stream with default retention and these named readers.
    #[must_use]
    pub fn stream(name: &str, partitions: u16, readers: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            partitions,
            kind: Kind::Stream,
            retention: Retention::default(),
            readers: readers.iter().map(|&reader| reader.to_owned()).collect(),
            intake: false,
        }
    }

    /// A topic that keeps the newest value of each key.
    #[must_use]
    pub fn compacted(name: &str, partitions: u16) -> Self {
        Self { kind: Kind::Compacted, ..Self::stream(name, partitions, &[]) }
    }
}

/// The hub's own topics with their named readers.
#[must_use]
pub fn standard_topics(partitions: u16) -> Vec<TopicSpec> {
    vec![
        TopicSpec { intake: true, ..TopicSpec::stream("raw", partitions, &["router"]) },
        TopicSpec::stream("readings", partitions, &[]),
        TopicSpec::stream("signals", partitions, &["centre"]),
        TopicSpec::stream("lifecycle", partitions, &["storms"]),
        TopicSpec::stream("quarantine", partitions, &[]),
        TopicSpec::stream("incidents", partitions, &[]),
        TopicSpec::stream("commands", partitions, &[]),
        TopicSpec::compacted("state", partitions),
    ]
}

/// The hash that names a key's partition: xxh3-64 of the key.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// Checked topics with a dense number for every (topic, partition).
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) specs: Vec<TopicSpec>,
    bases: Vec<usize>,
    places: Vec<(TopicId, u16)>,
}

impl Layout {
    pub(crate) fn new(specs: Vec<TopicSpec>) -> Result<Self, Error> {
        let mut bases = Vec::with_capacity(specs.len());
        let mut places = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            if spec.partitions == 0 || spec.partitions > PARTITIONS_MAX {
                return Err(Error::Config(format!(
                    "topic {} has {} partitions; give 1 to {PARTITIONS_MAX}",
                    spec.name, spec.partitions
                )));
            }
            let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if spec.name.is_empty() || spec.name.len() > 200 || !spec.name.chars().all(fine) {
                return Err(Error::Config(format!(
                    "topic name {:?} is not 1 to 200 of a-z, 0-9, dot, dash, underscore",
                    spec.name
                )));
            }
            if specs[..index].iter().any(|other| other.name == spec.name) {
                return Err(Error::Config(format!("topic {} is named twice", spec.name)));
            }
            let id = u16::try_from(index)
                .map_err(|_| Error::Config("more than 65,535 topics".to_owned()))?;
            bases.push(places.len());
            places.extend((0..spec.partitions).map(|partition| (TopicId(id), partition)));
        }
        Ok(Self { specs, bases, places })
    }

    pub(crate) fn find(&self, name: &str) -> Option<TopicId> {
        let index = self.specs.iter().position(|spec| spec.name == name)?;
        Some(TopicId(u16::try_from(index).expect("checked when the layout was made")))
    }

    pub(crate) fn require(&self, name: &str) -> Result<TopicId, Error> {
        self.find(name).ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    pub(crate) fn spec(&self, topic: TopicId) -> &TopicSpec {
        &self.specs[topic.index()]
    }

    /// Dense number of a partition over all topics.
    pub(crate) fn slot(&self, topic: TopicId, partition: u16) -> usize {
        self.bases[topic.index()] + usize::from(partition)
    }

    /// All partitions, at their dense number.
    pub(crate) fn places(&self) -> &[(TopicId, u16)] {
        &self.places
    }
}
