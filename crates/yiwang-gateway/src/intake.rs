//! What every lane shares: the raw log, the clock, the ledger, and the end of it all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use yiwang_core::record::Millis;
use yiwang_log::{Halt, TopicId, Writer};

use crate::admission::{Admission, Share};
use crate::ledger::Ledger;
use crate::pipeline::Door;

/// Where the time of reception comes from.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub fn() -> Millis);

impl Default for Clock {
    fn default() -> Self {
        Self(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
        })
    }
}

/// The raw log and what is counted on the way to it.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) writer: Writer,
    pub(crate) admission: Arc<Admission>,
    pub(crate) raw: TopicId,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Clock,
    pub(crate) halted: Halted,
    /// Whether the log has had no room for longer than a tick.
    pub(crate) waiting: AtomicBool,
}

impl Intake {
    /// Whether new connections would only find a log without room.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn set_waiting(&self, waiting: bool) {
        if self.waiting.swap(waiting, Ordering::Relaxed) != waiting {
            if waiting {
                tracing::warn!("the log has no room; new connections are refused as busy");
            } else {
                tracing::info!("the log has room again");
            }
        }
    }

    /// The way into the log of whoever has this share of it.
    pub(crate) fn door(&self, share: Share) -> Door {
        Door::InTurn(Arc::clone(&self.admission), Arc::new(share))
    }

    pub(crate) fn now(&self) -> Millis {
        (self.clock.0)()
    }
}

/// The first halt that any lane met; from then on nothing is acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Halted {
    first: OnceLock<Halt>,
    token: CancellationToken,
}

impl Halted {
    pub(crate) fn set(&self, halt: Halt) {
        // Later halts are consequences of the first.
        let _ = self.first.set(halt);
        self.token.cancel();
    }

    pub(crate) async fn wait(&self) -> &Halt {
        self.token.cancelled().await;
        self.first.get().expect("the token is cancelled after the halt is set")
    }

    pub(crate) fn get(&self) -> Option<&Halt> {
        self.first.get()
    }
}
