//! The role over the memory log: fates balance, crashes and swaps change nothing, duplicates stay duplicates.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use yiwang_core::district::FileSet;
use yiwang_core::ids::{Id, raw_by_sequence};
use yiwang_core::ledger::{Counters, Stage};
use yiwang_core::record::SignalKind;
use yiwang_core::route::Fate;
use yiwang_log::{Batch, Log, MemoryConfig, standard_topics};
use yiwang_proto::signal_from_bytes;
use yiwang_router::trace::{RuleTrace, Wanted, trace};
use yiwang_router::{Bundle, Config, Handle, Router};

use support::{PARTITIONS, START, folder, push_placed, push_ticks, records};

const TOPICS: [&str; 6] =
    ["readings", "signals", "quarantine", "water-bureau", "fire-brigade", "lobby"];
fn devices() -> String {
    let mut csv = "product_key,device_name,area_code,secret\n".to_owned();
    for n in 0..20 {
        csv += &format!("smoke-01,S-{n:04},310118001001,demo-secret-of-{n}-0123456789\n");
        csv += &format!("wl-radar-01,R-{n:04},310118001001,demo-secret-of-{n}-0123456789\n");
    }
    csv
}

fn bundle(edit: impl Fn(String) -> String) -> Arc<Bundle> {
    // The shipped vectors are of the shipped rules: they stand last in the files and are left out.
    let without_vectors = |text: String| match text.find("\n  - rule:") {
        Some(end) => text[..=end].to_owned(),
        None => text,
    };
    let edited = |(name, text)| (name, edit(without_vectors(text)));
    let mut files: FileSet = folder("products").into_iter().map(edited).collect();
    files.insert("devices.csv".to_owned(), devices());
    let (bundle, problems) = Bundle::load(&folder("district"), &files);
    bundle.unwrap_or_else(|| panic!("{problems:?}"))
}

static BUNDLE: LazyLock<Arc<Bundle>> = LazyLock::new(|| bundle(|text| text));
/// The water level's rule holds for a shorter time.
static OTHER: LazyLock<Arc<Bundle>> =
    LazyLock::new(|| bundle(|text| text.replace("hold: {for: 10m}", "hold: {for: 5m}")));

/// The configuration after a swap, or without one.
fn later(swap: bool) -> &'static Arc<Bundle> {
    if swap { &OTHER } else { &BUNDLE }
}

fn config() -> Config {
    support::config(300, 4)
}

fn open(seed: u64) -> Log {
    support::open(seed, 0.0, &BUNDLE)
}

/// What a device says: none speaks through another.
fn push_raw(log: &Log, batch: &mut Batch, device: &str, received_at: i64, body: &str) {
    push_placed(log, batch, (device, device), received_at, body);
}

/// A minute of traffic and its ticks; gives the number of raw records.
async fn append_minute(log: &Log, minute: i64) -> u64 {
    let mut batch = Batch::new();
    let mut count = 0;
    for second in 0..60 {
        let now = START + minute * 60_000 + second * 1000;
        push_ticks(log, &mut batch, now);
        if second % 3 != 0 {
            continue;
        }
        let n = second / 3;
        let level = 3.0 + f64::from((minute as i32 / 8 * 7 + n as i32 * 3) % 12) / 10.0;
        let on = (minute + n) % 4 == 0;
        let water = format!("wl-radar-01/R-{n:04}");
        let smoke = format!("smoke-01/S-{n:04}");
        let body =
            format!(r#"{{"boot":1,"seq":{minute},"ts":{now},"params":{{"level":{level}}}}}"#);
        push_raw(log, &mut batch, &water, now + 500, &body);
        push_raw(log, &mut batch, &water, now + 600, &body);
        let body = format!(r#"{{"boot":1,"seq":{minute},"ts":{now},"params":{{"smoke":{on}}}}}"#);
        push_raw(log, &mut batch, &smoke, now + 700, &body);
        push_raw(log, &mut batch, "smoke-01/unknown", now + 800, "{}");
        push_raw(log, &mut batch, &smoke, now + 900, "{");
        count += 5;
    }
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
    count
}

/// Waits until everything on the log was routed and gives the ledger.
async fn drained(handle: &Handle) -> Counters {
    let mut turns = tokio::time::interval(Duration::from_millis(1));
    loop {
        turns.tick().await;
        let ledger = handle.ledger().await.unwrap();
        if handle.is_caught_up() && ledger.row(Stage::Router, "pending") == 0 {
            return ledger;
        }
    }
}

/// Records by topic and key.
type Outputs = BTreeMap<(&'static str, Vec<u8>), Vec<Vec<u8>>>;

/// Every record of a topic, in order per key, without repeats of the same bytes.
async fn outputs(log: &Log) -> Outputs {
    let mut all: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
    for topic in TOPICS {
        for (key, value) in records(log, topic).await {
            let list = all.entry((topic, key)).or_default();
            if !list.contains(&value) {
                list.push(value);
            }
        }
    }
    all
}

async fn run_until_drained(log: &Log, bundle: &Arc<Bundle>) -> Counters {
    let (router, handle) = Router::new(config(), log.clone(), bundle.clone()).unwrap();
    let drain = CancellationToken::new();
    let watch = async {
        let ledger = drained(&handle).await;
        drain.cancel();
        ledger
    };
    let (ended, ledger) = tokio::join!(router.run(drain.clone()), watch);
    ended.unwrap();
    ledger
}

fn balanced(ledger: &Counters, raw: u64) {
    assert_eq!(ledger.imbalance(Stage::Router), 0);
    assert_eq!(ledger.row(Stage::Router, "raw"), raw);
    for row in ["duplicate", "routed", "quarantined"] {
        assert!(ledger.row(Stage::Router, row) > 0, "{row}");
    }
    assert_eq!(ledger.row(Stage::Router, "duplicate"), raw / 5);
    assert_eq!(ledger.row(Stage::Router, "quarantined"), raw * 2 / 5);
}

const MINUTES: i64 = 24;

/// The forwarded records of a ledger by topic, which are those that lie there.
fn forwarded(ledger: &Counters, outputs: &Outputs) -> BTreeMap<&'static str, u64> {
    let count = |topic: &'static str| {
        let of_topic = outputs.iter().filter(|((of, _), _)| *of == topic);
        let lie: usize = of_topic.map(|(_, records)| records.len()).sum();
        let count = ledger.get(Stage::Router, "forwarded", topic);
        assert_eq!(count, lie as u64, "{topic}");
        (topic, count)
    };
    TOPICS[3..].iter().copied().map(count).collect()
}

/// What a run without any fault makes, with the swap at minute 12.
async fn straight(swap: bool) -> Outputs {
    let log = open(1);
    let mut raw = 0;
    for minute in 0..MINUTES {
        raw += append_minute(&log, minute).await;
        if minute + 1 == MINUTES / 2 {
            run_until_drained(&log, &BUNDLE).await;
            // What lies on the log at the start is routed with the configuration of then; so the new one begins here.
            run_until_drained(&log, later(swap)).await;
        }
    }
    let ledger = run_until_drained(&log, later(swap)).await;
    balanced(&ledger, raw);
    let outputs = outputs(&log).await;
    let forwarded = forwarded(&ledger, &outputs);
    assert!(forwarded.values().all(|count| *count > 0), "{forwarded:?}");
    outputs
}

/// Crashes after pseudo-random times; the log keeps what was safe and perhaps a little more.
async fn crashing(seed: u64, swap: bool) -> Outputs {
    let mut log = open(seed);
    let (mut raw, mut random) = (0, seed * 7919 + 13);
    for minute in 0..MINUTES {
        raw += append_minute(&log, minute).await;
        let bundle = later(swap && minute >= MINUTES / 2);
        if minute + 1 == MINUTES / 2 {
            // The swap lies at the same place in every run.
            run_until_drained(&log, bundle).await;
            run_until_drained(&log, later(swap)).await;
            continue;
        }
        let (router, _handle) = Router::new(config(), log.clone(), bundle.clone()).unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let life = Duration::from_micros(random >> 33) / 40_000;
        let ended = tokio::time::timeout(life, router.run(CancellationToken::new())).await;
        assert!(ended.is_err(), "the router does not end by itself: {ended:?}");
        log = log.crash();
    }
    let ledger = run_until_drained(&log, later(swap)).await;
    balanced(&ledger, raw);
    let outputs = outputs(&log).await;
    forwarded(&ledger, &outputs);
    outputs
}

#[tokio::test(start_paused = true)]
async fn crashes_change_no_output() {
    let expected = straight(false).await;
    assert!(expected.keys().any(|(topic, _)| *topic == "signals"));
    for seed in 1..6 {
        assert!(crashing(seed, false).await == expected, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_swap_survives_crashes() {
    let expected = straight(true).await;
    assert!(expected != straight(false).await, "the swap shows");
    for seed in 1..6 {
        assert!(crashing(seed, true).await == expected, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_swap_while_running() {
    let log = open(5);
    let (router, handle) = Router::new(config(), log.clone(), BUNDLE.clone()).unwrap();
    let drain = CancellationToken::new();
    let drive = async {
        let mut raw = 0;
        for minute in 0..MINUTES {
            if minute == MINUTES / 2 {
                handle.swap(OTHER.clone()).unwrap();
            }
            raw += append_minute(&log, minute).await;
            drained(&handle).await;
        }
        drain.cancel();
        raw
    };
    let (ended, raw) = tokio::join!(router.run(drain.clone()), drive);
    ended.unwrap();
    balanced(&handle.ledger().await.unwrap(), raw);
    assert!(outputs(&log).await == straight(true).await);
}

#[tokio::test(start_paused = true)]
async fn a_swap_in_the_midst_of_a_replay_waits_for_its_end() {
    let log = open(7);
    for minute in 0..MINUTES / 2 {
        append_minute(&log, minute).await;
    }
    // No snapshot: the next life replays all of it.
    let without = Config { snapshot_records_max: u64::MAX, ..config() };
    let (router, handle) = Router::new(without.clone(), log.clone(), BUNDLE.clone()).unwrap();
    let dies = CancellationToken::new();
    tokio::select! {
        ended = router.run(dies) => panic!("the router does not end by itself: {ended:?}"),
        _ = drained(&handle) => {}
    }
    let log = log.crash();
    let (router, handle) = Router::new(without, log.clone(), BUNDLE.clone()).unwrap();
    let drain = CancellationToken::new();
    let drive = async {
        let mut turns = tokio::time::interval(Duration::from_millis(1));
        while handle.ledger().await.unwrap().row(Stage::Router, "routed") == 0 {
            turns.tick().await;
        }
        for bundle in [&BUNDLE, &OTHER, &BUNDLE, &OTHER] {
            assert!(!handle.is_caught_up(), "in the midst of it");
            handle.swap((*bundle).clone()).unwrap();
            turns.tick().await;
        }
        drained(&handle).await;
        for minute in MINUTES / 2..MINUTES {
            append_minute(&log, minute).await;
        }
        drained(&handle).await;
        drain.cancel();
    };
    let (ended, ()) = tokio::join!(router.run(drain.clone()), drive);
    ended.unwrap();
    assert!(outputs(&log).await == straight(true).await);
}

/// More changes than are kept, the process started again between some: those in force last lie in the topic and no others,
/// and the state goes on under the newest.
#[tokio::test(start_paused = true)]
async fn years_of_changes_leave_the_last() {
    const KEPT: usize = 16;
    let holding = |minutes: usize| {
        bundle(|text| text.replace("hold: {for: 10m}", &format!("hold: {{for: {minutes}m}}")))
    };
    let bundles: Vec<_> = (20..40).map(holding).chain([BUNDLE.clone()]).collect();
    let log = open(11);
    let mut raw = 0;
    for (life, bundles) in bundles.chunks(7).enumerate() {
        let (router, handle) = Router::new(config(), log.clone(), bundles[0].clone()).unwrap();
        let drain = CancellationToken::new();
        let drive = async {
            for (turn, bundle) in bundles.iter().enumerate() {
                handle.swap(bundle.clone()).unwrap();
                raw += append_minute(&log, (life * 7 + turn) as i64).await;
                drained(&handle).await;
            }
            drain.cancel();
        };
        let (ended, ()) = tokio::join!(router.run(drain.clone()), drive);
        ended.unwrap();
    }
    balanced(&run_until_drained(&log, &BUNDLE).await, raw);
    let state = log.compacted("state", 0).await.unwrap();
    let names: Vec<_> = state.iter().map(|(key, _)| String::from_utf8_lossy(key)).collect();
    let marker = |epoch: Id| names.contains(&format!("bundle/{epoch}/marker").into());
    let held: Vec<bool> = bundles.iter().map(|bundle| marker(bundle.epoch())).collect();
    let expected: Vec<bool> = (0..bundles.len()).map(|n| n >= bundles.len() - KEPT).collect();
    assert_eq!(held, expected);
    let chunks = names.iter().filter(|name| name.starts_with("bundle/")).count();
    assert!(chunks.is_multiple_of(KEPT), "whole ones only: {names:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_remembers_ids_and_commits_behind_its_snapshot() {
    let log = open(3);
    append_minute(&log, 0).await;
    let before = run_until_drained(&log, &BUNDLE).await;
    let committed = log.committed("raw", yiwang_router::GROUP).await.unwrap();
    for position in &committed {
        assert_eq!(position.seq, log.head("raw", position.partition).await.unwrap());
    }
    assert_eq!(committed.len(), usize::from(PARTITIONS));
    let mut batch = Batch::new();
    let body = format!(r#"{{"boot":1,"seq":0,"ts":{START},"params":{{"level":3.0}}}}"#);
    push_raw(&log, &mut batch, "wl-radar-01/R-0000", START + 61_000, &body);
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
    let after = run_until_drained(&log, &BUNDLE).await;
    let diff = after.diff(&before);
    assert_eq!(diff.row(Stage::Router, "duplicate"), 1);
    assert_eq!(diff.row(Stage::Router, "raw"), 1);
}

/// A configuration whose routes are these.
fn routed(routes: &str) -> Arc<Bundle> {
    with("routes.yaml", routes)
}

/// The shipped configuration with another file of the district.
fn with(file: &str, text: &str) -> Arc<Bundle> {
    let mut district = folder("district");
    district.insert(file.to_owned(), text.to_owned());
    let mut files = folder("products");
    files.insert("devices.csv".to_owned(), devices());
    let (bundle, problems) = Bundle::load(&district, &files);
    bundle.unwrap_or_else(|| panic!("{problems:?}"))
}

#[tokio::test(start_paused = true)]
async fn what_stands_when_a_window_ends_is_raised_exactly_then() {
    const SMOKE: &str = "smoke-01/S-0004";
    let log = open(9);
    let bundle = with(
        "maintenance.yaml",
        "windows:\n  - {name: painting, reason: r, device: [smoke-01/S-0004], \
         from: '2026-11-23T08:00:00+08:00', to: '2026-11-23T08:02:30+08:00'}\n",
    );
    // True in the first minute and each fourth, so it stands all the time.
    for minute in 0..4 {
        append_minute(&log, minute).await;
        run_until_drained(&log, &bundle).await;
    }
    let outputs = outputs(&log).await;
    let raises = |key: &str| {
        let signals = &outputs[&("signals", key.as_bytes().to_vec())];
        let signals = signals.iter().map(|bytes| signal_from_bytes(bytes).unwrap());
        signals.map(|signal| (signal.kind, signal.time, signal.since)).collect::<Vec<_>>()
    };
    let (end, since) = (START + 150_000, START + 12_000);
    assert_eq!(raises(SMOKE), [(SignalKind::Raise, end, since)]);
    let since = START + 24_000;
    assert_eq!(raises("smoke-01/S-0008"), [(SignalKind::Raise, since, since)], "another device");
    let opened = raw_by_sequence(SMOKE, 1, 0);
    let told = trace(&log, &bundle, Wanted::Id(opened)).await.unwrap().expect("it lies on the log");
    let rule = told.rules.iter().find(|rule| &*rule.after.rule == "smoke").unwrap();
    assert!(rule.after.held && rule.held_by.iter().any(|name| &**name == "painting"), "{rule:?}");
}

#[tokio::test(start_paused = true)]
async fn readings_may_go_elsewhere_instead_and_are_counted() {
    let log = open(4);
    let bundle = routed(
        "topics:\n  - {name: water-bureau, of: readings}\n  - {name: lobby, of: readings}\nroutes:\n  \
         - {name: all, of: readings, to: [lobby]}\n  - {name: water, of: readings, product: [wl-radar-01], \
         area: [310118001], instead: true, to: [water-bureau, lobby]}\n",
    );
    append_minute(&log, 0).await;
    let ledger = run_until_drained(&log, &bundle).await;
    let outputs = outputs(&log).await;
    let count = |topic, product: &str| {
        let of = |((name, key), _): &(&(&str, Vec<u8>), &Vec<Vec<u8>>)| {
            *name == topic && key.starts_with(product.as_bytes())
        };
        outputs.iter().filter(of).map(|(_, records)| records.len() as u64).sum::<u64>()
    };
    let (water, smoke) = (count("water-bureau", "wl-radar-01"), count("lobby", "smoke-01"));
    assert!(water > 0 && smoke > 0);
    assert_eq!(count("readings", "wl-radar-01"), 0, "instead");
    assert_eq!(count("readings", "smoke-01"), smoke, "in addition");
    assert_eq!(count("lobby", "wl-radar-01"), water, "once, though two routes name it");
    let row = |row, name| ledger.get(Stage::Router, row, name);
    assert_eq!(row("matched", "all"), water + smoke);
    assert_eq!(row("matched", "water"), water);
    assert_eq!(row("forwarded", "water-bureau"), water);
    assert_eq!(row("forwarded", "lobby"), water + smoke);
    assert_eq!(row("diverted", ""), water);
    assert_eq!(row("readings", ""), water + smoke);
}

#[tokio::test(start_paused = true)]
async fn a_route_to_a_topic_that_the_log_does_not_have_is_refused() {
    let log = open(6);
    let other = routed(
        "topics: [{name: other, of: signals}]\nroutes: [{name: all, of: signals, to: [other]}]\n",
    );
    let (_router, handle) = Router::new(config(), log.clone(), BUNDLE.clone()).unwrap();
    let refused = handle.swap(other.clone()).unwrap_err();
    assert_eq!(refused.to_string(), "use topic other: the log was opened without it");
    assert!(Router::new(config(), log, other).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_trace_tells_what_the_router_did() {
    let log = open(8);
    for minute in 0..MINUTES {
        append_minute(&log, minute).await;
        if minute + 1 == MINUTES / 2 {
            run_until_drained(&log, &BUNDLE).await;
            run_until_drained(&log, &OTHER).await;
        }
    }
    run_until_drained(&log, &OTHER).await;
    let outputs = outputs(&log).await;
    let (mut by_timer, mut by_sample, mut before_the_swap) = (0, 0, 0);
    let signals = outputs.iter().filter(|((topic, _), _)| *topic == "signals");
    for bytes in signals.flat_map(|(_, records)| records).step_by(3) {
        let signal = signal_from_bytes(bytes).unwrap();
        let id = Id::parse(&signal.event_id).unwrap();
        let told = trace(&log, &OTHER, Wanted::Id(id)).await.unwrap().expect("it lies on the log");
        assert!(told.exact, "{signal:?}");
        let mut said = told.outputs.iter().filter(|it| it.output.id == signal.event_id);
        let said = said.next().expect("the replay says it again");
        assert!(said.output.value == *bytes, "to the byte: {signal:?}");
        assert!(said.places.iter().any(|at| at.topic == "signals"), "{:?}", said.places);
        let moved = |rule: &RuleTrace| {
            rule.before.as_ref().is_some_and(|before| before.phase != rule.after.phase)
        };
        let first = |rule: &RuleTrace| rule.before.is_none();
        let rules = || told.rules.iter().filter(|rule| rule.device == signal.device);
        assert!(rules().any(|rule| moved(rule) || first(rule)), "{signal:?} {:?}", told.rules);
        assert!(matches!(told.fate, Fate::Tick | Fate::Routed), "{:?} says nothing", told.fate);
        by_sample += usize::from(signal.reading.is_some());
        by_timer += usize::from(signal.reading.is_none());
        before_the_swap += usize::from(told.config == BUNDLE.epoch());
    }
    let counts = [by_timer, by_sample, before_the_swap, by_timer + by_sample - before_the_swap];
    assert!(counts.iter().all(|count| *count > 0), "{counts:?} by timer, sample, before, after");
    let row = outputs.iter().find(|((topic, _), _)| *topic == "quarantine").unwrap();
    let row = yiwang_proto::json::record("quarantine", b"", &row.1[0]).unwrap();
    let id = Id::parse(row["raw"].as_str().unwrap()).unwrap();
    let told = trace(&log, &OTHER, Wanted::Id(id)).await.unwrap().expect("it lies on the log");
    assert!(matches!(told.fate, Fate::Quarantined(_)) && told.raw == id);
    assert!(trace(&log, &OTHER, Wanted::Id(Id(1))).await.unwrap().is_none());
}

#[tokio::test]
async fn a_log_without_its_topics_is_refused() {
    let topics = standard_topics(1).into_iter().filter(|topic| topic.name != "signals").collect();
    let log = Log::open_memory(MemoryConfig::default(), topics).unwrap();
    let refused = Router::new(config(), log, BUNDLE.clone()).err().unwrap();
    assert_eq!(refused.to_string(), "use topic signals: the log was opened without it");
}
