//! Protobuf bodies by field numbers: forms, presence, times, batches, and files that cannot be.

use yiwang_core::codec::{Header, Message, MessageId, Received, Scratch};
use yiwang_core::record::{BodyKind, QuarantineReason};
use yiwang_core::sample::{PropertyRef, Samples, Value};
use yiwang_core::thing::Product;

/// 2026-11-23 10:00:00 +08:00
const RX: i64 = 1_795_399_200_000;

/// As a device's `.proto` file would have it: level = 1, a nested sensor = 2 {temperature = 1, state = 3}, and so on.
const CODEC: &str = "{kind: protobuf, time: {field: 10, type: timestamp}, device: {field: 14},
  id: {boot: {field: 11}, seq: {field: [12, 1], type: sint32}, id: {field: 13}},
  map: {level: {field: 1, type: double, scale: 0.001}, temp: {field: [2, 1], type: sint32, scale: 0.1},
    state: {field: [2, 3], type: enum, enum: {1: auto, 2: manual}}, mode: {field: 3, type: string},
    open: {field: 4, type: bool}, count: {field: 5, type: fixed64}, note: {field: 6, type: string},
    diff: {field: 7, type: int32}, part: {field: 8, type: float}}}";

fn text(codec: &str) -> String {
    format!(
        "schema: yiwang-thing/1
profile: {{productKey: pb-1, name: test, version: 1.0.0, kind: test/protobuf}}
access: {{identity: seq}}
codec: {codec}
properties:
  - {{identifier: level, dataType: {{type: double, specs: {{min: 0, max: 10}}}}}}
  - {{identifier: temp, dataType: {{type: double}}}}
  - {{identifier: state, dataType: {{type: enum, specs: {{values: [auto, manual]}}}}}}
  - {{identifier: mode, dataType: {{type: enum, specs: {{values: [auto, manual]}}}}}}
  - {{identifier: open, dataType: {{type: bool}}}}
  - {{identifier: count, dataType: {{type: int}}}}
  - {{identifier: note, dataType: {{type: text, specs: {{size: 8}}}}}}
  - {{identifier: diff, dataType: {{type: int}}}}
  - {{identifier: part, dataType: {{type: double}}}}
tests:
  - {{hex: '00', expect: {{quarantined: CODEC}}}}
"
    )
}

fn load(codec: &str) -> Product {
    let (product, problems) = Product::load("pb-1.thing.yaml", &text(codec));
    product.unwrap_or_else(|| panic!("{problems:#?}"))
}

type Decoded = Result<(Header, Samples), (QuarantineReason, String)>;

fn decode(product: &Product, payload: &[u8]) -> Decoded {
    let mut samples = Samples::default();
    let message = Message { kind: BodyKind::Raw, path: "raw", payload, received: Received::At(RX) };
    product
        .decode(&message, &mut Scratch::default(), &mut samples)
        .map(|header| (header, samples))
        .map_err(|fault| (fault.reason, fault.detail))
}

/// Every set as `t - RX` and `name=value flags`.
fn sets(product: &Product, payload: &[u8]) -> Vec<String> {
    let (_, samples) = decode(product, payload).unwrap_or_else(|fault| panic!("{fault:?}"));
    let one = |sampled: &yiwang_core::sample::Sampled| {
        let PropertyRef::Known(at) = sampled.property else { panic!("{sampled:?}") };
        let value = match sampled.value {
            Value::Text(span) | Value::Json(span) => samples.text_at(span).to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) | Value::Date(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Enum(value) => format!("#{value}"),
        };
        let flags: String = sampled.flags.names().map(|name| format!(" {name}")).collect();
        format!("{}={value}{flags}", product.properties[usize::from(at)].identifier)
    };
    samples
        .sets
        .iter()
        .map(|set| {
            let values: Vec<String> = samples.values_of(set).iter().map(one).collect();
            format!("{}: {}", set.t - RX, values.join(", "))
        })
        .collect()
}

fn varint(number: u8, mut value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn piece(number: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let bytes = parts.concat();
    [vec![number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [vec![number << 3 | 1], value.to_le_bytes().to_vec()].concat()
}

#[test]
fn every_form_by_its_path() {
    let product = load(CODEC);
    let seconds = varint(1, 1_795_399_199);
    let body = [
        double(1, 1270.0),
        piece(2, &[varint(1, 233), varint(3, 2), varint(9, 7)]),
        piece(3, &[b"auto".to_vec()]),
        varint(4, 1),
        [vec![5 << 3 | 1], 77_u64.to_le_bytes().to_vec()].concat(),
        piece(6, &["水".into()]),
        varint(7, (-5_i64).cast_unsigned()),
        [vec![8 << 3 | 5], 0.5_f32.to_le_bytes().to_vec()].concat(),
        piece(10, &[seconds.clone(), varint(2, 250_000_000)]),
        varint(11, 3),
        piece(12, &[varint(1, 8)]),
        piece(14, &[b"D-1".to_vec()]),
        // A field that no path names, and a group.
        piece(15, &[b"?".to_vec()]),
        vec![0x83, 0x01, 0x84, 0x01],
    ];
    let expected = "-750: level=1.27, temp=-11.7, state=#1, mode=#0, open=true, count=77, note=水, \
                    diff=-5, part=0.5";
    assert_eq!(sets(&product, &body.concat()), [expected]);
    let (header, samples) = decode(&product, &body.concat()).unwrap();
    assert_eq!(header.identity, MessageId::Sequence { boot: 3, seq: 4 });
    assert_eq!(samples.text_at(header.device.unwrap()), "D-1");
    // Fields in another order, the nested message in two pieces.
    let turned = [
        piece(2, &[varint(3, 1)]),
        piece(10, &[varint(2, 0), seconds]),
        double(1, 1.0),
        piece(2, &[varint(1, 0)]),
    ];
    assert_eq!(sets(&product, &turned.concat()), ["-1000: state=#0, level=0.001, temp=0"]);
    assert_eq!(sets(&product, &[]), Vec::<String>::new());
}

#[test]
fn values_that_do_not_fit() {
    let product = load(CODEC);
    let with = |field: Vec<u8>| {
        let sets = sets(&product, &[double(1, 1.0), field].concat()).remove(0);
        sets.strip_prefix("0: level=0.001, ").unwrap().to_owned()
    };
    assert_eq!(with(varint(7, 1 << 31)), "diff=-2147483648");
    assert_eq!(with(varint(5, 1)), "count=null BAD_TYPE");
    assert_eq!(with(piece(3, &[b"o\"ff".to_vec()])), r#"mode="o\"ff" BAD_TYPE"#);
    assert_eq!(with(piece(6, &[b"123456789".to_vec()])), r#"note="123456789" BAD_TYPE"#);
    assert_eq!(with(piece(2, &[varint(3, 9)])), "state=9 BAD_TYPE");
    let infinite = [vec![8 << 3 | 5], f32::INFINITY.to_le_bytes().to_vec()].concat();
    assert_eq!(with(infinite), "part=null BAD_TYPE");
    let refused = |body: &[u8]| decode(&product, body).unwrap_err();
    let codec = |at, expected| {
        let detail = format!("byte {at}: expected {expected}, found something else");
        (QuarantineReason::Codec, detail)
    };
    assert_eq!(refused(&[9, 0]), codec(1, "more bytes"));
    assert_eq!(refused(&[0x12, 2, 8, 0x80]), codec(3, "a whole number of at most 64 bits"));
    assert_eq!(refused(&piece(6, &[vec![b'a', 0xff]])), codec(3, "UTF-8 text"));
    for (body, place) in [
        ([double(1, 1.0), double(1, 2.0)], "level"),
        ([varint(11, 1), varint(11, 2)], "id"),
        ([varint(2, 1), double(1, 2.0)], "body"),
        ([varint(10, 1), double(1, 2.0)], "body"),
        ([double(1, 2.0), piece(12, &[varint(1, 1)])], "id"),
    ] {
        let (reason, detail) = refused(&body.concat());
        assert_eq!(reason, QuarantineReason::Schema);
        assert!(detail.starts_with(place), "{detail}");
    }
}

#[test]
fn no_field_means_zero_where_the_file_says_so() {
    let codec = "{kind: protobuf, presence: implicit, time: {field: 9, type: uint32, unit: s},
      id: {boot: {field: 20}, seq: {field: 21}}, map: {open: {field: 1, type: bool}, diff: {field: 2, type: int32},
      level: {field: 3, type: double, presence: explicit}, temp: {field: [4, 1], type: float}}}";
    let product = load(codec);
    let time = varint(9, 1_795_399_200);
    assert_eq!(sets(&product, &time), ["0: open=false, diff=0"]);
    let nested = [time, piece(4, &[])].concat();
    assert_eq!(sets(&product, &nested), ["0: open=false, diff=0, temp=0"]);
    assert_eq!(sets(&product, &varint(2, 5)), ["0: diff=5, open=false"]);
}

#[test]
fn a_batch_has_times_of_its_own() {
    let codec = "{kind: protobuf, items: [2, 1], time: {field: [2, 1, 1], type: fixed64},
      id: {boot: {field: 3}, seq: {field: 4}}, map: {level: {field: [2, 1, 2], type: double},
      open: {field: [2, 1, 3, 1], type: bool, presence: implicit}}}";
    let product = load(codec);
    let time = |ms: i64| [vec![1 << 3 | 1], (RX + ms).to_le_bytes().to_vec()].concat();
    let items = [
        piece(1, &[time(-1_000), double(2, 1.0)]),
        piece(1, &[double(2, 2.0), time(-2_000), piece(3, &[])]),
        piece(1, &[double(2, 3.0)]),
    ];
    let body = [piece(2, &items), varint(3, 1), varint(4, 9)].concat();
    let expected = ["-2000: level=2, open=false", "-1000: level=1", "0: level=3"];
    assert_eq!(sets(&product, &body), expected);
    let (header, _) = decode(&product, &body).unwrap();
    assert_eq!(header.identity, MessageId::Sequence { boot: 1, seq: 9 });
    let many = [0x0a, 0].repeat(501);
    let body = [vec![0x12, 0xea, 0x07], many].concat();
    assert_eq!(decode(&product, &body).unwrap_err().0, QuarantineReason::Schema);
}

#[test]
fn bad_product_files() {
    let problems = |codec: &str| {
        let (product, problems) = Product::load("pb-1.thing.yaml", &text(codec));
        assert!(product.is_none(), "{codec}");
        problems.iter().map(|problem| (problem.code, problem.line)).collect::<Vec<_>>()
    };
    let one = |entry: &str| {
        let id = "id: {boot: {field: 90}, seq: {field: 91}}";
        problems(&format!("{{kind: protobuf, {id},\n  map: {entry}}}"))
    };
    assert_eq!(one("{level: {field: 1}}"), [("MISSING_KEY", 5)]);
    assert_eq!(one("{level: {type: double}}"), [("MISSING_KEY", 5)]);
    assert_eq!(one("{depth: {field: 1, type: double}}"), [("UNKNOWN_PROPERTY", 5)]);
    assert_eq!(one("{level: {field: 1, type: decimal}}"), [("BAD_VALUE", 5)]);
    for path in ["0", "-1", "536870912", "1.5", "[]", "[1, x]", "[1, 2, 3, 4, 5, 6, 7, 8, 9]"] {
        assert_eq!(one(&format!("{{level: {{field: {path}, type: double}}}}")), [("BAD_VALUE", 5)]);
    }
    for other in ["90", "1", "[1, 2]", "[90, 1]"] {
        let entry = format!(
            "{{level: {{field: 1, type: double}},\n  temp: {{field: {other}, type: double}}}}"
        );
        assert_eq!(one(&entry), [("DUPLICATE", 6)], "{other}");
    }
    let outside = "{kind: protobuf, items: 2, id: {boot: {field: 3}, seq: {field: 4}},
      map: {level: {field: 1, type: double}}}";
    assert_eq!(problems(outside), [("BAD_VALUE", 5)]);
    let nothing = "{kind: protobuf, map: {level: {field: 1, type: double}}}";
    assert_eq!(problems(nothing), [("NO_IDENTITY", 4)]);
    assert_eq!(one("{level: {field: 1, type: double, presence: maybe}}"), [("BAD_VALUE", 5)]);
}
