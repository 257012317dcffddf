//! Working calendars: the time between two instants that counts, and its inverse.
//!
//! `W(a, b)` is [`Calendar::worked`], `A(t, x)` is [`Calendar::add`] (incidents, section 10). A calendar is compiled
//! once into its working spans from 2020 to 2059 with a running sum, so both are a binary search; outside those years
//! nothing works. It never changes: another version is another calendar.

mod read;

use std::sync::Arc;

use crate::record::Millis;

pub(crate) use read::{instant, read, zone};

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// A working calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    /// Id.
    pub id: Arc<str>,
    /// Version of its content.
    pub version: String,
    /// Zone in which its days are reckoned.
    pub zone: String,
    /// What a working day of a budget is, `1wd`.
    pub day_minutes: u32,
    /// Start of the day up to which holidays are listed.
    pub covers_to: Millis,
    /// Start of each span, ascending; spans do not touch.
    starts: Vec<Millis>,
    /// Working time before each span, and after the last one: one entry more than `starts`.
    before: Vec<i64>,
}

impl Calendar {
    /// Working time between two instants; 0 if `to` is not after `from`.
    #[must_use]
    pub fn worked(&self, from: Millis, to: Millis) -> i64 {
        (self.elapsed(to) - self.elapsed(from)).max(0)
    }

    /// The earliest instant not before `from` at which `span_ms` of working time have passed since.
    ///
    /// [`Millis::MAX`] when the calendar does not hold that much time.
    #[must_use]
    pub fn add(&self, from: Millis, span_ms: i64) -> Millis {
        if span_ms <= 0 {
            return from;
        }
        let target = self.elapsed(from).saturating_add(span_ms);
        let after = self.before.partition_point(|before| *before < target);
        match self.starts.get(after.wrapping_sub(1)) {
            Some(start) => start + (target - self.before[after - 1]),
            None => Millis::MAX,
        }
    }

    /// Whether an instant is working time.
    #[must_use]
    pub fn is_open(&self, at: Millis) -> bool {
        let next = self.starts.partition_point(|start| *start <= at);
        next > 0 && at - self.starts[next - 1] < self.before[next] - self.before[next - 1]
    }

    /// The next instant after `after` at which working time begins or ends; `None` past the years compiled.
    #[must_use]
    pub fn next_edge(&self, after: Millis) -> Option<Millis> {
        let next = self.starts.partition_point(|start| *start <= after);
        let end =
            next.checked_sub(1).map(|at| self.starts[at] + (self.before[next] - self.before[at]));
        end.filter(|end| *end > after).or_else(|| self.starts.get(next).copied())
    }

    /// Working time from the first span up to an instant.
    fn elapsed(&self, at: Millis) -> i64 {
        let next = self.starts.partition_point(|start| *start <= at);
        if next == 0 {
            return 0;
        }
        (self.before[next - 1] + (at - self.starts[next - 1])).min(self.before[next])
    }

    /// Compiles spans in ascending order; spans that touch become one.
    fn new(head: Head, spans: impl Iterator<Item = (Millis, Millis)>) -> Self {
        let (mut starts, mut before) = (Vec::new(), vec![0]);
        let mut end = Millis::MIN;
        for (from, to) in spans {
            let total = before[before.len() - 1];
            if from == end {
                *before.last_mut().expect("it starts with one entry") = total + (to - from);
            } else {
                starts.push(from);
                before.push(total + (to - from));
            }
            end = to;
        }
        let Head { id, version, zone, day_minutes, covers_to } = head;
        Self { id, version, zone, day_minutes, covers_to, starts, before }
    }
}

/// What a calendar says of itself.
struct Head {
    id: Arc<str>,
    version: String,
    zone: String,
    day_minutes: u32,
    covers_to: Millis,
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;
