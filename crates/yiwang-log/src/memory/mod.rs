//! A log in memory for tests and simulation, with seeded faults.
//!
//! Deterministic: all randomness comes from the seed, and time is tokio's, which stands still under
//! paused time. It has no thread or task of its own: whoever waits moves it on. Invariant: a
//! receipt succeeds only for records that [`Memory::crash`] will keep. Refuses to be durable.

mod reader;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::reader::MemoryReader;
use crate::assemble::Assembler;
use crate::batch::Batch;
use crate::error::{Error, Halt};
use crate::log::{Completion, Done, PartitionStatus, Receipt, Status};
use crate::records::{Position, RecordRef, Start};
use crate::tail::Tail;
use crate::topic::{Kind, Layout, TopicId, TopicSpec};

/// Epoch of every topic in memory.
const EPOCH: u32 = 1;
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// What goes wrong, and how often. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Longest time from an append to its being safe.
    pub sync_delay_max: Duration,
    /// Longest further time until its receipt says so: receipts then complete out of order.
    pub receipt_delay_max: Duration,
    /// Longest time that an append waits before it is taken.
    pub append_delay_max: Duration,
    /// Share of reads before which all partitions are revoked and assigned again, so that what was
    /// read since the last commit is read again.
    pub rebalance_ratio: f64,
}

/// A log in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryConfig {
    /// Seed of all faults.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Most bytes taken by `append` that are not yet safe.
    pub queue_bytes_max: usize,
    /// Time shown as `appended_at` when the log is opened, milliseconds UTC.
    pub opened_at: i64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { seed: 0, faults: Faults::default(), queue_bytes_max: 64 << 20, opened_at: 0 }
    }
}

/// The shared log.
#[derive(Debug)]
pub(crate) struct Memory {
    config: MemoryConfig,
    layout: Layout,
    state: Mutex<State>,
    changed: Notify,
    opened: Instant,
}

#[derive(Debug)]
struct State {
    rng: SmallRng,
    assembler: Assembler,
    tails: Vec<Tail>,
    /// Newest value per key of compacted partitions.
    tables: Vec<BTreeMap<Bytes, Bytes>>,
    bytes: Vec<u64>,
    commits: HashMap<(TopicId, Arc<str>), BTreeMap<u16, u64>>,
    /// Positions before the last commits, to which a crash may go back.
    earlier: HashMap<(TopicId, Arc<str>), BTreeMap<u16, u64>>,
    unsafe_appends: VecDeque<Waiting>,
    acks: Vec<(Instant, Arc<Completion>, Done)>,
    queued: usize,
    readers: HashSet<(TopicId, Arc<str>)>,
    halted: Option<Halt>,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    ack_due: Instant,
    batch: Batch,
    completion: Arc<Completion>,
}

impl Memory {
    pub(crate) fn open(config: MemoryConfig, topics: Vec<TopicSpec>) -> Result<Arc<Self>, Error> {
        let layout = Layout::new(topics)?;
        let slots = layout.places().len();
        let state = State {
            rng: SmallRng::seed_from_u64(config.seed),
            assembler: Assembler::new(&vec![(EPOCH, 0); slots], CHUNK_BYTES_MAX),
            tails: (0..slots).map(|_| Tail::default()).collect(),
            tables: vec![BTreeMap::new(); slots],
            bytes: vec![0; slots],
            commits: HashMap::new(),
            earlier: HashMap::new(),
            unsafe_appends: VecDeque::new(),
            acks: Vec::new(),
            queued: 0,
            readers: HashSet::new(),
            halted: None,
            closed: false,
        };
        Ok(Arc::new(Self {
            config,
            layout,
            state: Mutex::new(state),
            changed: Notify::new(),
            opened: Instant::now(),
        }))
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) async fn append(log: &Arc<Self>, batch: Batch) -> Result<Receipt, Halt> {
        let wait = log.delay(log.config.faults.append_delay_max);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        log.until(|state| {
            if let Some(halt) = &state.halted {
                return Some(Err(halt.clone()));
            }
            if state.closed {
                return Some(Err(Halt::Closed));
            }
            let room =
                state.queued == 0 || state.queued + batch.bytes() <= log.config.queue_bytes_max;
            (room && !log.is_full(state, &batch)).then_some(Ok(()))
        })
        .await?;
        let completion = Arc::new(Completion::default());
        let sync = log.delay(log.config.faults.sync_delay_max);
        let ack = log.delay(log.config.faults.receipt_delay_max);
        let mut state = log.lock();
        let newest = state.unsafe_appends.back().map_or_else(Instant::now, |last| last.due);
        let due = newest.max(Instant::now() + sync);
        state.queued += batch.bytes();
        let waiting = Waiting { due, ack_due: due + ack, batch, completion: completion.clone() };
        state.unsafe_appends.push_back(waiting);
        drop(state);
        log.advance();
        Ok(Receipt { completion, index: 0, driver: Some(log.clone()) })
    }

    /// Moves the log on until the completion is resolved.
    pub(crate) async fn drive(&self, completion: &Completion) -> Result<(), Halt> {
        tokio::select! {
            biased;
            result = completion.wait() => result,
            never = self.until(|_| None::<std::convert::Infallible>) => match never {},
        }
    }

    /// Waits for a condition and moves the log on meanwhile.
    async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.advance();
            let due = {
                let mut state = self.lock();
                if let Some(value) = ready(&mut state) {
                    return value;
                }
                let sync = state.unsafe_appends.front().map(|waiting| waiting.due);
                state.acks.iter().map(|(due, ..)| *due).chain(sync).min()
            };
            match due {
                None => changed.await,
                Some(due) => {
                    tokio::select! { () = changed => {}, () = tokio::time::sleep_until(due) => {} }
                }
            }
        }
    }

    /// Makes safe what is due and resolves the receipts that are due.
    fn advance(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let mut moved = false;
        while state.unsafe_appends.front().is_some_and(|waiting| waiting.due <= now) {
            let waiting = state.unsafe_appends.pop_front().expect("front was there");
            let done = self.store(&mut state, &waiting.batch);
            state.acks.push((waiting.ack_due, waiting.completion, done));
            moved = true;
        }
        if moved {
            state.earlier = state.commits.clone();
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.acks).into_iter().partition(|(due, ..)| *due <= now);
        state.acks = later;
        drop(state);
        moved |= !due.is_empty();
        for (_, completion, done) in due {
            completion.resolve(Ok(done));
        }
        if moved {
            self.changed.notify_waiters();
        }
    }

    fn store(&self, state: &mut State, batch: &Batch) -> Done {
        state.queued -= batch.bytes();
        let at = self.config.opened_at + self.opened.elapsed().as_millis() as i64;
        let assembled = state.assembler.assemble(&self.layout, std::slice::from_ref(batch), at);
        for (slot, chunk) in assembled.chunks {
            let (topic, _) = self.layout.places()[slot];
            if self.layout.spec(topic).kind == Kind::Compacted {
                let body = chunk.whole().body;
                let (record, _) = RecordRef::split(&body).expect("made by this process");
                let key = Bytes::copy_from_slice(record.key);
                if record.value.is_empty() {
                    state.tables[slot].remove(&key);
                } else {
                    state.tables[slot].insert(key, Bytes::copy_from_slice(record.value));
                }
                state.tails[slot].next = chunk.end();
                state.tails[slot].first = chunk.end();
            } else {
                state.bytes[slot] += chunk.bytes.len() as u64;
                state.tails[slot].push(chunk);
            }
        }
        for topic in 0..self.layout.specs.len() {
            self.retain(state, TopicId(topic as u16), at);
        }
        Done { extents: assembled.extents, bounds: assembled.bounds }
    }

    /// Drops whole chunks beyond the limits that every named reader has passed.
    fn retain(&self, state: &mut State, topic: TopicId, now: i64) {
        let spec = self.layout.spec(topic);
        let mut total: u64 =
            (0..spec.partitions).map(|p| state.bytes[self.layout.slot(topic, p)]).sum();
        for partition in 0..spec.partitions {
            let slot = self.layout.slot(topic, partition);
            let floor = self.floor(state, topic, partition);
            while let Some(chunk) = state.tails[slot].chunks.front() {
                let age = now.saturating_sub(chunk.head.appended_at);
                let old = u128::from(age.unsigned_abs()) > spec.retention.age_max.as_millis();
                if chunk.end() > floor || !(old || total > spec.retention.bytes_max) {
                    break;
                }
                total -= chunk.bytes.len() as u64;
                state.bytes[slot] -= chunk.bytes.len() as u64;
                state.tails[slot].first = chunk.end();
                state.tails[slot].chunks.pop_front();
            }
        }
    }

    fn floor(&self, state: &State, topic: TopicId, partition: u16) -> u64 {
        let readers = &self.layout.spec(topic).readers;
        let position = |group: &String| {
            let key = (topic, Arc::from(group.as_str()));
            state.commits.get(&key).and_then(|at| at.get(&partition)).copied().unwrap_or(0)
        };
        readers.iter().map(position).min().unwrap_or(u64::MAX)
    }

    fn is_full(&self, state: &State, batch: &Batch) -> bool {
        batch.entries().iter().any(|entry| self.topic_is_full(state, entry.topic))
    }

    fn topic_is_full(&self, state: &State, topic: TopicId) -> bool {
        let spec = self.layout.spec(topic);
        let total: u64 =
            (0..spec.partitions).map(|p| state.bytes[self.layout.slot(topic, p)]).sum();
        total > spec.retention.bytes_max
    }

    pub(crate) fn crash(&self) -> Arc<Self> {
        self.advance();
        let mut state = self.lock();
        // What was on its way may have reached the disk without its receipt: a prefix of it.
        let waiting = state.unsafe_appends.len();
        let kept = state.rng.random_range(0..=waiting);
        for _ in 0..kept {
            let append = state.unsafe_appends.pop_front().expect("kept is within the queue");
            self.store(&mut state, &append.batch);
            append.completion.resolve(Err(Halt::Crashed));
        }
        let lost: Vec<_> = state.unsafe_appends.drain(..).collect();
        lost.iter().for_each(|append| append.completion.resolve(Err(Halt::Crashed)));
        let acks = std::mem::take(&mut state.acks);
        acks.iter().for_each(|(_, completion, _)| completion.resolve(Err(Halt::Crashed)));
        if state.rng.random_bool(0.5) {
            state.commits = state.earlier.clone();
        }
        state.halted = Some(Halt::Crashed);
        let starts: Vec<_> = state.tails.iter().map(|tail| (EPOCH, tail.next)).collect();
        let seed = state.rng.random();
        let next = State {
            rng: SmallRng::seed_from_u64(seed),
            assembler: Assembler::new(&starts, CHUNK_BYTES_MAX),
            tails: std::mem::take(&mut state.tails),
            tables: std::mem::take(&mut state.tables),
            bytes: state.bytes.clone(),
            earlier: state.commits.clone(),
            commits: std::mem::take(&mut state.commits),
            unsafe_appends: VecDeque::new(),
            acks: Vec::new(),
            queued: 0,
            readers: HashSet::new(),
            halted: None,
            closed: false,
        };
        state.tails = (0..starts.len()).map(|_| Tail::default()).collect();
        state.tables = vec![BTreeMap::new(); starts.len()];
        drop(state);
        self.changed.notify_waiters();
        Arc::new(Self {
            config: self.config,
            layout: self.layout.clone(),
            state: Mutex::new(next),
            changed: Notify::new(),
            opened: self.opened,
        })
    }

    pub(crate) fn reader(
        self: &Arc<Self>,
        topic: TopicId,
        group: &str,
        start: &Start,
    ) -> Result<MemoryReader, Error> {
        let group: Arc<str> = Arc::from(group);
        if !group.is_empty() && !self.lock().readers.insert((topic, group.clone())) {
            let topic = self.layout.spec(topic).name.clone();
            return Err(Error::ReaderBusy { topic, group: group.to_string() });
        }
        let mut reader = MemoryReader::new(self.clone(), topic, group);
        if let Start::At(positions) = start {
            positions.iter().try_for_each(|&position| reader.seek(position))?;
        }
        Ok(reader)
    }

    pub(crate) fn compacted(&self, topic: TopicId, partition: u16) -> Vec<(Bytes, Bytes)> {
        self.advance();
        let state = self.lock();
        let table = state.tables.get(self.layout.slot(topic, partition));
        table.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(crate) fn head(&self, topic: TopicId, partition: u16) -> u64 {
        self.advance();
        self.lock().tails[self.layout.slot(topic, partition)].next
    }

    pub(crate) fn committed(&self, topic: TopicId, group: &str) -> Vec<Position> {
        let state = self.lock();
        let positions = state.commits.get(&(topic, Arc::from(group)));
        let position = |(&partition, &seq): (&u16, &u64)| Position { epoch: EPOCH, partition, seq };
        positions.into_iter().flatten().map(position).collect()
    }

    pub(crate) fn commit(
        &self,
        topic: TopicId,
        group: &Arc<str>,
        position: Position,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(halt) = &state.halted {
            return Err(halt.clone().into());
        }
        let tail = &state.tails[self.layout.slot(topic, position.partition)];
        if position.seq > tail.next {
            return Err(self.outside(topic, position.partition, position.seq, tail));
        }
        let positions = state.commits.entry((topic, group.clone())).or_default();
        let seq = positions.entry(position.partition).or_default();
        *seq = position.seq.max(*seq);
        let at = self.config.opened_at + self.opened.elapsed().as_millis() as i64;
        self.retain(&mut state, topic, at);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        let partition = |(slot, &(topic, partition)): (usize, &(TopicId, u16))| PartitionStatus {
            topic: self.layout.spec(topic).name.clone(),
            partition,
            first: state.tails[slot].first,
            next: state.tails[slot].next,
            bytes: state.bytes[slot],
        };
        let full = |&id: &u16| self.topic_is_full(&state, TopicId(id));
        Status {
            partitions: self.layout.places().iter().enumerate().map(partition).collect(),
            held: Vec::new(),
            full: (0..self.layout.specs.len() as u16)
                .filter(full)
                .map(|id| self.layout.spec(TopicId(id)).name.clone())
                .collect(),
            space: None,
            queued_bytes: state.queued as u64,
            connected: true,
            halted: state.halted.as_ref().map(ToString::to_string),
        }
    }

    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.lock().closed = true;
        self.changed.notify_waiters();
        self.until(|state| {
            let idle = state.unsafe_appends.is_empty() && state.acks.is_empty();
            idle.then_some(())
        })
        .await;
        Ok(())
    }

    fn outside(&self, topic: TopicId, partition: u16, position: u64, tail: &Tail) -> Error {
        let topic = self.layout.spec(topic).name.clone();
        Error::OutOfRange { topic, partition, position, first: tail.first, next: tail.next }
    }

    fn delay(&self, longest: Duration) -> Duration {
        if longest.is_zero() {
            return Duration::ZERO;
        }
        let nanoseconds = longest.as_nanos() as u64;
        Duration::from_nanos(self.lock().rng.random_range(0..=nanoseconds))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the state")
    }
}
