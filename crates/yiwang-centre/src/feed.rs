//! The tail of the outbox, made once for all streams.
//!
//! One task passes on what was committed, in order and without a gap, to whoever listens: from the writer's hand where
//! it follows on, else from the outbox. A listener that falls behind the ring reads the outbox itself; nothing is ever
//! skipped.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use yiwang_core::district::District;
use yiwang_core::record::Millis;
use yiwang_proto::incident::v1;
use yiwang_proto::view::{self, Shown};
use yiwang_store::{Action, OutboxEntry, Store};

use crate::Error;
use crate::handed::Handed;
use crate::writer::Writer;

/// Changes that listeners may be behind before they read the outbox themselves.
const RING_MAX: usize = 8_192;
/// Changes of one read.
const PAGE: u32 = 512;
/// The hint of the writer is enough in one process; another process's commits are found by looking.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A committed change, and its view once somebody has asked for it.
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) row: yiwang_core::incident::OutboxRow,
    /// When the signal behind it was received, until the first stream has taken it.
    arrival: AtomicI64,
    view: OnceLock<v1::Incident>,
}

impl Entry {
    pub(crate) fn new(entry: OutboxEntry, arrival: Option<Millis>) -> Self {
        let arrival = AtomicI64::new(arrival.unwrap_or_default());
        Self { seq: entry.seq, row: entry.row, arrival, view: OnceLock::new() }
    }

    /// When the signal behind it was received: told once, to the first stream.
    pub(crate) fn take_arrival(&self) -> Option<Millis> {
        Some(self.arrival.swap(0, Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// The incident at this version, made once for all streams.
    pub(crate) fn view(&self, district: &District) -> &v1::Incident {
        self.view.get_or_init(|| {
            let row = &self.row;
            let last = Some((row.action, &row.actor));
            let shown = Shown { incident: &row.view, tasks: &row.tasks, clocks: &[], last };
            view::incident(shown, district)
        })
    }
}

/// Hands out committed changes; clones share the tail.
#[derive(Clone)]
pub(crate) struct Feed {
    store: Store,
    writer: Arc<Writer>,
    committed: watch::Receiver<u64>,
    ring: broadcast::Sender<Arc<Entry>>,
    head: Arc<watch::Sender<u64>>,
}

impl Feed {
    pub(crate) fn new(store: &Store, writer: &Arc<Writer>) -> Self {
        let committed = writer.committed();
        let head = *committed.borrow();
        Self {
            store: store.clone(),
            writer: Arc::clone(writer),
            committed,
            ring: broadcast::Sender::new(RING_MAX),
            head: Arc::new(watch::Sender::new(head)),
        }
    }

    /// Everything that is committed from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.ring.subscribe()
    }

    /// Number of the last change that listeners have been given.
    pub(crate) fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Passes on what is committed until told to stop.
    pub(crate) async fn follow(mut self, stop: CancellationToken) -> Result<(), Error> {
        loop {
            let news = tokio::select! {
                changed = self.committed.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => return Ok(()),
                },
                () = tokio::time::sleep(LOOK_EVERY) => false,
                () = stop.cancelled() => return Ok(()),
            };
            self.pass_handed();
            // What the writer did not hand over, and what it does not know of.
            let committed = *self.committed.borrow_and_update();
            if !news || self.head() < committed {
                while self.read_page().await? {}
            }
        }
    }

    /// Passes on what this process's writer has committed, without asking the store for it.
    fn pass_handed(&self) {
        for Handed { entry, arrival } in self.writer.take_handed(self.head() + 1) {
            self.pass(Entry::new(entry, arrival));
        }
    }

    /// Reads one page; whether there may be more.
    async fn read_page(&self) -> Result<bool, Error> {
        let page = match self.store.outbox_after(self.head(), PAGE).await {
            Ok(page) => page,
            Err(error) if error.action() == Action::Retry => {
                tracing::warn!(%error, "failed to read the outbox; reading again");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let more = page.len() == PAGE as usize;
        page.into_iter().for_each(|entry| self.pass(Entry::new(entry, None)));
        Ok(more)
    }

    fn pass(&self, entry: Entry) {
        let seq = entry.seq;
        // Nobody listening is no fault: the entry lies in the outbox.
        let _ = self.ring.send(Arc::new(entry));
        self.head.send_replace(seq);
    }
}
