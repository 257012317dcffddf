//! Where the readings of `route` go: three files, each reading written once, straight from the step's borrowed values.

use std::io::Write as _;

use anyhow::Context;
use yiwang_core::record::Signal;
use yiwang_core::registry::DeviceNo;
use yiwang_core::route::{Quarantined, Reading, Sink};
use yiwang_core::sample::{PropertyRef, Sampled, Value};
use yiwang_core::short::Short;
use yiwang_core::thing::Product;
use yiwang_proto::wire::{DeviceText, touch};
use yiwang_router::readings::{Names, version};

use super::files::{Files, Open};
use super::table::Table;
use crate::cli::RouteOutput;

/// What is held back of a file before it is written.
const BLOCK_BYTES: usize = 1 << 18;

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Lines that would be quarantined.
    pub invalid: u64,
    /// Readings with a true alarm condition.
    pub alarm: u64,
    /// Readings without.
    pub normal: u64,
    /// Bytes of all outputs.
    pub bytes: u64,
}

/// The outputs of a run.
pub struct Outputs {
    form: Form,
    normal: Output,
    alarm: Output,
    invalid: Output,
    counts: Counts,
}

/// How readings are written.
enum Form {
    Json(Json),
    Protobuf(Protobuf),
    Blackhole,
}

/// One file, or nowhere.
struct Output {
    file: Option<Open>,
    block: Vec<u8>,
}

impl Outputs {
    /// Of a form, into these files.
    pub fn new(out: RouteOutput, product: &Product, table: &Table, files: Files) -> Self {
        Self {
            form: match out {
                RouteOutput::Json => Form::Json(Json::new(product, table)),
                RouteOutput::Protobuf => Form::Protobuf(Protobuf::new(product, table)),
                RouteOutput::Blackhole => Form::Blackhole,
            },
            normal: Output::to(files.normal),
            alarm: Output::to(files.alarm),
            invalid: Output::to(files.invalid),
            counts: Counts::default(),
        }
    }

    /// Writes what has gathered, where it is much.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn drain(&mut self) -> anyhow::Result<()> {
        self.write(BLOCK_BYTES)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.write(1)
    }

    /// What became of the lines so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn write(&mut self, bytes_min: usize) -> anyhow::Result<()> {
        for output in [&mut self.normal, &mut self.alarm, &mut self.invalid] {
            if output.block.len() >= bytes_min {
                self.counts.bytes += output.block.len() as u64;
                output.write()?;
            }
        }
        Ok(())
    }
}

impl Output {
    fn to(file: Option<Open>) -> Self {
        Self { file, block: Vec::new() }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        if let Some((file, path)) = &mut self.file {
            file.write_all(&self.block)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
        self.block.clear();
        Ok(())
    }
}

impl Sink for Outputs {
    fn expect(&mut self, devices: &[DeviceNo]) {
        let numbers = devices.iter().map(|device| device.0 as usize);
        let touched = match &self.form {
            Form::Json(json) => numbers.fold(0, |all, at| all ^ json.devices.touch(at)),
            Form::Protobuf(protobuf) => numbers.fold(0, |all, at| all ^ protobuf.devices.touch(at)),
            Form::Blackhole => 0,
        };
        std::hint::black_box(touched);
    }

    fn reading(&mut self, reading: &Reading<'_>) {
        let (output, count) = match reading.alarming {
            true => (&mut self.alarm, &mut self.counts.alarm),
            false => (&mut self.normal, &mut self.counts.normal),
        };
        *count += 1;
        match &mut self.form {
            Form::Json(json) => json.write(reading, &mut output.block),
            Form::Protobuf(protobuf) => protobuf.write(reading, &mut output.block),
            Form::Blackhole => {}
        }
    }

    fn signal(&mut self, _: &Signal) {}

    fn quarantine(&mut self, row: &Quarantined<'_>) {
        self.counts.invalid += 1;
        if !matches!(self.form, Form::Blackhole) {
            self.invalid.block.extend_from_slice(row.raw.payload);
            self.invalid.block.push(b'\n');
        }
    }
}

/// Pieces of bytes by number.
#[derive(Default)]
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    /// With room for the cells of a table and so many bytes more for each device.
    fn for_rows(table: &Table, bytes_each: usize) -> Self {
        let bytes = table.bytes() + table.len() * bytes_each;
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(table.len()) }
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Reads the memory of a piece; the answer says nothing.
    fn touch(&self, number: usize) -> usize {
        touch(self.at(number))
    }

    fn at(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }
}

/// JSON lines.
struct Json {
    /// `"name":` with a comma before it, by property.
    names: Vec<Name>,
    /// The cells of each device with their names, and the end of the object.
    devices: Pieces,
}

impl Json {
    fn new(product: &Product, table: &Table) -> Self {
        let name = |text: &str| {
            let mut name = vec![b','];
            json_text(text, &mut name);
            name.push(b':');
            name.into_boxed_slice()
        };
        let columns: Vec<_> = table.columns.iter().map(|column| name(column)).collect();
        let mut devices = Pieces::for_rows(table, columns.iter().map(|name| name.len() + 2).sum());
        for row in table.rows() {
            for ((column, numeric), cell) in columns.iter().zip(&table.numeric).zip(row) {
                devices.bytes.extend_from_slice(column);
                match numeric {
                    true => devices.bytes.extend_from_slice(cell.as_bytes()),
                    false => json_text(cell, &mut devices.bytes),
                }
            }
            devices.bytes.extend_from_slice(b"}\n");
            devices.end();
        }
        let properties = product.properties.iter();
        let names = properties.map(|property| Name::new(name(&property.identifier))).collect();
        Self { names, devices }
    }

    fn write(&self, reading: &Reading<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        for sampled in reading.values {
            match sampled.property {
                PropertyRef::Known(property) if reading.event.is_none() => {
                    self.names[usize::from(property)].append_to(out);
                }
                _ => {
                    out.push(b',');
                    json_text(reading.identifier(sampled), out);
                    out.push(b':');
                }
            }
            json_value(reading, sampled, out);
        }
        out.extend_from_slice(self.devices.at(reading.device_no.0 as usize));
        // The first member has no comma before it: its place takes the brace.
        out[start] = b'{';
    }
}

/// A member's name as it is written. Most fit into a piece that is copied as a whole, which is faster than to look at its
/// length first.
struct Name {
    short: [u8; NAME_BYTES],
    whole: Box<[u8]>,
}

/// Bytes of such a piece.
const NAME_BYTES: usize = 32;

impl Name {
    fn new(whole: Box<[u8]>) -> Self {
        let mut short = [0; NAME_BYTES];
        if let Some(room) = short.get_mut(..whole.len()) {
            room.copy_from_slice(&whole);
        }
        Self { short, whole }
    }

    #[inline]
    fn append_to(&self, out: &mut Vec<u8>) {
        if self.whole.len() > NAME_BYTES {
            return out.extend_from_slice(&self.whole);
        }
        let end = out.len() + self.whole.len();
        out.extend_from_slice(&self.short);
        out.truncate(end);
    }
}

#[inline]
fn json_value(reading: &Reading<'_>, sampled: &Sampled, out: &mut Vec<u8>) {
    match sampled.value {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) | Value::Date(number) => {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        Value::Float(number) => json_number(number, out),
        Value::Enum(_) => json_text(reading.word(sampled).unwrap_or_default(), out),
        Value::Text(span) => json_text(reading.samples.text_at(span), out),
        Value::Json(span) => out.extend_from_slice(reading.samples.text_at(span).as_bytes()),
    }
}

/// A number as JSON, with a point; most have few digits.
#[inline]
fn json_number(number: f64, out: &mut Vec<u8>) {
    // Smaller ones may be written with an exponent.
    const LEAST: f64 = 1e-3;
    match Short::of(number).filter(|_| number == 0.0 || number.abs() >= LEAST) {
        Some(short) => {
            out.extend_from_slice(short.text().bytes());
            if short.decimals() == 0 {
                out.extend_from_slice(b".0");
            }
        }
        None => out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes()),
    }
}

/// A text as JSON; most need no escape.
fn json_text(text: &str, out: &mut Vec<u8>) {
    // No branch in the loop: it is faster than to stop at the first that needs one.
    let escape = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    let plain = !text.bytes().fold(false, |any, byte| any | escape(byte));
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let written = serde_json::to_writer(&mut *out, text);
        debug_assert!(written.is_ok(), "a vector takes any text");
    }
}

/// Length-delimited records of topic `readings`.
struct Protobuf {
    names: Names,
    /// What is the same for all readings of a device.
    devices: Pieces,
}

impl Protobuf {
    fn new(product: &Product, table: &Table) -> Self {
        let product_version = version(product);
        let (mut devices, mut fixed) = (Pieces::default(), Vec::new());
        let (mut key, mut labels) = (String::new(), Vec::new());
        for row in table.rows() {
            labels.clear();
            labels.extend(table.columns.iter().map(String::as_str).zip(row));
            key.clear();
            key.push_str(&product.key);
            key.push('/');
            key.push_str(labels.first().map_or("", |(_, name)| name));
            let text = DeviceText {
                device: &key,
                product_version: &product_version,
                codec_hash: product.codec_hash,
                labels: labels.get(1..).unwrap_or_default(),
                ..DeviceText::default()
            };
            if fixed.is_empty() {
                // What is not of the cells is as long for all devices.
                text.encode(&mut fixed);
                devices = Pieces::for_rows(table, fixed.len());
            }
            text.encode(&mut devices.bytes);
            devices.end();
        }
        Self { names: Names::default(), devices }
    }

    fn write(&mut self, reading: &Reading<'_>, out: &mut Vec<u8>) {
        let device = self.devices.at(reading.device_no.0 as usize);
        // Most lengths have two bytes; where it is another number, the record is moved.
        let start = out.len();
        out.extend_from_slice(&[0; 2]);
        self.names.encode(reading, device, out);
        let mut length = out.len() - start - 2;
        if let 0x80..0x4000 = length {
            out[start..start + 2].copy_from_slice(&[length as u8 | 0x80, (length >> 7) as u8]);
            return;
        }
        let mut bytes = Vec::new();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        out.splice(start..start + 2, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_of_the_general_way() {
        let mut seed = 1_u64;
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let digits = f64::from((seed >> 32) as i32);
            let number = digits / 10_f64.powi((seed >> 27 & 15) as i32);
            let mut written = Vec::new();
            json_number(number, &mut written);
            let expected = zmij::Buffer::new().format_finite(number).to_owned();
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }
}
