//! Protobuf bodies without a descriptor: paths of field numbers lead to properties.
//!
//! The paths are compiled into one tree, so that a body is read in a single pass; fields that no path names are
//! verified and passed over, as the format has it. A field that a path names may stand only once: the last of two
//! readings would hide the first.

use super::Fields;
use super::native::ITEMS_MAX;
use super::proto::{Broken, Content, Reader};
use super::scalar::{Read, Scalar};
use super::value::Convert;
use crate::record::Millis;
use crate::sample::{Span, Value};
use crate::thing::DataType;
use crate::validate::{Intake, Place, Tag, Wrong};

/// Most numbers of a path, which bounds the depth of reading.
pub(crate) const PATH_MAX: usize = 8;

/// A compiled `codec.kind: protobuf`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Protobuf {
    /// The tree; its root comes first.
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
    /// The message that is one item of a batch, where there is one.
    items: Option<u16>,
    /// Whether any leaf is implicit.
    implicit: bool,
}

/// One field on the way of a path.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Fields by number, in the order of the file.
    children: Vec<(u32, u16)>,
    target: Option<Target>,
}

/// What the value at the end of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The device time.
    Time {
        /// ms in one unit of it.
        unit: i64,
        /// Its form.
        scalar: Scalar,
    },
    /// Parts of a second beside the time.
    Nanos,
    /// The restart counter.
    Boot(Scalar),
    /// The message counter.
    Sequence(Scalar),
    /// The message id.
    Id(Scalar),
    /// The name of the device.
    Device,
    /// A property: index into the leaves.
    Leaf(u16),
}

/// A property and its form.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// Which property.
    pub(crate) property: u16,
    /// Its form on the wire.
    pub(crate) scalar: Scalar,
    /// How the wire value becomes the property value.
    pub(crate) convert: Convert,
    /// A zero is not written, so no field means zero.
    pub(crate) implicit: bool,
}

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPath {
    /// Another path is the same, or one leads through the other.
    Overlap,
    /// More fields than the tree can number.
    TooMany,
}

impl Protobuf {
    /// Without a path yet.
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::default()], leaves: Vec::new(), items: None, implicit: false }
    }

    /// Adds the way to a target.
    pub(crate) fn add(&mut self, path: &[u32], target: Target) -> Result<(), BadPath> {
        let at = self.way(path)?;
        let node = &mut self.nodes[at];
        if node.target.is_some() || !node.children.is_empty() || self.items == Some(at as u16) {
            return Err(BadPath::Overlap);
        }
        node.target = Some(target);
        Ok(())
    }

    /// Adds the way to a property.
    pub(crate) fn add_leaf(&mut self, path: &[u32], leaf: Leaf) -> Result<(), BadPath> {
        let index = u16::try_from(self.leaves.len()).map_err(|_| BadPath::TooMany)?;
        self.add(path, Target::Leaf(index))?;
        self.implicit |= leaf.implicit;
        self.leaves.push(leaf);
        Ok(())
    }

    /// Says which message is an item; before any other path.
    pub(crate) fn set_items(&mut self, path: &[u32]) -> Result<(), BadPath> {
        self.items = Some(self.way(path)? as u16);
        Ok(())
    }

    fn way(&mut self, path: &[u32]) -> Result<usize, BadPath> {
        let mut at = 0;
        for number in path {
            if self.nodes[at].target.is_some() {
                return Err(BadPath::Overlap);
            }
            let known = self.nodes[at].children.iter().find(|(child, _)| child == number);
            at = match known {
                Some((_, child)) => usize::from(*child),
                None => {
                    let child = u16::try_from(self.nodes.len()).map_err(|_| BadPath::TooMany)?;
                    self.nodes.push(Node::default());
                    self.nodes[at].children.push((*number, child));
                    usize::from(child)
                }
            };
        }
        Ok(at)
    }

    /// Reads a body.
    pub(crate) fn read(
        &self,
        payload: &[u8],
        intake: &mut Intake<'_>,
        seen: &mut Vec<bool>,
    ) -> Result<Fields, Broken> {
        seen.clear();
        seen.resize(self.nodes.len(), false);
        let mut walk = Walk {
            program: self,
            intake,
            seen,
            fields: Fields::default(),
            body: Moment::default(),
            item: None,
            items: 0,
        };
        if self.items.is_none() {
            walk.intake.begin();
        }
        walk.message(0, Reader::new(payload))?;
        if self.items.is_none() {
            walk.end(None);
        }
        walk.fields.ts = walk.body.ts();
        Ok(walk.fields)
    }
}

/// A device time whose parts may stand in any order.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    ms: Option<Millis>,
    nanos: Option<i64>,
}

impl Moment {
    fn ts(self) -> Option<Millis> {
        self.ms.map(|ms| ms.saturating_add(self.nanos.unwrap_or(0) / 1_000_000))
    }
}

struct Walk<'p, 'i, 's> {
    program: &'p Protobuf,
    intake: &'i mut Intake<'s>,
    /// Which nodes were met since the open group began.
    seen: &'i mut Vec<bool>,
    fields: Fields,
    body: Moment,
    /// The time of the open item.
    item: Option<Moment>,
    items: usize,
}

impl Walk<'_, '_, '_> {
    /// A message; as deep as the longest path at most.
    fn message(&mut self, node: usize, mut reader: Reader<'_>) -> Result<(), Broken> {
        let program = self.program;
        let children = &program.nodes[node].children;
        self.seen[node] = true;
        let mut expected = 0;
        while let Some((number, content)) = reader.next()? {
            let predicted = children.get(expected).filter(|(child, _)| *child == number);
            let index = match predicted {
                Some(_) => expected,
                None => match children.iter().position(|(child, _)| *child == number) {
                    Some(index) => index,
                    None => continue,
                },
            };
            expected = index + 1;
            self.arrive(usize::from(children[index].1), content)?;
        }
        Ok(())
    }

    /// The content of a field that a path leads to or through.
    fn arrive(&mut self, node: usize, content: Content<'_>) -> Result<(), Broken> {
        let program = self.program;
        match (program.nodes[node].target, content) {
            (Some(Target::Leaf(leaf)), _) => self.leaf(&program.leaves[usize::from(leaf)], content),
            (Some(target), _) => self.field(target, content),
            (None, Content::Piece(piece)) if program.items == Some(node as u16) => {
                self.open_item(node, piece)
            }
            (None, Content::Piece(piece)) => self.message(node, piece),
            (None, _) => {
                let wrong = Wrong::Type { expected: "message", found: content.found() };
                self.intake.refuse(Place::Body("body"), wrong);
                Ok(())
            }
        }
    }

    fn open_item(&mut self, node: usize, piece: Reader<'_>) -> Result<(), Broken> {
        self.items += 1;
        if self.items > ITEMS_MAX {
            self.intake.refuse(Place::Body("items"), Wrong::TooMany(ITEMS_MAX));
            return Ok(());
        }
        self.seen.fill(false);
        self.intake.begin();
        self.item = Some(Moment::default());
        self.message(node, piece)?;
        let ts = self.item.take().and_then(Moment::ts);
        self.end(ts);
        Ok(())
    }

    /// Ends the open group; what was not written because it is zero is taken first.
    fn end(&mut self, ts: Option<Millis>) {
        let program = self.program;
        let nodes = if program.implicit { program.nodes.as_slice() } else { &[] };
        for (at, node) in nodes.iter().enumerate() {
            let children = if self.seen[at] { node.children.as_slice() } else { &[] };
            for (_, child) in children {
                if let Some(Target::Leaf(leaf)) = program.nodes[usize::from(*child)].target {
                    self.zero(&program.leaves[usize::from(leaf)]);
                }
            }
        }
        let required = self.intake.policy.strict || !self.intake.is_empty_group();
        self.intake.end(ts, required);
    }

    fn zero(&mut self, leaf: &Leaf) {
        if leaf.implicit && !self.intake.saw(leaf.property) && self.intake.admit() {
            self.intake.see(leaf.property);
            self.take(leaf, leaf.scalar.zero());
        }
    }

    #[inline]
    fn leaf(&mut self, leaf: &Leaf, content: Content<'_>) -> Result<(), Broken> {
        if !self.intake.admit() || !self.intake.see(leaf.property) {
            return Ok(());
        }
        match leaf.scalar.read(content)? {
            Some(read) => self.take(leaf, read),
            None => self.intake.misfit(leaf.property, "null", content.found(), Tag::default()),
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, leaf: &Leaf, read: Read<'_>) {
        let plan = self.intake.plan;
        let data = &plan.checks[usize::from(leaf.property)].data;
        let value = match read {
            Read::Whole(value) => leaf.convert.whole(value, data),
            Read::Real(value) => leaf.convert.real(value, data),
            Read::Truth(value) => leaf.convert.truth(value, data),
            Read::Text(text) => match data {
                DataType::Text { bytes_max } if text.len() <= *bytes_max as usize => {
                    Some(Value::Text(self.intake.out.push_text(text)))
                }
                _ => leaf.convert.word(text, data),
            },
        };
        match value {
            Some(value) => self.intake.take(leaf.property, value, Tag::default()),
            None => self.misfit(leaf.property, read),
        }
    }

    #[cold]
    fn misfit(&mut self, property: u16, read: Read<'_>) {
        let (raw, found) = match read {
            Read::Whole(value) => (value.to_string(), "number"),
            // JSON has no word for what is no number.
            Read::Real(value) if !value.is_finite() => (String::from("null"), "no number"),
            Read::Real(value) => (value.to_string(), "number"),
            Read::Truth(value) => (value.to_string(), "bool"),
            Read::Text(text) => (serde_json::Value::from(text).to_string(), "text"),
        };
        self.intake.misfit(property, &raw, found, Tag::default());
    }

    fn field(&mut self, target: Target, content: Content<'_>) -> Result<(), Broken> {
        let (name, scalar) = match target {
            Target::Time { scalar, .. } => ("time", scalar),
            Target::Nanos => ("time", Scalar::Int32),
            Target::Boot(scalar) | Target::Sequence(scalar) | Target::Id(scalar) => ("id", scalar),
            Target::Device | Target::Leaf(_) => ("device", Scalar::Text),
        };
        let Some(read) = scalar.read(content)? else {
            let wrong = Wrong::Type { expected: name, found: content.found() };
            self.intake.refuse(Place::Body(name), wrong);
            return Ok(());
        };
        let twice = match target {
            Target::Time { unit, .. } => self.moment().ms.replace(scaled(read, unit)).is_some(),
            Target::Nanos => self.moment().nanos.replace(scaled(read, 1)).is_some(),
            Target::Boot(_) => {
                let counter = self.counter(read);
                std::mem::replace(&mut self.fields.boot, counter).is_some()
            }
            Target::Sequence(_) => {
                let counter = self.counter(read);
                std::mem::replace(&mut self.fields.seq, counter).is_some()
            }
            Target::Id(_) => {
                let text = self.text(read);
                std::mem::replace(&mut self.fields.id, text).is_some()
            }
            Target::Device | Target::Leaf(_) => {
                let text = self.text(read);
                std::mem::replace(&mut self.fields.device, text).is_some()
            }
        };
        if twice {
            self.intake.refuse(Place::Body(name), Wrong::Twice);
        }
        Ok(())
    }

    /// The time that is being read: that of the open item, else the body's.
    fn moment(&mut self) -> &mut Moment {
        self.item.as_mut().unwrap_or(&mut self.body)
    }

    fn counter(&mut self, read: Read<'_>) -> Option<u64> {
        let counter = match read {
            Read::Whole(value) => u64::try_from(value).ok(),
            _ => None,
        };
        if counter.is_none() {
            let wrong = Wrong::Type { expected: "integer of at least 0", found: "number" };
            self.intake.refuse(Place::Body("id"), wrong);
        }
        counter
    }

    /// An empty text would make all its messages one, so it is none.
    fn text(&mut self, read: Read<'_>) -> Option<Span> {
        let mut digits = itoa::Buffer::new();
        let text = match read {
            Read::Text(text) => text,
            Read::Whole(value) => digits.format(value),
            Read::Real(_) | Read::Truth(_) => "",
        };
        (!text.is_empty()).then(|| self.intake.out.push_text(text))
    }
}

/// ms of a time, as far as it can be told: a wrong clock never refuses a message.
fn scaled(read: Read<'_>, unit: i64) -> i64 {
    match read {
        Read::Whole(value) => {
            let ms = value.saturating_mul(i128::from(unit));
            ms.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
        }
        // Saturates, and no number is 0: a clock that was never set.
        Read::Real(value) => (value * unit as f64) as i64,
        Read::Truth(_) | Read::Text(_) => 0,
    }
}
