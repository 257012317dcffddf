//! Dropping old chunks of streams, and telling appends when a topic is full.
//!
//! Invariant: no chunk goes that a named reader has not passed. Whole chunks only.

use std::sync::atomic::Ordering;

use fjall::PersistMode;

use super::folder::engine;
use super::keys::{self, ChunkKey};
use super::space::{Reserve, Space};
use super::writer::Writer;
use crate::error::Error;
use crate::topic::{Kind, TopicId};

/// Most chunks dropped in one engine batch.
const DROPS_MAX: usize = 4096;

impl Writer {
    /// Drops what is beyond the limits and was passed by every named reader.
    pub(super) fn retain(&mut self) -> Result<(), Error> {
        self.read_clock();
        for index in 0..self.shared.layout.specs.len() {
            let topic = TopicId(u16::try_from(index).expect("checked by the layout"));
            if self.shared.layout.spec(topic).kind == Kind::Stream {
                self.retain_topic(topic)?;
            }
        }
        self.look_at_disk()?;
        self.mark_full();
        Ok(())
    }

    fn look_at_disk(&self) -> Result<(), Error> {
        let reserve = self.shared.config.reserve;
        if reserve == Reserve::default() {
            return Ok(());
        }
        let space = reserve.look(&self.shared.config.dir)?;
        let mut known = self.shared.space.lock().expect("no code panics while it holds it");
        let was_low = known.replace(space).is_some_and(Space::is_low);
        if space.is_low() && !was_low {
            let Space { free, reserve } = space;
            let dir = self.shared.config.dir.display();
            tracing::warn!(%dir, free, reserve, "the disk has fewer bytes free than its reserve");
        }
        Ok(())
    }

    fn retain_topic(&mut self, topic: TopicId) -> Result<(), Error> {
        let spec = self.shared.layout.spec(topic);
        let partitions = spec.partitions;
        // A little more goes than must, so that a topic at its limit is not worked on every group.
        let low_water = spec.retention.bytes_max - spec.retention.bytes_max / 20;
        let kept = self.shared.topic_bytes(topic);
        let mut over = if self.is_over(topic) { kept - low_water } else { 0 };
        let age_max = i64::try_from(spec.retention.age_max.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.now.saturating_sub(age_max);
        // Each partition gives an equal share first, so that none is emptied for the others.
        for share in [u64::from(partitions), 1] {
            for partition in 0..partitions {
                let bytes = over.div_ceil(share);
                over = over.saturating_sub(self.drop_chunks(topic, partition, bytes, oldest)?);
            }
        }
        self.drop_files(topic)
    }

    /// Forgets the value files of which no chunk is left.
    fn drop_files(&mut self, topic: TopicId) -> Result<(), Error> {
        let Self { shared, engine: handles, values, states, .. } = self;
        let mut batch = handles.db.batch().durability(Some(PersistMode::Buffer));
        let first = |partition| states[shared.layout.slot(topic, partition)].first;
        let forget = |key| batch.remove(&handles.meta, key);
        values.retain(&shared.layout.spec(topic).name, first, forget);
        batch.commit().map_err(engine("forget value files"))
    }

    /// Drops chunks of a partition until `bytes` are freed and none is older than `oldest`; how
    /// many bytes went.
    fn drop_chunks(
        &mut self,
        topic: TopicId,
        partition: u16,
        bytes: u64,
        oldest: i64,
    ) -> Result<u64, Error> {
        let slot = self.shared.layout.slot(topic, partition);
        let mut state = self.states[slot];
        let floor = self.floor(topic, partition);
        let keyspace = &self.engine.topics[topic.index()];
        let range =
            keyspace.range(keys::chunk_from(partition, state.first)..keys::chunk_end(partition));
        let mut batch = self.engine.db.batch().durability(Some(PersistMode::Buffer));
        let mut freed = 0;
        for guard in range.take(DROPS_MAX) {
            let key = guard.key().map_err(engine("read old chunks"))?;
            let chunk = ChunkKey::decode(&key).ok_or_else(|| Error::Corrupt {
                what: format!("topic {}", self.shared.layout.spec(topic).name),
                detail: "bad key".to_owned(),
            })?;
            if chunk.end() > floor || (freed >= bytes && chunk.appended_at >= oldest) {
                break;
            }
            freed += u64::from(chunk.length);
            state.first = chunk.end();
            state.bytes = state.bytes.saturating_sub(u64::from(chunk.length));
            batch.remove(keyspace, key);
        }
        if freed == 0 {
            return Ok(0);
        }
        self.states[slot] = state;
        self.write_state(&mut batch, slot);
        // The positions that allow the drop lie in the same atomic batch or before it.
        self.take_positions(&mut batch);
        batch.commit().map_err(engine("drop old chunks"))?;
        self.shared.lock_tail(slot).first = state.first;
        self.shared.kept[slot].store(state.bytes, Ordering::Relaxed);
        Ok(freed)
    }

    /// Lowest committed position of the named readers.
    fn floor(&self, topic: TopicId, partition: u16) -> u64 {
        let positions = self.shared.lock_positions();
        let readers = &self.shared.layout.spec(topic).readers;
        let position = |group: &String| {
            let of_group = positions.committed.get(&(topic, group.as_str().into()));
            of_group.and_then(|at| at.get(&partition)).copied().unwrap_or(0)
        };
        readers.iter().map(position).min().unwrap_or(u64::MAX)
    }

    /// Marks topics that are over their limit although retention has run or that wait for the disk, and wakes
    /// appends when one no longer is.
    fn mark_full(&self) {
        let mut freed = false;
        let space = self.shared.space();
        for (index, spec) in self.shared.layout.specs.iter().enumerate() {
            let topic = TopicId(u16::try_from(index).expect("checked by the layout"));
            let waits = self.shared.full[index].load(Ordering::Acquire);
            let over = self.is_over(topic);
            let held = space.is_some_and(|space| space.holds(spec, waits));
            // What is compacted stays small, and is what frees streams: it goes into the reserve.
            let full = spec.kind == Kind::Stream && (over || held);
            if full == waits {
                continue;
            }
            self.shared.full[index].store(full, Ordering::Release);
            if full {
                self.shared.full_count.fetch_add(1, Ordering::AcqRel);
            }
            if full && !over {
                tracing::warn!(topic = %spec.name, "appends wait: the disk fills");
            } else if full {
                tracing::warn!(
                    topic = %spec.name,
                    readers = ?spec.readers,
                    bytes_max = spec.retention.bytes_max,
                    "appends wait: the topic is full of records that a reader has not passed"
                );
            } else {
                self.shared.full_count.fetch_sub(1, Ordering::AcqRel);
                tracing::info!(topic = %spec.name, "the topic has room again");
                freed = true;
            }
        }
        if freed {
            self.shared.freed.notify_waiters();
        }
    }

    /// Whether a topic keeps more bytes than its limit.
    pub(super) fn is_over(&self, topic: TopicId) -> bool {
        self.shared.topic_bytes(topic) > self.shared.layout.spec(topic).retention.bytes_max
    }
}
