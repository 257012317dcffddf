//! `up/pack`: one message of a gateway device that carries messages of its children (devices 2.2, 2.3).
//!
//! Bodies stay where they lie in the payload; only names are copied, since a device key is two of them. An item that
//! is wrong says so and leaves the others alone; a pack that cannot be read at all is refused whole.

use super::fault::Cause;
use super::json::{Break, Cursor, KEYS_MAX, Text};
use super::native::{ID_CHARS_MAX, ITEMS_MAX, append};
use super::{Fault, Fields, MessageId, identity};
use crate::record::BodyKind;
use crate::sample::{Samples, Span};
use crate::thing::IdentityKind;
use crate::topic;

/// The path of packs below `up/`.
pub(crate) const PATH: &str = "pack";

/// A pack that was read; reused from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Pack {
    /// In the order of the message.
    pub(crate) items: Vec<Item>,
    /// Device keys, kinds and the id of the pack.
    pub(crate) texts: Samples,
    /// Bodies that had to be decoded from text.
    bytes: Vec<u8>,
}

/// One item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// All of it, in the payload.
    pub(crate) whole: (u32, u32),
    /// What it says, or what is wrong with it.
    pub(crate) content: Result<Content, &'static str>,
}

/// What an item says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    /// Device key of the child, in `texts`.
    pub(crate) key: Span,
    /// Its topic below `up/`, in `texts`.
    pub(crate) path: Span,
    /// What its body is.
    pub(crate) kind: BodyKind,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    /// In the payload.
    Payload(u32, u32),
    /// Decoded.
    Bytes(u32, u32),
}

/// What the whole says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    /// The id of devices section 2.5 that applies.
    pub(crate) identity: MessageId,
    /// Old data on purpose.
    pub(crate) backfill: bool,
}

impl Pack {
    /// Reads a pack of a device with this kind of identity.
    pub(crate) fn read(&mut self, payload: &[u8], kind: IdentityKind) -> Result<Envelope, Fault> {
        self.items.clear();
        self.texts.clear();
        self.bytes.clear();
        let fields = self.body(payload).map_err(|wrong| wrong.cause().fault())?;
        let identity = identity(kind, &fields, None);
        Ok(Envelope { identity, backfill: fields.backfill })
    }

    /// The body of an item.
    pub(crate) fn body_of<'a>(&'a self, content: &Content, payload: &'a [u8]) -> &'a [u8] {
        let (from, (start, end)) = match content.body {
            Body::Payload(start, end) => (payload, (start, end)),
            Body::Bytes(start, end) => (self.bytes.as_slice(), (start, end)),
        };
        from.get(start as usize..end as usize).unwrap_or_default()
    }

    fn body(&mut self, payload: &[u8]) -> Result<Fields, Wrong> {
        let mut cursor = Cursor::new(payload)?;
        let mut fields = Fields::default();
        let mut packed = false;
        let mut count = 0;
        cursor.expect(b'{', "an object")?;
        let mut more = cursor.first(b'}');
        while more {
            count += 1;
            if count > KEYS_MAX {
                return Err(cursor.limit("more than 500 keys").into());
            }
            let key = cursor.key()?;
            let name = NAMES.into_iter().find(|name| key.is(name));
            match name {
                Some("items") if packed => return Err(Wrong::Field("items", "it once")),
                Some("items") => {
                    packed = true;
                    self.items(&mut cursor)?;
                }
                Some(name) => self.field(&mut cursor, name, &mut fields)?,
                None => drop(cursor.skip(1)?),
            }
            more = cursor.next(b'}')?;
        }
        cursor.end()?;
        if packed { Ok(fields) } else { Err(Wrong::Field("items", "an array of items")) }
    }

    fn field(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: &'static str,
        fields: &mut Fields,
    ) -> Result<(), Wrong> {
        let numeric = matches!(cursor.peek(), b'-' | b'0'..=b'9');
        match name {
            "boot" | "seq" => {
                let value = if numeric { cursor.number()?.to_u64() } else { None };
                let value = value.ok_or(Wrong::Field(name, "integer of at least 0"))?;
                let slot = if name == "boot" { &mut fields.boot } else { &mut fields.seq };
                *slot = Some(value);
            }
            "ts" => {
                let ts = if numeric { cursor.number()?.to_i64_saturating() } else { None };
                fields.ts = Some(ts.ok_or(Wrong::Field("ts", "time in whole ms"))?);
            }
            "id" => {
                if cursor.peek() != b'"' {
                    return Err(Wrong::Field("id", "text of at most 64 characters"));
                }
                let id = append(cursor.string()?, &mut self.texts.text);
                if self.texts.text_at(id).chars().count() > ID_CHARS_MAX {
                    return Err(Wrong::Field("id", "text of at most 64 characters"));
                }
                fields.id = (id.len > 0).then_some(id);
            }
            _ => {
                let start = cursor.at();
                cursor.skip(1)?;
                fields.backfill |=
                    name == "backfill" && matches!(cursor.since(start), "1" | "true");
            }
        }
        Ok(())
    }

    fn items(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Wrong> {
        if cursor.peek() != b'[' {
            return Err(Wrong::Field("items", "an array of items"));
        }
        cursor.expect(b'[', "an array")?;
        let mut more = cursor.first(b']');
        while more {
            if self.items.len() == ITEMS_MAX {
                return Err(cursor.limit("more than 500 items").into());
            }
            let object = cursor.peek() == b'{';
            let start = cursor.at();
            let content = if object {
                self.item(cursor)?
            } else {
                cursor.skip(2)?;
                Err("an object")
            };
            self.items.push(Item { whole: (start as u32, cursor.at() as u32), content });
            more = cursor.next(b']')?;
        }
        Ok(())
    }

    /// One item; what it says is judged after all of it was verified.
    fn item(&mut self, cursor: &mut Cursor<'_>) -> Result<Result<Content, &'static str>, Break> {
        let (mut product, mut name, mut kind, mut body) = (None, None, None, None);
        let (mut twice, mut count) = (false, 0);
        cursor.expect(b'{', "an object")?;
        let mut more = cursor.first(b'}');
        while more {
            count += 1;
            if count > KEYS_MAX {
                return Err(cursor.limit("more than 500 keys"));
            }
            let key = cursor.key()?;
            let text = cursor.peek() == b'"';
            let slot = match () {
                () if key.is("pk") => Some(&mut product),
                () if key.is("dn") => Some(&mut name),
                () if key.is("kind") => Some(&mut kind),
                () => None,
            };
            match slot {
                Some(slot) if text => twice |= slot.replace(cursor.string()?).is_some(),
                _ => {
                    let start = cursor.at();
                    cursor.skip(3)?;
                    if key.is("body") {
                        twice |= body.replace((start, cursor.at())).is_some();
                    }
                }
            }
            more = cursor.next(b'}')?;
        }
        if twice {
            return Ok(Err("each member once"));
        }
        let (Some(product), Some(name)) = (product, name) else {
            return Ok(Err("`pk` and `dn` as text"));
        };
        let Some(kind) = kind else { return Ok(Err("`kind` as text")) };
        let Some((start, end)) = body else { return Ok(Err("a `body`")) };
        let text = cursor.back_at(start);
        Ok(self.content((product, name), kind, (start, end), text))
    }

    fn content(
        &mut self,
        (product, name): (Text<'_>, Text<'_>),
        kind: Text<'_>,
        (start, end): (usize, usize),
        mut body: Cursor<'_>,
    ) -> Result<Content, &'static str> {
        let key = self.key(product, name).ok_or("a product key and a device name")?;
        let path = append(kind, &mut self.texts.text);
        let up = topic::up_path(self.texts.text_at(path)).ok();
        let kind = up.map(|up| up.kind).filter(|kind| *kind != BodyKind::Other);
        let kind = kind.ok_or("`kind` property, raw or event/{id}")?;
        let body = match (kind, body.peek()) {
            // Bytes that are no JSON come as text.
            (BodyKind::Raw, b'"') => {
                let text = body.string().map_err(|_| "a `body`")?;
                let from = self.bytes.len();
                let text = append(text, &mut self.texts.text);
                let digits = self.texts.text_at(text).as_bytes();
                base64(digits, &mut self.bytes).ok_or("a `body` in base64")?;
                Body::Bytes(from as u32, self.bytes.len() as u32)
            }
            _ => Body::Payload(start as u32, end as u32),
        };
        Ok(Content { key, path, kind, body })
    }

    fn key(&mut self, product: Text<'_>, name: Text<'_>) -> Option<Span> {
        let text = &mut self.texts.text;
        let start = text.len();
        product.append_to(text);
        text.push('/');
        name.append_to(text);
        let span = Span { start: start as u32, len: (text.len() - start) as u32 };
        topic::parse_device_key(self.texts.text_at(span)).is_ok().then_some(span)
    }
}

/// The names of the body of a pack; others are passed over.
const NAMES: [&str; 7] = ["boot", "seq", "id", "ts", "items", "ack", "backfill"];

/// Why a pack cannot be read.
enum Wrong {
    Json(Break),
    Field(&'static str, &'static str),
}

impl From<Break> for Wrong {
    fn from(cause: Break) -> Self {
        Self::Json(cause)
    }
}

impl Wrong {
    fn cause(&self) -> Cause<'static> {
        match *self {
            Self::Json(cause) => Cause::Json(cause),
            Self::Field(name, expected) => Cause::Field { name, expected },
        }
    }
}

/// Appends what base64 text stands for (RFC 4648, with or without padding); `None` for any other text.
fn base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let digits = &text[..text.len() - padding];
    if padding > 0 && !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bits = 0_u32;
    for (index, byte) in digits.iter().enumerate() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        if index % 4 > 0 {
            out.push((bits >> (6 - index % 4 * 2)) as u8);
        }
    }
    // Bits beyond the last byte are zero, and a single digit is no byte.
    let left = match digits.len() % 4 {
        0 => 0,
        1 => return None,
        2 => bits & 0xf,
        _ => bits & 3,
    };
    (left == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::QuarantineReason;

    fn read(body: &str) -> Result<Pack, Fault> {
        let mut pack = Pack::default();
        pack.read(body.as_bytes(), IdentityKind::Sequence).map(|_| pack)
    }

    /// Each item as `key path body`, or what was expected.
    fn items(items: &str) -> Vec<String> {
        let body = format!(r#"{{"id":"p","items":[{items}],"x":[{{}}]}}"#);
        let pack = read(&body).unwrap();
        let one = |item: &Item| match &item.content {
            Ok(content) => {
                let bytes = pack.body_of(content, body.as_bytes());
                let text = |span| pack.texts.text_at(span).to_owned();
                let bytes = String::from_utf8_lossy(bytes);
                format!("{} {} {bytes}", text(content.key), text(content.path))
            }
            Err(expected) => (*expected).to_owned(),
        };
        pack.items.iter().map(one).collect()
    }

    #[test]
    fn items_one_by_one() {
        let read = items(
            r#"{"pk":"smoke-01","dn":"S-1","kind":"property","body":{"id":"a"}},
            {"kind":"event\/tamper","body": [1] ,"dn":"S-2","pk":"s","t":1},
            {"pk":"s","dn":"S-3","kind":"raw","body":"pQ\/0"},
            {"pk":"s","dn":"S-4","kind":"raw","body":{"lvl":1}}"#,
        );
        let expected = [
            r#"smoke-01/S-1 property {"id":"a"}"#,
            "s/S-2 event/tamper [1]",
            "s/S-3 raw \u{fffd}\u{f}\u{fffd}",
            r#"s/S-4 raw {"lvl":1}"#,
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn items_that_are_wrong() {
        let kind = "`kind` property, raw or event/{id}";
        for (item, expected) in [
            ("7", "an object"),
            (r#"{"dn":"S","kind":"property","body":{}}"#, "`pk` and `dn` as text"),
            (r#"{"pk":"p","dn":5,"kind":"property","body":{}}"#, "`pk` and `dn` as text"),
            (r#"{"pk":"p","dn":"S","body":{}}"#, "`kind` as text"),
            (r#"{"pk":"p","dn":"S","kind":"property"}"#, "a `body`"),
            (r#"{"pk":"p","dn":"S","dn":"T","kind":"property","body":{}}"#, "each member once"),
            (r#"{"pk":"p","dn":"S","kind":"pack","body":{}}"#, kind),
            (r#"{"pk":"p","dn":"S","kind":"event/","body":{}}"#, kind),
            (r#"{"pk":"p","dn":"a b","kind":"raw","body":{}}"#, "a product key and a device name"),
            (r#"{"pk":"p/q","dn":"a","kind":"raw","body":{}}"#, "a product key and a device name"),
            (r#"{"pk":"p","dn":"S","kind":"raw","body":"?"}"#, "a `body` in base64"),
        ] {
            assert_eq!(items(item), [expected], "{item}");
        }
    }

    #[test]
    fn packs_that_are_refused() {
        let codec = QuarantineReason::Codec;
        let schema = QuarantineReason::Schema;
        let item = r#"{"pk":"p","dn":"S","kind":"property","body":{}}"#;
        let many = vec![item; 501].join(",");
        for (body, reason) in [
            ("", codec),
            ("[]", codec),
            (r#"{"items":[}"#, codec),
            (r#"{"items":[]} x"#, codec),
            ("{}", schema),
            (r#"{"items":{}}"#, schema),
            (r#"{"items":[],"items":[]}"#, schema),
            (r#"{"items":[],"seq":-1}"#, schema),
            (r#"{"items":[],"ts":"now"}"#, schema),
            (&format!(r#"{{"items":[{many}]}}"#), schema),
            (&format!(r#"{{"items":[],"id":"{}"}}"#, "x".repeat(65)), schema),
        ] {
            assert_eq!(read(body).unwrap_err().reason, reason, "{body}");
        }
        assert_eq!(read(r#"{"items":[]}"#).unwrap().items.len(), 0);
    }

    #[test]
    fn base64_of_the_standard() {
        let decode = |text: &str| {
            let mut out = Vec::new();
            base64(text.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        for (text, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(plain));
        }
        for bad in ["Z", "Zg=", "Zh==", "Zm9=", "Z===", "=", "Zm 9", "Zm9v=", "Zm\\u"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
