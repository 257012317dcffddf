//! The log in a data folder of this machine, on fjall.
//!
//! One writer thread a folder merges all waiting appends into one value per (topic, partition) and
//! one commit. Invariant: a receipt resolves after that commit's fsync and never without it. Refuses a folder
//! that is held by another process, corrupt, or short of acknowledged records.

mod folder;
mod head;
mod keys;
mod reader;
mod retention;
mod shared;
mod space;
mod values;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

use self::folder::{Engine, Folder, OnMissing, engine};
pub(crate) use self::reader::EmbeddedReader;
use self::shared::{Positions, Queue, Shared};
pub use self::space::{Reserve, Space};
use self::writer::Writer;
use crate::batch::Batch;
use crate::chunk::Chunk;
use crate::error::{Error, Halt};
use crate::log::{PartitionStatus, Receipt, Status};
use crate::records::{Position, RecordRef, Start};
use crate::tail::Tail;
use crate::topic::{Kind, Layout, TopicId, TopicSpec};

/// Bytes that an append takes of the budget beside its records.
const APPEND_OVERHEAD_BYTES: usize = 256;

/// The embedded log: where it lies and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The data folder of the log; made when absent.
    pub dir: PathBuf,
    /// Most bytes taken by `append` that are not yet safe.
    pub queue_bytes_max: usize,
    /// Most appends in one group.
    pub group_appends_max: usize,
    /// Most bytes in one group; a larger append is a group of its own.
    pub group_bytes_max: usize,
    /// Most bytes of records merged into one stored value.
    pub chunk_bytes_max: usize,
    /// Records of one group that have so many bytes are written to value files; fewer to the engine, which
    /// takes one sync less and writes them twice.
    pub direct_bytes_min: usize,
    /// A value file that has so many bytes is followed by another one; retention deletes whole files.
    pub value_file_bytes: u64,
    /// Bytes of the newest chunks kept in memory for readers that keep up.
    pub tail_bytes_max: usize,
    /// Most bytes in memory per topic before the engine writes a table.
    pub memtable_bytes_max: u64,
    /// Most bytes of the engine's block cache.
    pub cache_bytes_max: u64,
    /// Free disk that appends leave alone.
    pub reserve: Reserve,
    /// Positions known elsewhere, e.g. the centre's read position in the store.
    pub floors: Vec<Floor>,
}

impl EmbeddedConfig {
    /// The defaults for a folder.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            queue_bytes_max: 64 << 20,
            group_appends_max: 4096,
            group_bytes_max: 4 << 20,
            chunk_bytes_max: 1 << 20,
            direct_bytes_min: 48 << 10,
            value_file_bytes: 64 << 20,
            tail_bytes_max: 32 << 20,
            memtable_bytes_max: 16 << 20,
            cache_bytes_max: 16 << 20,
            reserve: Reserve::default(),
            floors: Vec::new(),
        }
    }
}

/// A position that someone outside of the log knows: records before it were acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Topic name.
    pub topic: String,
    /// The partition.
    pub partition: u16,
    /// Sequence number of the next record to read.
    pub seq: u64,
    /// Who knows it, e.g. `the centre's position in the store`.
    pub known_from: String,
}

/// Acknowledged records whose loss was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Topic name.
    pub topic: String,
    /// The partition.
    pub partition: u16,
    /// First lost sequence number.
    pub first: u64,
    /// Last lost sequence number.
    pub last: u64,
}

/// An opened folder with its writer thread.
#[derive(Debug)]
pub(crate) struct Embedded {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Embedded {
    pub(crate) fn open(config: EmbeddedConfig, topics: Vec<TopicSpec>) -> Result<Arc<Self>, Error> {
        let layout = Layout::new(topics)?;
        let folder = Folder::open(&config, &layout, &mut OnMissing::Refuse)?;
        let Folder { engine, values, head, known, epochs, states, commits } = folder;
        let engine = Arc::new(engine);
        let tail = |state: &keys::PartitionState| {
            Mutex::new(Tail { first: state.first, next: state.next, ..Tail::default() })
        };
        let topics = layout.specs.len();
        let shared = Arc::new(Shared {
            room: Semaphore::new(config.queue_bytes_max),
            config,
            epochs,
            engine: RwLock::new(Some(engine.clone())),
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
            tails: states.iter().map(tail).collect(),
            grown: (0..topics).map(|_| Notify::new()).collect(),
            positions: Mutex::new(Positions { committed: commits, ..Positions::default() }),
            kept: states.iter().map(|state| AtomicU64::new(state.bytes)).collect(),
            full: (0..topics).map(|_| AtomicBool::new(false)).collect(),
            full_count: AtomicUsize::new(0),
            freed: Notify::new(),
            space: Mutex::new(None),
            halted: OnceLock::new(),
            closed: AtomicBool::new(false),
            readers: Mutex::new(HashMap::new()),
            spare: Mutex::new(Vec::new()),
            layout,
        });
        let writer = Writer::new(shared.clone(), (engine, values), (head, known), states)?;
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| Error::Io { what: "start the writer thread".to_owned(), source })?;
        Ok(Arc::new(Self { shared, thread: Mutex::new(Some(thread)) }))
    }

    pub(crate) fn accept_loss(
        config: EmbeddedConfig,
        topics: Vec<TopicSpec>,
    ) -> Result<Vec<Loss>, Error> {
        let layout = Layout::new(topics)?;
        let mut accepted = OnMissing::Accept(Vec::new());
        Folder::open(&config, &layout, &mut accepted)?;
        let OnMissing::Accept(losses) = accepted else { return Ok(Vec::new()) };
        for loss in &losses {
            tracing::warn!(?loss, "acknowledged records are written off");
        }
        Ok(losses)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    pub(crate) async fn append(&self, batch: Batch) -> Result<Receipt, Halt> {
        self.shared.not_full(&batch).await;
        let bytes = batch.bytes() + APPEND_OVERHEAD_BYTES;
        let permits = bytes.min(self.shared.config.queue_bytes_max).min(u32::MAX as usize);
        let wanted = u32::try_from(permits).expect("just limited");
        let Ok(permit) = self.shared.room.acquire_many(wanted).await else {
            return Err(self.shared.halt());
        };
        let (completion, index) = self.shared.enqueue(batch, permits)?;
        // The writer gives them back once the group is safe.
        permit.forget();
        Ok(Receipt { completion, index, driver: None })
    }

    pub(crate) fn spare(&self) -> Batch {
        let mut spare = self.shared.spare.lock().expect("no code panics while it holds the spares");
        spare.pop().unwrap_or_default()
    }

    pub(crate) fn reader(
        self: &Arc<Self>,
        topic: TopicId,
        group: &str,
        start: &Start,
    ) -> Result<EmbeddedReader, Error> {
        let name = &self.shared.layout.spec(topic).name;
        if self.shared.layout.spec(topic).kind == Kind::Compacted {
            return Err(Error::Config(format!("topic {name} is compacted and has no readers")));
        }
        let group: Arc<str> = Arc::from(group);
        if !group.is_empty() {
            let mut readers = self.shared.readers.lock().expect("no code panics while it holds it");
            if readers.insert((topic, group.clone()), ()).is_some() {
                return Err(Error::ReaderBusy { topic: name.clone(), group: group.to_string() });
            }
        }
        let mut reader = EmbeddedReader::new(self.clone(), topic, group);
        if let Start::At(positions) = start {
            positions.iter().try_for_each(|&position| reader.seek(position))?;
        }
        Ok(reader)
    }

    pub(crate) async fn compacted(
        &self,
        topic: TopicId,
        partition: u16,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let handles = self.shared.engine().ok_or(Halt::Closed)?;
        let name = self.shared.layout.spec(topic).name.clone();
        let read =
            tokio::task::spawn_blocking(move || read_newest(&handles, topic, &name, partition));
        read.await.map_err(|error| Error::Engine {
            what: "read the newest values".to_owned(),
            cause: error.to_string(),
        })?
    }

    pub(crate) fn head(&self, topic: TopicId, partition: u16) -> u64 {
        self.shared.lock_tail(self.shared.layout.slot(topic, partition)).next
    }

    pub(crate) fn committed(&self, topic: TopicId, group: &str) -> Vec<Position> {
        let epoch = self.shared.epochs[topic.index()];
        let positions = self.shared.lock_positions();
        let of_group = positions.committed.get(&(topic, Arc::from(group)));
        let position = |(&partition, &seq): (&u16, &u64)| Position { epoch, partition, seq };
        of_group.into_iter().flatten().map(position).collect()
    }

    pub(crate) fn commit(
        &self,
        topic: TopicId,
        group: &Arc<str>,
        position: Position,
    ) -> Result<(), Error> {
        let Position { epoch, partition, seq } = position;
        let spec = self.shared.layout.spec(topic);
        if epoch != self.shared.epochs[topic.index()] || partition >= spec.partitions {
            return Err(Error::Revoked { partition });
        }
        if let Some(halt) = self.shared.halted.get() {
            return Err(halt.clone().into());
        }
        let tail = self.shared.lock_tail(self.shared.layout.slot(topic, partition));
        let (first, next) = (tail.first, tail.next);
        drop(tail);
        if seq > next {
            let topic = spec.name.clone();
            return Err(Error::OutOfRange { topic, partition, position: seq, first, next });
        }
        if group.is_empty() {
            return Ok(());
        }
        let mut positions = self.shared.lock_positions();
        let known = positions.committed.entry((topic, group.clone())).or_default();
        match known.get(&partition) {
            Some(&before) if before >= seq => return Ok(()),
            _ => known.insert(partition, seq),
        };
        positions.dirty.insert((topic, group.clone(), partition));
        let first_dirty = positions.dirty_since.is_none();
        positions.dirty_since.get_or_insert_with(Instant::now);
        drop(positions);
        let full = self.shared.full[topic.index()].load(Ordering::Acquire);
        if full || first_dirty {
            self.shared.nudge(|queue| queue.retain |= full);
        }
        Ok(())
    }

    pub(crate) fn status(&self) -> Status {
        let shared = &self.shared;
        let partition = |(slot, &(topic, partition)): (usize, &(TopicId, u16))| {
            let tail = shared.lock_tail(slot);
            PartitionStatus {
                topic: shared.layout.spec(topic).name.clone(),
                partition,
                first: tail.first,
                next: tail.next,
                bytes: shared.kept[slot].load(Ordering::Relaxed),
            }
        };
        let full = shared.layout.specs.iter().zip(&shared.full);
        let full = full.filter(|(_, full)| full.load(Ordering::Acquire)).map(|(spec, _)| spec);
        let full: Vec<_> = full.collect();
        let space = shared.space();
        let held = |spec: &&&TopicSpec| space.is_some_and(|space| space.holds(spec, true));
        let name = |spec: &&TopicSpec| spec.name.clone();
        let queued = shared.config.queue_bytes_max - shared.room.available_permits();
        Status {
            partitions: shared.layout.places().iter().enumerate().map(partition).collect(),
            full: full.iter().map(name).collect(),
            held: full.iter().filter(held).map(name).collect(),
            space,
            queued_bytes: queued as u64,
            connected: true,
            halted: shared.halted.get().map(ToString::to_string),
        }
    }

    pub(crate) async fn close(self: &Arc<Self>) -> Result<(), Error> {
        let this = self.clone();
        let stopped = tokio::task::spawn_blocking(move || this.stop());
        stopped.await.map_err(|error| Error::Engine {
            what: "stop the log".to_owned(),
            cause: error.to_string(),
        })?;
        match self.shared.halted.get() {
            Some(halt) => Err(halt.clone().into()),
            None => Ok(()),
        }
    }

    /// Lets the writer finish what was taken, then frees the folder.
    fn stop(&self) {
        self.shared.nudge(|queue| queue.stopping = true);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            let cause = "the writer thread panicked".to_owned();
            self.shared.poison(&Error::Engine { what: "stop the log".to_owned(), cause });
        }
        self.shared.closed.store(true, Ordering::Release);
        self.shared.grown.iter().for_each(Notify::notify_waiters);
        let handles = self.shared.engine.write().expect("no code panics while it holds it").take();
        drop(handles);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read_newest(
    handles: &Engine,
    topic: TopicId,
    name: &str,
    partition: u16,
) -> Result<Vec<(Bytes, Bytes)>, Error> {
    let corrupt = |detail: String| Error::Corrupt {
        what: format!("topic {name} partition {partition}"),
        detail,
    };
    let mut out = Vec::new();
    for guard in handles.topics[topic.index()].prefix(partition.to_be_bytes()) {
        let (key, value) = guard.into_inner().map_err(engine(&format!("read topic {name}")))?;
        let chunk = Chunk::parse(Bytes::from(value)).map_err(corrupt)?;
        let body = chunk.whole().body;
        let (record, _) =
            RecordRef::split(&body).ok_or_else(|| corrupt("a value is cut".to_owned()))?;
        if record.key != &key[2..] {
            return Err(corrupt("a value does not match its key".to_owned()));
        }
        out.push((body.slice_ref(record.key), body.slice_ref(record.value)));
    }
    Ok(out)
}

/// Makes the names in a folder durable.
fn sync_folder(dir: &Path) -> Result<(), Error> {
    let synced = std::fs::File::open(dir).and_then(|folder| folder.sync_all());
    synced.map_err(|source| io("sync", dir, source))
}

fn io(verb: &str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { what: format!("{verb} {}", path.display()), source }
}
