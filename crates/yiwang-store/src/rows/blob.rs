//! Whole rows as one blob: the incident and its tasks as an outbox row shows them.
//!
//! Format: a version byte 1, then per row a count of values and the values, each a tag byte (0
//! null, 1 integer, 2 text, 3 bytes) and its content; lengths and integers (zigzag) are LEB128. A
//! reader that knows more columns than a blob has sees nulls for the rest, so fields are only ever
//! added at the end.

use std::borrow::Cow;

use super::{Cells, Column, Row};
use crate::engine::{Kind, Value, storable};

const VERSION: u8 = 1;

/// An empty blob.
pub(super) fn start() -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.push(VERSION);
    out
}

/// Appends a row.
pub(super) fn push(values: &[Value<'_>], out: &mut Vec<u8>) {
    number(values.len() as u64, out);
    for value in values {
        match value {
            Value::Int(Some(value)) => {
                out.push(1);
                number(((value << 1) ^ (value >> 63)) as u64, out);
            }
            Value::Text(Some(text)) => {
                out.push(2);
                bytes(storable(text).as_bytes(), out);
            }
            Value::Bytes(Some(content)) => {
                out.push(3);
                bytes(content, out);
            }
            Value::Id(id) => {
                out.push(3);
                bytes(&id.to_bytes(), out);
            }
            _ => out.push(0),
        }
    }
}

/// All rows of a blob; `None` for bytes that this version never writes.
pub(super) fn read<R: Row>(blob: &[u8]) -> Option<Vec<R>> {
    let mut columns = Vec::new();
    R::columns("", &mut columns);
    let (&version, mut rest) = blob.split_first()?;
    if version != VERSION {
        return None;
    }
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let mut values = row(&columns, &mut rest)?;
        rows.push(R::take(&mut Cells::new(&mut values)).ok()?);
    }
    Some(rows)
}

fn row(columns: &[Column], rest: &mut &[u8]) -> Option<Vec<Value<'static>>> {
    let count = usize::try_from(take_number(rest)?).ok()?;
    let mut values = Vec::with_capacity(columns.len());
    for index in 0..count {
        let value = value(rest)?;
        let Some(column) = columns.get(index) else { continue };
        values.push(value.unwrap_or_else(|| null(column.kind)));
    }
    values.extend(columns.iter().skip(count).map(|column| null(column.kind)));
    Some(values)
}

fn null(kind: Kind) -> Value<'static> {
    match kind {
        Kind::Int => Value::Int(None),
        Kind::Text => Value::Text(None),
        Kind::Bytes => Value::Bytes(None),
    }
}

/// `Some(None)` is a null, `None` an unreadable blob.
fn value(rest: &mut &[u8]) -> Option<Option<Value<'static>>> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    Some(match tag {
        0 => None,
        1 => {
            let raw = take_number(rest)?;
            Some(Value::Int(Some(((raw >> 1) as i64) ^ -((raw & 1) as i64))))
        }
        2 => {
            let text = std::str::from_utf8(take_bytes(rest)?).ok()?;
            Some(Value::Text(Some(Cow::Owned(text.to_owned()))))
        }
        3 => Some(Value::Bytes(Some(Cow::Owned(take_bytes(rest)?.to_vec())))),
        _ => return None,
    })
}

fn bytes(content: &[u8], out: &mut Vec<u8>) {
    number(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn take_bytes<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(content)
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
