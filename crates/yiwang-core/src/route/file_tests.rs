//! Bodies of files, which name their device and stand for the moment they tell, whatever they claim it is.

use super::*;
use crate::registry::Registry;

const PRODUCT: &str = "schema: yiwang-thing/1
profile: {productKey: f-01, name: f, version: 1.0.0, kind: test, nodeType: direct, owner: test, grade: public}
access: {auth: [signed], dialects: [raw], identity: id}
codec: {kind: json, device: /d, id: {id: /id}, time: {path: /ts, unit: ms}, map: {a: {path: /a}}}
properties:
  - {identifier: a, accessMode: r, dataType: {type: double}, quality: {maxRate: 1/s, stuckAfter: 10m}}
time: {source: device}
liveness: {expectEvery: 5m}
alarms:
  - {id: high, when: 'a > 2 and avg(a, 5m) > 1', hold: {for: 1m}, clearHold: 1m, remind: 1m, category: flood.level, severity: {base: MINOR}}
  - {id: silent, when: absent(30m), category: flood.level, severity: {base: MINOR}}
tests:
  - {in: '{\"d\":\"X\",\"id\":\"1\",\"a\":1}', expect: {a: 1}}
";

fn router() -> Router {
    static SHARED: LazyLock<Arc<Shared>> = LazyLock::new(|| {
        let devices = "product_key,device_name,area_code\nf-01,X,310118001001\n";
        let files = [("f-01.thing.yaml", PRODUCT), ("devices.csv", devices)];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let (registry, problems) = Registry::load(&files, fixture::DISTRICT.clone());
        let registry = registry.unwrap_or_else(|| panic!("{problems:?}"));
        Arc::new(Shared::new(Arc::new(registry)).0.unwrap())
    });
    Router::new(SHARED.clone())
}

fn line(router: &mut Router, body: &str) -> Fate {
    let product = router.shared.registry().products.iter().position(|it| *it.key == *"f-01");
    let raw = Raw { kind: BodyKind::Raw, path: "raw", ..property(0, "", body) };
    router.input(&Input::Named { product: product.unwrap() as u16, raw })
}

#[test]
fn a_line_without_a_time_has_that_of_the_line_before() {
    let mut router = router();
    let t = at("09:00");
    line(&mut router, &format!(r#"{{"d":"X","id":"1","a":1,"ts":{t}}}"#));
    line(&mut router, r#"{"d":"X","id":"2","a":1}"#);
    // No time: more than RFC 3339 can write.
    line(&mut router, r#"{"d":"X","id":"3","a":1,"ts":9223372036854775807}"#);
    let times = router.lines.0.iter().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[4].parse().unwrap(), words[5].parse().unwrap())
    });
    assert_eq!(times.collect::<Vec<(Millis, Millis)>>(), [(t, t); 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_time_upsets_it(
        lines in prop::collection::vec((0..12_usize, -5..5_i64, 0..4_i32), 1..30),
    ) {
        const TIMES: [Millis; 11] = [
            Millis::MIN, -253_402_300_800_000, -1, 0, 1_577_836_800_000, DAY, DAY + 60_000,
            253_402_300_799_999, 253_402_300_800_000, 1 << 60, Millis::MAX,
        ];
        let mut router = router();
        for (number, (time, offset, a)) in lines.into_iter().enumerate() {
            let ts = TIMES.get(time).map_or(String::new(), |t| format!(r#","ts":{}"#, t.saturating_add(offset)));
            let fate = line(&mut router, &format!(r#"{{"d":"X","id":"{number}","a":{a}{ts}}}"#));
            prop_assert_eq!(fate, Fate::Routed);
            router.restart();
        }
    }
}
