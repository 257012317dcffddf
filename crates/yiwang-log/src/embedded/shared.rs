//! What the callers and the writer thread share: the queue of groups, the tails, positions.
//!
//! Callers form the groups: an append joins the newest waiting group while that has room, so the
//! writer takes whole groups and wakes their receipts together. Every buffer here has a limit.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use super::EmbeddedConfig;
use super::folder::{Commits, Engine};
use super::space::Space;
use crate::batch::Batch;
use crate::error::{Error, Halt};
use crate::log::Completion;
use crate::tail::Tail;
use crate::topic::{Layout, TopicId};

/// Most used batches kept for reuse, and most bytes of each.
const SPARE_BATCHES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 1 << 20;
/// Longest time a committed position waits for a group to be written with.
pub(crate) const COMMIT_DELAY_MAX: Duration = Duration::from_millis(100);

/// Appends that are made safe together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) batches: Vec<Batch>,
    pub(crate) bytes: usize,
    /// Permits of the byte budget to give back.
    pub(crate) permits: usize,
    pub(crate) completion: Arc<Completion>,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) groups: VecDeque<Group>,
    /// The writer sleeps and has to be woken.
    pub(crate) idle: bool,
    pub(crate) stopping: bool,
    /// Retention is to run at once: a reader moved in a full topic.
    pub(crate) retain: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Positions {
    pub(crate) committed: Commits,
    /// Not yet written; their newest values are in `committed`.
    pub(crate) dirty: HashSet<(TopicId, Arc<str>, u16)>,
    pub(crate) dirty_since: Option<Instant>,
}

/// Shared state of an embedded log.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: EmbeddedConfig,
    pub(crate) layout: Layout,
    pub(crate) epochs: Vec<u32>,
    /// Taken at close, which frees the folder.
    pub(crate) engine: RwLock<Option<Arc<Engine>>>,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) work: Condvar,
    pub(crate) room: Semaphore,
    pub(crate) tails: Vec<Mutex<Tail>>,
    pub(crate) grown: Vec<Notify>,
    pub(crate) positions: Mutex<Positions>,
    /// Bytes kept per dense partition.
    pub(crate) kept: Vec<AtomicU64>,
    /// Topics whose appends wait: at their size limit with unread data, or for the disk.
    pub(crate) full: Vec<AtomicBool>,
    pub(crate) full_count: AtomicUsize,
    pub(crate) freed: Notify,
    /// The newest look at the disk, where there is a reserve.
    pub(crate) space: Mutex<Option<Space>>,
    pub(crate) halted: OnceLock<Halt>,
    pub(crate) closed: AtomicBool,
    pub(crate) readers: Mutex<HashMap<(TopicId, Arc<str>), ()>>,
    pub(crate) spare: Mutex<Vec<Batch>>,
}

impl Shared {
    /// Why nothing is taken any more.
    pub(crate) fn halt(&self) -> Halt {
        self.halted.get().cloned().unwrap_or(Halt::Closed)
    }

    pub(crate) fn poison(&self, cause: &Error) {
        let place = self.config.dir.display().to_string().into();
        let mut text = cause.to_string();
        let mut source = std::error::Error::source(cause);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        if self.halted.set(Halt::Poisoned { place, cause: text.as_str().into() }).is_ok() {
            tracing::error!(dir = %self.config.dir.display(), cause = %text, "the log has halted");
        }
        self.room.close();
        self.freed.notify_waiters();
    }

    /// Waits until no topic of the batch is full.
    pub(crate) async fn not_full(&self, batch: &Batch) {
        if self.full_count.load(Ordering::Acquire) == 0 {
            return;
        }
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let full = |topic: TopicId| self.full[topic.index()].load(Ordering::Acquire);
            let open = self.halted.get().is_none() && !self.room.is_closed();
            if !open || !batch.entries().iter().any(|entry| full(entry.topic)) {
                return;
            }
            freed.await;
        }
    }

    /// Puts a batch into the newest group with room; its group and place there.
    pub(crate) fn enqueue(
        &self,
        batch: Batch,
        permits: usize,
    ) -> Result<(Arc<Completion>, u32), Halt> {
        let mut queue = self.lock_queue();
        if queue.stopping || self.halted.get().is_some() {
            return Err(self.halt());
        }
        let fits = |group: &Group| {
            group.batches.len() < self.config.group_appends_max
                && group.bytes + batch.bytes() <= self.config.group_bytes_max
        };
        if !queue.groups.back().is_some_and(fits) {
            queue.groups.push_back(Group::default());
        }
        let group = queue.groups.back_mut().expect("one was just added");
        let index = u32::try_from(group.batches.len()).expect("a group has a limit");
        group.bytes += batch.bytes();
        group.permits += permits;
        group.batches.push(batch);
        let completion = group.completion.clone();
        if std::mem::take(&mut queue.idle) {
            self.work.notify_one();
        }
        Ok((completion, index))
    }

    /// Wakes the writer to look at positions, retention or the stop flag.
    pub(crate) fn nudge(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock_queue();
        change(&mut queue);
        queue.idle = false;
        self.work.notify_one();
    }

    pub(crate) fn give_back(&self, batches: Vec<Batch>) {
        let mut spare = self.spare.lock().expect("no code panics while it holds the spares");
        for mut batch in batches {
            if spare.len() >= SPARE_BATCHES_MAX {
                return;
            }
            if batch.capacity() <= SPARE_BYTES_MAX {
                batch.clear();
                spare.push(batch);
            }
        }
    }

    pub(crate) fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code panics while it holds the queue")
    }

    pub(crate) fn lock_tail(&self, slot: usize) -> MutexGuard<'_, Tail> {
        self.tails[slot].lock().expect("no code panics while it holds a tail")
    }

    pub(crate) fn lock_positions(&self) -> MutexGuard<'_, Positions> {
        self.positions.lock().expect("no code panics while it holds the positions")
    }

    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.read().expect("no code panics while it holds the engine").clone()
    }

    pub(crate) fn space(&self) -> Option<Space> {
        *self.space.lock().expect("no code panics while it holds it")
    }

    /// Bytes kept of a topic.
    pub(crate) fn topic_bytes(&self, topic: TopicId) -> u64 {
        let spec = self.layout.spec(topic);
        let kept =
            |partition| self.kept[self.layout.slot(topic, partition)].load(Ordering::Relaxed);
        (0..spec.partitions).map(kept).sum()
    }
}
