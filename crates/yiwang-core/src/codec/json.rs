//! A strict JSON cursor: one pass, no tree, no allocation, every byte verified.
//!
//! It accepts exactly the texts of RFC 8259 (the tests compare it with serde_json) within the limits of devices
//! section 9, and breaks off at the first byte that does not fit. It refuses to know what a value means.

pub(crate) use super::number::Number;

/// Deepest nesting of objects and arrays.
pub(crate) const DEPTH_MAX: u32 = 32;
/// Most bytes of a string after its escapes are resolved.
pub(crate) const STRING_BYTES_MAX: usize = 8 * 1024;
/// Most members of one object.
pub(crate) const KEYS_MAX: u32 = 500;

/// Why reading broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// Not JSON: what was expected at which byte.
    Syntax {
        /// Offset of the byte.
        at: u32,
        /// What was expected there.
        expected: &'static str,
    },
    /// JSON beyond a limit.
    Limit {
        /// Offset of the byte.
        at: u32,
        /// Which limit.
        limit: &'static str,
    },
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    /// The characters, escapes unresolved and verified.
    pub(crate) raw: &'a str,
    /// Whether there are escapes.
    pub(crate) escaped: bool,
}

impl Text<'_> {
    /// Whether it is this name, however it is written.
    #[inline]
    pub(crate) fn is(self, name: &str) -> bool {
        if self.escaped { self.resolved() == name } else { self.raw == name }
    }

    /// The text with its escapes resolved, which costs an allocation.
    #[cold]
    pub(crate) fn resolved(self) -> String {
        let mut text = String::new();
        self.append_to(&mut text);
        text
    }

    /// Number of bytes with its escapes resolved.
    pub(crate) fn len(self) -> usize {
        if self.escaped { self.resolved().len() } else { self.raw.len() }
    }

    /// Appends the text with its escapes resolved.
    pub(crate) fn append_to(self, out: &mut String) {
        if self.escaped {
            unescape(self.raw, out);
        } else {
            out.push_str(self.raw);
        }
    }
}

/// A place in a text.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// Bytes that end the plain part of a string: control characters, the quote, the backslash.
pub(crate) const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        stops[byte] = true;
        byte += 1;
    }
    stops[b'"' as usize] = true;
    stops[b'\\' as usize] = true;
    stops
};

impl<'a> Cursor<'a> {
    /// At the first byte of a payload, which must be UTF-8.
    pub(crate) fn new(payload: &'a [u8]) -> Result<Self, Break> {
        if let Ok(text) = simdutf8::basic::from_utf8(payload) {
            return Ok(Self::over(text));
        }
        // The slower way says where.
        let at = std::str::from_utf8(payload).map_or_else(|e| e.valid_up_to(), str::len);
        Err(Break::Syntax { at: at as u32, expected: "UTF-8 text" })
    }

    /// At the first byte of a text.
    pub(crate) fn over(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Offset of the next byte.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The text from an earlier offset up to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// A second cursor at another offset.
    #[inline]
    pub(crate) fn back_at(&self, start: usize) -> Self {
        Self { text: self.text, at: start }
    }

    /// The next byte that is no white space; 0 at the end, which is never valid there.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// Takes this byte, white space before it included.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Break> {
        if self.peek() != byte {
            return Err(self.syntax(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Break> {
        let _ = self.peek();
        if self.at == self.text.len() { Ok(()) } else { Err(self.syntax("the end")) }
    }

    /// After an opening bracket: whether the container has a first item. Takes the closing bracket if not.
    #[inline]
    pub(crate) fn first(&mut self, close: u8) -> bool {
        let empty = self.peek() == close;
        self.at += usize::from(empty);
        !empty
    }

    /// After an item: whether another one follows. Takes the comma or the closing bracket.
    #[inline]
    pub(crate) fn next(&mut self, close: u8) -> Result<bool, Break> {
        let byte = self.peek();
        if byte == b',' || byte == close {
            self.at += 1;
            Ok(byte == b',')
        } else {
            Err(self.syntax("a comma or the closing bracket"))
        }
    }

    /// A member's key and its colon.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Text<'a>, Break> {
        if self.peek() != b'"' {
            return Err(self.syntax("a key in quotes"));
        }
        let key = self.string()?;
        self.expect(b':', "a colon")?;
        Ok(key)
    }

    /// Takes `name`, which needs no escape, and its colon where exactly these bytes stand next; the member order that
    /// was expected.
    #[inline]
    pub(crate) fn key_is(&mut self, name: &str) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let matches = rest.len() > name.len() + 3
            && rest[0] == b'"'
            && rest[1..].starts_with(name.as_bytes())
            && rest[name.len() + 1] == b'"'
            && rest[name.len() + 2] == b':';
        self.at += if matches { name.len() + 3 } else { 0 };
        matches
    }

    /// The whole text.
    #[inline]
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Whether everything was read, to the last byte.
    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// A string; the quote stands next.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text<'a>, Break> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escapes_saved = 0;
        loop {
            match bytes.get(at) {
                Some(byte) if !STOPS[usize::from(*byte)] => at += 1,
                Some(b'"') => break,
                Some(b'\\') => {
                    let escape = self.escape(at)?;
                    escapes_saved += escape.read - escape.written;
                    at += escape.read;
                }
                _ => return Err(Break::Syntax { at: at as u32, expected: "the closing quote" }),
            }
        }
        self.at = at + 1;
        if at - start - escapes_saved > STRING_BYTES_MAX {
            return Err(Break::Limit { at: start as u32, limit: "string longer than 8 KiB" });
        }
        Ok(Text { raw: &self.text[start..at], escaped: escapes_saved > 0 })
    }

    /// Verifies one escape at this offset.
    #[cold]
    fn escape(&self, at: usize) -> Result<Escape, Break> {
        let fault = Break::Syntax { at: at as u32, expected: "a valid escape" };
        let bytes = self.text.as_bytes();
        match bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                Ok(Escape { read: 2, written: 1 })
            }
            Some(b'u') => {
                let (character, read) = unicode(bytes, at).ok_or(fault)?;
                Ok(Escape { read, written: character.len_utf8() })
            }
            _ => Err(fault),
        }
    }

    /// A number; its first byte stands next.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number<'a>, Break> {
        let number = Number::read(self.text, self.at)?;
        self.at += number.raw.len();
        Ok(number)
    }

    /// `true`, `false` or `null`; its first letter stands next.
    #[inline]
    pub(crate) fn word(&mut self, word: &'static str) -> Result<(), Break> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.syntax("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads over any value, which stands inside `depth` containers, and says what it was.
    pub(crate) fn skip(&mut self, depth: u32) -> Result<&'static str, Break> {
        let found = match self.peek() {
            b'{' => "object",
            b'[' => "array",
            _ => return self.skip_scalar(),
        };
        let mut open = Open { kinds: 0, counts: [0; DEPTH_MAX as usize], depth: 0 };
        loop {
            // A value stands next.
            let byte = self.peek();
            let more = if byte == b'{' || byte == b'[' {
                self.at += 1;
                if depth + open.depth >= DEPTH_MAX {
                    return Err(self.limit("nesting deeper than 32"));
                }
                open.push(byte == b'{');
                self.first(open.close())
            } else {
                self.skip_scalar()?;
                self.next(open.close())?
            };
            if !self.unwind(&mut open, more)? {
                return Ok(found);
            }
        }
    }

    /// Leaves finished containers and reads the next key; `false` when the outermost one is finished.
    fn unwind(&mut self, open: &mut Open, mut more: bool) -> Result<bool, Break> {
        while !more {
            open.depth -= 1;
            open.kinds >>= 1;
            if open.depth == 0 {
                return Ok(false);
            }
            more = self.next(open.close())?;
        }
        if open.close() == b'}' {
            if open.count() > KEYS_MAX {
                return Err(self.limit("more than 500 keys"));
            }
            self.key()?;
        }
        Ok(true)
    }

    fn skip_scalar(&mut self) -> Result<&'static str, Break> {
        match self.peek() {
            b'"' => self.string().map(|_| "text"),
            b'-' | b'0'..=b'9' => self.number().map(|_| "number"),
            b't' => self.word("true").map(|()| "bool"),
            b'f' => self.word("false").map(|()| "bool"),
            b'n' => self.word("null").map(|()| "null"),
            _ => Err(self.syntax("a value")),
        }
    }

    /// A break at the next byte.
    #[cold]
    pub(crate) fn syntax(&self, expected: &'static str) -> Break {
        Break::Syntax { at: self.at as u32, expected }
    }

    /// A limit passed at the next byte.
    #[cold]
    pub(crate) fn limit(&self, limit: &'static str) -> Break {
        Break::Limit { at: self.at as u32, limit }
    }
}

/// The containers that [`Cursor::skip`] is in: one bit each, innermost lowest; 1 is an object.
struct Open {
    kinds: u64,
    counts: [u32; DEPTH_MAX as usize],
    depth: u32,
}

impl Open {
    fn push(&mut self, object: bool) {
        self.kinds = self.kinds << 1 | u64::from(object);
        self.counts[self.depth as usize] = 0;
        self.depth += 1;
    }

    fn close(&self) -> u8 {
        if self.kinds & 1 == 1 { b'}' } else { b']' }
    }

    /// Counts one more member of the innermost object.
    fn count(&mut self) -> u32 {
        let count = &mut self.counts[self.depth as usize - 1];
        *count += 1;
        *count
    }
}

struct Escape {
    read: usize,
    written: usize,
}

/// The character of `\uXXXX` at this offset, a pair of surrogates included, and the bytes read.
fn unicode(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?;
        if digits[0] != b'\\' || digits[1] != b'u' {
            return None;
        }
        digits[2..].iter().try_fold(0_u32, |value, digit| {
            char::from(*digit).to_digit(16).map(|digit| value << 4 | digit)
        })
    };
    let first = unit(at)?;
    if !(0xD800..0xDC00).contains(&first) {
        // A lone trailing surrogate is no character.
        return char::from_u32(first).map(|character| (character, 6));
    }
    let second = unit(at + 6).filter(|second| (0xDC00..0xE000).contains(second))?;
    let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    char::from_u32(code).map(|character| (character, 12))
}

/// Resolves verified escapes.
fn unescape(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        let mut read = 2;
        out.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (character, length) = unicode(rest.as_bytes(), at).unwrap_or(('\u{fffd}', 6));
                read = length;
                character
            }
            other => char::from(other),
        });
        rest = rest.get(at + read..).unwrap_or_default();
    }
    out.push_str(rest);
}
