//! Appending: one thread hands every record to one idempotent producer, in order.
//!
//! Invariant: an append is answered with success only when every one of its records has a delivery
//! report without error. A record whose delivery failed is sent again after a pause, for ever, when
//! everything else that was on its way has been answered; after a fatal error of the idempotence a
//! new producer does so. What `append` takes and is not yet safe has a byte limit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext};
use rdkafka::producer::{PurgeConfig, ThreadedProducer};
use tokio::sync::Semaphore;

use super::{EPOCH, Health, KafkaConfig, broker, settings};
use crate::batch::Batch;
use crate::error::{Error, Halt};
use crate::log::{Completion, Done, Extent, Receipt};
use crate::records::RecordRef;
use crate::topic::{Kind, Layout, TopicId};

/// Bytes that an append and each of its records take of the budget beside their content.
const OVERHEAD_BYTES: usize = 128;
/// How long `close` waits for delivery reports.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often an idle thread looks whether the brokers are well.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long that look waits for an answer.
const LOOK_WAIT_MAX: Duration = Duration::from_secs(1);
/// An append that waits longer than this for its reports means that the brokers are not well.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Pause when the client's queue is full or an answer is awaited.
const STEP: Duration = Duration::from_millis(5);

const WAITING: u8 = 0;
const SAFE: u8 = 1;
const FAILED: u8 = 2;

/// The handle of the producing thread.
#[derive(Debug)]
pub(super) struct Producers {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    config: Arc<KafkaConfig>,
    layout: Arc<Layout>,
    names: Arc<Vec<String>>,
    health: Arc<Health>,
    room: Semaphore,
    queue: Mutex<Queue>,
    work: Condvar,
    /// Records handed to the client and not yet answered.
    in_flight: AtomicUsize,
    failed: AtomicUsize,
    halted: OnceLock<Halt>,
}

#[derive(Debug, Default)]
struct Queue {
    appends: VecDeque<Arc<Append>>,
    stop_by: Option<Instant>,
    last_error: Option<KafkaError>,
}

/// One append and what became of its records.
#[derive(Debug)]
struct Append {
    batch: Batch,
    states: Vec<AtomicU8>,
    left: AtomicUsize,
    extents: Mutex<Vec<Extent>>,
    permits: usize,
    begun: Instant,
    completion: Arc<Completion>,
}

/// Travels with each record through the client.
type Tag = Box<(Arc<Append>, u32)>;

struct Reports {
    shared: Arc<Shared>,
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AllBrokersDown)) {
            self.shared.health.set(false);
        }
        tracing::debug!(%error, reason, "the Kafka client reports an error");
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = Tag;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Tag) {
        let (append, index) = *tag;
        match result {
            Ok(message) => {
                let seq = u64::try_from(message.offset()).unwrap_or(0);
                self.shared.delivered(&append, index as usize, seq);
            }
            Err((error, _)) => self.shared.refused(&append, index as usize, error.clone()),
        }
        self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    fn delivered(&self, append: &Append, index: usize, seq: u64) {
        let entry = &append.batch.entries()[index];
        let partition = entry.partition(self.layout.spec(entry.topic).partitions);
        append.note(entry.topic, partition, seq);
        append.states[index].store(SAFE, Ordering::Release);
        if append.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.health.set(true);
            self.answer(append);
        }
    }

    fn refused(&self, append: &Append, index: usize, error: KafkaError) {
        append.states[index].store(FAILED, Ordering::Release);
        self.failed.fetch_add(1, Ordering::AcqRel);
        self.health.set(false);
        self.lock().last_error = Some(error);
        self.work.notify_one();
    }

    fn answer(&self, append: &Append) {
        let mut extents = std::mem::take(&mut *append.lock_extents());
        extents.sort_unstable_by_key(|extent| (extent.topic, extent.partition));
        let end = u32::try_from(extents.len()).expect("partitions have a limit");
        self.room.add_permits(append.permits);
        append.completion.resolve(Ok(Done { extents, bounds: vec![0, end] }));
    }

    fn halt(&self) -> Halt {
        self.halted.get().cloned().unwrap_or(Halt::Closed)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code panics while it holds the queue")
    }
}

impl Append {
    fn note(&self, topic: TopicId, partition: u16, seq: u64) {
        let mut extents = self.lock_extents();
        let same = |extent: &&mut Extent| extent.topic == topic && extent.partition == partition;
        match extents.iter_mut().find(same) {
            Some(extent) => {
                extent.first = extent.first.min(seq);
                extent.last = extent.last.max(seq);
            }
            None => {
                extents.push(Extent { topic, partition, epoch: EPOCH, first: seq, last: seq });
            }
        }
    }

    fn lock_extents(&self) -> MutexGuard<'_, Vec<Extent>> {
        self.extents.lock().expect("no code panics while it holds the extents")
    }
}

impl Producers {
    pub(super) fn start(
        config: Arc<KafkaConfig>,
        layout: Arc<Layout>,
        names: Arc<Vec<String>>,
        health: Arc<Health>,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            room: Semaphore::new(config.queue_bytes_max),
            config,
            layout,
            names,
            health,
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
            in_flight: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            halted: OnceLock::new(),
        });
        let pump = Pump {
            producer: producer(&shared)?,
            shared: shared.clone(),
            unresolved: VecDeque::new(),
        };
        let thread = std::thread::Builder::new()
            .name("log-kafka".to_owned())
            .spawn(move || pump.run())
            .map_err(|source| Error::Io { what: "start the Kafka thread".to_owned(), source })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn append(&self, batch: Batch) -> Result<Receipt, Halt> {
        let shared = &self.shared;
        let bytes_max = shared.config.message_bytes_max;
        let largest = batch.entries().iter().map(crate::batch::Entry::bytes).max().unwrap_or(0);
        if largest > bytes_max {
            return Err(Halt::Oversize { bytes: largest, bytes_max });
        }
        let bytes = batch.bytes() + OVERHEAD_BYTES * (1 + batch.len());
        let permits = bytes.min(shared.config.queue_bytes_max).min(u32::MAX as usize);
        let wanted = u32::try_from(permits).expect("just limited");
        let Ok(permit) = shared.room.acquire_many(wanted).await else {
            return Err(shared.halt());
        };
        let completion = Arc::new(Completion::default());
        let receipt = Receipt { completion: completion.clone(), index: 0, driver: None };
        let append = Arc::new(Append {
            states: batch.entries().iter().map(|_| AtomicU8::new(WAITING)).collect(),
            left: AtomicUsize::new(batch.len()),
            extents: Mutex::new(Vec::new()),
            permits,
            begun: Instant::now(),
            completion,
            batch,
        });
        let mut queue = shared.lock();
        if queue.stop_by.is_some() {
            return Err(shared.halt());
        }
        permit.forget();
        if append.batch.is_empty() {
            shared.answer(&append);
        } else {
            queue.appends.push_back(append);
            shared.work.notify_one();
        }
        Ok(receipt)
    }

    pub(super) fn queued_bytes(&self) -> u64 {
        (self.shared.config.queue_bytes_max - self.shared.room.available_permits()) as u64
    }

    pub(super) fn halted(&self) -> Option<Halt> {
        self.shared.halted.get().cloned()
    }

    /// Waits for delivery reports, at most [`FLUSH_WAIT_MAX`], then ends the thread.
    pub(super) fn stop(&self) -> Result<(), Halt> {
        self.end(Instant::now() + FLUSH_WAIT_MAX);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        match thread.map(JoinHandle::join) {
            Some(Err(_)) => Err(self.shared.halt()),
            Some(Ok(())) | None => match self.shared.halted.get() {
                Some(halt) => Err(halt.clone()),
                None => Ok(()),
            },
        }
    }

    /// Ends the thread without waiting for anything.
    pub(super) fn abandon(&self) {
        self.end(Instant::now());
    }

    fn end(&self, by: Instant) {
        self.shared.lock().stop_by.get_or_insert(by);
        self.shared.room.close();
        self.shared.work.notify_one();
    }
}

fn producer(shared: &Arc<Shared>) -> Result<ThreadedProducer<Reports>, Error> {
    let reports = Reports { shared: shared.clone() };
    let made = settings::producer(&shared.config).create_with_context(reports);
    made.map_err(broker("make a producer"))
}

/// The producing thread.
struct Pump {
    shared: Arc<Shared>,
    producer: ThreadedProducer<Reports>,
    /// Appends that are not answered yet, in order.
    unresolved: VecDeque<Arc<Append>>,
}

impl Pump {
    fn run(mut self) {
        while let Some(append) = self.next() {
            if let Some(append) = append {
                self.unresolved.push_back(append.clone());
                for index in 0..append.batch.len() {
                    self.send(&append, index);
                }
            }
            self.look();
            if self.shared.failed.load(Ordering::Acquire) > 0 {
                self.send_failed_again();
            }
        }
        self.finish();
    }

    /// Forgets what is answered, and sees whether the brokers still are. Once they were lost, only
    /// an answer of theirs says that they are back, and nobody else here may have a question.
    fn look(&mut self) {
        while self.unresolved.front().is_some_and(|first| resolved(first)) {
            self.unresolved.pop_front();
        }
        let stalled = |first: &Arc<Append>| first.begun.elapsed() > STALLED_AFTER;
        if self.unresolved.front().is_some_and(stalled) {
            self.shared.health.set(false);
        } else if !self.shared.health.connected() {
            let topic = self.shared.names.first().map(String::as_str);
            if self.producer.client().fetch_metadata(topic, LOOK_WAIT_MAX).is_ok() {
                self.shared.health.set(true);
            }
        }
    }

    /// The next append, or nothing when there is other work; `None` at the end.
    fn next(&mut self) -> Option<Option<Arc<Append>>> {
        let mut queue = self.shared.lock();
        loop {
            if let Some(append) = queue.appends.pop_front() {
                return Some(Some(append));
            }
            if self.shared.failed.load(Ordering::Acquire) > 0 && queue.stop_by.is_none() {
                return Some(None);
            }
            if queue.stop_by.is_some() {
                return None;
            }
            let waited = self.shared.work.wait_timeout(queue, LOOK_EVERY);
            let (again, waited) = waited.expect("no code panics while it holds the queue");
            queue = again;
            if waited.timed_out() {
                return Some(queue.appends.pop_front());
            }
        }
    }

    fn send(&self, append: &Arc<Append>, index: usize) {
        let entry = append.batch.entries()[index];
        let spec = self.shared.layout.spec(entry.topic);
        let bytes = append.batch.record(index);
        let (record, _) = RecordRef::split(bytes).expect("made by this process");
        let tag: Tag = Box::new((append.clone(), u32::try_from(index).expect("below 2^32")));
        let name = &self.shared.names[entry.topic.index()];
        let mut message = BaseRecord::with_opaque_to(name, tag)
            .partition(i32::from(entry.partition(spec.partitions)));
        if !record.key.is_empty() {
            message = message.key(record.key);
        }
        if spec.kind == Kind::Stream || !record.value.is_empty() {
            message = message.payload(record.value);
        }
        let mut headers: Option<OwnedHeaders> = None;
        for (key, value) in record.headers() {
            let header = Header { key, value: Some(value) };
            headers = Some(headers.unwrap_or_default().insert(header));
        }
        if let Some(headers) = headers {
            message = message.headers(headers);
        }
        self.shared.in_flight.fetch_add(1, Ordering::AcqRel);
        while let Err((error, again)) = self.producer.send(message) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !full || self.past_stop() {
                self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
                self.shared.refused(append, index, error);
                return;
            }
            std::thread::sleep(STEP);
            message = again;
        }
    }

    /// Sends what failed again, in order, once everything else on its way is answered.
    fn send_failed_again(&mut self) {
        let mut pause = PAUSE_MIN;
        while self.shared.failed.load(Ordering::Acquire) > 0 && !self.past_stop() {
            let fatal = self.producer.client().fatal_error();
            let cause = self.shared.lock().last_error.take();
            tracing::error!(?cause, ?fatal, "records were not taken; they are sent again");
            if fatal.is_some() {
                self.producer.purge(PurgeConfig::default().queue().inflight());
            }
            while self.shared.in_flight.load(Ordering::Acquire) > 0 && !self.past_stop() {
                std::thread::sleep(STEP);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            if fatal.is_some() {
                match producer(&self.shared) {
                    Ok(producer) => self.producer = producer,
                    Err(error) => {
                        tracing::error!(%error, "no new producer");
                        continue;
                    }
                }
            }
            self.shared.failed.store(0, Ordering::Release);
            for append in self.unresolved.clone() {
                for index in 0..append.batch.len() {
                    if append.states[index].load(Ordering::Acquire) == FAILED {
                        append.states[index].store(WAITING, Ordering::Release);
                        self.send(&append, index);
                    }
                }
            }
            while self.shared.in_flight.load(Ordering::Acquire) > 0 && !self.past_stop() {
                std::thread::sleep(STEP);
            }
        }
    }

    fn past_stop(&self) -> bool {
        self.shared.lock().stop_by.is_some_and(|by| by <= Instant::now())
    }

    /// Waits for the last reports; what is unanswered then stays unacknowledged.
    fn finish(mut self) {
        while self.unresolved.iter().any(|append| !resolved(append)) && !self.past_stop() {
            if self.shared.failed.load(Ordering::Acquire) > 0 {
                self.send_failed_again();
            }
            std::thread::sleep(STEP);
        }
        let open: Vec<_> = self.unresolved.iter().filter(|append| !resolved(append)).collect();
        if !open.is_empty() {
            tracing::warn!(appends = open.len(), "closed before all records were safe");
            let _ = self.shared.halted.set(Halt::Closed);
            self.shared.room.close();
        }
        for append in open {
            append.completion.resolve(Err(Halt::Closed));
        }
    }
}

fn resolved(append: &Append) -> bool {
    append.left.load(Ordering::Acquire) == 0
}
