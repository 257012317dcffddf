//! The small codec of snapshots: variable-length integers, fixed floats and ids, length-prefixed texts.
//!
//! Owns reading and writing of primitive values. A [`Reader`] never panics and never allocates more than its input can
//! hold, so damaged bytes end as [`Damaged`].

use crate::ids::Id;

/// Snapshot bytes that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged snapshot bytes: {0}")]
pub struct Damaged(pub &'static str);

/// Appends primitive values to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    /// The bytes so far.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// One byte.
    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// true or false.
    pub fn bool(&mut self, value: bool) {
        self.byte(u8::from(value));
    }

    /// Seven bits a byte, least first.
    pub fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// Zigzag, so that small negative numbers stay short.
    pub fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Eight bytes; every NaN is written as one.
    pub fn float(&mut self, value: f64) {
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        self.bytes.extend_from_slice(&bits.to_le_bytes());
    }

    /// Sixteen bytes.
    pub fn id(&mut self, value: Id) {
        self.bytes.extend_from_slice(&value.to_bytes());
    }

    /// Length and bytes.
    pub fn text(&mut self, value: &str) {
        self.uint(value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// Number of items that follow.
    pub fn count(&mut self, value: usize) {
        self.uint(value as u64);
    }
}

/// Reads what a [`Writer`] wrote.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Damaged("ends early"))?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.take(N)?.try_into().map_err(|_| Damaged("ends early"))
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Damaged> {
        Ok(self.array::<1>()?[0])
    }

    /// true or false.
    pub fn bool(&mut self) -> Result<bool, Damaged> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged("not a truth value")),
        }
    }

    /// See [`Writer::uint`].
    pub fn uint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Damaged("number too large"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("number too long"))
    }

    /// A number that fits a smaller type.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Damaged> {
        T::try_from(self.uint()?).map_err(|_| Damaged("number too large"))
    }

    /// See [`Writer::int`].
    pub fn int(&mut self) -> Result<i64, Damaged> {
        let value = self.uint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// See [`Writer::float`].
    pub fn float(&mut self) -> Result<f64, Damaged> {
        Ok(f64::from_bits(u64::from_le_bytes(self.array()?)))
    }

    /// See [`Writer::id`].
    pub fn id(&mut self) -> Result<Id, Damaged> {
        Ok(Id::from_bytes(self.array()?))
    }

    /// See [`Writer::text`].
    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.small()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Damaged("not UTF-8"))
    }

    /// Number of items that follow, each at least a byte long.
    pub fn count(&mut self) -> Result<usize, Damaged> {
        let count = self.small()?;
        if count > self.rest.len() { Err(Damaged("more items than bytes")) } else { Ok(count) }
    }

    /// Reads that many items.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        let count = self.count()?;
        let mut items = Vec::with_capacity(count.min(4096));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}
