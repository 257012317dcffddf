//! The first half of the loop: route, append; partitions come and go, configurations are swapped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use yiwang_core::ids::Id;
use yiwang_core::ledger::Counters;
use yiwang_core::route::{PartitionState, Shard, Workspace};
use yiwang_log::{Action, Log, Position, RecordRef, Records, Writer};

use crate::careful::{Beginning, Care, Part, Trial, no_trying};
use crate::dispatch::{Assigned, Order};
use crate::finish::{Item, append_state};
use crate::generation::{Entry, Marker};
use crate::handle::Progress;
use crate::outputs::{Outputs, Topics};
use crate::partition::{Known, Partition, overdue};
use crate::shelf::{Shelf, bundle};
use crate::{Bundle, Config, Error, GROUP, metrics};

/// Pause before a log that is away is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Partition of topic `state` in which the bundles lie.
pub(crate) const BUNDLES: u16 = 0;

/// What a worker shares with the rest of the router.
pub(crate) struct Context {
    pub config: Config,
    pub log: Log,
    pub topics: Topics,
    pub bundles: watch::Receiver<Arc<Bundle>>,
    pub progress: Arc<Progress>,
    pub care: Arc<Care>,
    pub items: mpsc::Sender<Item>,
    pub drain: CancellationToken,
}

/// One worker, with the partitions that are its own.
pub(crate) struct Worker {
    config: Config,
    log: Log,
    writer: Writer,
    topics: Topics,
    bundles: watch::Receiver<Arc<Bundle>>,
    progress: Arc<Progress>,
    care: Arc<Care>,
    items: mpsc::Sender<Item>,
    drain: CancellationToken,
    partitions: BTreeMap<u16, Partition>,
    /// Configurations in use, and what lies in topic `state`, once it was looked at.
    known: HashMap<Id, Arc<Bundle>>,
    shelf: Option<Shelf>,
    outputs: Outputs,
    work: Workspace,
}

impl Worker {
    pub(crate) fn new(context: Context) -> Self {
        let Context { config, log, topics, bundles, progress, care, items, drain } = context;
        let outputs = Outputs::new(log.clone(), topics, config.cloud_events);
        Self {
            writer: log.writer(),
            config,
            log,
            topics,
            bundles,
            progress,
            care,
            items,
            drain,
            partitions: BTreeMap::new(),
            known: HashMap::new(),
            shelf: None,
            outputs,
            work: Workspace::default(),
        }
    }

    /// Does what it is told until there are no more orders.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> Result<(), Error> {
        loop {
            let order = tokio::select! {
                biased;
                order = orders.recv() => order,
                number = overdue(self.dirty(), self.config.snapshot_every) => {
                    self.snapshot_at_rest(number).await;
                    continue;
                }
            };
            let Some(order) = order else { break };
            let going = match order {
                Order::Records(records) => self.route(&records).await?,
                Order::Assign(partitions, answer) => match self.assign_all(partitions).await? {
                    Some(assigned) => answer.send(assigned).is_ok(),
                    None => false,
                },
                Order::Revoke(partitions, answer) => {
                    for &number in &partitions {
                        self.progress.remove(number);
                        metrics::record_gone(number);
                    }
                    self.hand_over(partitions).await && answer.send(()).is_ok()
                }
            };
            if !going {
                break;
            }
        }
        let own = self.partitions.keys().copied().collect();
        self.hand_over(own).await;
        Ok(())
    }

    /// Leaves partitions with a last snapshot, so that whoever has them next replays nothing; waits until it is safe,
    /// for only then is it of use to the next owner. False if finishing has failed.
    async fn hand_over(&mut self, numbers: Vec<u16>) -> bool {
        for number in numbers {
            self.snapshot_at_rest(number).await;
            self.partitions.remove(&number);
        }
        let (done, finished) = oneshot::channel();
        self.send(Item::Done(done)).await && finished.await.is_ok()
    }

    fn dirty(&self) -> impl Iterator<Item = (u16, Instant)> {
        let routed = self.partitions.iter().filter(|(_, it)| it.records_since_snapshot > 0);
        routed.map(|(number, partition)| (*number, partition.snapshot_at))
    }

    /// A snapshot of what was routed since the last one, without a batch that asks for it.
    async fn snapshot_at_rest(&mut self, number: u16) {
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        if let Some(generation) = partition.snapshot_at_rest() {
            // If finishing has failed, the next order finds it out.
            self.send(Item::Snapshot { partition: number, generation }).await;
        }
    }

    /// Hands something on to be finished; false if finishing has failed, which then says why.
    async fn send(&self, item: Item) -> bool {
        self.items.send(item).await.is_ok()
    }

    /// Routes one batch; false if there is no point in going on.
    async fn route(&mut self, records: &Records) -> Result<bool, Error> {
        let number = records.partition;
        let Some(mut partition) = self.partitions.remove(&number) else { return Ok(true) };
        let config = partition.bundle.epoch();
        let routed = self.route_in(&mut partition, records).await;
        let swapped = partition.bundle.epoch() != config;
        self.partitions.insert(number, partition);
        if swapped {
            self.forget();
        }
        routed
    }

    /// Lets go of configurations that no partition has in force or in front of it.
    fn forget(&mut self) {
        let Self { known, partitions, bundles, .. } = self;
        let mut used = HashSet::from([bundles.borrow().epoch()]);
        for partition in partitions.values() {
            used.insert(partition.bundle.epoch());
            used.extend(partition.pending.iter().map(|marker| marker.config));
        }
        known.retain(|config, _| used.contains(config));
    }

    async fn route_in(
        &mut self,
        partition: &mut Partition,
        records: &Records,
    ) -> Result<bool, Error> {
        let started = Instant::now();
        let end = records.end();
        // What lies below the target was perhaps routed before, with the configuration of then.
        let from = partition.next.max(first(records)).max(partition.target);
        self.announce(partition, from).await?;
        let config = partition.bundle.epoch();
        let careful = self.care.is_on() && partition.next < partition.target;
        match careful {
            true => self.step_with_care(partition, records).await?,
            false => self.step(partition, records, &mut records.iter().peekable(), u64::MAX)?,
        }
        partition.forwarded.add(&self.outputs.take_forwarded());
        let count = end.seq.saturating_sub(partition.next);
        partition.next = end.seq;
        partition.topic_epoch = Some(end.epoch);
        partition.records_since_snapshot += count;
        self.publish(partition, started);
        if !self.outputs.is_empty() {
            let batch = self.outputs.take(self.writer.spare());
            let receipt = self.writer.append(batch).await?;
            if !self.send(Item::Outputs(receipt)).await {
                return Ok(false);
            }
        }
        let devices = partition.state.devices_heard() as u64;
        let share = devices.saturating_mul(self.config.snapshot_records_per_device);
        let passed = careful && partition.next >= partition.target;
        if passed && self.progress.is_caught_up() {
            self.care.end();
        }
        // After a swap at once: no replay then needs more markers than are kept. After care: what it found out is kept.
        let due = partition.bundle.epoch() != config
            || passed
            || partition.records_since_snapshot >= self.config.snapshot_records_max.max(share)
            || partition.snapshot_at.elapsed() >= self.config.snapshot_every;
        if due {
            let generation = partition.snapshot(end);
            return Ok(self.send(Item::Snapshot { partition: end.partition, generation }).await);
        }
        Ok(true)
    }

    /// The step over a batch in parts; what is tried is safe before it is tried, and the partitions take turns.
    async fn step_with_care(
        &mut self,
        partition: &mut Partition,
        records: &Records,
    ) -> Result<(), Error> {
        let care = self.care.clone();
        let mut rest = records.iter().peekable();
        while let Some(first) = rest.peek().map(|record| record.seq) {
            let mut marked = care.marked.lock().await;
            let Part { to, mark } = partition.trial.part(first, records.end().seq);
            if let Some(trying) = mark {
                // Who wants to stop is not kept waiting by it.
                let _ = tokio::time::timeout(trying.calm(), self.drain.cancelled()).await;
                let other = marked.replace(partition.number);
                if let Some(other) = other.filter(|other| *other != partition.number) {
                    self.append_state(other, vec![no_trying()]).await?;
                }
                self.append_state(partition.number, vec![trying.entry()]).await?;
            }
            self.step(partition, records, &mut rest, to)?;
        }
        Ok(())
    }

    async fn append_state(&self, partition: u16, entries: Vec<Entry>) -> Result<(), Error> {
        append_state(&self.writer, self.topics.state, partition, entries).await
    }

    /// The step over the rest of a batch up to a record, cut where a marker of the replay stands.
    fn step<'r>(
        &mut self,
        partition: &mut Partition,
        records: &Records,
        rest: &mut Peekable<impl Iterator<Item = RecordRef<'r>>>,
        to: u64,
    ) -> Result<(), Error> {
        let place = (records.epoch, records.partition);
        self.outputs.of(records.partition);
        while let Some(next) = rest.peek().map(|record| record.seq).filter(|next| *next < to) {
            if partition.pending.front().is_some_and(|marker| marker.from <= next) {
                if let Some(marker) = partition.pending.pop_front() {
                    self.swap(partition, marker.config)?;
                }
                continue;
            }
            let stop = partition.pending.front().map_or(to, |marker| marker.from.min(to));
            let until = std::iter::from_fn(|| rest.next_if(|record| record.seq < stop));
            let bundle = partition.bundle.clone();
            self.outputs.under(&bundle);
            let Self { work, outputs, .. } = self;
            let Partition { state, trial, .. } = &mut *partition;
            let inputs = until.map(|record| (record.seq, trial.input(&record)));
            let before = state.clock();
            state.route_batch(bundle.shared(), place, inputs, work, outputs);
            let turn = state.turn(bundle.shared());
            if let Some((turn, now)) = turn.zip(state.clock()) {
                outputs.pass(turn, before, now);
            }
        }
        Ok(())
    }

    /// Makes a new configuration's marker safe before the first record is routed with it.
    async fn announce(&mut self, partition: &mut Partition, from: u64) -> Result<(), Error> {
        let wanted = self.bundles.borrow().clone();
        let last = partition.pending.back().map_or(partition.bundle.epoch(), |m| m.config);
        if last == wanted.epoch() {
            return Ok(());
        }
        let from = from.max(partition.pending.back().map_or(0, |marker| marker.from));
        self.mark(partition, from, wanted).await
    }

    async fn mark(
        &mut self,
        partition: &mut Partition,
        from: u64,
        bundle: Arc<Bundle>,
    ) -> Result<(), Error> {
        self.keep(&bundle).await?;
        let entry = partition.mark(Marker { from, config: bundle.epoch() });
        self.append_state(partition.number, vec![entry]).await
    }

    /// Sees to it that a configuration's files lie in topic `state`.
    async fn keep(&mut self, bundle: &Arc<Bundle>) -> Result<(), Error> {
        let config = bundle.epoch();
        self.known.insert(config, bundle.clone());
        let entries = self.shelf.get_or_insert_default().put(config, || bundle.encode());
        if entries.is_empty() { Ok(()) } else { self.append_state(BUNDLES, entries).await }
    }

    /// Moves a partition's state to another configuration.
    fn swap(&mut self, partition: &mut Partition, config: Id) -> Result<(), Error> {
        if config == partition.bundle.epoch() {
            return Ok(());
        }
        let Some(new) = self.known.get(&config).cloned() else {
            tracing::warn!(%config, "configuration of a marker is gone, the one in force stays");
            return Ok(());
        };
        let old = std::mem::replace(&mut partition.bundle, new.clone());
        let number = partition.number;
        self.outputs.of(number);
        self.outputs.under(&new);
        let moved = partition.state.swap(old.shared(), new.shared(), &mut self.outputs);
        metrics::record_swap();
        moved.map_err(|source| Error::Snapshot { partition: number, source })
    }

    /// Takes over partitions; `None` when told to drain while the log was away.
    async fn assign_all(&mut self, numbers: Vec<u16>) -> Result<Option<Vec<Assigned>>, Error> {
        let assign = async {
            let committed = retry(&self.drain, || self.log.committed("raw", GROUP)).await?;
            let mut assigned = Vec::new();
            for &number in &numbers {
                let committed = committed.iter().find(|position| position.partition == number);
                assigned.push(self.assign(number, committed.copied()).await?);
            }
            Ok(Some(assigned))
        };
        match assign.await {
            Err(Error::Log(error)) if error.action() == Action::Retry => Ok(None),
            done => done,
        }
    }

    /// Loads a partition: newest generation, its configuration, the markers after it; says where to read on.
    async fn assign(
        &mut self,
        number: u16,
        committed: Option<Position>,
    ) -> Result<Assigned, Error> {
        let entries = retry(&self.drain, || self.log.compacted("state", number)).await?;
        let known = Known::of(&entries);
        let (seq, config) = known.start(committed.map_or(0, |position| position.seq));
        let current = self.bundles.borrow().clone();
        let ahead = known.pending(seq, config.unwrap_or(current.epoch()));
        self.fetch(ahead.iter().map(|marker| marker.config).chain(config)).await?;
        self.keep(&current).await?;
        let bundle = config.and_then(|config| self.known.get(&config)).unwrap_or(&current).clone();
        self.outputs.of(number);
        self.outputs.under(&bundle);
        let shard = Shard { number, of: self.log.partitions("raw") };
        let state = match &known.generation {
            None => PartitionState::new(bundle.shared(), shard),
            Some(g) => PartitionState::restore(&g.bytes, bundle.shared(), shard, &mut self.outputs)
                .map_err(|source| Error::Snapshot { partition: number, source })?,
        };
        let target = retry(&self.drain, || self.log.head("raw", number)).await?;
        let topic_epoch = known.generation.as_ref().map(|generation| generation.topic_epoch);
        let trial = self.begin_life(number, seq, known.trial.clone()).await?;
        let mut partition = Partition {
            number,
            state,
            trial,
            next: seq,
            topic_epoch: topic_epoch.or(committed.map(|position| position.epoch)),
            generation: known.generation.as_ref().map_or(0, |generation| generation.number),
            pending: known.pending(seq, bundle.epoch()),
            markers: known.markers,
            target,
            records_since_snapshot: 0,
            snapshot_at: Instant::now(),
            forwarded: known.generation.map(|generation| generation.forwarded).unwrap_or_default(),
            published: Counters::new(),
            bundle,
        };
        let first_start = partition.markers.is_empty();
        if first_start {
            self.mark(&mut partition, seq, current).await?;
        } else {
            self.announce(&mut partition, target.max(seq)).await?;
        }
        tracing::info!(partition = number, seq, target, "partition assigned");
        partition.forwarded.add(&self.outputs.take_forwarded());
        partition.published = partition.counted();
        let epoch = partition.topic_epoch;
        let start = epoch.map(|epoch| Position { epoch, partition: number, seq });
        let row = partition.row();
        self.partitions.insert(number, partition);
        Ok(Assigned { number, start, row })
    }

    /// Notes that a life begins on a partition, and how.
    async fn begin_life(&self, number: u16, at: u64, mut trial: Trial) -> Result<Trial, Error> {
        let (beginning, entries) = trial.begin(at, self.config.attempts_max);
        self.append_state(number, entries).await?;
        match beginning {
            Beginning::Usual => return Ok(trial),
            Beginning::Careful => {
                tracing::warn!(
                    partition = number,
                    at,
                    "earlier lives got nowhere, going with care"
                );
            }
            Beginning::Condemning(seq) => {
                tracing::error!(
                    partition = number,
                    seq,
                    "a record ended the process, it is put aside"
                );
            }
        }
        self.care.begin();
        Ok(trial)
    }

    /// Reads configurations that a replay needs and that are not loaded.
    async fn fetch(&mut self, configs: impl Iterator<Item = Id>) -> Result<(), Error> {
        let current = self.bundles.borrow().clone();
        self.known.insert(current.epoch(), current);
        let missing: Vec<Id> = configs.filter(|config| !self.known.contains_key(config)).collect();
        if missing.is_empty() && self.shelf.is_some() {
            return Ok(());
        }
        let entries = retry(&self.drain, || self.log.compacted("state", BUNDLES)).await?;
        self.shelf = Some(Shelf::of(&entries));
        for config in missing {
            match bundle(&entries, config).as_deref().and_then(Bundle::decode) {
                Some(bundle) if bundle.epoch() == config => {
                    self.known.insert(config, bundle);
                }
                _ => tracing::warn!(
                    %config,
                    "configuration of an earlier run is gone, the replay uses the present one"
                ),
            }
        }
        Ok(())
    }

    fn publish(&self, partition: &mut Partition, started: Instant) {
        let counters = partition.counted();
        let added = counters.diff(&partition.published);
        metrics::record_batch(&added, started.elapsed().as_secs_f64());
        partition.published = counters;
        let left = partition.target.saturating_sub(partition.next);
        metrics::record_replay(partition.number, left);
        self.progress.put(partition.number, partition.row());
    }
}

/// Asks the log until it answers (brokers that are away come back) or the worker is to drain.
pub(crate) async fn retry<T, F>(
    drain: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, yiwang_log::Error>>,
{
    loop {
        match ask().await {
            Err(error) if error.action() == Action::Retry && !drain.is_cancelled() => {
                tracing::warn!(%error, "the log is away; asking again");
            }
            answered => return Ok(answered?),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_AFTER) => {}
            () = drain.cancelled() => {}
        }
    }
}

fn first(records: &Records) -> u64 {
    records.iter().next().map_or(0, |record| record.seq)
}
