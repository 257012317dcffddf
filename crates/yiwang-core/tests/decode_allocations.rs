//! In the steady state decoding does not allocate.

mod counting;

use counting::allocations;
use yiwang_core::codec::{Message, Received, Scratch};
use yiwang_core::record::BodyKind;
use yiwang_core::sample::{Flags, Samples};
use yiwang_core::thing::Product;

fn shipped(key: &str) -> Product {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/products/");
    let file = format!("{key}.thing.yaml");
    let text = std::fs::read_to_string(format!("{folder}{file}")).expect("shipped");
    Product::load(&file, &text).0.expect("valid")
}

/// A product with this codec and two numbers.
fn small(codec: &str) -> Product {
    let text = format!(
        "schema: yiwang-thing/1
profile: {{productKey: a-1, name: test, version: 1.0.0, kind: test/small}}
access: {{identity: none}}
codec: {codec}
properties:
  - {{identifier: level, dataType: {{type: double}}}}
  - {{identifier: list, dataType: {{type: array, specs: {{item: {{type: int}}, size: 9}}}}}}
  - {{identifier: note, dataType: {{type: text}}}}
tests: [{{hex: '00', expect: {{quarantined: CODEC}}, topic: spBv1.0/g/NDATA/e}}]
"
    );
    let (product, problems) = Product::load("a-1.thing.yaml", &text);
    product.unwrap_or_else(|| panic!("{problems:#?}"))
}

#[test]
fn steady_state_does_not_allocate() {
    let (radar, smoke) = (shipped("wl-radar-01"), shipped("smoke-01"));
    let native = br#"{"boot":7,"seq":1024,"ts":1795399200000,"params":{"level":1.27,"battery":{"v":11.9,"ts":1795399199000,"q":"good"},"mode":"auto","colour":"red"},"ack":1}"#;
    let batch = br#"{"id":"m-1","items":[{"ts":1795399200000,"params":{"level":1.27}},{"ts":1795399100000,"params":{"level":99}}]}"#;
    let mapped = br#"{"boot":7,"seq":1024,"ts":1795399200000,"lvl":1270,"batt":11900,"mode":"a","fw":{"v":[1,2,3]}}"#;
    let frame = [0xa5, 1, 0xb4, 0x6b, 3, 0x9e, 0x20, 0, 3, 0, 0x10];
    let protobuf = small(
        "{kind: protobuf, map: {level: {field: [1, 2], type: sint32, scale: 0.001}, note: {field: 3, type: string}}}",
    );
    let fields = b"\x0a\x03\x10\xec\x13\x1a\x02ok\x20\x01";
    let sparkplug = small("{kind: sparkplugB}");
    // level = 1.5, list = [1, -1], note = "ok", each by name, one at a time of its own.
    let metrics = b"\x08\x05\x12\x12\x0a\x05level\x20\x0a\x69\0\0\0\0\0\0\xf8\x3f\
        \x12\x0f\x0a\x04list\x18\x07\x20\x16\x82\x01\x02\x01\xff\
        \x12\x0c\x0a\x04note\x20\x0c\x7a\x02ok\x18\x01";
    let message = |kind, path, payload| Message {
        kind,
        path,
        payload,
        received: Received::At(1_795_399_200_000),
    };
    let messages = [
        (&radar, message(BodyKind::Property, "property", native.as_slice())),
        (&radar, message(BodyKind::Property, "property", batch)),
        (&radar, message(BodyKind::Raw, "raw", mapped)),
        (&smoke, message(BodyKind::Raw, "raw", &frame)),
        (&protobuf, message(BodyKind::Raw, "raw", fields)),
        (&sparkplug, message(BodyKind::Raw, "spBv1.0/g/NDATA/e", metrics)),
        (
            &radar,
            message(BodyKind::Event, "event/tamper", br#"{"id":"e-31","params":{"tilt":12.5}}"#),
        ),
    ];
    let (mut scratch, mut samples) = (Scratch::default(), Samples::default());
    let mut run = || {
        for (product, message) in &messages {
            product.decode(message, &mut scratch, &mut samples).expect("a good message");
            assert!(samples.values.iter().all(|sampled| !sampled.flags.has(Flags::BAD_TYPE)));
        }
    };
    run();
    let before = allocations();
    for _ in 0..100 {
        run();
    }
    assert_eq!(allocations() - before, 0);
}
