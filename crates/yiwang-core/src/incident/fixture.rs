//! A small district and a store in memory, for the tests of this module.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::*;
use crate::calendar::Calendar;
use crate::district::{District, FileSet};
use crate::ids::{self, Id};
use crate::record::{AlarmSeverity, Millis, Signal, SignalKind};

/// 2026-09-18 (a Friday) 00:00 in Shanghai.
pub(crate) const FRI_18_SEP: Millis = 1_789_660_800_000;
pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

pub(crate) const V1: &str = "t1s1v1";

/// What differs from the plain small district.
#[derive(Default)]
pub(crate) struct Variant<'v> {
    /// Units that nobody is on duty at.
    pub(crate) absent: &'v [&'v str],
    /// More policies, as YAML.
    pub(crate) policies: &'v str,
}

const POLICIES: &str = r#"
- match: {category: null, area: null, mode: null}
  incident: null
  calendar: office-demo
  ack: 5m
  handle: 4h
  auto: {accept: true, file: true, check: true}
  level: null
  self_handle_ok: false
  evidence: {feedback: [], close: []}
  group:
    {key: [category], radius_m: 80, window: 2h, min_count: 1, count_window: 0s, recurrence_days: 3}
  storm: {group: null, exempt: false}
  late: {max: 24h, opens: false}
  desk: {intake: 15m, verify: 60m, file: 15m, dispatch: 15m, check: 1d}
  on_timeout: rungs-default
- match: {category: flood.road}
  start_tier: TOWN
  lead: place
  assists: [{who: dept:water, mandatory: true}]
- match: {category: fire.smoke}
  start_tier: VILLAGE
  lead: place
  assists: [{who: dept:fire}, {who: place@STATION, mandatory: true}]
- {match: {category: part.lamp}, start_tier: TOWN, lead: asset_maintainer, assists: []}
- match: {category: env.fume}
  start_tier: STATION
  lead: place
  assists: []
  auto: {accept: false, file: false, check: false}
- match: {category: other}
  start_tier: TOWN
  lead: place
  assists: []
  auto: {accept: false, file: false}
"#;

const CATEGORIES: &str = r#"
list: {id: demo, version: "1", valid_from: 2026-01-01, note: small}
groups:
  - {code: flood, name: 防汛}
  - {code: fire, name: 消防}
  - {code: part, name: 部件}
  - {code: env, name: 环境}
categories:
  - {code: flood.road, name: 道路积水, kind: emergency, joint_duty: true, grade: public}
  - {code: fire.smoke, name: 独立烟感报警, kind: emergency, joint_duty: false, grade: public}
  - {code: part.lamp, name: 路灯不亮, kind: part, joint_duty: false, grade: public}
  - {code: env.fume, name: 油烟扰民, kind: event, joint_duty: true, grade: public}
  - {code: other, name: 未分类, kind: event, joint_duty: false, grade: public}
"#;

const HEADER: &str = r#"
id: d
name: D
zone: Asia/Shanghai
datum: WGS84
box: {west: 120900000, east: 121400000, south: 31000000, north: 31300000}
synthetic: true
sources: []
tiers:
  - {word: district, pattern: '^d$'}
  - {word: town, pattern: '^t\d$'}
  - {word: station, pattern: '^t\ds\d$'}
  - {word: village, pattern: '^t\ds\dv\d$'}
  - {word: department, pattern: '^dept:[a-z]+$'}
  - {word: company, pattern: '^company:[a-z]+$'}
plan: {district: 1, town: 2, station: 4, village: 16}
command_post: d
"#;

/// 1 district, 2 towns, 4 stations, 16 villages, 2 departments, 1 company.
pub(crate) fn district() -> District {
    variant(&Variant::default())
}

/// The small district with differences.
pub(crate) fn variant(differences: &Variant<'_>) -> District {
    let mut units =
        "id\tparent\ttier\tname\tcovers\tsynthetic\tlon_e6\tlat_e6\tcalendar\tcontact\t\
                     valid_from\tvalid_to\n"
            .to_owned();
    let mut present = Vec::new();
    let mut add = |id: &str, parent: &str, tier: &str, n: i32| {
        let lon = 121_000_000 + n * 10_000;
        let name = id.to_uppercase();
        let row =
            format!("{id}\t{parent}\t{tier}\t{name}\t\tall\t{lon}\t31100000\t\tdemo:{id}\t\t\n");
        units.push_str(&row);
        present.push(id.to_owned());
    };
    add("d", "", "district", 0);
    for town in 1..=2 {
        add(&format!("t{town}"), "d", "town", town * 8);
        for s in 1..=2 {
            add(&format!("t{town}s{s}"), &format!("t{town}"), "station", town * 8 + s * 4);
            for v in 1..=4 {
                let station = format!("t{town}s{s}");
                add(&format!("{station}v{v}"), &station, "village", town * 8 + s * 4 + v);
            }
        }
    }
    let mut departments = "id\tkind\tname\tname_en\tcalendar\tcontact\tsynthetic\n".to_owned();
    for id in ["dept:water", "dept:fire", "company:muni"] {
        let kind = if id.starts_with("dept") { "department" } else { "company" };
        departments.push_str(&format!("{id}\t{kind}\t{id}\t{id}\t\tdemo:{id}\tcontact\n"));
        present.push(id.to_owned());
    }
    present.retain(|id| !differences.absent.contains(&id.as_str()));
    let duty = format!(
        "duty:\n  - {{units: [{}], calendar: always, roles: [UNIT]}}\n",
        present.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ")
    );
    let file = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/district/");
        std::fs::read_to_string(format!("{folder}{name}")).expect("the shipped file")
    };
    let assets = "id\tcategory\tname\towner_unit\tmaintainer_unit\tplace\tlon_e6\tlat_e6\tdatum\n\
                  lamp-1\tpart.lamp\tL\t\tcompany:muni\tt1s1v1\t121130000\t31100000\tWGS84\n";
    let files: FileSet = [
        ("district.yaml", HEADER.to_owned()),
        ("units.tsv", units),
        ("departments.tsv", departments),
        ("committees.tsv", "code\tname\ttown\n".to_owned()),
        ("seats.tsv", "department\tat\tfrom\tto\ndept:water\tt1\t\t\n".to_owned()),
        ("duty.yaml", duty),
        ("calendars.yaml", file("calendars.yaml")),
        ("areas.yaml", file("areas.yaml")),
        ("categories.yaml", CATEGORIES.to_owned()),
        ("policies.yaml", format!("{POLICIES}{}", differences.policies)),
        ("assets.tsv", assets.to_owned()),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text))
    .collect();
    let (district, problems) = District::load(&files);
    district.unwrap_or_else(|| panic!("{problems:#?}"))
}

/// The calendar of the worked examples.
pub(crate) fn office() -> Calendar {
    district().calendar("office-demo").expect("shipped").clone()
}

pub(crate) fn raise(device: &str, category: &str, n: u32, time: Millis) -> Signal {
    Signal {
        source: format!("device/{device}"),
        event_id: format!("{device}-{n}"),
        kind: SignalKind::Raise,
        alarm_key: format!("{device}/high"),
        category: category.into(),
        severity: AlarmSeverity::Major,
        time,
        since: time,
        received_at: time + 1_000,
        device: device.into(),
        asset: Some(format!("asset-{device}")),
        place: Some(V1.into()),
        point: None,
        cause: String::new(),
        text: "level 3.6 m".into(),
        reading: None,
        members: Vec::new(),
    }
}

pub(crate) fn clear(device: &str, category: &str, n: u32, time: Millis) -> Signal {
    Signal { kind: SignalKind::Clear, ..raise(device, category, n, time) }
}

/// What the store and the centre hold, without a disk.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) cases: BTreeMap<Id, Case>,
    pub(crate) histories: HashMap<Id, Vec<History>>,
    pub(crate) signals: HashMap<Id, SignalRow>,
    pub(crate) commands: HashMap<String, CommandRow>,
    pub(crate) fires: HashSet<(Id, u32, u32)>,
    pub(crate) outbox: Vec<OutboxRow>,
    pub(crate) audit: Vec<AuditRow>,
    pub(crate) segments: Vec<ClockSegment>,
    pub(crate) index: OpenIndex,
    pub(crate) now: Millis,
}

impl Memory {
    pub(crate) fn new(now: Millis) -> Self {
        Self { index: OpenIndex::new(1_000), now, ..Self::default() }
    }

    pub(crate) fn with<T>(
        &mut self,
        district: &District,
        act: impl FnOnce(&mut Session<'_>, &Self) -> T,
    ) -> T {
        let terms = Terms::default();
        let index = std::mem::take(&mut self.index);
        let inputs =
            Inputs { district, index: &index, terms: &terms, now: self.now, mode_epoch: 0 };
        let mut session = Session::new(inputs);
        self.signals.values().for_each(|row| session.know_signal(row));
        self.commands.values().for_each(|row| session.know_command(row.clone()));
        let result = act(&mut session, self);
        let changes = session.finish();
        self.index = index;
        self.commit(changes);
        result
    }

    pub(crate) fn answer<T>(
        &self,
        session: &mut Session<'_>,
        mut ask: impl FnMut(&mut Session<'_>) -> Staged<T>,
    ) -> T {
        loop {
            match ask(session) {
                Staged::Done(answer) => return answer,
                Staged::Need(id) => match self.cases.get(&id) {
                    Some(case) => session.add_case(case.clone()),
                    None => session.absent(id),
                },
            }
        }
    }

    pub(crate) fn signal(&mut self, district: &District, signal: &Signal) -> Answer {
        self.with(district, |session, memory| memory.answer(session, |s| s.signal(signal)))
    }

    pub(crate) fn command(
        &mut self,
        district: &District,
        command: &Command,
    ) -> Result<Done, Refusal> {
        self.with(district, |session, memory| memory.answer(session, |s| s.command(command)))
    }

    /// Moves time and fires what has come, in order.
    pub(crate) fn until(&mut self, district: &District, now: Millis) {
        loop {
            let clocks = self.cases.values().flat_map(|case| &case.clocks);
            let next = clocks
                .filter_map(|c| c.fire_at.map(|at| (at, c.id, c.incident, c.generation)))
                .min();
            let Some((at, clock, incident, generation)) = next.filter(|(at, ..)| *at <= now) else {
                break;
            };
            self.now = at.max(self.now);
            let due = Due { incident, clock, generation };
            let fired = self.with(district, |s, memory| memory.answer(s, |s| s.fire(due)));
            assert!(fired > 0, "a due clock fires");
        }
        self.now = now;
    }

    pub(crate) fn commit(&mut self, changes: Changes) {
        self.index.apply(&changes);
        let mut seen = HashSet::new();
        for Upsert { base, row } in changes.incidents {
            assert!(seen.insert(row.id), "each incident once");
            let stored = self.cases.get(&row.id).map_or(0, |case| case.incident.version);
            assert_eq!(stored, base, "computed from the stored version");
            let id = row.id;
            match self.cases.get_mut(&id) {
                Some(case) => case.incident = row,
                None => drop(self.cases.insert(
                    id,
                    Case { incident: row, tasks: vec![], clocks: vec![], requests: vec![] },
                )),
            }
        }
        macro_rules! upsert {
            ($rows:expr, $field:ident) => {
                for row in $rows {
                    let case = self.cases.get_mut(&row.incident).expect("its case");
                    match case.$field.iter_mut().find(|known| known.id == row.id) {
                        Some(known) => *known = row,
                        None => case.$field.push(row),
                    }
                }
            };
        }
        upsert!(changes.tasks, tasks);
        upsert!(changes.clocks, clocks);
        upsert!(changes.requests, requests);
        for row in changes.history {
            self.histories.entry(row.incident).or_default().push(row);
        }
        for row in &changes.cleared {
            for known in self.signals.values_mut() {
                let same =
                    known.signal.source == row.source && known.signal.alarm_key == row.alarm_key;
                if same && known.signal.time <= row.until && known.cleared_at.is_none() {
                    known.cleared_at = Some(row.until);
                }
            }
        }
        for row in changes.signals {
            let id = ids::incident(&row.signal.source, &row.signal.event_id);
            assert!(self.signals.insert(id, row).is_none(), "each signal once");
        }
        for row in changes.commands {
            assert!(self.commands.insert(row.request_id.clone(), row).is_none());
        }
        for row in changes.fires {
            assert!(self.fires.insert((row.clock, row.budget_no, row.rung)), "each rung once");
        }
        self.outbox.extend(changes.outbox);
        self.audit.extend(changes.audit);
        self.segments.extend(changes.segments);
    }

    pub(crate) fn only(&self) -> &Case {
        assert_eq!(self.cases.len(), 1);
        self.cases.values().next().expect("one case")
    }

    pub(crate) fn check(&self, district: &District) {
        for (id, case) in &self.cases {
            check::check(case, &self.histories[id]).expect("invariants");
            let seen = crate::access::audience(district, &case.incident, &case.tasks);
            let last = self.outbox.iter().rev().find(|row| row.incident == *id).expect("a change");
            assert_eq!(last.audience, seen, "the last change reached who sees the incident");
            for unit in district.units() {
                let sees = crate::access::sees(district, &unit.id, &case.incident, &case.tasks);
                assert_eq!(sees, seen.contains(&unit.id));
            }
        }
    }
}

/// A command of a person of a unit on the current version.
pub(crate) fn order(memory: &Memory, id: Id, unit: &str, person: &str, verb: Verb) -> Command {
    Command {
        request_id: format!("{unit}/{person}/{}/{}", memory.commands.len(), memory.now),
        incident: id,
        etag: memory.cases.get(&id).map_or(0, |case| case.incident.version),
        unit: unit.into(),
        person: person.into(),
        note: "because".into(),
        evidence: Vec::new(),
        verb,
    }
}
