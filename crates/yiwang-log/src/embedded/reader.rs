//! Reading one topic of the embedded log: from memory when the reader keeps up, else from disk.
//!
//! Invariant: sequence numbers have no hole from one read to the next; a hole is an error, never a
//! skip. Every value from disk is checked against its checksum, its key and its neighbours.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Embedded;
use super::folder::{Engine, engine};
use super::keys::{self, ChunkKey};
use super::shared::Shared;
use crate::error::Error;
use crate::log::CommitterInner;
use crate::records::{BatchLimit, Event, Position, Records};
use crate::tail::{Cursor, Fetch, Tail};
use crate::topic::TopicId;

/// Bytes read from disk at a time; at least one chunk.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// Reads one topic.
#[derive(Debug)]
pub(crate) struct EmbeddedReader {
    log: Arc<Embedded>,
    topic: TopicId,
    group: Arc<str>,
    partitions: Vec<Partition>,
    turn: usize,
    events: VecDeque<Event>,
}

#[derive(Debug, Default)]
struct Partition {
    cursor: Cursor,
    /// Chunks read from disk and not yet passed.
    ahead: Tail,
}

/// One look at all partitions.
enum Look {
    Found(Event),
    Disk(u16),
    Nothing,
}

impl EmbeddedReader {
    pub(crate) fn new(log: Arc<Embedded>, topic: TopicId, group: Arc<str>) -> Self {
        let partitions = log.shared.layout.spec(topic).partitions;
        let committed = log.committed(topic, &group);
        let starts = (0..partitions).map(|partition| {
            let known = committed.iter().find(|position| position.partition == partition);
            let first = || log.shared.lock_tail(log.shared.layout.slot(topic, partition)).first;
            let cursor = Cursor::at(known.map_or_else(first, |position| position.seq));
            Partition { cursor, ahead: Tail::default() }
        });
        let partitions_read = starts.collect();
        let events = VecDeque::from([Event::Assigned((0..partitions).collect())]);
        Self { log, topic, group, partitions: partitions_read, turn: 0, events }
    }

    pub(crate) async fn next(&mut self, limit: BatchLimit) -> Result<Event, Error> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        let shared = self.log.shared.clone();
        loop {
            let grown = shared.grown[self.topic.index()].notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if shared.closed.load(Ordering::Acquire) {
                return Ok(Event::Records(Records::shutdown()));
            }
            match self.look(limit)? {
                Look::Found(event) => return Ok(event),
                Look::Disk(partition) => self.read_ahead(partition, limit).await?,
                Look::Nothing => grown.await,
            }
        }
    }

    /// Begins with the partition after the last that gave records, so that none starves.
    fn look(&mut self, limit: BatchLimit) -> Result<Look, Error> {
        let count = self.partitions.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let number = u16::try_from(index).expect("partitions have a limit");
            let slot = self.log.shared.layout.slot(self.topic, number);
            let partition = &mut self.partitions[index];
            loop {
                let tail = self.log.shared.lock_tail(slot);
                let mut fetch = tail.fetch(partition.cursor, limit);
                let (first, next) = (tail.first, tail.next);
                drop(tail);
                if matches!(fetch, Fetch::Behind) {
                    fetch = partition.ahead.fetch(partition.cursor, limit);
                    if !matches!(fetch, Fetch::Cut(_)) {
                        return Ok(Look::Disk(number));
                    }
                }
                match fetch {
                    Fetch::Cut(cut) => {
                        partition.cursor = cut.cursor;
                        partition.pass();
                        if cut.parts.is_empty() {
                            continue;
                        }
                        self.turn = index + 1;
                        let epoch = self.log.shared.epochs[self.topic.index()];
                        let next = cut.cursor.seq;
                        let records = Records::new(epoch, number, next, cut.parts);
                        return Ok(Look::Found(Event::Records(records)));
                    }
                    Fetch::Outside => {
                        let topic = self.log.shared.layout.spec(self.topic).name.clone();
                        let (partition, position) = (number, partition.cursor.seq);
                        return Err(Error::OutOfRange { topic, partition, position, first, next });
                    }
                    Fetch::AtEnd | Fetch::Behind => break,
                }
            }
        }
        Ok(Look::Nothing)
    }

    async fn read_ahead(&mut self, number: u16, limit: BatchLimit) -> Result<(), Error> {
        let Some(handles) = self.log.shared.engine() else { return Ok(()) };
        let (shared, topic) = (self.log.shared.clone(), self.topic);
        let seq = self.partitions[usize::from(number)].cursor.seq;
        let bytes = limit.bytes_max.max(READ_AHEAD_BYTES);
        let read = tokio::task::spawn_blocking(move || {
            read_chunks(&shared, &handles, (topic, number), seq, bytes)
        });
        let ahead = read.await.map_err(|error| Error::Engine {
            what: "read the log from disk".to_owned(),
            cause: error.to_string(),
        })??;
        self.partitions[usize::from(number)].ahead = ahead;
        Ok(())
    }

    pub(crate) fn seek(&mut self, position: Position) -> Result<(), Error> {
        let epoch = self.log.shared.epochs[self.topic.index()];
        match self.partitions.get_mut(usize::from(position.partition)) {
            Some(partition) if position.epoch == epoch => {
                partition.cursor = Cursor::at(position.seq);
                Ok(())
            }
            _ => Err(Error::Revoked { partition: position.partition }),
        }
    }

    pub(crate) fn committer(&self) -> CommitterInner {
        CommitterInner::Embedded(self.log.clone(), self.topic, self.group.clone())
    }
}

impl Partition {
    /// Forgets chunks that the cursor has passed.
    fn pass(&mut self) {
        while self.ahead.chunks.front().is_some_and(|chunk| chunk.end() <= self.cursor.seq) {
            let passed = self.ahead.chunks.pop_front().expect("front was there");
            self.ahead.first = passed.end();
        }
    }
}

impl Drop for EmbeddedReader {
    fn drop(&mut self) {
        if let Ok(mut readers) = self.log.shared.readers.lock() {
            readers.remove(&(self.topic, self.group.clone()));
        }
    }
}

/// Reads and checks the chunks from the one that holds `seq` on.
fn read_chunks(
    shared: &Shared,
    handles: &Engine,
    (topic, partition): (TopicId, u16),
    seq: u64,
    bytes_max: usize,
) -> Result<Tail, Error> {
    let name = &shared.layout.spec(topic).name;
    let keyspace = &handles.topics[topic.index()];
    let corrupt = |detail: String| Error::Corrupt {
        what: format!("topic {name} partition {partition}"),
        detail,
    };
    let mut from = keys::chunk_from(partition, seq);
    let before =
        keyspace.range(keys::chunk_from(partition, 0)..keys::chunk_from(partition, seq + 1));
    if let Some(guard) = before.into_iter().next_back() {
        let key = guard.key().map_err(engine("find a chunk"))?;
        let found = ChunkKey::decode(&key).ok_or_else(|| corrupt("bad key".to_owned()))?;
        if found.end() > seq {
            from = keys::chunk_from(partition, found.first);
        }
    }
    let mut tail = Tail::default();
    let mut bytes = 0;
    // The engine shows a group a moment before the writer does: HEAD does not know it yet, nor does the tail.
    let shown = shared.lock_tail(shared.layout.slot(topic, partition)).next;
    for guard in keyspace.range(from..keys::chunk_from(partition, shown)) {
        let (key, value) = guard.into_inner().map_err(engine(&format!("read topic {name}")))?;
        let Some(chunk) = handles.chunk(name, &key, Bytes::from(value))? else {
            let known = shared.lock_tail(shared.layout.slot(topic, partition)).first;
            match ChunkKey::decode(&key) {
                // Retention has just passed here; the next look says so.
                Some(gone) if gone.first < known => break,
                _ => return Err(corrupt("a value file is gone".to_owned())),
            }
        };
        if tail.chunks.is_empty() {
            (tail.first, tail.next) = (chunk.head.first, chunk.head.first);
        }
        if chunk.head.first != tail.next {
            let (next, first) = (tail.next, chunk.head.first);
            return Err(corrupt(format!("records {next}..{first} are missing")));
        }
        bytes += chunk.bytes.len();
        tail.push(chunk);
        if bytes >= bytes_max {
            break;
        }
    }
    if tail.chunks.is_empty() || tail.first > seq {
        // Retention may have passed in the meantime; else records are missing.
        let known = shared.lock_tail(shared.layout.slot(topic, partition));
        if seq >= known.first {
            return Err(corrupt(format!("record {seq} is missing")));
        }
    }
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Route};
    use crate::embedded::EmbeddedConfig;
    use crate::topic::TopicSpec;

    #[tokio::test]
    async fn what_the_writer_has_not_shown_is_not_read_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let topics = vec![TopicSpec::stream("raw", 1, &[])];
        let log = Embedded::open(EmbeddedConfig::new(dir.path()), topics).unwrap();
        for _ in 0..3 {
            let mut batch = Batch::new();
            batch.push(TopicId(0), Route::Partition(0), b"k", &[], b"v");
            log.append(batch).await.unwrap().safe().await.unwrap();
        }
        let read = |seq| {
            let handles = log.shared.engine().unwrap();
            read_chunks(&log.shared, &handles, (TopicId(0), 0), seq, usize::MAX).unwrap()
        };
        assert_eq!(read(0).next, 3);
        // As it is between the commit of a group and its publication.
        log.shared.lock_tail(0).next = 2;
        assert_eq!(read(0).next, 2);
        assert_eq!(read(1).chunks.len(), 1);
        log.shared.lock_tail(0).next = 3;
        log.close().await.unwrap();
    }
}
