//! How far the centre's reading of signals is behind, by partition.
//!
//! It is counted beside the intake and not by it: a write that hangs is when it must be told.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use yiwang_core::record::Millis;
use yiwang_log::{Log, Position};

use crate::intake::TOPIC;
use crate::time::Clock;
use crate::{Error, metrics};

/// How often it is counted.
const EVERY: Duration = Duration::from_secs(5);

/// Where the reading stands; written once a batch.
pub(crate) struct Lag {
    log: Log,
    places: Mutex<Vec<Place>>,
}

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Next signal to read.
    next: u64,
    /// What is not read yet came after this.
    since: Millis,
}

impl Place {
    /// Signals not read yet at `now`, and the most that the oldest of them can have waited.
    fn look(&mut self, head: u64, now: Millis) -> (u64, Millis) {
        let unread = head.saturating_sub(self.next);
        if unread == 0 {
            // A partition may rest for days: the next signal has not waited for them.
            self.since = self.since.max(now);
        }
        (unread, (now - self.since).max(0))
    }
}

impl Lag {
    /// Of a reading that begins at these positions; what waits then counts from `now`.
    pub(crate) fn new(log: Log, positions: &[Position], now: Millis) -> Self {
        let next = |partition| positions.iter().find(|at| at.partition == partition);
        let place = |partition| Place { next: next(partition).map_or(0, |at| at.seq), since: now };
        let places = (0..log.partitions(TOPIC)).map(place).collect();
        Self { log, places: Mutex::new(places) }
    }

    /// Signals before `end`, the newest of them received at `received_at`, are done.
    pub(crate) fn reached(&self, end: Position, received_at: Option<Millis>) {
        if let Some(place) = self.places().get_mut(usize::from(end.partition)) {
            place.next = end.seq;
            place.since = received_at.map_or(place.since, |at| place.since.max(at));
        }
    }

    /// Counts until told to stop.
    pub(crate) async fn watch(&self, stop: &CancellationToken) -> Result<(), Error> {
        let clock = Clock::default();
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.count(&clock).await,
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn count(&self, clock: &Clock) {
        for partition in 0..self.log.partitions(TOPIC) {
            // What was told before stands until the brokers answer.
            let Ok(head) = self.log.head(TOPIC, partition).await else { return };
            if let Some(place) = self.places().get_mut(usize::from(partition)) {
                let (unread, age_ms) = place.look(head, clock.now());
                metrics::record_lag(partition, unread, age_ms as f64 / 1_000.0);
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        // Places are written whole, so a panic elsewhere leaves none half written.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_from_the_last_rest() {
        let mut place = Place { next: 5, since: 1_000 };
        assert_eq!(place.look(5, 90_000), (0, 0), "it rests");
        assert_eq!(place.look(7, 95_000), (2, 5_000), "at most since it was seen at rest");
        assert_eq!(place.look(9, 99_000), (4, 9_000), "it gets older while nothing is read");
        assert_eq!(place.look(9, 80_000), (4, 0), "a clock that is behind makes no negative age");
    }

    #[tokio::test]
    async fn reading_makes_it_younger() {
        let topics = yiwang_log::standard_topics(2);
        let log = Log::open_memory(yiwang_log::MemoryConfig::default(), topics).unwrap();
        let at = |partition, seq| Position { epoch: 0, partition, seq };
        let lag = Lag::new(log, &[at(1, 3)], 1_000);
        assert_eq!(lag.places()[0], Place { next: 0, since: 1_000 });
        lag.reached(at(1, 9), Some(4_000));
        lag.reached(at(1, 10), None);
        lag.reached(at(1, 11), Some(3_000));
        assert_eq!(lag.places()[1], Place { next: 11, since: 4_000 });
    }
}
