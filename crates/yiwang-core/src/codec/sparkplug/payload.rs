//! Sparkplug payloads: the envelope, its metrics, and the value that a metric carries.
//!
//! Borrowed from the payload; field by field by the wire format. A metric is read where it is looked at, so an envelope
//! that could be read may still hold a metric that is broken.

use super::REBIRTH;
use crate::codec::proto::{Broken, Content, Reader};
use crate::record::Millis;

/// Most bytes of a payload.
pub(super) const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// An envelope.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    reader: Reader<'a>,
    /// When it was sent, ms UTC.
    pub timestamp: Option<Millis>,
    /// Its place in the sequence of the edge node, as sent.
    pub seq: Option<u64>,
}

impl<'a> Payload<'a> {
    /// Reads the envelope; metrics are passed over.
    ///
    /// # Errors
    /// Bytes that are no protobuf, or more than a payload may have.
    pub fn read(payload: &'a [u8]) -> Result<Self, Broken> {
        let mut reader = Reader::new(payload);
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(reader.expected("a payload of at most 256 KiB"));
        }
        let mut read = Self { reader, timestamp: None, seq: None };
        while let Some((number, content)) = reader.next()? {
            match (number, content) {
                (1, Content::Varint(ms)) => read.timestamp = Some(millis(ms)),
                (3, Content::Varint(seq)) => read.seq = Some(seq),
                (2, Content::Piece(_)) | (4.., _) => {}
                _ => return Err(reader.expected("the form of a known field")),
            }
        }
        Ok(read)
    }

    /// Its metrics, in order.
    pub fn metrics(&self) -> impl Iterator<Item = Result<Metric<'a>, Broken>> + use<'a> {
        let mut reader = self.reader;
        std::iter::from_fn(move || {
            loop {
                match reader.next() {
                    Ok(Some((2, Content::Piece(piece)))) => return Some(Metric::read(piece)),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            }
        })
    }
}

/// A metric, as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric<'a> {
    /// Its name; births have it, later messages may leave it to the alias.
    pub name: Option<&'a str>,
    /// Its alias.
    pub alias: Option<u64>,
    /// When it was measured, ms UTC.
    pub timestamp: Option<Millis>,
    /// Its type, as numbered by the standard.
    pub datatype: Option<Datatype>,
    /// Old data on purpose.
    pub historical: bool,
    /// Not to be stored.
    pub transient: bool,
    /// Without a value on purpose.
    pub null: bool,
    /// Its value.
    pub carried: Carried<'a>,
}

/// A value by the field that carries it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Carried<'a> {
    /// No field.
    None,
    /// Field 10.
    Int(u32),
    /// Field 11.
    Long(u64),
    /// Field 12.
    Float(f32),
    /// Field 13.
    Double(f64),
    /// Field 14.
    Bool(bool),
    /// Field 15.
    Text(&'a str),
    /// Field 16.
    Bytes(&'a [u8]),
    /// Fields 17 to 19: data sets, templates, extensions.
    Other,
}

impl<'a> Metric<'a> {
    fn read(mut reader: Reader<'a>) -> Result<Self, Broken> {
        let mut metric = Self {
            name: None,
            alias: None,
            timestamp: None,
            datatype: None,
            historical: false,
            transient: false,
            null: false,
            carried: Carried::None,
        };
        while let Some((number, content)) = reader.next()? {
            match (number, content) {
                (1, Content::Piece(piece)) => metric.name = Some(piece.text()?),
                (2, Content::Varint(alias)) => metric.alias = Some(alias),
                (3, Content::Varint(ms)) => metric.timestamp = Some(millis(ms)),
                (4, Content::Varint(number)) => metric.datatype = Some(Datatype::new(number)),
                (5, Content::Varint(flag)) => metric.historical = flag != 0,
                (6, Content::Varint(flag)) => metric.transient = flag != 0,
                (7, Content::Varint(flag)) => metric.null = flag != 0,
                (8 | 9, Content::Piece(_)) | (20.., _) => {}
                (10, Content::Varint(value)) => metric.carried = Carried::Int(value as u32),
                (11, Content::Varint(value)) => metric.carried = Carried::Long(value),
                (12, Content::Four(bits)) => {
                    metric.carried = Carried::Float(f32::from_bits(bits));
                }
                (13, Content::Eight(bits)) => {
                    metric.carried = Carried::Double(f64::from_bits(bits));
                }
                (14, Content::Varint(value)) => metric.carried = Carried::Bool(value != 0),
                (15, Content::Piece(piece)) => metric.carried = Carried::Text(piece.text()?),
                (16, Content::Piece(piece)) => metric.carried = Carried::Bytes(piece.bytes()),
                (17..=19, Content::Piece(_)) => metric.carried = Carried::Other,
                _ => return Err(reader.expected("the form of a known field")),
            }
        }
        Ok(metric)
    }
}

/// ms of an unsigned time, as far as they fit.
fn millis(ms: u64) -> Millis {
    Millis::try_from(ms).unwrap_or(Millis::MAX)
}

/// The type of a metric, as numbered by the standard; numbers that it does not have are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datatype(pub u8);

impl Datatype {
    /// DateTime: ms since 1970 UTC.
    pub const DATE_TIME: Self = Self(13);

    /// By number from 0 on, which is the name `Unknown`.
    const NAMES: [&'static str; 35] = [
        "Unknown",
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        "Float",
        "Double",
        "Boolean",
        "String",
        "DateTime",
        "Text",
        "UUID",
        "DataSet",
        "Bytes",
        "File",
        "Template",
        "PropertySet",
        "PropertySetList",
        "Int8Array",
        "Int16Array",
        "Int32Array",
        "Int64Array",
        "UInt8Array",
        "UInt16Array",
        "UInt32Array",
        "UInt64Array",
        "FloatArray",
        "DoubleArray",
        "BooleanArray",
        "StringArray",
        "DateTimeArray",
    ];

    fn new(number: u64) -> Self {
        Self(u8::try_from(number).unwrap_or(u8::MAX))
    }

    /// The name of the standard; `Unknown` for a number that it does not have.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or(Self::NAMES[0])
    }

    /// Whether values of it are refused: what has no place in a thing model.
    #[must_use]
    pub fn is_refused(self) -> bool {
        matches!(self.0, 0 | 16 | 18..=21 | 35..)
    }

    /// Whether values of it are arrays in bytes.
    #[must_use]
    pub fn is_array(self) -> bool {
        matches!(self.0, 22..=34)
    }

    /// A carried whole number as this type; `None` if it is none of this type.
    ///
    /// Of signed types the low bits count: clients send as many as the type has, or 32.
    #[must_use]
    pub fn whole(self, carried: Carried<'_>) -> Option<i128> {
        let wire = match carried {
            Carried::Int(value) => u64::from(value),
            Carried::Long(value) => value,
            _ => return None,
        };
        let unsigned = |bits: u32| (wire >> 1 >> (bits - 1) == 0).then_some(i128::from(wire));
        match self.0 {
            1 => Some(i128::from((wire as u8).cast_signed())),
            2 => Some(i128::from((wire as u16).cast_signed())),
            3 => Some(i128::from((wire as u32).cast_signed())),
            4 => Some(i128::from(wire.cast_signed())),
            5 => unsigned(8),
            6 => unsigned(16),
            7 => unsigned(32),
            8 | 13 => unsigned(64),
            _ => None,
        }
    }
}

/// The payload of an NCMD that asks an edge node for its births, by name as the standard has it.
#[must_use]
pub fn rebirth_request(timestamp: Millis) -> Vec<u8> {
    let timestamp = u64::try_from(timestamp).unwrap_or(0);
    let mut metric = Vec::new();
    write_piece(1, REBIRTH.as_bytes(), &mut metric);
    write_varint(3, timestamp, &mut metric);
    write_varint(4, 11, &mut metric);
    write_varint(14, 1, &mut metric);
    let mut payload = Vec::new();
    write_varint(1, timestamp, &mut payload);
    write_piece(2, &metric, &mut payload);
    payload
}

pub(super) fn write_varint(number: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(number << 3), out);
    varint(value, out);
}

pub(super) fn write_piece(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | 2), out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
