//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `probe` gives something, or fails naming what was waited for.
///
/// # Errors
/// After `limit` without an answer: the text names `what` and the probe's last word.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(last) if begun.elapsed() > limit => {
                return Err(format!("waited {limit:?} in vain for {what}: {last}"));
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}
