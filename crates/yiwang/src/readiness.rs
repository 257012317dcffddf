//! Whether this process takes work, and if not, what it waits for.
//!
//! What lies outside of it (brokers, the database, sources) is looked at as long as it runs. Nothing is done about what
//! is away: each part waits for it by itself. This file only says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use yiwang_gateway::SourceState;
use yiwang_log::{Log, Space, Status};
use yiwang_store::Store;

use crate::metrics;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the store may take to answer a look.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// What this process waits for before it takes work; empty means ready.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<BTreeMap<String, String>>);

impl Readiness {
    /// Says that something is awaited, and why.
    pub fn wait(&self, part: &str, why: impl Into<String>) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(part.to_owned(), why.into());
    }

    /// Says that it is there.
    pub fn reached(&self, part: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// What is awaited still.
    pub fn missing(&self) -> Vec<String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().map(|(part, why)| format!("{part}: {why}")).collect()
    }

    fn set(&self, part: &str, why: Option<String>) {
        match why {
            Some(why) => self.wait(part, why),
            None => self.reached(part),
        }
    }
}

/// What this process depends on once it runs.
pub struct Outside {
    /// The log.
    pub log: Log,
    /// The store, where this process has it.
    pub store: Option<Store>,
    /// The gateway, where it runs here.
    pub gateway: Option<yiwang_gateway::Handle>,
}

impl Outside {
    /// Tells the readiness what is away, until stopped.
    pub async fn watch(self, readiness: Arc<Readiness>, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = stop.cancelled() => return,
            }
            let status = self.log.status();
            if let Some(space) = status.space {
                metrics::record_disk(space);
            }
            readiness.set("log", log_is_away(status));
            for (name, state) in self.gateway.iter().flat_map(|gateway| gateway.sources()) {
                readiness.set(&format!("source {name}"), source_is_away(state));
            }
            readiness.set("store", self.store_is_away().await);
        }
    }

    async fn store_is_away(&self) -> Option<String> {
        let asked = self.store.as_ref()?.positions("signals");
        match tokio::time::timeout(ANSWER_WAIT_MAX, asked).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("it cannot be reached ({error})")),
            Err(_) => Some(format!("no answer in {} s", ANSWER_WAIT_MAX.as_secs())),
        }
    }
}

fn log_is_away(status: Status) -> Option<String> {
    if let Some(why) = status.halted {
        return Some(why);
    }
    if !status.connected {
        let text = "Kafka takes no records; nothing is acknowledged until it is back";
        return Some(text.to_owned());
    }
    let Status { full, held, space, .. } = status;
    let mut reasons = Vec::new();
    if let Some(space) = space.filter(|_| !held.is_empty()) {
        let Space { free, reserve } = space;
        let why = format!("the disk has {free} bytes free, its reserve is {reserve}");
        // They go on when a little more is free than what made them wait.
        let (intake, rest) = space.enough();
        let until = match free < rest {
            true => format!("{rest} ({intake} for what comes from outside)"),
            false => intake.to_string(),
        };
        let held = held.join(", ");
        let remedy = "free some or set log.disk_reserve_*";
        reasons.push(format!("{why}; appends to {held} wait until {until} are free: {remedy}"));
    }
    let unread: Vec<_> = full.into_iter().filter(|name| !held.contains(name)).collect();
    if !unread.is_empty() {
        reasons.push(format!("no room in {}; appends wait for its readers", unread.join(", ")));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn source_is_away(state: SourceState) -> Option<String> {
    match state {
        SourceState::Up => None,
        SourceState::Connecting => Some("it is being connected".to_owned()),
        SourceState::Down(why) => Some(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_named() {
        let status = |free, full: &[&str], held: &[&str]| {
            let names = |of: &[&str]| of.iter().map(|&name| name.to_owned()).collect();
            let space = Some(Space { free, reserve: 1000 });
            let (full, held) = (names(full), names(held));
            log_is_away(Status { connected: true, full, held, space, ..Status::default() })
        };
        assert_eq!(status(999, &[], &[]), None);
        let low = status(999, &["raw"], &["raw"]).unwrap();
        assert!(low.starts_with("the disk has 999 bytes free"), "{low}");
        // Within the twentieth above the reserve it is the disk still.
        let recovers = status(1010, &["raw"], &["raw"]).unwrap();
        assert!(recovers.contains("appends to raw wait until 1050 are free"), "{recovers}");
        let ends = status(400, &["raw", "signals"], &["raw", "signals"]).unwrap();
        assert!(ends.contains("until 525 (1050 for what comes from outside)"), "{ends}");
        let read = status(5000, &["raw"], &[]).unwrap();
        assert_eq!(read, "no room in raw; appends wait for its readers");
        let both = status(900, &["raw", "signals"], &["raw"]).unwrap();
        assert!(both.contains("the disk") && both.contains("no room in signals;"), "{both}");
    }
}
