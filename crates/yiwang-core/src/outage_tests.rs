//! The numbers of devices §7, returns, and that nothing is lost or told twice.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

struct Desk {
    folding: Folding,
    told: Vec<Told>,
}

impl Desk {
    fn new() -> Self {
        Self { folding: Folding::default(), told: Vec::new() }
    }

    /// Device `n` of a group of `size`, at second `at`.
    fn see(&mut self, n: usize, size: usize, at: Millis, change: Change) {
        let device = format!("p/{n:03}");
        let seen = Seen { device: &device, group: "g", group_size: size, at: at * 1000, change };
        self.folding.see(&seen, &mut self.told);
    }

    fn pass(&mut self, seconds: Millis) -> Vec<Told> {
        self.folding.pass(seconds * 1000, &mut self.told);
        std::mem::take(&mut self.told)
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<Box<str>> {
    range.map(|n| format!("p/{n:03}").into()).collect()
}

#[test]
fn few_are_told_singly_a_minute_later() {
    let mut desk = Desk::new();
    (0..19).for_each(|n| desk.see(n, 30, 10 + n as Millis, Change::Silent));
    assert!(desk.pass(69).is_empty());
    let told = desk.pass(88);
    assert_eq!(told.len(), 19);
    let (device, change) = ("p/000".into(), Change::Silent);
    assert_eq!(told[0], Told::Single { device, at: 10_000, change });
    // Twenty of a hundred are enough, but not a third.
    (20..40).for_each(|n| desk.see(n, 100, 100, Change::Silent));
    assert_eq!(desk.pass(160).len(), 20);
    // Twenty, but not within a minute.
    (40..60).for_each(|n| desk.see(n, 60, 200 + 4 * (n - 40) as Millis, Change::Silent));
    let told = desk.pass(600);
    assert!(told.iter().all(|told| matches!(told, Told::Single { .. })), "{told:?}");
    assert_eq!(told.len(), 20);
}

#[test]
fn many_are_one_outage_and_its_end_is_one_too() {
    let mut desk = Desk::new();
    (0..20).for_each(|n| desk.see(n, 60, 10 + n as Millis, Change::Silent));
    let (group, change) = (Box::<str>::from("g"), Change::Silent);
    let members = names(0..20);
    assert_eq!(
        desk.pass(29),
        [Told::Together { group: group.clone(), change, since: 10_000, members }]
    );
    // Those that follow are no single ones until ten minutes after the last.
    desk.see(20, 60, 300, change);
    desk.see(21, 60, 310, change);
    let members = names(20..22);
    assert_eq!(desk.pass(360), [Told::More { group: group.clone(), change, members }]);
    desk.see(22, 60, 909, change);
    let members = names(22..23);
    assert_eq!(desk.pass(969), [Told::More { group: group.clone(), change, members }]);
    desk.see(23, 60, 1509, change);
    assert_eq!(desk.pass(1569), [Told::Single { device: "p/023".into(), at: 1_509_000, change }]);
    // Members come back without a word; the last one ends it.
    (0..22).for_each(|n| desk.see(n, 60, 1600, Change::Back));
    assert!(desk.pass(1700).is_empty());
    desk.see(22, 60, 1701, Change::Back);
    assert_eq!(desk.pass(1701), [Told::Over { group, at: 1_701_000 }]);
}

#[test]
fn a_silence_that_ends_while_it_is_held_is_none() {
    let mut desk = Desk::new();
    desk.see(1, 60, 10, Change::Silent);
    desk.see(1, 60, 40, Change::Back);
    assert!(desk.pass(1000).is_empty());
    assert!(desk.folding.groups.is_empty(), "nothing is kept of it");
}

#[test]
fn the_return_of_single_ones_is_folded_likewise() {
    let mut desk = Desk::new();
    for n in 0..20 {
        desk.see(n, 60, 100 * (n as Millis + 1), Change::Silent);
    }
    assert_eq!(desk.pass(2_100).len(), 20);
    (0..20).for_each(|n| desk.see(n, 60, 3_000, Change::Back));
    let (group, members) = ("g".into(), names(0..20));
    let together = Told::Together { group, change: Change::Back, since: 3_000_000, members };
    assert_eq!(desk.pass(3_000), [together]);
}

proptest! {
    #[test]
    fn nothing_is_lost_or_told_twice(
        steps in prop::collection::vec((0..30_usize, 0..40_i64), 1..400),
    ) {
        let mut desk = Desk::new();
        let mut silent = [false; 30];
        let mut now = 0;
        for (n, seconds) in steps {
            now += seconds;
            silent[n] = !silent[n];
            let change = if silent[n] { Change::Silent } else { Change::Back };
            desk.see(n, 40, now, change);
        }
        // What people believe of each device from what they were told, after everything held is out.
        let mut believed: BTreeMap<Box<str>, bool> = BTreeMap::new();
        let mut outage: BTreeMap<Box<str>, bool> = BTreeMap::new();
        for told in desk.pass(now + 3_600) {
            match told {
                Told::Single { device, change, .. } => {
                    let was = believed.insert(device, change == Change::Silent);
                    prop_assert_ne!(was.unwrap_or(false), change == Change::Silent);
                }
                Told::Together { change, members, .. } | Told::More { change, members, .. } => {
                    for device in members {
                        if change == Change::Silent {
                            outage.insert(device, true);
                        } else {
                            prop_assert_eq!(believed.insert(device, false), Some(true));
                        }
                    }
                }
                Told::Over { .. } => outage.clear(),
            }
        }
        let out = desk.folding.groups.get("g").map(|group| group.out.clone()).unwrap_or_default();
        for (n, silent) in silent.into_iter().enumerate() {
            let device: Box<str> = format!("p/{n:03}").into();
            let single = believed.get(&device).copied().unwrap_or(false);
            prop_assert_eq!(single || out.contains(&device), silent, "{}", device);
            prop_assert!(!out.contains(&device) || outage.contains_key(&device));
        }
    }
}
