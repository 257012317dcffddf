//! The stored form of a run of records of one partition: a header with first sequence number,
//! count and checksum, then the records.
//!
//! Invariant: sequence numbers are contiguous within a chunk and from chunk to chunk. Refuses bytes
//! whose checksum, place or length does not match.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::records::{Part, RecordRef};

/// Bytes of the header.
pub(crate) const HEADER: usize = 48;
const MAGIC: u32 = u32::from_le_bytes(*b"YWC1");
/// The chunk stands for records whose loss a person has accepted; it has no body.
pub(crate) const FLAG_GAP: u16 = 1;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: u32,
    pub(crate) partition: u16,
    pub(crate) flags: u16,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) appended_at: i64,
}

/// A chunk whose bytes have been checked, or were made by this process.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) head: Head,
    /// Header and records as stored.
    pub(crate) bytes: Bytes,
}

impl Head {
    /// Fills the first [`HEADER`] bytes of `bytes`, whose rest are the records.
    pub(crate) fn seal(&self, bytes: &mut [u8]) {
        let body_length = u32::try_from(bytes.len() - HEADER).expect("a chunk is below 4 GiB");
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.partition.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.appended_at.to_le_bytes());
        bytes[32..36].copy_from_slice(&body_length.to_le_bytes());
        bytes[36..40].fill(0);
        let sum = checksum(bytes);
        bytes[40..48].copy_from_slice(&sum.to_le_bytes());
    }
}

impl Chunk {
    /// Checks stored bytes completely.
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, String> {
        if bytes.len() < HEADER {
            return Err(format!("{} bytes are too short for a chunk", bytes.len()));
        }
        let u32_at = |at: usize| u32::from_le_bytes(fixed(&bytes, at));
        let u64_at = |at: usize| u64::from_le_bytes(fixed(&bytes, at));
        if u32_at(0) != MAGIC {
            return Err("no chunk header".to_owned());
        }
        if u32_at(32) as usize != bytes.len() - HEADER {
            return Err(format!("length {} instead of {}", bytes.len() - HEADER, u32_at(32)));
        }
        if u64_at(40) != checksum(&bytes) {
            return Err("checksum does not match".to_owned());
        }
        let head = Head {
            epoch: u32_at(4),
            partition: u16::from_le_bytes(fixed(&bytes, 8)),
            flags: u16::from_le_bytes(fixed(&bytes, 10)),
            first: u64_at(16),
            count: u32_at(12),
            appended_at: i64::from_le_bytes(fixed(&bytes, 24)),
        };
        let chunk = Self { head, bytes };
        chunk.check_records()?;
        Ok(chunk)
    }

    fn check_records(&self) -> Result<(), String> {
        if self.is_gap() {
            return Ok(());
        }
        let mut rest = &self.bytes[HEADER..];
        for index in 0..self.head.count {
            let size = RecordRef::size(rest).ok_or_else(|| format!("record {index} is cut"))?;
            rest = &rest[size..];
        }
        if rest.is_empty() { Ok(()) } else { Err("bytes after the last record".to_owned()) }
    }

    pub(crate) fn is_gap(&self) -> bool {
        self.head.flags & FLAG_GAP != 0
    }

    /// Sequence number after the last record.
    pub(crate) fn end(&self) -> u64 {
        self.head.first + u64::from(self.head.count)
    }

    pub(crate) fn whole(&self) -> Part {
        self.part(HEADER, self.bytes.len(), self.head.first, self.head.count)
    }

    /// The records from byte `start` to `end` of the stored form.
    pub(crate) fn part(&self, start: usize, end: usize, first: u64, count: u32) -> Part {
        let appended_at = self.head.appended_at;
        Part { body: self.bytes.slice(start..end), first, count, appended_at }
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&bytes[..40]);
    hash.update(&bytes[HEADER..]);
    hash.digest()
}

fn fixed<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the caller has checked the length")
}
