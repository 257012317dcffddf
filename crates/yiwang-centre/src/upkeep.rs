//! Keeps the store's log short, so that no commit has to do it while an alarm waits for it.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use yiwang_store::{Action, Store};

use crate::Error;

/// How often; what has been written since is a few megabytes even in a storm.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(store: Store, stop: CancellationToken) -> Result<(), Error> {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        match store.checkpoint().await {
            Ok(_) => {}
            Err(error) if error.action() == Action::Retry => {
                tracing::debug!(%error, "failed to shorten the store's log; trying again");
            }
            // After a failed sync nobody may try once more: what it says then is not true.
            Err(error) => return Err(error.into()),
        }
    }
}
