//! Exact decimals: what a number means before it becomes binary.
//!
//! Owns the promise that `wire × scale + offset` is computed on decimals and rounded once, correctly: 234 × 0.1 is
//! 23.4 and not its neighbour. Powers of ten beyond what fits fall back to the correctly rounding parser of `std`.

/// `mantissa × 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    /// Digits with sign.
    pub(crate) mantissa: i128,
    /// Power of ten.
    pub(crate) exponent: i32,
}

/// Powers of ten that are exact in double precision.
const EXACT: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Exponents beyond this are zero or infinite for any mantissa of ours.
const EXPONENT_MAX: i32 = 4_000;

/// The nearest double where one operation on exact operands gives it, so that it is rounded once.
#[inline]
pub(crate) fn exact_f64(mantissa: u64, exponent: i32) -> Option<f64> {
    let power = EXACT.get(exponent.unsigned_abs() as usize)?;
    if mantissa > 1 << 53 {
        return None;
    }
    // A signed integer becomes a double in one instruction.
    let digits = mantissa.cast_signed() as f64;
    Some(if exponent < 0 { digits / power } else { digits * power })
}

impl Decimal {
    /// An integer.
    pub(crate) const fn integer(value: i128) -> Self {
        Self { mantissa: value, exponent: 0 }
    }

    /// A double times this, rounded once where this is a power of ten or an integer: 234 × 0.1 is 23.4, which is no
    /// multiple of the double that is nearest to 0.1.
    pub(crate) fn scale_f64(self, value: f64) -> f64 {
        let power = EXACT.get(self.exponent.unsigned_abs() as usize);
        match (power, self.mantissa.unsigned_abs() <= 1 << 53) {
            (Some(power), true) if self.exponent < 0 => value * self.mantissa as f64 / power,
            (Some(power), true) => value * self.mantissa as f64 * power,
            _ => value * self.to_f64(),
        }
    }

    /// Reads a decimal as written in a file, e.g. `0.001`, `-2`, `1e-3`; at most 18 digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, digits),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let count = whole.len() + fraction.len();
        let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
        if whole.is_empty() || count > 18 || !all_digits || exponent.abs() > 300 {
            return None;
        }
        let value = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<i128>().ok() };
        let scale = 10_i128.pow(fraction.len() as u32);
        let mantissa = value(whole)? * scale + value(fraction)?;
        Some(Self {
            mantissa: if negative { -mantissa } else { mantissa },
            exponent: exponent - fraction.len() as i32,
        })
    }

    /// The product; `None` where the digits do not fit.
    pub(crate) fn times(self, other: Self) -> Option<Self> {
        Some(Self {
            mantissa: self.mantissa.checked_mul(other.mantissa)?,
            exponent: self.exponent.checked_add(other.exponent)?,
        })
    }

    /// The sum; `None` where the digits do not fit.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |part: Self| {
            let shift = u32::try_from(part.exponent.checked_sub(exponent)?).ok()?;
            part.mantissa.checked_mul(10_i128.checked_pow(shift)?)
        };
        Some(Self { mantissa: aligned(self)?.checked_add(aligned(other)?)?, exponent })
    }

    /// The nearest double, ties to even.
    pub(crate) fn to_f64(self) -> f64 {
        let magnitude = u64::try_from(self.mantissa.unsigned_abs());
        match magnitude.ok().and_then(|magnitude| exact_f64(magnitude, self.exponent)) {
            Some(value) if self.mantissa < 0 => -value,
            Some(value) => value,
            None => self.to_f64_by_text(),
        }
    }

    #[cold]
    fn to_f64_by_text(self) -> f64 {
        let mut digits = itoa::Buffer::new();
        let mut exponent = itoa::Buffer::new();
        let digits = digits.format(self.mantissa).as_bytes();
        let exponent = exponent.format(self.exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX)).as_bytes();
        let mut text = [0_u8; 64];
        let end = digits.len() + 1 + exponent.len();
        text[..digits.len()].copy_from_slice(digits);
        text[digits.len()] = b'e';
        text[digits.len() + 1..end].copy_from_slice(exponent);
        let text = std::str::from_utf8(&text[..end]).unwrap_or_default();
        text.parse().unwrap_or(f64::NAN)
    }

    /// The integer it is, where it is one and fits.
    pub(crate) fn to_i64(self) -> Option<i64> {
        if self.mantissa == 0 {
            return Some(0);
        }
        let power = 10_i128.checked_pow(self.exponent.unsigned_abs());
        let value = if self.exponent >= 0 {
            self.mantissa.checked_mul(power?)?
        } else {
            // A power beyond 128 bits cannot divide a mantissa of 128 bits.
            let power = power?;
            if self.mantissa % power != 0 {
                return None;
            }
            self.mantissa / power
        };
        i64::try_from(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scale_is_exact() {
        let tenth = Decimal::parse("0.1").unwrap();
        assert_eq!(Decimal::integer(234).times(tenth).unwrap().to_f64(), 23.4);
        let fiftieth = Decimal::parse("0.02").unwrap();
        assert_eq!(Decimal::integer(180).times(fiftieth).unwrap().to_f64(), 3.6);
        let kelvin = Decimal::parse("-273.15").unwrap();
        let value = Decimal::integer(2932).times(tenth).unwrap().plus(kelvin).unwrap();
        assert_eq!(value.to_f64(), 20.05);
    }

    #[test]
    fn doubles_are_scaled_with_one_rounding() {
        let scaled = |scale: &str, value: f64| Decimal::parse(scale).unwrap().scale_f64(value);
        assert_eq!(
            [scaled("0.1", 234.0), scaled("0.01", 2.5), scaled("1e3", 0.5)],
            [23.4, 0.025, 500.0]
        );
        assert_eq!([scaled("0.02", 180.0), scaled("-0.001", 36.0)], [3.6, -0.036]);
        assert_eq!(scaled("1e-30", 2.0), 2.0 * 1e-30);
    }

    #[test]
    fn integers_are_recognised() {
        assert_eq!(Decimal::parse("1e3").unwrap().to_i64(), Some(1000));
        assert_eq!(Decimal::parse("5.0").unwrap().to_i64(), Some(5));
        assert_eq!(Decimal::parse("5.5").unwrap().to_i64(), None);
        assert_eq!(Decimal { mantissa: 1, exponent: 40 }.to_i64(), None);
        assert_eq!(Decimal { mantissa: 1, exponent: -40 }.to_i64(), None);
        assert_eq!(Decimal::parse("+1"), None);
        assert_eq!(Decimal::parse("1."), Decimal::parse("1"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn rounds_as_std_does(mantissa in any::<i128>(), shift in 0_u32..127, exponent in -400_i32..400) {
            let mantissa = mantissa >> shift;
            let expected: f64 = format!("{mantissa}e{exponent}").parse().unwrap();
            prop_assert_eq!(Decimal { mantissa, exponent }.to_f64(), expected);
        }
    }
}
