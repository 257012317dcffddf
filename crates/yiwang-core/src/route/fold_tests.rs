//! Which signals leave on the way of absences, under which group, and what a change of the configuration says of them.

use std::sync::Arc;

use super::fixture::{DISTRICT, folder};
use super::tests::{at, level, property};
use super::*;
use crate::district::FileSet;
use crate::record::SignalKind;
use crate::registry::Registry;
use crate::storms::Storms;

const DEVICES: &str = "product_key,device_name,area_code,name,gateway
manhole-01,M-0001,310118001001,井盖一号,
wl-radar-01,R-0001,310118001001,,
wl-radar-01,R-0002,310118001001,,manhole-01/M-0001
wl-radar-01,R-0003,310118001001,,manhole-01/M-0001
";

fn shared(storms: bool, devices: &str, edit: impl Fn(String) -> String) -> Arc<Shared> {
    let text = |(name, text): (String, String)| {
        // Other rules than the shipped ones have no vectors.
        let vectors = text.find("\n  - rule:").map_or(text.len(), |from| from + 1);
        (name, edit(text[..vectors].to_owned()))
    };
    let mut files: FileSet = folder("products").into_iter().map(text).collect();
    files.insert("devices.csv".to_owned(), devices.to_owned());
    let (registry, problems) = Registry::load(&files, DISTRICT.clone());
    let registry = registry.unwrap_or_else(|| panic!("{problems:?}"));
    let (shared, problems) = Shared::new(Arc::new(registry));
    let shared = shared.unwrap_or_else(|| panic!("{problems:?}"));
    let (loaded, problems) = Storms::load(&folder("district"), &DISTRICT);
    assert_eq!(problems, []);
    Arc::new(shared.with_storms(loaded.filter(|_| storms)))
}

/// What went which way: kind, alarm and id of signals; the same with the group of absences.
#[derive(Default)]
struct Ways {
    signals: Vec<(SignalKind, String, String)>,
    absences: Vec<Absence>,
}

impl Sink for Ways {
    fn reading(&mut self, _: &Reading<'_>) {}

    fn signal(&mut self, signal: &Signal) {
        let Signal { kind, alarm_key, event_id, .. } = signal.clone();
        self.signals.push((kind, alarm_key, event_id));
    }

    fn absence(&mut self, absence: &Absence) {
        self.absences.push(absence.clone());
    }

    fn quarantine(&mut self, _: &Quarantined<'_>) {}
}

struct Hub {
    shared: Arc<Shared>,
    state: PartitionState,
    work: Workspace,
    ways: Ways,
    seq: u64,
}

impl Hub {
    fn new(shared: &Arc<Shared>) -> Self {
        let (state, work) = (PartitionState::new(shared, Shard::WHOLE), Workspace::default());
        Self { shared: shared.clone(), state, work, ways: Ways::default(), seq: 0 }
    }

    fn input(&mut self, input: &Input<'_>) {
        let place = Place { epoch: 1, partition: 0, seq: self.seq };
        self.seq += 1;
        self.state.route(&self.shared, place, input, &mut self.work, &mut self.ways);
    }

    fn ticks(&mut self, from: &str, to: &str) {
        for received_at in (at(from)..=at(to)).step_by(10_000) {
            self.input(&Input::Tick { received_at });
        }
    }

    fn level(&mut self, clock: &str, device: &str, n: u64) {
        let body = level(n, clock, 1.0);
        self.input(&Input::Raw(property(at(clock), device, &body)));
    }

    /// Three devices are heard at ten, and then nothing for as long as it takes.
    fn fall_silent(shared: &Arc<Shared>) -> Self {
        let mut hub = Self::new(shared);
        hub.ticks("10:00", "10:00");
        for n in 1..=3 {
            hub.level("10:00:01", &format!("wl-radar-01/R-000{n}"), 1);
        }
        hub.ticks("10:00:10", "10:31:00");
        hub
    }

    fn clear(&mut self, device: &str, rule: &str) {
        let (actor, reason, received_at) = ("admin", "r", 0);
        self.input(&Input::Clear(Clear { device, rule, actor, reason, received_at }));
    }

    fn swap(&mut self, new: &Arc<Shared>) {
        self.ways = Ways::default();
        self.state.swap(&self.shared, new, &mut self.ways).unwrap();
        self.shared = new.clone();
    }

    /// What, alarm, and group, in order.
    fn absences(&self) -> Vec<(Absent, SignalKind, &str, &str)> {
        let one = |it: &'_ Absence| (it.what, it.signal.kind);
        let names = self.ways.absences.iter().map(|it| (&*it.signal.alarm_key, &*it.group.key));
        let both = self.ways.absences.iter().map(one).zip(names);
        both.map(|((what, kind), (alarm, group))| (what, kind, alarm, group)).collect()
    }
}

const AREA: &str = "area/310118001";
const GATEWAY: &str = "gateway/manhole-01/M-0001";

#[test]
fn absences_leave_with_their_group_and_the_same_ids() {
    let mut hub = Hub::fall_silent(&shared(true, DEVICES, |text| text));
    hub.level("10:31:05", "wl-radar-01/R-0002", 2);
    let raise = |n: u8, group| (SignalKind::Raise, format!("wl-radar-01/R-000{n}/silent"), group);
    let raises = [raise(1, AREA), raise(2, GATEWAY), raise(3, GATEWAY)];
    let clear = (SignalKind::Clear, "wl-radar-01/R-0002/silent".to_owned(), GATEWAY);
    let expected: Vec<_> = raises.into_iter().chain([clear]).collect();
    let said = hub.absences().into_iter();
    let said: Vec<_> =
        said.map(|(_, kind, alarm, group)| (kind, alarm.to_owned(), group)).collect();
    assert_eq!(said, expected);
    assert!(hub.ways.signals.is_empty());
    // The same without storms, the straight way.
    let mut plain = Hub::fall_silent(&shared(false, DEVICES, |text| text));
    plain.level("10:31:05", "wl-radar-01/R-0002", 2);
    let ids = |signal: &Signal| (signal.kind, signal.alarm_key.clone(), signal.event_id.clone());
    let absences = hub.ways.absences.iter();
    assert_eq!(absences.map(|it| ids(&it.signal)).collect::<Vec<_>>(), plain.ways.signals);
    let numbers: Vec<u64> = hub.ways.absences.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let counted = |hub: &Hub| (hub.state.counters().signals, hub.state.counters().lifecycle);
    assert_eq!((counted(&hub), counted(&plain)), ((0, 4), (4, 0)));
}

#[test]
fn an_operators_clear_leaves_with_the_group() {
    let mut hub = Hub::fall_silent(&shared(true, DEVICES, |text| text));
    hub.clear("wl-radar-01/R-0001", "silent");
    let expected = (Absent::Says, SignalKind::Clear, "wl-radar-01/R-0001/silent", AREA);
    assert_eq!(hub.absences().last(), Some(&expected));
    let signal = &hub.ways.absences.last().unwrap().signal;
    assert_eq!((&*signal.cause, hub.ways.signals.len()), ("OPERATOR", 0));
}

#[test]
fn a_group_is_named_counted_and_placed() {
    let hub = Hub::fall_silent(&shared(true, DEVICES, |text| text));
    let group = |n: usize| hub.ways.absences[n].group.clone();
    let (area, gateway) = (group(0), group(1));
    // The manhole cover has no rule about absence: nobody would notice, so it is none of them.
    assert_eq!((area.size, gateway.size), (1, 2));
    assert_eq!((&*area.place, &*area.device, area.point), ("310118001", "", None));
    assert_eq!((&*gateway.place, &*gateway.device), ("310118001001", "manhole-01/M-0001"));
    assert_eq!(&*gateway.name, "井盖一号");
    assert_eq!(&*area.name, DISTRICT.unit("310118001").unwrap().name);
    assert_eq!((&*area.category, area.limits.within), ("device.outage", 60_000));
    // A gateway device that would be noticed is of its own group.
    let devices = DEVICES.replace("manhole-01/M-0001", "wl-radar-01/R-0001");
    let hub = Hub::fall_silent(&shared(true, &devices, |text| text));
    let keys: Vec<_> = hub.ways.absences.iter().map(|it| (&*it.group.key, it.group.size)).collect();
    assert_eq!(keys, [("gateway/wl-radar-01/R-0001", 3); 3]);
}

#[test]
fn life_safety_is_never_held() {
    let edit = |text: String| text.replace("category: device.fault", "category: fire.smoke");
    let hub = Hub::fall_silent(&shared(true, DEVICES, edit));
    assert_eq!((hub.ways.signals.len(), hub.ways.absences.len()), (3, 0));
}

#[test]
fn what_leaves_its_group_says_so() {
    let with = shared(true, DEVICES, |text| text);
    let left = |hub: &Hub| hub.absences().iter().all(|(what, ..)| *what == Absent::Left);
    // No storms any more.
    let mut hub = Hub::fall_silent(&with);
    hub.swap(&shared(false, DEVICES, |text| text));
    assert!(left(&hub));
    assert_eq!((hub.absences().len(), hub.ways.signals.len()), (3, 0));
    hub.level("10:31:05", "wl-radar-01/R-0002", 2);
    assert_eq!(hub.ways.signals.len(), 1, "what follows goes straight");
    // Another gateway device.
    let mut hub = Hub::fall_silent(&with);
    hub.swap(&shared(true, &DEVICES.replacen(",manhole-01/M-0001", ",", 1), |text| text));
    let expected = (Absent::Left, SignalKind::Event, "wl-radar-01/R-0002/silent", GATEWAY);
    assert_eq!(hub.absences(), [expected]);
    // The same groups: nothing is said.
    let mut hub = Hub::fall_silent(&with);
    hub.swap(&shared(true, DEVICES, |text| text.replace("for: 10m", "for: 5m")));
    assert!(hub.absences().is_empty() && hub.ways.signals.is_empty());
}

#[test]
fn what_ends_with_its_rule_or_device_ends_in_its_group() {
    let with = shared(true, DEVICES, |text| text);
    let clear = |n: u8, group| {
        (Absent::Says, SignalKind::Clear, format!("wl-radar-01/R-000{n}/silent"), group)
    };
    let said = |hub: &Hub| -> Vec<_> {
        let said = hub.absences().into_iter();
        said.map(|(what, kind, alarm, group)| (what, kind, alarm.to_owned(), group.to_owned()))
            .collect()
    };
    let all = [clear(1, AREA), clear(2, GATEWAY), clear(3, GATEWAY)];
    let all = all.map(|(what, kind, alarm, group)| (what, kind, alarm, group.to_owned()));
    let mut hub = Hub::fall_silent(&with);
    hub.swap(&shared(true, DEVICES, |text| text.replace("- id: silent", "- id: mute")));
    assert_eq!(said(&hub), all);
    let mut hub = Hub::fall_silent(&with);
    let gone: String = DEVICES.lines().take(2).map(|line| format!("{line}\n")).collect();
    hub.swap(&shared(false, &gone, |text| text));
    assert_eq!(said(&hub), all);
}
