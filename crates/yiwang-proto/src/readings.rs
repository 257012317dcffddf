//! Readings as protobuf: what lies on topic `readings`, written straight from the step's borrowed values.
//!
//! Owns the encoded names of properties; what is the same for all readings of a device comes in encoded.

use crate::wire::{ReadingHead, ReadingWriter, ValueKey, WireValue};
use yiwang_core::route::Reading;
use yiwang_core::sample::{PropertyRef, Sampled, Value};
use yiwang_core::thing::Product;

/// The encoded names of properties, by product number and property; made when a product is first heard.
#[derive(Debug, Default)]
pub struct Names(Vec<Vec<ValueKey>>);

impl Names {
    /// Forgets all: another registry numbers products anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends the protobuf of a reading; `device` are the encoded fields that are the same for all readings of its device.
    pub fn encode(&mut self, reading: &Reading<'_>, device: &[u8], out: &mut Vec<u8>) {
        let product = usize::from(reading.device.product);
        if self.0.len() <= product {
            self.0.resize_with(product + 1, Vec::new);
        }
        let known = &mut self.0[product];
        if known.is_empty() {
            let properties = reading.product.properties.iter();
            known.extend(properties.map(|property| ValueKey::new(&property.identifier)));
        }
        let head = ReadingHead {
            id: reading.id,
            raw: reading.raw,
            time: reading.t,
            received_at: reading.received_at,
            flags: reading.flags,
        };
        let mut writer = ReadingWriter::new(&head, device, out);
        for sampled in reading.values {
            let value = value_of(reading, sampled);
            let key = match (reading.event, sampled.property) {
                (None, PropertyRef::Known(property)) => known.get(usize::from(property)),
                _ => None,
            };
            match key {
                Some(key) => writer.value(key, value, sampled.quality, sampled.flags),
                None => {
                    let key = ValueKey::new(reading.identifier(sampled));
                    writer.value(&key, value, sampled.quality, sampled.flags);
                }
            }
        }
    }
}

/// Reads every line of a piece of memory, so that it is at hand when it is used; the answer says nothing.
#[must_use]
pub fn touch(piece: &[u8]) -> usize {
    /// Bytes that the processor fetches at a time.
    const LINE: usize = 64;
    let lines = piece.iter().step_by(LINE).fold(0, |all, byte| all ^ usize::from(*byte));
    lines ^ piece.last().map_or(0, |byte| usize::from(*byte))
}

/// `pk@version`, as readings name it.
pub fn version(product: &Product) -> String {
    format!("{}@{}", product.key, product.version)
}

#[inline]
fn value_of<'a>(reading: &Reading<'a>, sampled: &Sampled) -> WireValue<'a> {
    match sampled.value {
        Value::Bool(value) => WireValue::Bool(value),
        Value::Int(value) => WireValue::Int(value),
        Value::Float(value) => WireValue::Double(value),
        Value::Enum(_) => WireValue::Text(reading.word(sampled).unwrap_or_default()),
        Value::Date(value) => WireValue::Date(value),
        Value::Text(span) => WireValue::Text(reading.samples.text_at(span)),
        Value::Json(span) => WireValue::Json(reading.samples.text_at(span)),
    }
}
