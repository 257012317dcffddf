//! A batch: one byte buffer plus, per record, where it goes and where it lies.
//!
//! Records are written in their stored form at once, so that the log copies each record as one run
//! of bytes and never parses it.

use crate::error::Halt;
use crate::topic::{Layout, TopicId};

/// Largest record, key and headers included.
const RECORD_BYTES_MAX: usize = 8 << 20;

/// Bytes before key, headers and value: their three lengths.
pub(crate) const RECORD_HEAD: usize = 12;

/// How a record finds its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By the hash of its key, see [`crate::key_hash`]; order is promised per key.
    Key {
        /// Hash of the key.
        hash: u64,
    },
    /// A named partition.
    Partition(u16),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) topic: TopicId,
    route: Route,
    start: u32,
    end: u32,
}

/// Records for any topics, appended as one; atomic in the embedded log.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Bytes of records that lie in `bytes` for another topic already.
    shared_bytes: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record. For a compacted topic an empty value removes the key.
    pub fn push(
        &mut self,
        topic: TopicId,
        route: Route,
        key: &[u8],
        headers: &[(&str, &[u8])],
        value: &[u8],
    ) {
        self.push_with(topic, route, key, headers, |bytes| bytes.extend_from_slice(value));
    }

    /// Adds a record whose value `encode` appends to the buffer in place. `encode` may only append.
    pub fn push_with(
        &mut self,
        topic: TopicId,
        route: Route,
        key: &[u8],
        headers: &[(&str, &[u8])],
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&length(key.len()));
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(key);
        let headers_start = self.bytes.len();
        for (name, value) in headers {
            self.bytes.extend_from_slice(&length(name.len()));
            self.bytes.extend_from_slice(&length(value.len()));
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(value);
        }
        let value_start = self.bytes.len();
        encode(&mut self.bytes);
        assert!(self.bytes.len() >= value_start, "encode may only append to the batch");
        let value_length = length(self.bytes.len() - value_start);
        self.bytes[start + 4..start + 8].copy_from_slice(&length(value_start - headers_start));
        self.bytes[start + 8..start + 12].copy_from_slice(&value_length);
        let start = u32::from_le_bytes(length(start));
        let end = u32::from_le_bytes(length(self.bytes.len()));
        self.entries.push(Entry { topic, route, start, end });
    }

    /// Adds the newest record once more, for another topic: the same bytes, which are not copied here.
    ///
    /// # Panics
    /// On an empty batch.
    pub fn push_again(&mut self, topic: TopicId) {
        let newest = *self.entries.last().expect("a record to be added again was added before");
        self.shared_bytes += newest.bytes();
        self.entries.push(Entry { topic, ..newest });
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that the records take in the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.shared_bytes
    }

    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.shared_bytes = 0;
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Each record with its topic and partition, in order of `push`.
    pub(crate) fn placed<'a>(
        &'a self,
        layout: &'a Layout,
    ) -> impl Iterator<Item = (TopicId, u16, &'a [u8])> {
        self.entries.iter().map(|entry| {
            let partition = entry.partition(layout.spec(entry.topic).partitions);
            (entry.topic, partition, &self.bytes[entry.start as usize..entry.end as usize])
        })
    }

    /// One record in stored form.
    #[cfg(feature = "kafka")]
    pub(crate) fn record(&self, index: usize) -> &[u8] {
        let entry = &self.entries[index];
        &self.bytes[entry.start as usize..entry.end as usize]
    }

    /// All records in stored form, back to back.
    #[cfg(feature = "kafka")]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Entry {
    pub(crate) fn partition(&self, partitions: u16) -> u16 {
        match self.route {
            Route::Key { hash } => partition_of(hash, partitions),
            Route::Partition(partition) => partition,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.end - self.start) as usize
    }
}

pub(crate) fn partition_of(hash: u64, partitions: u16) -> u16 {
    u16::try_from(hash % u64::from(partitions)).expect("a remainder is below its divisor")
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a batch stays below 4 GiB").to_le_bytes()
}

/// Whether every record has a place and fits.
pub(crate) fn check(batch: &Batch, layout: &Layout) -> Result<(), Halt> {
    for entry in batch.entries() {
        let Some(spec) = layout.specs.get(entry.topic.index()) else {
            return Err(Halt::NoPartition { topic: entry.topic.0, partition: 0 });
        };
        let partition = entry.partition(spec.partitions);
        if partition >= spec.partitions {
            return Err(Halt::NoPartition { topic: entry.topic.0, partition });
        }
        let bytes = entry.bytes() - RECORD_HEAD;
        if bytes > RECORD_BYTES_MAX {
            return Err(Halt::Oversize { bytes, bytes_max: RECORD_BYTES_MAX });
        }
    }
    Ok(())
}
