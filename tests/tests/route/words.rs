//! What the task's product has not: words of an enum, truth values, whole numbers and dates in quotes, lists.

use std::fs;

use serde_json::{Value, json};

use crate::Run;
use crate::reference::Kind;

const PRODUCT: &str = r#"schema: yiwang-thing/1
profile: {productKey: valve-9, name: 阀, version: 1.0.0, kind: test/valve}
access: {auth: [signed], dialects: [raw], identity: none}
codec:
  kind: json
  device: /dn
  map:
    state: {path: /s}
    mode: {path: /m, enum: {0: auto, 1: manual, M: manual}}
    alive: {path: /a, enum: {"yes": true, "no": false}}
    count: {path: /n, offset: -40, quoted: true}
    day: {path: /d, quoted: true}
    curve: {path: /c}
properties:
  - {identifier: state, dataType: {type: enum, specs: {values: [open, 关]}}}
  - {identifier: mode, dataType: {type: enum, specs: {values: [auto, manual]}}}
  - {identifier: alive, dataType: {type: bool}}
  - {identifier: count, dataType: {type: int, specs: {min: 0, max: 100}}}
  - {identifier: day, dataType: {type: date}}
  - {identifier: curve, dataType: {type: array, specs: {item: {type: double}, size: 3}}}
validation: {mode: strict}
alarms:
  - {id: shut, when: "state == '关'", severity: {base: MINOR}, category: env.dust}
  - {id: many, when: "count > 50", severity: {base: MINOR}, category: env.dust}
tests:
  - {in: '{"dn":"V1","s":"open"}', expect: {state: open}}
"#;

/// Members of a line beside its device, what becomes of it, and of its values.
fn cases() -> Vec<(&'static str, Kind, Value)> {
    use Kind::{Alarm, Invalid, Normal};
    vec![
        (r#""s":"open""#, Normal, json!({"state": "open"})),
        (r#""\u0073":"\u006fpe\u006E""#, Normal, json!({"state": "open"})),
        (r#""s":"\u5173""#, Alarm, json!({"state": "关"})),
        (r#""s":"shut""#, Invalid, json!({})),
        (r#""s":"Open""#, Invalid, json!({})),
        (r#""s":"open\u0020""#, Invalid, json!({})),
        (r#""s":0"#, Invalid, json!({})),
        (r#""m":0"#, Normal, json!({"mode": "auto"})),
        (r#""m":"0""#, Normal, json!({"mode": "auto"})),
        (r#""m":"\u0031""#, Normal, json!({"mode": "manual"})),
        (r#""m":"\u004d""#, Normal, json!({"mode": "manual"})),
        (r#""m":2"#, Invalid, json!({})),
        (r#""m":"auto""#, Invalid, json!({})),
        (r#""a":"y\u0065s""#, Normal, json!({"alive": true})),
        (r#""a":false"#, Normal, json!({"alive": false})),
        (r#""a":"maybe""#, Invalid, json!({})),
        (r#""n":"9\u0030""#, Normal, json!({"count": 50})),
        (r#""n":"91.0""#, Alarm, json!({"count": 51})),
        (r#""n":"0.91\u00652""#, Alarm, json!({"count": 51})),
        (r#""n":"90.5""#, Invalid, json!({})),
        (r#""n":"39""#, Invalid, json!({})),
        (r#""d":"1795399200000""#, Normal, json!({"day": 1_795_399_200_000_i64})),
        (r#""d":"17953992\u00300000""#, Normal, json!({"day": 1_795_399_200_000_i64})),
        (r#""c":[1,2.50 , -0]"#, Normal, json!({"curve": [1, 2.5, -0.0]})),
        (r#""c":[1,2,3,4]"#, Invalid, json!({})),
        (r#""c":["1"]"#, Invalid, json!({})),
    ]
}

#[test]
fn words_and_numbers_however_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let product = folder.path().join("valve-9.thing.yaml");
    fs::write(&product, PRODUCT).unwrap();
    let line = |members: &str| format!("{{\"dn\":\"V\\u0031\",{members}}}\n");
    let input: String = cases().into_iter().map(|(members, ..)| line(members)).collect();
    let run = Run::of(&product, "name,street\nV1,青松路\n", input.as_bytes(), "json");
    for kind in Kind::ALL {
        let cases = cases();
        let of: Vec<_> = cases.iter().filter(|(_, of, _)| *of == kind).collect();
        assert_eq!(run.count(kind), of.len() as u64, "{kind:?}");
        if kind == Kind::Invalid {
            let lines: String = of.iter().map(|(members, ..)| line(members)).collect();
            assert_eq!(String::from_utf8(run.file(kind)).unwrap(), lines);
            continue;
        }
        for ((members, _, expected), found) in of.iter().zip(run.objects(kind)) {
            let mut expected = expected.clone();
            expected["name"] = "V1".into();
            expected["street"] = "青松路".into();
            assert_eq!(Value::Object(found), expected, "{members}");
        }
    }
}
