//! The second stage over the memory log: devices that fall silent together are one alarm, and crashes change nothing.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use yiwang_core::ids::{Id, key_hash};
use yiwang_core::ledger::{Counters, Stage};
use yiwang_core::record::{
    Absence, Absent, AlarmSeverity, Group, Limits, Passed, Signal, SignalKind,
};
use yiwang_core::route::Fate;
use yiwang_core::rules::Judged;
use yiwang_log::{Batch, Log, MemoryConfig, Route, TopicSpec, standard_topics};
use yiwang_proto::{
    Lifecycle, absence_to_bytes, lifecycle_from_bytes, signal_from_bytes, time_to_bytes,
};
use yiwang_router::trace::{RuleTrace, Wanted, trace};
use yiwang_router::{Bundle, Config, Handle, Router};

use support::{PARTITIONS, START, folder, push_placed, push_ticks, records};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

/// Forty devices of one town, five behind a gateway device.
static BUNDLE: LazyLock<Arc<Bundle>> = LazyLock::new(|| {
    let mut csv = "product_key,device_name,area_code,gateway\n".to_owned();
    (0..40).for_each(|n| csv += &format!("wl-radar-01/R-{n:04},310118001001,\n").replace('/', ","));
    csv += "manhole-01,M-0001,310118001001,\n";
    let behind = |n| format!("wl-radar-01,R-{n:04},310118001001,manhole-01/M-0001\n");
    (40..45).for_each(|n| csv += &behind(n));
    let mut files = folder("products");
    files.insert("devices.csv".to_owned(), csv);
    let mut district = folder("district");
    // Partitions run apart as far as a history lasts.
    let storms = district.get_mut("storms.yaml").unwrap();
    *storms = storms.replace("late: 5m", "late: 24h");
    let (bundle, problems) = Bundle::load(&district, &files);
    bundle.unwrap_or_else(|| panic!("{problems:?}"))
});

fn config() -> Config {
    support::config(400, 1)
}

fn open(seed: u64, rebalance_ratio: f64) -> Log {
    support::open(seed, rebalance_ratio, &BUNDLE)
}

/// What people are told, by the alarm: in order, each once; a repeat has the same bytes.
async fn told(log: &Log) -> BTreeMap<String, Vec<Signal>> {
    let mut all: BTreeMap<String, Vec<Signal>> = BTreeMap::new();
    for (_, value) in records(log, "signals").await {
        let signal = signal_from_bytes(&value).unwrap();
        let list = all.entry(signal.source.clone()).or_default();
        match list.iter().find(|known| known.event_id == signal.event_id) {
            Some(known) => assert_eq!(*known, signal, "a repeat says the same"),
            None => list.push(signal),
        }
    }
    all
}

/// Waits until everything was routed and folded, and gives the ledger.
async fn drained(handle: &Handle) -> Counters {
    let mut turns = tokio::time::interval(Duration::from_millis(1));
    loop {
        turns.tick().await;
        let all = handle.partitions() == usize::from(PARTITIONS);
        let ledger = handle.ledger().await.unwrap();
        let all = all && handle.partitions() == usize::from(PARTITIONS);
        let unread = |row| ledger.row(Stage::Router, row) > 0;
        let folds = ledger.iter().any(|(_, row, ..)| row == "lifecycle_pending");
        if all
            && handle.is_caught_up()
            && folds
            && !unread("pending")
            && !unread("lifecycle_pending")
        {
            return ledger;
        }
    }
}

/// Twice, for what the first stage says last may come after the second has looked.
async fn run_until_drained(log: &Log) -> Counters {
    run_once(log).await;
    run_once(log).await
}

async fn run_once(log: &Log) -> Counters {
    let (router, handle) = Router::new(config(), log.clone(), BUNDLE.clone()).unwrap();
    let drain = CancellationToken::new();
    let watch = async {
        let ledger = drained(&handle).await;
        drain.cancel();
        ledger
    };
    let (ended, ledger) = tokio::join!(router.run(drain.clone()), watch);
    ended.unwrap();
    let row = |name| ledger.row(Stage::Router, name);
    let fates = ["absences_singly", "absences_folded", "absences_undone", "absences_held"];
    assert_eq!(row("absences"), fates.into_iter().map(row).sum::<u64>());
    ledger
}

/// Runs for a pseudo-random while, or until all is done but for the snapshots, and crashes.
async fn live_and_crash(log: Log, random: &mut u64) -> Log {
    let (router, handle) = Router::new(config(), log.clone(), BUNDLE.clone()).unwrap();
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    let life = Duration::from_micros(*random >> 33) / 40_000;
    let until_done = *random >> 32 & 1 == 0;
    let life = async {
        match until_done {
            true => drop(drained(&handle).await),
            false => tokio::time::sleep(life).await,
        }
    };
    tokio::select! {
        ended = router.run(CancellationToken::new()) => panic!("it ends by itself: {ended:?}"),
        () = life => {}
    }
    log.crash()
}

/// A minute of ticks, and of the level of each of these devices.
async fn append_minute(log: &Log, minute: i64, devices: impl Iterator<Item = usize>) {
    let (mut batch, from) = (Batch::new(), START + minute * MINUTE);
    for device in devices {
        let device = format!("wl-radar-01/R-{device:04}");
        let body = format!(r#"{{"boot":1,"seq":{minute},"ts":{from},"params":{{"level":1.0}}}}"#);
        let place = BUNDLE.shared().registry().place(&device);
        push_placed(log, &mut batch, (&device, place), from, &body);
    }
    for second in 1..60 {
        push_ticks(log, &mut batch, from + second * SECOND);
    }
    log.writer().append(batch).await.unwrap().safe().await.unwrap();
}

/// The town falls silent in minute 5 and is back in minute 45; one behind the gateway device is silent from minute 20.
async fn append_storm(log: &Log, minute: i64) {
    let town = (!(5..45).contains(&minute)).then_some(0..40).into_iter().flatten();
    let behind = 40..if minute < 20 { 45 } else { 44 };
    append_minute(log, minute, town.chain(behind)).await;
}

const MINUTES: i64 = 60;
const OUTAGE: &str = "outage/area/310118001";

/// What people were told of [`append_storm`].
fn one_outage_and_one_device(told: &BTreeMap<String, Vec<Signal>>) {
    let sources: Vec<&str> = told.keys().map(String::as_str).collect();
    assert_eq!(sources, ["device/wl-radar-01/R-0044", OUTAGE]);
    let outage = &told[OUTAGE];
    let kinds: Vec<SignalKind> = outage.iter().map(|signal| signal.kind).collect();
    assert_eq!(kinds.first(), Some(&SignalKind::Raise));
    assert_eq!(kinds.last(), Some(&SignalKind::Clear));
    let between = &kinds[1..kinds.len() - 1];
    assert!(between.iter().all(|kind| *kind == SignalKind::Remind), "{kinds:?}");
    let members: Vec<&String> = outage.iter().flat_map(|signal| &signal.members).collect();
    let different: BTreeSet<&String> = members.iter().copied().collect();
    assert_eq!((members.len(), different.len()), (40, 40), "each device once");
    let single = &told["device/wl-radar-01/R-0044"];
    assert_eq!(single.len(), 1);
    assert_eq!(single[0].kind, SignalKind::Raise);
}

#[tokio::test(start_paused = true)]
async fn a_silent_town_is_one_alarm_whatever_crashes() {
    let (mut expected, mut repeats) = (None, 0);
    for seed in 0..8 {
        let (mut log, mut random) = (open(seed, 0.02), seed * 7_919 + 13);
        for minute in 0..MINUTES {
            append_storm(&log, minute).await;
            if seed > 0 {
                log = live_and_crash(log, &mut random).await;
            }
        }
        let ledger = run_until_drained(&log).await;
        let told = told(&log).await;
        one_outage_and_one_device(&told);
        let row = |name| ledger.row(Stage::Router, name);
        let books = ["absences_singly", "absences_folded", "absences_unsent", "outages"].map(row);
        assert_eq!(books, [1, 40, 40, 1], "seed {seed}");
        assert_eq!((row("outages_over"), row("absences_held")), (1, 0));
        // Everything that the first stage said came to the second, some of it twice.
        assert_eq!((row("lifecycle"), row("lifecycle_waiting")), (81, 0), "seed {seed}");
        let rows = records(&log, "lifecycle").await;
        let is_absence = |row: &Vec<u8>| {
            matches!(lifecycle_from_bytes(row), Ok(Some(Lifecycle::Absence { .. })))
        };
        let absences = rows.iter().filter(|(_, row)| is_absence(row)).count() as u64;
        assert_eq!(absences, row("lifecycle") + row("lifecycle_repeats"));
        repeats += row("lifecycle_repeats");
        match &expected {
            None => expected = Some(told),
            Some(expected) => assert!(told == *expected, "seed {seed}"),
        }
    }
    assert!(repeats > 0, "crashes had rows said twice");
}

/// Thirty of the town were never switched on, nor one behind the gateway device, which shares a partition with it.
#[tokio::test(start_paused = true)]
async fn who_was_never_heard_is_of_an_outage_too_whatever_crashes() {
    let mut expected = None;
    for seed in 0..4 {
        let (mut log, mut random) = (open(seed, 0.02), seed * 7_919 + 13);
        for minute in 0..40 {
            append_minute(&log, minute, (0..10).chain(40..44)).await;
            if seed > 0 {
                log = live_and_crash(log, &mut random).await;
            }
        }
        let ledger = run_until_drained(&log).await;
        let row = |name| ledger.row(Stage::Router, name);
        assert_eq!(["absences_singly", "absences_folded", "outages"].map(row), [1, 30, 1]);
        let told = told(&log).await;
        let single = &told["device/wl-radar-01/R-0044"][0];
        assert_eq!((told.len(), single.kind), (2, SignalKind::Raise));
        assert_eq!(single.time, START + 30 * MINUTE);
        assert_eq!(told[OUTAGE].iter().map(|signal| signal.members.len()).sum::<usize>(), 30);
        let id = Id::parse(&single.event_id).unwrap();
        let traced =
            trace(&log, &BUNDLE, Wanted::Id(id)).await.unwrap().expect("it lies on the log");
        assert!(traced.exact && traced.fate == Fate::Tick, "{:?}", traced.fate);
        let by_timer = |rule: &&RuleTrace| rule.judgement.judged == Judged::Timer && rule.looked;
        assert_eq!(traced.rules.iter().filter(by_timer).count(), 1, "{:?}", traced.rules);
        match &expected {
            None => expected = Some(told),
            Some(expected) => assert!(told == *expected, "seed {seed}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_lasts_holds_back_nothing_that_was_read() {
    let log = open(9, 0.0);
    for minute in 0..40 {
        append_storm(&log, minute).await;
    }
    run_until_drained(&log).await;
    let committed = log.committed("lifecycle", yiwang_router::STORMS).await.unwrap();
    assert_eq!(committed.len(), usize::from(PARTITIONS));
    for position in &committed {
        assert_eq!(position.seq, log.head("lifecycle", position.partition).await.unwrap());
    }
    // Its end is known from the state alone.
    for minute in 40..MINUTES {
        append_storm(&log, minute).await;
    }
    run_until_drained(&log).await;
    one_outage_and_one_device(&told(&log).await);
}

/// A full topic is freed by a commit, and that comes with a snapshot: it must not wait for a record that has no room.
#[tokio::test(start_paused = true)]
async fn a_full_topic_is_freed_without_another_record() {
    for full in ["raw", "lifecycle"] {
        let mut topics = standard_topics(PARTITIONS);
        let further = BUNDLE.routes().topics().iter();
        topics.extend(further.map(|topic| TopicSpec::stream(&topic.name, PARTITIONS, &[])));
        let topic = topics.iter_mut().find(|topic| topic.name == full).unwrap();
        topic.retention.bytes_max = 1;
        let log = Log::open_memory(MemoryConfig::default(), topics).unwrap();
        let every = Duration::from_secs(1);
        let config = Config { snapshot_every: every, snapshot_records_max: u64::MAX, ..config() };
        let (router, handle) = Router::new(config, log.clone(), BUNDLE.clone()).unwrap();
        let drain = CancellationToken::new();
        let drive = async {
            for minute in 0..4 {
                append_storm(&log, minute).await;
            }
            drained(&handle).await;
            drain.cancel();
        };
        let both = async { tokio::join!(router.run(drain.clone()), drive).0.unwrap() };
        let done = tokio::time::timeout(Duration::from_hours(1), both).await;
        assert!(done.is_ok(), "{full} is never freed: {:?}", log.status().full);
    }
}

/// Rows of `lifecycle` as three partitions of `raw` would make them: eight groups of nine devices, silent and back.
struct Rows {
    random: u64,
    silent: BTreeSet<u64>,
    numbers: [u64; 3],
    raises: u64,
}

impl Rows {
    fn next(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    fn absence(&mut self, now: i64) -> (u16, Absence) {
        let (group, n) = (self.next(8), self.next(9));
        let device = group * 30 + n;
        let is_back = self.silent.remove(&device);
        if !is_back {
            self.silent.insert(device);
            self.raises += 1;
        }
        let partition = device % 3;
        let at = partition as usize;
        self.numbers[at] += 1;
        // The last partition is half a minute behind.
        let (clock, number) = (now - if at == 2 { MINUTE / 2 } else { 0 }, self.numbers[at]);
        let device = format!("p/{device}");
        let signal = Signal {
            source: format!("device/{device}"),
            event_id: Id(u128::from(partition) << 64 | u128::from(number)).to_hex(),
            kind: if is_back { SignalKind::Clear } else { SignalKind::Raise },
            alarm_key: format!("{device}/silent"),
            category: "device.fault".into(),
            severity: AlarmSeverity::Minor,
            time: clock,
            since: clock,
            received_at: clock,
            device,
            asset: None,
            place: None,
            point: None,
            cause: String::new(),
            text: String::new(),
            reading: None,
            members: Vec::new(),
        };
        let limits =
            Limits { share_percent: 10, members_min: 3, within: MINUTE, quiet: 10 * MINUTE };
        let group = Group {
            key: format!("area/{group}").into(),
            size: 30,
            limits,
            category: "device.outage".into(),
            severity: AlarmSeverity::Major,
            name: "area".into(),
            device: "".into(),
            asset: None,
            place: "310118001".into(),
            point: None,
        };
        (partition as u16, Absence { signal, group, what: Absent::Says, clock, number })
    }

    /// A minute of rows and of time; some minutes are restless.
    async fn append_minute(&mut self, log: &Log, minute: i64) {
        let (topic, mut batch) = (log.topic("lifecycle").unwrap(), Batch::new());
        let rows = if self.next(4) == 0 { 40 } else { 4 };
        for row in 0..rows {
            let now = START + minute * MINUTE + row * MINUTE / rows;
            let (partition, absence) = self.absence(now);
            let key = absence.group.key.clone();
            let route = Route::Key { hash: key_hash(&key) };
            let value = absence_to_bytes(partition, &absence);
            batch.push(topic, route, key.as_bytes(), &[], &value);
            let partition = self.next(3) as u16;
            push_time(log, &mut batch, partition, now);
        }
        log.writer().append(batch).await.unwrap().safe().await.unwrap();
    }
}

/// Time passes on a partition of `raw`; the last one is half a minute behind.
fn push_time(log: &Log, batch: &mut Batch, partition: u16, now: i64) {
    let (topic, behind) = (log.topic("lifecycle").unwrap(), i64::from(partition == 2));
    let (partitions, at) = (PARTITIONS, now - behind * MINUTE / 2);
    let row = time_to_bytes(&Passed { partition, partitions, at, late: 5 * MINUTE });
    for to in 0..PARTITIONS {
        batch.push(topic, Route::Partition(to), b"", &[], &row);
    }
}

#[tokio::test(start_paused = true)]
async fn crashes_change_nothing_of_what_is_told() {
    let mut expected = None;
    for seed in 0..8 {
        let (mut log, mut random) = (open(seed, 0.02), seed * 7_919 + 13);
        let mut rows = Rows { random: 5, silent: BTreeSet::new(), numbers: [0; 3], raises: 0 };
        for minute in 0..120 {
            rows.append_minute(&log, minute).await;
            if seed > 0 {
                log = live_and_crash(log, &mut random).await;
            }
        }
        let mut batch = Batch::new();
        for partition in 0..PARTITIONS {
            push_time(&log, &mut batch, partition, START + 180 * MINUTE);
        }
        log.writer().append(batch).await.unwrap().safe().await.unwrap();
        let ledger = run_until_drained(&log).await;
        let row = |name| ledger.row(Stage::Router, name);
        assert_eq!((row("absences"), row("lifecycle_repeats")), (rows.raises, 0));
        let told = told(&log).await;
        let count: usize = told.values().map(Vec::len).sum();
        assert_eq!(row("signals"), count as u64, "seed {seed}");
        for name in ["absences_singly", "absences_folded", "absences_undone", "outages_over"] {
            assert!(row(name) > 0, "{name}");
        }
        match &expected {
            None => expected = Some(told),
            Some(expected) => assert!(told == *expected, "seed {seed}"),
        }
    }
}
