//! Packs: items as if their children had sent them, each with its own id and window, and one fate for the whole.

use super::*;
use crate::ids::{self, Id};
use crate::problem::Problem;
use crate::registry::Registry;

const GATEWAY: &str = "wl-radar-01/R-0001";
const DEVICES: &str = "product_key,device_name,area_code,gateway
wl-radar-01,R-0001,310118001001,
wl-radar-01,R-0002,310118001001,
smoke-01,S-0001,310118001001,wl-radar-01/R-0001
smoke-01,S-0002,310118001001,wl-radar-01/R-0001
smoke-01,S-0003,310118001001,wl-radar-01/R-0002
smoke-01,S-0004,310118001001,
";

fn registry(devices: &str) -> (Option<Registry>, Vec<Problem>) {
    let mut files = fixture::folder("products");
    files.insert("devices.csv".to_owned(), devices.to_owned());
    Registry::load(&files, fixture::DISTRICT.clone())
}

fn router() -> Router {
    static SHARED: LazyLock<Arc<Shared>> = LazyLock::new(|| {
        let (registry, problems) = registry(DEVICES);
        assert_eq!(problems, []);
        Arc::new(Shared::new(Arc::new(registry.unwrap())).0.unwrap())
    });
    Router::new(SHARED.clone())
}

fn pack(router: &mut Router, rx: &str, body: &str) -> Fate {
    let raw = Raw { kind: BodyKind::Other, path: "pack", ..property(at(rx), GATEWAY, body) };
    router.input(&Input::Raw(raw))
}

fn item(name: &str, kind: &str, body: &str) -> String {
    format!(r#"{{"pk":"smoke-01","dn":"{name}","kind":"{kind}","body":{body}}}"#)
}

/// Kind, device and id of what came out since the last call: of readings their raw id.
fn outputs(router: &mut Router) -> Vec<String> {
    let words = |line: &String| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "reading" => format!("reading {} {}", words[3], words[2]),
            "quarantine" => format!("quarantine {} {} {}", words[1], words[2], words[3]),
            kind => kind.to_owned(),
        }
    };
    router.lines.0.drain(..).map(|line| words(&line)).collect()
}

fn count(router: &Router, row: &str) -> u64 {
    router.state.counters().to_ledger(0).row(Stage::Router, row)
}

#[test]
fn items_are_messages_of_the_children() {
    let mut router = router();
    let items = [
        item("S-0001", "property", &smoke(1, "10:00", 1)),
        item("S-0002", "property", r#"{"smoke":0}"#),
        // The codec of the product: the frame of the smoke detector with (boot 3, seq 16).
        item("S-0002", "raw", "\"pQG0awOeIAADABA=\""),
        item("S-0001", "property", r#"{"id":"e-1","smoke":1}"#),
    ];
    let body = format!(r#"{{"id":"p-1","items":[{}]}}"#, items.join(","));
    assert_eq!(pack(&mut router, "10:00:01", &body), Fate::Routed);
    let whole = ids::raw_by_message_id(GATEWAY, "p-1");
    let (one, two) = ("smoke-01/S-0001", "smoke-01/S-0002");
    let expected = [
        format!("reading {one} {}", ids::raw_by_sequence(one, 1, 1)),
        "signal".to_owned(),
        format!("reading {two} {}", ids::pack_item(whole, 1)),
        format!("reading {two} {}", ids::raw_by_sequence(two, 3, 16)),
        // Its time is before that of the item without one: late, so raised and cleared at once.
        "signal".to_owned(),
        "signal".to_owned(),
        format!("reading {one} {}", ids::raw_by_message_id(one, "e-1")),
    ];
    assert_eq!(outputs(&mut router), expected);
    // The pack again is a duplicate as a whole; its items in another pack are, each for itself.
    assert_eq!(pack(&mut router, "10:00:02", &body), Fate::Duplicate);
    let other = body.replace("p-1", "p-2");
    router.restart();
    assert_eq!(pack(&mut router, "10:00:03", &other), Fate::Routed);
    let second = ids::raw_by_message_id(GATEWAY, "p-2");
    let expected = format!("reading {two} {}", ids::pack_item(second, 1));
    assert_eq!(outputs(&mut router), [expected]);
    assert_eq!((count(&router, "items"), count(&router, "item_duplicate")), (8, 3));
}

#[test]
fn items_that_do_not_come_through_are_rows_of_their_own() {
    let mut router = router();
    let good = item("S-0001", "property", &smoke(1, "08:00", 0));
    let items = [
        item("S-0003", "property", "{}"),
        good.clone(),
        item("S-0004", "property", "{}"),
        item("S-9999", "property", "{}"),
        item("S-0002", "property", r#"{"smoke":"on"}"#),
        item("S-0002", "property", "[]"),
        item("S-0002", "status", "{}"),
        item("S-0001", "property", r#"{"boot":0,"seq":5,"params":{"smoke":1}}"#),
    ];
    let body = format!(r#"{{"ts":{},"items":[{}]}}"#, at("08:00"), items.join(","));
    assert_eq!(pack(&mut router, "08:00:01", &body), Fate::Routed);
    let whole = ids::raw_by_content(GATEWAY, at("08:00"), body.as_bytes());
    let row = |device: &str, position: u64, reason: &str| {
        format!("quarantine {device} {} {reason}", ids::pack_item(whole, position))
    };
    let expected = [
        format!("reading smoke-01/S-0001 {}", ids::raw_by_sequence("smoke-01/S-0001", 1, 1)),
        row("smoke-01/S-0003", 0, "UnboundChild"),
        row("smoke-01/S-0004", 2, "UnboundChild"),
        row("smoke-01/S-9999", 3, "UnknownDevice"),
        row("smoke-01/S-0002", 4, "Schema"),
        row("smoke-01/S-0002", 5, "Schema"),
        row(GATEWAY, 6, "Schema"),
    ];
    assert_eq!(outputs(&mut router), expected);
    assert_eq!((count(&router, "raw"), count(&router, "routed")), (1, 1));
    assert_eq!((count(&router, "item_quarantined"), count(&router, "item_rejected")), (6, 1));
    let ledger = router.state.counters().to_ledger(0);
    assert_eq!(ledger.imbalance(Stage::Router), 0);
}

#[test]
fn a_pack_of_which_nothing_came_through_is_quarantined_whole() {
    let mut router = router();
    let unbound = item("S-0003", "property", "{}");
    let body = format!(r#"{{"id":"p","items":[{unbound},{unbound}]}}"#);
    let fate = Fate::Quarantined(QuarantineReason::UnboundChild);
    assert_eq!(pack(&mut router, "08:00", &body), fate);
    let id: Id = ids::raw_by_message_id(GATEWAY, "p");
    assert_eq!(outputs(&mut router), [format!("quarantine {GATEWAY} {id} UnboundChild")]);
    assert_eq!(count(&router, "item_quarantined"), 0);
    for (body, reason) in [
        (r#"{"items":["#, QuarantineReason::Codec),
        (r#"{"params":{"level":1}}"#, QuarantineReason::Schema),
    ] {
        assert_eq!(pack(&mut router, "08:00", body), Fate::Quarantined(reason));
    }
    assert_eq!(pack(&mut router, "08:00", r#"{"items":[]}"#), Fate::Routed);
}

#[test]
fn gateways_must_be_devices() {
    let (registry, problems) =
        registry(&DEVICES.replace(",wl-radar-01/R-0002", ",wl-radar-01/R-7"));
    assert!(registry.is_none());
    let found: Vec<_> = problems.iter().map(|problem| (problem.code, problem.line)).collect();
    assert_eq!(found, [("UNKNOWN_GATEWAY", 6)]);
}
