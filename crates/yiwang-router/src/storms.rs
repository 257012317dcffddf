//! The second stage: reads topic `lifecycle`, folds absences of whole groups, appends what people are told to `signals`.
//!
//! A partition of `raw` sees only its share of a group; here all of a group lie in one partition, in order. Its rows bring
//! all that the folding needs of the configuration, so a replay is the same under any. Invariants: a batch's signals are
//! safe before its state is written, and `lifecycle` is committed only up to a state that is safe; a group that is out for
//! days lies in that state and holds back no retention. There is little to do here, so one step follows the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use yiwang_core::ledger::Counters;
use yiwang_core::outage::Folding;
use yiwang_core::record::Signal;
use yiwang_core::route::Sink as _;
use yiwang_log::{Action, Committer, Event, Log, Position, Reader, Records, Start, Writer};
use yiwang_proto::{Lifecycle, lifecycle_from_bytes};

use crate::finish::append_state;
use crate::forward::Forwarded;
use crate::generation::{Generation, Of};
use crate::handle::{Progress, StormRow};
use crate::outputs::{Outputs, Topics};
use crate::partition::overdue;
use crate::work::retry;
use crate::{Bundle, Config, Error, STORMS, metrics};

/// The stage with the partitions that are this process's.
pub(crate) struct Storms {
    config: Config,
    log: Log,
    writer: Writer,
    topics: Topics,
    /// Routes may send signals further: the table in force when they are told decides.
    bundles: watch::Receiver<Arc<Bundle>>,
    progress: Arc<Progress<StormRow>>,
    drain: CancellationToken,
    partitions: BTreeMap<u16, Partition>,
    outputs: Outputs,
    told: Vec<Signal>,
}

/// A partition of `lifecycle` while it is ours.
struct Partition {
    folding: Folding,
    forwarded: Forwarded,
    /// Epoch of the topic, once known.
    epoch: u32,
    /// Next record to fold.
    next: u64,
    /// Number of the newest generation.
    generation: u64,
    records_since_snapshot: u64,
    snapshot_at: Instant,
    /// What was already published of the counters.
    published: Counters,
}

impl Storms {
    pub(crate) fn new(
        config: Config,
        (log, topics, bundles, progress): (
            Log,
            Topics,
            watch::Receiver<Arc<Bundle>>,
            Arc<Progress<StormRow>>,
        ),
        drain: CancellationToken,
    ) -> Self {
        Self {
            outputs: Outputs::new(log.clone(), topics, config.cloud_events),
            writer: log.writer(),
            config,
            log,
            topics,
            bundles,
            progress,
            drain,
            partitions: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// Folds until told to drain; then every signal is safe and every partition has a fresh snapshot.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let mut reader = self.log.reader("lifecycle", STORMS, Start::Committed).await?;
        let committer = reader.committer();
        loop {
            let event = tokio::select! {
                biased;
                () = self.drain.cancelled() => break,
                event = reader.next(self.config.batch) => event?,
                number = overdue(self.dirty(), self.config.snapshot_every) => {
                    self.snapshot_at_rest(number, &committer).await?;
                    continue;
                }
            };
            match event {
                Event::Records(records) if records.is_empty() => break,
                Event::Records(records) => self.fold(&records, &committer).await?,
                Event::Assigned(numbers) => match self.assign(&mut reader, &numbers).await {
                    // Told to drain while the log was away.
                    Err(Error::Log(error)) if error.action() == Action::Retry => break,
                    done => done?,
                },
                Event::Revoked(numbers) => self.hand_over(numbers, &committer).await?,
            }
        }
        let own = self.partitions.keys().copied().collect();
        self.hand_over(own, &committer).await
    }

    async fn fold(&mut self, records: &Records, committer: &Committer) -> Result<(), Error> {
        let (number, end) = (records.partition, records.end());
        let Some(mut partition) = self.partitions.remove(&number) else { return Ok(()) };
        self.step(&mut partition, records);
        partition.forwarded.add(&self.outputs.take_forwarded());
        partition.records_since_snapshot += end.seq.saturating_sub(partition.next);
        (partition.epoch, partition.next) = (end.epoch, end.seq);
        if !self.outputs.is_empty() {
            let batch = self.outputs.take(self.writer.spare());
            self.writer.append(batch).await?.safe().await?;
        }
        self.publish(number, &mut partition);
        if partition.records_since_snapshot >= self.config.snapshot_records_max
            || partition.snapshot_at.elapsed() >= self.config.snapshot_every
        {
            self.snapshot(&mut partition, end, committer).await?;
        }
        self.partitions.insert(number, partition);
        Ok(())
    }

    fn step(&mut self, partition: &mut Partition, records: &Records) {
        let Self { bundles, outputs, told, .. } = self;
        outputs.under(&bundles.borrow().clone());
        for record in records.iter() {
            match lifecycle_from_bytes(record.value) {
                Ok(Some(Lifecycle::Time(passed))) => partition.folding.pass(passed, told),
                Ok(Some(Lifecycle::Absence { partition: of, absence })) => {
                    partition.folding.take(of, *absence, told);
                }
                // Of an axis that nothing is folded of.
                Ok(None) => {}
                Err(error) => {
                    let (seq, number) = (record.seq, records.partition);
                    tracing::error!(seq, partition = number, %error, "unreadable row of lifecycle");
                }
            }
            told.drain(..).for_each(|signal| outputs.signal(&signal));
        }
    }

    /// Loads partitions, each from its newest generation on.
    async fn assign(&mut self, reader: &mut Reader, numbers: &[u16]) -> Result<(), Error> {
        let committed = retry(&self.drain, || self.log.committed("lifecycle", STORMS)).await?;
        let mut ready = Vec::new();
        for &number in numbers {
            let entries = retry(&self.drain, || self.log.compacted("state", number)).await?;
            let known = Generation::newest(&entries, Of::Storms);
            let folding = known.as_ref().map(|known| Folding::decode(&known.bytes)).transpose();
            let folding =
                folding.map_err(|source| Error::Snapshot { partition: number, source })?;
            let start = match &known {
                Some(Generation { topic_epoch: epoch, seq, .. }) => {
                    Some(Position { epoch: *epoch, partition: number, seq: *seq })
                }
                None => committed.iter().find(|position| position.partition == number).copied(),
            };
            match start.map_or(Ok(()), |position| reader.seek(position)) {
                // Taken from us again while it was loaded: the reader says so next.
                Err(error) if error.action() == Action::Fenced => continue,
                done => done?,
            }
            let mut partition = Partition {
                folding: folding.unwrap_or_default(),
                epoch: start.map_or(0, |position| position.epoch),
                next: start.map_or(0, |position| position.seq),
                generation: known.as_ref().map_or(0, |known| known.number),
                forwarded: known.map(|known| known.forwarded).unwrap_or_default(),
                records_since_snapshot: 0,
                snapshot_at: Instant::now(),
                published: Counters::new(),
            };
            partition.published = partition.counted();
            ready.push((number, partition.row()));
            self.partitions.insert(number, partition);
        }
        // The first one alone would look like a stage that has caught up.
        self.progress.put_all(ready);
        Ok(())
    }

    /// Leaves partitions with a last snapshot.
    async fn hand_over(&mut self, numbers: Vec<u16>, committer: &Committer) -> Result<(), Error> {
        for &number in &numbers {
            self.progress.remove(number);
            metrics::record_held(number, 0);
        }
        for number in numbers {
            self.snapshot_at_rest(number, committer).await?;
            self.partitions.remove(&number);
        }
        Ok(())
    }

    fn dirty(&self) -> impl Iterator<Item = (u16, Instant)> {
        let folded = self.partitions.iter().filter(|(_, it)| it.records_since_snapshot > 0);
        folded.map(|(number, partition)| (*number, partition.snapshot_at))
    }

    async fn snapshot_at_rest(&mut self, number: u16, committer: &Committer) -> Result<(), Error> {
        let Some(mut partition) = self.partitions.remove(&number) else { return Ok(()) };
        if partition.records_since_snapshot > 0 {
            let position =
                Position { epoch: partition.epoch, partition: number, seq: partition.next };
            self.snapshot(&mut partition, position, committer).await?;
        }
        self.partitions.insert(number, partition);
        Ok(())
    }

    async fn snapshot(
        &self,
        partition: &mut Partition,
        end: Position,
        committer: &Committer,
    ) -> Result<(), Error> {
        partition.records_since_snapshot = 0;
        partition.snapshot_at = Instant::now();
        // Its next owner is at work, and writes its own.
        if !committer.is_owner(end.partition) {
            return Ok(());
        }
        partition.generation += 1;
        let generation = Generation {
            of: Of::Storms,
            number: partition.generation,
            topic_epoch: end.epoch,
            seq: end.seq,
            config: self.bundles.borrow().epoch(),
            bytes: partition.folding.encode(),
            forwarded: partition.forwarded.clone(),
        };
        let (state, entries) = (self.topics.state, generation.entries());
        append_state(&self.writer, state, end.partition, entries).await?;
        match committer.commit(end).await {
            // The next owner replays from its own generation.
            Err(error) if error.action() == Action::Fenced => Ok(()),
            done => Ok(done?),
        }
    }

    fn publish(&self, number: u16, partition: &mut Partition) {
        let counters = partition.counted();
        metrics::record_rows(&counters.diff(&partition.published));
        metrics::record_held(number, partition.folding.held());
        partition.published = counters;
        self.progress.put(number, partition.row());
    }
}

impl Partition {
    fn counted(&self) -> Counters {
        let mut counters = self.folding.counts().to_ledger(0);
        self.forwarded.count(&mut counters);
        counters
    }

    fn row(&self) -> StormRow {
        StormRow {
            counts: self.folding.counts().clone(),
            held: self.folding.held(),
            waiting: self.folding.waiting(),
            forwarded: self.forwarded.clone(),
            next: self.next,
        }
    }
}
