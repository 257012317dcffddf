//! JSON numbers: their grammar, and their exact values.

use super::decimal::{Decimal, exact_f64};
use super::json::Break;

/// Most digits of a number, its exponent included.
pub(crate) const DIGITS_MAX: usize = 64;
/// Beyond every double, and far from overflow.
const EXPONENT_MAX: u64 = 99_999;

/// A number as it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<'a> {
    /// The digits, where all fit into 64 bits.
    mantissa: Option<u64>,
    negative: bool,
    exponent: i32,
    /// Neither fraction nor exponent.
    plain: bool,
    /// The characters.
    pub(crate) raw: &'a str,
}

impl<'a> Number<'a> {
    /// Reads the number that begins at this offset of a text.
    #[inline]
    pub(super) fn read(text: &'a str, start: usize) -> Result<Self, Break> {
        let bytes = text.as_bytes();
        let negative = bytes.get(start) == Some(&b'-');
        let mut digits = Digits { bytes, at: start + usize::from(negative), value: 0, count: 0 };
        let whole = digits.at;
        let whole_count = digits.run();
        if whole_count == 0 || (whole_count > 1 && bytes[whole] == b'0') {
            return Err(Break::Syntax { at: whole as u32, expected: "a number" });
        }
        let mut exponent = 0_i32;
        let mut plain = true;
        if bytes.get(digits.at) == Some(&b'.') {
            plain = false;
            digits.at += 1;
            let count = digits.run();
            if count == 0 {
                return Err(Break::Syntax { at: digits.at as u32, expected: "a digit" });
            }
            exponent = -(count as i32);
        }
        // 19 digits fit into 64 bits.
        let mantissa = (digits.count <= 19).then_some(digits.value);
        let (mut at, mut count) = (digits.at, digits.count);
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            plain = false;
            let power = Power::read(bytes, at + 1)?;
            exponent = exponent.saturating_add(power.value);
            at = power.at;
            count += power.count;
        }
        if count > DIGITS_MAX {
            return Err(Break::Limit { at: start as u32, limit: "number of more than 64 digits" });
        }
        Ok(Self { mantissa, negative, exponent, plain, raw: &text[start..at] })
    }

    /// The exact value, where its digits fit.
    pub(crate) fn decimal(&self) -> Option<Decimal> {
        let mantissa = i128::from(self.mantissa?);
        let mantissa = if self.negative { -mantissa } else { mantissa };
        Some(Decimal { mantissa, exponent: self.exponent })
    }

    /// The nearest double; infinite where it is too large.
    #[inline]
    pub(crate) fn to_f64(self) -> f64 {
        if let Some(mantissa) = self.mantissa
            && let Some(magnitude) = exact_f64(mantissa, self.exponent)
        {
            return if self.negative { -magnitude } else { magnitude };
        }
        self.to_f64_by_decimal()
    }

    fn to_f64_by_decimal(self) -> f64 {
        match self.decimal() {
            // Minus zero keeps its sign only through its text.
            Some(decimal) if decimal.mantissa != 0 || !self.negative => decimal.to_f64(),
            _ => self.raw.parse().unwrap_or(f64::NAN),
        }
    }

    /// The integer it is, where it is one and fits.
    #[inline]
    pub(crate) fn to_i64(self) -> Option<i64> {
        if self.plain
            && let Some(mantissa) = self.mantissa
            && let Ok(value) = i64::try_from(mantissa)
        {
            return Some(if self.negative { -value } else { value });
        }
        self.decimal()?.to_i64()
    }

    /// The integer it is; one that is too large becomes the largest, since no clock is right there anyway.
    pub(crate) fn to_i64_saturating(self) -> Option<i64> {
        let bound = if self.negative { i64::MIN } else { i64::MAX };
        self.to_i64().or(self.plain.then_some(bound))
    }

    /// The counter it is.
    #[inline]
    pub(crate) fn to_u64(self) -> Option<u64> {
        if self.plain && !self.negative {
            // The largest counters have a digit more than is gathered.
            return self.mantissa.or_else(|| self.raw.parse().ok());
        }
        self.to_i64().and_then(|value| u64::try_from(value).ok())
    }
}

/// An exponent.
struct Power {
    value: i32,
    at: usize,
    count: usize,
}

impl Power {
    fn read(bytes: &[u8], at: usize) -> Result<Self, Break> {
        let sign = bytes.get(at).copied();
        let start = at + usize::from(matches!(sign, Some(b'-' | b'+')));
        // Leading zeros say nothing, however many they are.
        let rest = bytes.get(start..).unwrap_or_default();
        let zeros = rest.iter().take_while(|byte| **byte == b'0').count();
        let mut digits = Digits { bytes, at: start + zeros, value: 0, count: 0 };
        if digits.run() + zeros == 0 {
            return Err(Break::Syntax { at: digits.at as u32, expected: "a digit" });
        }
        let value = if digits.count > 19 { EXPONENT_MAX } else { digits.value.min(EXPONENT_MAX) };
        let value = if sign == Some(b'-') { -(value as i32) } else { value as i32 };
        Ok(Self { value, at: digits.at, count: zeros + digits.count })
    }
}

/// Runs of digits, gathered into one value that wraps: the count says whether it holds.
struct Digits<'a> {
    bytes: &'a [u8],
    at: usize,
    value: u64,
    count: usize,
}

impl Digits<'_> {
    /// Takes digits and says how many.
    #[inline]
    fn run(&mut self) -> usize {
        let start = self.at;
        while let Some(byte) = self.bytes.get(self.at) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            self.value = self.value.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        self.count += self.at - start;
        self.at - start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn numbers_are_those_of_std(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,5})?") {
            let number = Number::read(&text, 0).unwrap();
            prop_assert_eq!(number.raw, &text);
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(number.to_f64().to_bits(), expected.to_bits());
            if let Ok(expected) = text.parse::<i64>() {
                prop_assert_eq!(number.to_i64(), Some(expected));
            }
            if let Ok(expected) = text.parse::<u64>() {
                prop_assert_eq!(number.to_u64(), Some(expected));
            }
        }
    }

    #[test]
    fn long_exponents() {
        let number = |text: &'static str| Number::read(text, 0).unwrap();
        assert_eq!(number("1e0000000000000000000001").to_f64(), 10.0);
        assert_eq!(number("1e99999999999").to_f64(), f64::INFINITY);
        assert_eq!(number("1e-99999999999").to_f64(), 0.0);
        assert_eq!(number("12e1").to_i64(), Some(120));
    }
}
