//! The public face: `Log`, `Writer`, `Receipt`, `Reader`, `Committer`, each a concrete struct over
//! a private enum of the three implementations.
//!
//! Invariant: a receipt resolves with success only when its records can no longer be lost.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::batch::{Batch, check, partition_of};
use crate::embedded::{self, Embedded, EmbeddedConfig, Loss, Space};
use crate::error::{Error, Halt};
#[cfg(feature = "kafka")]
use crate::kafka::{self, Kafka, KafkaConfig};
use crate::memory::{self, Memory, MemoryConfig};
use crate::records::{BatchLimit, Event, Position, Start};
use crate::topic::{Layout, TopicId, TopicSpec};

/// An opened log; a cheap clone.
#[derive(Clone, Debug)]
pub struct Log {
    inner: Inner,
}

#[derive(Clone, Debug)]
enum Inner {
    Memory(Arc<Memory>),
    Embedded(Arc<Embedded>),
    #[cfg(feature = "kafka")]
    Kafka(Arc<Kafka>),
}

/// Appends batches; a cheap clone.
#[derive(Clone, Debug)]
pub struct Writer {
    inner: Inner,
}

/// Reads one topic for one group.
#[derive(Debug)]
pub struct Reader {
    inner: ReaderInner,
}

#[derive(Debug)]
enum ReaderInner {
    Memory(memory::MemoryReader),
    Embedded(embedded::EmbeddedReader),
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaReader),
}

/// Records which positions a group is done with; a cheap clone.
#[derive(Clone, Debug)]
pub struct Committer {
    inner: CommitterInner,
}

#[derive(Clone, Debug)]
pub(crate) enum CommitterInner {
    Memory(Arc<Memory>, TopicId, Arc<str>),
    Embedded(Arc<Embedded>, TopicId, Arc<str>),
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaCommitter),
}

/// Resolves once the appended records can no longer be lost. Dropping it changes nothing.
#[derive(Debug)]
pub struct Receipt {
    pub(crate) completion: Arc<Completion>,
    pub(crate) index: u32,
    /// The memory log has no thread of its own: whoever waits moves it on.
    pub(crate) driver: Option<Arc<Memory>>,
}

/// Where the records of one append lie.
#[derive(Clone, Debug)]
pub struct Appended {
    completion: Arc<Completion>,
    index: u32,
}

/// A run of records of one append in one partition; records of other appends may lie between them
/// in Kafka, never in the embedded log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: u16,
    /// Epoch of the topic.
    pub epoch: u32,
    /// First sequence number.
    pub first: u64,
    /// Last sequence number.
    pub last: u64,
}

/// Counters of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Topic name.
    pub topic: String,
    /// The partition.
    pub partition: u16,
    /// Oldest kept sequence number: so many records have expired.
    pub first: u64,
    /// Next sequence number: so many records were appended.
    pub next: u64,
    /// Bytes kept.
    pub bytes: u64,
}

/// State of the log for metrics, readiness and the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Every partition; empty for Kafka, whose own tools say it.
    pub partitions: Vec<PartitionStatus>,
    /// Topics at their size limit with unread data, or whose disk fills: appends to them wait.
    pub full: Vec<String>,
    /// Those of them that wait for the disk; the others wait for their readers.
    pub held: Vec<String>,
    /// The disk, where the log lies on one of this machine and leaves a reserve of it alone.
    pub space: Option<Space>,
    /// Bytes taken by `append` that are not yet safe.
    pub queued_bytes: u64,
    /// Whether the brokers answer; always true for the local logs.
    pub connected: bool,
    /// Why nothing is taken any more.
    pub halted: Option<String>,
}

/// Outcome of a group of appends, shared by their receipts so that one wake-up reaches all.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    done: OnceLock<Result<Done, Halt>>,
    wake: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) extents: Vec<Extent>,
    pub(crate) bounds: Vec<u32>,
}

impl Completion {
    pub(crate) fn resolve(&self, result: Result<Done, Halt>) {
        // A second outcome cannot occur, except that a crash fails what is already resolved.
        let _ = self.done.set(result);
        self.wake.notify_waiters();
    }

    pub(crate) async fn wait(&self) -> Result<(), Halt> {
        loop {
            let woken = self.wake.notified();
            if let Some(result) = self.done.get() {
                return result.as_ref().map(|_| ()).map_err(Clone::clone);
            }
            woken.await;
        }
    }
}

impl Receipt {
    /// Waits until the records cannot be lost: fsync (embedded) or the brokers' acks (Kafka).
    ///
    /// # Errors
    /// [`Halt`] when durability is in doubt; the records may or may not be stored.
    pub async fn safe(self) -> Result<Appended, Halt> {
        match &self.driver {
            None => self.completion.wait().await?,
            Some(memory) => memory.drive(&self.completion).await?,
        }
        Ok(Appended { completion: self.completion, index: self.index })
    }
}

impl Appended {
    /// First and last sequence number per topic and partition.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        let Some(Ok(done)) = self.completion.done.get() else { return &[] };
        let index = self.index as usize;
        match (done.bounds.get(index), done.bounds.get(index + 1)) {
            (Some(&from), Some(&to)) => &done.extents[from as usize..to as usize],
            _ => &[],
        }
    }
}

impl Log {
    /// Opens the log in a data folder of this machine.
    ///
    /// # Errors
    /// When the folder is held by another process, corrupt, or acknowledged records are missing.
    pub fn open_embedded(config: EmbeddedConfig, topics: Vec<TopicSpec>) -> Result<Self, Error> {
        Ok(Self { inner: Inner::Embedded(Embedded::open(config, topics)?) })
    }

    /// Opens a folder that [`Log::open_embedded`] refuses because acknowledged records are missing,
    /// writes down that they are lost, and closes it. The numbers of the lost records are not given
    /// again. The caller audits what is returned.
    ///
    /// # Errors
    /// As [`Log::open_embedded`], but for the missing records.
    pub fn accept_loss(config: EmbeddedConfig, topics: Vec<TopicSpec>) -> Result<Vec<Loss>, Error> {
        Embedded::accept_loss(config, topics)
    }

    /// Opens the log on Apache Kafka; waits for the brokers as long as the configuration says.
    ///
    /// # Errors
    /// When the brokers do not answer in time or refuse the setup.
    #[cfg(feature = "kafka")]
    pub async fn open_kafka(config: KafkaConfig, topics: Vec<TopicSpec>) -> Result<Self, Error> {
        Ok(Self { inner: Inner::Kafka(Kafka::open(config, topics).await?) })
    }

    /// Opens a log in memory, for tests and simulation only: nothing survives the process.
    ///
    /// # Errors
    /// When the topics are not valid.
    pub fn open_memory(config: MemoryConfig, topics: Vec<TopicSpec>) -> Result<Self, Error> {
        Ok(Self { inner: Inner::Memory(Memory::open(config, topics)?) })
    }

    /// Crashes a memory log: appends that are not safe are lost, all or some of them, receipts fail
    /// and old handles halt. Returns the log as it is found after the crash; any other log is
    /// returned as it is.
    #[must_use]
    pub fn crash(&self) -> Self {
        match &self.inner {
            Inner::Memory(memory) => Self { inner: Inner::Memory(memory.crash()) },
            _ => self.clone(),
        }
    }

    fn layout(&self) -> &Layout {
        match &self.inner {
            Inner::Memory(memory) => memory.layout(),
            Inner::Embedded(embedded) => embedded.layout(),
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => kafka.layout(),
        }
    }

    /// Number of a topic, for [`Batch::push`].
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicId> {
        self.layout().find(name)
    }

    /// How many partitions a topic has; 0 when the log was opened without it.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> u16 {
        self.topic(topic).map_or(0, |id| self.layout().spec(id).partitions)
    }

    /// Partition of a key's hash in a topic.
    #[must_use]
    pub fn partition_of(&self, topic: &str, key_hash: u64) -> u16 {
        match self.partitions(topic) {
            0 => 0,
            partitions => partition_of(key_hash, partitions),
        }
    }

    /// A writer to all topics.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer { inner: self.inner.clone() }
    }

    /// A reader of one topic. A named group has one live reader at a time in the local logs and
    /// shares its partitions among readers in Kafka. With the empty group any number of readers
    /// read everything and commit nothing.
    ///
    /// # Errors
    /// When the topic is unknown or the group has a live reader.
    pub async fn reader(&self, topic: &str, group: &str, start: Start) -> Result<Reader, Error> {
        let topic = self.layout().require(topic)?;
        let inner = match &self.inner {
            Inner::Memory(memory) => ReaderInner::Memory(memory.reader(topic, group, &start)?),
            Inner::Embedded(embedded) => {
                ReaderInner::Embedded(embedded.reader(topic, group, &start)?)
            }
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => ReaderInner::Kafka(kafka.reader(topic, group, start)?),
        };
        Ok(Reader { inner })
    }

    /// The newest value of each key of a compacted topic's partition, ordered by key.
    ///
    /// # Errors
    /// When the topic is unknown, corrupt, or the brokers do not answer.
    pub async fn compacted(
        &self,
        topic: &str,
        partition: u16,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let topic = self.layout().require(topic)?;
        match &self.inner {
            Inner::Memory(memory) => Ok(memory.compacted(topic, partition)),
            Inner::Embedded(embedded) => embedded.compacted(topic, partition).await,
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => kafka.compacted(topic, partition).await,
        }
    }

    /// Sequence number that the next record of a partition will have.
    ///
    /// # Errors
    /// When the topic is unknown or the brokers do not answer.
    pub async fn head(&self, topic: &str, partition: u16) -> Result<u64, Error> {
        Ok(self.kept(topic, partition).await?.end)
    }

    /// Sequence numbers of the records that a partition keeps, up to that of the next one; errors as [`Log::head`].
    pub async fn kept(&self, topic: &str, partition: u16) -> Result<Range<u64>, Error> {
        let id = self.layout().require(topic)?;
        let head = match &self.inner {
            Inner::Memory(memory) => memory.head(id, partition),
            Inner::Embedded(embedded) => embedded.head(id, partition),
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => return kafka.kept(id, partition).await,
        };
        let status = self.status();
        let of = status.partitions.iter().find(|it| it.topic == topic && it.partition == partition);
        Ok(of.map_or(0, |it| it.first)..head)
    }

    /// Committed positions of a group; partitions without one are left out.
    ///
    /// # Errors
    /// When the topic is unknown or the brokers do not answer.
    pub async fn committed(&self, topic: &str, group: &str) -> Result<Vec<Position>, Error> {
        let topic = self.layout().require(topic)?;
        match &self.inner {
            Inner::Memory(memory) => Ok(memory.committed(topic, group)),
            Inner::Embedded(embedded) => Ok(embedded.committed(topic, group)),
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => kafka.committed(topic, group).await,
        }
    }

    /// State of the log for metrics, readiness and the ledger.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.inner {
            Inner::Memory(memory) => memory.status(),
            Inner::Embedded(embedded) => embedded.status(),
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => kafka.status(),
        }
    }

    /// Compares the settings that the promise rests on with what the brokers say; one sentence per
    /// finding. Empty for the local logs.
    ///
    /// # Errors
    /// When the brokers do not answer.
    pub async fn check(&self) -> Result<Vec<String>, Error> {
        match &self.inner {
            Inner::Memory(_) | Inner::Embedded(_) => Ok(Vec::new()),
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => kafka.check().await,
        }
    }

    /// Takes no further append, makes what was taken safe, writes committed positions and the HEAD
    /// file, ends all readers with empty `Records` and frees the data folder.
    ///
    /// # Errors
    /// When what was taken could not be made safe.
    pub async fn close(&self) -> Result<(), Error> {
        match &self.inner {
            Inner::Memory(memory) => memory.close().await,
            Inner::Embedded(embedded) => embedded.close().await,
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => kafka.close().await,
        }
    }
}

impl Writer {
    /// Waits for room (this is the back-pressure), keeps order per key, returns before the batch is
    /// safe. The log keeps the bytes and retries by itself: never append the same batch again.
    ///
    /// Cancel safe: a call that is dropped while it waits has not taken the batch.
    ///
    /// # Errors
    /// [`Halt`] when nothing may be acknowledged any more.
    pub async fn append(&self, batch: Batch) -> Result<Receipt, Halt> {
        check(&batch, self.layout())?;
        match &self.inner {
            Inner::Memory(memory) => Memory::append(memory, batch).await,
            Inner::Embedded(embedded) => embedded.append(batch).await,
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => kafka.append(batch).await,
        }
    }

    /// An empty batch, with the buffers of an earlier one where there is one to spare.
    #[must_use]
    pub fn spare(&self) -> Batch {
        match &self.inner {
            Inner::Embedded(embedded) => embedded.spare(),
            _ => Batch::new(),
        }
    }

    fn layout(&self) -> &Layout {
        match &self.inner {
            Inner::Memory(memory) => memory.layout(),
            Inner::Embedded(embedded) => embedded.layout(),
            #[cfg(feature = "kafka")]
            Inner::Kafka(kafka) => kafka.layout(),
        }
    }
}

impl Reader {
    /// The next event, waiting for one. Cancel safe: a dropped call has consumed nothing.
    ///
    /// # Errors
    /// When stored bytes are corrupt, the position is no longer kept, or the setup is wrong.
    pub async fn next(&mut self, limit: BatchLimit) -> Result<Event, Error> {
        match &mut self.inner {
            ReaderInner::Memory(reader) => reader.next(limit).await,
            ReaderInner::Embedded(reader) => reader.next(limit).await,
            #[cfg(feature = "kafka")]
            ReaderInner::Kafka(reader) => reader.next(limit).await,
        }
    }

    /// Goes on at this position. After `Assigned` no record of the new partitions is read before
    /// the next call of `next`, so seeking in between skips nothing and repeats nothing.
    ///
    /// # Errors
    /// When the position is of another epoch or the partition is not this reader's.
    pub fn seek(&mut self, position: Position) -> Result<(), Error> {
        match &mut self.inner {
            ReaderInner::Memory(reader) => reader.seek(position),
            ReaderInner::Embedded(reader) => reader.seek(position),
            #[cfg(feature = "kafka")]
            ReaderInner::Kafka(reader) => reader.seek(position),
        }
    }

    /// A handle to commit positions with while this reader goes on reading.
    #[must_use]
    pub fn committer(&self) -> Committer {
        let inner = match &self.inner {
            ReaderInner::Memory(reader) => reader.committer(),
            ReaderInner::Embedded(reader) => reader.committer(),
            #[cfg(feature = "kafka")]
            ReaderInner::Kafka(reader) => CommitterInner::Kafka(reader.committer()),
        };
        Committer { inner }
    }
}

impl Committer {
    /// Whether the partition is this reader's, as far as it knows: to be asked before its owner's state is written.
    #[must_use]
    pub fn is_owner(&self, partition: u16) -> bool {
        match (&self.inner, partition) {
            #[cfg(feature = "kafka")]
            (CommitterInner::Kafka(committer), partition) => committer.is_owner(partition),
            // There is no other reader.
            _ => true,
        }
    }

    /// Everything before `position` is done. Positions only move forward: an older one is ignored.
    ///
    /// Returns once the position is taken, not once it is on disk: a position lost in a crash means
    /// that records are read again, which every consumer must bear anyway.
    ///
    /// # Errors
    /// When the position lies beyond the end, or the partition was revoked.
    pub async fn commit(&self, position: Position) -> Result<(), Error> {
        match &self.inner {
            CommitterInner::Memory(memory, topic, group) => memory.commit(*topic, group, position),
            CommitterInner::Embedded(log, topic, group) => log.commit(*topic, group, position),
            #[cfg(feature = "kafka")]
            CommitterInner::Kafka(committer) => committer.commit(position),
        }
    }
}
