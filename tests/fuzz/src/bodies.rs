//! Bodies of `up/property`, `up/event/{id}` and `up/raw` by their codecs, against second readers.

use serde_json::Value as Json;
use yiwang_core::codec::MessageId;
use yiwang_core::record::QuarantineReason;
use yiwang_core::thing::Product;

use crate::Check;
use crate::samples::{Decoder, product, readable};

/// A product of every type; what stands in `{}` alone is filled in.
const EVERY_TYPE: &str = "schema: yiwang-thing/1
profile: {productKey: fuzz-1, name: fuzz, version: 1.0.0, kind: test/fuzz}
access: {identity: {identity}}
codec: {codec}
properties:
  - {identifier: truth, dataType: {type: bool}}
  - {identifier: whole, dataType: {type: int, specs: {min: -100, max: 100, step: 5}}}
  - {identifier: real, required: true, dataType: {type: double, specs: {min: 0, max: 10}}}
  - {identifier: word, dataType: {type: enum, specs: {values: [auto, manual]}}}
  - {identifier: note, dataType: {type: text, specs: {size: 8}}}
  - {identifier: day, dataType: {type: date}}
  - {identifier: pair, dataType: {type: struct, specs: [
      {identifier: a, dataType: {type: int}}, {identifier: b, dataType: {type: text}}]}}
  - {identifier: list, dataType: {type: array, specs: {item: {type: double}, size: 3}}}
events: [{identifier: tamper, outputData: [{identifier: tilt, dataType: {type: double}}]}]
validation: {mode: {mode}}
tests: [{topic: {topic}, hex: 'ff', expect: {quarantined: CODEC}}]
";

const MAPPED: &str = "{kind: json, quoted: true, time: {path: /t, unit: s}, device: /dn,
  id: {boot: /i/boot, seq: /i/seq, id: /i/id}, map: {real: {path: /data/0/v, scale: 0.001, offset: 1},
  whole: {path: /data/1}, truth: {path: /w, enum: {'0': false, '1': true}}, word: {path: /m, enum: {a: auto}},
  pair: {path: /p}, list: {path: /l}, note: {path: /n~1x}, day: {path: /d}}}";

const BINARY: &str = "{kind: binary, endian: little, match: [{at: 0, equals: a5}],
  time: {at: 1, type: u32, unit: s}, id: {boot: {at: 5, type: u8}, seq: {at: 6, type: u16}},
  map: {truth: {at: 8, bits: 0}, whole: {at: 9, type: i24}, real: {at: 12, type: f32, scale: 0.5},
  word: {at: 8, bits: 1-2, enum: {'0': auto, '1': manual}}, day: {at: 16, type: u64, when: {at: 8, equals: '07'}}}}";

const PROTOBUF: &str = "{kind: protobuf, time: {field: 10, type: timestamp}, device: {field: 14},
  id: {boot: {field: 11}, seq: {field: [12, 1], type: sint32}, id: {field: 13}},
  map: {real: {field: 1, type: double}, whole: {field: [2, 1], type: sint32, scale: 5}, word: {field: 3, type: string},
  truth: {field: 4, type: bool}, day: {field: [2, 3], type: fixed64}, note: {field: 6, type: string}}}";

const ITEMS: &str = "{kind: protobuf, presence: implicit, items: 2, time: {field: [2, 9], type: sfixed64},
  id: {boot: {field: 11}, seq: {field: 12}, id: {field: 13}},
  map: {real: {field: [2, 1], type: float}, whole: {field: [2, 2], type: int32}, truth: {field: [2, 4, 1], type: bool},
  word: {field: [2, 3], type: enum, enum: {1: auto}}, note: {field: [2, 5], type: string}}}";

fn every_type(codec: &str, identity: &str, mode: &str) -> Product {
    let topic = if codec.contains("native") { "property" } else { "raw" };
    let filled =
        [("{codec}", codec), ("{identity}", identity), ("{mode}", mode), ("{topic}", topic)];
    let text =
        filled.iter().fold(EVERY_TYPE.to_owned(), |text, (key, value)| text.replace(key, value));
    product(&text)
}

/// Native bodies of properties and events.
pub(crate) fn native() -> Check {
    let products = [("id", "lenient"), ("none", "strict")];
    let products = products.map(|(identity, mode)| every_type("{kind: native}", identity, mode));
    let mut decoder = Decoder::new(products.into());
    Box::new(move |bytes| {
        for path in ["property", "event/tamper"] {
            for result in decoder.check(path, bytes) {
                let limit =
                    matches!(&result, Err(fault) if fault.detail.contains("within the limits"));
                agree_on_json(bytes, readable(&result), limit);
            }
        }
    })
}

/// Vendor JSON.
pub(crate) fn mapped() -> Check {
    let products = [("seq", "lenient"), ("id", "strict")];
    let products = products.map(|(identity, mode)| every_type(MAPPED, identity, mode));
    let mut decoder = Decoder::new(products.into());
    Box::new(move |bytes| {
        for result in decoder.check("raw", bytes) {
            let limit = matches!(&result, Err(fault) if fault.detail.contains("within the limits"));
            agree_on_json(bytes, readable(&result), limit);
        }
    })
}

/// Fixed layouts.
pub(crate) fn binary() -> Check {
    let products = ["lenient", "strict"].map(|mode| every_type(BINARY, "seq", mode));
    let mut decoder = Decoder::new(products.into());
    Box::new(move |bytes| {
        for result in decoder.check("raw", bytes) {
            let short = bytes.len() < 16;
            let frame = bytes.first() == Some(&0xa5);
            match result {
                Ok(_) => assert!(!short && frame),
                Err(fault) if fault.reason == QuarantineReason::Frame => assert!(!frame),
                Err(_) => {}
            }
        }
    })
}

/// What [`PROTOBUF`] names, by the generated way.
#[derive(Clone, PartialEq, prost::Message)]
struct Generated {
    #[prost(double, tag = "1")]
    real: f64,
    #[prost(message, optional, tag = "2")]
    nested: Option<Nested>,
    #[prost(string, tag = "3")]
    word: String,
    #[prost(bool, tag = "4")]
    truth: bool,
    #[prost(string, tag = "6")]
    note: String,
    #[prost(message, optional, tag = "10")]
    time: Option<Time>,
    #[prost(uint64, tag = "11")]
    boot: u64,
    #[prost(message, optional, tag = "12")]
    counter: Option<Counter>,
    #[prost(string, tag = "13")]
    id: String,
    #[prost(string, tag = "14")]
    device: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nested {
    #[prost(sint32, tag = "1")]
    whole: i32,
    #[prost(fixed64, tag = "3")]
    day: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Counter {
    #[prost(sint32, tag = "1")]
    seq: i32,
}

/// Protobuf by field numbers.
pub(crate) fn protobuf() -> Check {
    let plain = ["lenient", "strict"].map(|mode| every_type(PROTOBUF, "seq", mode));
    let mut plain = Decoder::new(plain.into());
    let mut batches = Decoder::new(vec![every_type(ITEMS, "id", "lenient")]);
    Box::new(move |bytes| {
        batches.check("raw", bytes);
        let generated = <Generated as prost::Message>::decode(bytes);
        for result in plain.check("raw", bytes) {
            if let Err(fault) = &result
                && fault.reason == QuarantineReason::Codec
                && !fault.detail.contains("groups nested")
            {
                assert!(generated.is_err(), "{}: prost reads {generated:?}", fault.detail);
            }
            if let (Ok(header), Ok(generated)) = (&result, &generated)
                && let MessageId::Sequence { boot, .. } = header.identity
            {
                assert_eq!(boot, generated.boot);
            }
        }
    })
}

/// Ours and serde_json accept the same texts, within our limits and but for numbers beyond double precision.
fn agree_on_json(bytes: &[u8], accepted: bool, limit: bool) {
    if limit {
        return;
    }
    match serde_json::from_slice::<Json>(bytes) {
        Ok(_) => assert!(accepted, "serde_json accepts {:?}", String::from_utf8_lossy(bytes)),
        Err(error) if error.to_string().contains("number out of range") => {}
        Err(error) => assert!(!accepted, "{error}: {:?}", String::from_utf8_lossy(bytes)),
    }
}
