//! Reading `codec` and compiling it: pointers into one tree, fixed layouts into a flat program.

use super::node::{Data, Node, Report, Section, number};
use super::{Access, DataType, EventModel, IdentityKind, Property};
use super::{load_protobuf, load_sparkplug};
use crate::codec::binary::{Binary, Fixed, Step, Wire, WireKind};
use crate::codec::decimal::Decimal;
use crate::codec::mapped::{BadPointer, Mapped, Target};
use crate::codec::plan::Plan;
use crate::codec::value::{Choice, Convert};
use crate::codec::{Codec, Program};

/// Greatest offset in a layout: no frame is larger than a packet may be.
const OFFSET_MAX: i64 = 256 * 1024;

/// `codec` of a product; native where it is absent.
pub(super) fn read(
    report: &mut Report<'_>,
    top: &mut Section<'_>,
    properties: &[Property],
    events: &[EventModel],
    access: &Access,
) -> Codec {
    let outputs = events.iter().map(|event| Plan::new(&event.outputs)).collect();
    let mut codec = Codec::new(Plan::new(properties), outputs);
    let Some(node) = top.get("codec") else { return codec };
    let mut section = Section::open(report, node, "codec");
    let kind =
        section.read(report, "kind", "native, json, binary, protobuf or sparkplugB", Node::scalar);
    codec.names_device = node.entry("device").is_some();
    codec.native.quoted = section.truth(report, "quoted").unwrap_or(false);
    match kind.as_deref().unwrap_or("native") {
        "native" => {}
        "json" => {
            let quoted = codec.native.quoted;
            let mapped = read_json(report, &mut section, properties, access, quoted);
            codec.program = Program::Mapped(mapped);
        }
        "binary" => {
            codec.program = Program::Binary(read_binary(report, &mut section, properties, access));
        }
        "protobuf" => {
            let protobuf = load_protobuf::read(report, &mut section, properties, access);
            codec.program = Program::Protobuf(protobuf);
        }
        "sparkplugB" => {
            let identity = access.identity;
            let metrics = load_sparkplug::read(report, &mut section, properties, identity);
            codec.program = Program::Sparkplug(metrics);
        }
        other => {
            report.error(
                "UNKNOWN_CODEC",
                node.line,
                format!("codec.kind `{other}` is not known"),
                "write native, json, binary, protobuf or sparkplugB",
            );
            return codec;
        }
    }
    section.finish(report);
    codec
}

/// Reports that the declared identity cannot be read.
pub(super) fn no_identity(report: &mut Report<'_>, line: u32, access: &Access, has: [bool; 3]) {
    let [sequence, text, time] = has;
    let (lacks, keys) = match access.identity {
        IdentityKind::Sequence => (!sequence, "codec.id.boot and codec.id.seq"),
        IdentityKind::MessageId => (!text, "codec.id.id"),
        IdentityKind::Content => (!time, "codec.time"),
        IdentityKind::None => (false, ""),
    };
    if lacks {
        report.error(
            "NO_IDENTITY",
            line,
            "access.identity names an id that the codec does not read",
            format!("add {keys}, or declare another identity"),
        );
    }
}

pub(super) fn time_unit(report: &mut Report<'_>, time: &mut Section<'_>) -> i64 {
    let unit = time.read(report, "unit", "ms or s", |node| match node.scalar()?.as_str() {
        "ms" => Some(1),
        "s" => Some(1_000),
        _ => None,
    });
    unit.unwrap_or(1)
}

fn read_json(
    report: &mut Report<'_>,
    codec: &mut Section<'_>,
    properties: &[Property],
    access: &Access,
    quoted: bool,
) -> Mapped {
    let line = codec.line;
    let mut time = codec.section(report, "time");
    let mut mapped = Mapped::new(time_unit(report, &mut time));
    let has_time = pointer(report, &mut mapped, &mut time, "path", Target::Time);
    time.finish(report);
    let mut id = codec.section(report, "id");
    let boot = pointer(report, &mut mapped, &mut id, "boot", Target::Boot);
    let seq = pointer(report, &mut mapped, &mut id, "seq", Target::Sequence);
    let text = pointer(report, &mut mapped, &mut id, "id", Target::Id);
    id.finish(report);
    pointer(report, &mut mapped, codec, "device", Target::Device);
    no_identity(report, line, access, [boot && seq, text, has_time]);
    for (property, node) in entries(report, codec, properties) {
        let data = &properties[usize::from(property)].data;
        let mut entry = Section::open(report, node, "codec.map");
        entry.path = format!("codec.map.{}", properties[usize::from(property)].identifier);
        entry.require(report, "path");
        pointer(report, &mut mapped, &mut entry, "path", Target::Property(property));
        let mut convert = convert(report, &mut entry, data);
        convert.quoted = entry.truth(report, "quoted").unwrap_or(quoted);
        mapped.convert(property, convert);
        entry.finish(report);
    }
    mapped
}

/// Adds a pointer where the entry has one.
fn pointer(
    report: &mut Report<'_>,
    mapped: &mut Mapped,
    section: &mut Section<'_>,
    key: &'static str,
    target: Target,
) -> bool {
    let Some(node) = section.get(key) else { return false };
    let Some(text) = node.scalar() else {
        report.bad(&section.at(key), node, "a JSON pointer such as /data/level");
        return false;
    };
    match mapped.add(&text, target) {
        Ok(()) => {}
        Err(BadPointer::Form) => {
            report.bad(&section.at(key), node, "a JSON pointer such as /data/level");
        }
        Err(BadPointer::Overlap) => report.error(
            "DUPLICATE",
            node.line,
            format!(
                "{}: another pointer is `{text}`, or one leads through the other",
                section.at(key)
            ),
            "let each pointer lead to a value of its own",
        ),
    }
    true
}

/// The entries of `map`, by property.
pub(super) fn entries<'n>(
    report: &mut Report<'_>,
    codec: &mut Section<'n>,
    properties: &[Property],
) -> Vec<(u16, &'n Node)> {
    let Some(node) = codec.require(report, "map") else { return Vec::new() };
    let Data::Map(entries) = &node.data else {
        report.bad("codec.map", node, "a mapping from property to its place");
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, line, node) in entries {
        match properties.iter().position(|property| *property.identifier == **name) {
            Some(index) => found.push((index as u16, node)),
            None => report.error(
                "UNKNOWN_PROPERTY",
                *line,
                format!("codec.map.{name}: no such property"),
                "declare it under `properties:` or remove it",
            ),
        }
    }
    found
}

pub(super) fn convert(
    report: &mut Report<'_>,
    entry: &mut Section<'_>,
    data: &DataType,
) -> Convert {
    let expected = "a decimal of at most 18 digits";
    // The shortest text of a double is the decimal that was written, up to 15 digits.
    let decimal = |node: &Node| number(node).and_then(|_| Decimal::parse(&node.scalar()?));
    let scale = entry.read(report, "scale", expected, decimal);
    let offset = entry.read(report, "offset", expected, decimal);
    let numeric =
        matches!(data, DataType::Int | DataType::Float | DataType::Double | DataType::Date);
    if (scale.is_some() || offset.is_some()) && !numeric {
        let message = format!("{}: scale and offset are for numbers", entry.path);
        report.error("BAD_VALUE", entry.line, message, "remove them, or change the type");
    }
    let choices = match entry.get("enum") {
        Some(node) => choices(report, &entry.at("enum"), node, data),
        None => Vec::new(),
    };
    Convert { scale, offset, choices, quoted: false }
}

fn choices(
    report: &mut Report<'_>,
    path: &str,
    node: &Node,
    data: &DataType,
) -> Vec<(Box<str>, Choice)> {
    let Data::Map(entries) = &node.data else {
        report.bad(path, node, "a mapping from wire word to value");
        return Vec::new();
    };
    let mut choices = Vec::new();
    for (wire, _, node) in entries {
        let choice = match (data, &node.data) {
            (DataType::Bool, Data::Bool(truth)) => Some(Choice::Bool(*truth)),
            (DataType::Enum(words), _) => node.scalar().and_then(|word| {
                words.iter().position(|known| **known == *word).map(|i| Choice::Enum(i as u16))
            }),
            _ => None,
        };
        match choice {
            Some(choice) => choices.push((wire.clone().into_boxed_str(), choice)),
            None => report.bad(path, node, "a value of the enum, or true or false of a bool"),
        }
    }
    choices
}

fn read_binary(
    report: &mut Report<'_>,
    codec: &mut Section<'_>,
    properties: &[Property],
    access: &Access,
) -> Binary {
    let line = codec.line;
    let big = codec.read(report, "endian", "big or little", |node| match node.scalar()?.as_str() {
        "big" => Some(true),
        "little" => Some(false),
        _ => None,
    });
    let big = big.unwrap_or(true);
    let matches = codec
        .list(report, "match")
        .iter()
        .filter_map(|node| fixed(report, node, "codec.match[]"))
        .collect();
    let time = codec.get("time").and_then(|node| {
        let mut section = Section::open(report, node, "codec.time");
        let unit = time_unit(report, &mut section);
        let wire = wire(report, &mut section, big, WireKind::Unsigned(4));
        section.finish(report);
        wire.map(|wire| (wire, unit))
    });
    let mut id = codec.section(report, "id");
    let counter = |report: &mut Report<'_>, id: &mut Section<'_>, key| {
        let node = id.get(key)?;
        let mut section = Section::open(report, node, &id.at(key));
        let wire = wire(report, &mut section, big, WireKind::Unsigned(2));
        section.finish(report);
        wire
    };
    let boot = counter(report, &mut id, "boot");
    let seq = counter(report, &mut id, "seq");
    id.finish(report);
    no_identity(report, line, access, [boot.is_some() && seq.is_some(), false, time.is_some()]);
    let steps = steps(report, codec, properties, big);
    let mut binary = Binary { length_min: 0, length_max: 0, matches, time, boot, seq, steps };
    let length = codec.count(report, "length").map(|length| length as usize);
    settle_length(report, &mut binary, length, line);
    binary
}

/// A frame holds whatever is read in any case; `length` says how long it is, otherwise more may follow.
fn settle_length(report: &mut Report<'_>, binary: &mut Binary, length: Option<usize>, line: u32) {
    let ends = binary.matches.iter().map(Fixed::end);
    let ends = ends.chain(binary.time.iter().map(|(wire, _)| wire.end()));
    let ends = ends.chain(binary.boot.iter().chain(&binary.seq).map(Wire::end));
    let always = binary.steps.iter().filter(|step| step.when.is_none());
    let least = ends.chain(always.map(|step| step.wire.end())).max().unwrap_or_default();
    if length.is_some_and(|length| length < least) {
        report.error(
            "BAD_VALUE",
            line,
            format!("codec.length is below the {least} bytes that the layout reads"),
            "correct the length or the offsets",
        );
    }
    binary.length_min = length.unwrap_or(least);
    binary.length_max = length.unwrap_or(usize::MAX);
}

fn steps(
    report: &mut Report<'_>,
    codec: &mut Section<'_>,
    properties: &[Property],
    big: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (property, node) in entries(report, codec, properties) {
        let data = &properties[usize::from(property)].data;
        let mut entry = Section::open(report, node, "codec.map");
        entry.path = format!("codec.map.{}", properties[usize::from(property)].identifier);
        if matches!(data, DataType::Text { .. } | DataType::Struct(_) | DataType::Array { .. }) {
            let message = format!("{}: no {} in a binary layout", entry.path, data.as_str());
            report.error("BAD_VALUE", node.line, message, "use a number, bool, enum or date");
        }
        let wire = wire(report, &mut entry, big, WireKind::Unsigned(1));
        let bits = entry.read(report, "bits", "a bit such as 0, or a range such as 4-7", bits);
        let convert = convert(report, &mut entry, data);
        let when = entry.get("when").and_then(|node| fixed(report, node, &entry.at("when")));
        let whole = wire.is_some_and(|wire| !matches!(wire.kind, WireKind::Unsigned(_)));
        let width = wire.map_or(0, |wire| wire.kind.width() as u32 * 8);
        if let Some((low, count)) = bits
            && (whole || low + count > width)
        {
            let message = format!("{}: bits outside of an unsigned number", entry.path);
            report.error("BAD_VALUE", node.line, message, "correct `type:` or `bits:`");
        }
        entry.finish(report);
        steps.extend(wire.map(|wire| Step { property, wire, bits, convert, when }));
    }
    steps
}

/// Lowest bit and number of bits.
fn bits(node: &Node) -> Option<(u32, u32)> {
    let text = node.scalar()?;
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (low.trim().parse().ok()?, high.trim().parse().ok()?),
        None => {
            let bit: u32 = text.parse().ok()?;
            (bit, bit)
        }
    };
    (low <= high && high < 64).then_some((low, high - low + 1))
}

fn wire(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    big: bool,
    usual: WireKind,
) -> Option<Wire> {
    section.require(report, "at");
    let at = section.read(report, "at", "an offset from 0", offset);
    let kind = section.read(report, "type", "u8 to u64, i8 to i64, f32 or f64", |node| {
        WireKind::parse(&node.scalar()?)
    });
    Some(Wire { at: at?, kind: kind.unwrap_or(usual), big })
}

fn offset(node: &Node) -> Option<usize> {
    match node.data {
        Data::Int(at) if (0..=OFFSET_MAX).contains(&at) => usize::try_from(at).ok(),
        _ => None,
    }
}

fn fixed(report: &mut Report<'_>, node: &Node, path: &str) -> Option<Fixed> {
    let mut section = Section::open(report, node, path);
    section.require(report, "at");
    section.require(report, "equals");
    let at = section.read(report, "at", "an offset from 0", offset);
    let bytes = section.read(report, "equals", "hex digits in quotes", |node| match &node.data {
        Data::Text(text) => hex(text).filter(|bytes| !bytes.is_empty()),
        _ => None,
    });
    section.finish(report);
    Some(Fixed { at: at?, bytes: bytes?.into() })
}

/// Bytes of hex digits.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| {
            let pair = &text[at..at + 2];
            let digits = pair.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        })
        .collect()
}
