//! The HEAD file: the log's own knowledge of how far it got, outside of the engine.
//!
//! Two slots take turns, so that a torn write leaves the other one. It is written after every group
//! and synced at least once a second and at stop, beside the writer, which acknowledges meanwhile.
//! Invariant: it never names a record that is not durable. The engine cuts its journal at an entry header it cannot decode and says nothing; this
//! file is how that is seen.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use xxhash_rust::xxh3::xxh3_64;

use super::io;
use crate::error::Error;

const SLOT_BYTES: usize = 64 << 10;
const HEADER: usize = 32;
const ENTRY: usize = 18;
/// Most partitions of all topics together that fit a slot.
pub(crate) const ENTRIES_MAX: usize = (SLOT_BYTES - HEADER - 8) / ENTRY;
const MAGIC: u64 = u64::from_le_bytes(*b"YWHEAD01");

/// What a HEAD file says: next sequence number by hash of the topic name and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) log_epoch: u64,
    pub(crate) next: BTreeMap<(u64, u16), u64>,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct HeadFile {
    file: File,
    path: PathBuf,
    generation: u64,
    unsynced: bool,
}

/// How a topic is named in the file.
pub(crate) fn topic_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

impl HeadFile {
    /// Reads the file without opening it for writing; `None` when there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<(Known, u64)>, Error> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io("read", path, source)),
        };
        let slots = bytes.chunks(SLOT_BYTES).filter_map(decode);
        match slots.max_by_key(|(_, generation)| *generation) {
            Some(found) => Ok(Some(found)),
            None => Err(Error::Corrupt {
                what: path.display().to_string(),
                detail: "neither slot has a valid checksum".to_owned(),
            }),
        }
    }

    pub(crate) fn open(path: &Path, generation: u64) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| io("open", path, source))?;
        Ok(Self { file, path: path.to_owned(), generation, unsynced: false })
    }

    /// Writes the next slot; not synced.
    pub(crate) fn write(&mut self, known: &Known) -> Result<(), Error> {
        self.generation += 1;
        let bytes = encode(known, self.generation);
        let at = (self.generation % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&bytes, at).map_err(|source| io("write", &self.path, source))?;
        self.unsynced = true;
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.unsynced) {
            self.file.sync_data().map_err(|source| io("sync", &self.path, source))?;
        }
        Ok(())
    }
}

/// Syncs the file in a thread of its own: a sync that took its turn among the groups would hold up
/// every acknowledgement behind it.
#[derive(Debug)]
pub(crate) struct Syncer {
    wanted: Option<SyncSender<()>>,
    failed: Arc<OnceLock<String>>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(crate) fn start(head: &HeadFile) -> Result<Self, Error> {
        let file = head.file.try_clone().map_err(|source| io("open", &head.path, source))?;
        let (wanted, orders) = std::sync::mpsc::sync_channel(1);
        let failed = Arc::new(OnceLock::new());
        let outcome = failed.clone();
        let sync = move || {
            while orders.recv().is_ok() {
                if let Err(error) = file.sync_data() {
                    // Never tried again: what a failed sync has lost, a second one does not bring back.
                    let _ = outcome.set(error.to_string());
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("log-head".to_owned()).spawn(sync);
        let thread =
            started.map_err(|source| io("start the thread that syncs", &head.path, source))?;
        let path = head.path.clone();
        Ok(Self { wanted: Some(wanted), failed, path, thread: Some(thread) })
    }

    /// Asks for a sync; one that is under way counts for this one too, or the next one will.
    ///
    /// # Errors
    /// An earlier sync failed.
    pub(crate) fn want(&self) -> Result<(), Error> {
        if let Some(why) = self.failed.get() {
            return Err(io("sync", &self.path, std::io::Error::other(why.clone())));
        }
        if let Some(wanted) = &self.wanted {
            // Full: the order that waits has not begun and will see what is written now.
            let _ = wanted.try_send(());
        }
        Ok(())
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            // A sync that fails at the end has been reported or is repeated by the caller's own.
            let _ = thread.join();
        }
    }
}

fn encode(known: &Known, generation: u64) -> Vec<u8> {
    assert!(known.next.len() <= ENTRIES_MAX, "the number of partitions was checked at open");
    let mut bytes = Vec::with_capacity(HEADER + known.next.len() * ENTRY + 8);
    bytes.extend_from_slice(&MAGIC.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&known.log_epoch.to_le_bytes());
    bytes.extend_from_slice(&(known.next.len() as u64).to_le_bytes());
    for (&(topic, partition), &next) in &known.next {
        bytes.extend_from_slice(&topic.to_le_bytes());
        bytes.extend_from_slice(&partition.to_le_bytes());
        bytes.extend_from_slice(&next.to_le_bytes());
    }
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes
}

fn decode(slot: &[u8]) -> Option<(Known, u64)> {
    let u64_at = |at: usize| Some(u64::from_le_bytes(slot.get(at..at + 8)?.try_into().ok()?));
    let count = usize::try_from(u64_at(24)?).ok()?;
    if u64_at(0)? != MAGIC || count > ENTRIES_MAX {
        return None;
    }
    let end = HEADER + count * ENTRY;
    if u64_at(end)? != xxh3_64(slot.get(..end)?) {
        return None;
    }
    let mut known = Known { log_epoch: u64_at(16)?, next: BTreeMap::new() };
    for entry in slot[HEADER..end].chunks_exact(ENTRY) {
        let topic = u64::from_le_bytes(entry[..8].try_into().ok()?);
        let partition = u16::from_le_bytes(entry[8..10].try_into().ok()?);
        let next = u64::from_le_bytes(entry[10..].try_into().ok()?);
        known.next.insert((topic, partition), next);
    }
    Some((known, u64_at(8)?))
}
