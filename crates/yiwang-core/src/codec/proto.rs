//! The wire format of protobuf, field by field and without a schema.
//!
//! Flat: a [`Reader`] is a piece of the payload, a nested message is another piece of it. Nothing allocates, nothing
//! recurses, no length is believed before it was compared with what is left. What a field means is the caller's.

/// Deepest nesting of groups, the old form of nested messages, that is passed over.
const GROUPS_MAX: usize = 32;
/// Greatest field number of the format.
pub(crate) const NUMBER_MAX: u32 = (1 << 29) - 1;

/// Where and why bytes are no protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Offset of the byte in the payload.
    pub at: u32,
    /// What was expected there.
    pub expected: &'static str,
}

/// The content of a field, by its form on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    /// Form 0.
    Varint(u64),
    /// Form 1: double, fixed64, sfixed64.
    Eight(u64),
    /// Form 2: text, bytes, a nested message or packed numbers.
    Piece(Reader<'a>),
    /// Form 5: float, fixed32, sfixed32.
    Four(u32),
}

impl Content<'_> {
    /// The word for messages.
    pub(crate) fn found(self) -> &'static str {
        match self {
            Self::Varint(_) => "varint",
            Self::Eight(_) => "64-bit number",
            Self::Piece(_) => "bytes",
            Self::Four(_) => "32-bit number",
        }
    }
}

/// A piece of a payload that is read from its first byte on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// All of a payload.
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { payload, at: 0, end: payload.len() }
    }

    /// The next field, groups passed over; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Content<'a>)>, Broken> {
        while self.at < self.end {
            let start = self.at;
            let (number, form) = self.tag()?;
            match form {
                3 => self.skip_group(number)?,
                4 => return Err(Self::broken(start, "a field, not the end of a group")),
                _ => return Ok(Some((number, self.content(form)?))),
            }
        }
        Ok(None)
    }

    /// What is left of the piece.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.payload.get(self.at..self.end).unwrap_or_default()
    }

    /// What is left of the piece, as text.
    pub(crate) fn text(&self) -> Result<&'a str, Broken> {
        std::str::from_utf8(self.bytes())
            .map_err(|error| Self::broken(self.at + error.valid_up_to(), "UTF-8 text"))
    }

    /// A break at the first byte that was not read.
    #[cold]
    pub(crate) fn expected(&self, expected: &'static str) -> Broken {
        Self::broken(self.at, expected)
    }

    #[cold]
    fn broken(at: usize, expected: &'static str) -> Broken {
        Broken { at: at as u32, expected }
    }

    /// Field number and form.
    #[inline]
    fn tag(&mut self) -> Result<(u32, u32), Broken> {
        let start = self.at;
        let tag = u32::try_from(self.varint()?)
            .map_err(|_| Self::broken(start, "a field number of 29 bits"))?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Self::broken(start, "a field number above 0"));
        }
        Ok((number, tag & 7))
    }

    #[inline]
    fn content(&mut self, form: u32) -> Result<Content<'a>, Broken> {
        Ok(match form {
            0 => Content::Varint(self.varint()?),
            1 => Content::Eight(u64::from_le_bytes(self.array()?)),
            2 => {
                let start = self.at;
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                if length > self.end - self.at {
                    return Err(Self::broken(start, "a length within the message"));
                }
                let piece = Self { payload: self.payload, at: self.at, end: self.at + length };
                self.at += length;
                Content::Piece(piece)
            }
            5 => Content::Four(u32::from_le_bytes(self.array()?)),
            _ => return Err(Self::broken(self.at - 1, "a form of 0 to 5")),
        })
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Broken> {
        let start = self.at;
        let bytes = self.bytes();
        if let Some(first) = bytes.first().filter(|first| **first < 0x80) {
            self.at += 1;
            return Ok(u64::from(*first));
        }
        let mut value = 0_u64;
        for (index, byte) in bytes.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                if index == 9 && *byte > 1 {
                    break;
                }
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(Self::broken(start, "a whole number of at most 64 bits"))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let Some(bytes) = self.bytes().first_chunk::<N>() else {
            return Err(Self::broken(self.at, "more bytes"));
        };
        self.at += N;
        Ok(*bytes)
    }

    /// Passes over a group whose start was read.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<(), Broken> {
        let mut open = [0_u32; GROUPS_MAX];
        open[0] = number;
        let mut depth = 1;
        while depth > 0 {
            let start = self.at;
            let (number, form) = self.tag()?;
            match form {
                3 if depth == GROUPS_MAX => {
                    return Err(Self::broken(start, "groups nested at most 32 deep"));
                }
                3 => {
                    open[depth] = number;
                    depth += 1;
                }
                4 if open[depth - 1] == number => depth -= 1,
                4 => return Err(Self::broken(start, "the end of the innermost group")),
                _ => drop(self.content(form)?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, String)>, Broken> {
        let mut reader = Reader::new(bytes);
        let mut found = Vec::new();
        while let Some((number, content)) = reader.next()? {
            let words = match content {
                Content::Piece(piece) => format!("{:?}", piece.bytes()),
                Content::Varint(value) | Content::Eight(value) => value.to_string(),
                Content::Four(value) => value.to_string(),
            };
            found.push((number, words));
        }
        Ok(found)
    }

    #[test]
    fn fields_of_every_form() {
        let bytes =
            [0x08, 0x96, 0x01, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1a, 2, 7, 8, 0x25, 5, 0, 0, 0];
        let expected = [(1, "150"), (2, "1"), (3, "[7, 8]"), (4, "5")];
        assert_eq!(fields(&bytes).unwrap(), expected.map(|(n, words)| (n, words.to_owned())));
        let largest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&largest).unwrap(), [(1, u64::MAX.to_string())]);
    }

    #[test]
    fn groups_are_passed_over() {
        let nested = [0x0b, 0x13, 0x08, 1, 0x14, 0x0c, 0x10, 9];
        assert_eq!(fields(&nested).unwrap(), [(2, "9".to_owned())]);
        assert!(fields(&[0x0b, 0x14]).is_err());
        assert!(fields(&[0x0b, 0x08]).is_err());
        assert!(fields(&[0x0c]).is_err());
        assert!(fields(&[0x0b; GROUPS_MAX + 1]).is_err());
    }

    #[test]
    fn broken_bytes_are_told_with_their_place() {
        let at = |bytes: &[u8]| fields(bytes).unwrap_err().at;
        assert_eq!(at(&[0x08]), 1);
        assert_eq!(at(&[0x00, 1]), 0);
        assert_eq!(at(&[0x08, 1, 0x1a, 5, 1]), 3);
        assert_eq!(at(&[0x0d, 1, 2]), 1);
        assert_eq!(at(&[0x0e, 1]), 0);
        assert_eq!(at(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]), 1);
        assert_eq!(at(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]), 0);
        // The greatest length never wraps.
        assert_eq!(at(&[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]), 1);
    }
}
