//! Chunks of one partition in memory, and cutting them to a reader's limits.
//!
//! Invariant: the chunks of a tail are contiguous and end at the next sequence number.

use std::collections::VecDeque;

use crate::chunk::{Chunk, HEADER};
use crate::records::{BatchLimit, Part, RecordRef};

/// The newest chunks of one partition.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pub(crate) chunks: VecDeque<Chunk>,
    /// Oldest kept sequence number, in memory or not.
    pub(crate) first: u64,
    /// Next sequence number.
    pub(crate) next: u64,
}

/// Where a reader stands within a chunk, so that going on costs no walk over its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) seq: u64,
    chunk: u64,
    offset: usize,
}

/// What a reader got.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Empty when only gaps were passed.
    pub(crate) parts: Vec<Part>,
    pub(crate) cursor: Cursor,
}

/// What a tail can give at a position.
#[derive(Debug)]
pub(crate) enum Fetch {
    Cut(Cut),
    /// Nothing newer exists yet.
    AtEnd,
    /// The position lies before what is in memory.
    Behind,
    /// The position lies outside of what is kept.
    Outside,
}

impl Cursor {
    pub(crate) fn at(seq: u64) -> Self {
        Self { seq, chunk: u64::MAX, offset: 0 }
    }
}

impl Tail {
    pub(crate) fn fetch(&self, cursor: Cursor, limit: BatchLimit) -> Fetch {
        if cursor.seq == self.next {
            return Fetch::AtEnd;
        }
        if cursor.seq > self.next || cursor.seq < self.first {
            return Fetch::Outside;
        }
        let after = self.chunks.partition_point(|chunk| chunk.end() <= cursor.seq);
        match self.chunks.get(after) {
            Some(chunk) if chunk.head.first <= cursor.seq => {
                Fetch::Cut(cut(self.chunks.range(after..), cursor, limit))
            }
            _ => Fetch::Behind,
        }
    }

    /// Appends a chunk that follows the newest one.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        debug_assert_eq!(chunk.head.first, self.next);
        self.next = chunk.end();
        self.chunks.push_back(chunk);
    }
}

/// Takes records from contiguous chunks, the first of which holds `cursor.seq`.
pub(crate) fn cut<'a>(
    chunks: impl Iterator<Item = &'a Chunk>,
    mut cursor: Cursor,
    limit: BatchLimit,
) -> Cut {
    let mut parts = Vec::new();
    let mut records_left = limit.records_max.max(1);
    let mut bytes_left = limit.bytes_max;
    for chunk in chunks {
        if chunk.is_gap() {
            cursor = Cursor::at(chunk.end());
            continue;
        }
        let part = cut_one(chunk, cursor, records_left, bytes_left, parts.is_empty());
        if part.count == 0 {
            break;
        }
        records_left -= part.count as usize;
        bytes_left = bytes_left.saturating_sub(part.body.len());
        let end = part.first + u64::from(part.count);
        let finished = end == chunk.end();
        cursor = if finished {
            Cursor::at(end)
        } else {
            let start = if cursor.chunk == chunk.head.first { cursor.offset } else { HEADER };
            let skipped = skip(chunk, start, cursor, part.first);
            Cursor { seq: end, chunk: chunk.head.first, offset: skipped + part.body.len() }
        };
        parts.push(part);
        if !finished || records_left == 0 || bytes_left == 0 {
            break;
        }
    }
    Cut { parts, cursor }
}

fn cut_one(
    chunk: &Chunk,
    cursor: Cursor,
    records_max: usize,
    bytes_max: usize,
    at_least_one: bool,
) -> Part {
    let whole = chunk.bytes.len() - HEADER <= bytes_max && chunk.head.count as usize <= records_max;
    if whole && cursor.seq == chunk.head.first {
        return chunk.whole();
    }
    let start = if cursor.chunk == chunk.head.first { cursor.offset } else { HEADER };
    debug_assert!(chunk.head.first <= cursor.seq, "no record of an earlier chunk is left");
    let start = skip(chunk, start, cursor, cursor.seq);
    let mut end = start;
    let mut count = 0;
    let left = chunk.end() - cursor.seq;
    while u64::from(count) < left && (count as usize) < records_max {
        let size = RecordRef::size(&chunk.bytes[end..]).expect("the chunk was checked");
        if end + size - start > bytes_max && !(count == 0 && at_least_one) {
            break;
        }
        end += size;
        count += 1;
    }
    chunk.part(start, end, cursor.seq, count)
}

/// Byte offset of record `seq`, walking from `start`, which belongs to `cursor` when the cursor is
/// inside this chunk and else to the first record.
fn skip(chunk: &Chunk, start: usize, cursor: Cursor, seq: u64) -> usize {
    let known = if cursor.chunk == chunk.head.first { cursor.seq } else { chunk.head.first };
    let mut offset = start;
    for _ in known..seq {
        offset += RecordRef::size(&chunk.bytes[offset..]).expect("the chunk was checked");
    }
    offset
}
