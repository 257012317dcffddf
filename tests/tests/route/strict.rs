//! Where the program is stricter than the reference on purpose: `yiwang route --help` lists these limits. What passes
//! them is invalid, not cut and not guessed.

use serde_json::json;

use crate::reference::{Kind, Table, judge};
use crate::{Run, product};

/// A member of a good line, and what stands in its place.
const PLACES: [(&str, &str, &str); 25] = [
    ("a time is whole ms", r#""ts":1795399200000"#, r#""ts":1795399200000.5"#),
    ("a time is a number", r#""ts":1795399200000"#, r#""ts":"1795399200000""#),
    ("a time is there", r#""ts":1795399200000"#, r#""ts":null"#),
    ("a counter is whole", r#""seq":7"#, r#""seq":7.5"#),
    ("a counter has 64 bits", r#""seq":7"#, r#""seq":9223372036854775808"#),
    ("a counter is a number", r#""seq":7"#, r#""seq":"7""#),
    ("a text is a text", r#""product":"env_v2""#, r#""product":2"#),
    ("a text is there", r#""fw":"2.1.1""#, r#""fw":null"#),
    ("a text is no list", r#""net":"nb-iot""#, r#""net":["nb-iot"]"#),
    ("a text is no truth value", r#""mode":"auto""#, r#""mode":true"#),
    ("degrees are a number", r#""lon":121.050001"#, r#""lon":"121.050001""#),
    ("degrees are there", r#""lat":31.100001"#, r#""lat":null"#),
    ("true is no number", r#""temp":234"#, r#""temp":true"#),
    ("true is no number", r#""pm25":41"#, r#""pm25":true"#),
    ("false is no number, in quotes or not", r#""hum":"61.5""#, r#""hum":false"#),
    ("in quotes as JSON writes it: a space", r#""hum":"61.5""#, r#""hum":" 61.5""#),
    ("in quotes as JSON writes it: an end", r#""hum":"61.5""#, r#""hum":"61.5\n""#),
    ("in quotes as JSON writes it: a plus", r#""hum":"61.5""#, r#""hum":"+61.5""#),
    ("in quotes as JSON writes it: a zero", r#""hum":"61.5""#, r#""hum":"061.5""#),
    ("in quotes as JSON writes it: no digit before", r#""hum":"61.5""#, r#""hum":".5""#),
    ("in quotes as JSON writes it: no digit behind", r#""hum":"61.5""#, r#""hum":"61.""#),
    ("a member is there once", r#""seq":7"#, r#""seq":6,"seq":7"#),
    ("however it is written", r#""seq":7"#, r#""s\u0065q":6,"seq":7"#),
    ("so is one with members", r#""loc":{"#, r#""loc":{},"loc":{"#),
    ("and one of those", r#""temp":234"#, r#""temp":1,"temp":234"#),
];

const GOOD: &str = r#"{"deviceId":"QP-0000-00000000","product":"env_v2","ts":1795399200000,"seq":7,"params":{"temp":234,"hum":"61.5","pm25":41,"lvl":1270,"batt":3650,"rssi":-71},"loc":{"lon":121.050001,"lat":31.100001},"fw":"2.1.1","net":"nb-iot","mode":"auto"}"#;

fn with(extra: &str) -> String {
    GOOD.replacen('{', &format!("{{{extra},"), 1)
}

/// Lines that just keep each limit of size, and lines that just pass it.
fn sizes() -> Vec<(&'static str, String, String)> {
    let arrays =
        |levels: usize| with(&format!("\"x\":{}{}", "[".repeat(levels), "]".repeat(levels)));
    let text = |bytes: usize| GOOD.replace("auto", &"a".repeat(bytes));
    let member = |bytes: usize| with(&format!("\"x\":\"{}\"", "a".repeat(bytes)));
    let digits = |count: usize| with(&format!("\"x\":0.{}", "1".repeat(count - 1)));
    let members = |count: usize| {
        let members: Vec<_> = (0..count).map(|at| format!("\"{at}\":0")).collect();
        with(&format!("\"x\":{{{}}}", members.join(",")))
    };
    vec![
        ("32 levels", arrays(31), arrays(32)),
        ("8 KiB of a text that is asked for", text(8192), text(8193)),
        ("8 KiB of any text", member(8192), member(8193)),
        ("64 digits", digits(64), digits(65)),
        ("500 members", members(500), members(501)),
    ]
}

#[test]
fn stricter_on_purpose() {
    let table = Table::made(0, 1);
    let (mut kept, mut passed) = (vec![GOOD.to_owned()], Vec::new());
    for (why, good, strict) in PLACES {
        assert_eq!(GOOD.matches(good).count(), 1, "{why}: {good}");
        passed.push((why, GOOD.replace(good, strict)));
    }
    for (why, good, strict) in sizes() {
        kept.push(good);
        passed.push((why, strict));
    }
    for (why, line) in &passed {
        assert_eq!(judge(line.as_bytes(), &table).0, Kind::Normal, "{why}: {line}");
    }
    let lines: Vec<_> = kept.iter().chain(passed.iter().map(|(_, line)| line)).cloned().collect();
    let run = Run::of(&product(), &table.csv(), lines.join("\n").as_bytes(), "json");
    let invalid = String::from_utf8(run.file(Kind::Invalid)).unwrap();
    let invalid: Vec<_> = invalid.lines().collect();
    for (why, line) in &passed {
        assert!(invalid.contains(&line.as_str()), "{why}: {line}");
    }
    assert_eq!((run.count(Kind::Normal), invalid.len()), (kept.len() as u64, passed.len()));
}

#[test]
fn numbers_in_quotes_are_read_where_the_product_says_so() {
    let table = Table::made(0, 1);
    let line = r#"{"deviceId":"QP-0000-00000000","product":"env_v2","ts":1795399200000,"seq":7,"params":{"temp":234,"hum":"2\u0030.9","pm25":41,"lvl":1270,"batt":3650,"rssi":-71},"loc":{"lon":121.050001,"lat":31.100001},"fw":"2.1.1","net":"nb-iot","mode":"auto"}"#;
    let run = Run::of(&product(), &table.csv(), line.as_bytes(), "json");
    assert_eq!(run.objects(Kind::Normal)[0]["humidity_pct"], json!(20.9));
    let line = line.replace(r#""temp":234"#, r#""temp":"234""#);
    let run = Run::of(&product(), &table.csv(), line.as_bytes(), "json");
    assert_eq!(run.count(Kind::Invalid), 1);
}
