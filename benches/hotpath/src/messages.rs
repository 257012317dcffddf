//! What the devices of a fleet send: functions of the device's number and the round, with values that wander a little.

use std::fmt::Write as _;

use prost::encoding::{WireType, encode_key, encode_varint};

/// 2026-11-23 in ms.
const NOW: i64 = 1_795_399_200_000;
/// Time between two rounds.
const ROUND_MS: i64 = 10_000;

/// When the messages of a round arrive.
pub fn time(round: u64) -> i64 {
    NOW + round as i64 * ROUND_MS
}

/// The name of a device.
pub fn plain_name(device: usize) -> String {
    format!("QP-{device:04}-{device:08}")
}

/// The name of an edge node: group and node.
pub fn edge_name(device: usize) -> String {
    format!("qingpu.edge-{device:04}")
}

/// A number below `below` that looks random, the same each time.
fn wander(device: usize, round: u64, salt: u64, below: u64) -> u64 {
    let mixed = (device as u64 ^ round.rotate_left(17) ^ salt.rotate_left(41))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) % below
}

/// As the routing benchmarks have it.
pub fn telemetry(device: usize, round: u64) -> Vec<u8> {
    let some = |salt, below| wander(device, round, salt, below);
    let (hum, lon, lat) = (200 + some(1, 750), 50_000 + device, 100_000 + device);
    format!(
        "{{\"deviceId\":\"{}\",\"product\":\"env_v2\",\"ts\":{},\"seq\":{round},\
         \"params\":{{\"temp\":{},\"hum\":\"{}.{}\",\"pm25\":{},\"lvl\":{},\"batt\":{},\
         \"rssi\":-{}}},\"loc\":{{\"lon\":121.{lon:06},\"lat\":31.{lat:06}}},\
         \"fw\":\"2.{}.1\",\"net\":\"nb-iot\",\"mode\":\"auto\"}}",
        plain_name(device),
        time(round),
        some(2, 420),
        hum / 10,
        hum % 10,
        3 + some(3, 117),
        100 + some(4, 2_700),
        2_900 + some(5, 1_300),
        50 + some(6, 65),
        device % 10,
    )
    .into_bytes()
}

/// Names of the meter's numbers with what they are around, in hundredths.
const METER: [(&str, u64); 19] = [
    ("transformerActivePowerTotalOfAllPhases", 123_450),
    ("retransformerActivePowerTotalOfAllPhases", 32_125),
    ("transformerApparentPowerTotalOfAllPhases", 127_550),
    ("transformerLineVoltageBetweenPhasesAB", 39_820),
    ("transformerLineVoltageBetweenPhasesBC", 39_910),
    ("transformerLineVoltageBetweenPhasesCA", 39_780),
    ("transformerPhaseVoltageOfConductorA", 22_990),
    ("transformerPhaseVoltageOfConductorB", 23_040),
    ("transformerPhaseVoltageOfConductorC", 22_970),
    ("transformerLoadCurrentOfConductorA", 179_025),
    ("transformerLoadCurrentOfConductorB", 181_250),
    ("transformerLoadCurrentOfConductorC", 177_775),
    ("transformerResidualCurrentToTheGround", 425),
    ("transformerPowerFactorOfTheWholeLoad", 52),
    ("transformerFrequencyOfTheSupplyGrid", 4_998),
    ("transformerEnergyImportedSinceInstall", 8_123_456_750),
    ("transformerEnergyExportedSinceInstall", 123_425),
    ("transformerOilTemperatureOfTheTank", 6_150),
    ("transformerWindingTemperatureHottest", 7_825),
];

/// A native body of twenty values.
pub fn meter(device: usize, round: u64) -> Vec<u8> {
    let mut text = format!("{{\"boot\":1,\"seq\":{round},\"ts\":{},\"params\":{{", time(round));
    for (salt, (name, around)) in (0..).zip(METER) {
        let value = around + wander(device, round, salt, 40);
        let _ = write!(text, "\"{name}\":{}.{:02},", value / 100, value % 100);
    }
    text += "\"transformerOperatingModeOfTheBreaker\":\"closed\"}}";
    text.into_bytes()
}

/// A frame of 40 bytes.
pub fn probe(device: usize, round: u64) -> Vec<u8> {
    let some = |salt, below| wander(device, round, salt, below);
    let mut frame = vec![0xa5];
    frame.extend_from_slice(&((time(round) / 1_000) as u32).to_be_bytes());
    frame.extend_from_slice(&1_u16.to_be_bytes());
    frame.extend_from_slice(&(round as u32).to_be_bytes());
    for (salt, around) in (0..).zip([1_200_u64, 1_234, 200]) {
        frame.extend_from_slice(&((around + some(salt, 100)) as u16).to_be_bytes());
    }
    frame.push(100 + some(4, 50) as u8);
    frame.extend_from_slice(&((3_300 + some(5, 300)) as u16).to_be_bytes());
    frame.extend_from_slice(&((10_132_500 + some(6, 9_999)) as u32).to_be_bytes());
    frame.extend_from_slice(&(some(7, 80) as f32 / 8.0).to_be_bytes());
    frame.extend_from_slice(&(round as u32 * 3).to_be_bytes());
    for salt in 8..10 {
        frame.extend_from_slice(&(some(salt, 300) as i16 - 150).to_be_bytes());
    }
    frame.extend_from_slice(&(-50 - some(10, 60) as i16).to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame
}

/// A birth in the first round, data after it.
pub fn edge_topic(device: usize, round: u64) -> String {
    let kind = if round == 0 { "NBIRTH" } else { "NDATA" };
    format!("spBv1.0/qingpu/{kind}/edge-{device:04}")
}

/// Names of the edge node's metrics with the numbers of their types.
const EDGE: [(&str, u64); 8] = [
    ("level", DOUBLE),
    ("flow", DOUBLE),
    ("temperature", DOUBLE),
    ("pressure", DOUBLE),
    ("total", LONG),
    ("pumps", LONG),
    ("running", TRUTH),
    ("fault", TRUTH),
];
const LONG: u64 = 4;
const DOUBLE: u64 = 10;
const TRUTH: u64 = 11;

/// Eight metrics; the birth has their names, what follows only their aliases.
pub fn edge(device: usize, round: u64) -> Vec<u8> {
    let birth = round == 0;
    let mut payload = Vec::new();
    varint_field(1, time(round) as u64, &mut payload);
    if birth {
        let mut metric = Vec::new();
        piece(1, b"bdSeq", &mut metric);
        varint_field(4, LONG, &mut metric);
        varint_field(11, 1, &mut metric);
        piece(2, &metric, &mut payload);
    }
    for (alias, (name, datatype)) in (1..).zip(EDGE) {
        let mut metric = Vec::new();
        if birth {
            piece(1, name.as_bytes(), &mut metric);
        }
        varint_field(2, alias, &mut metric);
        if birth {
            varint_field(4, datatype, &mut metric);
        }
        let value = wander(device, round, alias, 200);
        match datatype {
            DOUBLE => {
                metric.push(13 << 3 | 1);
                metric.extend_from_slice(&(value as f64 / 100.0).to_le_bytes());
            }
            LONG => varint_field(11, value, &mut metric),
            _ => varint_field(14, u64::from(name == "running"), &mut metric),
        }
        piece(2, &metric, &mut payload);
    }
    varint_field(3, round % 256, &mut payload);
    payload
}

fn varint_field(number: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

fn piece(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
