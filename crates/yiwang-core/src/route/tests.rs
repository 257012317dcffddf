//! Routing: one fate each, the worked examples through real products, and replay after crashes to the same outputs.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;
use crate::ledger::Stage;
use crate::record::{BodyKind, Lane};
use crate::rules::Phase;

#[path = "file_tests.rs"]
mod file;
#[path = "pack_tests.rs"]
mod pack;
#[path = "sparkplug_tests.rs"]
mod sparkplug;

/// 2026-11-23 00:00 +08:00
const DAY: Millis = 1_795_363_200_000;

pub(super) fn at(clock: &str) -> Millis {
    let parts: Vec<i64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    DAY + parts[0] * 3_600_000 + parts[1] * 60_000 + parts.get(2).unwrap_or(&0) * 1000
}

/// Outputs as lines of text.
#[derive(Default)]
pub(super) struct Lines(pub(super) Vec<String>);

impl Sink for Lines {
    fn reading(&mut self, reading: &Reading<'_>) {
        let values: Vec<String> = reading
            .values
            .iter()
            .map(|v| format!("{}={:?}{:?}", reading.identifier(v), v.value, v.flags.0))
            .collect();
        let Reading { id, raw, t, received_at, flags, .. } = reading;
        let key = &reading.device.key;
        self.0.push(format!("reading {id} {raw} {key} {t} {received_at} {flags:?} {values:?}"));
    }

    fn signal(&mut self, signal: &Signal) {
        self.0.push(format!("signal {signal:?}"));
    }

    fn quarantine(&mut self, row: &Quarantined<'_>) {
        let product = row.product.map(|product| &*product.key);
        let Quarantined { id, reason, detail, attempts, .. } = row;
        let payload = String::from_utf8_lossy(row.raw.payload);
        let device = row.raw.device;
        self.0.push(format!(
            "quarantine {device} {id} {reason:?} {detail} {product:?} {attempts} {payload}"
        ));
    }

    fn command(&mut self, command: &Command) {
        let Command { device, lane, listener, topic, asked_at, .. } = command;
        self.0.push(format!("command {device} {lane:?} {listener} {topic} {asked_at}"));
    }
}

impl Lines {
    /// Kind, time of day, cause and id of the signals since the last call.
    pub(super) fn signals(&mut self) -> Vec<String> {
        self.signals_of("")
    }

    /// The same of one device, whatever others say.
    pub(super) fn signals_of(&mut self, device: &str) -> Vec<String> {
        let mut said = Vec::new();
        let is_of = |line: &String| line.starts_with("signal") && line.contains(device);
        for line in self.0.drain(..).filter(is_of) {
            let field = |name: &str| {
                let from = line.find(&format!("{name}: ")).unwrap() + name.len() + 2;
                let rest = &line[from..];
                rest[..rest.find(',').unwrap()].trim_matches('"').to_owned()
            };
            let clock = (field("time").parse::<i64>().unwrap() - DAY) / 1000;
            let (h, m, s) = (clock / 3600, clock / 60 % 60, clock % 60);
            let (kind, cause) = (field("kind").to_lowercase(), field("cause"));
            let text = format!("{kind} {h:02}:{m:02}:{s:02} {cause} {}", field("event_id"));
            said.push(text.replace("  ", " "));
        }
        said
    }
}

pub(super) fn shared_of(edit: impl Fn(&str, String) -> String) -> Arc<Shared> {
    let (registry, problems) = fixture::registry(|name, text| {
        let edited = edit(name, text.clone());
        // Another rule says other things than the vectors of the shipped one.
        let vectors = edited.find("\n  - rule:").filter(|_| edited != text);
        vectors.map_or(edited.clone(), |from| edited[..=from].to_owned())
    });
    assert_eq!(problems, []);
    let (shared, problems) = Shared::new(Arc::new(registry.unwrap()));
    assert_eq!(problems, []);
    Arc::new(shared.unwrap())
}

/// The shipped configuration, loaded once.
pub(super) fn shared() -> Arc<Shared> {
    static SHARED: LazyLock<Arc<Shared>> = LazyLock::new(|| shared_of(|_, text| text));
    SHARED.clone()
}

pub(super) struct Router {
    pub(super) shared: Arc<Shared>,
    pub(super) state: PartitionState,
    work: Workspace,
    pub(super) lines: Lines,
    seq: u64,
}

impl Router {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let state = PartitionState::new(&shared, Shard::WHOLE);
        Self { shared, state, work: Workspace::default(), lines: Lines::default(), seq: 0 }
    }

    pub(super) fn input(&mut self, input: &Input<'_>) -> Fate {
        let place = Place { epoch: 1, partition: 3, seq: self.seq };
        self.seq += 1;
        self.state.route(&self.shared, place, input, &mut self.work, &mut self.lines)
    }

    pub(super) fn tick(&mut self, clock: &str) {
        assert_eq!(self.input(&Input::Tick { received_at: at(clock) }), Fate::Tick);
    }

    pub(super) fn ticks(&mut self, from: &str, to: &str) {
        for received_at in (at(from)..=at(to)).step_by(1000) {
            self.input(&Input::Tick { received_at });
        }
    }

    pub(super) fn property(&mut self, rx: &str, device: &str, body: &str) -> Fate {
        self.input(&Input::Raw(property(at(rx), device, body)))
    }

    pub(super) fn restart(&mut self) {
        let bytes = self.state.encode(&self.shared);
        self.state =
            PartitionState::restore(&bytes, &self.shared, Shard::WHOLE, &mut self.lines).unwrap();
        assert_eq!(self.state.encode(&self.shared), bytes);
    }

    pub(super) fn phase(&self, device: &str, rule: &str) -> Phase {
        self.state.phase(&self.shared, device, rule).unwrap()
    }

    pub(super) fn swap(&mut self, new: &Arc<Shared>) {
        self.state.swap(&self.shared, new, &mut self.lines).unwrap();
        self.shared = new.clone();
    }
}

pub(super) fn property<'a>(received_at: Millis, device: &'a str, body: &'a str) -> Raw<'a> {
    Raw {
        device,
        lane: Lane::Listen,
        kind: BodyKind::Property,
        path: "property",
        listener: "mqtt",
        peer: "127.0.0.1:5",
        received_at,
        payload: body.as_bytes(),
    }
}

fn smoke(n: u64, t: &str, value: u8) -> String {
    format!(r#"{{"boot":1,"seq":{n},"ts":{},"params":{{"smoke":{value}}}}}"#, at(t))
}

pub(super) fn level(n: u64, t: &str, value: f64) -> String {
    format!(r#"{{"boot":1,"seq":{n},"ts":{},"params":{{"level":{value}}}}}"#, at(t))
}

#[test]
fn e2_through_the_smoke_detector() {
    let mut router = Router::new(shared());
    let d = "smoke-01/S-0007";
    router.ticks("02:00:00", "02:00:00");
    assert_eq!(router.property("02:00:01", d, &smoke(11, "02:00:00", 1)), Fate::Routed);
    assert_eq!(router.property("02:00:05", d, &smoke(11, "02:00:00", 1)), Fate::Duplicate);
    router.ticks("02:00:06", "02:00:30");
    assert_eq!(router.property("02:00:31", d, &smoke(12, "02:00:30", 1)), Fate::Routed);
    router.ticks("02:00:31", "02:01:00");
    assert_eq!(router.property("02:01:01", d, &smoke(13, "02:01:00", 0)), Fate::Routed);
    router.ticks("02:01:01", "02:02:59");
    router.restart();
    assert_eq!(router.property("02:03:00", d, &smoke(10, "01:59:50", 1)), Fate::Routed);
    router.ticks("02:03:01", "02:05:40");
    assert_eq!(router.phase(d, "smoke"), Phase::Firing);
    router.restart();
    router.tick("02:05:41");
    assert_eq!(router.phase(d, "smoke"), Phase::Normal);
    assert_eq!(router.property("02:06:00", d, &smoke(14, "02:00:45", 1)), Fate::Routed);
    router.ticks("02:06:01", "02:20:00");
    assert_eq!(router.property("02:20:00", d, &smoke(15, "02:20:00", 1)), Fate::Routed);
    let expected = [
        "raise 02:00:00 7e7679407bdaaaf4c748bd75cc07bcde",
        "clear 02:05:30 QUIET c1b36ccb0def478d05d37e41a01ee4da",
        "raise 02:20:00 3ba7ab2c4318db0afd955885193a5b0b",
    ];
    assert_eq!(router.lines.signals(), expected);
}

#[test]
fn e4_and_e1_through_the_water_level() {
    let mut router = Router::new(shared());
    let d = "wl-radar-01/R-0003";
    router.ticks("11:59:00", "12:00:01");
    router.property("12:00:02", d, &level(1, "12:00", 1.0));
    router.ticks("12:00:03", "12:10:00");
    router.ticks("13:00:00", "13:30:09");
    assert!(router.lines.signals_of(d).is_empty(), "we did not listen");
    router.restart();
    router.tick("13:30:10");
    router.ticks("13:30:11", "13:45:01");
    router.property("13:45:02", d, &level(2, "13:45", 1.0));
    let expected = [
        "raise 12:30:00 c50369e258f48bdd9e8998fc1b3706fa",
        "clear 13:45:00 3cd326d5e4f1cbf8b95d964df12cc4b3",
    ];
    assert_eq!(router.lines.signals_of(d), expected);

    let mut router = Router::new(shared());
    let d = "wl-radar-01/R-0001";
    let levels =
        [3.42, 3.52, 3.47, 3.51, 3.55, 3.61, 3.83, 3.76, 3.62, 3.45, 3.38, 3.41, 3.36, 3.31, 3.30];
    for (n, value) in (1..).zip(levels) {
        let minute = 9 * 60 + 40 + 5 * n;
        let clock = format!("{:02}:{:02}", minute / 60, minute % 60);
        router.ticks(&format!("{clock}:00"), &format!("{clock}:01"));
        router.property(&format!("{clock}:02"), d, &level(n, &clock, value));
        router.ticks(&format!("{clock}:03"), &format!("{clock}:59"));
        router.restart();
    }
    let expected = [
        "raise 10:10:00 671e15be4d4f99f7dec413d1cd425ead",
        "severity 10:15:00 6fe47e452a9f6ab06eb864a5f76a8303",
        "severity 10:35:00 4e7c60cd45c6ce84f8b8cb2a8ed89614",
        "clear 10:55:00 0061926f780a8cefc30f08dd9a9de59d",
    ];
    assert_eq!(router.lines.signals_of(d), expected);
}

/// A device falls silent, comes back and falls silent again, all while another alarm stands whose own timer is far.
#[test]
fn a_second_silence_is_seen_behind_a_far_timer() {
    let soon = |text: String| {
        text.replace("absent(30m)", "absent(2m)").replace("hold: {for: 10m}", "hold: {for: 1s}")
    };
    let mut router = Router::new(shared_of(|_, text| soon(text)));
    let device = "wl-radar-01/R-0003";
    router.ticks("12:00:00", "12:00:01");
    router.property("12:00:02", device, &level(1, "12:00", 3.9));
    router.ticks("12:00:03", "12:05:00");
    router.property("12:05:02", device, &level(2, "12:05", 3.9));
    router.ticks("12:05:03", "12:10:00");
    let said = router.lines.signals_of(device);
    let said: Vec<_> = said.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let expected = ["raise 12:00:01", "raise 12:02:00", "clear 12:05:00", "raise 12:07:00"];
    assert_eq!(said, expected);
}

#[test]
fn every_kind_of_fate() {
    let mut router = Router::new(shared());
    let d = "wl-radar-01/R-0001";
    let quarantined = Fate::Quarantined;
    let fates = [
        (router.property("08:00", d, &level(7, "08:00", 1.0)), Fate::Routed),
        (router.property("08:00", d, &level(7, "08:00", 2.0)), Fate::Duplicate),
        (
            router.property("08:00", "wl-radar-01/R-9999", "{}"),
            quarantined(QuarantineReason::UnknownDevice),
        ),
        (router.property("08:00", d, "{"), quarantined(QuarantineReason::Codec)),
        (router.property("08:00", d, r#"{"level":"x"}"#), quarantined(QuarantineReason::Schema)),
        (
            router.property("08:01", d, r#"{"boot":0,"seq":1,"params":{"level":1}}"#),
            Fate::Rejected(Rejection::Replay),
        ),
        (
            router.property(
                "08:01",
                d,
                r#"{"boot":0,"seq":1,"backfill":true,"params":{"level":1}}"#,
            ),
            Fate::Routed,
        ),
        (
            router.input(&Input::Unreadable { key: "k", bytes: b"\xff" }),
            quarantined(QuarantineReason::Frame),
        ),
        (
            router.input(&Input::Poison { raw: property(at("08:01"), d, "{}"), attempts: 3 }),
            quarantined(QuarantineReason::Codec),
        ),
    ];
    for (index, (found, wanted)) in fates.into_iter().enumerate() {
        assert_eq!(found, wanted, "{index}");
    }
    let ledger = router.state.counters().to_ledger(0);
    assert_eq!(ledger.row(Stage::Router, "raw"), 9);
    assert_eq!(ledger.imbalance(Stage::Router), 0);
    assert_eq!(ledger.get(Stage::Router, "content_differs", ""), 1);
    let event = Raw {
        kind: BodyKind::Event,
        path: "event/tamper",
        ..property(at("08:02"), d, r#"{"id":"e-1","ts":1795392120000,"params":{"tilt":12.5}}"#)
    };
    router.lines.0.clear();
    assert_eq!(router.input(&Input::Raw(event)), Fate::Routed);
    assert_eq!(router.lines.0.len(), 1);
    assert!(router.lines.0[0].contains("立杆倾斜"), "{}", router.lines.0[0]);
}

#[test]
fn a_swap_keeps_unchanged_rules_and_ends_removed_ones() {
    let mut router = Router::new(shared());
    let (d, s) = ("wl-radar-01/R-0001", "smoke-01/S-0007");
    router.property("08:00:02", d, &level(1, "08:00", 3.6));
    router.property("08:00:02", s, &smoke(1, "08:00", 1));
    assert_eq!(router.phase(d, "high-level"), Phase::Pending);
    router.lines.0.clear();
    // The smoke rule goes; the water level's stays as it is.
    let new = shared_of(|name, text| {
        if name.starts_with("smoke") { text.replace("id: smoke\n", "id: smoke2\n") } else { text }
    });
    router.swap(&new);
    assert_eq!(router.phase(d, "high-level"), Phase::Pending);
    let said = router.lines.signals();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("clear 08:00:00 RULE_REMOVED"), "{said:?}");
    router.property("08:10:02", d, &level(2, "08:05", 3.6));
    // A changed rule drops what was pending.
    let new = shared_of(|_, text| text.replace("hold: {for: 10m}", "hold: {for: 9m}"));
    router.swap(&new);
    assert_eq!(router.phase(d, "high-level"), Phase::Normal);
}

const DEVICES: [&str; 5] = [
    "wl-radar-01/R-0001",
    "wl-radar-01/R-0002",
    "smoke-01/S-0007",
    "manhole-01/M-0001",
    "wl-radar-01/R-9999",
];

#[derive(Clone, Debug)]
enum Step {
    Message { device: usize, body: String, delay: i64 },
    Ticks(i64),
    Gap(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let body = (0..3_u8, 0..40_u64, -20..4_i64, 25..45_i32, any::<bool>(), 0..12_u8);
    let message = (0..DEVICES.len(), body, 0..20_000_i64).prop_map(|(device, body, delay)| {
        let (boot, seq, half_minutes, level, on, broken) = body;
        let params = match device {
            2 => format!(r#""smoke":{on},"battery":{}"#, f64::from(level) / 12.0),
            3 => format!(r#""open":{on},"tilt":{}"#, level * 2),
            _ => format!(r#""level":{}"#, f64::from(level) / 10.0),
        };
        let head =
            if broken == 1 { String::new() } else { format!(r#""boot":{boot},"seq":{seq},"#) };
        let ts = if broken == 2 { String::new() } else { format!(r#""ts":{{T}}{half_minutes};,"#) };
        let body = match broken {
            3 => "{".to_owned(),
            4 => format!(r#"{{{head}"params":{{"level":"high","smoke":7}}}}"#),
            _ => format!("{{{head}{ts}\"params\":{{{params}}}}}"),
        };
        Step::Message { device, body, delay }
    });
    prop_oneof![
        6 => message,
        4 => (1..120_i64).prop_map(Step::Ticks),
        1 => (30..4000_i64).prop_map(Step::Gap),
    ]
}

/// The records of some steps: device and body, or a tick, with the time of reception.
fn records(steps: &[Step]) -> Vec<(Millis, Option<(&'static str, String)>)> {
    let mut now = at("06:00");
    let mut records = Vec::new();
    for step in steps {
        match step {
            Step::Message { device, body, delay } => {
                now += delay;
                let mut body = body.clone();
                if let (Some(from), Some(to)) = (body.find("{T}"), body.find(';')) {
                    let half_minutes: i64 = body[from + 3..to].parse().unwrap();
                    body.replace_range(from..=to, &(now + half_minutes * 30_000).to_string());
                }
                records.push((now, Some((DEVICES[*device], body))));
            }
            Step::Ticks(seconds) => {
                for _ in 0..*seconds {
                    now += 1000;
                    records.push((now, None));
                }
            }
            Step::Gap(seconds) => now += seconds * 1000,
        }
    }
    records
}

fn run(router: &mut Router, seq: u64, record: &(Millis, Option<(&'static str, String)>)) -> Fate {
    router.seq = seq;
    match record {
        (rx, Some((device, body))) => router.input(&Input::Raw(property(*rx, device, body))),
        (rx, None) => router.input(&Input::Tick { received_at: *rx }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn replay_after_crashes_gives_the_same_bytes(
        steps in prop::collection::vec(step(), 1..80),
        crashes in prop::collection::vec((0.0..1.0, 0.0..1.0), 1..6),
    ) {
        let records = records(&steps);
        let mut straight = Router::new(shared());
        let mut outputs = Vec::new();
        let mut snapshots = vec![straight.state.encode(&straight.shared)];
        let mut fates = [0_u64; 2];
        for (seq, record) in (0..).zip(&records) {
            let fate = run(&mut straight, seq, record);
            fates[usize::from(fate == Fate::Tick)] += 1;
            outputs.push(std::mem::take(&mut straight.lines.0));
            snapshots.push(straight.state.encode(&straight.shared));
        }
        let ledger = straight.state.counters().to_ledger(0);
        prop_assert_eq!(ledger.row(Stage::Router, "raw"), fates[0]);
        prop_assert_eq!(ledger.row(Stage::Router, "ticks"), fates[1]);
        prop_assert_eq!(ledger.imbalance(Stage::Router), 0);
        // From any snapshot on, the same outputs and the same state.
        for (from, length) in crashes {
            let from = (from * records.len() as f64) as usize;
            let to = from + (length * (records.len() - from) as f64) as usize;
            let mut again = Router::new(shared());
            again.state =
                PartitionState::restore(&snapshots[from], &again.shared, Shard::WHOLE, &mut again.lines).unwrap();
            for seq in from..to {
                run(&mut again, seq as u64, &records[seq]);
                prop_assert_eq!(&std::mem::take(&mut again.lines.0), &outputs[seq]);
            }
            prop_assert_eq!(&again.state.encode(&again.shared), &snapshots[to]);
        }
    }

    #[test]
    fn damaged_snapshots_are_refused_not_believed(cut in 0.0..1.0, bytes in any::<[u8; 3]>()) {
        let mut router = Router::new(shared());
        router.property("08:00:02", DEVICES[0], &level(1, "08:00", 3.6));
        router.property("08:00:02", DEVICES[2], &smoke(1, "08:00", 1));
        let mut snapshot = router.state.encode(&router.shared);
        let at = (cut * snapshot.len() as f64) as usize;
        let short = PartitionState::restore(&snapshot[..at], &router.shared, Shard::WHOLE, &mut router.lines);
        prop_assert!(short.is_err());
        for (index, byte) in bytes.iter().enumerate() {
            if let Some(place) = snapshot.get_mut(at + index) {
                *place = *byte;
            }
        }
        let _ = PartitionState::restore(&snapshot, &router.shared, Shard::WHOLE, &mut router.lines);
    }
}
