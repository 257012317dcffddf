//! A character means the same however JSON writes it: in keys, texts, words, numbers in quotes, ids and names of devices.

use super::shape_tests::words;
use super::*;

/// A product that meets every kind of text, with a shape for bodies that look like its vector.
pub(super) const PRODUCT: &str = r#"schema: yiwang-thing/1
profile: {productKey: escapes-1, name: test, version: 1.0.0, kind: test/all}
access: {identity: id}
codec:
  kind: json
  quoted: true
  device: /dn
  id: {id: /id}
  time: {path: /t, unit: ms}
  map:
    real: {path: /data/v, scale: 0.1}
    whole: {path: /whole}
    moved: {path: /moved, offset: -40}
    day: {path: /day}
    word: {path: /word}
    mode: {path: /mode, enum: {0: auto, m: manual}}
    truth: {path: /truth, enum: {"yes": true, "no": false}}
    note: {path: /note}
    odd: {path: '/a\b'}
properties:
  - {identifier: real, dataType: {type: double}}
  - {identifier: whole, dataType: {type: int}}
  - {identifier: moved, dataType: {type: int}}
  - {identifier: day, dataType: {type: date}}
  - {identifier: word, dataType: {type: enum, specs: {values: [auto, manual]}}}
  - {identifier: mode, dataType: {type: enum, specs: {values: [auto, manual]}}}
  - {identifier: truth, dataType: {type: bool}}
  - {identifier: note, dataType: {type: text, specs: {size: 8}}}
  - {identifier: odd, dataType: {type: int}}
  - {identifier: pair, dataType: {type: struct, specs: [
      {identifier: a, dataType: {type: text, specs: {size: 2}}},
      {identifier: b, dataType: {type: enum, specs: {values: [auto, manual]}}}]}}
events: [{identifier: tamper, outputData: [{identifier: tilt, dataType: {type: double}}]}]
validation: {mode: lenient}
tests:
  - {in: '{"dn":"D-1","id":"m-1","t":1795399200000,"data":{"v":"234"},"whole":"7","word":"auto","note":"x"}', expect: {real: 23.4}}
"#;

/// Bodies of each path without an escape, and what is made of the numbers in quotes.
const BODIES: [(BodyKind, &str, &str); 8] = [
    (
        BodyKind::Raw,
        r#"{"dn":"D-1","id":"m-1","t":1795399200000,"data":{"v":"209"},"whole":"-7","word":"manual","note":"a/b"}"#,
        "0=4034e66666666666",
    ),
    (
        BodyKind::Raw,
        r#"{"moved":"90.0","day":"17953992e5","mode":"m","truth":"no","whole":"x","data":{"v":"2e-1"}}"#,
        "2=Int(50)",
    ),
    (BodyKind::Raw, r#"{"mode":"0","truth":"maybe","word":"other","whole":"2.5"}"#, "5=Enum(0)"),
    (
        BodyKind::Property,
        r#"{"id":"m-1","ts":1795399200000,"params":{"real":"20.9","whole":"7","word":"manual","note":"a/b"}}"#,
        "0=4034e66666666666",
    ),
    (
        BodyKind::Property,
        r#"{"params":{"real":{"v":"20.9","ts":1795399100000,"q":"over"},"word":{"v":"auto","q":"bad"},"x":1}}"#,
        "0=4034e66666666666 Over",
    ),
    (
        BodyKind::Property,
        r#"{"items":[{"ts":1795399200000,"params":{"real":"-1.5e1","day":"5"}}]}"#,
        "0=c02e000000000000",
    ),
    (BodyKind::Property, r#"{"real":"20.9","whole":" 7","note":"123456789"}"#, "1=\" 7\""),
    (BodyKind::Event, r#"{"id":"e-1","params":{"tilt":"12.5"}}"#, "0=4029000000000000"),
];

fn product() -> Product {
    let (product, problems) = Product::load("escapes-1.thing.yaml", PRODUCT);
    product.unwrap_or_else(|| panic!("{problems:?}"))
}

/// The offsets of the characters that stand in quotes.
fn quoted(body: &str) -> Vec<usize> {
    let mut inside = false;
    let mut found = Vec::new();
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            b'"' => inside = !inside,
            _ if inside => found.push(at),
            _ => {}
        }
    }
    found
}

/// The body with these characters as escapes.
pub(super) fn escaped(body: &str, which: impl Fn(usize) -> bool) -> String {
    let places = quoted(body);
    let write = |(at, character): (usize, char)| match places.contains(&at) && which(at) {
        true => format!("\\u{:04X}", u32::from(character)),
        false => character.to_string(),
    };
    body.char_indices().map(write).collect()
}

#[test]
fn any_character_may_be_escaped() {
    let product = product();
    for (kind, body, expected) in BODIES {
        let plain = words(&product, kind, body.as_bytes());
        assert!(plain.contains(expected), "{body}\n{plain}");
        // What fits no type is kept as it stands.
        let resolved = |body: &str| {
            let words = words(&product, kind, body.as_bytes());
            let lines = words.lines().map(|line| match line.split_once("=\"") {
                Some((name, text)) => {
                    let (text, flags) = text.split_once('"').unwrap_or_default();
                    let text = serde_json::from_str::<String>(&format!("\"{text}\""));
                    format!("{name}=\"{}\"{flags}", text.unwrap_or_default())
                }
                None => line.to_owned(),
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        for at in quoted(body) {
            let one = escaped(body, |other| other == at);
            assert_eq!(resolved(&one), plain, "{one}");
        }
        let all = escaped(body, |_| true);
        assert_eq!(resolved(&all), plain, "{all}");
    }
}

#[test]
fn escapes_make_no_number_of_what_is_none() {
    let product = product();
    for text in
        [r#"\"20\""#, r"\n20", r"20\u0000", r"\u0662", r"2\u002c5", r"\u00310\u0020", r"\u002b1"]
    {
        let body = format!(r#"{{"params":{{"real":"{text}","note":"x"}}}}"#);
        let words = words(&product, BodyKind::Property, body.as_bytes());
        let kept = format!("0=\"{text}\" Good Flags({})", crate::sample::Flags::BAD_TYPE.0);
        assert!(words.contains(&kept), "{body}\n{words}");
    }
}

#[test]
fn fields_of_a_struct_may_be_escaped() {
    let product = product();
    let good = |pair: &str| {
        let body = format!(r#"{{"params":{{"pair":{pair}}}}}"#);
        words(&product, BodyKind::Property, body.as_bytes()).ends_with("Good Flags(0)")
    };
    assert!(good(r#"{"a":"xy","b":"auto"}"#));
    assert!(good(r#"{"\u0061":"\u0078\u0079","b":"a\u0075to"}"#));
    assert!(!good(r#"{"a":"xyz"}"#) && !good(r#"{"a":"xy\u007a"}"#), "longer than its size");
    assert!(!good(r#"{"b":"a\u0075t"}"#), "no word of the enum");
}

#[test]
fn a_name_with_an_escape_is_not_its_own_bytes() {
    let product = product();
    let odd = |body: &str| words(&product, BodyKind::Raw, body.as_bytes()).contains("8=Int(5)");
    // The name of the pointer has a backslash and a b, which JSON writes with two backslashes.
    assert!(odd(r#"{"note":"x","a\\b":5}"#));
    assert!(odd(r#"{"note":"x","\u0061\u005cb":5}"#));
    assert!(!odd(r#"{"note":"x","a\b":5}"#), "this is a backspace");
}
