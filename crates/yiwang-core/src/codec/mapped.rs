//! Vendor JSON: pointers of the product file lead from the vendor's members to properties.
//!
//! The pointers are compiled into one tree, so that a body is still read in a single pass; members that no pointer
//! names are verified and passed over. Bodies that look like a test vector of the product take the way of their shape.

use super::Fields;
use super::decimal::Decimal;
use super::json::{Break, Cursor, DEPTH_MAX, KEYS_MAX, Number, STOPS, Text};
use super::native::append;
use super::plan::Plan;
use super::shape::{self, Conversions, Leaf, Shape, push_shape};
use super::value::{Convert, read};
use crate::sample::Span;
use crate::validate::{Intake, Place, Tag, Wrong};

/// A compiled `codec.kind: json`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapped {
    /// The tree; its root comes first.
    nodes: Vec<Node>,
    conversions: Vec<Convert>,
    shapes: Vec<Shape>,
    /// ms in one unit of the wire's time.
    time_unit: i64,
}

/// One member on the way of a pointer.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Members by name, in the order of the file; in an array the name is the index.
    children: Vec<(Box<str>, u16)>,
    /// Whether JSON has to escape the name of a member, so that the bytes of a body never are those of the name.
    escaped: bool,
    /// What the value says of the message.
    field: Option<Target>,
    /// The property that the value is.
    property: Option<u16>,
}

impl Node {
    fn is_end(&self) -> bool {
        self.field.is_some() || self.property.is_some()
    }
}

/// What the value at the end of a pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The device time.
    Time,
    /// The restart counter.
    Boot,
    /// The message counter.
    Sequence,
    /// The message id.
    Id,
    /// The name of the device.
    Device,
    /// A property.
    Property(u16),
}

/// Why a pointer was refused.
pub(crate) enum BadPointer {
    /// It does not begin with a slash, or has a bad escape.
    Form,
    /// Another pointer is the same, or one leads through the other.
    Overlap,
}

impl Mapped {
    /// Without a pointer yet.
    pub(crate) fn new(time_unit: i64) -> Self {
        let (conversions, shapes) = (Vec::new(), Vec::new());
        Self { nodes: vec![Node::default()], conversions, shapes, time_unit }
    }

    /// Adds the way to a target. One value may be both a property and what else the message says.
    pub(crate) fn add(&mut self, pointer: &str, target: Target) -> Result<(), BadPointer> {
        let steps = pointer.strip_prefix('/').ok_or(BadPointer::Form)?;
        let mut at = 0;
        for step in steps.split('/') {
            if self.nodes[at].is_end() {
                return Err(BadPointer::Overlap);
            }
            let name = step.replace("~1", "/").replace("~0", "~");
            at = self.child(at, &name)?;
        }
        let node = &mut self.nodes[at];
        let taken = match target {
            Target::Property(_) => node.property.is_some(),
            _ => node.field.is_some(),
        };
        if taken || !node.children.is_empty() {
            return Err(BadPointer::Overlap);
        }
        match target {
            Target::Property(property) => node.property = Some(property),
            field => node.field = Some(field),
        }
        Ok(())
    }

    /// The member of a node with this name, made where there is none.
    fn child(&mut self, at: usize, name: &str) -> Result<usize, BadPointer> {
        if let Some((_, child)) = self.nodes[at].children.iter().find(|(child, _)| **child == *name)
        {
            return Ok(usize::from(*child));
        }
        let child = u16::try_from(self.nodes.len()).map_err(|_| BadPointer::Form)?;
        self.nodes.push(Node::default());
        self.nodes[at].escaped |= name.bytes().any(|byte| STOPS[usize::from(byte)]);
        self.nodes[at].children.push((name.into(), child));
        Ok(usize::from(child))
    }

    /// Bodies often look like this one.
    pub(crate) fn expect_like(&mut self, body: &str, plan: &Plan) {
        let shape = self.shape_of(body, plan, Conversions::Each(&self.conversions), false);
        push_shape(&mut self.shapes, shape);
    }

    /// Reads a body that has a shape.
    pub(crate) fn read_shape(
        &self,
        cursor: &Cursor<'_>,
        intake: &mut Intake<'_>,
    ) -> Option<Fields> {
        shape::read_any(&self.shapes, cursor, intake, Conversions::Each(&self.conversions))
    }

    #[cfg(test)]
    pub(crate) fn forget_shapes(&mut self) {
        self.shapes.clear();
    }

    /// The shape of a body, if it has a simple one; `all`: no member may be outside of the tree.
    pub(crate) fn shape_of(
        &self,
        body: &str,
        plan: &Plan,
        conversions: Conversions<'_>,
        all: bool,
    ) -> Option<Shape> {
        let mut cursor = Cursor::over(body);
        let mut leaves = Leaves { mapped: self, all, found: Vec::new() };
        let simple = leaves.collect(&mut cursor, Some(0), 0).ok()?;
        let whole = simple && cursor.is_at_end();
        whole.then(|| Shape::new(body, &leaves.found, plan, conversions, self.time_unit))?
    }

    /// How the value of a property is converted.
    pub(crate) fn convert(&mut self, property: u16, convert: Convert) {
        let index = usize::from(property);
        if self.conversions.len() <= index {
            self.conversions.resize(index + 1, Convert::default());
        }
        self.conversions[index] = convert;
    }

    /// Reads a body.
    pub(crate) fn read(
        &self,
        payload: &[u8],
        intake: &mut Intake<'_>,
        seen: &mut Vec<bool>,
    ) -> Result<Fields, Break> {
        let cursor = Cursor::new(payload)?;
        if let Some(fields) = self.read_shape(&cursor, intake) {
            return Ok(fields);
        }
        seen.clear();
        seen.resize(self.nodes.len(), false);
        let mut walk = Walk { mapped: self, cursor, intake, seen, fields: Fields::default() };
        walk.intake.begin();
        match walk.cursor.peek() {
            b'{' => walk.object(0, 0)?,
            b'[' => walk.array(0, 0)?,
            _ => {
                let found = walk.cursor.skip(0)?;
                let wrong = Wrong::Type { expected: "object", found };
                walk.intake.refuse(Place::Body("body"), wrong);
            }
        }
        walk.cursor.end()?;
        let required = walk.intake.policy.strict || !walk.intake.is_empty_group();
        walk.intake.end(None, required);
        Ok(walk.fields)
    }
}

/// The values of a body with what the tree says of them.
struct Leaves<'m> {
    mapped: &'m Mapped,
    /// Whether no member may be outside of the tree.
    all: bool,
    found: Vec<Leaf>,
}

impl Leaves<'_> {
    /// Collects from the value that stands next; `false` if the body is of no simple kind.
    fn collect(
        &mut self,
        cursor: &mut Cursor<'_>,
        node: Option<usize>,
        depth: u32,
    ) -> Result<bool, Break> {
        let place = node.map(|node| &self.mapped.nodes[node]);
        let (field, property) = place.map_or((None, None), |node| (node.field, node.property));
        if depth >= DEPTH_MAX || (self.all && node.is_none()) {
            return Ok(false);
        }
        if cursor.peek() == b'{' && field.is_none() && property.is_none() {
            return self.members(cursor, node, depth);
        }
        let start = cursor.at();
        cursor.skip(depth)?;
        // A value that the tree leads through, and every one that stands twice, is a matter of its own.
        let through = place.is_some_and(|node| !node.is_end());
        let twice = node.is_some()
            && self.found.iter().any(|leaf| (leaf.field, leaf.property) == (field, property));
        self.found.push(Leaf { start, end: cursor.at(), depth, field, property });
        Ok(!through && !twice)
    }

    fn members(
        &mut self,
        cursor: &mut Cursor<'_>,
        node: Option<usize>,
        depth: u32,
    ) -> Result<bool, Break> {
        cursor.expect(b'{', "an object")?;
        let mut more = cursor.first(b'}');
        while more {
            let key = cursor.key()?;
            let children = node.map_or(&[][..], |node| &self.mapped.nodes[node].children);
            let child = children.iter().find(|(name, _)| **name == *key.raw);
            let child = child.map(|(_, child)| usize::from(*child));
            if key.escaped || !self.collect(cursor, child, depth + 1)? {
                return Ok(false);
            }
            more = cursor.next(b'}')?;
        }
        Ok(true)
    }
}

struct Walk<'m, 'a, 'i, 's> {
    mapped: &'m Mapped,
    cursor: Cursor<'a>,
    intake: &'i mut Intake<'s>,
    seen: &'i mut Vec<bool>,
    fields: Fields,
}

impl Walk<'_, '_, '_, '_> {
    /// An object inside `depth` containers; the brace stands next.
    fn object(&mut self, node: usize, depth: u32) -> Result<(), Break> {
        self.enter(depth)?;
        self.cursor.expect(b'{', "an object")?;
        let Node { children, escaped, .. } = &self.mapped.nodes[node];
        let predictable = if *escaped { &[][..] } else { children };
        let (mut expected, mut count) = (0, 0);
        let mut more = self.cursor.first(b'}');
        while more {
            count += 1;
            if count > KEYS_MAX {
                return Err(self.cursor.limit("more than 500 keys"));
            }
            let _ = self.cursor.peek();
            let predicted = predictable.get(expected).filter(|(name, _)| self.cursor.key_is(name));
            let found = match predicted {
                Some(_) => Some(expected),
                None => {
                    let key = self.cursor.key()?;
                    children.iter().position(|(name, _)| key.is(name))
                }
            };
            match found {
                Some(index) => {
                    expected = index + 1;
                    self.arrive(usize::from(children[index].1), depth + 1)?;
                }
                None => {
                    self.cursor.skip(depth + 1)?;
                }
            }
            more = self.cursor.next(b'}')?;
        }
        Ok(())
    }

    /// An array inside `depth` containers; the bracket stands next.
    fn array(&mut self, node: usize, depth: u32) -> Result<(), Break> {
        self.enter(depth)?;
        self.cursor.expect(b'[', "an array")?;
        let children = &self.mapped.nodes[node].children;
        let mut digits = itoa::Buffer::new();
        let mut index = 0_u32;
        let mut more = self.cursor.first(b']');
        while more {
            let name = digits.format(index);
            match children.iter().find(|(child, _)| **child == *name) {
                Some((_, child)) => self.arrive(usize::from(*child), depth + 1)?,
                None => {
                    self.cursor.skip(depth + 1)?;
                }
            }
            index += 1;
            more = self.cursor.next(b']')?;
        }
        Ok(())
    }

    fn enter(&self, depth: u32) -> Result<(), Break> {
        if depth >= DEPTH_MAX {
            return Err(self.cursor.limit("nesting deeper than 32"));
        }
        Ok(())
    }

    /// The value of a member that a pointer leads to or through.
    fn arrive(&mut self, at: usize, depth: u32) -> Result<(), Break> {
        let node = &self.mapped.nodes[at];
        if std::mem::replace(&mut self.seen[at], true) {
            self.intake.refuse(Place::Body("body"), Wrong::Twice);
            self.cursor.skip(depth)?;
            return Ok(());
        }
        let next = self.cursor.peek();
        match (node.field, node.property) {
            (None, Some(property)) => self.property(property, depth),
            (Some(field), None) => self.field(field, depth),
            (Some(field), Some(property)) => {
                let start = self.cursor.clone();
                self.field(field, depth)?;
                self.cursor = start;
                self.property(property, depth)
            }
            (None, None) if next == b'{' => self.object(at, depth),
            (None, None) if next == b'[' => self.array(at, depth),
            (None, None) => self.cursor.skip(depth).map(|_| ()),
        }
    }

    fn property(&mut self, property: u16, depth: u32) -> Result<(), Break> {
        if !self.intake.admit() || !self.intake.see(property) {
            return self.cursor.skip(depth).map(|_| ());
        }
        let convert = &self.mapped.conversions[usize::from(property)];
        read(&mut self.cursor, self.intake, property, convert, Tag::default(), depth)
    }

    fn field(&mut self, target: Target, depth: u32) -> Result<(), Break> {
        let start = self.cursor.at();
        let found = self.cursor.skip(depth)?;
        let mut value = self.cursor.back_at(start);
        match (target, found) {
            // A clock that was never set often has no value at all.
            (_, "null") => {}
            (Target::Time, "number") => self.time(value.number()?),
            (Target::Boot | Target::Sequence, "number") => {
                let counter = value.number()?.to_u64();
                if counter.is_none() {
                    self.wrong("id", "integer of at least 0", found);
                }
                match target {
                    Target::Boot => self.fields.boot = counter,
                    _ => self.fields.seq = counter,
                }
            }
            (Target::Id, "text") => self.fields.id = self.text(value.string()?),
            (Target::Id, "number") => {
                let text = value.number()?.raw;
                self.fields.id = self.text(Text { raw: text, escaped: false });
            }
            (Target::Device, "text") => self.fields.device = self.text(value.string()?),
            (Target::Time, _) => self.wrong("time", "time", found),
            (Target::Device, _) => self.wrong("device", "text", found),
            (Target::Id, _) => self.wrong("id", "text", found),
            _ => self.wrong("id", "integer of at least 0", found),
        }
        Ok(())
    }

    fn time(&mut self, number: Number<'_>) {
        let unit = Decimal::integer(i128::from(self.mapped.time_unit));
        let exact = number.decimal().and_then(|decimal| decimal.times(unit));
        // Parts of a ms are cut off.
        let whole = exact.and_then(|ms| ms.to_i64().or_else(|| cut(ms)));
        self.fields.ts = whole.or_else(|| number.to_i64_saturating());
        if self.fields.ts.is_none() {
            self.wrong("time", "time", "number");
        }
    }

    fn text(&mut self, text: Text<'_>) -> Option<Span> {
        let span = append(text, &mut self.intake.out.text);
        (span.len > 0).then_some(span)
    }

    fn wrong(&mut self, name: &'static str, expected: &'static str, found: &'static str) {
        self.intake.refuse(Place::Body(name), Wrong::Type { expected, found });
    }
}

/// Whole ms of a time with more digits.
fn cut(ms: Decimal) -> Option<i64> {
    let value = ms.to_f64();
    (value.abs() < 9e15).then_some(value as i64)
}
