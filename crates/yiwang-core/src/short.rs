//! Doubles that are short decimals, as nearly all measurements are: their digits without the general algorithm.

use std::fmt;

/// Most decimals that are looked for.
const DECIMALS_MAX: u32 = 6;
/// 10 to their number.
const SCALE: f64 = 1e6;
/// Digits below this are at most 15: no two such decimals are the same double.
const DIGITS_END: f64 = 1e15;
/// Sign, point, and all digits.
const TEXT_BYTES_MAX: usize = 24;

/// The shortest decimal that reads back as the double it was made of: `digits × 10^-decimals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    digits: i64,
    decimals: u32,
}

impl Short {
    /// `None` for a double that has no such decimal, and for minus zero.
    #[inline]
    #[must_use]
    pub fn of(value: f64) -> Option<Self> {
        let scaled = value * SCALE;
        let fits = scaled.abs() < DIGITS_END && (value != 0.0 || value.is_sign_positive());
        let mut digits = (scaled + 0.5_f64.copysign(scaled)) as i64;
        // Both are exact, so the quotient is what reading the decimal gives.
        if !fits || digits as f64 / SCALE != value {
            return None;
        }
        let mut decimals = DECIMALS_MAX;
        if digits % 1_000 == 0 {
            (digits, decimals) = (digits / 1_000, decimals - 3);
        }
        while decimals > 0 && digits % 10 == 0 {
            (digits, decimals) = (digits / 10, decimals - 1);
        }
        Some(Self { digits, decimals })
    }

    /// Digits behind the point.
    #[must_use]
    pub const fn decimals(self) -> u32 {
        self.decimals
    }

    /// Its characters.
    #[inline]
    #[must_use]
    pub fn text(self) -> Text {
        let mut bytes = [0; TEXT_BYTES_MAX];
        let (mut at, mut rest) = (TEXT_BYTES_MAX, self.digits.unsigned_abs());
        let mut put = |byte: u8| {
            at = at.saturating_sub(1);
            bytes[at] = byte;
        };
        for _ in 0..self.decimals {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
        if self.decimals > 0 {
            put(b'.');
        }
        loop {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if self.digits < 0 {
            put(b'-');
        }
        Text { bytes, start: at }
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().bytes().iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
    }
}

/// The characters of a [`Short`].
#[derive(Clone, Copy, Debug)]
pub struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    start: usize,
}

impl Text {
    /// As ASCII.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn the_decimal_is_the_shortest(
            value in prop_oneof![
                any::<f64>(),
                (any::<i32>(), 0_u8..9).prop_map(|(digits, scale)| {
                    format!("{digits}e-{scale}").parse::<f64>().unwrap()
                }),
                -1e12..1e12,
            ],
        ) {
            // The one of std is the shortest too.
            let expected = value.to_string();
            match Short::of(value) {
                Some(short) => {
                    prop_assert_eq!(&short.to_string(), &expected);
                    let point = expected.find('.').map_or(0, |at| expected.len() - at - 1);
                    prop_assert_eq!(short.decimals() as usize, point);
                }
                None => {
                    let decimals = expected.split('.').nth(1).map_or(0, str::len);
                    let long = expected.bytes().filter(u8::is_ascii_digit).count() > 9;
                    prop_assert!(decimals > 6 || long || value.to_bits() == 1 << 63);
                }
            }
        }
    }

    #[test]
    fn ends_of_the_range() {
        for (value, text) in [(0.0, "0"), (0.000_001, "0.000001"), (-0.5, "-0.5"), (61.0, "61")] {
            assert_eq!(Short::of(value).map(|short| short.to_string()).as_deref(), Some(text));
        }
        for value in [-0.0, 1e-7, 1e9, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE] {
            assert_eq!(Short::of(value), None, "{value}");
        }
    }
}
