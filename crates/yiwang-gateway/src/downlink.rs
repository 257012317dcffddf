//! Commands to devices: records of topic `commands`, each sent the way that its device was last heard.
//!
//! Every gateway reads all of them as nobody's group, from the end that the topic has when it begins. Sending is at most
//! once and promises nothing: whoever asked asks again. Owns that a device is told the same thing at most once a minute
//! and nothing that is old, whatever a replay of the router puts on the log again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use yiwang_core::record::{Command, Lane, Millis};
use yiwang_log::{Action, BatchLimit, Event, Log, Position, Reader, Records, Start};
use yiwang_proto::command_from_bytes;

use crate::Error;
use crate::intake::Intake;
use crate::listen::sessions::Sessions;
use crate::stats::{CommandFate, Stats};

/// The topic.
pub(crate) const COMMANDS: &str = "commands";
/// Epoch of a topic that never changed its partitions.
const FIRST_EPOCH: u32 = 1;
/// A command that was asked for longer ago is not sent.
const AGE_MS_MAX: Millis = 60_000;
/// A topic gets at most one command in so long.
const EVERY_MS: Millis = 60_000;
/// So many topics are remembered before the old ones among them are forgotten.
const TOPICS_MAX: usize = 4_096;
/// How long the start waits for the end of the topic.
const OPEN_WITHIN: Duration = Duration::from_secs(1);
/// Pause before reading again from brokers that are away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The way to the devices of one broker.
pub(crate) struct Outlet {
    pub(crate) name: String,
    pub(crate) queue: mpsc::Sender<Command>,
}

/// What reads commands and hands them on.
pub(crate) struct Downlink {
    log: Log,
    intake: Arc<Intake>,
    stats: Arc<Stats>,
    sessions: Option<Arc<Sessions>>,
    outlets: Vec<Outlet>,
    /// When a topic was last sent something, by the gateway's clock.
    sent: HashMap<String, Millis>,
    reader: Option<Reader>,
}

impl Downlink {
    /// At the end of the topic, if the log can say by now where that is.
    pub(crate) async fn open(
        log: &Log,
        (intake, stats): (Arc<Intake>, Arc<Stats>),
        sessions: Option<Arc<Sessions>>,
        outlets: Vec<Outlet>,
    ) -> Self {
        let (log, sent) = (log.clone(), HashMap::new());
        let mut opened = Self { log, intake, stats, sessions, outlets, sent, reader: None };
        // Later is early enough: what is missed meanwhile is asked for again.
        opened.reader = timeout(OPEN_WITHIN, opened.at_end()).await.ok().and_then(Result::ok);
        opened
    }

    /// Hands commands on until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                event = self.next() => event,
            };
            match event {
                Ok(Event::Records(records)) if records.is_empty() => return Ok(()),
                Ok(Event::Records(records)) => self.take(&records),
                Ok(Event::Assigned(_) | Event::Revoked(_)) => {}
                Err(error) if error.action() == Action::Retry => {
                    tracing::debug!(%error, "topic commands is away");
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(RETRY_AFTER) => {}
                    }
                }
                Err(source) => {
                    return Err(Error::Log { what: "topic commands".to_owned(), source });
                }
            }
        }
    }

    async fn next(&mut self) -> Result<Event, yiwang_log::Error> {
        if self.reader.is_none() {
            self.reader = Some(self.at_end().await?);
        }
        match &mut self.reader {
            Some(reader) => reader.next(BatchLimit::default()).await,
            None => std::future::pending().await,
        }
    }

    async fn at_end(&self) -> Result<Reader, yiwang_log::Error> {
        let mut ends = Vec::new();
        for partition in 0..self.log.partitions(COMMANDS) {
            let seq = self.log.head(COMMANDS, partition).await?;
            ends.push(Position { epoch: FIRST_EPOCH, partition, seq });
        }
        self.log.reader(COMMANDS, "", Start::At(ends)).await
    }

    fn take(&mut self, records: &Records) {
        for record in records.iter() {
            match command_from_bytes(record.value) {
                Ok(command) => self.send(command),
                Err(error) => tracing::warn!(%error, "a command is passed over"),
            }
        }
    }

    fn send(&mut self, command: Command) {
        let now = self.intake.now();
        if now.saturating_sub(command.asked_at) > AGE_MS_MAX {
            return self.stats.command(CommandFate::Stale);
        }
        let recent = |at: &Millis| now.saturating_sub(*at) < EVERY_MS;
        if self.sent.get(&command.topic).is_some_and(recent) {
            return self.stats.command(CommandFate::TooOften);
        }
        if self.sent.len() >= TOPICS_MAX {
            self.sent.retain(|_, at| recent(at));
        }
        let topic = command.topic.clone();
        if self.hand_over(command) {
            self.sent.insert(topic, now);
        }
    }

    /// Whether the device is one of ours and took the command, or will.
    fn hand_over(&self, command: Command) -> bool {
        let taken = match command.lane {
            Lane::Listen => {
                // The session of a device is with one gateway; the others have nothing to do.
                let sessions = self.sessions.as_deref();
                sessions.and_then(|sessions| sessions.post(command))
            }
            Lane::Subscribe => {
                let mut outlets = self.outlets.iter();
                let outlet = outlets.find(|outlet| outlet.name == command.listener);
                outlet.map(|outlet| outlet.queue.try_send(command).is_ok())
            }
            // There is no way back through an intake topic.
            Lane::Kafka => None,
        };
        if taken == Some(false) {
            self.stats.command(CommandFate::QueueFull);
        }
        taken == Some(true)
    }
}
