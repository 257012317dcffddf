//! One reader, several workers: who owns which partition of this process.
//!
//! Invariants: a partition has one worker, so its records stay in order; a partition that was taken away is handed over by
//! its worker before the reader says anything further; progress of newly assigned partitions is shown all at once.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use yiwang_log::{Action, BatchLimit, Event, Position, Reader, Records};

use crate::Error;
use crate::handle::{Progress, Row};

/// Batches that wait for a busy worker while the others are given theirs.
const AHEAD_MAX: usize = 2;

/// What a worker is told; its partitions only.
pub(crate) enum Order {
    Records(Records),
    Assign(Vec<u16>, oneshot::Sender<Vec<Assigned>>),
    Revoke(Vec<u16>, oneshot::Sender<()>),
}

/// A partition that a worker has loaded.
pub(crate) struct Assigned {
    pub number: u16,
    /// Where to read on; `None` where the log knows it.
    pub start: Option<Position>,
    pub row: Row,
}

pub(crate) struct Dispatcher {
    reader: Reader,
    limit: BatchLimit,
    progress: Arc<Progress>,
    workers: Vec<mpsc::Sender<Order>>,
}

/// A worker has ended: it says why.
struct Ended;

impl Dispatcher {
    pub(crate) fn new(reader: Reader, limit: BatchLimit, progress: Arc<Progress>) -> Self {
        Self { reader, limit, progress, workers: Vec::new() }
    }

    /// The orders of one more worker.
    pub(crate) fn worker(&mut self) -> mpsc::Receiver<Order> {
        let (sender, orders) = mpsc::channel(AHEAD_MAX);
        self.workers.push(sender);
        orders
    }

    /// Reads until told to drain, the log closes or a worker ends; the workers then finish what they were given.
    pub(crate) async fn run(&mut self, drain: CancellationToken) -> Result<(), Error> {
        let read = self.read(drain).await;
        self.workers.clear();
        read
    }

    async fn read(&mut self, drain: CancellationToken) -> Result<(), Error> {
        loop {
            let event = tokio::select! {
                biased;
                () = drain.cancelled() => return Ok(()),
                event = self.reader.next(self.limit) => event?,
            };
            let given = match event {
                Event::Records(records) if records.is_empty() => return Ok(()),
                Event::Records(records) => {
                    let worker = self.worker_of(records.partition);
                    self.workers[worker].send(Order::Records(records)).await.map_err(|_| Ended)
                }
                Event::Assigned(partitions) => self.assign(partitions).await?,
                Event::Revoked(partitions) => self.revoke(partitions).await,
            };
            if let Err(Ended) = given {
                return Ok(());
            }
        }
    }

    fn worker_of(&self, partition: u16) -> usize {
        usize::from(partition) % self.workers.len()
    }

    /// Each worker with those of the partitions that are its own.
    fn shares(&self, partitions: &[u16]) -> Vec<(mpsc::Sender<Order>, Vec<u16>)> {
        let share = |(index, worker): (usize, &mpsc::Sender<Order>)| {
            let own = partitions.iter().copied().filter(|number| self.worker_of(*number) == index);
            (worker.clone(), own.collect::<Vec<_>>())
        };
        let shares = self.workers.iter().enumerate().map(share);
        shares.filter(|(_, own)| !own.is_empty()).collect()
    }

    async fn assign(&mut self, partitions: Vec<u16>) -> Result<Result<(), Ended>, Error> {
        let mut answers = Vec::new();
        for (worker, own) in self.shares(&partitions) {
            let (answer, assigned) = oneshot::channel();
            if worker.send(Order::Assign(own, answer)).await.is_err() {
                return Ok(Err(Ended));
            }
            answers.push(assigned);
        }
        let mut ready = Vec::new();
        for answer in answers {
            let Ok(assigned) = answer.await else { return Ok(Err(Ended)) };
            for Assigned { number, start, row } in assigned {
                match start.map_or(Ok(()), |position| self.reader.seek(position)) {
                    // Taken from us again while it was loaded: the reader says so next.
                    Err(error) if error.action() == Action::Fenced => {}
                    done => {
                        done?;
                        ready.push((number, row));
                    }
                }
            }
        }
        // The first one alone would look like a router that has caught up.
        self.progress.put_all(ready);
        Ok(Ok(()))
    }

    async fn revoke(&self, partitions: Vec<u16>) -> Result<(), Ended> {
        let mut answers = Vec::new();
        for (worker, own) in self.shares(&partitions) {
            let (answer, dropped) = oneshot::channel();
            worker.send(Order::Revoke(own, answer)).await.map_err(|_| Ended)?;
            answers.push(dropped);
        }
        for dropped in answers {
            dropped.await.map_err(|_| Ended)?;
        }
        Ok(())
    }
}

/// Waits for all workers; the first error ends the rest, as soon as they look for orders.
pub(crate) async fn join(mut workers: JoinSet<Result<(), Error>>) -> Result<(), Error> {
    while let Some(ended) = workers.join_next().await {
        match ended {
            Ok(done) => done?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
