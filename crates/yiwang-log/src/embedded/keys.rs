//! Keys and small values in the engine.
//!
//! A chunk's key says everything but its bytes (partition, first, count, length, time), so that
//! retention and checks never load values. Small values carry their own checksum.

use xxhash_rust::xxh3::Xxh3;

use crate::chunk::Head;
use crate::error::Error;
use crate::topic::{Kind, TopicSpec};

/// Length of a chunk's key.
const CHUNK_KEY: usize = 26;
/// The log epoch.
pub(crate) const LOG: &[u8] = b"log";
/// What the keys of value files begin with.
pub(crate) const VALUE_FILES: &[u8] = b"v/";

/// What a chunk's key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkKey {
    pub(crate) partition: u16,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) length: u32,
    pub(crate) appended_at: i64,
}

impl ChunkKey {
    pub(crate) fn new(head: &Head, length: usize) -> Self {
        let length = u32::try_from(length).expect("a chunk is below 4 GiB");
        let &Head { partition, first, count, appended_at, .. } = head;
        Self { partition, first, count, length, appended_at }
    }

    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    pub(crate) fn encode(&self) -> [u8; CHUNK_KEY] {
        let mut key = [0; CHUNK_KEY];
        key[..2].copy_from_slice(&self.partition.to_be_bytes());
        key[2..10].copy_from_slice(&self.first.to_be_bytes());
        key[10..14].copy_from_slice(&self.count.to_be_bytes());
        key[14..18].copy_from_slice(&self.length.to_be_bytes());
        key[18..].copy_from_slice(&self.appended_at.to_be_bytes());
        key
    }

    pub(crate) fn decode(key: &[u8]) -> Option<Self> {
        let key: &[u8; CHUNK_KEY] = key.try_into().ok()?;
        Some(Self {
            partition: u16::from_be_bytes(key[..2].try_into().ok()?),
            first: u64::from_be_bytes(key[2..10].try_into().ok()?),
            count: u32::from_be_bytes(key[10..14].try_into().ok()?),
            length: u32::from_be_bytes(key[14..18].try_into().ok()?),
            appended_at: i64::from_be_bytes(key[18..].try_into().ok()?),
        })
    }
}

/// Sorts before every chunk of a partition that begins at `seq` or later.
pub(crate) fn chunk_from(partition: u16, seq: u64) -> Vec<u8> {
    [&partition.to_be_bytes()[..], &seq.to_be_bytes()[..]].concat()
}

/// Sorts after every chunk of a partition.
pub(crate) fn chunk_end(partition: u16) -> Vec<u8> {
    u32::from(partition).wrapping_add(1).to_be_bytes()[2..].to_vec()
}

/// Key of a compacted topic.
pub(crate) fn compacted(partition: u16, key: &[u8]) -> Vec<u8> {
    [&partition.to_be_bytes()[..], key].concat()
}

pub(crate) fn topic(name: &str) -> Vec<u8> {
    format!("t/{name}").into_bytes()
}

pub(crate) fn partition(name: &str, partition: u16) -> Vec<u8> {
    [format!("p/{name}/").as_bytes(), &partition.to_be_bytes()].concat()
}

/// Key of a value file; all of them begin with [`VALUE_FILES`].
pub(crate) fn value_file(topic: &str, number: u64) -> Vec<u8> {
    [VALUE_FILES, topic.as_bytes(), b"/", &number.to_be_bytes()].concat()
}

/// Topic and number of a value file.
pub(crate) fn value_file_of(key: &[u8]) -> Option<(&str, u64)> {
    let (name, number) = key.strip_prefix(VALUE_FILES)?.split_last_chunk::<8>()?;
    let topic = std::str::from_utf8(name.strip_suffix(b"/")?).ok()?;
    Some((topic, u64::from_be_bytes(*number)))
}

pub(crate) fn commits(name: &str) -> Vec<u8> {
    format!("c/{name}/").into_bytes()
}

pub(crate) fn commit(name: &str, partition: u16, group: &str) -> Vec<u8> {
    [&commits(name)[..], &partition.to_be_bytes()[..], group.as_bytes()].concat()
}

/// State of a partition, written in the same atomic batch as its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) bytes: u64,
}

impl PartitionState {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.first.to_le_bytes(), self.next.to_le_bytes(), self.bytes.to_le_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 24] = bytes.try_into().ok()?;
        let at = |index: usize| u64::from_le_bytes(bytes[index..index + 8].try_into().expect("8"));
        Some(Self { first: at(0), next: at(8), bytes: at(16) })
    }
}

/// What never changes about a topic: epoch, partitions, kind.
pub(crate) fn describe(epoch: u32, spec: &TopicSpec) -> Vec<u8> {
    let kind = match spec.kind {
        Kind::Stream => 0,
        Kind::Compacted => 1,
    };
    [&epoch.to_le_bytes()[..], &spec.partitions.to_le_bytes()[..], &[kind]].concat()
}

/// Appends a checksum over key and value.
pub(crate) fn sealed(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &value);
    value.extend_from_slice(&sum.to_le_bytes());
    value
}

/// Checks and takes off the checksum.
pub(crate) fn unsealed<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Error> {
    let split = value.split_last_chunk::<8>();
    match split {
        Some((rest, sum)) if u64::from_le_bytes(*sum) == checksum(key, rest) => Ok(rest),
        _ => Err(Error::Corrupt {
            what: format!("entry {}", key.escape_ascii()),
            detail: "checksum does not match".to_owned(),
        }),
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(key);
    hash.update(value);
    hash.digest()
}
