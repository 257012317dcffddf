//! Kafka intake: records of the intake topics go to the raw log, and their offset is committed after the receipt.
//!
//! Key = device key `pk/dn`, value = native property body. An unusable key is no reason to refuse: the record goes on
//! without a device and the router quarantines it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use yiwang_core::record::{BodyKind, Lane, Raw};
use yiwang_core::topic;
use yiwang_log::{Action, BatchLimit, Committer, Event, Position, Reader, Records};

use crate::admission::Share;
use crate::directory::Directory;
use crate::intake::Intake;
use crate::pipeline::{Pipeline, Step};
use crate::source::{Source, SourceState};
use crate::{Error, record};

/// Batches whose receipts are awaited.
const BATCHES_MAX: usize = 16;
/// Pause before reading again from brokers that are away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One intake topic.
pub(crate) struct Intaker {
    pub(crate) topic: String,
    pub(crate) reader: Reader,
    pub(crate) intake: Arc<Intake>,
    pub(crate) source: Arc<Source>,
    pub(crate) directory: Arc<ArcSwap<Directory>>,
}

/// What is committed once a batch is safe.
#[derive(Debug)]
struct Group {
    position: Position,
    records: u64,
}

impl Intaker {
    /// Reads until stopped; returns once everything it read is safe and committed.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        // Without partitions it is the stand-by of another gateway, which is as well as can be.
        self.source.set(SourceState::Up);
        let committer = self.reader.committer();
        let mut pipeline = Pipeline::<Group>::new(self.intake.door(Share::plain(&self.topic)));
        let mut open = true;
        while open || !pipeline.idle() {
            let room = !pipeline.busy() && pipeline.len() < BATCHES_MAX;
            tokio::select! {
                biased;
                step = pipeline.next() => match step {
                    Ok(Step::Room) => {}
                    Ok(Step::Safe(group)) => self.commit(&committer, group).await,
                    Err(halt) => {
                        self.intake.halted.set(halt);
                        return Ok(());
                    }
                },
                () = stop.cancelled(), if open => open = false,
                event = self.reader.next(BatchLimit::default()), if open && room => {
                    open = self.event(event, &mut pipeline).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes in an event; false at the end of the log.
    async fn event(
        &self,
        event: Result<Event, yiwang_log::Error>,
        pipeline: &mut Pipeline<Group>,
    ) -> Result<bool, Error> {
        match event {
            Ok(Event::Records(records)) if records.is_empty() => return Ok(false),
            Ok(Event::Records(records)) => self.append(&records, pipeline),
            // What a revoked partition had in flight is appended all the same, and read again by its new owner.
            Ok(Event::Assigned(_) | Event::Revoked(_)) => {}
            Err(error) if error.action() == Action::Retry => {
                if self.source.set(SourceState::Down(error.to_string())) {
                    tracing::warn!(topic = self.topic, %error, "intake topic is away");
                }
                tokio::time::sleep(RETRY_AFTER).await;
                return Ok(true);
            }
            Err(source) => {
                return Err(Error::Log { what: format!("intake topic {}", self.topic), source });
            }
        }
        self.source.set(SourceState::Up);
        Ok(true)
    }

    fn append(&self, records: &Records, pipeline: &mut Pipeline<Group>) {
        let received_at = self.intake.now();
        let mut batch = self.intake.writer.spare();
        let directory = self.directory.load();
        let (mut count, mut bytes) = (0, 0);
        for read in records.iter() {
            let key = std::str::from_utf8(read.key).unwrap_or_default();
            let device = if topic::parse_device_key(key).is_ok() { key } else { "" };
            let raw = Raw {
                device,
                lane: Lane::Kafka,
                kind: BodyKind::Property,
                path: "",
                listener: &self.topic,
                peer: "",
                received_at,
                payload: read.value,
            };
            record::push(&mut batch, self.intake.raw, record::Key::of(device, &directory), &raw);
            count += 1;
            bytes += read.value.len() as u64;
        }
        self.intake.ledger.update(Lane::Kafka, |row| {
            row.received += count;
            row.received_bytes += bytes;
            row.in_flight += count;
        });
        pipeline.append(batch, Group { position: records.end(), records: count });
    }

    async fn commit(&self, committer: &Committer, group: Group) {
        let committed = committer.commit(group.position).await;
        if let Err(error) = &committed {
            // A revoked partition is read again by its new owner; ids make that harmless.
            tracing::debug!(topic = self.topic, %error, "offset not committed");
        }
        self.intake.ledger.update(Lane::Kafka, |row| {
            row.in_flight -= group.records;
            row.appended += group.records;
            row.acknowledged += if committed.is_ok() { group.records } else { 0 };
        });
    }
}
