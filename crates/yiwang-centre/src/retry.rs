//! Waiting out what passes by itself: a store or broker that is away is tried again until it is back or the centre is
//! told to stop. Refuses to repeat anything else.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Error, metrics};

/// First and longest pause before something is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Tries until it is done, fails for good, or is told to stop.
pub(crate) async fn retry<T, E, F>(
    stop: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Error>
where
    Error: From<E>,
    F: Future<Output = Result<T, E>>,
{
    let mut pause = PAUSE.0;
    loop {
        match attempt().await.map_err(Error::from) {
            Err(error) if error.passes() => {
                tracing::warn!(error = error.chain(), "store or log is away; trying again");
                metrics::record_retry();
            }
            done => return done,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
            () = stop.cancelled() => return Err(Error::Stopped),
        }
    }
}
