//! Decoded property values on their way from a codec to validation, rules and readings.
//!
//! [`Samples`] is one reusable arena: a codec fills it, validation marks it, rules read it, the router turns it into
//! readings. In the steady state nothing here allocates.

use std::ops::Range;

use crate::record::Millis;

/// A piece of [`Samples::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

/// A property value; texts stand in the arena's `text`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// true or false
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Number of the enum value in the thing model's list.
    Enum(u16),
    /// ms since 1970 UTC
    Date(Millis),
    /// UTF-8 text.
    Text(Span),
    /// A struct, an array, or a value of an unknown property, as JSON text.
    Json(Span),
}

/// What the device says of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Quality {
    /// Measured.
    #[default]
    Good,
    /// Measured under doubt.
    Uncertain,
    /// Beyond the instrument's range.
    Over,
    /// Not a measurement: kept for history, no sample for rules and liveness.
    Bad,
}

/// What validation found, as a set of bits; kept with the value and stored with the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// No device time: `t` is the time of reception.
    pub const NO_TIME: Self = Self(1);
    /// Device time before 2020: clock never set.
    pub const CLOCK_UNSET: Self = Self(1 << 1);
    /// Device time too far in the future.
    pub const CLOCK_AHEAD: Self = Self(1 << 2);
    /// Device time too old and the product does not trust old times.
    pub const CLOCK_BEHIND: Self = Self(1 << 3);
    /// Old data, kept at its own time.
    pub const LATE: Self = Self(1 << 4);
    /// Outside min and max: history only.
    pub const OUT_OF_RANGE: Self = Self(1 << 5);
    /// Wrong type or not in the enum: the value was left out.
    pub const BAD_TYPE: Self = Self(1 << 6);
    /// Not in the thing model: history only.
    pub const UNKNOWN_PROPERTY: Self = Self(1 << 7);
    /// A required property is missing (on the reading, not on a value).
    pub const MISSING: Self = Self(1 << 8);
    /// Not a multiple of the model's step.
    pub const OFF_STEP: Self = Self(1 << 9);
    /// Changed faster than the model's maxRate.
    pub const JUMP: Self = Self(1 << 10);
    /// Unchanged for longer than the model's stuckAfter.
    pub const STUCK: Self = Self(1 << 11);
    /// Sent on purpose as old data.
    pub const BACKFILL: Self = Self(1 << 12);

    /// Every flag with its published name.
    pub const NAMES: [(Self, &'static str); 13] = [
        (Self::NO_TIME, "NO_TIME"),
        (Self::CLOCK_UNSET, "CLOCK_UNSET"),
        (Self::CLOCK_AHEAD, "CLOCK_AHEAD"),
        (Self::CLOCK_BEHIND, "CLOCK_BEHIND"),
        (Self::LATE, "LATE"),
        (Self::OUT_OF_RANGE, "OUT_OF_RANGE"),
        (Self::BAD_TYPE, "BAD_TYPE"),
        (Self::UNKNOWN_PROPERTY, "UNKNOWN_PROPERTY"),
        (Self::MISSING, "MISSING"),
        (Self::OFF_STEP, "OFF_STEP"),
        (Self::JUMP, "JUMP"),
        (Self::STUCK, "STUCK"),
        (Self::BACKFILL, "BACKFILL"),
    ];

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other`.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// What keeps a value out of rules, liveness and latest values: it stands in history only.
    pub const HISTORY_ONLY: Self =
        Self(Self::OUT_OF_RANGE.0 | Self::BAD_TYPE.0 | Self::UNKNOWN_PROPERTY.0);

    /// Whether any bit of `other` is set.
    #[must_use]
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The names of the set bits, in the order of the bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// One value of one property.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// Which property.
    pub property: PropertyRef,
    /// Its value.
    pub value: Value,
    /// What the device says of it.
    pub quality: Quality,
    /// What validation says of it.
    pub flags: Flags,
}

impl Sampled {
    /// Whether it is a sample for rules, liveness and latest values. One with [`Flags::BAD_TYPE`] has no value at all:
    /// what stands there is the text as received.
    #[must_use]
    pub const fn counts(&self) -> bool {
        !matches!(self.quality, Quality::Bad) && !self.flags.any(Flags::HISTORY_ONLY)
    }
}

/// The property of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyRef {
    /// Index into the product's `properties`.
    Known(u16),
    /// A name that is not in the thing model.
    Unknown(Span),
}

/// The values of one device at one device time: what becomes one reading.
///
/// One property may stand twice where a message carries two values for one instant; the first is the latest value.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleSet {
    /// The time that rules believe, ms since 1970 UTC.
    pub t: Millis,
    /// Flags of the whole set: clock, late, missing, backfill.
    pub flags: Flags,
    /// Index range into [`Samples::values`].
    pub values: Range<u32>,
}

/// The decoded content of one message: sets in ascending `t`, no two with the same `t`.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The sets.
    pub sets: Vec<SampleSet>,
    /// All values, set by set.
    pub values: Vec<Sampled>,
    /// The characters behind every [`Span`].
    pub text: String,
}

impl Samples {
    /// Empties the arena and keeps its memory.
    pub fn clear(&mut self) {
        self.sets.clear();
        self.values.clear();
        self.text.clear();
    }

    /// Copies text into the arena.
    #[inline]
    pub fn push_text(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span { start, len: text.len() as u32 }
    }

    /// The text behind a span; empty for a span of another arena.
    #[inline]
    #[must_use]
    pub fn text_at(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.text.get(start..start + span.len as usize).unwrap_or_default()
    }

    /// The values of a set.
    #[inline]
    #[must_use]
    pub fn values_of(&self, set: &SampleSet) -> &[Sampled] {
        self.values.get(set.values.start as usize..set.values.end as usize).unwrap_or_default()
    }
}
