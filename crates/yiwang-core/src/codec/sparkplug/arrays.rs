//! Arrays of Sparkplug: little-endian numbers, bits or texts in one piece of bytes, written as JSON.

use std::fmt::Write as _;

use super::payload::Datatype;

/// Appends the array as JSON; `None` if the bytes are none of this type, with nothing appended.
pub(super) fn append_json(datatype: Datatype, bytes: &[u8], out: &mut String) -> Option<()> {
    let mark = out.len();
    out.push('[');
    let written = match datatype.0 {
        22 => numbers(bytes, |item: [u8; 1], out| whole(i8::from_le_bytes(item), out), out),
        23 => numbers(bytes, |item: [u8; 2], out| whole(i16::from_le_bytes(item), out), out),
        24 => numbers(bytes, |item: [u8; 4], out| whole(i32::from_le_bytes(item), out), out),
        25 => numbers(bytes, |item: [u8; 8], out| whole(i64::from_le_bytes(item), out), out),
        26 => numbers(bytes, |item: [u8; 1], out| whole(item[0], out), out),
        27 => numbers(bytes, |item: [u8; 2], out| whole(u16::from_le_bytes(item), out), out),
        28 => numbers(bytes, |item: [u8; 4], out| whole(u32::from_le_bytes(item), out), out),
        29 | 34 => numbers(bytes, |item: [u8; 8], out| whole(u64::from_le_bytes(item), out), out),
        30 => {
            numbers(bytes, |item: [u8; 4], out| real(f64::from(f32::from_le_bytes(item)), out), out)
        }
        31 => numbers(bytes, |item: [u8; 8], out| real(f64::from_le_bytes(item), out), out),
        32 => truths(bytes, out),
        33 => texts(bytes, out),
        _ => None,
    };
    if written.is_none() {
        out.truncate(mark);
        return None;
    }
    // Every item left a comma behind it.
    if out.ends_with(',') {
        out.pop();
    }
    out.push(']');
    Some(())
}

fn whole(value: impl itoa::Integer, out: &mut String) -> Option<()> {
    out.push_str(itoa::Buffer::new().format(value));
    Some(())
}

/// JSON has no word for what is no number.
fn real(value: f64, out: &mut String) -> Option<()> {
    value.is_finite().then(|| write!(out, "{value}").ok())?
}

fn numbers<const N: usize>(
    bytes: &[u8],
    write: impl Fn([u8; N], &mut String) -> Option<()>,
    out: &mut String,
) -> Option<()> {
    let (items, rest) = bytes.as_chunks::<N>();
    for item in items {
        write(*item, out)?;
        out.push(',');
    }
    rest.is_empty().then_some(())
}

/// A count of four bytes, then the bits, the highest of a byte first.
fn truths(bytes: &[u8], out: &mut String) -> Option<()> {
    let (count, bits) = bytes.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    if bits.len() != count.div_ceil(8) {
        return None;
    }
    for index in 0..count {
        let truth = bits[index / 8] & 0x80 >> (index % 8) != 0;
        out.push_str(if truth { "true," } else { "false," });
    }
    Some(())
}

/// Texts, each with a zero behind it.
fn texts(bytes: &[u8], out: &mut String) -> Option<()> {
    let Some((last, bytes)) = bytes.split_last() else { return Some(()) };
    if *last != 0 {
        return None;
    }
    for text in bytes.split(|byte| *byte == 0) {
        out.push_str(&serde_json::to_string(std::str::from_utf8(text).ok()?).ok()?);
        out.push(',');
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(datatype: u8, bytes: &[u8]) -> Option<String> {
        let mut text = "x".to_owned();
        let written = append_json(Datatype(datatype), bytes, &mut text);
        assert!(written.is_some() || text == "x");
        written.map(|()| text[1..].to_owned())
    }

    #[test]
    fn arrays_of_every_type() {
        let is = |datatype, bytes: &[u8], expected: &str| {
            assert_eq!(json(datatype, bytes).as_deref(), Some(expected));
        };
        // The examples of the standard, section 6.4.18.
        is(22, &[0xef, 0x7b], "[-17,123]");
        is(23, &[0x30, 0x8a, 0xff, 0x7f], "[-30160,32767]");
        is(24, &[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0], "[-1,1]");
        is(26, &[0x17, 0xfa], "[23,250]");
        is(29, &[0xff; 8], "[18446744073709551615]");
        is(31, &2.5_f64.to_le_bytes(), "[2.5]");
        is(
            32,
            &[12, 0, 0, 0, 0x34, 0xd0],
            "[false,false,true,true,false,true,false,false,true,true,false,true]",
        );
        is(33, b"ABC\0\"\0", r#"["ABC","\""]"#);
        is(33, b"", "[]");
        is(34, &[1, 0, 0, 0, 0, 0, 0, 0], "[1]");
    }

    #[test]
    fn bytes_that_are_no_array() {
        assert_eq!(json(23, &[1]), None);
        assert_eq!(json(31, &f64::NAN.to_le_bytes()), None);
        assert_eq!(json(32, &[255, 255, 255, 255, 1]), None);
        assert_eq!(json(32, &[9, 0, 0, 0, 1]), None);
        assert_eq!(json(33, b"ABC"), None);
        assert_eq!(json(33, b"\xff\0"), None);
        assert_eq!(json(9, &[]), None);
    }
}
