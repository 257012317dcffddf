//! Hands committed changes to the log `incidents`, in order, at least once: partners read them there.
//!
//! The place reached is a cursor in the store, moved after the receipt.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use yiwang_log::{Batch, Route};
use yiwang_store::{Action, Cursor, OutboxEntry, Store};

use crate::feed::Feed;
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
    loop {
        let page = match parts.store.outbox_after(cursor.seq, PAGE).await {
            Ok(page) => page,
            Err(error) if error.action() == Action::Retry => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        if let Some(last) = page.last() {
            let mut batch = Batch::new();
            for OutboxEntry { seq, row } in &page {
                let key = row.incident.to_bytes();
                let hash = (row.incident.0 >> 64) as u64;
                let value =
                    yiwang_proto::change_to_bytes(i64::try_from(*seq).unwrap_or(i64::MAX), row);
                batch.push(topic, Route::Key { hash }, &key, &[], &value);
            }
            let safe = async { log.append(batch).await?.safe().await };
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
        if !page.is_empty() {
            continue;
        }
        tokio::select! {
            // Lagging behind the ring only means that there is news.
            _ = news.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return keep(&parts.store, &cursor).await,
        }
    }
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
