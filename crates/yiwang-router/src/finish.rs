//! The second half of the loop: receipts in order, then snapshots, then the commit of `raw`.
//!
//! What arrives here is in the order of routing, so a snapshot is written only when the outputs of every record before
//! it are safe, and `raw` is committed only up to a snapshot that is safe: retention never passes what a restart needs.

use tokio::sync::{mpsc, oneshot};
use yiwang_log::{Action, Batch, Committer, Position, Receipt, Route, TopicId, Writer};

use crate::generation::{Entry, Generation};
use crate::{Error, metrics};

/// Most bytes of a snapshot in one append, so that it does not hold up outputs for long.
const APPEND_BYTES_MAX: usize = 4 << 20;

/// One thing to finish.
pub(crate) enum Item {
    /// Outputs of a batch.
    Outputs(Receipt),
    /// The state after everything before.
    Snapshot { partition: u16, generation: Generation },
    /// Says that everything before is finished.
    Done(oneshot::Sender<()>),
}

/// Finishes items in order until the worker is done.
pub(crate) async fn finish(
    mut items: mpsc::Receiver<Item>,
    writer: Writer,
    state: TopicId,
    committer: Committer,
) -> Result<(), Error> {
    while let Some(item) = items.recv().await {
        match item {
            Item::Outputs(receipt) => {
                receipt.safe().await?;
            }
            // Its next owner is at work, and writes its own.
            Item::Snapshot { partition, .. } if !committer.is_owner(partition) => {}
            // Who asked may have gone.
            Item::Done(done) => done.send(()).unwrap_or_default(),
            Item::Snapshot { partition, generation } => {
                let (epoch, seq) = (generation.topic_epoch, generation.seq);
                let bytes = generation.bytes.len();
                append_state(&writer, state, partition, generation.entries()).await?;
                match committer.commit(Position { epoch, partition, seq }).await {
                    // The next owner replays from its own generation.
                    Err(error) if error.action() == Action::Fenced => {}
                    done => done?,
                }
                metrics::record_snapshot(partition, bytes);
            }
        }
    }
    Ok(())
}

/// Appends records of topic `state` in order and waits until they are safe.
pub(crate) async fn append_state(
    writer: &Writer,
    state: TopicId,
    partition: u16,
    entries: Vec<Entry>,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    let last = entries.len().saturating_sub(1);
    for (index, (key, value)) in entries.into_iter().enumerate() {
        // The last one is the marker: it goes alone, after everything else is safe.
        if index == last || batch.bytes() + value.len() > APPEND_BYTES_MAX {
            let full = std::mem::take(&mut batch);
            if !full.is_empty() {
                writer.append(full).await?.safe().await?;
            }
        }
        batch.push(state, Route::Partition(partition), &key, &[], &value);
    }
    if !batch.is_empty() {
        writer.append(batch).await?.safe().await?;
    }
    Ok(())
}
