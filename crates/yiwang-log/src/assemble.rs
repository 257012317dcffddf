//! Merges waiting batches into chunks: one run of bytes per partition, each record copied once.
//!
//! Invariant: sequence numbers are given here and only here, in order of the batches.

use bytes::Bytes;

use crate::batch::Batch;
use crate::chunk::{Chunk, HEADER, Head};
use crate::log::Extent;
use crate::topic::{Kind, Layout, TopicId};

/// Next sequence number and the open chunk of every partition.
#[derive(Debug)]
pub(crate) struct Assembler {
    slots: Vec<Slot>,
    touched: Vec<usize>,
    chunk_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Slot {
    epoch: u32,
    next: u64,
    /// Bytes of this group that are not yet copied.
    ahead: usize,
    bytes: Vec<u8>,
    first: u64,
    count: u32,
    /// Batch that `extent` belongs to, plus one.
    batch: usize,
    extent: usize,
}

/// What a group of batches became.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    /// Chunks with the dense number of their partition, ascending per partition.
    pub(crate) chunks: Vec<(usize, Chunk)>,
    /// Where the records of each batch lie: `bounds[i]..bounds[i + 1]` of `extents`.
    pub(crate) extents: Vec<Extent>,
    pub(crate) bounds: Vec<u32>,
}

impl Assembler {
    /// `starts` holds (epoch, next sequence number) of every partition.
    pub(crate) fn new(starts: &[(u32, u64)], chunk_bytes_max: usize) -> Self {
        let slots =
            starts.iter().map(|&(epoch, next)| Slot { epoch, next, ..Slot::default() }).collect();
        Self { slots, touched: Vec::new(), chunk_bytes_max }
    }

    /// Turns batches, already checked against the layout, into chunks.
    pub(crate) fn assemble(&mut self, layout: &Layout, batches: &[Batch], now: i64) -> Assembled {
        let mut out = Assembled::default();
        self.measure(layout, batches);
        out.bounds.push(0);
        for (index, batch) in batches.iter().enumerate() {
            for (topic, partition, record) in batch.placed(layout) {
                let compacted = layout.spec(topic).kind == Kind::Compacted;
                let number = layout.slot(topic, partition);
                let slot = &mut self.slots[number];
                slot.note(index + 1, topic, partition, &mut out.extents);
                let full = slot.bytes.len() + record.len() > self.chunk_bytes_max;
                if slot.count > 0 && (compacted || full) {
                    out.chunks.push((number, slot.seal(partition, now)));
                }
                slot.add(record, if compacted { record.len() } else { self.chunk_bytes_max });
            }
            out.bounds.push(u32::try_from(out.extents.len()).expect("extents stay below 2^32"));
        }
        for number in self.touched.drain(..) {
            let (_, partition) = layout.places()[number];
            let slot = &mut self.slots[number];
            out.chunks.push((number, slot.seal(partition, now)));
            slot.batch = 0;
        }
        out
    }

    /// Sums what each partition will receive, so that chunk buffers are made once in full size.
    fn measure(&mut self, layout: &Layout, batches: &[Batch]) {
        for batch in batches {
            for entry in batch.entries() {
                let partition = entry.partition(layout.spec(entry.topic).partitions);
                let number = layout.slot(entry.topic, partition);
                let slot = &mut self.slots[number];
                if slot.ahead == 0 {
                    self.touched.push(number);
                }
                slot.ahead += entry.bytes();
            }
        }
    }
}

impl Slot {
    fn note(&mut self, batch: usize, topic: TopicId, partition: u16, extents: &mut Vec<Extent>) {
        if self.batch == batch {
            extents[self.extent].last = self.next;
        } else {
            self.batch = batch;
            self.extent = extents.len();
            let (first, last, epoch) = (self.next, self.next, self.epoch);
            extents.push(Extent { topic, partition, epoch, first, last });
        }
    }

    fn add(&mut self, record: &[u8], bytes_max: usize) {
        if self.count == 0 {
            let capacity = self.ahead.min(bytes_max).max(record.len());
            self.bytes = Vec::with_capacity(HEADER + capacity);
            self.bytes.resize(HEADER, 0);
            self.first = self.next;
        }
        self.bytes.extend_from_slice(record);
        self.ahead -= record.len();
        self.count += 1;
        self.next += 1;
    }

    fn seal(&mut self, partition: u16, appended_at: i64) -> Chunk {
        let mut bytes = std::mem::take(&mut self.bytes);
        let head = Head {
            epoch: self.epoch,
            partition,
            flags: 0,
            first: self.first,
            count: std::mem::take(&mut self.count),
            appended_at,
        };
        head.seal(&mut bytes);
        Chunk { head, bytes: Bytes::from(bytes) }
    }
}
