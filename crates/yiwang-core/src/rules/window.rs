//! Sliding windows over the samples of one property: twelve panes on the epoch, each a running summary.
//!
//! A window of span T keeps panes of T/12, so it covers between 11/12 of T and T, costs the same however many samples
//! fall into it, and depends on nothing but their times. Late samples join a pane that is still held. Below two samples
//! every function is UNKNOWN.

use crate::record::Millis;
use crate::route::bytes::{Damaged, Reader, Writer};

/// Panes of a window *(design)*.
pub const PANES: usize = 12;
/// Longest span of a window: an offset within a pane stays below 2^32 ms, and 31 days serve a monthly mean.
pub const SPAN_MS_MAX: Millis = 31 * 86_400_000;
/// Shortest span of a window: a pane is at least one ms wide.
pub const SPAN_MS_MIN: Millis = PANES as Millis;
/// Fewest samples that say anything.
const SAMPLES_MIN: u64 = 2;

/// What is asked of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Mean of the samples.
    Average,
    /// Least sample.
    Least,
    /// Greatest sample.
    Greatest,
    /// Sum of the samples.
    Sum,
    /// Number of samples.
    Count,
    /// Newest less oldest sample.
    Delta,
    /// That, per second between the two.
    Rate,
}

impl Function {
    /// All, with their names in conditions.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("avg", Self::Average),
        ("min", Self::Least),
        ("max", Self::Greatest),
        ("sum", Self::Sum),
        ("count", Self::Count),
        ("delta", Self::Delta),
        ("rate", Self::Rate),
    ];

    /// The function of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, function)| function)
    }
}

/// Summary of the samples of one pane; times are offsets from its start.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pane {
    count: u32,
    first_at: u32,
    last_at: u32,
    first: f64,
    last: f64,
    sum: f64,
    least: f64,
    greatest: f64,
}

impl Pane {
    const EMPTY: Self = Self {
        count: 0,
        first_at: 0,
        last_at: 0,
        first: 0.0,
        last: 0.0,
        sum: 0.0,
        least: f64::INFINITY,
        greatest: f64::NEG_INFINITY,
    };

    fn join(&mut self, at: u32, value: f64) {
        if self.count == 0 || at < self.first_at {
            (self.first_at, self.first) = (at, value);
        }
        if self.count == 0 || at > self.last_at {
            (self.last_at, self.last) = (at, value);
        }
        self.count = self.count.saturating_add(1);
        self.sum += value;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }
}

/// One window of one device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    /// Number of the newest pane, counted from the epoch; `i64::MIN` before the first sample.
    newest: i64,
    /// By pane number modulo their count.
    panes: [Pane; PANES],
}

impl Window {
    pub(super) const EMPTY: Self = Self { newest: i64::MIN, panes: [Pane::EMPTY; PANES] };

    /// Takes a sample, unless its pane is no longer held.
    pub(super) fn join(&mut self, span: Millis, t: Millis, value: f64) {
        let width = width(span);
        let number = t.div_euclid(width);
        if number > self.newest {
            let fresh = number.saturating_sub(self.newest).min(PANES as i64);
            for stale in number - fresh + 1..=number {
                self.panes[place(stale)] = Pane::EMPTY;
            }
            self.newest = number;
        } else if number <= self.newest.saturating_sub(PANES as i64) {
            return;
        }
        self.panes[place(number)].join(t.rem_euclid(width) as u32, value);
    }

    /// The value of a function over the panes up to that of `t`; NaN is UNKNOWN.
    pub(super) fn value(&self, function: Function, span: Millis, t: Millis) -> f64 {
        let width = width(span);
        let last = t.div_euclid(width);
        let oldest = last.max(self.newest).saturating_sub(PANES as i64 - 1);
        let mut whole = Pane::EMPTY;
        let (mut count, mut began, mut ended) = (0_u64, 0, 0);
        for number in oldest..=last.min(self.newest) {
            let pane = &self.panes[place(number)];
            if pane.count == 0 {
                continue;
            }
            let start = number.saturating_mul(width);
            if count == 0 {
                (began, whole.first) = (start + Millis::from(pane.first_at), pane.first);
            }
            (ended, whole.last) = (start + Millis::from(pane.last_at), pane.last);
            count += u64::from(pane.count);
            whole.sum += pane.sum;
            whole.least = whole.least.min(pane.least);
            whole.greatest = whole.greatest.max(pane.greatest);
        }
        if count < SAMPLES_MIN {
            return f64::NAN;
        }
        match function {
            Function::Average => whole.sum / count as f64,
            Function::Least => whole.least,
            Function::Greatest => whole.greatest,
            Function::Sum => whole.sum,
            Function::Count => count as f64,
            Function::Delta => whole.last - whole.first,
            // Samples of one instant have no rate: 0 / 0 is UNKNOWN, and so is anything else over 0.
            Function::Rate => (whole.last - whole.first) / ((ended - began) as f64 / 1000.0),
        }
    }

    pub(super) fn encode(&self, to: &mut Writer) {
        to.int(self.newest);
        for pane in &self.panes {
            to.uint(u64::from(pane.count));
            if pane.count == 0 {
                continue;
            }
            to.uint(u64::from(pane.first_at));
            to.uint(u64::from(pane.last_at));
            for value in [pane.first, pane.last, pane.sum, pane.least, pane.greatest] {
                to.float(value);
            }
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut window = Self { newest: from.int()?, ..Self::EMPTY };
        for pane in &mut window.panes {
            pane.count = from.small()?;
            if pane.count == 0 {
                continue;
            }
            pane.first_at = from.small()?;
            pane.last_at = from.small()?;
            let Pane { first, last, sum, least, greatest, .. } = pane;
            for value in [first, last, sum, least, greatest] {
                *value = from.float()?;
            }
        }
        Ok(window)
    }
}

/// Width of a pane: a twelfth, rounded up to whole ms.
fn width(span: Millis) -> Millis {
    (span.max(SPAN_MS_MIN) + PANES as Millis - 1) / PANES as Millis
}

fn place(number: i64) -> usize {
    number.rem_euclid(PANES as i64) as usize
}
