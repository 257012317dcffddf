//! Budgets: how much time something may take.

use std::fmt;

use crate::calendar::{DAY_MS, MINUTE_MS};

/// Most units of time in one budget.
const COUNT_MAX: i64 = 1_000_000;

/// An amount of time, around the clock or in working time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Milliseconds.
    pub ms: i64,
    /// Counted by a working calendar.
    pub working: bool,
}

impl Budget {
    /// Reads `90s 5m 4h 2d` (around the clock) and `30wm 4wh 1wd` (working time, `1wd` = `day_minutes`).
    #[must_use]
    pub fn parse(text: &str, day_minutes: u32) -> Option<Self> {
        Span::parse(text).map(|span| span.budget(day_minutes))
    }

    /// As it stands in a policy snapshot.
    pub(crate) fn to_text(self) -> String {
        format!("{}{}", self.ms, if self.working { "w" } else { "" })
    }

    /// The inverse of [`Budget::to_text`].
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('w');
        let ms = digits.unwrap_or(text).parse().ok().filter(|ms| *ms >= 0)?;
        Some(Self { ms, working: digits.is_some() })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.ms / MINUTE_MS;
        let unit = if self.working { "w" } else { "" };
        if self.ms % MINUTE_MS != 0 {
            write!(f, "{}ms", self.ms)
        } else if minutes % 60 == 0 && minutes > 0 {
            write!(f, "{}{unit}h", minutes / 60)
        } else {
            write!(f, "{minutes}{unit}m")
        }
    }
}

/// A budget as written: what a working day is, only the calendar knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    count: i64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Clock(i64),
    Working(i64),
    WorkingDay,
}

impl Span {
    /// No time.
    pub(crate) const NONE: Self = Self { count: 0, unit: Unit::Clock(0) };

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let count = count.parse().ok().filter(|count| *count <= COUNT_MAX)?;
        let unit = match unit {
            "s" => Unit::Clock(1000),
            "m" => Unit::Clock(MINUTE_MS),
            "h" => Unit::Clock(60 * MINUTE_MS),
            "d" => Unit::Clock(DAY_MS),
            "wm" => Unit::Working(MINUTE_MS),
            "wh" => Unit::Working(60 * MINUTE_MS),
            "wd" => Unit::WorkingDay,
            _ => return None,
        };
        Some(Self { count, unit })
    }

    pub(crate) fn is_working(self) -> bool {
        !matches!(self.unit, Unit::Clock(_))
    }

    pub(crate) fn budget(self, day_minutes: u32) -> Budget {
        let unit_ms = match self.unit {
            Unit::Clock(ms) | Unit::Working(ms) => ms,
            Unit::WorkingDay => i64::from(day_minutes) * MINUTE_MS,
        };
        Budget { ms: self.count * unit_ms, working: self.is_working() }
    }
}
