//! One JSON value meets one property: what native bodies and mapped bodies have in common.

use super::decimal::Decimal;
use super::json::{Break, Cursor, KEYS_MAX, Number, Text};
use crate::sample::{Quality, Span, Value};
use crate::thing::{DataType, Field};
use crate::validate::{Intake, Tag, word_index};

/// How a wire value becomes a property value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Convert {
    /// value = wire × scale + offset
    pub(crate) scale: Option<Decimal>,
    /// See `scale`.
    pub(crate) offset: Option<Decimal>,
    /// Wire words and what they stand for.
    pub(crate) choices: Vec<(Box<str>, Choice)>,
    /// Whether numbers may stand in quotes.
    pub(crate) quoted: bool,
}

/// What a wire word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A word of the enum.
    Enum(u16),
    /// A truth value.
    Bool(bool),
}

impl From<Choice> for Value {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Enum(index) => Self::Enum(index),
            Choice::Bool(truth) => Self::Bool(truth),
        }
    }
}

impl Convert {
    /// The value as it stands.
    pub(crate) const fn plain() -> Self {
        Self { scale: None, offset: None, choices: Vec::new(), quoted: false }
    }

    /// What a wire word stands for.
    pub(crate) fn choice(&self, word: &str) -> Option<Value> {
        self.choices.iter().find(|(wire, _)| &**wire == word).map(|(_, choice)| (*choice).into())
    }

    /// The exact value of a wire value.
    pub(crate) fn apply(&self, wire: Decimal) -> Option<Decimal> {
        let scaled = match self.scale {
            Some(scale) => wire.times(scale)?,
            None => wire,
        };
        match self.offset {
            Some(offset) => scaled.plus(offset),
            None => Some(scaled),
        }
    }

    fn is_plain(&self) -> bool {
        self.scale.is_none() && self.offset.is_none()
    }
}

/// Reads the value that stands next, inside `depth` containers, for this property.
#[inline]
pub(crate) fn read(
    cursor: &mut Cursor<'_>,
    intake: &mut Intake<'_>,
    property: u16,
    convert: &Convert,
    tag: Tag,
    depth: u32,
) -> Result<(), Break> {
    if let b'-' | b'0'..=b'9' = cursor.peek() {
        let number = cursor.number()?;
        take_number(intake, property, number, convert, tag);
        return Ok(());
    }
    read_other(cursor, intake, property, convert, tag, depth)
}

fn read_other(
    cursor: &mut Cursor<'_>,
    intake: &mut Intake<'_>,
    property: u16,
    convert: &Convert,
    tag: Tag,
    depth: u32,
) -> Result<(), Break> {
    let plan = intake.plan;
    let data = &plan.checks[usize::from(property)].data;
    match cursor.peek() {
        b'"' => read_string(cursor, intake, property, convert, tag),
        first @ (b't' | b'f') => {
            let word = if first == b't' { "true" } else { "false" };
            cursor.word(word)?;
            match convert.choice(word) {
                Some(value) => intake.take(property, value, tag),
                None if *data == DataType::Bool => {
                    intake.take(property, Value::Bool(first == b't'), tag);
                }
                None => intake.misfit(property, word, "bool", tag),
            }
            Ok(())
        }
        _ => {
            let start = cursor.at();
            let found = cursor.skip(depth)?;
            let raw = cursor.since(start);
            let composite = matches!(data, DataType::Struct(_) | DataType::Array { .. });
            if composite && fits(&mut cursor.back_at(start), data)? {
                let span = intake.out.push_text(raw);
                intake.take(property, Value::Json(span), tag);
            } else {
                intake.misfit(property, raw, found, tag);
            }
            Ok(())
        }
    }
}

#[inline]
fn take_number(
    intake: &mut Intake<'_>,
    property: u16,
    number: Number<'_>,
    convert: &Convert,
    tag: Tag,
) {
    let plan = intake.plan;
    let value = match &plan.checks[usize::from(property)].data {
        DataType::Double | DataType::Float if convert.is_plain() => {
            finite(number.to_f64()).map(Value::Float)
        }
        DataType::Double | DataType::Float => converted(number, convert),
        DataType::Int if convert.is_plain() => number.to_i64().map(Value::Int),
        DataType::Int => exact(number, convert).map(Value::Int),
        DataType::Date => exact(number, convert).map(Value::Date),
        DataType::Bool if convert.choices.is_empty() => match number.to_i64() {
            Some(0) => Some(Value::Bool(false)),
            Some(1) => Some(Value::Bool(true)),
            _ => None,
        },
        DataType::Bool | DataType::Enum(_) => convert.choice(number.raw),
        DataType::Text { .. } | DataType::Struct(_) | DataType::Array { .. } => None,
    };
    match value {
        Some(value) => intake.take(property, value, tag),
        None => intake.misfit(property, number.raw, "number", tag),
    }
}

fn exact(number: Number<'_>, convert: &Convert) -> Option<i64> {
    convert.apply(number.decimal()?)?.to_i64()
}

/// Scales exactly where the digits fit, and in double precision where a number has more digits than any sensor.
fn converted(number: Number<'_>, convert: &Convert) -> Option<Value> {
    let value = match number.decimal().and_then(|wire| convert.apply(wire)) {
        Some(decimal) => decimal.to_f64(),
        None => {
            let scale = convert.scale.map_or(1.0, Decimal::to_f64);
            let offset = convert.offset.map_or(0.0, Decimal::to_f64);
            number.to_f64() * scale + offset
        }
    };
    finite(value).map(Value::Float)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn read_string(
    cursor: &mut Cursor<'_>,
    intake: &mut Intake<'_>,
    property: u16,
    convert: &Convert,
    tag: Tag,
) -> Result<(), Break> {
    let plan = intake.plan;
    let check = &plan.checks[usize::from(property)];
    let start = cursor.at();
    let text = cursor.string()?;
    let raw = cursor.since(start);
    let mark = intake.out.text.len();
    text.append_to(&mut intake.out.text);
    let span = Span { start: mark as u32, len: (intake.out.text.len() - mark) as u32 };
    let word = intake.out.text_at(span);
    let chosen = convert.choice(word);
    let value = match &check.data {
        _ if chosen.is_some() => chosen,
        DataType::Text { bytes_max } if span.len <= *bytes_max => Some(Value::Text(span)),
        DataType::Enum(_) if convert.choices.is_empty() => word_index(check, word).map(Value::Enum),
        DataType::Double | DataType::Float | DataType::Int | DataType::Date if convert.quoted => {
            intake.out.text.truncate(mark);
            if text.escaped {
                // A copy, since a misfit goes into the arena; hardly any device escapes a digit.
                quoted(&text.resolved(), raw, intake, property, convert, tag);
            } else {
                quoted(text.raw, raw, intake, property, convert, tag);
            }
            return Ok(());
        }
        _ => None,
    };
    if !matches!(value, Some(Value::Text(_))) {
        intake.out.text.truncate(mark);
    }
    match value {
        Some(value) => intake.take(property, value, tag),
        None => intake.misfit(property, raw, "text", tag),
    }
    Ok(())
}

/// A number in quotes: the text between them, escapes resolved; `raw` is as it stands, with its quotes.
#[inline]
fn quoted(
    text: &str,
    raw: &str,
    intake: &mut Intake<'_>,
    property: u16,
    convert: &Convert,
    tag: Tag,
) {
    match Cursor::over(text).number() {
        Ok(number) if number.raw.len() == text.len() => {
            take_number(intake, property, number, convert, tag);
        }
        _ => intake.misfit(property, raw, "text", tag),
    }
}

/// Whether a verified value has this type; the cursor stands before it.
pub(crate) fn fits(cursor: &mut Cursor<'_>, data: &DataType) -> Result<bool, Break> {
    let start = cursor.peek();
    Ok(match (data, start) {
        (DataType::Struct(fields), b'{') => fits_struct(cursor, fields)?,
        (DataType::Array { item, items_max }, b'[') => {
            cursor.expect(b'[', "an array")?;
            let mut all = true;
            let mut count = 0_u32;
            let mut more = cursor.first(b']');
            while more {
                count += 1;
                all &= fits(cursor, item)?;
                more = cursor.next(b']')?;
            }
            all && count <= *items_max
        }
        (DataType::Double | DataType::Float, b'-' | b'0'..=b'9') => {
            cursor.number()?.to_f64().is_finite()
        }
        (DataType::Int | DataType::Date, b'-' | b'0'..=b'9') => cursor.number()?.to_i64().is_some(),
        (DataType::Text { bytes_max }, b'"') => cursor.string()?.len() <= *bytes_max as usize,
        (DataType::Enum(words), b'"') => {
            let text = cursor.string()?;
            words.iter().any(|word| text.is(word))
        }
        _ => cursor.skip(0)? == data.as_str(),
    })
}

fn fits_struct(cursor: &mut Cursor<'_>, fields: &[Field]) -> Result<bool, Break> {
    cursor.expect(b'{', "an object")?;
    let mut seen = 0_u64;
    let mut all = true;
    let mut more = cursor.first(b'}');
    while more {
        let key = cursor.key()?;
        match fields.iter().position(|field| key.is(&field.identifier)) {
            Some(index) => {
                all &= seen & 1 << index == 0;
                seen |= 1 << index;
                all &= fits(cursor, &fields[index].data)?;
            }
            None => {
                cursor.skip(0)?;
                all = false;
            }
        }
        more = cursor.next(b'}')?;
    }
    Ok(all)
}

/// A value in an envelope: `{"v": …, "ts": …, "q": "good"}`; the brace stands next.
pub(crate) fn read_envelope(
    cursor: &mut Cursor<'_>,
    intake: &mut Intake<'_>,
    property: u16,
    convert: &Convert,
    depth: u32,
) -> Result<(), Break> {
    let plan = intake.plan;
    let start = cursor.at();
    let envelope = scan_envelope(cursor, depth)?;
    let raw = cursor.since(start);
    let data = &plan.checks[usize::from(property)].data;
    let is_struct = match data {
        DataType::Struct(fields) => {
            envelope.value.is_none() || fields.iter().any(|field| &*field.identifier == "v")
        }
        _ => false,
    };
    match envelope.value {
        _ if is_struct => {
            let mut again = cursor.back_at(start);
            read_other(&mut again, intake, property, convert, Tag::default(), depth)
        }
        Some(at) if envelope.valid => {
            let tag = Tag { ts: envelope.ts, quality: envelope.quality };
            read(&mut cursor.back_at(at), intake, property, convert, tag, depth + 1)
        }
        _ => {
            intake.misfit(property, raw, "object", Tag::default());
            Ok(())
        }
    }
}

struct Envelope {
    value: Option<usize>,
    ts: Option<i64>,
    quality: Quality,
    valid: bool,
}

/// Verifies an object and finds what an envelope has; anything else in it makes it none.
fn scan_envelope(cursor: &mut Cursor<'_>, depth: u32) -> Result<Envelope, Break> {
    let mut envelope = Envelope { value: None, ts: None, quality: Quality::default(), valid: true };
    if depth >= super::json::DEPTH_MAX {
        return Err(cursor.limit("nesting deeper than 32"));
    }
    cursor.expect(b'{', "an object")?;
    let (mut timed, mut rated, mut count) = (false, false, 0_u32);
    let mut more = cursor.first(b'}');
    while more {
        count += 1;
        if count > KEYS_MAX {
            return Err(cursor.limit("more than 500 keys"));
        }
        let key = cursor.key()?;
        let next = cursor.peek();
        match () {
            () if key.is("v") => {
                envelope.valid &= envelope.value.is_none();
                envelope.value = Some(cursor.at());
                cursor.skip(depth + 1)?;
            }
            () if key.is("ts") => {
                envelope.valid &= !timed;
                timed = true;
                let number = matches!(next, b'-' | b'0'..=b'9');
                envelope.ts = if number { cursor.number()?.to_i64_saturating() } else { None };
                envelope.valid &= envelope.ts.is_some() || next == b'n';
                if !number {
                    cursor.skip(depth + 1)?;
                }
            }
            () if key.is("q") && next == b'"' => {
                envelope.valid &= !rated;
                rated = true;
                let quality = quality(cursor.string()?);
                envelope.valid &= quality.is_some();
                envelope.quality = quality.unwrap_or_default();
            }
            () => {
                envelope.valid = false;
                cursor.skip(depth + 1)?;
            }
        }
        more = cursor.next(b'}')?;
    }
    Ok(envelope)
}

fn quality(word: Text<'_>) -> Option<Quality> {
    Some(match () {
        () if word.is("good") => Quality::Good,
        () if word.is("uncertain") => Quality::Uncertain,
        () if word.is("over") => Quality::Over,
        () if word.is("bad") => Quality::Bad,
        () => return None,
    })
}
