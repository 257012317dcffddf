//! The test vectors of a product file, run at every load through the real decoder.
//!
//! `in:` or `hex:` is the body, `topic:` its path below `up/` (default `raw` with a codec, else `property`), `rx:` the
//! time of reception. `expect:` names values by property, `t`, `flags` by property (`"*"` for the whole reading) or
//! `quarantined`. A value that is expected without flags must have none. Entries with `rule:` are those of `rule_vectors`.

use super::load_codec::hex;
use super::node::{Data, Node, Report, Section, number};
use super::{DataType, Product, rule_vectors};
use crate::codec::{Codec, Header, Message, Program, Received, Scratch};
use crate::record::{BodyKind, Millis};
use crate::sample::{Flags, PropertyRef, Sampled, Samples, Value};

/// The time of reception unless a vector says another: 2026-11-23 10:00:00 +08:00.
const RECEIVED_AT: Millis = 1_795_399_200_000;

/// Shows a codec how the product's bodies usually look.
pub(super) fn teach(root: &Node, codec: &mut Codec) {
    for test in vectors(root) {
        let topic = test.entry("topic").and_then(Node::scalar);
        let raw = match topic.as_deref() {
            None => !matches!(codec.program, Program::None),
            Some("raw") => true,
            Some("property") => false,
            Some(_) => continue,
        };
        if let Some(body) = test.entry("in").and_then(Node::scalar) {
            codec.expect_like(&body, raw);
        }
    }
}

fn vectors(root: &Node) -> &[Node] {
    match root.entry("tests") {
        Some(Node { data: Data::List(tests), .. }) => tests,
        _ => &[],
    }
}

/// Runs the vectors of a checked product.
pub(super) fn run(report: &mut Report<'_>, product: &Product, root: &Node) {
    let tests = vectors(root).iter().filter(|test| !rule_vectors::is_one(test));
    let tests: Vec<&Node> = tests.collect();
    if tests.is_empty() && !matches!(product.codec.program, Program::None) {
        report.error(
            "NO_VECTOR",
            root.entry("codec").map_or(root.line, |node| node.line),
            "a codec without a test vector",
            "add at least one under `tests:`",
        );
    }
    let mut scratch = Scratch::default();
    let mut samples = Samples::default();
    for test in tests {
        run_one(report, product, test, &mut scratch, &mut samples);
    }
}

fn run_one(
    report: &mut Report<'_>,
    product: &Product,
    test: &Node,
    scratch: &mut Scratch,
    samples: &mut Samples,
) {
    let mut section = Section::open(report, test, "tests[]");
    let text = section.read(report, "in", "the body as text", Node::scalar).map(String::into_bytes);
    let bytes = section.read(report, "hex", "hex digits in quotes", |node| hex(&node.scalar()?));
    let topic = section.read(report, "topic", "property, raw or event/{id}", Node::scalar);
    let rx = section.read(report, "rx", "ms since 1970", |node| match node.data {
        Data::Int(ms) => Some(ms),
        _ => None,
    });
    let _ = section.get("name");
    let expect = section.require(report, "expect");
    section.finish(report);
    let (Some(payload), Some(expect)) = (text.or(bytes), expect) else {
        let message = "tests[]: a vector needs `in` or `hex`, and `expect`";
        report.error("MISSING_KEY", test.line, message, "add them");
        return;
    };
    let usual = if matches!(product.codec.program, Program::None) { "property" } else { "raw" };
    let path = topic.as_deref().unwrap_or(usual);
    let kind = match path {
        "property" => BodyKind::Property,
        "raw" => BodyKind::Raw,
        // The topic of a Sparkplug message is what its codec reads.
        path if path.starts_with("spBv1.0/") => BodyKind::Raw,
        _ => BodyKind::Event,
    };
    let received_at = rx.unwrap_or(RECEIVED_AT);
    let message = Message { kind, path, payload: &payload, received: Received::At(received_at) };
    let result = product.decode(&message, scratch, samples);
    let got = match &result {
        Ok(header) => Ok(Decoded { product, header, samples }),
        Err(fault) => Err((fault.reason.as_str(), fault.detail.as_str())),
    };
    if let Err(difference) = compare(report, expect, got) {
        report.error(
            "VECTOR_FAILED",
            test.line,
            format!("test vector fails: {difference}"),
            "correct the model or the vector",
        );
    }
}

/// What came out of a vector.
struct Decoded<'a> {
    product: &'a Product,
    header: &'a Header,
    samples: &'a Samples,
}

/// Compares; the error says the first difference.
fn compare(
    report: &mut Report<'_>,
    expect: &Node,
    got: Result<Decoded<'_>, (&str, &str)>,
) -> Result<(), String> {
    let quarantined = expect.entry("quarantined").and_then(Node::scalar);
    let decoded = match (got, quarantined) {
        (Ok(_), Some(reason)) => return Err(format!("expected {reason}, found values")),
        (Err((reason, _)), Some(expected)) if reason == expected => return Ok(()),
        (Err((reason, detail)), Some(expected)) => {
            return Err(format!("expected {expected}, found {reason} ({detail})"));
        }
        (Err((reason, detail)), None) => return Err(format!("found {reason} ({detail})")),
        (Ok(decoded), None) => decoded,
    };
    let Data::Map(entries) = &expect.data else {
        report.bad("tests[].expect", expect, "a mapping");
        return Ok(());
    };
    let mut flagged = Vec::new();
    if let Some(flags) = expect.entry("flags") {
        decoded.compare_flags(flags, &mut flagged)?;
    }
    for (name, _, node) in entries {
        match name.as_str() {
            "flags" => {}
            "t" => decoded.compare_time(node)?,
            name => decoded.compare_value(name, node, flagged.contains(&name))?,
        }
    }
    Ok(())
}

impl Decoded<'_> {
    fn properties(&self) -> &[super::Property] {
        match self.header.event {
            Some(event) => &self.product.events[usize::from(event)].outputs,
            None => &self.product.properties,
        }
    }

    /// The newest value of a name, unknown properties included.
    fn value(&self, name: &str) -> Option<&Sampled> {
        let index = self.properties().iter().position(|property| *property.identifier == *name);
        self.samples.values.iter().rev().find(|sampled| match sampled.property {
            PropertyRef::Known(property) => Some(usize::from(property)) == index,
            PropertyRef::Unknown(span) => self.samples.text_at(span) == name,
        })
    }

    fn compare_time(&self, node: &Node) -> Result<(), String> {
        let found = self.samples.sets.last().map(|set| set.t);
        match (found, &node.data) {
            (Some(found), Data::Int(expected)) if found == *expected => Ok(()),
            _ => Err(format!(
                "expected t {}, found {}",
                stated(node),
                found.map_or_else(none, |t| t.to_string())
            )),
        }
    }

    fn compare_flags<'n>(&self, node: &'n Node, named: &mut Vec<&'n str>) -> Result<(), String> {
        let Data::Map(entries) = &node.data else {
            return Err(String::from("`flags` is no mapping"));
        };
        for (name, _, node) in entries {
            named.push(name);
            let found = match name.as_str() {
                "*" => self.samples.sets.last().map(|set| set.flags),
                name => self.value(name).map(|sampled| sampled.flags),
            };
            let expected = flags(node).ok_or_else(|| format!("flags of `{name}` are not known"))?;
            if found != Some(expected) {
                let words = |flags: Flags| flags.names().collect::<Vec<_>>().join(", ");
                let (expected, found) = (words(expected), found.map_or_else(none, words));
                return Err(format!("expected `{name}` flagged {expected}, found {found}"));
            }
        }
        Ok(())
    }

    fn compare_value(&self, name: &str, node: &Node, flagged: bool) -> Result<(), String> {
        let Some(sampled) = self.value(name) else {
            return Err(format!("expected `{name}`, found none"));
        };
        let found = self.words(sampled);
        if !flagged && sampled.flags != Flags::default() {
            let names: Vec<_> = sampled.flags.names().collect();
            return Err(format!("expected `{name}` without flags, found {}", names.join(", ")));
        }
        let same = match (&node.data, sampled.value) {
            (Data::Int(_) | Data::Float(_), Value::Float(value)) => number(node) == Some(value),
            _ => node.scalar().as_deref() == Some(&found),
        };
        if same {
            Ok(())
        } else {
            Err(format!("expected `{name}` {}, found {found}", stated(node)))
        }
    }

    fn words(&self, sampled: &Sampled) -> String {
        match sampled.value {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) | Value::Date(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Enum(index) => {
                let property = match sampled.property {
                    PropertyRef::Known(property) => self.properties().get(usize::from(property)),
                    PropertyRef::Unknown(_) => None,
                };
                match property.map(|property| &property.data) {
                    Some(DataType::Enum(words)) => words[usize::from(index)].to_string(),
                    _ => index.to_string(),
                }
            }
            Value::Text(span) | Value::Json(span) => String::from(self.samples.text_at(span)),
        }
    }
}

/// What a vector states, as it stands in the file.
fn stated(node: &Node) -> String {
    node.scalar().unwrap_or_else(|| "one value".to_owned())
}

fn none() -> String {
    "none".to_owned()
}

/// One flag name, or a list of them.
fn flags(node: &Node) -> Option<Flags> {
    let one = |node: &Node| {
        let name = node.scalar()?;
        Flags::NAMES.into_iter().find(|(_, known)| *known == name).map(|(flag, _)| flag)
    };
    match &node.data {
        Data::List(nodes) => nodes.iter().try_fold(Flags::default(), |mut flags, node| {
            flags.add(one(node)?);
            Some(flags)
        }),
        _ => one(node),
    }
}
