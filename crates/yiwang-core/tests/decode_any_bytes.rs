//! Whatever comes in: no panic, and what comes out keeps its promises.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use yiwang_core::codec::{Message, MessageId, Received, Scratch};
use yiwang_core::problem::Problem;
use yiwang_core::record::BodyKind;
use yiwang_core::sample::{Flags, PropertyRef, Samples, Span, Value};
use yiwang_core::thing::Product;

const RX: i64 = 1_795_399_200_000;
const SHIPPED: [&str; 5] = ["wl-radar-01", "smoke-01", "manhole-01", "gas-01", "nd-01"];

/// A model with everything that the shipped ones lack.
const RICH: &str = r#"schema: yiwang-thing/1
profile: {productKey: rich-1, name: test, version: 1.0.0, kind: test/all}
access: {identity: content}
codec:
  kind: json
  quoted: true
  device: /dn
  time: {path: /t, unit: s}
  map:
    real: {path: /data/0/v, scale: 0.001, offset: -40}
    whole: {path: /data/1, scale: 10}
    word: {path: /w, enum: {0: auto, m: manual}}
    pair: {path: /p}
    note: {path: /n}
properties:
  - {identifier: real, required: true, dataType: {type: double, specs: {min: 0, max: 10, step: 0.1}}}
  - {identifier: whole, dataType: {type: int}}
  - {identifier: word, dataType: {type: enum, specs: {values: [auto, manual]}}}
  - {identifier: note, dataType: {type: text, specs: {size: 8}}}
  - {identifier: pair, dataType: {type: struct, specs: [
      {identifier: a, dataType: {type: int}}, {identifier: b, dataType: {type: text}}]}}
  - {identifier: list, dataType: {type: array, specs: {item: {type: double}, size: 3}}}
events: [{identifier: tamper, outputData: [{identifier: tilt, dataType: {type: double}}]}]
tests: [{in: '{"data":[{"v":"42000"}]}', expect: {real: 2}}]
"#;

const BODIES: [&str; 14] = [
    r#"{"boot":7,"seq":1024,"ts":1795399200000,"params":{"level":1.27,"battery":{"v":11.9,"ts":1795399199000,"q":"good"}},"ack":1}"#,
    r#"{"boot":7,"seq":1025,"items":[{"ts":1795399200000,"params":{"level":1.27}},{"ts":1795399500000,"params":{"level":1.28}}]}"#,
    r#"{"boot":7,"seq":1026,"backfill":true,"items":[{"ts":1795377600000,"params":{"level":1.11}}]}"#,
    r#"{"id":"e-31","ts":1795399200000,"params":{"tilt":12.5}}"#,
    r#"{"boot":7,"seq":1024,"ts":1795399200000,"lvl":1270,"batt":11900,"mode":"a"}"#,
    r#"{"concentration":30,"temperature":{"v":18.5,"q":"bad"},"valve":"open"}"#,
    r#"{"boot":4,"seq":1,"ts":1795399200000,"params":{"noise":62.5,"pm10":88,"pm25":41.2,"humidity":70}}"#,
    r#"{"params":{"smoke":true,"tamper":0,"battery":3.6},"ts":1790000000000}"#,
    r#"{"dn":"D-1","t":1795399199.25,"data":[{"v":"42000"},7.5e1],"w":0,"p":{"a":1,"b":"x"},"n":"\u00e9\n"}"#,
    r#"{"ts":1795399200000,"params":{"real":{"v":1,"ts":1795399100000},"pair":{"v":{"a":1},"ts":3},"list":[1,2]}}"#,
    r#"{"real":1,"x":{"y":[[{}]]},"params":{"real":2,"note":"abc","word":"manual"},"z":null}"#,
    r#"{"items":[{"ts":5,"params":{"real":1}},{"params":{"real":{"v":2,"ts":9}},"u":1},{"ts":5,"params":{"whole":2}}]}"#,
    "\u{a5}\u{1}",
    "{}",
];

const PATHS: [&str; 6] =
    ["property", "raw", "event/tamper", "event/selfTest", "event/none", "status"];

/// Pieces that matter to the grammar or to the model.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\",
    "\\u00e9",
    "null",
    "true",
    "-",
    "1e308",
    "0.1",
    "\"ts\":",
    "\"params\":{",
    "\"items\":[",
    "\"v\":1",
    "\"q\":\"bad\"",
    "\"level\":",
    "99999999999999999999",
    "\u{0}",
    "\u{ff}",
    " ",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize),
    Flip(Index, u8),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (any::<Index>(), 1_usize..20).prop_map(|(at, count)| Edit::Remove(at, count)),
        (any::<Index>(), 1_usize..60).prop_map(|(at, count)| Edit::Repeat(at, count)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Edit::Flip(at, bits)),
    ];
    prop::collection::vec(edit, 0..5)
}

fn apply(body: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    for edit in edits.iter() {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match edit {
            Edit::Insert(at, piece) => {
                let at = at.index(len);
                bytes.splice(at..at, piece.bytes());
            }
            Edit::Remove(at, count) => {
                let at = at.index(len);
                bytes.drain(at..(at + count).min(len));
            }
            Edit::Repeat(at, count) => {
                let at = at.index(len);
                let piece = bytes[at..(at + count).min(len)].to_vec();
                bytes.splice(at..at, piece);
            }
            Edit::Flip(at, bits) => bytes[at.index(len)] ^= bits,
        }
    }
    bytes
}

fn products() -> Vec<Product> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/products/");
    let read = |key: &str| {
        let file = format!("{key}.thing.yaml");
        let text = std::fs::read_to_string(format!("{folder}{file}")).expect("shipped");
        (file, text)
    };
    let mut texts: Vec<(String, String)> = SHIPPED.into_iter().map(read).collect();
    texts.push((String::from("rich-1.thing.yaml"), String::from(RICH)));
    let strict = RICH.replace("rich-1", "rich-2") + "validation: {mode: strict}\n";
    let strict = strict.replace("access: {identity: content}", "access: {identity: none}");
    texts.push((String::from("rich-2.thing.yaml"), strict));
    texts
        .iter()
        .map(|(file, text)| {
            let (product, problems) = Product::load(file, text);
            let words: Vec<String> = problems.iter().map(Problem::to_string).collect();
            product.unwrap_or_else(|| panic!("{words:#?}"))
        })
        .collect()
}

/// One arena and one scratch for everything, as in the router.
struct Bench {
    products: Vec<Product>,
    scratch: Scratch,
    samples: Samples,
}

impl Bench {
    fn new() -> Self {
        Self { products: products(), scratch: Scratch::default(), samples: Samples::default() }
    }

    fn check(&mut self, payload: &[u8]) -> Result<(), TestCaseError> {
        for product in &self.products {
            for path in PATHS {
                let kind = match path {
                    "property" => BodyKind::Property,
                    "raw" => BodyKind::Raw,
                    "status" => BodyKind::Other,
                    _ => BodyKind::Event,
                };
                let message = Message { kind, path, payload, received: Received::At(RX) };
                let result = product.decode(&message, &mut self.scratch, &mut self.samples);
                let mut fresh = Samples::default();
                let again = product.decode(&message, &mut Scratch::default(), &mut fresh);
                prop_assert_eq!(&result, &again);
                prop_assert_eq!(&self.samples.sets, &fresh.sets);
                prop_assert_eq!(&self.samples.text, &fresh.text);
                match &result {
                    Ok(header) => {
                        if let MessageId::Text(span) = header.identity {
                            check_span(&fresh, span)?;
                        }
                        let outputs =
                            header.event.map(|event| &product.events[usize::from(event)].outputs);
                        check_sets(&fresh, outputs.unwrap_or(&product.properties).len())?;
                        prop_assert!(kind != BodyKind::Event || fresh.sets.len() == 1);
                        prop_assert!(!product.strict || kind == BodyKind::Other || !marred(&fresh));
                    }
                    Err(fault) => {
                        prop_assert!(fresh.sets.is_empty() && fresh.values.is_empty());
                        prop_assert!(!fault.detail.is_empty());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether something stands there that a strict product quarantines.
fn marred(samples: &Samples) -> bool {
    let missing = samples.sets.iter().any(|set| set.flags.has(Flags::MISSING));
    missing || samples.values.iter().any(|sampled| sampled.flags.any(Flags::HISTORY_ONLY))
}

fn check_span(samples: &Samples, span: Span) -> Result<(), TestCaseError> {
    prop_assert_eq!(samples.text_at(span).len(), span.len as usize);
    Ok(())
}

fn check_sets(samples: &Samples, properties: usize) -> Result<(), TestCaseError> {
    let mut end = 0;
    let mut newest = i64::MIN;
    for set in &samples.sets {
        prop_assert_eq!(set.values.start, end);
        prop_assert!(set.t > newest);
        prop_assert!(set.t >= 1_577_836_800_000 && set.t <= RX + 600_000);
        (end, newest) = (set.values.end, set.t);
    }
    prop_assert_eq!(end as usize, samples.values.len());
    prop_assert!(samples.values.len() <= 500);
    for sampled in &samples.values {
        match sampled.property {
            PropertyRef::Known(property) => prop_assert!(usize::from(property) < properties),
            PropertyRef::Unknown(span) => check_span(samples, span)?,
        }
        match sampled.value {
            Value::Float(value) => prop_assert!(value.is_finite()),
            Value::Text(span) => check_span(samples, span)?,
            Value::Json(span) => {
                check_span(samples, span)?;
                let json = samples.text_at(span);
                let whole = serde_json::from_str::<serde::de::IgnoredAny>(json);
                prop_assert!(whole.is_ok(), "{json}");
            }
            Value::Bool(_) | Value::Int(_) | Value::Enum(_) | Value::Date(_) => {}
        }
    }
    Ok(())
}

#[test]
fn edited_messages_and_random_bytes() {
    let mut bench = Bench::new();
    for body in BODIES {
        bench.check(body.as_bytes()).unwrap();
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(30_000)
    });
    let bench = std::cell::RefCell::new(bench);
    let messages =
        (select(&BODIES[..]), edits()).prop_map(|(body, edits)| apply(body.as_bytes(), &edits));
    let frames = prop::collection::vec(any::<u8>(), 0..40).prop_map(|mut bytes| {
        // Half of the frames have the first byte of a smoke detector.
        if let Some(first) = bytes.first_mut().filter(|first| **first < 128) {
            *first = 0xa5;
        }
        bytes
    });
    let inputs = prop_oneof![8 => messages, 2 => frames];
    runner.run(&inputs, |payload| bench.borrow_mut().check(&payload)).unwrap();
}
