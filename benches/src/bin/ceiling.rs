//! The ceiling sketch of the routing task: what one thread can do when everything about it is compiled in.
//!
//! A reference, not a product: the shape of the lines is a hard-wired struct, tried in one key order with every byte
//! verified and any surprise left to serde_json; the limits, the alarm and the output are code. Reads the lines and
//! `devices.csv` of the present folder, makes protobuf and drops it. Usage: `ceiling < telemetry.ndjson`

use std::io::Read as _;

use hashbrown::HashMap;
use prost::encoding::{
    WireType, double, encode_key, encode_varint, int32, int64, sint32, uint32, uint64,
};
use serde::Deserialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
struct Params<'a> {
    temp: i32,
    hum: &'a str,
    pm25: i32,
    lvl: i32,
    batt: i32,
    rssi: i32,
}

#[derive(Deserialize)]
struct Loc {
    lon: f64,
    lat: f64,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "deviceId")]
    device_id: &'a str,
    product: &'a str,
    ts: i64,
    seq: u64,
    #[serde(borrow)]
    params: Params<'a>,
    loc: Loc,
    fw: &'a str,
    net: &'a str,
    mode: &'a str,
}

/// What is left of a line; every step takes its part off the front or gives up.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[inline(always)]
    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    #[inline(always)]
    fn int(&mut self) -> Option<i64> {
        let negative = self.0.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mut at, mut value) = (start, 0_i64);
        while at < self.0.len() && self.0[at].wrapping_sub(b'0') < 10 {
            value = value * 10 + i64::from(self.0[at] - b'0');
            at += 1;
        }
        if at == start || at - start > 18 {
            return None;
        }
        self.0 = &self.0[at..];
        Some(if negative { -value } else { value })
    }

    #[inline(always)]
    fn string(&mut self) -> Option<&'a str> {
        let mut at = 0;
        while at < self.0.len() {
            let byte = self.0[at];
            if byte == b'"' {
                break;
            }
            if byte == b'\\' || !(0x20..0x80).contains(&byte) {
                return None;
            }
            at += 1;
        }
        if at == self.0.len() {
            return None;
        }
        #[expect(
            unsafe_code,
            reason = "every byte was seen to be ASCII; the reference does no less work than it can"
        )]
        // SAFETY: ASCII is UTF-8.
        let text = unsafe { std::str::from_utf8_unchecked(&self.0[..at]) };
        self.0 = &self.0[at + 1..];
        Some(text)
    }

    /// A plain decimal of at most 15 digits, hence exact.
    #[inline(always)]
    fn decimal(&mut self) -> Option<f64> {
        const POWERS: [f64; 10] = [1., 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
        let whole = self.int()?;
        self.literal(b".")?;
        let (before, first) = (self.0.len(), self.0.first().copied());
        let fraction = self.int()?;
        let digits = before - self.0.len();
        if !(0..=99_999).contains(&whole) || digits > 9 || first == Some(b'-') {
            return None;
        }
        Some((whole as f64 * POWERS[digits] + fraction as f64) / POWERS[digits])
    }
}

#[inline]
fn predict(line: &[u8]) -> Option<Line<'_>> {
    let mut rest = Rest(line);
    rest.literal(b"{\"deviceId\":\"")?;
    let device_id = rest.string()?;
    rest.literal(b",\"product\":\"")?;
    let product = rest.string()?;
    rest.literal(b",\"ts\":")?;
    let ts = rest.int()?;
    rest.literal(b",\"seq\":")?;
    let seq = rest.int()?.cast_unsigned();
    rest.literal(b",\"params\":{\"temp\":")?;
    let temp = rest.int()? as i32;
    rest.literal(b",\"hum\":\"")?;
    let hum = rest.string()?;
    rest.literal(b",\"pm25\":")?;
    let pm25 = rest.int()? as i32;
    rest.literal(b",\"lvl\":")?;
    let lvl = rest.int()? as i32;
    rest.literal(b",\"batt\":")?;
    let batt = rest.int()? as i32;
    rest.literal(b",\"rssi\":")?;
    let rssi = rest.int()? as i32;
    rest.literal(b"},\"loc\":{\"lon\":")?;
    let lon = rest.decimal()?;
    rest.literal(b",\"lat\":")?;
    let lat = rest.decimal()?;
    rest.literal(b"},\"fw\":\"")?;
    let fw = rest.string()?;
    rest.literal(b",\"net\":\"")?;
    let net = rest.string()?;
    rest.literal(b",\"mode\":\"")?;
    let mode = rest.string()?;
    let params = Params { temp, hum, pm25, lvl, batt, rssi };
    let loc = Loc { lon, lat };
    (rest.0 == b"}").then_some(Line { device_id, product, ts, seq, params, loc, fw, net, mode })
}

struct Row {
    town: String,
    village: String,
    unit: String,
    tier: u32,
}

type Table = HashMap<String, Row, foldhash::fast::RandomState>;

fn table() -> Option<Table> {
    let text = std::fs::read_to_string("devices.csv").ok()?;
    let row = |line: &str| {
        let mut cells = line.split(',').map(str::to_owned);
        let name = cells.next()?;
        let (town, village, unit) = (cells.next()?, cells.next()?, cells.next()?);
        Some((name, Row { town, village, unit, tier: cells.next()?.parse().ok()? }))
    };
    text.lines().skip(1).map(row).collect()
}

/// Three converted measurements: temperature, level, battery.
type Converted = (f64, f64, f64);

fn encode(
    line: &Line<'_>,
    humidity: f64,
    converted: Converted,
    row: Option<&Row>,
    out: &mut Vec<u8>,
) {
    fn text(tag: u32, value: &str, out: &mut Vec<u8>) {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(value.len() as u64, out);
        out.extend_from_slice(value.as_bytes());
    }
    let (temperature, level, battery) = converted;
    text(1, line.device_id, out);
    int64::encode(2, &line.ts, out);
    double::encode(3, &temperature, out);
    double::encode(4, &humidity, out);
    int32::encode(5, &line.params.pm25, out);
    double::encode(6, &level, out);
    double::encode(7, &battery, out);
    sint32::encode(8, &line.params.rssi, out);
    text(9, line.product, out);
    uint64::encode(10, &line.seq, out);
    double::encode(11, &line.loc.lon, out);
    double::encode(12, &line.loc.lat, out);
    text(13, line.fw, out);
    text(14, line.net, out);
    text(15, line.mode, out);
    text(16, row.map_or("", |row| &row.town), out);
    text(17, row.map_or("", |row| &row.village), out);
    text(18, row.map_or("", |row| &row.unit), out);
    uint32::encode(19, &row.map_or(0, |row| row.tier), out);
}

struct Run {
    table: Table,
    /// Invalid, alarm, normal.
    routes: [u64; 3],
    bytes: u64,
    outs: [Vec<u8>; 3],
}

impl Run {
    fn line(&mut self, bytes: &[u8]) {
        let Some(line) = predict(bytes).or_else(|| serde_json::from_slice(bytes).ok()) else {
            self.routes[0] += 1;
            self.bytes += bytes.len() as u64;
            self.outs[0].extend_from_slice(bytes);
            return;
        };
        let params = &line.params;
        let humidity: f64 = params.hum.parse().unwrap_or(f64::NAN);
        let temperature = f64::from(params.temp) / 10.0;
        let (level, battery) = (f64::from(params.lvl) / 1_000.0, f64::from(params.batt) / 1_000.0);
        let valid = (-40.0..=85.0).contains(&temperature)
            && (0.0..=100.0).contains(&humidity)
            && (0..=1_000).contains(&params.pm25)
            && (0.0..=10.0).contains(&level)
            && (2.0..=4.5).contains(&battery)
            && (-130..=0).contains(&params.rssi);
        let row = self.table.get(line.device_id);
        let alarm = params.pm25 > 150 || level > 3.0 || temperature > 60.0;
        let route = match (valid, row.is_some()) {
            (true, true) => 2 - usize::from(alarm),
            _ => 0,
        };
        self.routes[route] += 1;
        let out = &mut self.outs[route];
        let before = out.len();
        encode(&line, humidity, (temperature, level, battery), row, out);
        self.bytes += (out.len() - before) as u64;
        if out.len() > 1 << 16 {
            std::hint::black_box(&*out);
            out.clear();
        }
    }
}

fn main() {
    let Some(table) = table() else {
        eprintln!("devices.csv of the present folder cannot be read");
        std::process::exit(1);
    };
    let mut run = Run { table, routes: [0; 3], bytes: 0, outs: Default::default() };
    let mut input = std::io::stdin().lock();
    let mut buffer = vec![0; 1 << 20];
    let mut filled = 0;
    while let Ok(read @ 1..) = input.read(&mut buffer[filled..]) {
        filled += read;
        let mut at = 0;
        while let Some(end) = memchr::memchr(b'\n', &buffer[at..filled]) {
            run.line(&buffer[at..at + end]);
            at += end + 1;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
    let [invalid, alarm, normal] = run.routes;
    let bytes = run.bytes;
    eprintln!(r#"{{"invalid":{invalid},"alarm":{alarm},"normal":{normal},"bytes":{bytes}}}"#);
}
