//! Reading `codec.kind: protobuf`: paths of field numbers into one tree.
//!
//! A path is a field number or a list of them, from the outermost message inwards; types have the words of the protobuf
//! language, so a product file can be written beside the `.proto` file without compiling it.

use super::load_codec::{convert, entries, no_identity, time_unit};
use super::node::{Data, Node, Report, Section};
use super::{Access, DataType, Property};
use crate::codec::proto::NUMBER_MAX;
use crate::codec::protobuf::{BadPath, Leaf, PATH_MAX, Protobuf, Target};
use crate::codec::scalar::Scalar;

/// The word for a time that is a message of seconds and nanoseconds.
const TIMESTAMP: &str = "timestamp";
/// What a path may be, for messages.
const PATH: &str = "a field number such as 3, or a list of at most 8 such as [3, 1]";

/// The codec of a product.
pub(super) fn read(
    report: &mut Report<'_>,
    codec: &mut Section<'_>,
    properties: &[Property],
    access: &Access,
) -> Protobuf {
    let line = codec.line;
    let mut loader = Loader { report, program: Protobuf::new(), items: None };
    loader.items(codec);
    let has_time = loader.time(codec);
    let mut id = codec.section(loader.report, "id");
    let whole = |scalar: Scalar| scalar.is_whole();
    let boot = loader.field(&mut id, "boot", (Scalar::Uint64, whole), Target::Boot);
    let seq = loader.field(&mut id, "seq", (Scalar::Uint64, whole), Target::Sequence);
    let named = |scalar: Scalar| scalar.is_whole() || scalar == Scalar::Text;
    let text = loader.field(&mut id, "id", (Scalar::Text, named), Target::Id);
    id.finish(loader.report);
    let name = |scalar: Scalar| scalar == Scalar::Text;
    loader.field(codec, "device", (Scalar::Text, name), |_| Target::Device);
    no_identity(loader.report, line, access, [boot && seq, text, has_time]);
    let implicit = codec.read(loader.report, "presence", "explicit or implicit", presence);
    let implicit = implicit.unwrap_or(false);
    for (property, node) in entries(loader.report, codec, properties) {
        let data = &properties[usize::from(property)].data;
        let path = format!("codec.map.{}", properties[usize::from(property)].identifier);
        loader.leaf(node, path, (property, data), implicit);
    }
    loader.program
}

struct Loader<'r, 'f> {
    report: &'r mut Report<'f>,
    program: Protobuf,
    /// The path of the items, which every property lies below.
    items: Option<Vec<u32>>,
}

impl Loader<'_, '_> {
    /// `items`: the repeated message that is one item of a batch.
    fn items(&mut self, codec: &mut Section<'_>) {
        let Some(path) = codec.read(self.report, "items", PATH, path) else { return };
        // The tree is empty, so nothing overlaps.
        let _ = self.program.set_items(&path);
        self.items = Some(path);
    }

    /// `time`: whether there is one.
    fn time(&mut self, codec: &mut Section<'_>) -> bool {
        let Some(node) = codec.get("time") else { return false };
        let mut section = Section::open(self.report, node, "codec.time");
        let unit = time_unit(self.report, &mut section);
        let kind = section.read(self.report, "type", "a number type or timestamp", Node::scalar);
        let Some(path) = self.path(&mut section) else { return true };
        if kind.as_deref() == Some(TIMESTAMP) {
            let part = |number| [path.as_slice(), &[number]].concat();
            let seconds = Target::Time { unit: 1_000, scalar: Scalar::Int64 };
            self.add(&section, node.line, &part(1), seconds);
            self.add(&section, node.line, &part(2), Target::Nanos);
        } else {
            let scalar = kind.map_or(Some(Scalar::Uint64), |kind| Scalar::parse(&kind));
            let number = |scalar: &Scalar| !matches!(scalar, Scalar::Bool | Scalar::Text);
            match scalar.filter(number) {
                Some(scalar) => {
                    self.add(&section, node.line, &path, Target::Time { unit, scalar });
                }
                None => self.report.bad("codec.time.type", node, "a number type or timestamp"),
            }
        }
        section.finish(self.report);
        true
    }

    /// A field of the body other than a property: whether there is one.
    fn field(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        (usual, fits): (Scalar, impl Fn(Scalar) -> bool),
        target: impl Fn(Scalar) -> Target,
    ) -> bool {
        let Some(node) = section.get(key) else { return false };
        let mut field = Section::open(self.report, node, &section.at(key));
        let scalar = field.read(self.report, "type", "a fitting protobuf type", |node| {
            Scalar::parse(&node.scalar()?).filter(|scalar| fits(*scalar))
        });
        if let Some(path) = self.path(&mut field) {
            self.add(&field, node.line, &path, target(scalar.unwrap_or(usual)));
        }
        field.finish(self.report);
        true
    }

    /// One entry of `map`.
    fn leaf(
        &mut self,
        node: &Node,
        at: String,
        (property, data): (u16, &DataType),
        implicit: bool,
    ) {
        let mut entry = Section::open(self.report, node, "codec.map");
        entry.path = at;
        if matches!(data, DataType::Struct(_) | DataType::Array { .. }) {
            let message = format!("{}: no {} in a protobuf codec", entry.path, data.as_str());
            self.report.error("BAD_VALUE", node.line, message, "map its parts as properties");
        }
        entry.require(self.report, "type");
        let scalar = entry.read(self.report, "type", "a protobuf type such as double", |node| {
            Scalar::parse(&node.scalar()?)
        });
        let convert = convert(self.report, &mut entry, data);
        let own = entry.read(self.report, "presence", "explicit or implicit", presence);
        let implicit = own.unwrap_or(implicit);
        let path = self.path(&mut entry);
        if let (Some(scalar), Some(path)) = (scalar, path) {
            let outside = self.items.as_ref().is_some_and(|items| !path.starts_with(items));
            if outside {
                let message = format!("{}.field lies outside of codec.items", entry.path);
                let remedy = "begin the path with that of the items";
                self.report.error("BAD_VALUE", node.line, message, remedy);
            }
            let added = self.program.add_leaf(&path, Leaf { property, scalar, convert, implicit });
            self.report_path(added, &entry, node.line);
        }
        entry.finish(self.report);
    }

    fn path(&mut self, section: &mut Section<'_>) -> Option<Vec<u32>> {
        section.require(self.report, "field");
        section.read(self.report, "field", PATH, path)
    }

    fn add(&mut self, section: &Section<'_>, line: u32, path: &[u32], target: Target) {
        let added = self.program.add(path, target);
        self.report_path(added, section, line);
    }

    fn report_path(&mut self, added: Result<(), BadPath>, section: &Section<'_>, line: u32) {
        match added {
            Ok(()) => {}
            Err(BadPath::Overlap) => self.report.error(
                "DUPLICATE",
                line,
                format!(
                    "{}.field: another path is the same, or one leads through it",
                    section.path
                ),
                "let each path lead to a field of its own",
            ),
            Err(BadPath::TooMany) => self.report.error(
                "TOO_MANY",
                line,
                format!("{}.field: more fields than a codec may name", section.path),
                "map fewer fields",
            ),
        }
    }
}

/// A field number, or the numbers of a path.
fn path(node: &Node) -> Option<Vec<u32>> {
    let number = |node: &Node| match node.data {
        Data::Int(number) => u32::try_from(number).ok().filter(|n| (1..=NUMBER_MAX).contains(n)),
        _ => None,
    };
    match &node.data {
        Data::List(nodes) if (1..=PATH_MAX).contains(&nodes.len()) => {
            nodes.iter().map(number).collect()
        }
        Data::List(_) => None,
        _ => Some(vec![number(node)?]),
    }
}

/// Whether no field means zero.
fn presence(node: &Node) -> Option<bool> {
    match node.scalar()?.as_str() {
        "implicit" => Some(true),
        "explicit" => Some(false),
        _ => None,
    }
}
