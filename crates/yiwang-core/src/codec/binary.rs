//! Fixed binary layouts as a flat program: each step reads a few bytes at a known offset.
//!
//! A frame that is too short for a step is refused whole. Layouts with repeats and check sums are refused at load.

use super::Fields;
use super::value::Convert;
use crate::validate::{Intake, Tag};

/// A compiled `codec.kind: binary`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Binary {
    /// Fewest bytes of a frame.
    pub(crate) length_min: usize,
    /// Most bytes of a frame.
    pub(crate) length_max: usize,
    /// What every frame has.
    pub(crate) matches: Vec<Fixed>,
    /// The device time, and ms in one unit of it.
    pub(crate) time: Option<(Wire, i64)>,
    /// The restart counter.
    pub(crate) boot: Option<Wire>,
    /// The message counter.
    pub(crate) seq: Option<Wire>,
    /// Values, in the order of the file.
    pub(crate) steps: Vec<Step>,
}

/// Bytes that must stand at an offset.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    /// Offset.
    pub(crate) at: usize,
    /// The bytes.
    pub(crate) bytes: Box<[u8]>,
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Which property.
    pub(crate) property: u16,
    /// Where and how wide.
    pub(crate) wire: Wire,
    /// Lowest bit and number of bits; all where absent.
    pub(crate) bits: Option<(u32, u32)>,
    /// How the wire value becomes the property value.
    pub(crate) convert: Convert,
    /// Only where these bytes stand.
    pub(crate) when: Option<Fixed>,
}

/// A number on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    /// Offset.
    pub(crate) at: usize,
    /// Width and meaning.
    pub(crate) kind: WireKind,
    /// Most significant byte first.
    pub(crate) big: bool,
}

/// Width and meaning of a number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireKind {
    /// Unsigned, of this many bytes, at most 8.
    Unsigned(usize),
    /// Two's complement, of this many bytes, at most 8.
    Signed(usize),
    /// IEEE 754 single precision.
    Single,
    /// IEEE 754 double precision.
    Double,
}

impl WireKind {
    /// Reads the word of the product file.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "u8" => Self::Unsigned(1),
            "u16" => Self::Unsigned(2),
            "u24" => Self::Unsigned(3),
            "u32" => Self::Unsigned(4),
            "u64" => Self::Unsigned(8),
            "i8" => Self::Signed(1),
            "i16" => Self::Signed(2),
            "i24" => Self::Signed(3),
            "i32" => Self::Signed(4),
            "i64" => Self::Signed(8),
            "f32" => Self::Single,
            "f64" => Self::Double,
            _ => return None,
        })
    }

    /// Bytes on the wire.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::Unsigned(width) | Self::Signed(width) => width,
            Self::Single => 4,
            Self::Double => 8,
        }
    }
}

/// A number from the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    Whole(i128),
    Real(f64),
}

/// Why a frame could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Fewer bytes than the layout has.
    Short(usize),
    /// More bytes than the layout has.
    Long(usize),
    /// Other bytes than every frame has at this offset.
    NoFrame(usize),
}

impl Binary {
    /// Reads a frame.
    pub(crate) fn read(
        &self,
        payload: &[u8],
        intake: &mut Intake<'_>,
    ) -> Result<Fields, Unreadable> {
        if payload.len() < self.length_min {
            return Err(Unreadable::Short(self.length_min));
        }
        if payload.len() > self.length_max {
            return Err(Unreadable::Long(self.length_max));
        }
        if let Some(fixed) = self.matches.iter().find(|fixed| !fixed.holds(payload)) {
            return Err(Unreadable::NoFrame(fixed.at));
        }
        intake.begin();
        for step in &self.steps {
            if !step.when.as_ref().is_none_or(|fixed| fixed.holds(payload)) {
                continue;
            }
            if step.wire.end() > payload.len() {
                return Err(Unreadable::Short(step.wire.end()));
            }
            if intake.admit() && intake.see(step.property) {
                step.run(payload, intake);
            }
        }
        let required = intake.policy.strict || !intake.is_empty_group();
        intake.end(None, required);
        let whole = |wire: &Option<Wire>| match wire.and_then(|wire| wire.read(payload)) {
            Some(Read::Whole(value)) => Some(value),
            _ => None,
        };
        let counter = |wire| whole(wire).and_then(|value| u64::try_from(value).ok());
        let ts = self.time.and_then(|(wire, unit)| {
            let ms = whole(&Some(wire))?.saturating_mul(i128::from(unit));
            Some(ms.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
        });
        Ok(Fields { boot: counter(&self.boot), seq: counter(&self.seq), ts, ..Fields::default() })
    }
}

impl Fixed {
    /// Whether the bytes stand there.
    pub(crate) fn holds(&self, payload: &[u8]) -> bool {
        payload.get(self.at..).is_some_and(|rest| rest.starts_with(&self.bytes))
    }

    /// Offset after the last byte.
    pub(crate) fn end(&self) -> usize {
        self.at + self.bytes.len()
    }
}

impl Wire {
    /// Offset after the last byte.
    pub(crate) fn end(&self) -> usize {
        self.at + self.kind.width()
    }

    fn read(self, payload: &[u8]) -> Option<Read> {
        let width = self.kind.width();
        let bytes = payload.get(self.at..self.at + width)?;
        let mut value = 0_u64;
        for index in 0..width {
            let byte = bytes[if self.big { index } else { width - 1 - index }];
            value = value << 8 | u64::from(byte);
        }
        Some(match self.kind {
            WireKind::Unsigned(_) => Read::Whole(i128::from(value)),
            WireKind::Signed(width) => {
                let shift = 64 - 8 * width as u32;
                Read::Whole(i128::from((value << shift) as i64 >> shift))
            }
            WireKind::Single => Read::Real(f64::from(f32::from_bits(value as u32))),
            WireKind::Double => Read::Real(f64::from_bits(value)),
        })
    }
}

impl Step {
    fn run(&self, payload: &[u8], intake: &mut Intake<'_>) {
        let plan = intake.plan;
        let data = &plan.checks[usize::from(self.property)].data;
        let Some(read) = self.wire.read(payload) else { return };
        let value = match read {
            Read::Whole(value) => self.convert.whole(self.cut(value), data),
            Read::Real(value) => self.convert.real(value, data),
        };
        match value {
            Some(value) => intake.take(self.property, value, Tag::default()),
            None => {
                let raw = match read {
                    Read::Whole(value) => self.cut(value).to_string(),
                    // JSON has no word for what is no number.
                    Read::Real(value) if value.is_finite() => value.to_string(),
                    Read::Real(_) => String::from("null"),
                };
                intake.misfit(self.property, &raw, "number", Tag::default());
            }
        }
    }

    fn cut(&self, value: i128) -> i128 {
        match self.bits {
            Some((low, count)) => value >> low & ((1 << count) - 1),
            None => value,
        }
    }
}
