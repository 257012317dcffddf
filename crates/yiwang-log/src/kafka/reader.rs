//! Reading: a thread polls the consumer, a bounded channel carries records to the role.
//!
//! New partitions are paused until the role has seen `Assigned` and asks for more, so that it can
//! seek; before partitions go, the role gets a limited time to finish with them. While the role is
//! slow the thread pauses fetching and goes on polling, so a slow role keeps its partitions.
//! Invariant: positions outside of what Kafka keeps are an error (`auto.offset.reset=error`); a
//! group without a position begins at the oldest record.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::rebalance::{Context, State, is_no_offset, lock};
use super::{EPOCH, Health, KafkaConfig, broker, settings};
use crate::batch::Route;
use crate::error::{Action, Error};
use crate::records::{BatchLimit, Event, Position, Records, Start};
use crate::topic::TopicId;

/// Items in the channel beyond one for each partition.
const CHANNEL_SPARE: usize = 6;
/// Records and bytes gathered in one round of polling.
const ROUND_RECORDS_MAX: usize = 4096;
const ROUND_BYTES_MAX: usize = 1 << 20;
/// Longest wait of one poll, and so for commands and the stop flag.
pub(super) const POLL_WAIT: Duration = Duration::from_millis(20);
/// How long a seek is tried while the consumer still starts the partition.
const SEEK_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a reader reads, for whom.
pub(super) struct Source {
    pub(super) config: Arc<KafkaConfig>,
    pub(super) topic: String,
    pub(super) name: String,
    pub(super) partitions: u16,
    pub(super) group: String,
    /// Reads everything, commits nothing.
    pub(super) anonymous: bool,
    pub(super) health: Arc<Health>,
}

/// What the thread tells the role's side.
pub(super) enum Item {
    Records(Records, u64),
    Assigned(Vec<u16>),
    Revoked(Vec<u16>, std_mpsc::SyncSender<()>),
    Failed(Error),
}

enum Command {
    Seek { position: Position, generation: u64 },
    Go(Vec<u16>),
}

type Commands = Arc<Mutex<VecDeque<Command>>>;

/// The role's side.
#[derive(Debug)]
pub(crate) struct KafkaReader {
    items: mpsc::Receiver<Item>,
    commands: Commands,
    committer: KafkaCommitter,
    generations: HashMap<u16, u64>,
    /// Records that exceeded the last limit.
    rest: Option<Records>,
    /// What the thread waits for until `next` is called again.
    go: Vec<u16>,
    finished: Option<std_mpsc::SyncSender<()>>,
    stop: Arc<AtomicBool>,
}

/// Commits positions of a reader.
#[derive(Clone, Debug)]
pub(crate) struct KafkaCommitter {
    consumer: Weak<BaseConsumer<Context>>,
    name: Arc<str>,
    owned: Arc<Mutex<BTreeMap<u16, u64>>>,
    anonymous: bool,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Item")
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl KafkaReader {
    pub(crate) async fn next(&mut self, limit: BatchLimit) -> Result<Event, Error> {
        // The role is done with what the last event told it.
        self.finished = None;
        if !self.go.is_empty() {
            let go = Command::Go(std::mem::take(&mut self.go));
            lock(&self.commands).push_back(go);
        }
        if let Some(mut rest) = self.rest.take() {
            let front = rest.split_front(limit);
            self.rest = (!rest.is_empty()).then_some(rest);
            return Ok(Event::Records(front));
        }
        while let Some(item) = self.items.recv().await {
            match item {
                Item::Records(mut records, generation) => {
                    let wanted = self.generations.get(&records.partition).copied().unwrap_or(0);
                    if generation != wanted {
                        continue;
                    }
                    let front = records.split_front(limit);
                    self.rest = (!records.is_empty()).then_some(records);
                    return Ok(Event::Records(front));
                }
                Item::Assigned(partitions) => {
                    self.go.clone_from(&partitions);
                    return Ok(Event::Assigned(partitions));
                }
                Item::Revoked(partitions, finished) => {
                    self.finished = Some(finished);
                    return Ok(Event::Revoked(partitions));
                }
                Item::Failed(error) => return Err(error),
            }
        }
        Ok(Event::Records(Records::shutdown()))
    }

    pub(crate) fn seek(&mut self, position: Position) -> Result<(), Error> {
        let partition = position.partition;
        if position.epoch != EPOCH || !lock(&self.committer.owned).contains_key(&partition) {
            return Err(Error::Revoked { partition });
        }
        if self.rest.as_ref().is_some_and(|rest| rest.partition == partition) {
            self.rest = None;
        }
        let generation = self.generations.entry(partition).or_default();
        *generation += 1;
        let seek = Command::Seek { position, generation: *generation };
        lock(&self.commands).push_back(seek);
        Ok(())
    }

    pub(crate) fn committer(&self) -> KafkaCommitter {
        self.committer.clone()
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl KafkaCommitter {
    pub(crate) fn is_owner(&self, partition: u16) -> bool {
        lock(&self.owned).contains_key(&partition)
    }

    pub(crate) fn commit(&self, position: Position) -> Result<(), Error> {
        let Position { epoch, partition, seq } = position;
        if self.anonymous {
            return Ok(());
        }
        let mut owned = lock(&self.owned);
        let (Some(consumer), Some(before)) = (self.consumer.upgrade(), owned.get_mut(&partition))
        else {
            return Err(Error::Revoked { partition });
        };
        if epoch != EPOCH {
            return Err(Error::Revoked { partition });
        }
        if *before >= seq {
            return Ok(());
        }
        let offset = Offset::Offset(i64::try_from(seq).unwrap_or(i64::MAX));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, i32::from(partition), offset)
            .map_err(broker("store a position"))?;
        consumer.store_offsets(&list).map_err(|_| Error::Revoked { partition })?;
        *before = seq;
        Ok(())
    }
}

/// Starts the thread of a reader.
pub(super) fn start(
    source: Source,
    start: Start,
) -> Result<(KafkaReader, Arc<AtomicBool>, JoinHandle<()>), Error> {
    let anonymous = source.anonymous;
    let group = match anonymous {
        true => format!("yiwang-anonymous-{:016x}", rand::random::<u64>()),
        false => source.group.clone(),
    };
    let (sender, items) = mpsc::channel(usize::from(source.partitions) + CHANNEL_SPARE);
    let stop = Arc::new(AtomicBool::new(false));
    let owned = Arc::new(Mutex::new(BTreeMap::new()));
    let starts = match start {
        Start::Committed => HashMap::new(),
        Start::At(positions) => positions.into_iter().map(|at| (at.partition, at.seq)).collect(),
    };
    let context = Context {
        name: source.name.clone(),
        request_wait_max: source.config.request_wait_max,
        revoke_wait_max: source.config.revoke_wait_max,
        health: source.health.clone(),
        owned: owned.clone(),
        items: sender.clone(),
        stop: stop.clone(),
        state: Mutex::new(State { starts, ..State::default() }),
    };
    let mut settings = settings::consumer(&source.config, &group);
    if anonymous {
        settings.set("enable.auto.commit", "false");
    }
    let consumer: BaseConsumer<Context> =
        settings.create_with_context(context).map_err(broker("make a consumer"))?;
    let consumer = Arc::new(consumer);
    let commands = Commands::default();
    let name: Arc<str> = Arc::from(source.name.as_str());
    let committer = KafkaCommitter { consumer: Arc::downgrade(&consumer), name, owned, anonymous };
    let poller =
        Poller { source, consumer, commands: commands.clone(), items: sender, stop: stop.clone() };
    let thread = std::thread::Builder::new()
        .name("log-kafka-reader".to_owned())
        .spawn(move || poller.run(anonymous))
        .map_err(|source| Error::Io { what: "start a reader thread".to_owned(), source })?;
    let reader = KafkaReader {
        items,
        commands,
        committer,
        generations: HashMap::new(),
        rest: None,
        go: Vec::new(),
        finished: None,
        stop: stop.clone(),
    };
    Ok((reader, stop, thread))
}

/// The polling thread.
struct Poller {
    source: Source,
    consumer: Arc<BaseConsumer<Context>>,
    commands: Commands,
    items: mpsc::Sender<Item>,
    stop: Arc<AtomicBool>,
}

impl Poller {
    fn run(self, anonymous: bool) {
        if let Err(error) = self.read(anonymous) {
            self.put(Item::Failed(error));
        }
        if anonymous {
            return;
        }
        // Closing the consumer commits as well; asking now tells whether it worked.
        match self.consumer.commit_consumer_state(CommitMode::Sync) {
            Err(error) if !is_no_offset(&error) => {
                tracing::warn!(%error, "positions not committed at stop; records are read again");
            }
            _ => {}
        }
    }

    fn read(&self, anonymous: bool) -> Result<(), Error> {
        let what = format!("read topic {}", self.source.topic);
        if anonymous {
            self.take_all().map_err(broker(&what))?;
        } else {
            self.consumer.subscribe(&[&self.source.name]).map_err(broker(&what))?;
        }
        let mut paused = false;
        while !self.stop.load(Ordering::Acquire) && !self.items.is_closed() {
            match self.turn(&mut paused) {
                Err(error) if error.action() == Action::Retry => {
                    tracing::warn!(%error, topic = %self.source.topic, "reading is tried again");
                    std::thread::sleep(POLL_WAIT);
                }
                done => done?,
            }
        }
        Ok(())
    }

    fn turn(&self, paused: &mut bool) -> Result<(), Error> {
        self.obey()?;
        let room = self.items.capacity() > usize::from(self.source.partitions) + 1;
        if room == *paused {
            self.pause(!room).map_err(broker("pause or resume fetching"))?;
            *paused = !room;
        }
        self.round()?;
        self.flush();
        Ok(())
    }

    /// Takes all partitions without a group.
    fn take_all(&self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        let mut state = lock(&self.consumer.context().state);
        for partition in 0..self.source.partitions {
            let start = match state.starts.remove(&partition) {
                Some(seq) => Offset::Offset(i64::try_from(seq).unwrap_or(i64::MAX)),
                None => Offset::Beginning,
            };
            list.add_partition_offset(&self.source.name, i32::from(partition), start)?;
            lock(&self.consumer.context().owned).insert(partition, 0);
            state.held.insert(partition);
        }
        state.news.push_back(Item::Assigned((0..self.source.partitions).collect()));
        drop(state);
        self.consumer.assign(&list)?;
        self.consumer.pause(&list)
    }

    fn obey(&self) -> Result<(), Error> {
        while let Some(command) = self.next_command() {
            let done = match &command {
                Command::Seek { position, generation } => self.seek(*position, *generation),
                Command::Go(partitions) => self.go(partitions),
            };
            if let Err(error) = done {
                lock(&self.commands).push_front(command);
                return Err(error);
            }
        }
        Ok(())
    }

    fn next_command(&self) -> Option<Command> {
        lock(&self.commands).pop_front()
    }

    fn go(&self, partitions: &[u16]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        let mut state = lock(&self.consumer.context().state);
        for &partition in partitions.iter().filter(|partition| state.held.contains(partition)) {
            list.add_partition(&self.source.name, i32::from(partition));
        }
        self.consumer.resume(&list).map_err(broker("resume partitions"))?;
        state.held.retain(|partition| !partitions.contains(partition));
        Ok(())
    }

    /// Until it is done, records of the partition carry the generation of before, and the role's
    /// side drops them.
    fn seek(&self, position: Position, generation: u64) -> Result<(), Error> {
        let partition = position.partition;
        let offset = Offset::Offset(i64::try_from(position.seq).unwrap_or(i64::MAX));
        let begun = Instant::now();
        loop {
            let sought = self.consumer.seek(
                &self.source.name,
                i32::from(partition),
                offset,
                self.source.config.request_wait_max,
            );
            let owned = lock(&self.consumer.context().owned).contains_key(&partition);
            match sought {
                Ok(()) => break,
                Err(_) if !owned => return Ok(()),
                Err(_) if begun.elapsed() < SEEK_WAIT_MAX => std::thread::sleep(POLL_WAIT),
                Err(error) => return Err(broker("seek")(error)),
            }
        }
        let mut state = lock(&self.consumer.context().state);
        state.gathered.remove(&partition);
        state.generations.insert(partition, generation);
        Ok(())
    }

    /// Stops or starts fetching of all partitions that do not wait for their role.
    fn pause(&self, pause: bool) -> Result<(), KafkaError> {
        let held = lock(&self.consumer.context().state).held.clone();
        let mut list = TopicPartitionList::new();
        for &partition in lock(&self.consumer.context().owned).keys() {
            if !held.contains(&partition) {
                list.add_partition(&self.source.name, i32::from(partition));
            }
        }
        if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
    }

    /// Polls until nothing more is at hand or the round is full.
    fn round(&self) -> Result<(), Error> {
        let (mut records, mut bytes) = (0, 0);
        let mut wait = POLL_WAIT;
        while records < ROUND_RECORDS_MAX && bytes < ROUND_BYTES_MAX {
            match self.consumer.poll(wait) {
                None => return Ok(()),
                Some(Ok(message)) => {
                    self.source.health.set(true);
                    records += 1;
                    bytes += message.payload_len();
                    self.gather(&message);
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => return self.judge(error),
            }
        }
        Ok(())
    }

    fn gather(&self, message: &BorrowedMessage<'_>) {
        let partition = u16::try_from(message.partition()).unwrap_or(u16::MAX);
        let seq = u64::try_from(message.offset()).unwrap_or(0);
        let mut headers = Vec::new();
        if let Some(all) = message.headers() {
            headers.extend(all.iter().map(|one| (one.key, one.value.unwrap_or_default())));
        }
        let mut state = lock(&self.consumer.context().state);
        let gathered = state.gathered.entry(partition).or_default();
        gathered.batch.push(
            TopicId(0),
            Route::Partition(partition),
            message.key().unwrap_or_default(),
            &headers,
            message.payload().unwrap_or_default(),
        );
        match gathered.parts.last_mut() {
            Some((first, count, _)) if *first + u64::from(*count) == seq => *count += 1,
            _ => gathered.parts.push((seq, 1, message.timestamp().to_millis().unwrap_or(0))),
        }
    }

    /// Sends what was gathered, then what the last poll said of partitions.
    fn flush(&self) {
        let mut state = lock(&self.consumer.context().state);
        let gathered = std::mem::take(&mut state.gathered);
        let news = std::mem::take(&mut state.news);
        let generations = state.generations.clone();
        drop(state);
        for (partition, gathered) in gathered {
            let generation = generations.get(&partition).copied().unwrap_or(0);
            self.put(Item::Records(gathered.finish(partition), generation));
        }
        news.into_iter().for_each(|item| self.put(item));
    }

    /// Sends an item; the channel has room but for rare bursts of assignments.
    fn put(&self, mut item: Item) {
        loop {
            match self.items.try_send(item) {
                Ok(()) | Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(again)) => item = again,
            }
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            std::thread::sleep(POLL_WAIT);
        }
    }

    /// What passes by itself is waited for; a lost position stops the reader.
    fn judge(&self, error: KafkaError) -> Result<(), Error> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                let topic = &self.source.topic;
                Err(Error::Config(format!(
                    "the position of group {} in topic {topic} is no longer kept; records between \
                     it and the oldest kept one are gone: reset the position on purpose",
                    self.source.group
                )))
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Err(Error::Engine {
                what: format!("read topic {}", self.source.topic),
                cause: error.to_string(),
            }),
            // The state of the connection is told once, by `Health`.
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {
                Ok(())
            }
            _ => {
                tracing::warn!(%error, topic = %self.source.topic, "reading waits for the brokers");
                Ok(())
            }
        }
    }
}
