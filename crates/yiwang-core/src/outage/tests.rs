//! The numbers of devices §7, returns, restarts, and that nothing is lost or told twice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::record::{AlarmSeverity, Limits};

const LIMITS: Limits =
    Limits { share_percent: 30, members_min: 20, within: 60_000, quiet: 600_000 };

fn group(name: &str, size: u32) -> Group {
    Group {
        key: format!("area/{name}").into(),
        size,
        limits: LIMITS,
        category: "device.outage".into(),
        severity: AlarmSeverity::Major,
        name: name.into(),
        device: "".into(),
        asset: None,
        place: name.into(),
        point: None,
    }
}

fn says(kind: SignalKind, n: usize, number: u64, at: Millis) -> Signal {
    let device = format!("p/{n:03}");
    Signal {
        source: format!("device/{device}"),
        event_id: format!("e{number}"),
        kind,
        alarm_key: format!("{device}/silent"),
        category: "device.fault".into(),
        severity: AlarmSeverity::Minor,
        time: at,
        since: at - 1_000,
        received_at: at,
        device,
        asset: None,
        place: Some("town".into()),
        point: None,
        cause: String::new(),
        text: "silent".into(),
        reading: None,
        members: Vec::new(),
    }
}

#[derive(Default)]
struct Desk {
    folding: Folding,
    told: Vec<Signal>,
    number: u64,
}

impl Desk {
    /// What a rule says of device `n` of a group of `size`, at second `at`.
    fn take(&mut self, n: usize, size: u32, at: Millis, kind: SignalKind) {
        self.number += 1;
        let (clock, number) = (at * 1_000, self.number);
        let (signal, what) = (says(kind, n, number, clock), Absent::Says);
        let absence = Absence { signal, group: group("town", size), what, clock, number };
        self.folding.take(0, absence, &mut self.told);
    }

    /// What is of a second is complete in the next millisecond.
    fn pass(&mut self, seconds: Millis) {
        let at = seconds * 1_000 + 1;
        let passed = Passed { partition: 0, partitions: 1, at, late: 0 };
        self.folding.pass(passed, &mut self.told);
    }

    fn silent(&mut self, n: usize, size: u32, at: Millis) {
        self.take(n, size, at, SignalKind::Raise);
    }

    fn back(&mut self, n: usize, at: Millis) {
        self.take(n, 60, at, SignalKind::Clear);
    }

    /// Kind, source and number of members of what was told until a second.
    fn until(&mut self, seconds: Millis) -> Vec<(SignalKind, String, usize)> {
        self.pass(seconds);
        let told = std::mem::take(&mut self.told).into_iter();
        told.map(|it| (it.kind, it.source, it.members.len())).collect()
    }

    fn books(&self) -> [u64; 5] {
        let counts = self.folding.counts();
        let held = self.folding.held();
        assert_eq!(counts.absences, counts.singly + counts.folded + counts.undone + held);
        [counts.singly, counts.folded, counts.undone, counts.unsent, held]
    }
}

fn single(kind: SignalKind, n: usize) -> (SignalKind, String, usize) {
    (kind, format!("device/p/{n:03}"), 0)
}

fn outage(kind: SignalKind, members: usize) -> (SignalKind, String, usize) {
    (kind, "outage/area/town".to_owned(), members)
}

#[test]
fn few_are_told_singly_a_minute_later() {
    let mut desk = Desk::default();
    (0..19).for_each(|n| desk.silent(n, 30, 10 + n as Millis));
    assert!(desk.until(69).is_empty());
    let told = desk.until(88);
    assert_eq!(told, (0..19).map(|n| single(SignalKind::Raise, n)).collect::<Vec<_>>());
    // Twenty of a hundred are enough, but not a third.
    (20..40).for_each(|n| desk.silent(n, 100, 100));
    assert_eq!(desk.until(160).len(), 20);
    // Twenty, but not within a minute.
    (40..60).for_each(|n| desk.silent(n, 60, 200 + 4 * (n - 40) as Millis));
    assert!(desk.until(600).iter().all(|(_, source, _)| source.starts_with("device/")));
    assert_eq!(desk.books(), [59, 0, 0, 0, 0]);
    // What was told singly is cleared by its own clear, at once.
    desk.back(3, 601);
    assert_eq!(desk.until(601), [single(SignalKind::Clear, 3)]);
}

#[test]
fn many_are_one_outage_and_its_end_is_one_too() {
    let mut desk = Desk::default();
    (0..20).for_each(|n| desk.silent(n, 60, 10 + n as Millis));
    desk.pass(29);
    let raise = desk.told.last().cloned().expect("an outage is told at once");
    assert_eq!((raise.time, raise.since, raise.received_at), (29_000, 9_000, 29_000));
    assert_eq!(raise.members, (0..20).map(|n| format!("p/{n:03}")).collect::<Vec<_>>());
    assert_eq!(raise.alarm_key, "area/town/outage");
    assert!(raise.text.starts_with("town：20 台设备同时失联（在用 60 台）：p/000、p/001"));
    assert_eq!(desk.until(29), [outage(SignalKind::Raise, 20)]);
    // Those that follow are no single ones until ten minutes after the last.
    desk.silent(20, 60, 300);
    desk.silent(21, 60, 310);
    assert_eq!(desk.until(360), [outage(SignalKind::Remind, 2)]);
    desk.silent(22, 60, 909);
    assert_eq!(desk.until(969), [outage(SignalKind::Remind, 1)]);
    desk.silent(23, 60, 1509);
    assert_eq!(desk.until(1569), [single(SignalKind::Raise, 23)]);
    // Members come back without a word; the last one ends it.
    (0..22).for_each(|n| desk.back(n, 1_600));
    assert!(desk.until(1_700).is_empty());
    desk.back(22, 1_701);
    assert_eq!(desk.until(1_701), [outage(SignalKind::Clear, 0)]);
    assert_eq!(desk.books(), [1, 23, 0, 23, 0]);
    assert!(desk.folding.groups.is_empty(), "nothing is kept of it");
}

#[test]
fn an_outage_that_is_over_begins_anew_and_with_another_id() {
    let mut desk = Desk::default();
    (0..20).for_each(|n| desk.silent(n, 60, 10));
    (0..20).for_each(|n| desk.back(n, 30));
    // All of it within the same second, and still no single one.
    desk.silent(7, 60, 30);
    desk.pass(100);
    let ids: BTreeSet<&str> = desk.told.iter().map(|signal| &*signal.event_id).collect();
    assert_eq!(ids.len(), 3);
    let kinds: Vec<SignalKind> = desk.told.iter().map(|signal| signal.kind).collect();
    assert_eq!(kinds, [SignalKind::Raise, SignalKind::Clear, SignalKind::Raise]);
}

#[test]
fn a_silence_that_ends_while_it_is_held_is_none() {
    let mut desk = Desk::default();
    desk.silent(1, 60, 10);
    desk.take(1, 60, 20, SignalKind::Remind);
    desk.back(1, 40);
    assert!(desk.until(1_000).is_empty());
    assert_eq!(desk.books(), [0, 0, 1, 2, 0]);
    assert!(desk.folding.groups.is_empty(), "nothing is kept of it");
}

#[test]
fn reminders_keep_their_place_and_none_is_sent_of_a_member() {
    let mut desk = Desk::default();
    desk.silent(1, 60, 10);
    desk.take(1, 60, 20, SignalKind::Remind);
    assert_eq!(desk.until(70), [single(SignalKind::Raise, 1), single(SignalKind::Remind, 1)]);
    desk.take(1, 60, 80, SignalKind::Remind);
    assert_eq!(desk.until(80), [single(SignalKind::Remind, 1)]);
    (20..40).for_each(|n| desk.silent(n, 60, 100));
    desk.take(20, 60, 110, SignalKind::Remind);
    assert_eq!(desk.until(200), [outage(SignalKind::Raise, 20)]);
    assert_eq!(desk.books(), [1, 20, 0, 1, 0]);
}

#[test]
fn two_rules_of_a_device_are_one_device() {
    let mut desk = Desk::default();
    for n in 0..19 {
        desk.silent(n, 60, 10);
        desk.number += 1;
        let (clock, number) = (10_000, desk.number);
        let mut signal = says(SignalKind::Raise, n, number, clock);
        signal.alarm_key = format!("p/{n:03}/silent-too");
        let (group, what) = (group("town", 60), Absent::Says);
        let absence = Absence { signal, group, what, clock, number };
        desk.folding.take(0, absence, &mut desk.told);
    }
    assert!(desk.told.is_empty());
    desk.silent(19, 60, 10);
    assert_eq!(desk.until(10), [outage(SignalKind::Raise, 20)]);
    assert_eq!(desk.books()[1], 39);
    (0..20).for_each(|n| desk.back(n, 20));
    assert!(desk.until(20).is_empty(), "the other alarms still stand");
}

#[test]
fn who_leaves_the_group_leaves_its_outage() {
    let mut desk = Desk::default();
    (0..20).for_each(|n| desk.silent(n, 60, 10));
    desk.silent(30, 60, 10);
    assert_eq!(desk.until(10), [outage(SignalKind::Raise, 20)]);
    for n in [30].into_iter().chain(0..20) {
        desk.number += 1;
        let (clock, number) = (20_000, desk.number);
        let signal = says(SignalKind::Clear, n, number, clock);
        let (group, what) = (group("town", 60), Absent::Left);
        let absence = Absence { signal, group, what, clock, number };
        desk.folding.take(0, absence, &mut desk.told);
    }
    assert_eq!(desk.until(20), [single(SignalKind::Raise, 30), outage(SignalKind::Clear, 0)]);
    assert_eq!(desk.books(), [1, 20, 0, 0, 0]);
}

#[test]
fn a_large_outage_is_told_in_parts() {
    let mut desk = Desk::default();
    let most = MEMBERS_MAX as u32;
    for n in 0..2 * MEMBERS_MAX + 1 {
        desk.silent(n, 7 * most, 10);
    }
    let rest = 2 * MEMBERS_MAX + 1;
    // A third of seven thousand is not reached.
    assert_eq!(desk.until(80).len(), rest);
    for n in 0..2 * MEMBERS_MAX + 1 {
        desk.back(n, 90);
    }
    desk.until(90);
    let size = (2 * most + 1) * 100 / 30;
    (0..rest).for_each(|n| desk.silent(n, size, 100));
    let parts = [MEMBERS_MAX, MEMBERS_MAX, 1];
    let kinds = [SignalKind::Raise, SignalKind::Remind, SignalKind::Remind];
    let expected: Vec<_> = kinds.into_iter().zip(parts).map(|(k, n)| outage(k, n)).collect();
    assert_eq!(desk.until(160), expected);
}

/// One step of a random history.
#[derive(Clone, Debug)]
struct Step {
    device: usize,
    seconds: i64,
    reminds: bool,
    /// The machine is written and read again before it.
    restarts: bool,
    /// So many of the newest records come again before it.
    repeats: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..90_usize, 0..30_i64, 0..4_u8, 0..20_u8, 0..12_usize);
    let step = step.prop_map(|(device, seconds, reminds, restarts, repeats)| Step {
        device,
        seconds: if seconds > 24 { 20 * seconds } else { seconds / 8 },
        reminds: reminds == 0,
        restarts: restarts == 0,
        repeats: repeats.saturating_sub(6),
    });
    prop::collection::vec(step, 1..500)
}

/// What a partition of `raw` says: that time has passed, or of an absence.
#[derive(Clone, Debug)]
enum Row {
    Time(Passed),
    Absence(u16, Box<Absence>),
}

impl Folding {
    fn row(&mut self, row: &Row, told: &mut Vec<Signal>) {
        match row {
            Row::Time(passed) => self.pass(*passed, told),
            Row::Absence(partition, absence) => self.take(*partition, *absence.clone(), told),
        }
    }
}

/// Waited for longer than any history lasts.
const LATE: Millis = 1 << 40;

fn time(partition: u16, at: Millis) -> Row {
    Row::Time(Passed { partition, partitions: 3, at, late: LATE })
}

/// The rows of a history by partition of `raw`, its devices in turns silent and back, in three groups.
fn rows(steps: &[Step]) -> [Vec<Row>; 3] {
    let (mut silent, mut numbers) = ([false; 90], [0; 3]);
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    let mut now = 0;
    for step in steps {
        now += step.seconds * 1_000;
        let at = step.device % 3;
        numbers[at] += 1;
        let was = silent[step.device];
        silent[step.device] = !was || step.reminds;
        let kind = match (was, step.reminds) {
            (false, _) => SignalKind::Raise,
            (true, true) => SignalKind::Remind,
            (true, false) => SignalKind::Clear,
        };
        let (clock, number) = (now, numbers[at]);
        let mut signal = says(kind, step.device, number, clock);
        signal.event_id = format!("{at}-{number}");
        let mut group = group(["a", "b", "c"][step.device / 30], 30);
        // Low ones, so that storms are frequent.
        group.limits = Limits { share_percent: 10, members_min: 4, ..LIMITS };
        let absence = Absence { signal, group, what: Absent::Says, clock, number };
        all[at].push(Row::Absence(at as u16, Box::new(absence)));
        if step.seconds > 1 {
            all[at].push(time(at as u16, now));
        }
    }
    for (partition, rows) in (0..).zip(&mut all) {
        rows.push(time(partition, now + 3_600_000));
    }
    all
}

/// Everything that is told where one partition is read after the other.
fn straight(rows: &[Vec<Row>; 3]) -> (Folding, Vec<Signal>) {
    let (mut folding, mut told) = (Folding::default(), Vec::new());
    rows.iter().flatten().for_each(|row| folding.row(row, &mut told));
    (folding, told)
}

proptest! {
    #[test]
    fn order_restarts_repeats_and_finer_time_change_nothing(
        steps in steps(),
        order in prop::collection::vec(0..3_usize, 0..1_500),
    ) {
        let rows = rows(&steps);
        let (_, expected) = straight(&rows);
        let (mut folding, mut told) = (Folding::default(), Vec::new());
        let (mut read, mut repeated) = ([0_usize; 3], 0);
        let rest = (0..3).flat_map(|at| std::iter::repeat_n(at, rows[at].len()));
        for (at, step) in order.into_iter().chain(rest).zip(steps.iter().cycle()) {
            let Some(row) = rows[at].get(read[at]) else { continue };
            if step.restarts {
                let bytes = folding.encode();
                folding = Folding::decode(&bytes).expect("what was written is read");
                prop_assert_eq!(folding.encode(), bytes);
            }
            for row in &rows[at][read[at].saturating_sub(step.repeats)..read[at]] {
                repeated += u64::from(matches!(row, Row::Absence(..)));
                folding.row(row, &mut told);
            }
            if let Row::Absence(partition, absence) = row {
                folding.row(&time(*partition, absence.clock - 7), &mut told);
                folding.row(&time(*partition, absence.clock), &mut told);
            }
            folding.row(row, &mut told);
            read[at] += 1;
        }
        prop_assert_eq!(folding.counts().repeats, repeated);
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn nothing_is_lost_or_told_twice(steps in steps()) {
        let rows = rows(&steps);
        let (folding, told) = straight(&rows);
        let counts = folding.counts();
        prop_assert_eq!(counts.absences, counts.singly + counts.folded + counts.undone);
        prop_assert_eq!(counts.signals, told.len() as u64);
        prop_assert_eq!((folding.held(), folding.waiting()), (0, 0));
        let (stand, out) = desk(&told)?;
        // In the end the desk knows of every silent device, by its alarm or by an outage that it is a member of.
        let mut silent = BTreeSet::new();
        for row in rows.iter().flatten() {
            let Row::Absence(_, absence) = row else { continue };
            match absence.signal.kind {
                SignalKind::Clear => silent.remove(&*absence.signal.device),
                _ => silent.insert(&*absence.signal.device),
            };
        }
        for n in 0..90 {
            let device = format!("p/{n:03}");
            let single = stand.contains(&*format!("device/{device}"));
            let member = out.values().any(|members| members.contains(&*device));
            let is_silent = silent.contains(&*device);
            prop_assert!(!is_silent || single || member, "{} is forgotten", device);
            prop_assert!(!single || is_silent, "{} is back", device);
        }
        for outage in stand.iter().filter(|source| source.starts_with("outage/")) {
            let any = out.get(*outage).into_iter().flatten().any(|device| silent.contains(device));
            prop_assert!(any, "{} is over", outage);
        }
    }
}

/// Alarms that stand, and members by outage that stands, of what was told; each alarm goes its ordinary way.
type Desks<'a> = (BTreeSet<&'a str>, BTreeMap<&'a str, BTreeSet<&'a str>>);

fn desk(told: &[Signal]) -> Result<Desks<'_>, TestCaseError> {
    let ids: BTreeSet<(&str, &str)> =
        told.iter().map(|signal| (&*signal.source, &*signal.event_id)).collect();
    prop_assert_eq!(ids.len(), told.len(), "an id is told once");
    let (mut stand, mut out) = Desks::default();
    let mut times = BTreeMap::<&str, Millis>::new();
    for signal in told {
        let newest = times.insert(&signal.alarm_key, signal.time).unwrap_or(Millis::MIN);
        prop_assert!(newest <= signal.time, "an alarm's time goes on");
        let source = signal.source.as_str();
        let is_outage = source.starts_with("outage/");
        let names = is_outage && signal.kind != SignalKind::Clear;
        prop_assert_eq!(names, !signal.members.is_empty());
        let known = stand.contains(source);
        match signal.kind {
            SignalKind::Raise => prop_assert!(stand.insert(source), "raised twice: {}", source),
            SignalKind::Clear => prop_assert!(stand.remove(source), "no alarm: {}", source),
            _ => prop_assert!(known, "nothing to remind of: {}", source),
        }
        if is_outage && signal.kind == SignalKind::Clear {
            out.remove(source);
        } else if is_outage {
            let members = signal.members.iter().map(String::as_str);
            out.entry(source).or_default().extend(members);
        }
    }
    Ok((stand, out))
}

#[test]
fn one_that_is_behind_is_waited_for_so_long() {
    let mut folding = Folding::default();
    let mut told = Vec::new();
    let take = |partition: u16, n: usize, at: Millis| {
        let signal = says(SignalKind::Raise, n, n as u64 + 1, at);
        let (number, group) = (n as u64 + 1, group("town", 60));
        let absence = Absence { signal, group, what: Absent::Says, clock: at, number };
        Row::Absence(partition, Box::new(absence))
    };
    let time = |partition, at| Row::Time(Passed { partition, partitions: 2, at, late: 300_000 });
    // One partition has come an hour further before the other is heard at all.
    (0..10).for_each(|n| folding.row(&take(0, n, 10_000), &mut told));
    folding.row(&time(0, 200_000), &mut told);
    assert!(told.is_empty());
    assert_eq!(folding.waiting(), 10);
    (10..20).for_each(|n| folding.row(&take(1, n, 20_000), &mut told));
    folding.row(&time(1, 20_001), &mut told);
    assert_eq!(told.len(), 1, "together, though they came apart");
    // The other stands still: after five minutes nobody waits for it, and what comes then is as of now.
    folding.row(&take(0, 30, 1_000_000), &mut told);
    folding.row(&time(0, 1_500_000), &mut told);
    assert_eq!(told.len(), 2);
    folding.row(&take(1, 31, 30_000), &mut told);
    folding.row(&time(0, 1_700_000), &mut told);
    assert_eq!(told.len(), 3);
    assert_eq!(told[2].alarm_key, "p/031/silent");
}
