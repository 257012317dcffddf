//! Builds the index of open incidents from what the store has committed: at start, and whenever the outcome of a
//! transaction is not known.

use yiwang_core::incident::{OpenIndex, Standing, Terms};
use yiwang_store::{Error, IncidentFilter, ListAfter, Scope, StandingAlarm, Store};

/// Incidents closed longer ago are not looked up for recurrence.
const RECURRENCE_MAX_MS: i64 = 30 * 86_400_000;
/// Rows of one page.
const PAGE: u32 = 1_000;

/// The open incidents, the alarms that stand, the policies incidents were filed under, and what was closed of late.
pub(crate) async fn read_index(store: &Store, terms: &Terms, now: i64) -> Result<OpenIndex, Error> {
    let mut index = OpenIndex::new(terms.closed_max);
    for policy in store.policies().await? {
        if !index.insert_policy(&policy) {
            tracing::warn!(policy = %policy.id, "a stored policy cannot be read; the one in force is used");
        }
    }
    let closed_max = u32::try_from(terms.closed_max).unwrap_or(u32::MAX);
    let closed = store.closed_since(now - RECURRENCE_MAX_MS, closed_max).await?;
    // Newest first as they come; of one key the newest has to be taken last.
    closed.iter().rev().for_each(|incident| index.insert(incident));
    read_open(store, &mut index).await?;
    read_alarms(store, &mut index).await?;
    Ok(index)
}

async fn read_open(store: &Store, index: &mut OpenIndex) -> Result<(), Error> {
    let filter = IncidentFilter { open_only: true, ..IncidentFilter::default() };
    let mut after = None;
    loop {
        let page = store.list(&Scope::All, &filter, after, PAGE).await?;
        page.iter().for_each(|incident| index.insert(incident));
        let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
        after = Some(ListAfter { reported_at: last.reported_at, id: last.id });
    }
    Ok(())
}

/// Alarms of closed incidents stand as well: their clear is an answer, not a surprise.
async fn read_alarms(store: &Store, index: &mut OpenIndex) -> Result<(), Error> {
    let mut after: Option<StandingAlarm> = None;
    loop {
        let mut page = store.standing_alarms(after.as_ref(), PAGE).await?;
        for alarm in &page {
            let at = Standing { incident: alarm.incident, time: alarm.time };
            index.insert_alarm(&alarm.source, &alarm.alarm_key, at);
        }
        let full = page.len() == PAGE as usize;
        after = page.pop().filter(|_| full);
        if after.is_none() {
            return Ok(());
        }
    }
}
