//! Hands committed changes to the log `incidents`, in order, at least once: partners read them there.
//!
//! The place reached is a cursor in the store, moved after the receipt.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use yiwang_log::{Batch, Route, TopicId};
use yiwang_store::{Action, Cursor, Store};

use crate::feed::{Entry, Feed};
use crate::retry::retry;
use crate::writer::Writer;
use crate::{Error, Parts};

const NAME: &str = "relay/log";
const TOPIC: &str = "incidents";
const PAGE: u32 = 512;
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    parts: Parts,
    feed: Feed,
    writer: Arc<Writer>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let log = parts.log.writer();
    let topic = parts
        .log
        .topic(TOPIC)
        .ok_or_else(|| Error::Halt(format!("the log has no topic {TOPIC}")))?;
    let mut news = feed.listen();
    let mut cursor = retry(&stop, || start(&parts.store, &writer)).await?;
    // Kept every second, not with every page: what is told again after a crash costs less than a transaction here.
    let mut kept = (cursor.seq, Instant::now());
    // Entries that follow on, from the ring; none as long as the outbox has to be read.
    let mut fresh: Vec<Arc<Entry>> = Vec::new();
    let mut behind = true;
    loop {
        let page = match behind {
            false => std::mem::take(&mut fresh),
            true => match parts.store.outbox_after(cursor.seq, PAGE).await {
                Ok(page) => {
                    behind = page.len() == PAGE as usize;
                    page.into_iter().map(|entry| Arc::new(Entry::new(entry, None))).collect()
                }
                Err(error) if error.action() == Action::Retry => {
                    tracing::warn!(%error, "failed to read the outbox for the log; reading again");
                    behind = false;
                    Vec::new()
                }
                Err(error) => return Err(error.into()),
            },
        };
        if let Some(last) = page.last() {
            let safe = async { log.append(batch(topic, &page)).await?.safe().await };
            // A full log is waited for, but not for ever.
            tokio::select! {
                safe = safe => safe?,
                () = stop.cancelled() => return keep(&parts.store, &cursor).await,
            };
            cursor.seq = last.seq;
            cursor.seen_at = writer.now();
        }
        if cursor.seq != kept.0 && kept.1.elapsed() >= LOOK_EVERY {
            keep(&parts.store, &cursor).await?;
            kept = (cursor.seq, Instant::now());
        }
        if behind {
            continue;
        }
        tokio::select! {
            entry = news.recv() => {
                behind = true;
                if let Ok(entry) = entry {
                    fresh = following(entry, &mut news);
                    // What was passed on before the outbox was read comes again.
                    fresh.retain(|entry| entry.seq > cursor.seq);
                    behind = fresh.first().is_some_and(|entry| entry.seq != cursor.seq + 1);
                }
            }
            () = tokio::time::sleep(LOOK_EVERY) => behind = true,
            () = stop.cancelled() => return keep(&parts.store, &cursor).await,
        }
    }
}

/// An entry and those right behind it that are there already.
fn following(first: Arc<Entry>, news: &mut broadcast::Receiver<Arc<Entry>>) -> Vec<Arc<Entry>> {
    let mut entries = vec![first];
    while entries.len() < PAGE as usize
        && let Ok(entry) = news.try_recv()
    {
        entries.push(entry);
    }
    entries
}

fn batch(topic: TopicId, entries: &[Arc<Entry>]) -> Batch {
    let mut batch = Batch::new();
    for entry in entries {
        let Entry { seq, row, .. } = &**entry;
        let key = row.incident.to_bytes();
        let hash = (row.incident.0 >> 64) as u64;
        let value = yiwang_proto::change_to_bytes(i64::try_from(*seq).unwrap_or(i64::MAX), row);
        batch.push(topic, Route::Key { hash }, &key, &[], &value);
    }
    batch
}

async fn start(store: &Store, writer: &Writer) -> Result<Cursor, Error> {
    let fresh = Cursor {
        consumer: NAME.to_owned(),
        unit: Arc::clone(writer.district().id()),
        scope: String::new(),
        epoch: store.log_epoch(),
        seq: 0,
        seen_at: writer.now(),
    };
    Ok(store.cursor(NAME).await?.filter(|known| known.epoch == fresh.epoch).unwrap_or(fresh))
}

/// A cursor that could not be kept costs repeats, never a gap.
async fn keep(store: &Store, cursor: &Cursor) -> Result<(), Error> {
    match store.set_cursor(cursor).await {
        Err(error) if error.action() == Action::Retry => {
            tracing::warn!(%error, "failed to keep the place of the relay");
            Ok(())
        }
        done => Ok(done?),
    }
}
