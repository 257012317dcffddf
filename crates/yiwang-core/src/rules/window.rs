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

/// Summary of some panes, in their order; times are absolute.
#[derive(Clone, Copy, Debug)]
struct Whole {
    count: u64,
    began: Millis,
    ended: Millis,
    first: f64,
    last: f64,
    sum: f64,
    least: f64,
    greatest: f64,
}

impl Whole {
    const EMPTY: Self = Self {
        count: 0,
        began: 0,
        ended: 0,
        first: 0.0,
        last: 0.0,
        sum: 0.0,
        least: f64::INFINITY,
        greatest: f64::NEG_INFINITY,
    };

    /// Adds the pane that begins at `start`, which is later than all before it.
    #[inline]
    fn add(&mut self, pane: &Pane, start: Millis) {
        if pane.count == 0 {
            return;
        }
        if self.count == 0 {
            (self.began, self.first) = (start + Millis::from(pane.first_at), pane.first);
        }
        (self.ended, self.last) = (start + Millis::from(pane.last_at), pane.last);
        self.count += u64::from(pane.count);
        self.sum += pane.sum;
        self.least = self.least.min(pane.least);
        self.greatest = self.greatest.max(pane.greatest);
    }

    #[inline]
    fn value(&self, function: Function) -> f64 {
        if self.count < SAMPLES_MIN {
            return f64::NAN;
        }
        match function {
            Function::Average => self.sum / self.count as f64,
            Function::Least => self.least,
            Function::Greatest => self.greatest,
            Function::Sum => self.sum,
            Function::Count => self.count as f64,
            Function::Delta => self.last - self.first,
            // Samples of one instant have no rate: 0 / 0 is UNKNOWN, and so is anything else over 0.
            Function::Rate => {
                (self.last - self.first) / ((self.ended - self.began) as f64 / 1000.0)
            }
        }
    }
}

/// One window of one device.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Number of the newest pane, counted from the epoch; `i64::MIN` before the first sample.
    newest: i64,
    /// When it begins and how wide it is: most samples fall into it, and need no division to know. No width: not known.
    start: Millis,
    width: Millis,
    /// All panes before the newest, which change only when it does, or by late samples.
    closed: Whole,
    /// By pane number modulo their count.
    panes: [Pane; PANES],
}

impl Window {
    pub(super) const EMPTY: Self = Self {
        newest: i64::MIN,
        start: 0,
        width: 0,
        closed: Whole::EMPTY,
        panes: [Pane::EMPTY; PANES],
    };

    /// The offset of a time in the newest pane, if it falls into that.
    #[inline]
    fn newest_at(&self, t: Millis) -> Option<u32> {
        let at = t.wrapping_sub(self.start);
        (0..self.width).contains(&at).then_some(at as u32)
    }

    /// Takes a sample, unless its pane is no longer held.
    #[inline]
    pub(super) fn join(&mut self, span: Millis, t: Millis, value: f64) {
        match self.newest_at(t) {
            Some(at) => self.panes[place(self.newest)].join(at, value),
            None => self.join_another(width(span), t, value),
        }
    }

    #[inline(never)]
    fn join_another(&mut self, width: Millis, t: Millis, value: f64) {
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
        self.close(width);
    }

    /// Finds anew what follows from the panes.
    fn close(&mut self, width: Millis) {
        (self.start, self.width) = (self.newest.saturating_mul(width), width);
        self.closed = self.whole(self.oldest(self.newest)..self.newest, width);
    }

    /// The first pane that a window up to this one still has.
    fn oldest(&self, last: i64) -> i64 {
        last.max(self.newest).saturating_sub(PANES as i64 - 1)
    }

    fn whole(&self, numbers: std::ops::Range<i64>, width: Millis) -> Whole {
        let mut whole = Whole::EMPTY;
        for number in numbers {
            whole.add(&self.panes[place(number)], number.saturating_mul(width));
        }
        whole
    }

    /// The value of a function over the panes up to that of `t`; NaN is UNKNOWN.
    #[inline]
    pub(super) fn value(&self, function: Function, span: Millis, t: Millis) -> f64 {
        if self.newest_at(t).is_none() {
            return self.value_at_another(function, width(span), t);
        }
        let mut whole = self.closed;
        whole.add(&self.panes[place(self.newest)], self.start);
        whole.value(function)
    }

    #[inline(never)]
    fn value_at_another(&self, function: Function, width: Millis, t: Millis) -> f64 {
        let last = t.div_euclid(width);
        let end = last.min(self.newest).saturating_add(1);
        self.whole(self.oldest(last)..end, width).value(function)
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
