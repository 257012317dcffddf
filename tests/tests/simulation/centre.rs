//! The centre's loop around the real writer and a SQLite file, with crashes at each of its steps.
//!
//! The store lives on threads and in real time. So each call of it runs on a runtime of its own while the simulation,
//! and with it the paused clock, stands still: what the loop sees is the same in every run of a seed.

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use yiwang_centre::{Config, Error, InForce, Parts, Writer};
use yiwang_core::district::District;
use yiwang_core::incident::Terms;
use yiwang_core::record::Signal;
use yiwang_log::{BatchLimit, Event, Log, Position, Records, Start};
use yiwang_proto::signal_from_bytes;
use yiwang_store::Store;

const TOPIC: &str = "signals";

static OUTSIDE: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Runs something in real time and lets the simulation wait for it.
pub fn outside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = sync_channel(1);
    OUTSIDE.spawn(async move { sender.send(work.await).unwrap() });
    receiver.recv().expect("the work does not panic")
}

/// A centre that can be started again and again on the same file.
#[derive(Clone)]
pub struct Centre {
    pub path: PathBuf,
    pub district: Arc<District>,
    pub log: Log,
}

/// Where a centre dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    BeforeTransaction,
    /// After so many polls of it.
    InTransaction(u32),
    BeforeCommit,
    AfterCommit,
}

impl Death {
    fn pick(rng: &mut SmallRng) -> Option<Self> {
        Some(match rng.random_range(0..24) {
            0 => Self::BeforeTransaction,
            1 => Self::InTransaction(rng.random_range(1..40)),
            2 => Self::BeforeCommit,
            3 => Self::AfterCommit,
            _ => return None,
        })
    }
}

/// An open centre.
pub struct Live {
    pub store: Store,
    pub writer: Arc<Writer>,
}

impl Centre {
    /// Opens the store and takes the lease, as after a crash of whoever held it.
    pub fn open(&self) -> Live {
        let store_config = yiwang_store::Config::sqlite(&self.path);
        let (log, district) = (self.log.clone(), self.district.clone());
        outside(async move {
            let store = Store::open(&store_config).await.unwrap();
            let in_force = InForce { district, terms: Arc::new(Terms::default()) };
            let parts = Parts { log, store, in_force: Arc::new(ArcSwap::from_pointee(in_force)) };
            let stop = CancellationToken::new();
            let writer = Arc::new(Writer::open(&config(), &parts, &stop).await.unwrap());
            Live { store: parts.store, writer }
        })
    }

    /// Reads signals for ever, dying and starting again as the seed wills; only the log's own end ends it.
    pub async fn keep_running(self, mut rng: SmallRng) {
        let mut last: Option<Live> = None;
        loop {
            let live = self.open();
            if let Some(last) = last.take() {
                last.is_fenced();
            }
            if self.run(&live, Some(&mut rng)).await.is_err() {
                return;
            }
            last = Some(live);
            sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
        }
    }

    /// Reads everything that is there.
    pub async fn drain(&self) -> Live {
        let live = self.open();
        self.run(&live, None).await.unwrap();
        live
    }

    async fn run(
        &self,
        live: &Live,
        mut faults: Option<&mut SmallRng>,
    ) -> Result<(), yiwang_log::Error> {
        let start = Start::At(live.positions());
        let mut reader = self.log.reader(TOPIC, "centre", start).await?;
        let committer = reader.committer();
        let limit = BatchLimit { records_max: 8, ..BatchLimit::default() };
        while faults.is_some() || !self.is_read(live).await? {
            let records = match reader.next(limit).await? {
                Event::Records(records) if records.is_empty() => {
                    return Err(yiwang_log::Halt::Crashed.into());
                }
                Event::Records(records) => records,
                Event::Assigned(partitions) => {
                    for position in live.positions() {
                        if partitions.contains(&position.partition) {
                            reader.seek(position)?;
                        }
                    }
                    continue;
                }
                Event::Revoked(_) => continue,
            };
            let end = records.end();
            let death = faults.as_mut().and_then(|rng| Death::pick(rng));
            match death {
                Some(Death::BeforeTransaction) => return Ok(()),
                Some(Death::InTransaction(polls)) => {
                    live.begin_signals(&records, polls);
                    return Ok(());
                }
                _ => live.signals(&records),
            }
            if let Some(Death::BeforeCommit) = death {
                return Ok(());
            }
            committer.commit(end).await?;
            if let Some(Death::AfterCommit) = death {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn is_read(&self, live: &Live) -> Result<bool, yiwang_log::Error> {
        let positions = live.positions();
        for partition in 0..self.log.partitions(TOPIC) {
            let head = self.log.head(TOPIC, partition).await?;
            let at = positions.iter().find(|position| position.partition == partition);
            if at.map_or(0, |position| position.seq) < head {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Live {
    fn positions(&self) -> Vec<Position> {
        let store = self.store.clone();
        let stored = outside(async move { store.positions(TOPIC).await.unwrap() });
        let position = |at: yiwang_store::Position| Position {
            epoch: at.epoch,
            partition: at.partition,
            seq: at.seq,
        };
        stored.into_iter().map(position).collect()
    }

    fn signals(&self, records: &Records) {
        let (writer, signals, at) = (self.writer.clone(), decoded(records), position(records));
        outside(async move { writer.signals(&signals, Some(at)).await.map(|_| ()) }).unwrap();
    }

    /// Begins the transaction and abandons it at some point, perhaps only after its commit.
    fn begin_signals(&self, records: &Records, polls: u32) {
        let (writer, signals, at) = (self.writer.clone(), decoded(records), position(records));
        outside(async move {
            let work = pin!(writer.signals(&signals, Some(at)));
            let _ = Abandoned { work, polls }.await;
        });
    }

    /// A centre that was thought dead and wakes up writes nothing any more.
    fn is_fenced(&self) {
        let writer = self.writer.clone();
        let position = yiwang_store::Position { epoch: 1, partition: 0, seq: 0 };
        let ended = outside(async move { writer.signals(&[], Some(position)).await });
        assert!(matches!(ended, Err(Error::Fenced)), "an old centre wrote: {ended:?}");
    }
}

/// Work that is dropped after so many polls.
struct Abandoned<'a, F> {
    work: Pin<&'a mut F>,
    polls: u32,
}

impl<F: Future> Future for Abandoned<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match self.work.as_mut().poll(context) {
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            polled => polled.map(Some),
        }
    }
}

fn position(records: &Records) -> yiwang_store::Position {
    let end = records.end();
    yiwang_store::Position { epoch: end.epoch, partition: end.partition, seq: end.seq }
}

fn decoded(records: &Records) -> Vec<Signal> {
    records.iter().map(|record| signal_from_bytes(record.value).unwrap()).collect()
}

fn config() -> Config {
    Config {
        name: "sim".to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        batch_signals_max: 8,
        unsent_changes_max: 1_000,
        unsent_bytes_max: 1 << 20,
        heartbeat: Duration::from_secs(10),
        streams_max: 1,
        lease: Duration::from_secs(10),
        outbox_age_max: Duration::from_hours(24),
        token_key: [7; 32],
        build: String::new(),
    }
}
