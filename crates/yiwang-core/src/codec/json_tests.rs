//! The cursor accepts what serde_json accepts, and reads the same values.

use proptest::prelude::*;
use serde_json::Value;

use super::json::{Break, Cursor};

/// Whether this is one JSON value; `None` beyond a limit.
fn accepts(bytes: &[u8]) -> Option<bool> {
    let read = || {
        let mut cursor = Cursor::new(bytes)?;
        cursor.skip(0)?;
        cursor.end()
    };
    match read() {
        Ok(()) => Some(true),
        Err(Break::Syntax { .. }) => Some(false),
        Err(Break::Limit { .. }) => None,
    }
}

/// What serde_json says, which also refuses numbers beyond double precision: those are JSON. `None` where it does not
/// tell, since its way around numbers does not look at surrogates.
fn oracle(bytes: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().contains("number out of range") => {
            let escaped = bytes.windows(2).any(|pair| pair == b"\\u");
            let syntax = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
            (!escaped).then_some(syntax && std::str::from_utf8(bytes).is_ok())
        }
        Err(_) => Some(false),
    }
}

/// Fails where the two differ.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let (Some(accepted), Some(expected)) = (accepts(bytes), oracle(bytes)) {
        prop_assert_eq!(accepted, expected, "{}", String::from_utf8_lossy(bytes));
    }
    Ok(())
}

const DOCUMENTS: [&str; 12] = [
    r#"{"boot":7,"seq":1024,"ts":1795399200000,"params":{"level":1.27,"battery":{"v":11.9,"ts":1795399199000,"q":"good"}},"ack":1}"#,
    r#"{"boot":7,"seq":1025,"items":[{"ts":1795399200000,"params":{"level":1.27}}]}"#,
    r#" [ 1 , -0 , 0.5 , 1e9 , -1.25E-3 , true , false , null , "" , [] , {} ] "#,
    r#""\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00""#,
    r#"{"水位":"吴淞","a":{"b":{"c":[[[]]]}}}"#,
    "-0.0e-0",
    "1.7976931348623157e308",
    "12345678901234567890",
    r#"["\ud800"]"#,
    r#"["\udc00\ud800"]"#,
    "[1,]",
    "\u{feff}{}",
];

const ALPHABET: &[u8] =
    b"{}[]\",:\\u0123456789abcdefEntrls+-. \n\t\r/\x00\x1f\x7f\xc3\xa9\xf0\x9f\x98\x80\xff";

#[derive(Clone, Debug)]
enum Edit {
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Repeat(usize, usize),
    Cut(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let byte = prop::sample::select(ALPHABET);
    let edit = prop_oneof![
        (any::<usize>(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<usize>(), byte).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        any::<usize>().prop_map(Edit::Remove),
        (any::<usize>(), 1_usize..12).prop_map(|(at, len)| Edit::Repeat(at, len)),
        any::<usize>().prop_map(Edit::Cut),
    ];
    prop::collection::vec(edit, 0..4)
}

fn apply(document: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = document.to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match *edit {
            Edit::Set(at, byte) => bytes[at % len] = byte,
            Edit::Insert(at, byte) => bytes.insert(at % len, byte),
            Edit::Remove(at) => {
                bytes.remove(at % len);
            }
            Edit::Repeat(at, count) => {
                let at = at % len;
                let piece = bytes[at..(at + count).min(len)].to_vec();
                bytes.splice(at..at, piece);
            }
            Edit::Cut(at) => bytes.truncate(at % len),
        }
    }
    bytes
}

fn values() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |value| value.is_finite().then(|| value.into())),
        (-1000_i32..1000, 0_i32..5)
            .prop_map(|(digits, places)| (f64::from(digits) / 10_f64.powi(places)).into()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Reads a value with the cursor's own parts.
fn rebuild(cursor: &mut Cursor<'_>) -> Result<Value, Break> {
    let text = |text: super::json::Text<'_>| {
        let mut resolved = String::new();
        text.append_to(&mut resolved);
        assert_eq!(resolved.len(), text.len());
        resolved
    };
    Ok(match cursor.peek() {
        b'{' => {
            cursor.expect(b'{', "")?;
            let mut entries = serde_json::Map::new();
            let mut more = cursor.first(b'}');
            while more {
                let key = text(cursor.key()?);
                entries.insert(key, rebuild(cursor)?);
                more = cursor.next(b'}')?;
            }
            Value::Object(entries)
        }
        b'[' => {
            cursor.expect(b'[', "")?;
            let mut items = Vec::new();
            let mut more = cursor.first(b']');
            while more {
                items.push(rebuild(cursor)?);
                more = cursor.next(b']')?;
            }
            Value::Array(items)
        }
        b'"' => Value::String(text(cursor.string()?)),
        b't' => cursor.word("true").map(|()| Value::Bool(true))?,
        b'f' => cursor.word("false").map(|()| Value::Bool(false))?,
        b'n' => cursor.word("null").map(|()| Value::Null)?,
        _ => {
            let number = cursor.number()?;
            if number.raw.contains(['.', 'e', 'E']) || number.raw == "-0" {
                number.to_f64().into()
            } else {
                match (number.to_u64(), number.to_i64()) {
                    (Some(value), _) => value.into(),
                    (None, Some(value)) => value.into(),
                    (None, None) => number.to_f64().into(),
                }
            }
        }
    })
}

#[test]
fn documents_are_judged_as_serde_json_does() {
    for document in DOCUMENTS {
        assert_eq!(accepts(document.as_bytes()), oracle(document.as_bytes()), "{document}");
    }
}

#[test]
fn limits_are_kept() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(accepts(nested(32).as_bytes()), Some(true));
    assert_eq!(accepts(nested(33).as_bytes()), None);
    assert_eq!(accepts("[".repeat(100_000).as_bytes()), None);
    let text = |len: usize| format!("\"{}\"", "a".repeat(len));
    assert_eq!(accepts(text(8192).as_bytes()), Some(true));
    assert_eq!(accepts(text(8193).as_bytes()), None);
    let escaped = format!("\"{}\"", "\\u0041".repeat(8192));
    assert_eq!(accepts(escaped.as_bytes()), Some(true));
    assert_eq!(accepts("1".repeat(64).as_bytes()), Some(true));
    assert_eq!(accepts("1".repeat(65).as_bytes()), None);
    let object = |keys: usize| {
        let members: Vec<String> = (0..keys).map(|key| format!("\"{key}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(accepts(object(500).as_bytes()), Some(true));
    assert_eq!(accepts(object(501).as_bytes()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(15_000))]

    #[test]
    fn edited_documents_are_judged_as_serde_json_does(
        document in prop::sample::select(&DOCUMENTS[..]),
        edits in edits(),
    ) {
        let bytes = apply(document.as_bytes(), &edits);
        agree(&bytes)?;
    }

    #[test]
    fn short_texts_are_judged_as_serde_json_does(
        bytes in prop::collection::vec(prop::sample::select(ALPHABET), 0..12),
    ) {
        agree(&bytes)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn values_are_those_of_serde_json(value in values(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        let mut cursor = Cursor::over(&text);
        let found = rebuild(&mut cursor).unwrap();
        cursor.end().unwrap();
        // Compared with what was written: serde_json itself may read the last digit of a number wrongly.
        prop_assert_eq!(same(&found, &value), true, "{}", text);
        prop_assert_eq!(accepts(text.as_bytes()), Some(true));
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64() == b.as_f64() && a.as_i64() == b.as_i64() && a.as_u64() == b.as_u64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}
