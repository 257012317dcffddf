//! Eight bytes at a time: comparing with known bytes, finding the end of a plain text, reading digits.
//!
//! Bytes beyond the last whole word are looked at one by one, so nothing is read outside of the slice. A test holds
//! each of them equal to its plain form.

use super::json::STOPS;

/// Bytes of a word.
const WORD: usize = 8;
/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
const HIGHS: u64 = 0x8080_8080_8080_8080;
/// 10^n for the digits of a word.
const POWERS: [u64; WORD + 1] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Words of a literal that are compared without a loop.
const AT_ONCE: usize = 3;

/// Known bytes, prepared for comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    text: Box<[u8]>,
    /// The first bytes in words, and which bits of each count.
    words: [u64; AT_ONCE],
    masks: [u64; AT_ONCE],
}

impl Literal {
    pub(super) fn new(text: &str) -> Self {
        let (mut words, mut masks) = ([0; AT_ONCE], [0; AT_ONCE]);
        for (piece, (word, mask)) in
            text.as_bytes().chunks(WORD).zip(words.iter_mut().zip(&mut masks))
        {
            let (mut bytes, mut bits) = ([0; WORD], [0; WORD]);
            bytes[..piece.len()].copy_from_slice(piece);
            bits[..piece.len()].fill(u8::MAX);
            (*word, *mask) = (u64::from_le_bytes(bytes), u64::from_le_bytes(bits));
        }
        Self { text: text.as_bytes().into(), words, masks }
    }

    /// Where these bytes end, if they stand at `at`.
    #[inline(always)]
    pub(super) fn end_in(&self, bytes: &[u8], at: usize) -> Option<usize> {
        const LENGTH: usize = AT_ONCE * WORD;
        let rest = bytes.get(at..)?;
        let Some(first) = rest.first_chunk::<LENGTH>() else {
            return rest.starts_with(&self.text).then_some(at + self.text.len());
        };
        let (pieces, _) = first.as_chunks::<WORD>();
        let differ = |at: usize| (u64::from_le_bytes(pieces[at]) ^ self.words[at]) & self.masks[at];
        let differences = differ(0) | differ(1) | differ(2);
        let tail = self.text.get(LENGTH..).unwrap_or_default();
        let same = differences == 0 && (tail.is_empty() || rest[LENGTH..].starts_with(tail));
        same.then_some(at + self.text.len())
    }
}

/// The first byte from `at` on that ends the plain part of a string, and where it stands.
#[inline(always)]
pub(super) fn stop(bytes: &[u8], mut at: usize) -> Option<(usize, u8)> {
    while let Some(word) = word(bytes, at) {
        // Only the lowest mark is sure to be one: a borrow may mark bytes above it.
        let quote = word ^ (ONES * 0x22);
        let backslash = word ^ (ONES * 0x5c);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = quote.wrapping_sub(ONES) & !quote;
        let backslash = backslash.wrapping_sub(ONES) & !backslash;
        let stops = (control | quote | backslash) & HIGHS;
        if stops != 0 {
            let place = (stops.trailing_zeros() / 8) as usize;
            return Some((at + place, (word >> (place * 8)) as u8));
        }
        at += WORD;
    }
    let rest = bytes.get(at..)?;
    let place = rest.iter().position(|byte| STOPS[usize::from(*byte)])?;
    Some((at + place, rest[place]))
}

/// Takes digits into a value that wraps, and says where they end.
#[inline(always)]
pub(super) fn digits(bytes: &[u8], mut at: usize, value: &mut u64) -> usize {
    while let Some(word) = word(bytes, at) {
        // Digits become 0 to 9, everything else more. The lowest mark is sure, as above.
        let digits = word ^ (ONES * 0x30);
        let others = (digits.wrapping_add(ONES * 0x76) | digits) & HIGHS;
        let count = (others.trailing_zeros() / 8) as usize;
        if count == 0 {
            return at;
        }
        // Zeros in front, then pairs, fours and all eight at once.
        let pairs = digits << (8 * (WORD - count));
        let pairs = pairs.wrapping_mul(10).wrapping_add(pairs >> 8);
        let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
        let high = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
        let read = low.wrapping_add(high) >> 32;
        *value = value.wrapping_mul(POWERS[count]).wrapping_add(read);
        at += count;
        if count < WORD {
            return at;
        }
    }
    while let Some(byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|piece| u64::from_le_bytes(*piece))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_give_what_bytes_give(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), b'0'..=b'9', Just(b'"'), Just(0x5d), Just(0x21)],
                0..40,
            ),
            at in 0_usize..42,
            text in "[a-z\"{:]{0,20}",
            cut in 0_usize..20,
        ) {
            let rest = bytes.get(at..).unwrap_or_default();
            let place = rest.iter().position(|byte| STOPS[usize::from(*byte)]);
            prop_assert_eq!(stop(&bytes, at), place.map(|place| (at + place, rest[place])));

            let run = rest.iter().take_while(|byte| byte.is_ascii_digit());
            let (mut value, count) = (7, run.clone().count());
            let expected = run.fold(7_u64, |value, byte| {
                value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'))
            });
            prop_assert_eq!((digits(&bytes, at, &mut value), value), (at + count, expected));

            let literal = Literal::new(&text);
            let mut body = bytes.clone();
            body.extend_from_slice(text.as_bytes());
            let end = body.len();
            prop_assert_eq!(literal.end_in(&body, bytes.len()), Some(end));
            let cut = cut.min(text.len());
            let shorter = &body[..end - cut];
            prop_assert_eq!(literal.end_in(shorter, bytes.len()).is_some(), cut == 0);
            if let Some(last) = body.last_mut().filter(|_| !text.is_empty()) {
                *last ^= 1;
                prop_assert_eq!(literal.end_in(&body, bytes.len()), None);
            }
            body.extend_from_slice(b"0123456789");
            prop_assert_eq!(literal.end_in(&body, bytes.len()).is_some(), text.is_empty());
        }
    }
}
