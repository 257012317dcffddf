//! The input of the routing benchmarks: telemetry of a synthetic fleet, the same bytes for the same seed everywhere.
//!
//! By design about 1 % of the lines come from a device that the table does not have, 1 % have a value out of range,
//! 0.1 % are broken off; 5 % are alarms; the rest is ordinary.

use std::io::{self, Write};

/// 2026-11-18 in ms: before the first line.
const FIRST_MS: i64 = 1_795_000_000_000;
const TOWNS: [&str; 11] = [
    "yingpu",
    "xianghuaqiao",
    "xiayang",
    "zhujiajiao",
    "zhaoxiang",
    "xujing",
    "huaxin",
    "chonggu",
    "baihe",
    "liantang",
    "jinze",
];
const KINDS: [&str; 8] = [
    "env_v2",
    "water_level_v1",
    "manhole_v3",
    "smoke_v1",
    "gas_v2",
    "elevator_v1",
    "bridge_v1",
    "lamp_v4",
];

/// splitmix64: the sequence is part of the benchmark's definition.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    fn range(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1).cast_unsigned()).cast_signed()
    }
}

/// Name of a device.
#[must_use]
pub fn device(number: u64) -> String {
    format!("QP-{:04}-{number:08}", number % 97)
}

/// Writes the table of devices: `device_id,town,village,unit,tier`.
///
/// # Errors
/// Those of the output.
pub fn write_table(devices: u64, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "device_id,town,village,unit,tier")?;
    for number in 0..devices {
        let mut random = Random(number ^ 0x0D15_EA5E);
        let town = TOWNS[(random.next() % 11) as usize];
        let (village, unit) = (random.next() % 260, random.next() % 40);
        let tier = 1 + random.next() % 3;
        writeln!(out, "{},{town},v{village:03},unit-{unit:02},{tier}", device(number))?;
    }
    Ok(())
}

/// Writes lines of about 247 bytes.
///
/// # Errors
/// Those of the output.
pub fn write_lines(count: u64, devices: u64, seed: u64, out: &mut impl Write) -> io::Result<()> {
    let mut random = Random(seed);
    let mut ts = FIRST_MS;
    for seq in 0..count {
        ts += random.range(0, 2);
        let roll = random.range(0, 9_999);
        let mut number = random.next() % devices;
        if roll < 100 {
            number += 10_000_000;
        }
        let mut temp = random.range(-50, 420);
        let hum = random.range(200, 950);
        let mut pm25 = random.range(3, 120);
        let (lvl, batt) = (random.range(100, 2_800), random.range(2_900, 4_200));
        let rssi = random.range(-115, -50);
        if (100..200).contains(&roll) {
            temp = 9_000;
        }
        if (200..700).contains(&roll) {
            pm25 = random.range(151, 400);
        }
        let id = device(number);
        if (700..710).contains(&roll) {
            writeln!(out, "{{\"deviceId\":\"{id}\",\"ts\":{ts},\"params\":{{\"temp\":{temp},")?;
            continue;
        }
        let kind = KINDS[(number % 8) as usize];
        let (lon, lat) = (50_000 + number % 200_000, 100_000 + number % 99_999);
        writeln!(
            out,
            "{{\"deviceId\":\"{id}\",\"product\":\"{kind}\",\"ts\":{ts},\"seq\":{seq},\
             \"params\":{{\"temp\":{temp},\"hum\":\"{}.{}\",\"pm25\":{pm25},\"lvl\":{lvl},\
             \"batt\":{batt},\"rssi\":{rssi}}},\"loc\":{{\"lon\":121.{lon:06},\
             \"lat\":31.{lat:06}}},\"fw\":\"2.{}.{}\",\"net\":\"nb-iot\",\"mode\":\"auto\"}}",
            hum / 10,
            hum % 10,
            number % 10,
            number % 7
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_the_published_one() {
        let (mut table, mut lines) = (Vec::new(), Vec::new());
        write_table(3, &mut table).unwrap();
        write_lines(1, 3, 42, &mut lines).unwrap();
        let table = String::from_utf8(table).unwrap();
        assert_eq!(table.lines().nth(1), Some(TABLE_LINE));
        assert_eq!(String::from_utf8(lines).unwrap().trim_end(), LINE);
    }

    const TABLE_LINE: &str = "QP-0000-00000000,yingpu,v194,unit-15,1";
    const LINE: &str = concat!(
        r#"{"deviceId":"QP-0000-00000000","product":"env_v2","ts":1795000000001,"seq":0,"#,
        r#""params":{"temp":133,"hum":"20.9","pm25":77,"lvl":1111,"batt":3186,"rssi":-72},"#,
        r#""loc":{"lon":121.050000,"lat":31.100000},"fw":"2.0.0","net":"nb-iot","mode":"auto"}"#
    );
}
