//! What every decoder promises of its samples, checked for one message.

use yiwang_core::codec::{Fault, Header, Message, MessageId, Received, Scratch};
use yiwang_core::record::{BodyKind, QuarantineReason};
use yiwang_core::sample::{PropertyRef, Samples, Span, Value};
use yiwang_core::thing::Product;

/// 2026-11-23 10:00:00 +08:00
pub(crate) const RECEIVED_AT: i64 = 1_795_399_200_000;
/// The first instant that is believed.
const CLOCK_EPOCH: i64 = 1_577_836_800_000;
/// Most values of a message.
const VALUES_MAX: usize = 500;

/// A product of a text; its key is `fuzz-1`.
pub(crate) fn product(text: &str) -> Product {
    let (product, problems) = Product::load("fuzz-1.thing.yaml", text);
    product.unwrap_or_else(|| panic!("{problems:#?}"))
}

/// A decoder with reused memory, as in the router.
pub(crate) struct Decoder {
    products: Vec<Product>,
    scratch: Scratch,
    samples: Samples,
}

impl Decoder {
    pub(crate) fn new(products: Vec<Product>) -> Self {
        Self { products, scratch: Scratch::default(), samples: Samples::default() }
    }

    /// Decodes by every product and checks what comes out; gives whether it could be read, by product.
    pub(crate) fn check(&mut self, path: &str, payload: &[u8]) -> Vec<Result<Header, Fault>> {
        let kind = match path {
            "property" => BodyKind::Property,
            "raw" => BodyKind::Raw,
            _ => BodyKind::Event,
        };
        let message = Message { kind, path, payload, received: Received::At(RECEIVED_AT) };
        let mut results = Vec::new();
        for product in &self.products {
            let result = product.decode(&message, &mut self.scratch, &mut self.samples);
            let mut fresh = Samples::default();
            let again = product.decode(&message, &mut Scratch::default(), &mut fresh);
            assert_eq!(result, again, "memory that is reused changes nothing");
            assert_eq!(self.samples.sets, fresh.sets);
            assert_eq!(self.samples.text, fresh.text);
            match &result {
                Ok(header) => check_samples(product, header, &fresh),
                Err(fault) => {
                    assert!(fresh.sets.is_empty() && fresh.values.is_empty());
                    assert!(!fault.detail.is_empty());
                }
            }
            results.push(result);
        }
        results
    }
}

/// Whether a message could be read, whatever was thought of its content.
pub(crate) fn readable(result: &Result<Header, Fault>) -> bool {
    match result {
        Ok(_) => true,
        Err(fault) => fault.reason != QuarantineReason::Codec,
    }
}

fn check_samples(product: &Product, header: &Header, samples: &Samples) {
    let event = header.event.map(|event| &product.events[usize::from(event)].outputs);
    let properties = event.unwrap_or(&product.properties);
    if let MessageId::Text(span) = header.identity {
        check_span(samples, span);
    }
    let (mut end, mut newest) = (0, i64::MIN);
    for set in &samples.sets {
        assert_eq!(set.values.start, end);
        assert!(set.t > newest, "sets ascend");
        assert!((CLOCK_EPOCH..=RECEIVED_AT + product.time.clock_skew).contains(&set.t));
        (end, newest) = (set.values.end, set.t);
    }
    assert_eq!(end as usize, samples.values.len());
    assert!(samples.values.len() <= VALUES_MAX);
    for sampled in &samples.values {
        match sampled.property {
            PropertyRef::Known(property) => assert!(usize::from(property) < properties.len()),
            PropertyRef::Unknown(span) => check_span(samples, span),
        }
        match sampled.value {
            Value::Float(value) => assert!(value.is_finite()),
            Value::Text(span) => check_span(samples, span),
            Value::Json(span) => {
                check_span(samples, span);
                let json = samples.text_at(span);
                let read = serde_json::from_str::<serde::de::IgnoredAny>(json);
                assert!(read.is_ok(), "{json}");
            }
            Value::Bool(_) | Value::Int(_) | Value::Enum(_) | Value::Date(_) => {}
        }
    }
}

fn check_span(samples: &Samples, span: Span) {
    assert_eq!(samples.text_at(span).len(), span.len as usize, "a span is UTF-8");
}
