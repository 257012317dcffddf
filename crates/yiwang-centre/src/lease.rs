//! One centre at a time: takes the lease, keeps it while the centre runs, and gives it back when nothing is under way.
//!
//! Safety rests on the fencing token that every transaction checks. A lease that ran out while the store was away is
//! simply renewed when nobody has taken it.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use yiwang_store::{Lease, Store};

use crate::Error;
use crate::retry::retry;

const NAME: &str = "centre";

/// Waits for the lease of the last centre and takes it.
pub(crate) async fn acquire(
    store: &Store,
    holder: &str,
    ttl: Duration,
    stop: &CancellationToken,
) -> Result<Lease, Error> {
    let mut told = false;
    loop {
        if let Some(lease) = retry(stop, || store.acquire_lease(NAME, holder, ttl)).await? {
            return Ok(lease);
        }
        if !told {
            tracing::info!("another centre is active; waiting for its lease");
            told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(ttl / 8) => {}
            () = stop.cancelled() => return Err(Error::Stopped),
        }
    }
}

/// Renews the lease as long as the work takes.
pub(crate) async fn hold<T>(
    store: &Store,
    lease: &Lease,
    ttl: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        done = work => done,
        lost = renew(store, lease, ttl) => Err(lost),
    }
}

/// Renews the lease until it is lost: the answer is why.
pub(crate) async fn renew(store: &Store, lease: &Lease, ttl: Duration) -> Error {
    let mut beat = tokio::time::interval(ttl / 4);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        match store.renew_lease(lease, ttl).await.map_err(Error::from) {
            Ok(()) => {}
            Err(error) if error.passes() => {
                tracing::warn!(error = error.chain(), "failed to renew the lease of the centre");
            }
            Err(error) => return error,
        }
    }
}

/// Gives the lease back: another centre goes on at once.
pub(crate) async fn release(store: &Store, lease: &Lease) {
    if let Err(error) = store.release_lease(lease).await {
        tracing::warn!(%error, "failed to give the lease back; it runs out by itself");
    }
}
