//! Bodies of any look give the same with shapes as without.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::sample::{PropertyRef, Value};

const RX: Millis = 1_795_399_200_000;
const FILES: [(&str, &str); 4] = [
    ("wl-radar-01.thing.yaml", include_str!("../../../../config/products/wl-radar-01.thing.yaml")),
    ("nd-01.thing.yaml", include_str!("../../../../config/products/nd-01.thing.yaml")),
    ("telemetry.thing.yaml", include_str!("../../../../benches/route/telemetry.thing.yaml")),
    ("escapes-1.thing.yaml", escape_tests::PRODUCT),
];

/// Bodies that have a shape in one of the products, and some that have none.
const BODIES: [(BodyKind, &str); 10] = [
    (
        BodyKind::Raw,
        r#"{"boot":7,"seq":1024,"ts":1795399200000,"lvl":1270,"batt":11900,"mode":"a"}"#,
    ),
    (
        BodyKind::Property,
        r#"{"boot":7,"seq":9,"ts":1795399200000,"params":{"level":1.27,"battery":11.9,"mode":"auto"}}"#,
    ),
    (
        BodyKind::Property,
        r#"{"boot":1,"seq":1,"ts":1795399200000,"params":{"noise":62.5,"pm10":88,"pm25":41.2,"temperature":18.25,"humidity":70,"windSpeed":2.5}}"#,
    ),
    (
        BodyKind::Raw,
        r#"{"deviceId":"QP-0001-00000001","product":"env_v2","ts":1795399200000,"seq":7,"params":{"temp":234,"hum":"61.5","pm25":41,"lvl":1270,"batt":3650,"rssi":-71},"loc":{"lon":121.050001,"lat":31.100001},"fw":"2.1.1","net":"nb-iot","mode":"auto"}"#,
    ),
    (BodyKind::Property, r#"{"id":"m-1","ts":1795399200000,"params":{"level":1.27}}"#),
    (
        BodyKind::Raw,
        r#"{"deviceId":"QP-0001-00000001","product":"env_v2","ts":1795399200000,"seq":7,"params":{"temp":234,"hum":"\u00361\u002e5","pm25":41,"lvl":1270,"batt":3650,"rssi":-71},"loc":{"lon":121.050001,"lat":31.100001},"fw":"2.1.1","net":"nb-iot","mode":"auto"}"#,
    ),
    (
        BodyKind::Raw,
        r#"{"dn":"D-1","id":"m-1","t":1795399200000,"data":{"v":"234"},"whole":"7","word":"auto","note":"x"}"#,
    ),
    (
        BodyKind::Property,
        r#"{"id":"m-1","ts":1795399200000,"params":{"real":"20.9","whole":7,"word":"manual","note":"x"}}"#,
    ),
    (BodyKind::Property, r#"{"level":1.27,"colour":"red"}"#),
    (BodyKind::Property, r#"{"boot":1,"seq":2,"ack":1,"params":{}}"#),
];

/// What may stand where something else stood.
const PIECES: [&str; 28] = [
    "",
    "0",
    "-",
    "-0",
    "00",
    "9",
    "1.5",
    "1e3",
    "0.0",
    "12345678901234567890",
    "\"",
    "\\u0041",
    "\\",
    "null",
    "true",
    "false",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "é",
    "\u{1}",
    "\"params\":{}",
    "\"ts\":1,",
];

/// A product with the shapes of its vectors and of all bodies here, and one without any.
fn products() -> Vec<(Product, Product)> {
    let both = |(file, text): &(&str, &str)| {
        let load = || Product::load(file, text).0.expect("a product without problems");
        let (mut with, mut without) = (load(), load());
        for (kind, body) in BODIES {
            with.codec.expect_like(body, kind == BodyKind::Raw);
        }
        without.codec.native_shapes.clear();
        if let Program::Mapped(mapped) = &mut without.codec.program {
            mapped.forget_shapes();
        }
        (with, without)
    };
    FILES.iter().map(both).collect()
}

/// All that decoding says, texts in place of spans.
pub(super) fn words(product: &Product, kind: BodyKind, body: &[u8]) -> String {
    let (mut scratch, mut samples) = (Scratch::default(), Samples::default());
    let path = match kind {
        BodyKind::Raw => "raw",
        BodyKind::Event => "event/tamper",
        _ => "property",
    };
    let message = Message { kind, path, payload: body, received: Received::At(RX) };
    let decoded = product.decode(&message, &mut scratch, &mut samples);
    let text = |span| samples.text_at(span).to_owned();
    let identity = |identity| match identity {
        MessageId::Text(span) => text(span),
        other => format!("{other:?}"),
    };
    let header = match decoded {
        Err(fault) => {
            let fault = Fault { identity: MessageId::Place, ..fault.clone() };
            return format!("{fault:?}");
        }
        Ok(header) => {
            let Header { backfill, verdict_wanted, event, time, dropped, .. } = header;
            let device = header.device.map(text);
            let identity = identity(header.identity);
            format!(
                "{identity} {backfill} {verdict_wanted} {event:?} {device:?} {time:?} {dropped}"
            )
        }
    };
    let value = |sampled: &crate::sample::Sampled| {
        let name = match sampled.property {
            PropertyRef::Known(index) => index.to_string(),
            PropertyRef::Unknown(span) => text(span),
        };
        let value = match sampled.value {
            Value::Text(span) | Value::Json(span) => text(span),
            Value::Float(value) => format!("{:x}", value.to_bits()),
            other => format!("{other:?}"),
        };
        format!("{name}={value} {:?} {:?}", sampled.quality, sampled.flags)
    };
    let values: Vec<_> = samples.values.iter().map(value).collect();
    format!("{header}\n{:?}\n{}", samples.sets, values.join("\n"))
}

#[test]
fn bodies_like_the_vectors_have_shapes() {
    let products = products();
    let cases = [(0, 0), (0, 1), (1, 2), (2, 3), (0, 4), (3, 6), (3, 7)];
    for (product, body) in cases {
        let (with, _) = &products[product];
        let (kind, body) = BODIES[body];
        let mut samples = Samples::default();
        let mut scratch = Scratch::default();
        let policy = Policy { strict: with.strict, unknown: with.unknown };
        let plan = &with.codec.properties;
        let mut intake = Intake::new(plan, policy, &mut samples, &mut scratch.work);
        let cursor = Cursor::new(body.as_bytes()).expect("it is UTF-8");
        let read = match (&with.codec.program, kind) {
            (Program::Mapped(mapped), BodyKind::Raw) => mapped.read_shape(&cursor, &mut intake),
            _ => {
                let conversions = Conversions::Native(&with.codec.native);
                shape::read_any(&with.codec.native_shapes, &cursor, &mut intake, conversions)
            }
        };
        assert!(read.is_some(), "{body}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn shapes_change_nothing(
        body in any::<Index>(),
        edits in proptest::collection::vec((any::<Index>(), 0_usize..6, any::<Index>()), 0..4),
        escapes in proptest::collection::vec(any::<Index>(), 0..3),
    ) {
        thread_local!(static PRODUCTS: Vec<(Product, Product)> = products());
        let (kind, body) = BODIES[body.index(BODIES.len())];
        let escapes: Vec<_> = escapes.iter().map(|at| at.index(body.len())).collect();
        let mut body = escape_tests::escaped(body, |at| escapes.contains(&at)).into_bytes();
        for (at, length, piece) in edits {
            let at = at.index(body.len().max(1));
            let end = (at + length).min(body.len());
            let piece = PIECES[piece.index(PIECES.len())];
            body.splice(at.min(end)..end, piece.bytes());
        }
        PRODUCTS.with(|products| {
            for (with, without) in products {
                prop_assert_eq!(words(with, kind, &body), words(without, kind, &body));
            }
            Ok(())
        })?;
    }
}
