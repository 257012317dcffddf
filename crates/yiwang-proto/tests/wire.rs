//! The hand-written wire code against the generated one, both ways, and against bytes of any kind.

use proptest::prelude::*;
use prost::Message;
use yiwang_core::ids::Id;
use yiwang_core::record::{BodyKind, Clear, Lane, Raw};
use yiwang_core::sample::{Flags, Quality};
use yiwang_proto::record::v1;
use yiwang_proto::wire::{
    DeviceText, RawRecord, ReadingHead, ReadingWriter, ValueKey, WireValue, read_raw, write_clear,
    write_raw, write_tick,
};

fn generated_raw() -> impl Strategy<Value = v1::Raw> {
    let text = "[a-z\u{6c34}/]{0,40}";
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    (text, 1..=3_i32, 1..=4_i32, text, text, text, any::<i64>(), payload).prop_map(
        |(device, lane, kind, path, listener, peer, received_at, payload)| v1::Raw {
            device,
            lane,
            kind,
            path,
            listener,
            peer,
            received_at,
            payload,
            clear: None,
        },
    )
}

fn generated_clear() -> impl Strategy<Value = v1::Raw> {
    let text = "[a-z\u{6c34}/]{0,40}";
    (text, text, text, text, any::<i64>()).prop_map(|(device, rule, actor, reason, received_at)| {
        let clear = Some(v1::Clear { rule, actor, reason });
        v1::Raw { device, received_at, clear, ..v1::Raw::default() }
    })
}

fn generated_value() -> impl Strategy<Value = v1::Value> {
    let kind = prop_oneof![
        any::<bool>().prop_map(v1::value::Kind::BoolValue),
        any::<i64>().prop_map(v1::value::Kind::IntValue),
        (-1e12..1e12_f64).prop_map(v1::value::Kind::DoubleValue),
        "[a-z\u{6c34}]{0,200}".prop_map(v1::value::Kind::TextValue),
        "[\\[\\]{}0-9]{0,20}".prop_map(v1::value::Kind::JsonValue),
        any::<i64>().prop_map(v1::value::Kind::DateValue),
    ];
    let flags = prop_oneof![Just(0_u32), any::<u32>()];
    ("[a-zA-Z]{0,50}", kind, 1..=4_i32, flags).prop_map(|(identifier, kind, quality, flags)| {
        v1::Value { identifier, kind: Some(kind), quality, flags }
    })
}

fn wire_value(value: &v1::Value) -> WireValue<'_> {
    match value.kind.as_ref().expect("made with one") {
        v1::value::Kind::BoolValue(v) => WireValue::Bool(*v),
        v1::value::Kind::IntValue(v) => WireValue::Int(*v),
        v1::value::Kind::DoubleValue(v) => WireValue::Double(*v),
        v1::value::Kind::TextValue(v) => WireValue::Text(v),
        v1::value::Kind::JsonValue(v) => WireValue::Json(v),
        v1::value::Kind::DateValue(v) => WireValue::Date(*v),
    }
}

const QUALITIES: [Quality; 4] = [Quality::Good, Quality::Uncertain, Quality::Over, Quality::Bad];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn raw_is_read_and_written_as_generated(generated in generated_raw()) {
        let bytes = generated.encode_to_vec();
        let RawRecord::Raw(raw) = read_raw(b"k", &bytes).unwrap() else { panic!("a raw record") };
        prop_assert_eq!(raw.device, &generated.device);
        prop_assert_eq!(raw.payload, &generated.payload[..]);
        prop_assert_eq!(raw.received_at, generated.received_at);
        let mut out = Vec::new();
        write_raw(&raw, &mut out);
        prop_assert_eq!(v1::Raw::decode(&out[..]).unwrap(), generated);
    }

    #[test]
    fn a_clear_is_read_and_written_as_generated(generated in generated_clear(), cut in 0.0..1.0_f64) {
        let bytes = generated.encode_to_vec();
        let RawRecord::Clear(clear) = read_raw(b"k", &bytes).unwrap() else { panic!("a clear") };
        let Clear { device, rule, actor, reason, received_at } = clear;
        let wanted = generated.clear.as_ref().unwrap();
        prop_assert_eq!((device, received_at), (&*generated.device, generated.received_at));
        prop_assert_eq!((rule, actor, reason), (&*wanted.rule, &*wanted.actor, &*wanted.reason));
        let mut out = Vec::new();
        write_clear(&clear, &mut out);
        prop_assert_eq!(v1::Raw::decode(&out[..]).unwrap(), generated);
        let cut = (bytes.len() as f64 * cut) as usize;
        let ours = read_raw(b"k", &bytes[..cut]).is_ok();
        prop_assert_eq!(ours, v1::Raw::decode(&bytes[..cut]).is_ok());
    }

    #[test]
    fn a_reading_is_written_as_generated(
        values in proptest::collection::vec(generated_value(), 0..12),
        id in any::<u128>(), time in any::<i64>(), flags in any::<u32>(),
    ) {
        let text = DeviceText {
            device: "gas-01/G-0001",
            product_version: "gas-01@1.0.0",
            codec_hash: Id(7),
            area: ["310118", "310118001", "310118001-S1", "310118001001", ""],
            asset: "gas-0001",
            labels: &[("town", "夏阳"), ("empty", "")],
        };
        let head = ReadingHead { id: Id(id), raw: Id(!id), time, received_at: 5, flags: Flags(flags) };
        let mut out = Vec::new();
        let mut device = Vec::new();
        text.encode(&mut device);
        let mut writer = ReadingWriter::new(&head, &device, &mut out);
        for value in &values {
            let quality = QUALITIES[value.quality as usize - 1];
            let key = ValueKey::new(&value.identifier);
            writer.value(&key, wire_value(value), quality, Flags(value.flags));
        }
        let read = v1::Reading::decode(&out[..]).unwrap();
        prop_assert_eq!(read.values, values);
        prop_assert_eq!(read.id, id.to_be_bytes().to_vec());
        prop_assert_eq!((read.time, read.received_at, read.flags), (time, 5, flags));
        prop_assert_eq!(read.area.unwrap().village, "310118001001");
        prop_assert_eq!((&*read.device, &*read.asset), ("gas-01/G-0001", "gas-0001"));
        prop_assert_eq!((&*read.labels["town"], &*read.labels["empty"]), ("夏阳", ""));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        // Where ours accepts, the generated reader must have accepted too.
        if read_raw(b"k", &bytes).is_ok() {
            prop_assert!(v1::Raw::decode(&bytes[..]).is_ok());
        }
        if read_raw(b"", &bytes).is_ok() {
            prop_assert!(v1::Tick::decode(&bytes[..]).is_ok());
        }
    }

    #[test]
    fn a_cut_record_is_no_longer_record(generated in generated_raw(), cut in 0.0..1.0_f64) {
        let bytes = generated.encode_to_vec();
        let cut = (bytes.len() as f64 * cut) as usize;
        let ours = read_raw(b"k", &bytes[..cut]).is_ok();
        prop_assert_eq!(ours, v1::Raw::decode(&bytes[..cut]).is_ok());
    }
}

#[test]
fn a_tick_has_no_key() {
    let mut out = Vec::new();
    write_tick("gateway-1", 1_795_399_200_000, &mut out);
    let tick = RawRecord::Tick { origin: "gateway-1", received_at: 1_795_399_200_000 };
    assert_eq!(read_raw(b"", &out).unwrap(), tick);
    assert_eq!(v1::Tick::decode(&out[..]).unwrap().origin, "gateway-1");
}

#[test]
fn raw_written_by_the_core_types_reads_back() {
    let raw = Raw {
        device: "gas-01/G-0001",
        lane: Lane::Kafka,
        kind: BodyKind::Property,
        path: "property",
        listener: "intake",
        peer: "",
        received_at: -1,
        payload: b"{}",
    };
    let mut out = Vec::new();
    write_raw(&raw, &mut out);
    assert_eq!(read_raw(b"gas-01/G-0001", &out).unwrap(), RawRecord::Raw(raw));
}
