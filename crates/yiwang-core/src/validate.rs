//! Validation: typed values meet the thing model, and device times become the time that rules believe.
//!
//! Owns the tables of devices 2.4 and 4.4. Every codec pushes its values through one [`Intake`], so lenient and strict
//! mean the same for JSON and for frames. In strict mode the first finding decides the fault; reading goes on, so that
//! the message id is still found.

use crate::codec::plan::{Bits, Check, Plan};
use crate::record::Millis;
use crate::sample::{Flags, PropertyRef, Quality, SampleSet, Sampled, Samples, Span, Value};
use crate::thing::{DataType, Limits, OldPolicy, TimePolicy, TimeSource, UnknownPolicy};

/// Most values of a message.
pub(crate) const VALUES_MAX: usize = 500;

/// 2020-01-01T00:00:00Z: a clock before it was never set.
const CLOCK_EPOCH: Millis = 1_577_836_800_000;

/// Working memory of decoding, reused from message to message.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    groups: Vec<Group>,
    /// Device times of values that carry their own: value index and time, ascending by index.
    own_times: Vec<(u32, Millis)>,
    order: Vec<Timed>,
    spare: Vec<Sampled>,
}

/// Values that stand under one device time.
#[derive(Clone, Copy, Debug)]
struct Group {
    start: u32,
    end: u32,
    /// Its own device time; `None` is that of the body.
    ts: Option<Millis>,
    flags: Flags,
}

/// A value with its resolved time.
#[derive(Clone, Copy, Debug)]
struct Timed {
    t: Millis,
    index: u32,
    flags: Flags,
}

/// What is wrong with a message that could be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finding {
    /// Where.
    pub(crate) place: Place,
    /// What.
    pub(crate) wrong: Wrong,
}

/// Where a finding is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// A field of the body.
    Body(&'static str),
    /// A property of the model.
    Known(u16),
    /// A property outside of the model; its name stands in the arena.
    Unknown(Span),
}

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wrong {
    /// Another type, or not a word of the enum.
    Type {
        /// What the model says.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// Outside min and max.
    Range(f64),
    /// Not in the model.
    NotInModel,
    /// Required, and not there.
    Missing,
    /// Given twice.
    Twice,
    /// More than the limit.
    TooMany(usize),
}

/// How a product judges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// `validation.mode: strict`.
    pub(crate) strict: bool,
    /// What becomes of properties outside of the model.
    pub(crate) unknown: UnknownPolicy,
}

/// Whose time and quality a value has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tag {
    /// Its own device time.
    pub(crate) ts: Option<Millis>,
    /// What the device says of it.
    pub(crate) quality: Quality,
}

/// The message being read.
pub(crate) struct Intake<'s> {
    pub(crate) plan: &'s Plan,
    pub(crate) policy: Policy,
    pub(crate) out: &'s mut Samples,
    work: &'s mut Workspace,
    first: Option<Finding>,
    first_bad: Option<Finding>,
    /// Where the open group starts.
    start: u32,
    /// Properties of the open group that were named.
    seen: Bits,
    /// Those of them without a valid value.
    void: Bits,
    /// Values left out by `unknown: drop`.
    pub(crate) dropped: u32,
    count: usize,
}

impl<'s> Intake<'s> {
    /// Begins a message; the arena is empty.
    pub(crate) fn new(
        plan: &'s Plan,
        policy: Policy,
        out: &'s mut Samples,
        work: &'s mut Workspace,
    ) -> Self {
        work.groups.clear();
        work.own_times.clear();
        Self {
            plan,
            policy,
            out,
            work,
            first: None,
            first_bad: None,
            start: 0,
            seen: Bits::default(),
            void: Bits::default(),
            dropped: 0,
            count: 0,
        }
    }

    /// Forgets what was read of the message.
    pub(crate) fn begin_again(&mut self) {
        self.out.clear();
        self.work.groups.clear();
        self.work.own_times.clear();
        (self.first, self.first_bad) = (None, None);
        (self.dropped, self.count) = (0, 0);
        self.begin();
    }

    /// A finding that quarantines the message in both modes.
    pub(crate) fn refuse(&mut self, place: Place, wrong: Wrong) {
        self.first.get_or_insert(Finding { place, wrong });
    }

    /// Begins a group of values under one time.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.start = self.out.values.len() as u32;
        self.seen = Bits::default();
        self.void = Bits::default();
    }

    /// Ends it. `required`: whether this was a report, which must carry what is required.
    pub(crate) fn end(&mut self, ts: Option<Millis>, required: bool) {
        self.close(ts, required, Flags::default());
    }

    /// Ends a group of old data sent on purpose, in a message that may also hold new data.
    pub(crate) fn end_historical(&mut self, ts: Option<Millis>) {
        self.close(ts, false, Flags::BACKFILL);
    }

    fn close(&mut self, ts: Option<Millis>, required: bool, mut flags: Flags) {
        let end = self.out.values.len() as u32;
        if required && let Some(missing) = self.missing() {
            flags.add(Flags::MISSING);
            self.judge(Place::Known(missing), Wrong::Missing);
        }
        if end > self.start {
            self.work.groups.push(Group { start: self.start, end, ts, flags });
        }
        self.start = end;
    }

    /// Whether the open group has no value.
    pub(crate) fn is_empty_group(&self) -> bool {
        self.out.values.len() as u32 == self.start
    }

    fn missing(&self) -> Option<u16> {
        let lacking = |word: usize| self.plan.required[word] & (!self.seen[word] | self.void[word]);
        let word = (0..self.seen.len()).find(|word| lacking(*word) != 0)?;
        Some((word * 64) as u16 + lacking(word).trailing_zeros() as u16)
    }

    /// Whether one more value may follow; counts it.
    #[inline]
    pub(crate) fn admit(&mut self) -> bool {
        self.count += 1;
        if self.count > VALUES_MAX {
            self.refuse(Place::Body("values"), Wrong::TooMany(VALUES_MAX));
        }
        self.count <= VALUES_MAX
    }

    /// Marks properties of the open group as seen, each once.
    #[inline]
    pub(crate) fn see_all(&mut self, properties: Bits) {
        self.seen = properties;
    }

    /// Marks a property of the open group as seen; a second value for it is refused.
    #[inline]
    pub(crate) fn see(&mut self, property: u16) -> bool {
        let (word, bit) = (usize::from(property) / 64, 1_u64 << (property % 64));
        let twice = self.seen[word] & bit != 0;
        if twice {
            self.refuse(Place::Known(property), Wrong::Twice);
        }
        self.seen[word] |= bit;
        !twice
    }

    /// Whether a property of the open group was seen.
    pub(crate) fn saw(&self, property: u16) -> bool {
        self.seen[usize::from(property) / 64] & 1 << (property % 64) != 0
    }

    /// Takes a value of the right type.
    #[inline(always)]
    pub(crate) fn take(&mut self, property: u16, value: Value, tag: Tag) {
        let flags = match value {
            Value::Float(number) => self.weigh(property, number),
            Value::Int(number) => self.weigh(property, number as f64),
            _ => Flags::default(),
        };
        self.push(PropertyRef::Known(property), value, flags, tag);
    }

    /// What the bounds of a property say of a number.
    #[inline]
    fn weigh(&mut self, property: u16, number: f64) -> Flags {
        let plan = self.plan;
        let limits = &plan.checks[usize::from(property)].limits;
        if number >= limits.min && number <= limits.max && limits.step == 0.0 {
            return Flags::default();
        }
        self.weigh_closer(property, number, limits)
    }

    fn weigh_closer(&mut self, property: u16, number: f64, limits: &Limits) -> Flags {
        let mut flags = Flags::default();
        if number < limits.min || number > limits.max {
            flags.add(Flags::OUT_OF_RANGE);
            self.judge(Place::Known(property), Wrong::Range(number));
        }
        if limits.step > 0.0 && off_step(number, limits) {
            flags.add(Flags::OFF_STEP);
        }
        flags
    }

    /// Takes a value of the wrong type, as its text; it does not count as present.
    #[cold]
    pub(crate) fn misfit(&mut self, property: u16, raw: &str, found: &'static str, tag: Tag) {
        let plan = self.plan;
        let expected = plan.checks[usize::from(property)].data.as_str();
        self.void[usize::from(property) / 64] |= 1 << (property % 64);
        let place = Place::Known(property);
        let wrong = Wrong::Type { expected, found };
        self.judge(place, wrong);
        self.first_bad.get_or_insert(Finding { place, wrong });
        let value = Value::Json(self.out.push_text(raw));
        self.push(PropertyRef::Known(property), value, Flags::BAD_TYPE, tag);
    }

    /// Takes a value of a property outside of the model, as JSON text.
    #[cold]
    pub(crate) fn unknown(&mut self, name: Span, raw: &str) {
        let earlier = self.out.values.get(self.start as usize..).unwrap_or_default();
        let twice = earlier.iter().any(|sampled| match sampled.property {
            PropertyRef::Unknown(other) => self.out.text_at(other) == self.out.text_at(name),
            PropertyRef::Known(_) => false,
        });
        if twice {
            self.refuse(Place::Unknown(name), Wrong::Twice);
        }
        self.judge(Place::Unknown(name), Wrong::NotInModel);
        if self.policy.unknown == UnknownPolicy::Drop {
            self.dropped += 1;
            return;
        }
        let value = Value::Json(self.out.push_text(raw));
        self.push(PropertyRef::Unknown(name), value, Flags::UNKNOWN_PROPERTY, Tag::default());
    }

    /// Turns the values since `start`, taken for properties, into fields outside of the model.
    #[cold]
    pub(crate) fn disown(&mut self, start: usize) {
        if start == self.out.values.len() {
            return;
        }
        self.judge(Place::Body("fields beside params"), Wrong::NotInModel);
        if self.policy.unknown == UnknownPolicy::Drop {
            self.dropped += (self.out.values.len() - start) as u32;
            self.out.values.truncate(start);
            self.work.own_times.retain(|(index, _)| (*index as usize) < start);
            return;
        }
        for index in start..self.out.values.len() {
            if let PropertyRef::Known(property) = self.out.values[index].property {
                let name = self.out.push_text(&self.plan.checks[usize::from(property)].name);
                self.out.values[index].property = PropertyRef::Unknown(name);
            }
            self.out.values[index].flags.add(Flags::UNKNOWN_PROPERTY);
        }
    }

    fn judge(&mut self, place: Place, wrong: Wrong) {
        if self.policy.strict {
            self.refuse(place, wrong);
        }
    }

    #[inline]
    fn push(&mut self, property: PropertyRef, value: Value, flags: Flags, tag: Tag) {
        if let Some(ts) = tag.ts {
            self.work.own_times.push((self.out.values.len() as u32, ts));
        }
        self.out.values.push(Sampled { property, value, quality: tag.quality, flags });
    }

    /// The first device time in the message other than the body's: part of the content id.
    pub(crate) fn first_time(&self) -> Option<Millis> {
        let group = self.work.groups.iter().find_map(|group| group.ts);
        group.or_else(|| self.work.own_times.first().map(|(_, ts)| *ts))
    }

    /// What quarantines the message, if anything does.
    pub(crate) fn verdict(&self) -> Option<Finding> {
        let left = || {
            self.out.values.iter().any(|sampled| {
                matches!(sampled.property, PropertyRef::Known(_))
                    && !sampled.flags.has(Flags::BAD_TYPE)
            })
        };
        self.first.or_else(|| self.first_bad.filter(|_| !left()))
    }

    /// Turns groups into sets: ascending times, none equal.
    pub(crate) fn arrange(&mut self, clock: &Clock) {
        let sets = &mut self.out.sets;
        if !self.work.own_times.is_empty() {
            return self.arrange_by_value(clock);
        }
        for group in &self.work.groups {
            let (t, flags) = clock.resolve(group.ts.or(clock.body), group.flags);
            match sets.last_mut() {
                Some(last) if last.t > t || (last.t == t && last.values.end != group.start) => {
                    sets.clear();
                    return self.arrange_by_value(clock);
                }
                Some(last) if last.t == t => {
                    last.values.end = group.end;
                    last.flags.add(flags);
                }
                _ => sets.push(SampleSet { t, flags, values: group.start..group.end }),
            }
        }
    }

    /// The general case: values with times of their own, or groups out of order.
    #[cold]
    fn arrange_by_value(&mut self, clock: &Clock) {
        let Workspace { groups, own_times, order, spare } = &mut *self.work;
        order.clear();
        let mut own = own_times.iter().peekable();
        for group in groups.iter() {
            for index in group.start..group.end {
                let ts = own.next_if(|(value, _)| *value == index).map(|(_, ts)| *ts);
                let ts = ts.or(group.ts).or(clock.body);
                let (t, flags) = clock.resolve(ts, group.flags);
                order.push(Timed { t, index, flags });
            }
        }
        // Unstable sorting does not allocate; the index makes the order total, hence stable.
        order.sort_unstable_by_key(|timed| (timed.t, timed.index));
        spare.clear();
        for timed in order.iter() {
            let at = spare.len() as u32;
            spare.push(self.out.values[timed.index as usize]);
            match self.out.sets.last_mut() {
                Some(last) if last.t == timed.t => {
                    last.values.end = at + 1;
                    last.flags.add(timed.flags);
                }
                _ => self.out.sets.push(SampleSet {
                    t: timed.t,
                    flags: timed.flags,
                    values: at..at + 1,
                }),
            }
        }
        std::mem::swap(&mut self.out.values, spare);
    }

    /// An event is one instant, with or without values: that of the body, else the first time that stands in it.
    pub(crate) fn arrange_as_one(&mut self, clock: &Clock) {
        let ts = clock.body.or_else(|| self.first_time());
        let (t, mut flags) = clock.resolve(ts, Flags::default());
        for group in &self.work.groups {
            flags.add(group.flags);
        }
        let values = 0..self.out.values.len() as u32;
        self.out.sets.push(SampleSet { t, flags, values });
    }
}

/// What times of one message are judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The product's policy.
    pub(crate) policy: TimePolicy,
    /// When the message was received.
    pub(crate) received_at: Millis,
    /// Device time of the body.
    pub(crate) body: Option<Millis>,
    /// Old data on purpose.
    pub(crate) backfill: bool,
}

impl Clock {
    /// The time that rules believe, and why (devices 2.4); `flags` are those of the group.
    pub(crate) fn resolve(&self, ts: Option<Millis>, mut flags: Flags) -> (Millis, Flags) {
        let rx = self.received_at;
        if self.backfill {
            flags.add(Flags::BACKFILL);
        }
        let backfill = flags.has(Flags::BACKFILL);
        let policy = &self.policy;
        let (t, clock) = match ts {
            None => (rx, Flags::NO_TIME),
            Some(_) if policy.source == TimeSource::Server => (rx, Flags::NO_TIME),
            Some(ts) if ts < CLOCK_EPOCH => (rx, Flags::CLOCK_UNSET),
            Some(ts) if ts > rx.saturating_add(policy.clock_skew) => (rx, Flags::CLOCK_AHEAD),
            Some(ts) if rx.saturating_sub(ts) <= policy.late_after => (ts, Flags::default()),
            Some(ts) if backfill || policy.old == OldPolicy::Late => (ts, Flags::LATE),
            Some(_) => (rx, Flags::CLOCK_BEHIND),
        };
        flags.add(clock);
        (t, flags)
    }
}

/// Whether a number is no multiple of the step, counted from the least value where there is one.
fn off_step(number: f64, limits: &Limits) -> bool {
    let origin = if limits.min.is_finite() { limits.min } else { 0.0 };
    let steps = (number - origin) / limits.step;
    (steps - steps.round()).abs() > 1e-6
}

/// The index of a word of an enum.
pub(crate) fn word_index(check: &Check, word: &str) -> Option<u16> {
    let DataType::Enum(words) = &check.data else { return None };
    words.iter().position(|known| &**known == word).map(|index| index as u16)
}
