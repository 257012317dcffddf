//! Partitions coming and going: called by the consumer within `poll`, so on the reader's thread.
//!
//! Invariant: what comes is paused until the role asks for more; what goes is announced to the role
//! first, which gets a limited time to finish, and then committed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::reader::{Item, POLL_WAIT};
use super::{EPOCH, Health};
use crate::batch::Batch;
use crate::records::{Part, RecordRef, Records};

/// Called by the consumer within `poll`, so on the reader's thread.
pub(crate) struct Context {
    pub(super) name: String,
    pub(super) request_wait_max: Duration,
    pub(super) revoke_wait_max: Duration,
    pub(super) health: Arc<Health>,
    pub(super) owned: Arc<Mutex<BTreeMap<u16, u64>>>,
    pub(super) items: mpsc::Sender<Item>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) starts: HashMap<u16, u64>,
    pub(super) gathered: BTreeMap<u16, Gathered>,
    /// What the role has still to be told, in order.
    pub(super) news: VecDeque<Item>,
    /// Partitions that wait for the role's `next`.
    pub(super) held: BTreeSet<u16>,
    pub(super) generations: HashMap<u16, u64>,
}

/// Records of one partition from one round of polling.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) batch: Batch,
    pub(super) parts: Vec<(u64, u32, i64)>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AllBrokersDown)) {
            self.health.set(false);
        }
        tracing::debug!(%error, reason, "the Kafka client reports an error");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let result = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        };
        if let Err(error) = result {
            tracing::error!(%error, topic = %self.name, "a rebalance failed");
        }
    }

    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {}
}

impl Context {
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> Result<(), KafkaError> {
        let Some(committed) = self.committed(consumer, list) else { return Ok(()) };
        let mut placed = TopicPartitionList::new();
        let mut partitions = Vec::new();
        let mut state = lock(&self.state);
        for element in committed.elements() {
            let partition = u16::try_from(element.partition()).unwrap_or(u16::MAX);
            let start = match (state.starts.remove(&partition), element.offset()) {
                (Some(seq), _) => Offset::Offset(i64::try_from(seq).unwrap_or(i64::MAX)),
                (None, Offset::Offset(seq)) => Offset::Offset(seq),
                (None, _) => Offset::Beginning,
            };
            placed.add_partition_offset(&self.name, element.partition(), start)?;
            let before = match element.offset() {
                Offset::Offset(seq) => u64::try_from(seq).unwrap_or(0),
                _ => 0,
            };
            lock(&self.owned).insert(partition, before);
            state.held.insert(partition);
            partitions.push(partition);
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&placed)?,
            _ => consumer.assign(&placed)?,
        }
        if !partitions.is_empty() {
            consumer.pause(&placed)?;
            state.news.push_back(Item::Assigned(partitions));
        }
        Ok(())
    }

    /// Where the group stands. Without an answer nothing can be read, so brokers that are away are
    /// waited for; `None` when told to stop meanwhile.
    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> Option<TopicPartitionList> {
        while !self.stop.load(Ordering::Acquire) && !self.items.is_closed() {
            match consumer.committed_offsets(list.clone(), self.request_wait_max) {
                Ok(committed) => return Some(committed),
                Err(error) => {
                    tracing::warn!(%error, topic = %self.name, "asking for the group's positions again");
                    std::thread::sleep(POLL_WAIT);
                }
            }
        }
        None
    }

    /// Tells the role, waits until it is done with the partitions, commits and lets them go.
    fn revoke(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> Result<(), KafkaError> {
        let number = |element: &TopicPartitionListElem<'_>| {
            u16::try_from(element.partition()).unwrap_or(u16::MAX)
        };
        let partitions: Vec<_> = list.elements().iter().map(number).collect();
        let mut state = lock(&self.state);
        for partition in &partitions {
            state.gathered.remove(partition);
            state.held.remove(partition);
        }
        // What came and went within one round of polling was never the role's.
        for item in &mut state.news {
            if let Item::Assigned(assigned) = item {
                assigned.retain(|partition| !partitions.contains(partition));
            }
        }
        drop(state);
        if consumer.assignment_lost() {
            // The group went on without us: someone else may have them, nothing is ours to finish.
            lock(&self.owned).retain(|partition, _| !partitions.contains(partition));
        }
        if !partitions.is_empty() {
            self.announce(&partitions);
            match consumer.commit_consumer_state(CommitMode::Sync) {
                Err(error) if !is_no_offset(&error) => {
                    tracing::warn!(%error, "positions not committed before a rebalance");
                }
                _ => {}
            }
        }
        let mut owned = lock(&self.owned);
        owned.retain(|partition, _| !partitions.contains(partition));
        drop(owned);
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        }
    }

    fn announce(&self, partitions: &[u16]) {
        let deadline = Instant::now() + self.revoke_wait_max;
        let (finished, wait) = std_mpsc::sync_channel(1);
        let mut item = Item::Revoked(partitions.to_vec(), finished);
        loop {
            match self.items.try_send(item) {
                Ok(()) => break,
                Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(again)) => item = again,
            }
            if self.stop.load(Ordering::Acquire) || Instant::now() > deadline {
                tracing::warn!(?partitions, "revoked before the reader had room to hear of it");
                lock(&self.state).news.push_back(item);
                return;
            }
            std::thread::sleep(POLL_WAIT);
        }
        // The role drops its end when it calls `next` again.
        while !self.stop.load(Ordering::Acquire) && Instant::now() < deadline {
            match wait.recv_timeout(POLL_WAIT) {
                Err(std_mpsc::RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }
}

impl Gathered {
    pub(super) fn finish(self, partition: u16) -> Records {
        let mut body = Bytes::from(self.batch.into_bytes());
        let mut parts = Vec::with_capacity(self.parts.len());
        let mut next = 0;
        for (first, count, appended_at) in self.parts {
            let mut end = 0;
            for _ in 0..count {
                end += RecordRef::size(&body[end..]).expect("made just before");
            }
            parts.push(Part { body: body.split_to(end), first, count, appended_at });
            next = first + u64::from(count);
        }
        Records::new(EPOCH, partition, next, parts)
    }
}

/// Whether a commit failed only because there was nothing to commit.
pub(super) fn is_no_offset(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::NoOffset)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this")
}
