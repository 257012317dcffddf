//! Value files: the chunks of large groups, written once and read where they lie.
//!
//! The engine writes each value twice, to its journal and to its tables. A large chunk goes to the
//! value file of its topic instead; the engine's batch, which is the commit, names only its place.
//! Invariants: a place that the engine names holds synced bytes; a file goes only after the batch
//! that forgets it is durable; a file of an earlier start is never written again, so what a crash
//! left behind the last named place does no harm.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::FallocateFlags;

use super::keys::{self, ChunkKey};
use super::space::Reserve;
use super::{io, sync_folder};
use crate::chunk::Chunk;
use crate::error::Error;

/// Begins an entry that names a place; a chunk begins otherwise.
const MAGIC: &[u8; 4] = b"YWP1";
const SUFFIX: &str = "chunks";

/// Where the bytes of a chunk lie; their number is in the chunk's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    file: u64,
    offset: u64,
}

impl Place {
    /// The engine's value for a chunk that lies here.
    pub(crate) fn encode(self, key: &[u8]) -> Vec<u8> {
        let value = [&MAGIC[..], &self.file.to_le_bytes(), &self.offset.to_le_bytes()].concat();
        keys::sealed(key, value)
    }

    /// The place that a value names; `None` for a value that is the chunk itself.
    fn decode(key: &[u8], value: &[u8]) -> Result<Option<Self>, Error> {
        if !value.starts_with(MAGIC) {
            return Ok(None);
        }
        let place = keys::unsealed(key, value)?;
        match *place {
            [_, _, _, _, ref numbers @ ..] if numbers.len() == 16 => {
                let (file, offset) = numbers.split_at(8);
                let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight"));
                Ok(Some(Self { file: number(file), offset: number(offset) }))
            }
            _ => Err(Error::Corrupt {
                what: format!("entry {}", key.escape_ascii()),
                detail: "not a place in a value file".to_owned(),
            }),
        }
    }
}

/// What the engine knows of a value file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Bytes that places name.
    length: u64,
    /// Sequence number after the last record of each partition.
    ends: BTreeMap<u16, u64>,
}

impl Contents {
    fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut value = self.length.to_le_bytes().to_vec();
        for (partition, end) in &self.ends {
            value.extend_from_slice(&partition.to_le_bytes());
            value.extend_from_slice(&end.to_le_bytes());
        }
        keys::sealed(key, value)
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Self, Error> {
        let value = keys::unsealed(key, value)?;
        let corrupt = || Error::Corrupt {
            what: format!("entry {}", key.escape_ascii()),
            detail: "not the contents of a value file".to_owned(),
        };
        let (length, rest) = value.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let entries = rest.chunks_exact(10);
        if !entries.remainder().is_empty() {
            return Err(corrupt());
        }
        let ends = entries.map(|entry| {
            let (partition, end) = entry.split_at(2);
            let partition = u16::from_le_bytes(partition.try_into().expect("two bytes"));
            (partition, u64::from_le_bytes(end.try_into().expect("eight bytes")))
        });
        Ok(Self { length: u64::from_le_bytes(*length), ends: ends.collect() })
    }
}

/// A file whose bytes the engine names.
#[derive(Debug)]
struct Held {
    number: u64,
    contents: Contents,
}

/// The file that a topic's chunks go to.
#[derive(Debug)]
struct Open {
    file: File,
    held: Held,
    /// Bytes written; `held` is told by a commit.
    length: u64,
    unsynced: bool,
}

#[derive(Debug, Default)]
struct OfTopic {
    /// Oldest first.
    closed: Vec<Held>,
    open: Option<Open>,
}

/// The value files of a folder, as its one writer knows them.
#[derive(Debug)]
pub(crate) struct ValueFiles {
    dir: PathBuf,
    file_bytes: u64,
    reserve: Reserve,
    topics: BTreeMap<String, OfTopic>,
    next_number: u64,
    /// A new file's name is not durable yet.
    dir_unsynced: bool,
    /// Forgotten by a batch that may not be durable yet.
    doomed: Vec<u64>,
}

impl ValueFiles {
    /// The files that the engine's entries name. Each must be as long as its places need.
    pub(crate) fn open<'a>(
        dir: PathBuf,
        file_bytes: u64,
        reserve: Reserve,
        entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, Error> {
        std::fs::create_dir_all(&dir).map_err(|source| io("make", &dir, source))?;
        let mut files = Self {
            dir,
            file_bytes,
            reserve,
            topics: BTreeMap::new(),
            next_number: 0,
            dir_unsynced: true,
            doomed: Vec::new(),
        };
        for (key, value) in entries {
            let (topic, number) = keys::value_file_of(key).ok_or_else(|| Error::Corrupt {
                what: format!("entry {}", key.escape_ascii()),
                detail: "not the name of a value file".to_owned(),
            })?;
            let contents = Contents::decode(key, value)?;
            files.check(number, &contents)?;
            let of_topic = files.topics.entry(topic.to_owned()).or_default();
            of_topic.closed.push(Held { number, contents });
            files.next_number = files.next_number.max(number + 1);
        }
        for number in files.on_disk()? {
            files.next_number = files.next_number.max(number + 1);
        }
        Ok(files)
    }

    fn check(&self, number: u64, contents: &Contents) -> Result<(), Error> {
        let path = path(&self.dir, number);
        let corrupt = |detail: String| Error::Corrupt { what: path.display().to_string(), detail };
        match std::fs::metadata(&path) {
            Ok(found) if found.len() >= contents.length => Ok(()),
            Ok(found) => {
                Err(corrupt(format!("{} bytes instead of {}", found.len(), contents.length)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(corrupt("the file is gone".to_owned()))
            }
            Err(source) => Err(io("look at", &path, source)),
        }
    }

    /// Numbers of the files in the folder.
    fn on_disk(&self) -> Result<Vec<u64>, Error> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(|error| io("list", &self.dir, error))? {
            let name = entry.map_err(|source| io("list", &self.dir, source))?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.strip_suffix('.'));
            numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
        }
        Ok(numbers)
    }

    /// Gives back what the engine does not name, whole files and ends of files: allocated ahead or left by a
    /// crash, nothing of it was acknowledged.
    pub(crate) fn trim(&self) -> Result<(), Error> {
        let mut held = HashSet::new();
        for Held { number, contents } in self.topics.values().flat_map(|topic| &topic.closed) {
            held.insert(*number);
            let path = path(&self.dir, *number);
            let file = File::options().write(true).open(&path);
            let cut = file.and_then(|file| match file.metadata()?.len() > contents.length {
                true => file.set_len(contents.length),
                false => Ok(()),
            });
            cut.map_err(|source| io("trim", &path, source))?;
        }
        let strays = self.on_disk()?.into_iter().filter(|number| !held.contains(number));
        strays.into_iter().try_for_each(|number| self.delete(number))
    }

    fn delete(&self, number: u64) -> Result<(), Error> {
        let path = path(&self.dir, number);
        std::fs::remove_file(&path).map_err(|source| io("delete", &path, source))
    }

    /// Writes a chunk; nothing may name its place before [`Self::sync`].
    pub(crate) fn write(&mut self, topic: &str, chunk: &Chunk) -> Result<Place, Error> {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), OfTopic::default());
        }
        let of_topic = self.topics.get_mut(topic).expect("just inserted");
        if let Some(full) =
            of_topic.open.take_if(|open| open.length >= self.file_bytes && !open.unsynced)
        {
            of_topic.closed.push(full.held);
        }
        if of_topic.open.is_none() {
            let number = self.next_number;
            let path = path(&self.dir, number);
            let file = File::create_new(&path).map_err(|source| io("make", &path, source))?;
            if self.reserve.look(&self.dir).is_ok_and(|space| space.spares(self.file_bytes)) {
                // Only faster: a sync then has fewer blocks to enter. Where it is not possible, writing goes as it goes.
                let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.file_bytes);
            }
            let held = Held { number, contents: Contents::default() };
            of_topic.open = Some(Open { file, held, length: 0, unsynced: false });
            self.next_number += 1;
            self.dir_unsynced = true;
        }
        let open = of_topic.open.as_mut().expect("just opened");
        let place = Place { file: open.held.number, offset: open.length };
        let written = open.file.write_all(&chunk.bytes);
        written.map_err(|source| io("write", &path(&self.dir, place.file), source))?;
        open.length += chunk.bytes.len() as u64;
        open.unsynced = true;
        open.held.contents.ends.insert(chunk.head.partition, chunk.end());
        Ok(place)
    }

    /// Syncs what was written; `name` is told the entries that belong in the same batch as the places.
    pub(crate) fn sync(&mut self, mut name: impl FnMut(Vec<u8>, Vec<u8>)) -> Result<(), Error> {
        for (topic, of_topic) in &mut self.topics {
            let Some(open) = of_topic.open.as_mut().filter(|open| open.unsynced) else { continue };
            let synced = open.file.sync_data();
            synced.map_err(|source| io("sync", &path(&self.dir, open.held.number), source))?;
            open.unsynced = false;
            open.held.contents.length = open.length;
            let key = keys::value_file(topic, open.held.number);
            let value = open.held.contents.encode(&key);
            name(key, value);
        }
        if std::mem::take(&mut self.dir_unsynced) {
            sync_folder(&self.dir)?;
        }
        Ok(())
    }

    /// Forgets files of which no record is kept; `forget` is told the entries to remove. `first` is
    /// the first sequence number that a partition keeps.
    pub(crate) fn retain(
        &mut self,
        topic: &str,
        first: impl Fn(u16) -> u64,
        mut forget: impl FnMut(Vec<u8>),
    ) {
        let Some(of_topic) = self.topics.get_mut(topic) else { return };
        let dead = |held: &mut Held| {
            held.contents.ends.iter().all(|(partition, end)| first(*partition) >= *end)
        };
        for held in of_topic.closed.extract_if(.., dead) {
            forget(keys::value_file(topic, held.number));
            self.doomed.push(held.number);
        }
    }

    /// What was forgotten before the last durable batch may go.
    pub(crate) fn delete_doomed(&mut self) -> Result<(), Error> {
        let doomed = std::mem::take(&mut self.doomed);
        doomed.into_iter().try_for_each(|number| self.delete(number))
    }
}

/// The bytes of the chunk that an entry holds or names; `None` when its file has gone meanwhile.
pub(crate) fn resolve(dir: &Path, key: &[u8], value: Bytes) -> Result<Option<Bytes>, Error> {
    let Some(place) = Place::decode(key, &value)? else { return Ok(Some(value)) };
    let path = path(dir, place.file);
    let corrupt = |detail: &str| Error::Corrupt {
        what: path.display().to_string(),
        detail: format!("{detail} at byte {}", place.offset),
    };
    let length = ChunkKey::decode(key).ok_or_else(|| corrupt("bad key"))?.length;
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io("open", &path, source)),
    };
    let mut bytes = vec![0; length as usize];
    match file.read_exact_at(&mut bytes, place.offset) {
        Ok(()) => Ok(Some(Bytes::from(bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(corrupt("the file is cut"))
        }
        Err(source) => Err(io("read", &path, source)),
    }
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.{SUFFIX}"))
}
