//! The native JSON body (devices 2.3): one set, a batch or a history of properties, or one event.
//!
//! One pass; the members may stand in any order, so times are settled at the end. Fields outside of `params` are
//! properties only where the object has neither `params` nor `items`.

use super::Fields;
use super::json::{Break, Cursor, KEYS_MAX, Text};
use super::mapped::{Mapped, Target};
use super::plan::Plan;
use super::shape::{Conversions, Shape};
use super::value::{Convert, read, read_envelope};
use crate::record::Millis;
use crate::sample::Span;
use crate::validate::{Intake, Place, Tag, Wrong};

/// Most items of a batch.
pub(crate) const ITEMS_MAX: usize = 500;
/// Most characters of a message id.
pub(crate) const ID_CHARS_MAX: usize = 64;

/// The names of the body, which no property may have.
pub(crate) const RESERVED: [&str; 8] =
    ["boot", "seq", "id", "ts", "params", "items", "ack", "backfill"];

/// Reads a whole body.
pub(crate) struct Native<'a, 'i, 's> {
    cursor: Cursor<'a>,
    intake: &'i mut Intake<'s>,
    convert: &'i Convert,
    fields: Fields,
    /// Which reserved names were seen.
    seen: u8,
    /// `params` or `items` was seen: other members are no properties.
    wrapped: bool,
    /// Where bare values start, while they may still be bare.
    bare: Option<usize>,
}

impl<'a, 'i, 's> Native<'a, 'i, 's> {
    /// Reads a body; the values lie in the intake, in groups.
    pub(crate) fn read(
        cursor: Cursor<'a>,
        intake: &'i mut Intake<'s>,
        convert: &'i Convert,
        event: bool,
    ) -> Result<Fields, Break> {
        let fields = Fields::default();
        let mut native =
            Self { cursor, intake, convert, fields, seen: 0, wrapped: false, bare: None };
        native.body(event)?;
        native.cursor.end()?;
        Ok(native.fields)
    }

    fn body(&mut self, event: bool) -> Result<(), Break> {
        if self.cursor.peek() != b'{' {
            let found = self.cursor.skip(0)?;
            self.intake.refuse(Place::Body("body"), Wrong::Type { expected: "object", found });
            return Ok(());
        }
        self.cursor.expect(b'{', "an object")?;
        let mut count = 0;
        let mut more = self.cursor.first(b'}');
        while more {
            count += 1;
            if count > KEYS_MAX {
                return Err(self.cursor.limit("more than 500 keys"));
            }
            let key = self.cursor.key()?;
            self.member(key, event)?;
            more = self.cursor.next(b'}')?;
        }
        if self.bare.is_some() || !self.wrapped {
            if self.bare.is_none() {
                self.intake.begin();
            }
            self.intake.end(None, self.reports());
        }
        Ok(())
    }

    fn member(&mut self, key: Text<'a>, event: bool) -> Result<(), Break> {
        let Some(index) = reserved(key) else { return self.other(key) };
        let bit = 1 << index;
        if self.seen & bit != 0 {
            self.intake.refuse(Place::Body(RESERVED[index]), Wrong::Twice);
        }
        self.seen |= bit;
        let next = self.cursor.peek();
        match RESERVED[index] {
            "boot" => self.fields.boot = self.counter("boot")?,
            "seq" => self.fields.seq = self.counter("seq")?,
            "id" => self.fields.id = self.id()?,
            "ts" => self.fields.ts = self.time("ts")?,
            "ack" => self.fields.ack = self.flag("ack")?,
            "backfill" => self.fields.backfill = self.flag("backfill")?,
            "params" if next == b'{' => {
                self.wrap();
                self.intake.begin();
                self.params(1)?;
                self.intake.end(None, self.reports());
            }
            "items" if next == b'[' && !event => {
                self.wrap();
                self.items()?;
            }
            name => {
                self.wrap();
                let found = self.cursor.skip(1)?;
                let expected = match name {
                    "params" => "object",
                    _ if event => "no items in an event",
                    _ => "array",
                };
                self.intake.refuse(Place::Body(RESERVED[index]), Wrong::Type { expected, found });
            }
        }
        Ok(())
    }

    /// Whether the group that was just read is a report, which must carry what is required: one with a value. Without
    /// any it is a sign of life, which a strict product does not take either.
    fn reports(&self) -> bool {
        self.intake.policy.strict || !self.intake.is_empty_group()
    }

    /// From here on, other members are no properties; those that were taken for it are not either.
    fn wrap(&mut self) {
        if let Some(start) = self.bare.take() {
            self.intake.disown(start);
            self.intake.end(None, false);
        }
        self.wrapped = true;
    }

    /// A member with another name: a property of a bare object, or a field outside of the model.
    fn other(&mut self, key: Text<'a>) -> Result<(), Break> {
        if self.wrapped {
            self.intake.begin();
            self.unknown(key, 1)?;
            self.intake.end(None, false);
            return Ok(());
        }
        if self.bare.is_none() {
            self.intake.begin();
            self.bare = Some(self.intake.out.values.len());
        }
        self.property(key, 1).map(|_| ())
    }

    /// An object of properties inside `depth` containers; the brace stands next. The group is open and stays so.
    fn params(&mut self, depth: u32) -> Result<(), Break> {
        self.cursor.expect(b'{', "an object")?;
        let mut expected = 0;
        let mut count = 0;
        let mut more = self.cursor.first(b'}');
        while more {
            count += 1;
            if count > KEYS_MAX {
                return Err(self.cursor.limit("more than 500 keys"));
            }
            expected = self.param(expected, depth + 1)?;
            more = self.cursor.next(b'}')?;
        }
        Ok(())
    }

    /// One member of `params`; answers which property is expected next.
    #[inline]
    fn param(&mut self, expected: u16, depth: u32) -> Result<u16, Break> {
        let plan = self.intake.plan;
        let _ = self.cursor.peek();
        if let Some(check) = plan.checks.get(usize::from(expected))
            && self.cursor.key_is(&check.name)
        {
            self.value(expected, depth)?;
            return Ok(expected + 1);
        }
        let key = self.cursor.key()?;
        self.property(key, depth)
    }

    /// A property by its name; answers which one is expected next.
    fn property(&mut self, key: Text<'a>, depth: u32) -> Result<u16, Break> {
        match self.intake.plan.find(key.raw).filter(|_| !key.escaped) {
            Some(property) => {
                self.value(property, depth)?;
                Ok(property + 1)
            }
            None => self.escaped(key, depth).map(|()| 0),
        }
    }

    /// A name with escapes may still be one of the model.
    #[cold]
    fn escaped(&mut self, key: Text<'a>, depth: u32) -> Result<(), Break> {
        let name = append(key, &mut self.intake.out.text);
        let found = self.intake.plan.find(self.intake.out.text_at(name));
        self.intake.out.text.truncate(name.start as usize);
        match found {
            Some(property) => self.value(property, depth),
            None => self.unknown(key, depth),
        }
    }

    #[inline]
    fn value(&mut self, property: u16, depth: u32) -> Result<(), Break> {
        // Refused values are still verified.
        if !self.intake.admit() || !self.intake.see(property) {
            self.cursor.skip(depth)?;
            return Ok(());
        }
        if self.cursor.peek() == b'{' {
            return read_envelope(&mut self.cursor, self.intake, property, self.convert, depth);
        }
        read(&mut self.cursor, self.intake, property, self.convert, Tag::default(), depth)
    }

    #[cold]
    fn unknown(&mut self, key: Text<'a>, depth: u32) -> Result<(), Break> {
        let _ = self.cursor.peek();
        let start = self.cursor.at();
        self.cursor.skip(depth)?;
        if self.intake.admit() {
            let name = append(key, &mut self.intake.out.text);
            self.intake.unknown(name, self.cursor.since(start));
        }
        Ok(())
    }

    /// `[{"ts": …, "params": {…}}]`; the bracket stands next.
    fn items(&mut self) -> Result<(), Break> {
        self.cursor.expect(b'[', "an array")?;
        let mut count = 0;
        let mut more = self.cursor.first(b']');
        while more {
            count += 1;
            if count > ITEMS_MAX {
                self.intake.refuse(Place::Body("items"), Wrong::TooMany(ITEMS_MAX));
                self.cursor.skip(2)?;
            } else if self.cursor.peek() == b'{' {
                self.item()?;
            } else {
                let found = self.cursor.skip(2)?;
                let wrong = Wrong::Type { expected: "object", found };
                self.intake.refuse(Place::Body("items"), wrong);
            }
            more = self.cursor.next(b']')?;
        }
        Ok(())
    }

    fn item(&mut self) -> Result<(), Break> {
        self.cursor.expect(b'{', "an object")?;
        let (mut ts, mut seen, mut count) = (None, 0_u8, 0);
        self.intake.begin();
        let mut more = self.cursor.first(b'}');
        while more {
            count += 1;
            if count > KEYS_MAX {
                return Err(self.cursor.limit("more than 500 keys"));
            }
            let key = self.cursor.key()?;
            let next = self.cursor.peek();
            let bit = match () {
                () if key.is("ts") => 1,
                () if key.is("params") => 2,
                () => 4,
            };
            if seen & bit & 3 != 0 {
                self.intake.refuse(Place::Body("items"), Wrong::Twice);
            }
            match bit {
                1 => ts = self.time("items")?,
                // Only the first object of properties is one: a second one was refused just now.
                2 if next == b'{' && seen & 2 == 0 => self.params(3)?,
                2 => {
                    let found = self.cursor.skip(3)?;
                    let wrong = Wrong::Type { expected: "object", found };
                    self.intake.refuse(Place::Body("items"), wrong);
                }
                // Outside of the model.
                _ => self.unknown(key, 3)?,
            }
            seen |= bit;
            more = self.cursor.next(b'}')?;
        }
        let required = seen & 2 != 0 && self.reports();
        self.intake.end(ts, required);
        Ok(())
    }

    fn counter(&mut self, name: &'static str) -> Result<Option<u64>, Break> {
        let value = match self.cursor.peek() {
            b'-' | b'0'..=b'9' => self.cursor.number()?.to_u64(),
            _ => return self.wrong(name, "integer of at least 0").map(|()| None),
        };
        if value.is_none() {
            let wrong = Wrong::Type { expected: "integer of at least 0", found: "number" };
            self.intake.refuse(Place::Body(name), wrong);
        }
        Ok(value)
    }

    /// A device time in ms; null is none, since a wrong clock never quarantines.
    fn time(&mut self, name: &'static str) -> Result<Option<Millis>, Break> {
        match self.cursor.peek() {
            b'-' | b'0'..=b'9' => {
                let value = self.cursor.number()?.to_i64_saturating();
                if value.is_none() {
                    let wrong = Wrong::Type { expected: "time in whole ms", found: "number" };
                    self.intake.refuse(Place::Body(name), wrong);
                }
                Ok(value)
            }
            b'n' => self.cursor.word("null").map(|()| None),
            _ => self.wrong(name, "time in whole ms").map(|()| None),
        }
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, Break> {
        let start = self.cursor.at();
        let found = self.cursor.skip(1)?;
        match self.cursor.since(start) {
            "1" | "true" => return Ok(true),
            "0" | "false" => {}
            _ => {
                let wrong = Wrong::Type { expected: "0, 1, true or false", found };
                self.intake.refuse(Place::Body(name), wrong);
            }
        }
        Ok(false)
    }

    /// A message id; an empty one would make all its messages one, so it is none.
    fn id(&mut self) -> Result<Option<Span>, Break> {
        if self.cursor.peek() != b'"' {
            return self.wrong("id", "text of at most 64 characters").map(|()| None);
        }
        let text = self.cursor.string()?;
        let span = append(text, &mut self.intake.out.text);
        // A character has up to four bytes, so most ids need no counting.
        if span.len as usize > ID_CHARS_MAX
            && self.intake.out.text_at(span).chars().count() > ID_CHARS_MAX
        {
            let wrong = Wrong::Type { expected: "text of at most 64 characters", found: "text" };
            self.intake.refuse(Place::Body("id"), wrong);
        }
        Ok((span.len > 0).then_some(span))
    }

    fn wrong(&mut self, name: &'static str, expected: &'static str) -> Result<(), Break> {
        let found = self.cursor.skip(1)?;
        self.intake.refuse(Place::Body(name), Wrong::Type { expected, found });
        Ok(())
    }
}

/// The shape of a body with `params`, if it is of a simple kind.
pub(crate) fn shape_of(body: &str, plan: &Plan, convert: &Convert) -> Option<Shape> {
    let mut tree = Mapped::new(1);
    let fields = [
        ("/boot", Target::Boot),
        ("/seq", Target::Sequence),
        ("/id", Target::Id),
        ("/ts", Target::Time),
    ];
    for (pointer, target) in fields {
        tree.add(pointer, target).ok()?;
    }
    for (index, check) in (0..).zip(&plan.checks) {
        tree.add(&format!("/params/{}", check.name), Target::Property(index)).ok()?;
    }
    tree.shape_of(body, plan, Conversions::Native(convert), true)
}

/// Index into [`RESERVED`].
#[inline]
fn reserved(key: Text<'_>) -> Option<usize> {
    if key.escaped {
        return RESERVED.iter().position(|name| key.is(name));
    }
    Some(match key.raw.as_bytes() {
        b"boot" => 0,
        b"seq" => 1,
        b"id" => 2,
        b"ts" => 3,
        b"params" => 4,
        b"items" => 5,
        b"ack" => 6,
        b"backfill" => 7,
        _ => return None,
    })
}

/// Copies a text into an arena.
pub(crate) fn append(text: Text<'_>, out: &mut String) -> Span {
    let start = out.len();
    text.append_to(out);
    Span { start: start as u32, len: (out.len() - start) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_found() {
        for (index, name) in RESERVED.iter().enumerate() {
            assert_eq!(reserved(Text { raw: name, escaped: false }), Some(index));
        }
        assert_eq!(reserved(Text { raw: "t\\u0073", escaped: true }), Some(3));
        assert_eq!(reserved(Text { raw: "level", escaped: false }), None);
    }
}
