//! Hand-written protobuf of the hot records: those of topic `raw` are read without copying, they and `Reading` are
//! written straight into the batch. A property test holds them equal to the generated code.
//!
//! The reader accepts any valid protobuf of the message: fields in any order, repeated scalars (the last wins),
//! unknown fields (skipped); anything else is an error, never a panic and never an allocation.

mod raw;

use yiwang_core::ids::Id;
use yiwang_core::record::Millis;
use yiwang_core::sample::{Flags, Quality};

pub use crate::readings::touch;
pub use raw::{RawRecord, read_raw, write_clear, write_raw, write_tick};

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

/// What is the same for all readings of a device, in pieces: those that many devices share are encoded once and copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct DevicePieces<'a> {
    /// Device key.
    pub device: &'a str,
    /// Of [`product_piece`].
    pub product: &'a [u8],
    /// Of [`area_piece`].
    pub area: &'a [u8],
    /// Asset id, or empty.
    pub asset: &'a str,
}

impl DevicePieces<'_> {
    /// Appends its fields.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        write_text(3, self.device, out);
        out.extend_from_slice(self.product);
        out.extend_from_slice(self.area);
        write_text(11, self.asset, out);
    }
}

/// The fields that the readings of a product have in common: `pk@version` and the hash of its codec.
#[must_use]
pub fn product_piece(product_version: &str, codec_hash: Id) -> Box<[u8]> {
    let mut out = Vec::new();
    write_product(product_version, codec_hash, &mut out);
    out.into()
}

fn write_product(product_version: &str, codec_hash: Id, out: &mut Vec<u8>) {
    write_text(8, product_version, out);
    write_bytes(9, &codec_hash.to_bytes(), out);
}

/// The fields that the readings of a place have in common: unit ids of district, town, station, village and grid; empty
/// where there is none.
#[must_use]
pub fn area_piece(area: [&str; 5]) -> Box<[u8]> {
    let mut out = Vec::new();
    write_area(area, &mut out);
    out.into()
}

fn write_area(area: [&str; 5], out: &mut Vec<u8>) {
    let lengths = area.map(|unit| field_length(unit.len()));
    if let length @ 1.. = lengths.iter().sum() {
        out.push(10 << 3 | LENGTH);
        write_varint(length as u64, out);
        for (field, unit) in (1..).zip(area) {
            write_text(field, unit, out);
        }
    }
}

/// The same as texts, for what is written but once.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceText<'a> {
    /// Device key.
    pub device: &'a str,
    /// `pk@version`.
    pub product_version: &'a str,
    /// Hash of the product's codec.
    pub codec_hash: Id,
    /// Unit ids of district, town, station, village and grid; empty where there is none.
    pub area: [&'a str; 5],
    /// Asset id, or empty.
    pub asset: &'a str,
    /// What else is known of the device, by name; no name twice.
    pub labels: &'a [(&'a str, &'a str)],
}

impl DeviceText<'_> {
    /// Appends its fields.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_text(3, self.device, out);
        write_product(self.product_version, self.codec_hash, out);
        write_area(self.area, out);
        write_text(11, self.asset, out);
        for (name, value) in self.labels {
            out.push(12 << 3 | LENGTH);
            write_varint((field_length(name.len()) + field_length(value.len())) as u64, out);
            write_text(1, name, out);
            write_text(2, value, out);
        }
    }
}

/// Bytes of a field of this length with its tag; none where it is empty.
fn field_length(length: usize) -> usize {
    if length == 0 { 0 } else { 1 + varint_length(length as u64) + length }
}

/// The value of a property as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WireValue<'a> {
    /// bool
    Bool(bool),
    /// int
    Int(i64),
    /// float, double
    Double(f64),
    /// text, or the word of an enum
    Text(&'a str),
    /// struct, array, or unknown
    Json(&'a str),
    /// date, ms UTC
    Date(Millis),
}

/// Writes one reading into a buffer; create, add values, drop.
pub struct ReadingWriter<'a> {
    out: &'a mut Vec<u8>,
}

/// The fields of a reading that differ from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct ReadingHead {
    /// Reading id.
    pub id: Id,
    /// Raw id.
    pub raw: Id,
    /// Device time that rules believe, ms UTC.
    pub time: Millis,
    /// When the hub received it, ms UTC.
    pub received_at: Millis,
    /// Flags of the whole set.
    pub flags: Flags,
}

impl<'a> ReadingWriter<'a> {
    /// Begins a reading; `device` are the encoded fields that are the same for all readings of its device.
    #[inline]
    pub fn new(head: &ReadingHead, device: &[u8], out: &'a mut Vec<u8>) -> Self {
        /// Two ids and three numbers with their tags.
        const HEAD_BYTES_MAX: usize = 2 * (2 + 16) + 3 * (1 + VARINT_BYTES_MAX);
        let mut bytes = [0; HEAD_BYTES_MAX];
        bytes[..2].copy_from_slice(&[1 << 3 | LENGTH, 16]);
        bytes[2..18].copy_from_slice(&head.id.to_bytes());
        bytes[18..20].copy_from_slice(&[2 << 3 | LENGTH, 16]);
        bytes[20..36].copy_from_slice(&head.raw.to_bytes());
        let mut at = 36;
        let (time, received_at) = (head.time as u64, head.received_at as u64);
        for (field, value) in [(4, time), (5, received_at), (6, u64::from(head.flags.0))] {
            if value != 0 {
                bytes[at] = field << 3 | VARINT;
                at = put_varint(value, &mut bytes, at + 1);
            }
        }
        append_first(&bytes, at, out);
        out.extend_from_slice(device);
        Self { out }
    }

    /// Adds a value.
    #[inline]
    pub fn value(&mut self, key: &ValueKey, value: WireValue<'_>, quality: Quality, flags: Flags) {
        if quality != Quality::Good || flags.0 != 0 || usize::from(key.length) > SHORT_BYTES {
            return self.any_value(key, value, quality, flags);
        }
        // The common ones are made in one piece and appended at once; all lengths are single bytes.
        let mut bytes = [0; 2 * SHORT_BYTES];
        bytes[..SHORT_BYTES].copy_from_slice(&key.short);
        let mut at = usize::from(key.length);
        match value {
            WireValue::Double(double) => {
                bytes[at] = 4 << 3 | FIXED64;
                bytes[at + 1..at + 9].copy_from_slice(&double.to_le_bytes());
                at += 9;
            }
            WireValue::Int(int) => {
                bytes[at] = 3 << 3 | VARINT;
                at = put_varint(zigzag(int), &mut bytes, at + 1);
            }
            WireValue::Date(date) => {
                bytes[at] = 7 << 3 | VARINT;
                at = put_varint(date as u64, &mut bytes, at + 1);
            }
            WireValue::Bool(truth) => {
                bytes[at..at + 2].copy_from_slice(&[2 << 3 | VARINT, u8::from(truth)]);
                at += 2;
            }
            WireValue::Text(text) if text.len() < SHORT_TEXT_MAX => {
                bytes[at..at + 2].copy_from_slice(&[5 << 3 | LENGTH, text.len() as u8]);
                at += 2;
                bytes[1] = (at - 2 + text.len() + GOOD.len()) as u8;
                append_first(&bytes, at, self.out);
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(&GOOD);
                return;
            }
            WireValue::Text(_) | WireValue::Json(_) => {
                return self.any_value(key, value, quality, flags);
            }
        }
        bytes[at..at + GOOD.len()].copy_from_slice(&GOOD);
        at += GOOD.len();
        bytes[1] = (at - 2) as u8;
        append_first(&bytes, at, self.out);
    }

    fn any_value(&mut self, key: &ValueKey, value: WireValue<'_>, quality: Quality, flags: Flags) {
        let out = &mut *self.out;
        out.push(7 << 3 | LENGTH);
        let body = key.name.len() + value_length(value, flags);
        write_varint(body as u64, out);
        let begin = out.len();
        out.extend_from_slice(&key.name);
        match value {
            WireValue::Bool(v) => out.extend_from_slice(&[2 << 3 | VARINT, u8::from(v)]),
            WireValue::Int(v) => {
                out.push(3 << 3 | VARINT);
                write_varint(zigzag(v), out);
            }
            WireValue::Double(v) => {
                out.push(4 << 3 | FIXED64);
                out.extend_from_slice(&v.to_le_bytes());
            }
            WireValue::Text(v) => write_present(5, v.as_bytes(), out),
            WireValue::Json(v) => write_present(6, v.as_bytes(), out),
            WireValue::Date(v) => {
                out.push(7 << 3 | VARINT);
                write_varint(v as u64, out);
            }
        }
        write_uint(8, quality_to_wire(quality), out);
        write_uint(9, u64::from(flags.0), out);
        debug_assert_eq!(
            out.len() - begin,
            body,
            "the length of a value is known before it is written"
        );
    }
}

/// Tag, length and name up to so many bytes are copied as a piece of this size: faster than to look at their length.
const SHORT_BYTES: usize = 32;
/// Length below which a text leaves the length of its value one byte.
const SHORT_TEXT_MAX: usize = 0x80 - SHORT_BYTES - 2 - GOOD.len();
/// The quality of most values.
const GOOD: [u8; 2] = [8 << 3 | VARINT, quality_to_wire(Quality::Good) as u8];

/// The name of a value as it is written: the same in each reading, so encoded once.
#[derive(Clone, Debug, Default)]
pub struct ValueKey {
    name: Box<[u8]>,
    /// Tag, room for the length of the value, and the name, if they fit; and their length.
    short: [u8; SHORT_BYTES],
    length: u8,
}

impl ValueKey {
    /// Encodes it.
    #[must_use]
    pub fn new(identifier: &str) -> Self {
        let mut name = Vec::new();
        write_text(1, identifier, &mut name);
        let mut short = [0; SHORT_BYTES];
        short[0] = 7 << 3 | LENGTH;
        if let Some(room) = short.get_mut(2..2 + name.len()) {
            room.copy_from_slice(&name);
        }
        let length = (2 + name.len()).min(usize::from(u8::MAX)) as u8;
        Self { name: name.into(), short, length }
    }
}

/// Appends the first bytes of a piece that is copied as a whole.
#[inline]
fn append_first<const N: usize>(piece: &[u8; N], count: usize, out: &mut Vec<u8>) {
    let end = out.len() + count.min(N);
    out.extend_from_slice(piece);
    out.truncate(end);
}

/// Bytes of a value without its name.
fn value_length(value: WireValue<'_>, flags: Flags) -> usize {
    let text = |text: &str| 1 + varint_length(text.len() as u64) + text.len();
    let value = match value {
        WireValue::Bool(_) => 2,
        WireValue::Int(v) => 1 + varint_length(zigzag(v)),
        WireValue::Double(_) => 9,
        WireValue::Text(v) | WireValue::Json(v) => text(v),
        WireValue::Date(v) => 1 + varint_length(v as u64),
    };
    let flags = if flags.0 == 0 { 0 } else { 1 + varint_length(u64::from(flags.0)) };
    value + 2 + flags
}

const fn quality_to_wire(quality: Quality) -> u64 {
    match quality {
        Quality::Good => 1,
        Quality::Uncertain => 2,
        Quality::Over => 3,
        Quality::Bad => 4,
    }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn varint_length(value: u64) -> usize {
    (63 - (value | 1).leading_zeros() as usize) / 7 + 1
}

/// Most bytes of a varint.
const VARINT_BYTES_MAX: usize = 10;

/// Puts a varint at `at`, where there is room, and says where it ends.
#[inline]
fn put_varint<const N: usize>(mut value: u64, bytes: &mut [u8; N], mut at: usize) -> usize {
    while value >= 0x80 {
        bytes[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    bytes[at] = value as u8;
    at + 1
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Proto3: a default value is not written.
fn write_uint(field: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(field << 3 | VARINT);
        write_varint(value, out);
    }
}

fn write_text(field: u8, text: &str, out: &mut Vec<u8>) {
    write_bytes(field, text.as_bytes(), out);
}

fn write_bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        write_present(field, bytes, out);
    }
}

/// A member of a oneof is written even when it is empty.
fn write_present(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | LENGTH);
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

enum Field<'a> {
    Int(u64),
    Bytes(&'a [u8]),
    Skipped,
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field; the outer `None` is malformed, the inner one the end.
    fn next(&mut self) -> Option<Option<(u32, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = u32::try_from(self.varint()?).ok()?;
        let number = Some(key >> 3).filter(|&number| number > 0)?;
        let field = match (key & 7) as u8 {
            VARINT => Field::Int(self.varint()?),
            LENGTH => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            FIXED64 => self.take(8).map(|_| Field::Skipped)?,
            FIXED32 => self.take(4).map(|_| Field::Skipped)?,
            _ => return None,
        };
        Some(Some((number, field)))
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        // Most have one byte.
        if let [first @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(u64::from(*first));
        }
        let mut value = 0_u64;
        for (index, &byte) in self.0.iter().enumerate().take(10) {
            if index == 9 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}
