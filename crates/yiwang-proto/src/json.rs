//! Records of the log as JSON for people and scripts (`yiwang log read --json`): ids in hex, flags by name, a payload
//! as text where it is text. What is empty is left out. It is for reading only: nothing reads it back.

use prost::Message;
use serde_json::{Map, Value, json};
use yiwang_core::sample::Flags;

use crate::convert::{Malformed, id};
use crate::record::v1;
use crate::wire::{RawRecord, read_raw};

/// One record of a topic.
///
/// # Errors
/// [`Malformed`] if the bytes are no record of the topic, or nobody knows the topic.
pub fn record(topic: &str, key: &[u8], value: &[u8]) -> Result<Value, Malformed> {
    let broken =
        |topic| move |error: prost::DecodeError| Malformed { topic, what: error.to_string() };
    Ok(match topic {
        "raw" => raw(&read_raw(key, value)?),
        "readings" => reading(&v1::Reading::decode(value).map_err(broken("readings"))?),
        "signals" => signal(&v1::Signal::decode(value).map_err(broken("signals"))?),
        "quarantine" => quarantine(&v1::Quarantine::decode(value).map_err(broken("quarantine"))?),
        "lifecycle" => lifecycle(&v1::Lifecycle::decode(value).map_err(broken("lifecycle"))?),
        "incidents" => change(&v1::IncidentChange::decode(value).map_err(broken("incidents"))?),
        "commands" => command(&v1::Command::decode(value).map_err(broken("commands"))?),
        // Private to the roles: not described, only shown.
        "state" => json!({"key": text_or_hex(key), "bytes": value.len()}),
        _ => return Err(Malformed { topic: "?", what: format!("no topic is called {topic}") }),
    })
}

fn raw(record: &RawRecord<'_>) -> Value {
    match record {
        RawRecord::Tick { origin, received_at } => {
            json!({"tick": origin, "received_at": received_at})
        }
        RawRecord::Clear(clear) => short(json!({
            "clear": clear.rule,
            "device": clear.device,
            "actor": clear.actor,
            "reason": clear.reason,
            "received_at": clear.received_at,
        })),
        RawRecord::Raw(raw) => short(json!({
            "device": raw.device,
            "lane": format!("{:?}", raw.lane).to_uppercase(),
            "kind": format!("{:?}", raw.kind).to_uppercase(),
            "path": raw.path,
            "listener": raw.listener,
            "peer": raw.peer,
            "received_at": raw.received_at,
            "payload": text_or_hex(raw.payload),
        })),
    }
}

fn reading(reading: &v1::Reading) -> Value {
    let mut values = Map::new();
    for value in &reading.values {
        let one = short(json!({
            "v": property(value),
            "q": quality(value.quality()),
            "flags": flags(value.flags),
        }));
        // One property may stand twice; a map would hide the second.
        match values.entry(value.identifier.clone()).or_insert(Value::Null) {
            Value::Array(several) => several.push(one),
            empty @ Value::Null => *empty = one,
            first => *first = json!([first.take(), one]),
        }
    }
    short(json!({
        "id": hex_id(&reading.id),
        "raw": hex_id(&reading.raw),
        "device": reading.device,
        "time": reading.time,
        "received_at": reading.received_at,
        "flags": flags(reading.flags),
        "values": values,
        "product_version": reading.product_version,
        "codec_hash": hex_id(&reading.codec_hash),
        "area": reading.area.as_ref().map(|area| short(json!({
            "district": area.district,
            "town": area.town,
            "station": area.station,
            "village": area.village,
            "grid": area.grid,
        }))),
        "asset": reading.asset,
        "labels": reading.labels,
    }))
}

fn property(value: &v1::Value) -> Value {
    match &value.kind {
        Some(v1::value::Kind::BoolValue(v)) => json!(v),
        Some(v1::value::Kind::IntValue(v) | v1::value::Kind::DateValue(v)) => json!(v),
        Some(v1::value::Kind::DoubleValue(v)) => json!(v),
        Some(v1::value::Kind::TextValue(v)) => json!(v),
        Some(v1::value::Kind::JsonValue(v)) => serde_json::from_str(v).unwrap_or_else(|_| json!(v)),
        None => Value::Null,
    }
}

/// GOOD is the rule and left out.
fn quality(quality: v1::Quality) -> &'static str {
    match quality {
        v1::Quality::Good => "",
        other => other.as_str_name().trim_start_matches("QUALITY_"),
    }
}

fn signal(signal: &v1::Signal) -> Value {
    short(json!({
        "source": signal.source,
        "event_id": signal.event_id,
        "kind": signal.kind,
        "alarm_key": signal.alarm_key,
        "category": signal.category,
        "severity": signal.severity,
        "time": signal.time,
        "since": signal.since,
        "received_at": signal.received_at,
        "device": signal.device,
        "asset": signal.asset,
        "place": signal.place,
        "point": signal.point.map(point),
        "cause": signal.cause,
        "text": signal.text,
        "reading": hex_id(&signal.reading),
        "members": signal.members,
    }))
}

fn quarantine(row: &v1::Quarantine) -> Value {
    short(json!({
        "raw": hex_id(&row.raw),
        "reason": row.reason,
        "detail": row.detail,
        "device": row.device,
        "lane": row.lane().as_str_name().trim_start_matches("LANE_"),
        "listener": row.listener,
        "peer": row.peer,
        "path": row.path,
        "received_at": row.received_at,
        "payload": text_or_hex(&row.payload),
        "product_version": row.product_version,
        "codec_hash": hex_id(&row.codec_hash),
        "attempts": row.attempts,
    }))
}

fn lifecycle(row: &v1::Lifecycle) -> Value {
    if row.device.is_empty() {
        let (at, partition, of) = (row.at, row.partition, row.partitions);
        return json!({"time": at, "partition": partition, "partitions": of, "late_ms": row.late_ms});
    }
    short(json!({
        "id": hex_id(&row.id),
        "device": row.device,
        "axis": row.axis,
        "value": row.value,
        "since": row.since,
        "cause": row.cause,
        "epoch": row.epoch,
        "at": row.at,
        "partition": row.partition,
        "number": row.number,
        "group": row.group.as_ref().map(group),
        "signal": row.signal.as_ref().map(signal),
    }))
}

fn point(point: v1::Point) -> Value {
    json!({"lon_e6": point.lon_e6, "lat_e6": point.lat_e6})
}

fn group(group: &v1::Group) -> Value {
    short(json!({
        "key": group.key,
        "size": group.size,
        "share_percent": group.share_percent,
        "members_min": group.members_min,
        "within_ms": group.within_ms,
        "quiet_ms": group.quiet_ms,
        "category": group.category,
        "severity": group.severity,
        "name": group.name,
        "device": group.device,
        "asset": group.asset,
        "place": group.place,
        "point": group.point.map(point),
    }))
}

fn command(command: &v1::Command) -> Value {
    short(json!({
        "id": hex_id(&command.id),
        "device": command.device,
        "lane": command.lane().as_str_name().trim_start_matches("LANE_"),
        "listener": command.listener,
        "topic": command.topic,
        "payload": text_or_hex(&command.payload),
        "asked_at": command.asked_at,
    }))
}

fn change(change: &v1::IncidentChange) -> Value {
    short(json!({
        "seq": change.seq,
        "incident": hex_id(&change.incident),
        "no": change.no,
        "version": change.version,
        "kind": change.kind,
        "action": change.action,
        "at": change.at,
        "state": change.state,
        "category": change.category,
        "severity": change.severity,
        "title": change.title,
        "place": change.place,
        "town": change.town,
        "desk": change.desk,
        "lead": change.lead,
        "source": change.source,
        "event_id": change.event_id,
        "drill_id": change.drill_id,
    }))
}

/// An object without what is empty.
fn short(value: Value) -> Value {
    let Value::Object(mut fields) = value else { return value };
    fields.retain(|_, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    });
    Value::Object(fields)
}

fn flags(bits: u32) -> Vec<&'static str> {
    Flags(bits).names().collect()
}

fn hex_id(bytes: &[u8]) -> String {
    id(bytes).map_or_else(|| hex(bytes), |id| id.to_string())
}

fn text_or_hex(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"hex": hex(bytes)}),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use yiwang_core::ids::Id;
    use yiwang_core::sample::Quality;

    use super::*;
    use crate::wire::{DeviceText, ReadingHead, ReadingWriter, ValueKey, WireValue, write_tick};

    #[test]
    fn a_reading_for_people() {
        let text =
            DeviceText { device: "gas-01/G-1", area: ["qp", "", "", "", ""], ..Default::default() };
        let head =
            ReadingHead { id: Id(1), raw: Id(2), time: 7, received_at: 8, flags: Flags::LATE };
        let mut out = Vec::new();
        let mut device = Vec::new();
        text.encode(&mut device);
        let mut writer = ReadingWriter::new(&head, &device, &mut out);
        let (lel, info) = (ValueKey::new("lel"), ValueKey::new("info"));
        writer.value(&lel, WireValue::Double(1.5), Quality::Good, Flags(0));
        writer.value(&lel, WireValue::Int(-2), Quality::Bad, Flags::OUT_OF_RANGE);
        writer.value(&info, WireValue::Json("{\"a\":1}"), Quality::Good, Flags(0));
        let read = record("readings", b"gas-01/G-1", &out).unwrap();
        assert_eq!(read["id"], "00000000000000000000000000000001");
        assert_eq!(read["flags"], json!(["LATE"]));
        let second = json!({"v": -2, "q": "BAD", "flags": ["OUT_OF_RANGE"]});
        assert_eq!(read["values"]["lel"], json!([{"v": 1.5}, second]));
        assert_eq!(read["values"]["info"]["v"]["a"], 1);
        assert_eq!(read["area"], json!({"district": "qp"}));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let mut tick = Vec::new();
        write_tick("gateway-1", 5, &mut tick);
        assert_eq!(record("raw", b"", &tick).unwrap()["tick"], "gateway-1");
        assert!(record("signals", b"", &[0xff]).is_err());
        assert!(record("nothing", b"", b"").is_err());
        assert_eq!(record("state", &[0xff, 1], b"xyz").unwrap()["key"]["hex"], "ff01");
    }
}
