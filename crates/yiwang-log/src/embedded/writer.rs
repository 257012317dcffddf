//! The one writer thread of a data folder.
//!
//! It takes a waiting group, merges it into one value per (topic, partition), commits values (or,
//! for large ones, their places), counts and reader positions as one engine batch with one fsync,
//! writes HEAD, lets the readers see the records and resolves the receipts. It never lingers: idle means it syncs at once.
//! Invariant: nothing is visible or acknowledged before the fsync returned. After the first error
//! it takes nothing more and never syncs again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use fjall::{OwnedWriteBatch, PersistMode};

use super::folder::{Engine, engine};
use super::head::{HeadFile, Known, Syncer, topic_hash};
use super::keys::{self, ChunkKey, PartitionState};
use super::shared::{COMMIT_DELAY_MAX, Group, Shared};
use super::values::ValueFiles;
use crate::assemble::{Assembled, Assembler};
use crate::chunk::Chunk;
use crate::error::Error;
use crate::log::Done;
use crate::records::RecordRef;
use crate::topic::{Kind, TopicId};

/// Smaller chunks are never worth a place in a value file.
const DIRECT_CHUNK_BYTES_MIN: usize = 4 << 10;
/// Longest time between syncs of HEAD, and between runs of retention.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Arc<Engine>,
    pub(super) values: ValueFiles,
    pub(super) states: Vec<PartitionState>,
    pub(super) now: i64,
    assembler: Assembler,
    head: HeadFile,
    syncer: Syncer,
    known: Known,
    /// Key of each partition in the engine's state and in HEAD.
    names: Vec<(Vec<u8>, (u64, u16))>,
    /// Partitions and sizes of the chunks in the tails, oldest first.
    in_memory: VecDeque<(usize, usize)>,
    in_memory_bytes: usize,
    last_tick: Instant,
}

/// What the writer does next.
enum Work {
    Group(Group),
    Tick,
    /// A position moved in a full topic.
    Retain,
    Stop,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (engine, values): (Arc<Engine>, ValueFiles),
        (head, known): (HeadFile, Known),
        states: Vec<PartitionState>,
    ) -> Result<Self, Error> {
        let places = shared.layout.places();
        let starts: Vec<_> = places
            .iter()
            .zip(&states)
            .map(|(&(topic, _), state)| (shared.epochs[topic.index()], state.next))
            .collect();
        let names = places
            .iter()
            .map(|&(topic, partition)| {
                let name = &shared.layout.spec(topic).name;
                (keys::partition(name, partition), (topic_hash(name), partition))
            })
            .collect();
        let assembler = Assembler::new(&starts, shared.config.chunk_bytes_max);
        Ok(Self {
            shared,
            engine,
            values,
            states,
            now: 0,
            assembler,
            syncer: Syncer::start(&head)?,
            head,
            known,
            names,
            in_memory: VecDeque::new(),
            in_memory_bytes: 0,
            last_tick: Instant::now(),
        })
    }

    /// Runs until it is told to stop or fails; then everything that waits gets its answer.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.work() {
            self.shared.poison(&error);
        }
        let mut queue = self.shared.lock_queue();
        queue.stopping = true;
        let groups = std::mem::take(&mut queue.groups);
        drop(queue);
        self.shared.room.close();
        for group in groups {
            group.completion.resolve(Err(self.shared.halt()));
        }
        self.shared.freed.notify_waiters();
    }

    fn work(&mut self) -> Result<(), Error> {
        self.retain()?;
        loop {
            match self.wait() {
                Work::Group(group) => {
                    self.group(group)?;
                    if self.last_tick.elapsed() >= TICK {
                        self.tick()?;
                    }
                }
                Work::Tick => self.tick()?,
                Work::Retain => self.retain()?,
                Work::Stop => break,
            }
        }
        self.write_positions()?;
        self.engine.db.persist(PersistMode::SyncAll).map_err(engine("sync the journal"))?;
        self.values.delete_doomed()?;
        self.head.write(&self.known)?;
        self.head.sync()
    }

    fn wait(&mut self) -> Work {
        let mut queue = self.shared.lock_queue();
        loop {
            if std::mem::take(&mut queue.retain) {
                return Work::Retain;
            }
            if let Some(group) = queue.groups.pop_front() {
                queue.idle = false;
                return Work::Group(group);
            }
            if queue.stopping {
                return Work::Stop;
            }
            let dirty_since = self.shared.lock_positions().dirty_since;
            let tick_due = self.last_tick + TICK;
            let due = dirty_since.map_or(tick_due, |at| tick_due.min(at + COMMIT_DELAY_MAX));
            let now = Instant::now();
            if due <= now {
                return Work::Tick;
            }
            queue.idle = true;
            let waited = self.shared.work.wait_timeout(queue, due - now);
            queue = waited.expect("no code panics while it holds the queue").0;
        }
    }

    fn group(&mut self, group: Group) -> Result<(), Error> {
        let Group { batches, permits, completion, .. } = group;
        self.read_clock();
        let assembled = self.assembler.assemble(&self.shared.layout, &batches, self.now);
        if let Err(error) = self.store(&assembled) {
            // The receipts of this group must not outlive the reason, so poison first.
            self.shared.poison(&error);
            completion.resolve(Err(self.shared.halt()));
            return Err(error);
        }
        let Assembled { chunks, extents, bounds } = assembled;
        let over = self.publish(chunks);
        self.shared.room.add_permits(permits);
        completion.resolve(Ok(Done { extents, bounds }));
        self.shared.give_back(batches);
        if over { self.retain() } else { Ok(()) }
    }

    /// Makes one group durable: large chunks in their files, one engine batch with one fsync, then HEAD.
    fn store(&mut self, assembled: &Assembled) -> Result<(), Error> {
        if assembled.chunks.is_empty() {
            return Ok(());
        }
        let mut batch = self.engine.db.batch().durability(Some(PersistMode::SyncData));
        let mut newest: HashMap<(usize, &[u8]), &Chunk> = HashMap::new();
        let mut touched: Vec<usize> = Vec::new();
        let bytes: usize = assembled.chunks.iter().map(|(_, chunk)| chunk.bytes.len()).sum();
        let direct = bytes >= self.shared.config.direct_bytes_min;
        for (slot, chunk) in &assembled.chunks {
            let (topic, _) = self.shared.layout.places()[*slot];
            let state = &mut self.states[*slot];
            match self.shared.layout.spec(topic).kind {
                Kind::Stream => {
                    let key = ChunkKey::new(&chunk.head, chunk.bytes.len()).encode();
                    let keyspace = &self.engine.topics[topic.index()];
                    if direct && chunk.bytes.len() >= DIRECT_CHUNK_BYTES_MIN {
                        let place =
                            self.values.write(&self.shared.layout.spec(topic).name, chunk)?;
                        batch.insert(keyspace, key, place.encode(&key));
                    } else {
                        batch.insert(keyspace, key, chunk.bytes.clone());
                    }
                    state.bytes += chunk.bytes.len() as u64;
                }
                Kind::Compacted => {
                    state.first = chunk.end();
                    newest.insert((*slot, key_of(chunk)), chunk);
                }
            }
            state.next = chunk.end();
            self.known.next.insert(self.names[*slot].1, state.next);
            if touched.last() != Some(slot) {
                touched.push(*slot);
            }
        }
        for ((slot, key), chunk) in newest {
            self.store_newest(&mut batch, slot, key, chunk);
        }
        touched.sort_unstable();
        touched.dedup();
        for slot in touched {
            self.write_state(&mut batch, slot);
        }
        self.take_positions(&mut batch);
        self.values.sync(|key, value| batch.insert(&self.engine.meta, key, value))?;
        batch.commit().map_err(engine("write and sync the journal"))?;
        self.values.delete_doomed()?;
        self.head.write(&self.known)
    }

    fn store_newest(&self, batch: &mut OwnedWriteBatch, slot: usize, key: &[u8], chunk: &Chunk) {
        let (topic, partition) = self.shared.layout.places()[slot];
        let keyspace = &self.engine.topics[topic.index()];
        let place = keys::compacted(partition, key);
        if value_of(chunk).is_empty() {
            batch.remove(keyspace, place);
        } else {
            batch.insert(keyspace, place, chunk.bytes.clone());
        }
    }

    pub(super) fn write_state(&self, batch: &mut OwnedWriteBatch, slot: usize) {
        let key = &self.names[slot].0;
        batch.insert(&self.engine.meta, &key[..], keys::sealed(key, self.states[slot].encode()));
    }

    /// Adds the positions that are not yet written.
    pub(super) fn take_positions(&self, batch: &mut OwnedWriteBatch) {
        let mut positions = self.shared.lock_positions();
        positions.dirty_since = None;
        for (topic, group, partition) in std::mem::take(&mut positions.dirty) {
            let name = &self.shared.layout.spec(topic).name;
            let key = keys::commit(name, partition, &group);
            let seq = positions.committed[&(topic, group)][&partition];
            let value = keys::sealed(&key, seq.to_le_bytes().to_vec());
            batch.insert(&self.engine.meta, key, value);
        }
    }

    /// Lets readers see chunks that are durable; whether a topic went over its limit.
    fn publish(&mut self, chunks: Vec<(usize, Chunk)>) -> bool {
        let mut grown = vec![false; self.shared.layout.specs.len()];
        for (slot, chunk) in chunks {
            let (topic, _) = self.shared.layout.places()[slot];
            let mut tail = self.shared.lock_tail(slot);
            if self.shared.layout.spec(topic).kind == Kind::Compacted {
                (tail.first, tail.next) = (chunk.end(), chunk.end());
                continue;
            }
            grown[topic.index()] = true;
            self.in_memory.push_back((slot, chunk.bytes.len()));
            self.in_memory_bytes += chunk.bytes.len();
            tail.push(chunk);
            drop(tail);
            self.shared.kept[slot].store(self.states[slot].bytes, Ordering::Relaxed);
        }
        while self.in_memory_bytes > self.shared.config.tail_bytes_max {
            let Some((slot, bytes)) = self.in_memory.pop_front() else { break };
            self.in_memory_bytes -= bytes;
            self.shared.lock_tail(slot).chunks.pop_front();
        }
        let mut over = false;
        for (index, _) in grown.iter().enumerate().filter(|(_, grown)| **grown) {
            self.shared.grown[index].notify_waiters();
            over |= self.is_over(TopicId(u16::try_from(index).expect("checked by the layout")));
        }
        over
    }

    fn tick(&mut self) -> Result<(), Error> {
        self.last_tick = Instant::now();
        self.write_positions()?;
        self.syncer.want()?;
        self.retain()
    }

    /// Writes positions without a sync of their own: losing them means reading again.
    fn write_positions(&mut self) -> Result<(), Error> {
        let mut batch = self.engine.db.batch().durability(Some(PersistMode::Buffer));
        self.take_positions(&mut batch);
        batch.commit().map_err(engine("write positions"))
    }

    /// The clock for retention; it never goes back.
    pub(super) fn read_clock(&mut self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.now = self.now.max(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    }
}

fn key_of(chunk: &Chunk) -> &[u8] {
    RecordRef::split(&chunk.bytes[crate::chunk::HEADER..]).map_or(&[], |(record, _)| record.key)
}

fn value_of(chunk: &Chunk) -> &[u8] {
    RecordRef::split(&chunk.bytes[crate::chunk::HEADER..]).map_or(&[], |(record, _)| record.value)
}
