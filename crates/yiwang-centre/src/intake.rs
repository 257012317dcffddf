//! Reads signals and hands them to the writer; says "done" to the log only when they are committed.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use yiwang_core::record::{AlarmSeverity, Signal, SignalKind};
use yiwang_log::{Action, BatchLimit, Event, Position, Reader, Records, Start};

use crate::lag::Lag;
use crate::retry::retry;
use crate::writer::Writer;
use crate::{Config, Error, Parts};

pub(crate) const TOPIC: &str = "signals";
const GROUP: &str = "centre";
/// Bytes of one read.
const BYTES_MAX: usize = 1 << 20;
/// Before a read that failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) async fn run(
    config: Arc<Config>,
    parts: Parts,
    writer: Arc<Writer>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let begins = retry(&stop, || positions(&parts)).await?;
    let lag = Lag::new(parts.log.clone(), &begins, writer.now());
    tokio::select! {
        ended = read(&config, &parts, &writer, &lag, &stop) => ended,
        ended = lag.watch(&stop) => ended,
    }
}

async fn read(
    config: &Config,
    parts: &Parts,
    writer: &Writer,
    lag: &Lag,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut reader = retry(stop, || open(parts)).await?;
    let committer = reader.committer();
    let mut behind = retry(stop, || Behind::measure(parts)).await?;
    behind.tell(writer);
    let limit = BatchLimit { records_max: config.batch_signals_max, bytes_max: BYTES_MAX };
    loop {
        let event = tokio::select! {
            event = reader.next(limit) => event.map_err(Error::from),
            () = stop.cancelled() => return Ok(()),
        };
        let event = match event {
            Err(error) if error.passes() => {
                tracing::warn!(error = error.chain(), "failed to read signals; reading again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            event => event?,
        };
        let records = match event {
            Event::Records(records) if records.is_empty() => return Ok(()),
            Event::Records(records) => records,
            Event::Assigned(partitions) => {
                let stored = retry(stop, || positions(parts)).await?;
                place(&stored, &mut reader, &partitions)?;
                continue;
            }
            Event::Revoked(_) => continue,
        };
        let end = records.end();
        let signals = decode(&records);
        let position =
            yiwang_store::Position { epoch: end.epoch, partition: end.partition, seq: end.seq };
        writer.signals(&signals, Some(position)).await?;
        // Only bounds retention: the truth is the position in the store, so a failure costs nothing.
        if let Err(error) = committer.commit(end).await {
            tracing::warn!(%error, "failed to tell the log how far signals are done");
        }
        lag.reached(end, signals.iter().map(|signal| signal.received_at).max());
        behind.reached(end);
        behind.tell(writer);
    }
}

async fn open(parts: &Parts) -> Result<Reader, Error> {
    let stored = positions(parts).await?;
    Ok(parts.log.reader(TOPIC, GROUP, Start::At(stored)).await?)
}

/// After an assignment the reader goes to where the store says, whatever the group's own offset is.
fn place(stored: &[Position], reader: &mut Reader, partitions: &[u16]) -> Result<(), Error> {
    for position in stored.iter().filter(|at| partitions.contains(&at.partition)) {
        match reader.seek(*position) {
            // Taken from us again meanwhile: whoever has it asks the store as well.
            Err(error) if error.action() == Action::Fenced => {}
            done => done?,
        }
    }
    Ok(())
}

async fn positions(parts: &Parts) -> Result<Vec<Position>, Error> {
    let stored = parts.store.positions(TOPIC).await?;
    Ok(stored
        .into_iter()
        .map(|at| Position { epoch: at.epoch, partition: at.partition, seq: at.seq })
        .collect())
}

/// A record that is no signal gets its outcome like any other: without an id it is rejected, with its place as name.
fn decode(records: &Records) -> Vec<Signal> {
    let place = |seq: u64| format!("{TOPIC}/{}/{}/{seq}", records.epoch, records.partition);
    records
        .iter()
        .map(|record| {
            yiwang_proto::signal_from_bytes(record.value).unwrap_or_else(|error| {
                tracing::error!(seq = record.seq, partition = records.partition, %error, "unreadable signal");
                unreadable(place(record.seq), error.to_string())
            })
        })
        .collect()
}

fn unreadable(place: String, text: String) -> Signal {
    Signal {
        source: String::new(),
        event_id: place,
        kind: SignalKind::Event,
        alarm_key: String::new(),
        category: String::new(),
        severity: AlarmSeverity::Info,
        time: 0,
        since: 0,
        received_at: 0,
        device: String::new(),
        asset: None,
        place: None,
        point: None,
        cause: String::new(),
        text,
        reading: None,
        members: Vec::new(),
    }
}

/// What was on the log at start and is not read yet: clocks wait for it.
struct Behind {
    heads: Vec<u64>,
    read: Vec<u64>,
    told: bool,
}

impl Behind {
    async fn measure(parts: &Parts) -> Result<Self, Error> {
        let mut heads = Vec::new();
        for partition in 0..parts.log.partitions(TOPIC) {
            heads.push(parts.log.head(TOPIC, partition).await?);
        }
        let mut read = vec![0; heads.len()];
        for position in positions(parts).await? {
            if let Some(slot) = read.get_mut(usize::from(position.partition)) {
                *slot = position.seq;
            }
        }
        Ok(Self { heads, read, told: false })
    }

    fn reached(&mut self, end: Position) {
        if let Some(slot) = self.read.get_mut(usize::from(end.partition)) {
            *slot = end.seq;
        }
    }

    fn tell(&mut self, writer: &Writer) {
        if self.told {
            return;
        }
        let missing: u64 =
            self.heads.iter().zip(&self.read).map(|(head, read)| head.saturating_sub(*read)).sum();
        if missing == 0 {
            writer.set_caught_up();
            self.told = true;
        }
    }
}
