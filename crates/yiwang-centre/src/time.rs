//! The centre's time: the machine's clock, but never backwards.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use yiwang_core::record::Millis;

/// A clock that holds when the machine's goes back, until that has caught up.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicI64);

impl Clock {
    pub(crate) fn now(&self) -> Millis {
        let wall = Timestamp::now().as_millisecond();
        self.0.fetch_max(wall, Ordering::AcqRel).max(wall)
    }
}

/// The day of a time in a zone, `yyyymmdd`: the middle of incident numbers.
pub(crate) fn day_of(at: Millis, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    zone.to_datetime(at).strftime("%Y%m%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_changes_at_midnight_of_the_zone() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let midnight = 1_795_363_200_000; // 2026-11-23 00:00 +08:00
        assert_eq!(day_of(midnight - 1, &zone), "20261122");
        assert_eq!(day_of(midnight, &zone), "20261123");
    }

    #[test]
    fn time_does_not_run_backwards() {
        let clock = Clock::default();
        clock.0.store(i64::MAX - 1, Ordering::Release);
        assert_eq!(clock.now(), i64::MAX - 1);
    }
}
