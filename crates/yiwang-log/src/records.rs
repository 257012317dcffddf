//! What readers see: events, positions and records whose bytes are shared with the log.
//!
//! Invariant: the records of one [`Records`] are of one partition and ascend in sequence number.

use bytes::Bytes;

use crate::batch::RECORD_HEAD;

/// A place in one partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Epoch of the topic; a change of the partition count is a new epoch.
    pub epoch: u32,
    /// The partition.
    pub partition: u16,
    /// Sequence number of the next record to read.
    pub seq: u64,
}

/// Where a reader begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the group's committed positions; at the oldest kept record where there is none.
    Committed,
    /// At these positions; partitions not named begin as with `Committed`.
    At(Vec<Position>),
}

/// Limits of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimit {
    /// Most records.
    pub records_max: usize,
    /// Most bytes; one record is returned whatever its size.
    pub bytes_max: usize,
}

impl Default for BatchLimit {
    fn default() -> Self {
        Self { records_max: 4096, bytes_max: 1 << 20 }
    }
}

/// What a reader tells its role.
#[derive(Debug)]
pub enum Event {
    /// Records of one partition; empty only at shutdown.
    Records(Records),
    /// These partitions are this reader's from now on: load their state, seek if need be.
    Assigned(Vec<u16>),
    /// These partitions are no longer this reader's: drop their state.
    Revoked(Vec<u16>),
}

/// A run of stored records that share one buffer.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Records in stored form, back to back.
    pub(crate) body: Bytes,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) appended_at: i64,
}

/// Records of one partition in ascending order; their bytes are shared, not copied.
#[derive(Clone, Debug)]
pub struct Records {
    /// The partition.
    pub partition: u16,
    /// Epoch of the topic.
    pub epoch: u32,
    next: u64,
    parts: Vec<Part>,
}

impl Records {
    pub(crate) fn new(epoch: u32, partition: u16, next: u64, parts: Vec<Part>) -> Self {
        Self { partition, epoch, next, parts }
    }

    pub(crate) fn shutdown() -> Self {
        Self::new(0, 0, 0, Vec::new())
    }

    /// Takes as many records off the front as the limit allows, one at least.
    #[cfg(feature = "kafka")]
    pub(crate) fn split_front(&mut self, limit: BatchLimit) -> Self {
        let mut front = Vec::new();
        let mut records_left = limit.records_max.max(1);
        let mut bytes_left = limit.bytes_max;
        let mut next = self.next;
        while records_left > 0 && !self.parts.is_empty() {
            let part = &mut self.parts[0];
            let (mut end, mut count) = (0, 0);
            while count < part.count && (count as usize) < records_left {
                let size = RecordRef::size(&part.body[end..]).expect("made by this crate");
                let first = front.is_empty() && count == 0;
                if end + size > bytes_left && !first {
                    break;
                }
                end += size;
                count += 1;
            }
            if count == 0 {
                break;
            }
            let (first, appended_at) = (part.first, part.appended_at);
            front.push(Part { body: part.body.split_to(end), first, count, appended_at });
            part.first += u64::from(count);
            part.count -= count;
            next = part.first;
            records_left -= count as usize;
            bytes_left = bytes_left.saturating_sub(end);
            if part.count > 0 {
                break;
            }
            self.parts.remove(0);
        }
        Self::new(self.epoch, self.partition, next, front)
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.count as usize).sum()
    }

    /// Whether there is no record: the log is shutting down.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes of the records in stored form.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.body.len()).sum()
    }

    /// The position after the last record: what to commit when all of them are done.
    #[must_use]
    pub fn end(&self) -> Position {
        Position { epoch: self.epoch, partition: self.partition, seq: self.next }
    }

    /// The records in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.parts.iter().flat_map(|part| {
            let mut rest: &[u8] = &part.body;
            (0..part.count).map(move |index| {
                let (record, tail) = RecordRef::split(rest)
                    .expect("the part was checked against its checksum or made by this crate");
                rest = tail;
                RecordRef {
                    seq: part.first + u64::from(index),
                    appended_at: part.appended_at,
                    ..record
                }
            })
        })
    }
}

/// One record, borrowed from its [`Records`].
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Sequence number within the partition.
    pub seq: u64,
    /// Key; empty when it was appended without one.
    pub key: &'a [u8],
    /// Value.
    pub value: &'a [u8],
    /// When the log stored it, milliseconds UTC; for retention and display only.
    pub appended_at: i64,
    headers: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// The headers in the order they were given.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.headers }
    }

    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Takes one record in stored form off the front.
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(RecordRef<'a>, &'a [u8])> {
        let head = bytes.get(..RECORD_HEAD)?;
        let (key, rest) = bytes[RECORD_HEAD..].split_at_checked(read_length(head, 0)?)?;
        let (headers, rest) = rest.split_at_checked(read_length(head, 4)?)?;
        let (value, rest) = rest.split_at_checked(read_length(head, 8)?)?;
        Some((RecordRef { seq: 0, key, value, appended_at: 0, headers }, rest))
    }

    /// Size of the first record in stored form, without looking into it.
    pub(crate) fn size(bytes: &[u8]) -> Option<usize> {
        let head = bytes.get(..RECORD_HEAD)?;
        let size =
            RECORD_HEAD + read_length(head, 0)? + read_length(head, 4)? + read_length(head, 8)?;
        (size <= bytes.len()).then_some(size)
    }
}

/// Headers of one record.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.rest.get(..8)?;
        let (name, rest) = self.rest[8..].split_at_checked(read_length(head, 0)?)?;
        let (value, rest) = rest.split_at_checked(read_length(head, 4)?)?;
        self.rest = rest;
        Some((std::str::from_utf8(name).unwrap_or_default(), value))
    }
}

fn read_length(head: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?) as usize)
}
