//! Who goes next when the log has less room than is sent: life safety first, then tenants by their weight.
//!
//! While the log takes batches at once they pass straight through. What would have to wait waits here instead of at the
//! log's door, and one task hands it on in order: start-time fair queueing by bytes and weight, life safety before the
//! rest, but never more than a named number of times in a row while others wait. Invariant: a batch that was handed over
//! is appended exactly once, whoever still waits for it; order per connection is the connection's, which hands over one
//! batch at a time. It refuses to drop anything: only back-pressure comes from here.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};
use yiwang_log::{Batch, Halt, Receipt, Writer};

use crate::config::RawPressure;

/// Virtual time of one byte at weight 1: large enough that the largest weight still counts whole units.
const BYTE: u128 = 1 << 20;
/// Bytes that a batch counts for beside its own.
const BATCH_BYTES: usize = 64;

/// Whose bytes they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Unit that owns the device, or the source that many come through.
    pub tenant: Arc<str>,
    /// Its part of the way in.
    pub weight: u32,
    /// Whether lives may hang on it.
    pub life_safety: bool,
}

impl Share {
    /// Of a tenant that nothing is said of.
    #[must_use]
    pub fn plain(tenant: &str) -> Self {
        Self { tenant: tenant.into(), weight: 1, life_safety: false }
    }

    fn urgency(&self) -> Urgency {
        if self.life_safety { Urgency::LifeSafety } else { Urgency::Ordinary }
    }
}

/// The two lanes, the first one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// 生命安全
    LifeSafety,
    /// Everything else.
    Ordinary,
}

impl Urgency {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::LifeSafety, Self::Ordinary];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LifeSafety => "life_safety",
            Self::Ordinary => "ordinary",
        }
    }
}

/// What a lane went through, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waited {
    /// Batches that wait now.
    pub waiting: usize,
    /// Batches that had to wait.
    pub batches: u64,
    /// How long they did, in all.
    pub seconds: f64,
}

/// The way into the log.
#[derive(Debug)]
pub(crate) struct Admission {
    writer: Writer,
    limits: RawPressure,
    /// Bytes of batches that went to the log's door directly and were not yet taken.
    at_door: AtomicUsize,
    queue: Mutex<Queue>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Start of what was served last, in the virtual time of each lane: one clock for both would let what overtakes in
    /// the first push the second's clock ahead of everybody who waits there.
    clocks: [u128; 2],
    /// By tenant.
    tenants: HashMap<Arc<str>, Account>,
    /// By urgency.
    lanes: [BinaryHeap<Reverse<Waiting>>; 2],
    waited: [Waited; 2],
    /// Batches of life safety served since another was.
    run: u32,
    numbers: u64,
    halted: Option<Halt>,
}

#[derive(Debug, Default)]
struct Account {
    /// Where its last batch ends, in the virtual time of each lane.
    finish: [u128; 2],
    bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    start: u128,
    number: u64,
    since: Instant,
    batch: Batch,
    done: oneshot::Sender<Result<Receipt, Halt>>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.start, self.number).cmp(&(other.start, other.number))
    }
}

/// Bytes at the door, until the log took them or nobody waits any more.
struct AtDoor<'a>(&'a AtomicUsize, usize);

impl Drop for AtDoor<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::AcqRel);
    }
}

impl Admission {
    pub(crate) fn new(writer: Writer, limits: RawPressure) -> Self {
        let (queue, grown) = (Mutex::default(), Notify::new());
        Self { writer, limits, at_door: AtomicUsize::new(0), queue, grown }
    }

    /// Appends a batch when its turn has come. A call that is dropped may have appended it or not.
    pub(crate) async fn append(&self, share: &Share, batch: Batch) -> Result<Receipt, Halt> {
        let bytes = batch.bytes() + BATCH_BYTES;
        let direct = {
            let mut queue = self.lock();
            if let Some(halt) = &queue.halted {
                return Err(halt.clone());
            }
            let start = queue.enter(share, bytes);
            let free = self.at_door.load(Ordering::Acquire) + bytes <= self.limits.door_bytes_max;
            if queue.is_empty() && (free || self.at_door.load(Ordering::Acquire) == 0) {
                queue.serve(share.urgency(), start);
                self.at_door.fetch_add(bytes, Ordering::AcqRel);
                Ok((batch, AtDoor(&self.at_door, bytes)))
            } else {
                Err(queue.wait(share, start, batch))
            }
        };
        match direct {
            Ok((batch, _at_door)) => self.writer.append(batch).await,
            Err(done) => {
                self.grown.notify_one();
                // Nobody answers only when the gateway has ended.
                done.await.unwrap_or(Err(Halt::Closed))
            }
        }
    }

    /// Hands on what waits, in order; ends only when dropped.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.lock().next(self.limits.life_safety_run_max);
            let Some(Waiting { batch, done, .. }) = next else {
                self.grown.notified().await;
                continue;
            };
            let appended = self.writer.append(batch).await;
            if let Err(halt) = &appended {
                self.halt(halt);
            }
            // Who has gone meanwhile needs no answer: what it sent is on its way all the same.
            let _ = done.send(appended);
        }
    }

    /// Nothing is taken any more: everybody is told, and whoever comes.
    fn halt(&self, halt: &Halt) {
        let mut queue = self.lock();
        queue.halted = Some(halt.clone());
        let lanes = std::mem::take(&mut queue.lanes);
        for Reverse(Waiting { done, .. }) in lanes.into_iter().flatten() {
            let _ = done.send(Err(halt.clone()));
        }
        queue.waited.iter_mut().for_each(|lane| lane.waiting = 0);
    }

    /// What both lanes went through.
    pub(crate) fn waited(&self) -> [Waited; 2] {
        self.lock().waited
    }

    /// Bytes by tenant, since the process began.
    pub(crate) fn tenants(&self) -> Vec<(Arc<str>, u64)> {
        let queue = self.lock();
        queue.tenants.iter().map(|(name, account)| (name.clone(), account.bytes)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Its values stay sound whatever panics elsewhere.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.lanes.iter().all(BinaryHeap::is_empty)
    }

    /// The start of a batch in virtual time: not before now, and after what its tenant sent before.
    fn enter(&mut self, share: &Share, bytes: usize) -> u128 {
        // As many tenants as the district has units and the configuration sources.
        let lane = share.urgency() as usize;
        let clock = self.clocks[lane];
        let account = match self.tenants.get_mut(&share.tenant) {
            Some(account) => account,
            None => self.tenants.entry(share.tenant.clone()).or_default(),
        };
        let start = clock.max(account.finish[lane]);
        account.finish[lane] = start + bytes as u128 * BYTE / u128::from(share.weight.max(1));
        account.bytes += bytes as u64;
        start
    }

    fn wait(
        &mut self,
        share: &Share,
        start: u128,
        batch: Batch,
    ) -> oneshot::Receiver<Result<Receipt, Halt>> {
        let (done, wait) = oneshot::channel();
        let lane = share.urgency() as usize;
        self.numbers += 1;
        let (number, since) = (self.numbers, Instant::now());
        self.lanes[lane].push(Reverse(Waiting { start, number, since, batch, done }));
        self.waited[lane].waiting += 1;
        self.waited[lane].batches += 1;
        wait
    }

    fn serve(&mut self, urgency: Urgency, start: u128) {
        let clock = &mut self.clocks[urgency as usize];
        *clock = start.max(*clock);
    }

    fn next(&mut self, run_max: u32) -> Option<Waiting> {
        let [first, rest] = &self.lanes;
        let spent = self.run >= run_max && !rest.is_empty();
        let urgency = Urgency::ALL[usize::from(first.is_empty() || spent)];
        let lane = urgency as usize;
        let Reverse(waiting) = self.lanes[lane].pop()?;
        self.run = if urgency == Urgency::LifeSafety { self.run + 1 } else { 0 };
        self.serve(urgency, waiting.start);
        self.waited[lane].waiting -= 1;
        self.waited[lane].seconds += waiting.since.elapsed().as_secs_f64();
        Some(waiting)
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
