//! Sparkplug through the step: sessions with births, data, gaps, deaths and a restart in between.

use super::*;
use crate::codec::sparkplug::testing::{birth, message};
use crate::ids;
use crate::registry::Registry;

const PRODUCT: &str = "schema: yiwang-thing/1
profile: {productKey: spb-1, name: test, version: 1.0.0, kind: test/sparkplug}
access: {identity: seq}
codec: {kind: sparkplugB}
properties:
  - {identifier: level, dataType: {type: int, specs: {min: 0, max: 100}}}
tests: [{hex: 'ff', topic: spBv1.0/g/NDATA/e, expect: {quarantined: CODEC}}]
";
const DEVICES: &str = "product_key,device_name,area_code,gateway,alias
spb-1,g.e,310118001001,,
spb-1,child-1,310118001001,spb-1/g.e,g.e/d1
spb-1,child-2,310118001001,,g.e/d2
";
const NODE: &str = "spb-1/g.e";
const T: u64 = 1_795_363_200_000;

#[test]
fn a_node_is_found_by_its_name() {
    let router = router();
    let key = |name| Some(&*router.shared.registry().edge_node(name)?.key);
    assert_eq!(key("g.e"), Some(NODE), "no alias: the device name");
    assert_eq!(key("g.f"), None);
    assert_eq!(key("child-1"), None, "it has an alias, and that is another");
}

fn router() -> Router {
    static SHARED: LazyLock<Arc<Shared>> = LazyLock::new(|| {
        let files = [("spb-1.thing.yaml", PRODUCT), ("devices.csv", DEVICES)];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let (registry, problems) = Registry::load(&files.into(), fixture::DISTRICT.clone());
        assert_eq!(problems, []);
        Arc::new(Shared::new(Arc::new(registry.unwrap())).0.unwrap())
    });
    Router::new(SHARED.clone())
}

fn send(router: &mut Router, rx: &str, topic: &str, payload: &[u8]) -> Fate {
    let path = format!("spBv1.0/{topic}");
    let raw = Raw { kind: BodyKind::Raw, path: &path, payload, ..property(at(rx), NODE, "") };
    router.input(&Input::Raw(raw))
}

fn readings(router: &mut Router) -> Vec<String> {
    let lines: Vec<String> = router.lines.0.drain(..).collect();
    let readings = lines.iter().filter(|line| line.starts_with("reading"));
    readings
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {} {}", words[3], words[2], words.last().unwrap())
        })
        .collect()
}

fn wanted(router: &Router) -> u64 {
    router.state.counters().rebirths_wanted
}

#[test]
fn a_session_from_birth_to_death() {
    let mut router = router();
    let node = birth(T, 0, Some(7), &[("level", 1, 3)]);
    assert_eq!(send(&mut router, "00:00", "g/NBIRTH/e", &node), Fate::Routed);
    let device = birth(T, 1, None, &[("level", 2, 3)]);
    assert_eq!(send(&mut router, "00:00", "g/DBIRTH/e/d1", &device), Fate::Routed);
    router.lines.0.clear();
    router.restart();
    let data = message(T, Some(2), &[(2, 42)]);
    assert_eq!(send(&mut router, "00:00", "g/DDATA/e/d1", &data), Fate::Routed);
    assert_eq!(send(&mut router, "00:00", "g/DDATA/e/d1", &data), Fate::Duplicate);
    let own = message(T, Some(3), &[(1, 9)]);
    assert_eq!(send(&mut router, "00:00", "g/NDATA/e", &own), Fate::Routed);
    let expected = [
        format!("spb-1/child-1 {} [\"level=Int(42)0\"]", ids::raw_by_sequence(NODE, 7, 2)),
        format!("spb-1/g.e {} [\"level=Int(9)0\"]", ids::raw_by_sequence(NODE, 7, 3)),
    ];
    assert_eq!(readings(&mut router), expected);
    // A stale death, that of the connection, then data that only a birth would explain.
    let death = |bd_seq| birth(T, 0, Some(bd_seq), &[]);
    let stale = Fate::Rejected(Rejection::Replay);
    assert_eq!(send(&mut router, "00:01", "g/NDEATH/e", &death(6)), stale);
    assert_eq!(send(&mut router, "00:01", "g/NDEATH/e", &death(7)), Fate::Routed);
    assert_eq!(wanted(&router), 0);
    let data = message(T, Some(4), &[(2, 42)]);
    let codec = Fate::Quarantined(QuarantineReason::Codec);
    router.lines.0.clear();
    assert_eq!(send(&mut router, "00:01", "g/DDATA/e/d1", &data), codec);
    assert_eq!(wanted(&router), 1);
    let asked = format!("command {NODE} Listen mqtt spBv1.0/g/NCMD/e {}", at("00:01"));
    assert_eq!(router.lines.0.pop(), Some(asked), "by way of where it was heard");
    assert_eq!(router.state.counters().to_ledger(0).imbalance(Stage::Router), 0);
}

#[test]
fn births_are_wanted_after_what_is_missing_or_wrong() {
    let mut router = router();
    send(&mut router, "00:00:00", "g/NBIRTH/e", &birth(T, 0, Some(0), &[("level", 1, 3)]));
    let data = |seq| message(T, Some(seq), &[(1, 5)]);
    assert_eq!(send(&mut router, "00:00:01", "g/NDATA/e", &data(3)), Fate::Routed);
    assert_eq!(wanted(&router), 0);
    router.restart();
    assert_eq!(send(&mut router, "00:00:03", "g/NDATA/e", &data(4)), Fate::Routed);
    assert_eq!(wanted(&router), 1, "the gap is two seconds old");
    // A value that does not fit is no reason to ask, an alias that was never told is one.
    let schema = Fate::Quarantined(QuarantineReason::Schema);
    send(&mut router, "00:10:00", "g/NBIRTH/e", &birth(T + 1, 0, Some(0), &[("level", 1, 3)]));
    let twice = message(T, Some(1), &[(1, 5), (1, 6)]);
    assert_eq!(send(&mut router, "00:10:00", "g/NDATA/e", &twice), schema);
    assert_eq!(wanted(&router), 1);
    let unknown = message(T, Some(2), &[(9, 5)]);
    let codec = Fate::Quarantined(QuarantineReason::Codec);
    assert_eq!(send(&mut router, "00:10:00", "g/NDATA/e", &unknown), codec);
    assert_eq!(wanted(&router), 2);
    assert_eq!(send(&mut router, "00:12:00", "g/NDATA/e", &data(256)), schema);
    assert_eq!(wanted(&router), 3);
    assert_eq!(send(&mut router, "00:14:00", "g/NDATA/e", &data(3)[..9]), codec);
    assert_eq!(wanted(&router), 4);
}

#[test]
fn devices_of_a_node_are_bound_to_it() {
    let mut router = router();
    send(&mut router, "00:00", "g/NBIRTH/e", &birth(T, 0, Some(0), &[]));
    let told = birth(T, 1, None, &[("level", 2, 3)]);
    let unbound = Fate::Quarantined(QuarantineReason::UnboundChild);
    assert_eq!(send(&mut router, "00:00", "g/DBIRTH/e/d2", &told), unbound);
    let unknown = Fate::Quarantined(QuarantineReason::UnknownDevice);
    let told = birth(T, 2, None, &[("level", 3, 3)]);
    assert_eq!(send(&mut router, "00:00", "g/DBIRTH/e/d9", &told), unknown);
    let foreign = Fate::Quarantined(QuarantineReason::IdentityMismatch);
    assert_eq!(send(&mut router, "00:00", "g/NDATA/f", &message(T, Some(3), &[])), foreign);
    let codec = Fate::Quarantined(QuarantineReason::Codec);
    assert_eq!(send(&mut router, "00:00", "STATE/h", b"{}"), codec);
    assert_eq!(send(&mut router, "00:00", "g/NCMD/e", &message(T, None, &[])), Fate::Routed);
}

#[test]
fn a_snapshot_of_a_later_version_is_refused() {
    let mut router = router();
    let mut bytes = router.state.encode(&router.shared);
    assert!(
        PartitionState::restore(&bytes, &router.shared, Shard::WHOLE, &mut router.lines).is_ok()
    );
    bytes[0] += 1;
    assert!(
        PartitionState::restore(&bytes, &router.shared, Shard::WHOLE, &mut router.lines).is_err()
    );
}
