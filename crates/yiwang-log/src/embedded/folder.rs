//! Opening the data folder: engine, keyspaces, and the checks that nothing acknowledged is missing.
//!
//! Refuses a folder that is held, corrupt, or behind HEAD, a committed position or a floor.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::config::CompressionPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::head::{ENTRIES_MAX, HeadFile, Known, topic_hash};
use super::keys::{self, ChunkKey, PartitionState};
use super::values::{self, ValueFiles};
use super::{EmbeddedConfig, Loss, sync_folder};
use crate::chunk::{Chunk, FLAG_GAP, HEADER, Head};
use crate::error::Error;
use crate::topic::{Kind, Layout, TopicId};

/// Most bytes of the engine's journals; older ones are written to tables before.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
const META_MEMTABLE_BYTES_MAX: u64 = 4 << 20;
/// Values from this size on lie in value files, which compaction does not rewrite.
const SEPARATION_BYTES: u32 = 4 << 10;
const VALUE_FILE_BYTES: u64 = 32 << 20;
/// With two, the engine's first worker puts compactions back and takes them again, at full speed, as long as the
/// second is busy.
const WORKER_THREADS: usize = 1;
/// Epoch of a topic that this version makes; another partition count would be the next one.
const EPOCH: u32 = 1;

/// The engine's handles.
pub(crate) struct Engine {
    pub(crate) db: Database,
    pub(crate) meta: Keyspace,
    pub(crate) topics: Vec<Keyspace>,
    /// Folder of the value files.
    pub(crate) values: PathBuf,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Committed positions by topic, group and partition.
pub(crate) type Commits = HashMap<(TopicId, Arc<str>), BTreeMap<u16, u64>>;

/// An opened and checked folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) engine: Engine,
    pub(crate) values: ValueFiles,
    pub(crate) head: HeadFile,
    pub(crate) known: Known,
    /// Epoch of each topic.
    pub(crate) epochs: Vec<u32>,
    /// State of each partition at its dense number.
    pub(crate) states: Vec<PartitionState>,
    pub(crate) commits: Commits,
}

/// What to do about acknowledged records that are missing.
#[derive(Debug)]
pub(crate) enum OnMissing {
    Refuse,
    Accept(Vec<Loss>),
}

impl Folder {
    pub(crate) fn open(
        config: &EmbeddedConfig,
        layout: &Layout,
        on_missing: &mut OnMissing,
    ) -> Result<Self, Error> {
        if layout.places().len() > ENTRIES_MAX {
            let count = layout.places().len();
            return Err(Error::Config(format!("{count} partitions exceed {ENTRIES_MAX}")));
        }
        std::fs::create_dir_all(&config.dir).map_err(|source| Error::Io {
            what: format!("make the data folder {}", config.dir.display()),
            source,
        })?;
        // A damaged file may trip an assertion of the engine: that too is a refusal, not a crash.
        let open = AssertUnwindSafe(|| Engine::open(config, layout));
        let engine = std::panic::catch_unwind(open).map_err(|_| Error::Corrupt {
            what: config.dir.display().to_string(),
            detail: "the engine found a state that cannot be".to_owned(),
        })??;
        let head_path = config.dir.join("HEAD");
        let found = match HeadFile::read(&head_path) {
            Err(Error::Corrupt { .. }) if matches!(on_missing, OnMissing::Accept(_)) => None,
            other => other?,
        };
        let log_epoch = engine.log_epoch()?;
        let head_lost = found.is_none() && log_epoch.is_some();
        let generation = found.as_ref().map_or(0, |(_, generation)| *generation);
        let before = found.map(|(known, _)| known).unwrap_or_default();
        let log_epoch = match log_epoch {
            Some(epoch) if generation > 0 && before.log_epoch != epoch => {
                return Err(Error::Corrupt {
                    what: head_path.display().to_string(),
                    detail: "it belongs to another log".to_owned(),
                });
            }
            Some(epoch) => epoch,
            None => engine.begin()?,
        };
        let epochs = engine.describe_topics(layout)?;
        let commits = engine.commits(layout)?;
        let mut folder = Self {
            values: engine.value_files(config)?,
            engine,
            head: HeadFile::open(&head_path, generation)?,
            known: Known { log_epoch, next: before.next.clone() },
            epochs,
            states: Vec::new(),
            commits,
        };
        folder.check(config, layout, &before, on_missing)?;
        let used = folder.states.iter().any(|state| state.next > 0);
        if head_lost && used && matches!(on_missing, OnMissing::Refuse) {
            return Err(Error::Corrupt {
                what: head_path.display().to_string(),
                detail: "the file is gone, so lost records cannot be seen; put it back or run \
                         `yiwang log accept-loss`"
                    .to_owned(),
            });
        }
        folder.values.trim()?;
        folder.write_head(layout, &config.dir)?;
        Ok(folder)
    }

    /// Loads every partition's state and compares it with what is known from elsewhere.
    fn check(
        &mut self,
        config: &EmbeddedConfig,
        layout: &Layout,
        head: &Known,
        on_missing: &mut OnMissing,
    ) -> Result<(), Error> {
        for &(topic, partition) in layout.places() {
            let spec = layout.spec(topic);
            let state = self.engine.state(&spec.name, partition)?;
            let end = match spec.kind {
                Kind::Stream => self.engine.check_ends(topic, &spec.name, partition, &state)?,
                Kind::Compacted => state.next,
            };
            let mut wanted = vec![(state.next, "the partition's own count".to_owned())];
            if let Some(&next) = head.next.get(&(topic_hash(&spec.name), partition)) {
                wanted.push((next, "the HEAD file".to_owned()));
            }
            for ((other, group), positions) in &self.commits {
                if let (true, Some(&seq)) = (*other == topic, positions.get(&partition)) {
                    wanted.push((seq, format!("the committed position of reader {group}")));
                }
            }
            let here = config.floors.iter().filter(|floor| floor.topic == spec.name);
            for floor in here.filter(|floor| floor.partition == partition) {
                wanted.push((floor.seq, floor.known_from.clone()));
            }
            let (next, known_from) =
                wanted.into_iter().max_by_key(|(next, _)| *next).expect("one at least");
            if next <= end {
                self.states.push(state);
                continue;
            }
            match on_missing {
                OnMissing::Refuse => {
                    let topic = spec.name.clone();
                    let (first, last) = (end, next - 1);
                    return Err(Error::Missing { topic, partition, first, last, known_from });
                }
                OnMissing::Accept(losses) => {
                    let epoch = self.epochs[topic.index()];
                    let place = (topic, partition, epoch);
                    let state = self.engine.write_gap(layout, place, state, end..next)?;
                    self.states.push(state);
                    let topic = spec.name.clone();
                    losses.push(Loss { topic, partition, first: end, last: next - 1 });
                }
            }
        }
        Ok(())
    }

    fn write_head(&mut self, layout: &Layout, dir: &Path) -> Result<(), Error> {
        for (slot, &(topic, partition)) in layout.places().iter().enumerate() {
            let key = (topic_hash(&layout.spec(topic).name), partition);
            self.known.next.insert(key, self.states[slot].next);
        }
        // Both slots, so that an older one cannot be taken for the newest.
        self.head.write(&self.known)?;
        self.head.write(&self.known)?;
        self.head.sync()?;
        sync_folder(dir)
    }
}

impl Engine {
    fn open(config: &EmbeddedConfig, layout: &Layout) -> Result<Self, Error> {
        let dir = config.dir.join("records");
        let db = Database::builder(&dir)
            .cache_size(config.cache_bytes_max)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .open()
            .map_err(|error| match error {
                fjall::Error::Locked => Error::Locked { dir: config.dir.display().to_string() },
                fjall::Error::JournalRecovery(cause) => Error::Corrupt {
                    what: format!("the journal in {}", dir.display()),
                    detail: format!("{cause:?}"),
                },
                other => engine(&format!("open {}", dir.display()))(other),
            })?;
        let meta = db
            .keyspace("meta", || {
                KeyspaceCreateOptions::default().max_memtable_size(META_MEMTABLE_BYTES_MAX)
            })
            .map_err(engine("open the keyspace meta"))?;
        let mut topics = Vec::with_capacity(layout.specs.len());
        for spec in &layout.specs {
            let options = || {
                let values = KvSeparationOptions::default()
                    .separation_threshold(SEPARATION_BYTES)
                    .file_target_size(VALUE_FILE_BYTES)
                    .compression(fjall::CompressionType::None);
                KeyspaceCreateOptions::default()
                    .max_memtable_size(config.memtable_bytes_max)
                    .data_block_compression_policy(CompressionPolicy::disabled())
                    .with_kv_separation(Some(values))
            };
            let name = format!("topic.{}", spec.name);
            let opened = db.keyspace(&name, options);
            topics.push(opened.map_err(engine(&format!("open the keyspace {name}")))?);
        }
        Ok(Self { db, meta, topics, values: config.dir.join("values") })
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let found = self.meta.get(key).map_err(engine("read the log's state"))?;
        found.map(|value| keys::unsealed(key, &value).map(<[u8]>::to_vec)).transpose()
    }

    fn put_meta(&self, key: &[u8], value: Vec<u8>) -> Result<(), Error> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, key, keys::sealed(key, value));
        batch.commit().map_err(engine("write the log's state"))
    }

    fn log_epoch(&self) -> Result<Option<u64>, Error> {
        let value = self.meta(keys::LOG)?;
        Ok(value.and_then(|value| value.try_into().ok()).map(u64::from_le_bytes))
    }

    fn begin(&self) -> Result<u64, Error> {
        let epoch: u64 = rand::random();
        self.put_meta(keys::LOG, epoch.to_le_bytes().to_vec())?;
        Ok(epoch)
    }

    /// Epoch of each topic; a changed partition count or kind is refused.
    fn describe_topics(&self, layout: &Layout) -> Result<Vec<u32>, Error> {
        for spec in &layout.specs {
            let key = keys::topic(&spec.name);
            let wanted = keys::describe(EPOCH, spec);
            match self.meta(&key)? {
                None => self.put_meta(&key, wanted)?,
                Some(found) if found == wanted => {}
                Some(found) => {
                    let partitions = found.get(4..6).map_or(0, |bytes| {
                        u16::from_le_bytes(bytes.try_into().expect("two bytes"))
                    });
                    return Err(Error::Config(format!(
                        "topic {} was made with {partitions} partitions as {}; its partition \
                         count and kind are fixed: set them back, or drain it and use a new name",
                        spec.name,
                        if found.last() == Some(&0) { "stream" } else { "compacted" }
                    )));
                }
            }
        }
        Ok(vec![EPOCH; layout.specs.len()])
    }

    fn commits(&self, layout: &Layout) -> Result<Commits, Error> {
        let mut commits = Commits::new();
        for (index, spec) in layout.specs.iter().enumerate() {
            let prefix = keys::commits(&spec.name);
            for guard in self.meta.prefix(&prefix) {
                let (key, value) = guard.into_inner().map_err(engine("read positions"))?;
                let seq = keys::unsealed(&key, &value)?;
                let (partition, group) = key[prefix.len()..].split_at(2);
                let partition = u16::from_be_bytes(partition.try_into().expect("two bytes"));
                let group: Arc<str> = Arc::from(String::from_utf8_lossy(group).as_ref());
                let seq = u64::from_le_bytes(seq.try_into().map_err(|_| Error::Corrupt {
                    what: format!("the position of reader {group}"),
                    detail: "not eight bytes".to_owned(),
                })?);
                let topic = TopicId(u16::try_from(index).expect("checked by the layout"));
                commits.entry((topic, group)).or_default().insert(partition, seq);
            }
        }
        Ok(commits)
    }

    fn value_files(&self, config: &EmbeddedConfig) -> Result<ValueFiles, Error> {
        let found = self.meta.prefix(keys::VALUE_FILES).map(|guard| guard.into_inner());
        let entries: Vec<_> =
            found.collect::<Result<_, _>>().map_err(engine("read value files"))?;
        let entries = entries.iter().map(|(key, value)| (&key[..], &value[..]));
        let EmbeddedConfig { value_file_bytes, reserve, .. } = *config;
        ValueFiles::open(self.values.clone(), value_file_bytes, reserve, entries)
    }

    /// The chunk of an entry, checked; `None` when retention took its file meanwhile.
    pub(crate) fn chunk(
        &self,
        name: &str,
        key: &[u8],
        value: Bytes,
    ) -> Result<Option<Chunk>, Error> {
        let Some(bytes) = values::resolve(&self.values, key, value)? else { return Ok(None) };
        let corrupt = |detail: String| Error::Corrupt { what: format!("topic {name}"), detail };
        let chunk = Chunk::parse(bytes).map_err(corrupt)?;
        if ChunkKey::decode(key) != Some(ChunkKey::new(&chunk.head, chunk.bytes.len())) {
            let detail =
                format!("the chunk from record {} on does not match its key", chunk.head.first);
            return Err(corrupt(detail));
        }
        Ok(Some(chunk))
    }

    fn state(&self, name: &str, partition: u16) -> Result<PartitionState, Error> {
        let value = self.meta(&keys::partition(name, partition))?;
        Ok(value.and_then(|value| PartitionState::decode(&value)).unwrap_or_default())
    }

    /// Checks the first and last chunk of a stream's partition; where the records really end.
    fn check_ends(
        &self,
        topic: TopicId,
        name: &str,
        partition: u16,
        state: &PartitionState,
    ) -> Result<u64, Error> {
        let keyspace = &self.topics[topic.index()];
        let corrupt = |detail: String| Error::Corrupt {
            what: format!("topic {name} partition {partition}"),
            detail,
        };
        let range = || keyspace.range(keys::chunk_from(partition, 0)..keys::chunk_end(partition));
        let mut range_from =
            keyspace.range(keys::chunk_from(partition, state.first)..keys::chunk_end(partition));
        if let Some(guard) = range_from.next() {
            let key = guard.key().map_err(engine("read the oldest chunk"))?;
            let found = ChunkKey::decode(&key).ok_or_else(|| corrupt("bad key".to_owned()))?;
            if found.first != state.first {
                let (wanted, found) = (state.first, found.first);
                return Err(corrupt(format!("begins at {found} instead of {wanted}")));
            }
        }
        let Some(guard) = range().next_back() else { return Ok(state.first) };
        let (key, value) = guard.into_inner().map_err(engine("read the newest chunk"))?;
        let chunk = self.chunk(name, &key, Bytes::from(value))?;
        let chunk = chunk.ok_or_else(|| corrupt("the newest value file is gone".to_owned()))?;
        if chunk.end() > state.next {
            let (end, next) = (chunk.end(), state.next);
            return Err(corrupt(format!("records end at {end}, the count says {next}")));
        }
        Ok(chunk.end().max(state.first))
    }

    /// Writes down that the records of `lost` were lost; their numbers are not given again.
    fn write_gap(
        &self,
        layout: &Layout,
        (topic, partition, epoch): (TopicId, u16, u32),
        state: PartitionState,
        lost: std::ops::Range<u64>,
    ) -> Result<PartitionState, Error> {
        let mut state = PartitionState { next: lost.start.max(state.first), ..state };
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        let spec = layout.spec(topic);
        while spec.kind == Kind::Stream && state.next < lost.end {
            let count = u32::try_from(lost.end - state.next).unwrap_or(u32::MAX);
            let first = state.next;
            let head = Head { epoch, partition, flags: FLAG_GAP, first, count, appended_at: 0 };
            let mut bytes = vec![0; HEADER];
            head.seal(&mut bytes);
            let key = ChunkKey::new(&head, bytes.len());
            state.bytes += bytes.len() as u64;
            state.next = key.end();
            batch.insert(&self.topics[topic.index()], key.encode(), bytes);
        }
        state.next = lost.end;
        let key = keys::partition(&spec.name, partition);
        let value = keys::sealed(&key, state.encode());
        batch.insert(&self.meta, key, value);
        batch.commit().map_err(engine("write down the loss"))?;
        Ok(state)
    }
}

/// Turns an error of the engine into ours.
pub(crate) fn engine(what: &str) -> impl Fn(fjall::Error) -> Error {
    let what = what.to_owned();
    move |error| match error {
        fjall::Error::Io(source) => Error::Io { what: what.clone(), source },
        fjall::Error::Storage(cause) => {
            Error::Corrupt { what: what.clone(), detail: format!("{cause:?}") }
        }
        other => Error::Engine { what: what.clone(), cause: format!("{other:?}") },
    }
}
