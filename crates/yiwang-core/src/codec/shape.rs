//! The shape plan: a JSON body that looks like one of the product's test vectors is read in one straight run.
//!
//! A shape is what stands between the values of such a body, byte for byte, and what to do with each value. Every byte
//! is compared; the first surprise ends the attempt, and the general reader reads the body from its beginning. So a
//! shape decides nothing: it is the general reader with its questions answered beforehand, and tests hold the two equal.

use super::Fields;
use super::decimal::{Decimal, exact_f64};
use super::json::{Break, Cursor, STRING_BYTES_MAX};
use super::mapped::Target;
use super::native::ID_CHARS_MAX;
use super::plan::{Bits, Plan};
use super::value::{Convert, read};
use super::words::{Literal, digits, stop};
use crate::sample::{Span, Value};
use crate::thing::DataType;
use crate::validate::{Intake, Tag, VALUES_MAX, word_index};

/// Most shapes of a product's bodies: each that does not fit costs a comparison.
const SHAPES_MAX: usize = 4;
/// Most digits of a number that is read here.
const DIGITS_MAX: usize = 18;

/// How the values of a body are converted.
#[derive(Clone, Copy)]
pub(crate) enum Conversions<'c> {
    /// Each property in its own way.
    Each(&'c [Convert]),
    /// All alike, and none of them may stand in a form that only the body's own reader knows.
    Native(&'c Convert),
}

impl<'c> Conversions<'c> {
    fn of(self, property: u16) -> Option<&'c Convert> {
        match self {
            Self::Each(conversions) => conversions.get(usize::from(property)),
            Self::Native(convert) => Some(convert),
        }
    }
}

/// What a body of a product usually looks like.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    steps: Vec<Step>,
    /// What stands behind the last value.
    end: Literal,
    /// The properties that it names.
    seen: Bits,
    /// ms in one unit of the body's time.
    time_unit: i64,
}

#[derive(Clone, Debug, PartialEq)]
struct Step {
    /// What stands before the value; the opening quote of a text is part of it.
    before: Literal,
    kind: Kind,
    field: Option<Target>,
    property: Option<u16>,
}

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A number that becomes a double, its decimal point moved by so many places to the right.
    Double(i32),
    /// The same in quotes.
    QuotedDouble(i32),
    /// A whole number.
    Int,
    /// A whole number that is a time.
    Date,
    /// `true` or `false`.
    Bool,
    /// A text without escapes.
    Text,
    /// A word of an enum.
    Word,
    /// Any value of a property inside so many containers, by the general reader.
    Any(u32),
}

impl Kind {
    const fn is_quoted(self) -> bool {
        matches!(self, Self::Text | Self::Word | Self::QuotedDouble(_))
    }
}

/// A value of the body that a shape is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// Where it begins.
    pub(crate) start: usize,
    /// Where it has ended.
    pub(crate) end: usize,
    /// Containers that it stands in.
    pub(crate) depth: u32,
    /// What it says of the message.
    pub(crate) field: Option<Target>,
    /// The property it is.
    pub(crate) property: Option<u16>,
}

/// Reads a body by the first shape that it has; `None` if it has none, with the intake as it was.
pub(crate) fn read_any(
    shapes: &[Shape],
    cursor: &Cursor<'_>,
    intake: &mut Intake<'_>,
    conversions: Conversions<'_>,
) -> Option<Fields> {
    for shape in shapes {
        let fields = shape.read(cursor, intake, conversions);
        if fields.is_some() {
            return fields;
        }
        intake.begin_again();
    }
    None
}

/// Adds a shape that is not there yet, while there is room.
pub(crate) fn push_shape(shapes: &mut Vec<Shape>, shape: Option<Shape>) {
    if let Some(shape) = shape
        && shapes.len() < SHAPES_MAX
        && !shapes.contains(&shape)
    {
        shapes.push(shape);
    }
}

/// A number without exponent.
#[derive(Clone, Copy)]
struct Plain {
    mantissa: u64,
    negative: bool,
    /// Digits behind the point.
    decimals: i32,
}

impl Shape {
    /// The shape of a verified body with these values, in their order; `None` where one is of no simple kind.
    pub(crate) fn new(
        body: &str,
        leaves: &[Leaf],
        plan: &Plan,
        conversions: Conversions<'_>,
        time_unit: i64,
    ) -> Option<Self> {
        let (mut steps, mut seen, mut at) = (Vec::new(), Bits::default(), 0);
        for leaf in leaves {
            let text = body.get(leaf.start..leaf.end)?;
            let kind = kind_of(text, leaf, plan, conversions)?;
            let quote = usize::from(kind.is_quoted());
            let before = Literal::new(body.get(at..leaf.start + quote)?);
            at = leaf.end - quote;
            if let Some(property) = leaf.property {
                seen[usize::from(property) / 64] |= 1 << (property % 64);
            }
            steps.push(Step { before, kind, field: leaf.field, property: leaf.property });
        }
        let end = Literal::new(body.get(at..)?);
        (steps.len() <= VALUES_MAX).then_some(Self { steps, end, seen, time_unit })
    }

    /// Reads a body that looks like this; `None` for any other, which leaves the intake in disorder.
    pub(crate) fn read(
        &self,
        cursor: &Cursor<'_>,
        intake: &mut Intake<'_>,
        conversions: Conversions<'_>,
    ) -> Option<Fields> {
        let (text, mut at) = (cursor.text(), cursor.at());
        let bytes = text.as_bytes();
        let mut fields = Fields::default();
        intake.begin();
        intake.see_all(self.seen);
        for step in &self.steps {
            at = step.before.end_in(bytes, at)?;
            let value = match step.kind {
                kind @ (Kind::Double(_) | Kind::QuotedDouble(_) | Kind::Int | Kind::Date) => {
                    let number = Plain::read(bytes, &mut at)?;
                    if let Some(field) = step.field {
                        self.tell(field, number.integer()?, &mut fields)?;
                    }
                    match kind {
                        Kind::Double(shift) | Kind::QuotedDouble(shift) => {
                            Value::Float(number.double(shift)?)
                        }
                        Kind::Date => Value::Date(number.integer()?),
                        _ => Value::Int(number.integer()?),
                    }
                }
                Kind::Text => {
                    let text = plain_text(text, &mut at)?;
                    if step.property.is_none() && step.field.is_none() {
                        continue;
                    }
                    Value::Text(step.text(text, intake, &mut fields)?)
                }
                Kind::Bool => {
                    let rest = bytes.get(at..)?;
                    let value = rest.starts_with(b"true");
                    if !value && !rest.starts_with(b"false") {
                        return None;
                    }
                    at += if value { 4 } else { 5 };
                    Value::Bool(value)
                }
                Kind::Word => {
                    let word = plain_text(text, &mut at)?;
                    let plan = intake.plan;
                    let check = plan.checks.get(usize::from(step.property?))?;
                    Value::Enum(word_index(check, word)?)
                }
                Kind::Any(depth) => {
                    let mut cursor = cursor.back_at(at);
                    any(&mut cursor, intake, step.property?, conversions, depth).ok()?;
                    at = cursor.at();
                    continue;
                }
            };
            if let Some(property) = step.property {
                intake.take(property, value, Tag::default());
            }
        }
        if self.end.end_in(bytes, at)? != bytes.len() {
            return None;
        }
        let required = intake.policy.strict || !intake.is_empty_group();
        intake.end(None, required);
        Some(fields)
    }

    /// What a number says of the message.
    fn tell(&self, field: Target, value: i64, fields: &mut Fields) -> Option<()> {
        match field {
            Target::Time => fields.ts = Some(value.checked_mul(self.time_unit)?),
            Target::Boot => fields.boot = Some(u64::try_from(value).ok()?),
            Target::Sequence => fields.seq = Some(u64::try_from(value).ok()?),
            Target::Id | Target::Device | Target::Property(_) => return None,
        }
        Some(())
    }
}

impl Step {
    /// Keeps a text, and what it says of the message.
    #[inline]
    fn text(&self, text: &str, intake: &mut Intake<'_>, fields: &mut Fields) -> Option<Span> {
        let span = intake.out.push_text(text);
        match self.field {
            None => {}
            Some(Target::Device) => fields.device = some(span),
            // Longer ones are counted in characters, which is rare.
            Some(Target::Id) if text.len() <= ID_CHARS_MAX => fields.id = some(span),
            Some(_) => return None,
        }
        if let Some(property) = self.property {
            let plan = intake.plan;
            let DataType::Text { bytes_max } = plan.checks.get(usize::from(property))?.data else {
                return None;
            };
            if span.len > bytes_max {
                return None;
            }
        }
        Some(span)
    }
}

/// How the value of a leaf is read; `None` if only the general reader can.
fn kind_of(text: &str, leaf: &Leaf, plan: &Plan, conversions: Conversions<'_>) -> Option<Kind> {
    let first = text.bytes().next()?;
    let is_number = first == b'-' || first.is_ascii_digit();
    let is_text = first == b'"';
    match leaf.field {
        Some(Target::Time | Target::Boot | Target::Sequence) if !is_number => return None,
        Some(Target::Id | Target::Device) if !is_text => return None,
        _ => {}
    }
    let Some(property) = leaf.property else {
        // What nobody asks for is compared no further than its kind.
        return match first {
            _ if is_number => Some(if leaf.field.is_some() { Kind::Int } else { Kind::Double(0) }),
            b'"' => Some(Kind::Text),
            b't' | b'f' => Some(Kind::Bool),
            _ => None,
        };
    };
    let convert = conversions.of(property)?;
    let plain = convert.scale.is_none() && convert.offset.is_none() && convert.choices.is_empty();
    let kind = match &plan.checks.get(usize::from(property))?.data {
        DataType::Double | DataType::Float => shift_of(convert).and_then(|shift| match first {
            _ if is_number => Some(Kind::Double(shift)),
            b'"' if convert.quoted => Some(Kind::QuotedDouble(shift)),
            _ => None,
        }),
        DataType::Int if is_number && plain => Some(Kind::Int),
        DataType::Date if is_number && plain => Some(Kind::Date),
        DataType::Bool if matches!(first, b't' | b'f') && plain => Some(Kind::Bool),
        DataType::Text { .. } if is_text && plain => Some(Kind::Text),
        DataType::Enum(_) if is_text && plain => Some(Kind::Word),
        _ => None,
    };
    match (kind, conversions, leaf.field) {
        (None, Conversions::Each(_), None) => Some(Kind::Any(leaf.depth)),
        (kind, ..) => kind,
    }
}

/// How far a scale moves the decimal point, if it does nothing else.
fn shift_of(convert: &Convert) -> Option<i32> {
    match (convert.scale, convert.offset) {
        _ if !convert.choices.is_empty() => None,
        (None, None) => Some(0),
        (Some(Decimal { mantissa: 1, exponent }), None) => Some(exponent),
        _ => None,
    }
}

fn some(span: Span) -> Option<Span> {
    (span.len > 0).then_some(span)
}

fn any(
    cursor: &mut Cursor<'_>,
    intake: &mut Intake<'_>,
    property: u16,
    conversions: Conversions<'_>,
    depth: u32,
) -> Result<(), Break> {
    let Some(convert) = conversions.of(property) else {
        return Err(cursor.syntax("a value"));
    };
    read(cursor, intake, property, convert, Tag::default(), depth)
}

/// A text without escapes up to its closing quote, which stays.
#[inline(always)]
fn plain_text<'a>(text: &'a str, at: &mut usize) -> Option<&'a str> {
    let (end, stop) = stop(text.as_bytes(), *at)?;
    if stop != b'"' || end - *at > STRING_BYTES_MAX {
        return None;
    }
    let start = std::mem::replace(at, end);
    text.get(start..end)
}

impl Plain {
    #[inline(always)]
    fn read(bytes: &[u8], at: &mut usize) -> Option<Self> {
        let negative = bytes.get(*at) == Some(&b'-');
        let start = *at + usize::from(negative);
        let mut mantissa = 0_u64;
        let mut end = digits(bytes, start, &mut mantissa);
        let whole = end - start;
        let leading_zero = whole > 1 && bytes.get(start) == Some(&b'0');
        let mut decimals = 0;
        if bytes.get(end) == Some(&b'.') {
            let point = end + 1;
            end = digits(bytes, point, &mut mantissa);
            decimals = end - point;
            if decimals == 0 {
                return None;
            }
        }
        let exponent = matches!(bytes.get(end), Some(b'e' | b'E'));
        let minus_zero = negative && mantissa == 0;
        if whole == 0 || whole + decimals > DIGITS_MAX || leading_zero || exponent || minus_zero {
            return None;
        }
        *at = end;
        Some(Self { mantissa, negative, decimals: decimals as i32 })
    }

    #[inline]
    fn double(self, shift: i32) -> Option<f64> {
        let magnitude = exact_f64(self.mantissa, shift - self.decimals)?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    #[inline]
    fn integer(self) -> Option<i64> {
        let value = i64::try_from(self.mantissa).ok().filter(|_| self.decimals == 0)?;
        Some(if self.negative { -value } else { value })
    }
}
