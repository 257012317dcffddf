//! Fires the clocks that are due. The due times lie in an indexed table; no incident has a timer or a task of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use yiwang_core::ids::Id;
use yiwang_core::incident::Due;
use yiwang_store::{Prune, Store};

use crate::writer::Writer;
use crate::{Config, Error};

/// How often the table is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Clocks of one transaction.
const DUE_MAX: u32 = 256;
/// Rows removed in one transaction.
const PRUNE_MAX: u32 = 5_000;
/// Such transactions in a row, others coming in between.
const PRUNE_TIMES: u32 = 20;
/// Answers of commands are kept this long (incidents, section 2.4).
const COMMANDS_AGE: Duration = Duration::from_secs(8 * 86_400);

pub(crate) async fn run(
    config: Arc<Config>,
    store: Store,
    writer: Arc<Writer>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut caught_up = writer.caught_up();
    tokio::select! {
        _ = caught_up.wait_for(|caught_up| *caught_up) => {}
        () = stop.cancelled() => return Ok(()),
    }
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    let mut left_out = HashSet::new();
    loop {
        tokio::select! {
            _ = look.tick() => {
                while fire(&store, &writer, &mut left_out).await? && !stop.is_cancelled() {}
            }
            _ = prune.tick() => remove_old(&config, &store, &writer).await,
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Fires what is due; whether there may be more. A clock on which the core panicked stays due and is left out until the
/// next start.
async fn fire(store: &Store, writer: &Writer, left_out: &mut HashSet<Id>) -> Result<bool, Error> {
    let limit = DUE_MAX.saturating_add(u32::try_from(left_out.len()).unwrap_or(u32::MAX));
    let due = match store.due_clocks(writer.now(), limit).await {
        Ok(clocks) => clocks,
        Err(error) if error.action() == yiwang_store::Action::Retry => {
            tracing::warn!(%error, "failed to look for due clocks; looking again");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    let full = due.len() == limit as usize;
    let due: Vec<_> = due
        .iter()
        .filter(|clock| !left_out.contains(&clock.id))
        .map(|clock| Due {
            incident: clock.incident,
            clock: clock.id,
            generation: clock.generation,
        })
        .collect();
    if due.is_empty() {
        return Ok(false);
    }
    let fired = writer.fire(&due).await?;
    if fired.rungs == 0 && fired.left_out.is_empty() {
        tracing::warn!(clocks = due.len(), "clocks are due whose rungs are not in the terms");
    }
    left_out.extend(fired.left_out);
    Ok(full && fired.rungs > 0)
}

/// Removing can wait: a failure is told and tried again a minute later.
async fn remove_old(config: &Config, store: &Store, writer: &Writer) {
    let now = writer.now();
    let ages = [(Prune::Outbox, config.outbox_age_max), (Prune::Commands, COMMANDS_AGE)];
    for (what, age) in ages {
        let before = now - i64::try_from(age.as_millis()).unwrap_or(i64::MAX / 2);
        for _ in 0..PRUNE_TIMES {
            match remove(store, what, before).await {
                Ok(removed) if removed < u64::from(PRUNE_MAX) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(?what, %error, "failed to remove old rows");
                    break;
                }
            }
        }
    }
}

async fn remove(store: &Store, what: Prune, before: i64) -> Result<u64, yiwang_store::Error> {
    let mut tx = store.begin(None).await?;
    let removed = tx.prune(what, before, PRUNE_MAX).await?;
    tx.commit().await?;
    Ok(removed)
}
