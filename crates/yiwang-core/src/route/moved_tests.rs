//! Partitions that have only a part of the devices: what still lies in one from which a device has moved, and whether the
//! same comes out whatever is restarted.

#[path = "../../tests/random/mod.rs"]
mod random;

use std::fmt::Write as _;
use std::sync::Arc;

use super::listed_tests::shared;
use super::tests::{Lines, at, property};
use super::*;
use crate::ids;
use random::Random;

const GAS: &str = "gas-01/G-0001";
const COVER: &str = "manhole-01/M-0001";
const BY_ITSELF: &str = "gas-01,G-0001,310118001001,,\nmanhole-01,M-0001,310118001001,,\n";
const BEHIND: &str =
    "gas-01,G-0001,310118001001,manhole-01/M-0001,\nmanhole-01,M-0001,310118001001,,\n";
const PARTITIONS: u16 = 64;

fn partition(place: &str) -> u16 {
    (ids::key_hash(place) % u64::from(PARTITIONS)) as u16
}

fn body(seq: u64, t: Millis, value: u64) -> String {
    format!(
        r#"{{"boot":1,"seq":{seq},"ts":{t},"params":{{"level":{value},"concentration":{value}}}}}"#
    )
}

/// One partition of many.
struct Router {
    shared: Arc<Shared>,
    shard: Shard,
    state: PartitionState,
    work: Workspace,
    lines: Lines,
    seq: u64,
}

impl Router {
    fn new(shared: &Arc<Shared>, shard: Shard) -> Self {
        let (shared, state) = (shared.clone(), PartitionState::new(shared, shard));
        Self { shared, shard, state, work: Workspace::default(), lines: Lines::default(), seq: 0 }
    }

    fn input(&mut self, input: &Input<'_>) -> Fate {
        self.seq += 1;
        let place = Place { epoch: 1, partition: self.shard.number, seq: self.seq };
        self.state.route(&self.shared, place, input, &mut self.work, &mut self.lines)
    }

    fn ticks(&mut self, from: &str, to: &str) {
        for received_at in (at(from)..=at(to)).step_by(1000) {
            self.input(&Input::Tick { received_at });
        }
    }

    fn gas(&mut self, clock: &str, seq: u64, value: u64) -> Fate {
        let body = body(seq, at(clock), value);
        self.input(&Input::Raw(property(at(clock), GAS, &body)))
    }

    fn restart(&mut self) {
        let bytes = self.state.encode(&self.shared);
        let lines = &mut self.lines;
        self.state = PartitionState::restore(&bytes, &self.shared, self.shard, lines).unwrap();
        assert_eq!(self.state.encode(&self.shared), bytes);
    }

    fn swap(&mut self, new: &Arc<Shared>) {
        self.state.swap(&self.shared, new, &mut self.lines).unwrap();
        self.shared = new.clone();
    }
}

/// A device moves while its alarm stands, and more of it lies behind that in the old partition.
fn moved(restart: bool) -> (Router, Vec<Vec<String>>) {
    let (own, through) = (shared(BY_ITSELF), shared(BEHIND));
    assert_ne!(partition(GAS), partition(COVER));
    let mut old = Router::new(&own, Shard { number: partition(GAS), of: PARTITIONS });
    let mut said = Vec::new();
    old.ticks("11:59:00", "11:59:49");
    old.gas("11:59:50", 1, 60);
    said.push(old.lines.signals());
    old.swap(&through);
    said.push(old.lines.signals());
    for (clock, seq, value, fate) in [
        ("12:00:02", 2, 60, Fate::Routed),
        ("12:00:03", 2, 60, Fate::Duplicate),
        ("12:00:04", 3, 60, Fate::Routed),
        ("12:00:05", 4, 1, Fate::Routed),
    ] {
        assert_eq!(old.gas(clock, seq, value), fate);
        if restart {
            old.restart();
        }
        said.push(old.lines.signals());
    }
    old.ticks("12:00:06", "14:00:00");
    said.push(old.lines.signals());
    (old, said)
}

#[test]
fn what_lies_behind_a_move_is_history() {
    let (old, said) = moved(false);
    assert!(said[0].len() == 1 && said[0][0].starts_with("raise 11:59:50"), "{said:?}");
    assert!(
        said[1].len() == 1 && said[1][0].starts_with("clear 11:59:50 RULE_REMOVED"),
        "{said:?}"
    );
    // What was acknowledged is told, and ends at once: nobody here could end it later.
    let late: Vec<_> = said[2..].concat();
    let kinds = |kind: &str| late.iter().filter(|line| line.starts_with(kind)).count();
    assert_eq!((kinds("raise"), kinds("clear")), (2, 2), "{late:?}");
    assert!(late.iter().all(|line| line.contains("LATE")), "no silence is told: {late:?}");
    assert_eq!(old.state.raised(), 0);
    assert_eq!(moved(true).1, said, "restarts change nothing");
}

#[test]
fn who_comes_back_is_judged_again() {
    let (mut old, _) = moved(true);
    old.swap(&shared(BY_ITSELF));
    old.restart();
    old.ticks("14:00:01", "14:10:00");
    old.gas("14:10:01", 5, 60);
    let said = old.lines.signals();
    assert!(said.len() == 1 && said[0].starts_with("raise 14:10:01"), "{said:?}");
    assert_eq!(old.state.raised(), 1);
}

fn one_of<'a, T>(random: &mut Random, all: &'a [T]) -> &'a T {
    &all[random.below(all.len() as u64) as usize]
}

const DEVICES: u64 = 60;

fn key(n: u64) -> String {
    if n.is_multiple_of(2) { format!("wl-radar-01/R-{n:04}") } else { format!("gas-01/G-{n:04}") }
}

/// Some of the devices, in some lifecycle, behind some other or none.
fn configuration(random: &mut Random) -> Arc<Shared> {
    let mut rows = String::new();
    for n in 0..DEVICES {
        let lifecycle =
            *one_of(random, &["", "", "", "", "COMMISSIONING", "MAINTENANCE", "RETIRED"]);
        let gateway = *one_of(random, &["", "", COVER, "manhole-01/M-0002"]);
        if !random.once_in(8) {
            let (product, name) =
                key(n).split_once('/').map(|(p, n)| (p.to_owned(), n.to_owned())).unwrap();
            writeln!(rows, "{product},{name},310118001001,{gateway},{lifecycle}").unwrap();
        }
    }
    rows += "manhole-01,M-0001,310118001001,,\nmanhole-01,M-0002,310118001001,,\n";
    shared(&rows)
}

/// Two of the same partition take the same records; one of them is restarted all the time.
#[test]
fn the_same_comes_out_whatever_is_restarted() {
    let mut random = Random(7);
    let all: Vec<_> = (0..6).map(|_| configuration(&mut random)).collect();
    let (mut raises, mut strays) = (0, 0);
    for (round, number) in (0..12).flat_map(|round| (0..3).map(move |number| (round, number))) {
        let shard = Shard { number, of: 3 };
        let (mut straight, mut restarted) =
            (Router::new(&all[0], shard), Router::new(&all[0], shard));
        let mut clock = at("00:00");
        for step in 0..1500 {
            // Mostly a tick's time; now and then nobody ticks for so long that we were down.
            let pause = *one_of(&mut random, &[1, 1, 1, 5, 20, 20, 29]);
            clock += 1000 * if random.once_in(600) { 3000 } else { pause };
            if random.once_in(150) {
                let new = one_of(&mut random, &all);
                straight.swap(new);
                restarted.swap(new);
            }
            if random.once_in(10) {
                restarted.restart();
            }
            let n = random.below(DEVICES);
            let key = key(n);
            let place = straight.shared.registry().place(&key);
            let is_own = ids::key_hash(place) % 3 == u64::from(number);
            let value = random.below(70);
            let text = match random.below(6) {
                0 => "{".to_owned(),
                1 => format!(r#"{{"params":{{"level":{value},"concentration":{value}}}}}"#),
                _ => body(random.below(400), clock - random.below(100_000) as Millis, value),
            };
            let input = match random.below(9) {
                0 => {
                    let (device, rule) = (&*key, *one_of(&mut random, &["silent", "leak"]));
                    let (actor, reason, received_at) = ("a", "r", clock);
                    Input::Clear(Clear { device, rule, actor, reason, received_at })
                }
                // What was written before its device moved.
                1..5 if is_own || random.once_in(5) => Input::Raw(property(clock, &key, &text)),
                _ => Input::Tick { received_at: clock },
            };
            strays += usize::from(!is_own && matches!(input, Input::Raw(_)));
            assert_eq!(straight.input(&input), restarted.input(&input), "{round} {step}");
            assert_eq!(straight.lines.0, restarted.lines.0, "{round} {step}");
            raises += straight.lines.signals().iter().filter(|it| it.starts_with("raise")).count();
            restarted.lines.0.clear();
        }
        let bytes = |router: &Router| router.state.encode(&router.shared);
        assert!(bytes(&straight) == bytes(&restarted), "{round}");
    }
    assert!(raises > 500 && strays > 1000, "a dull run: {raises} {strays}");
}
