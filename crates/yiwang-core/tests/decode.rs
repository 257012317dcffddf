//! Decoding and validation, case by case: bodies of devices 2.3, times of 2.4, identities of 2.5, findings of 4.4.

use yiwang_core::codec::{Fault, Header, Message, MessageId, Received, Scratch};
use yiwang_core::ids;
use yiwang_core::record::{BodyKind, QuarantineReason};
use yiwang_core::sample::{Flags, PropertyRef, Samples, Value};
use yiwang_core::thing::Product;

/// 2026-11-23 10:00:00 +08:00
const RX: i64 = 1_795_399_200_000;
const HOUR: i64 = 3_600_000;

fn load(name: &str, text: &str) -> Product {
    let (product, problems) = Product::load(&format!("{name}.thing.yaml"), text);
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    product.unwrap_or_else(|| panic!("{name}: {words:#?}"))
}

fn shipped(key: &str) -> Product {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/products/");
    let text = std::fs::read_to_string(format!("{folder}{key}.thing.yaml")).expect("shipped");
    load(key, &text)
}

/// A product with one property of each type.
fn every_type(validation: &str, codec: &str) -> Product {
    load(
        "t-1",
        &format!(
            "schema: yiwang-thing/1
profile: {{productKey: t-1, name: test, version: 1.0.0, kind: test/all}}
access: {{identity: seq}}
{codec}
properties:
  - {{identifier: truth, dataType: {{type: bool}}}}
  - {{identifier: whole, dataType: {{type: int, specs: {{min: -100, max: 100, step: 5}}}}}}
  - {{identifier: real, dataType: {{type: double, specs: {{min: 0, max: 10}}}}}}
  - {{identifier: word, dataType: {{type: enum, specs: {{values: [auto, manual]}}}}}}
  - {{identifier: note, dataType: {{type: text, specs: {{size: 8}}}}}}
  - {{identifier: day, dataType: {{type: date}}}}
  - {{identifier: pair, dataType: {{type: struct, specs: [
      {{identifier: a, dataType: {{type: int}}}}, {{identifier: b, dataType: {{type: text}}}}]}}}}
  - {{identifier: list, dataType: {{type: array, specs: {{item: {{type: double}}, size: 3}}}}}}
validation: {{{validation}}}
"
        ),
    )
}

struct Read {
    result: Result<Header, Fault>,
    samples: Samples,
}

fn decode_at(product: &Product, path: &str, body: &[u8], rx: i64) -> Read {
    let kind = match path {
        "property" => BodyKind::Property,
        "raw" => BodyKind::Raw,
        _ => BodyKind::Event,
    };
    let mut samples = Samples::default();
    let message = Message { kind, path, payload: body, received: Received::At(rx) };
    let result = product.decode(&message, &mut Scratch::default(), &mut samples);
    Read { result, samples }
}

fn decode(product: &Product, body: &str) -> Read {
    decode_at(product, "property", body.as_bytes(), RX)
}

impl Read {
    fn ok(&self) -> &Header {
        self.result.as_ref().unwrap_or_else(|fault| panic!("{fault:?}"))
    }

    fn fault(&self) -> (QuarantineReason, &str) {
        match &self.result {
            Ok(header) => panic!("{header:?} {:?}", self.samples),
            Err(fault) => (fault.reason, &fault.detail),
        }
    }

    /// Every set as `t - RX`, flags, and `name=value flags` for each value.
    fn sets(&self, product: &Product) -> Vec<String> {
        self.ok();
        let samples = &self.samples;
        let flags = |flags: Flags| flags.names().map(|name| format!(" {name}")).collect::<String>();
        samples
            .sets
            .iter()
            .map(|set| {
                let values: Vec<String> = samples
                    .values_of(set)
                    .iter()
                    .map(|sampled| {
                        let name = match sampled.property {
                            PropertyRef::Known(at) => {
                                &*product.properties[usize::from(at)].identifier
                            }
                            PropertyRef::Unknown(span) => samples.text_at(span),
                        };
                        let value = match sampled.value {
                            Value::Text(span) | Value::Json(span) => {
                                String::from(samples.text_at(span))
                            }
                            Value::Bool(value) => value.to_string(),
                            Value::Int(value) | Value::Date(value) => value.to_string(),
                            Value::Float(value) => value.to_string(),
                            Value::Enum(value) => format!("#{value}"),
                        };
                        format!("{name}={value}{}", flags(sampled.flags))
                    })
                    .collect();
                format!("{}{}: {}", set.t - RX, flags(set.flags), values.join(", "))
            })
            .collect()
    }
}

#[test]
fn a_set_with_a_value_of_its_own_time() {
    let radar = shipped("wl-radar-01");
    let read = decode(
        &radar,
        r#"{"boot":7,"seq":1024,"ts":1795399200000,"params":{"level":1.27,"battery":{"v":11.9,"ts":1795399199000,"q":"good"}},"ack":1}"#,
    );
    assert_eq!(read.sets(&radar), ["-1000: battery=11.9", "0: level=1.27"]);
    let header = read.ok();
    assert_eq!(header.identity, MessageId::Sequence { boot: 7, seq: 1024 });
    assert!(header.verdict_wanted);
}

#[test]
fn a_batch_is_sorted_and_equal_times_are_one_instant() {
    let radar = shipped("wl-radar-01");
    let read = decode(
        &radar,
        r#"{"items":[{"ts":1795399140000,"params":{"level":3}},{"params":{"level":1},"ts":1795399080000},
            {"ts":1795399140000,"params":{"level":4,"battery":12}}],"seq":2,"boot":1}"#,
    );
    assert_eq!(read.sets(&radar), ["-120000: level=1", "-60000: level=3, level=4, battery=12"]);
    assert_eq!(read.ok().identity, MessageId::Sequence { boot: 1, seq: 2 });
}

#[test]
fn backfill_is_told_wherever_it_stands() {
    let radar = shipped("wl-radar-01");
    let read = decode(
        &radar,
        r#"{"boot":7,"seq":1,"items":[{"ts":1795377600000,"params":{"level":1.11}}],"backfill":true}"#,
    );
    assert_eq!(read.sets(&radar), ["-21600000 BACKFILL: level=1.11"]);
    assert!(read.ok().backfill);
}

#[test]
fn bare_objects_and_fields_beside_params() {
    let radar = shipped("wl-radar-01");
    let read = decode(&radar, r#"{"level":1.27}"#);
    assert_eq!(read.sets(&radar), ["0 NO_TIME: level=1.27"]);
    assert_eq!(read.ok().identity, MessageId::Place);
    let read = decode(&radar, r#"{"level":1.27,"ts":1795399199000}"#);
    assert_eq!(read.sets(&radar), ["-1000: level=1.27"]);
    assert_eq!(read.ok().identity, MessageId::Content { ts: RX - 1_000 });
    for body in [
        r#"{"battery":9,"params":{"level":1},"fw":"1.2"}"#,
        r#"{"fw":"1.2","battery":9,"params":{"level":1}}"#,
    ] {
        let read = decode(&radar, body);
        let sets = read.sets(&radar).join("");
        assert!(sets.contains("battery=9 UNKNOWN_PROPERTY"), "{sets}");
        assert!(sets.contains("fw=\"1.2\" UNKNOWN_PROPERTY"), "{sets}");
        assert!(sets.contains("level=1,") || sets.ends_with("level=1"), "{sets}");
    }
    let read = decode(&radar, "{}");
    assert_eq!(read.sets(&radar), Vec::<String>::new());
    let strict = shipped("nd-01");
    let (reason, detail) = (QuarantineReason::Schema, "noise: expected a value, found none");
    assert_eq!(decode(&strict, "{}").fault(), (reason, detail));
    let beside = decode(&strict, r#"{"params":{"noise":50,"pm10":3},"fw":1}"#);
    assert_eq!(beside.fault().0, QuarantineReason::Schema);
}

#[test]
fn times_that_are_believed() {
    let radar = shipped("wl-radar-01");
    let smoke = shipped("smoke-01");
    let set = |product: &Product, ts: String, value: &str| {
        let body = format!(r#"{{"ts":{ts},"params":{{{value}}}}}"#);
        decode(product, &body).sets(product).remove(0)
    };
    let level = |ts: i64| set(&radar, ts.to_string(), r#""level":1"#);
    assert_eq!(level(RX + 10 * 60_000), "600000: level=1");
    assert_eq!(level(RX + 10 * 60_000 + 1), "0 CLOCK_AHEAD: level=1");
    assert_eq!(level(RX - 24 * HOUR), "-86400000: level=1");
    assert_eq!(level(RX - 24 * HOUR - 1), "-86400001 LATE: level=1");
    assert_eq!(level(1_577_836_799_999), "0 CLOCK_UNSET: level=1");
    assert_eq!(level(RX / 1_000), "0 CLOCK_UNSET: level=1");
    assert_eq!(level(i64::MIN), "0 CLOCK_UNSET: level=1");
    for huge in ["9223372036854775808", "99999999999999999999999999"] {
        assert_eq!(set(&radar, huge.into(), r#""level":1"#), "0 CLOCK_AHEAD: level=1");
    }
    assert_eq!(set(&radar, "null".into(), r#""level":1"#), "0 NO_TIME: level=1");
    let old = (RX - 25 * HOUR).to_string();
    assert_eq!(set(&smoke, old.clone(), r#""smoke":true"#), "0 CLOCK_BEHIND: smoke=true");
    let body = format!(r#"{{"ts":{old},"backfill":1,"params":{{"smoke":true}}}}"#);
    assert_eq!(decode(&smoke, &body).sets(&smoke), ["-90000000 LATE BACKFILL: smoke=true"]);
}

#[test]
fn identities() {
    let radar = shipped("wl-radar-01");
    let read = decode(&radar, r#"{"id":"m-1024","seq":4,"params":{"level":1}}"#);
    let MessageId::Text(span) = read.ok().identity else { panic!("{:?}", read.result) };
    assert_eq!(read.samples.text_at(span), "m-1024");
    let id = ids::raw_by_message_id("wl-radar-01/R-0001", read.samples.text_at(span));
    assert_eq!(id.to_string(), "fdcdf3ba88b6b17e822f98f5627144dc");
    let read = decode(&radar, r#"{"id":"","params":{"level":1}}"#);
    assert_eq!(read.ok().identity, MessageId::Place);
    let long = format!(r#"{{"id":"{}","params":{{"level":1}}}}"#, "é".repeat(65));
    assert_eq!(decode(&radar, &long).fault().0, QuarantineReason::Schema);
    let read = decode(&radar, r#"{"items":[{"ts":5,"params":{"level":1}}]}"#);
    assert_eq!(read.ok().identity, MessageId::Content { ts: 5 });
    let counters = r#"{"boot":18446744073709551615,"seq":0,"params":{"level":1}}"#;
    let identity = MessageId::Sequence { boot: u64::MAX, seq: 0 };
    assert_eq!(decode(&radar, counters).ok().identity, identity);
    for bad in ["-1", "1.5", "\"7\"", "18446744073709551616", "null"] {
        let body = format!(r#"{{"boot":{bad},"seq":1,"params":{{"level":1}}}}"#);
        assert_eq!(decode(&radar, &body).fault().0, QuarantineReason::Schema, "{bad}");
    }
    // The id of a message that does not fit is still found, wherever it stands.
    let read = decode(&radar, r#"{"params":{"level":"x"},"ack":1,"seq":4,"boot":3}"#);
    let fault = read.result.expect_err("not a number");
    assert_eq!(fault.identity, MessageId::Sequence { boot: 3, seq: 4 });
    assert!(fault.verdict_wanted);
    assert_eq!(fault.field, "level");
    assert_eq!(fault.detail, "level: expected double, found text");
}

#[test]
fn types_in_lenient_mode() {
    let product = every_type("mode: lenient", "");
    let read = |body: &str| decode(&product, body).sets(&product).remove(0);
    assert_eq!(
        read(
            r#"{"truth":true,"whole":5.0e0,"real":1,"word":"manual","note":"a\u00e9\n","day":12}"#
        ),
        "0 NO_TIME: truth=true, whole=5, real=1, word=#1, note=aé\n, day=12"
    );
    assert_eq!(
        read(r#"{"truth":0,"pair":{"a":1,"b":"x"},"list":[1,2.5]}"#),
        r#"0 NO_TIME: truth=false, pair={"a":1,"b":"x"}, list=[1,2.5]"#
    );
    let bad = |value: &str| {
        let body = format!(r#"{{"real":1,{value}}}"#);
        let set = read(&body);
        set.strip_prefix("0 NO_TIME: real=1, ").expect("the good value").to_string()
    };
    for value in [
        r#""truth":2"#,
        r#""truth":"true""#,
        r#""truth":null"#,
        r#""whole":1.5"#,
        r#""whole":99999999999999999999"#,
        r#""word":"off""#,
        r#""word":1"#,
        r#""note":5"#,
        r#""note":"123456789""#,
        r#""day":"2026""#,
        r#""day":1.5"#,
        r#""pair":{"a":"x"}"#,
        r#""pair":{"c":1}"#,
        r#""pair":{"a":1,"a":2}"#,
        r#""pair":[]"#,
        r#""list":[1,2,3,4]"#,
        r#""list":["1"]"#,
        r#""list":{"v":1}"#,
        r#""whole":{"v":1,"x":2}"#,
        r#""whole":{"v":1,"q":"fine"}"#,
        r#""whole":{"ts":1}"#,
        r#""whole":{"v":1,"v":1}"#,
    ] {
        assert!(bad(value).ends_with(" BAD_TYPE"), "{value}: {}", bad(value));
    }
    assert_eq!(bad(r#""whole":7"#), "whole=7 OFF_STEP");
    assert_eq!(bad(r#""whole":105"#), "whole=105 OUT_OF_RANGE");
    assert_eq!(bad(r#""wh\u006fle":10"#), "whole=10");
    assert_eq!(bad(r#""x\n":{"a":[1]}"#), "x\n={\"a\":[1]} UNKNOWN_PROPERTY");
    assert_eq!(decode(&product, r#"{"real":1e999}"#).fault().0, QuarantineReason::Schema);
    let read = decode(&product, r#"{"real":{"v":3,"q":"bad"}}"#);
    assert!(!read.samples.values[0].counts());
}

#[test]
fn strict_mode_quarantines_what_lenient_mode_flags() {
    let strict = every_type("mode: strict", "");
    for (body, reason) in [
        (r#"{"real":1,"whole":"5"}"#, QuarantineReason::Schema),
        (r#"{"real":1,"word":"off"}"#, QuarantineReason::Schema),
        (r#"{"real":1,"other":5}"#, QuarantineReason::Schema),
        (r#"{"real":10.5}"#, QuarantineReason::Range),
    ] {
        assert_eq!(decode(&strict, body).fault().0, reason, "{body}");
    }
    let read = decode(&strict, r#"{"whole":7}"#);
    assert_eq!(read.sets(&strict), ["0 NO_TIME: whole=7 OFF_STEP"]);
    assert_eq!(decode(&strict, r#"{"real":10.5}"#).fault().1, "real: expected 0 to 10, found 10.5");
}

#[test]
fn unknown_properties_may_be_dropped() {
    let product = every_type("mode: lenient, unknown: drop", "");
    let read = decode(&product, r#"{"real":1,"other":5,"more":{}}"#);
    assert_eq!(read.sets(&product), ["0 NO_TIME: real=1"]);
    assert_eq!(read.ok().dropped, 2);
}

#[test]
fn what_is_refused_in_both_modes() {
    let product = every_type("mode: lenient", "");
    let schema = |body: &str| {
        let read = decode(&product, body);
        assert_eq!(read.fault().0, QuarantineReason::Schema, "{body}");
    };
    schema(r#"{"real":1,"real":2}"#);
    schema(r#"{"params":{"real":1,"r\u0065al":2}}"#);
    schema(r#"{"params":{"real":"x","real":2}}"#);
    schema(r#"{"params":{"x":1,"x":2}}"#);
    schema(r#"{"ts":1,"ts":1}"#);
    schema(r#"{"params":{},"params":{}}"#);
    schema(r#"{"params":[]}"#);
    schema(r#"{"items":{}}"#);
    schema(r#"{"items":[1]}"#);
    schema(r#"{"ts":"1795399200000","real":1}"#);
    schema(r#"{"ack":2,"real":1}"#);
    schema("[]");
    schema("5");
    let values: Vec<String> =
        (0..501).map(|at| format!(r#"{{"params":{{"real":1,"u":{at}}}}}"#)).collect();
    schema(&format!(r#"{{"items":[{}]}}"#, values.join(",")));
    schema(&format!(r#"{{"items":[{}]}}"#, values[..251].join(",")));
    let few = format!(r#"{{"items":[{}]}}"#, values[..250].join(","));
    assert_eq!(decode(&product, &few).samples.values.len(), 500);
    schema(&format!("{}1{}", r#"{"params":"#.repeat(40), "}".repeat(40)));
    for text in ["", "{", "{\"real\":01}", "{\"real\":1}}", "{'real':1}", "nul", "\u{0}"] {
        assert_eq!(decode(&product, text).fault().0, QuarantineReason::Codec, "{text:?}");
    }
    let read = decode_at(&product, "property", b"{\"real\":\"\xff\"}", RX);
    assert_eq!(
        read.fault(),
        (QuarantineReason::Codec, "byte 9: expected UTF-8 text, found something else")
    );
    let read = decode_at(&product, "raw", b"x", RX);
    assert_eq!(read.fault().0, QuarantineReason::Codec);
}

#[test]
fn events() {
    let radar = shipped("wl-radar-01");
    let event = |path: &str, body: &str| decode_at(&radar, path, body.as_bytes(), RX);
    let read = event("event/tamper", r#"{"id":"e-31","ts":1795399200000,"params":{"tilt":12.5}}"#);
    assert_eq!(read.ok().event, Some(0));
    assert_eq!(read.samples.values[0].value, Value::Float(12.5));
    let read = event("event/tamper", r#"{"id":"e-31","ts":1795399100000}"#);
    assert_eq!((read.samples.sets.len(), read.samples.sets[0].t), (1, RX - 100_000));
    let read = event("event/other", r#"{"id":"e-31"}"#);
    assert_eq!(read.fault().0, QuarantineReason::Schema);
    let read = event("event/tamper", r#"{"items":[]}"#);
    assert_eq!(read.fault().0, QuarantineReason::Schema);
}

#[test]
fn mapped_json() {
    let codec = r#"codec:
  kind: json
  device: /meta/dn
  time: {path: /meta/t, unit: s}
  id: {boot: /b, seq: /s}
  map:
    real: {path: /data/0/v, scale: 0.1}
    whole: {path: "/a~1b", offset: -40, quoted: true}
    word: {path: /w, enum: {0: auto, 1: manual, m: manual}}
    truth: {path: /on, enum: {"yes": true, "no": false}}
tests:
  - {in: '{"data":[{"v":23.4}]}', expect: {real: 2.34}}"#;
    let product = every_type("mode: lenient", codec);
    let body = br#"{"meta":{"t":1795399199.5,"dn":"D-1","x":[{}]},"b":1,"s":2,"a/b":"90","w":1,"on":"yes","data":[{"v":234e-1},{"v":5}]}"#;
    let read = decode_at(&product, "raw", body, RX);
    assert_eq!(read.sets(&product), ["-500: whole=50, word=#1, truth=true, real=2.34"]);
    assert_eq!(read.ok().identity, MessageId::Sequence { boot: 1, seq: 2 });
    assert_eq!(read.ok().device.map(|span| read.samples.text_at(span)), Some("D-1"));
    let twice = decode_at(&product, "raw", br#"{"w":1,"w":1,"data":[]}"#, RX);
    assert_eq!(twice.fault().0, QuarantineReason::Schema);
    let read = decode_at(&product, "raw", br#"{"w":"x","data":[{"v":1}]}"#, RX);
    assert_eq!(read.sets(&product), [r#"0 NO_TIME: word="x" BAD_TYPE, real=0.1"#]);
}

#[test]
fn binary_layouts() {
    let codec = r#"codec:
  kind: binary
  endian: little
  match: [{at: 0, equals: "01"}]
  id: {boot: {at: 1, type: u8}, seq: {at: 2, type: u16}}
  map:
    whole: {at: 4, type: i16, scale: 5}
    real: {at: 6, type: f32}
    truth: {at: 10, bits: 7}
    word: {at: 10, bits: 0-3}
    day: {at: 11, type: u32, scale: 1000, when: {at: 10, equals: "81"}}
tests:
  - {hex: "0102030000000000c03f8101000000", expect: {real: 1.5, word: manual, truth: true, whole: 0}}"#;
    let product = every_type("mode: lenient", codec);
    let frame = |hex: &[u8]| decode_at(&product, "raw", hex, RX);
    let read = frame(&[1, 2, 3, 0, 0xfe, 0xff, 0, 0, 0xc0, 0x3f, 0x81, 1, 0, 0, 0]);
    assert_eq!(
        read.sets(&product),
        ["0 NO_TIME: whole=-10, real=1.5, truth=true, word=#1, day=1000"]
    );
    assert_eq!(read.ok().identity, MessageId::Sequence { boot: 2, seq: 3 });
    let read = frame(&[1, 2, 3, 0, 0, 0, 0, 0, 0xc0, 0x7f, 0x0f]);
    assert_eq!(
        read.sets(&product),
        ["0 NO_TIME: whole=0, real=null BAD_TYPE, truth=false, word=15 BAD_TYPE"]
    );
    assert_eq!(
        frame(&[1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0x81, 1]).fault(),
        (QuarantineReason::Codec, "frame: expected 15 bytes, found fewer")
    );
    assert_eq!(frame(&[2; 11]).fault().0, QuarantineReason::Frame);
    assert_eq!(frame(&[1; 10]).fault().0, QuarantineReason::Codec);
}
