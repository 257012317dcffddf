//! Random histories: whatever signals, commands, silence and absences come, the invariants hold
//! after each effect.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::clock::{ClockSpec, Fold};
use super::fixture::{
    FRI_18_SEP, HOUR, MINUTE, Memory, Variant, clear, office, order, raise, variant,
};
use super::*;
use crate::calendar::Calendar;
use crate::district::District;
use crate::ids::Id;

const NOW: i64 = FRI_18_SEP + 10 * HOUR;
const UNITS: [&str; 10] = [
    "d",
    "t1",
    "t2",
    "t1s1",
    "t1s2",
    "t1s1v1",
    "t1s1v2",
    "dept:water",
    "dept:fire",
    "company:muni",
];
const PERSONS: [&str; 4] = ["li", "wang", "zhao", "sun"];
const CATEGORIES: [&str; 5] = ["fire.smoke", "flood.road", "part.lamp", "env.fume", "no.such"];

#[derive(Clone, Debug)]
enum Op {
    Raise { device: usize, category: usize },
    Clear { device: usize, category: usize },
    Wait { minutes: i64 },
    Duty { variant: usize },
    Order { unit: usize, person: usize, verb: usize, target: usize, stale: bool },
    Guided { verb: usize, person: usize, target: usize },
    Again,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..2usize, 0..5usize).prop_map(|(device, category)| Op::Raise { device, category }),
        1 => (0..2usize, 0..5usize).prop_map(|(device, category)| Op::Clear { device, category }),
        2 => prop_oneof![4 => 0..4i64, 1 => 0..300i64].prop_map(|minutes| Op::Wait { minutes }),
        1 => (0..5usize).prop_map(|variant| Op::Duty { variant }),
        4 => (0..UNITS.len(), 0..PERSONS.len(), 0..18usize, 0..UNITS.len(), any::<bool>())
            .prop_map(|(unit, person, verb, target, stale)| {
                Op::Order { unit, person, verb, target, stale }
            }),
        16 => (0..18usize, 0..PERSONS.len(), 0..UNITS.len())
            .prop_map(|(verb, person, target)| Op::Guided { verb, person, target }),
        1 => Just(Op::Again),
    ]
}

fn verb(case: &Case, number: usize, target: usize) -> Verb {
    let unit: UnitId = UNITS[target].into();
    let some = (!target.is_multiple_of(3)).then(|| unit.clone());
    match number {
        0 => Verb::Accept,
        1 => Verb::Decline,
        2 => Verb::File,
        3 => Verb::Dispatch { lead: some },
        4 => Verb::Acknowledge,
        5 => Verb::RequestReturn { reason: ReturnReason::NotOurs, proposed: some },
        6 => Verb::ApproveReturn { lead: some },
        7 => Verb::DenyReturn,
        8 => Verb::Reassign { lead: unit },
        9 => Verb::FeedBack,
        10 => Verb::StartCheck,
        11 => Verb::Close,
        12 => Verb::Rework,
        13 => Verb::Comment,
        14 => Verb::TaskAck,
        15 => Verb::TaskDone,
        16 => Verb::AddAssist { unit, mandatory: target.is_multiple_of(2) },
        _ => {
            let assist = case.tasks.iter().find(|task| task.role == TaskRole::Assist);
            Verb::WaiveAssist { task: assist.map_or(Id(0), |task| task.id) }
        }
    }
}

/// A unit that is likely to be allowed, so that histories go deep.
fn likely(case: &Case, verb: &Verb) -> UnitId {
    let incident = &case.incident;
    let assist = case.tasks.iter().find(|task| {
        task.role == TaskRole::Assist && matches!(task.state, TaskState::Sent | TaskState::Acked)
    });
    let pending = case.requests.iter().find(|request| request.state == RequestState::Pending);
    let unit = match verb {
        Verb::Acknowledge | Verb::FeedBack | Verb::RequestReturn { .. } => incident.lead.clone(),
        Verb::TaskAck | Verb::TaskDone => assist.map(|task| task.unit.clone()),
        Verb::ApproveReturn { .. } | Verb::DenyReturn => pending.map(|r| r.approver.clone()),
        Verb::StartCheck | Verb::Rework => Some("d".into()),
        _ => None,
    };
    unit.unwrap_or_else(|| incident.desk.clone())
}

/// Whoever may be absent: nobody, the village, village and station, departments, most.
fn districts() -> Vec<District> {
    let absences: [&[&str]; 5] = [
        &[],
        &["t1s1v1"],
        &["t1s1v1", "t1s1"],
        &["dept:water", "dept:fire", "company:muni"],
        &["t1s1v1", "t1s1", "t1", "dept:water", "company:muni"],
    ];
    absences.iter().map(|absent| variant(&Variant { absent, ..Variant::default() })).collect()
}

struct World<'d> {
    districts: &'d [District],
    district: &'d District,
    memory: Memory,
    number: u32,
    last: Option<Command>,
}

impl<'d> World<'d> {
    fn new(districts: &'d [District]) -> Self {
        Self { districts, district: &districts[0], memory: Memory::new(NOW), number: 0, last: None }
    }

    fn act(&mut self, op: &Op) {
        self.number += 1;
        let (now, number) = (self.memory.now, self.number);
        match op {
            Op::Raise { device, category } => {
                let signal = raise(["a", "lamp-1"][*device], CATEGORIES[*category], number, now);
                self.memory.signal(self.district, &signal);
            }
            Op::Clear { device, category } => {
                let signal = clear(["a", "lamp-1"][*device], CATEGORIES[*category], number, now);
                self.memory.signal(self.district, &signal);
            }
            Op::Wait { minutes } => self.memory.until(self.district, now + minutes * MINUTE),
            Op::Duty { variant } => self.district = &self.districts[*variant],
            Op::Order { unit, person, verb: verb_no, target, stale } => {
                let Some(case) = self.memory.cases.values().nth(target % 3) else { return };
                let verb = verb(case, *verb_no, *target);
                let id = case.incident.id;
                let mut command = order(&self.memory, id, UNITS[*unit], PERSONS[*person], verb);
                command.etag -= i64::from(*stale);
                self.command(command);
            }
            Op::Guided { verb: verb_no, person, target } => {
                let Some(case) = self.memory.cases.values().nth(target % 3) else { return };
                let verbs = (0..18).map(|number| verb(case, number, *target));
                let state = Some(case.incident.state);
                let fitting: Vec<Verb> =
                    verbs.filter(|v| machine::allowed(v.action(), state)).collect();
                let Some(verb) = fitting.get(verb_no % fitting.len().max(1)).cloned() else {
                    return;
                };
                let (id, unit) = (case.incident.id, likely(case, &verb));
                self.command(order(&self.memory, id, &unit, PERSONS[*person], verb));
            }
            Op::Again => {
                if let Some(command) = self.last.clone() {
                    let before = self.memory.cases.clone();
                    let done = self.memory.command(self.district, &command).unwrap();
                    assert!(done.repeat && self.memory.cases == before);
                }
            }
        }
        self.memory.check(self.district);
        self.hold();
    }

    fn command(&mut self, mut command: Command) {
        command.request_id = format!("c-{}", self.number);
        let before = self.memory.cases.clone();
        let stale = command.etag != before[&command.incident].incident.version;
        match self.memory.command(self.district, &command) {
            Ok(_) => {
                assert!(!stale);
                self.last = Some(command);
            }
            Err(_) => assert!(self.memory.cases == before, "a refusal changes nothing"),
        }
    }

    /// What must hold beyond the invariants of one case.
    fn hold(&self) {
        for case in self.memory.cases.values() {
            let incident = &case.incident;
            let lead = incident.lead.as_ref();
            let excluded = lead.is_some_and(|lead| incident.excluded.contains(lead));
            let root = lead == Some(self.district.id());
            assert!(!excluded || lead == incident.bound.as_ref() || root, "excluded unit leads");
            assert!(incident.returns <= 2 && case.requests.len() >= incident.returns as usize);
            for request in &case.requests {
                assert_ne!(request.decided_by.as_ref(), Some(&request.asked_by));
            }
            let checker = incident.checker.as_ref();
            let mut leads = case.tasks.iter().filter(|task| task.role == TaskRole::Lead);
            assert!(!leads.any(|task| checker.is_some_and(|who| task.persons.contains(who))
                && matches!(incident.state, State::Checking)));
        }
        let alarms =
            self.memory.signals.values().filter(|row| {
                row.cleared_at.is_none() && super::open_index::clearable(&row.signal)
            });
        for row in alarms {
            let id = super::open_index::alarm_id(&row.signal.source, &row.signal.alarm_key);
            let standing = self.memory.index.alarm(id);
            assert!(standing.iter().any(|s| Some(s.incident) == row.incident), "alarm stands");
        }
        let open = self.memory.cases.values().filter(|case| case.incident.state.is_open());
        assert_eq!(open.count(), self.memory.index.len());
    }
}

/// The generator is worth something only if it reaches every row of the table.
#[test]
fn random_histories_reach_every_transition() {
    let districts = districts();
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(op(), 40..80);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..300 {
        let mut world = World::new(&districts);
        strategy.new_tree(&mut runner).unwrap().current().iter().for_each(|op| world.act(op));
        for row in world.memory.histories.values().flatten() {
            *seen.entry(row.action).or_insert(0) += 1;
        }
    }
    let missing: Vec<_> = Action::ALL.iter().filter(|a| !seen.contains_key(*a)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}; {seen:?}");
}

fn runner(cases: u32) -> TestRunner {
    let source = file!();
    TestRunner::new(ProptestConfig {
        cases,
        source_file: Some(source),
        ..ProptestConfig::default()
    })
}

#[test]
fn invariants_hold_over_random_histories() {
    let districts = districts();
    let histories = prop::collection::vec(op(), 1..40);
    let hold = |ops: Vec<Op>| {
        let mut world = World::new(&districts);
        ops.iter().for_each(|op| world.act(op));
        Ok(())
    };
    runner(2_000).run(&histories, hold).unwrap();
}

/// A clock against a count of its running minutes.
fn reckon(
    office: &Calendar,
    start: i64,
    budget: i64,
    ops: &[(i64, u8)],
) -> Result<(), TestCaseError> {
    let terms = Terms::default();
    let mut segments = Vec::new();
    let mut now = FRI_18_SEP + start * MINUTE;
    let spec = ClockSpec {
        incident: Id(1),
        owner: Id(1),
        kind: ClockKind::Incident,
        budget_ms: budget * MINUTE,
        calendar: Some("office-demo".into()),
        rungs: "rungs-default".into(),
    };
    let mut clock = Clock::start(spec, now);
    let mut slow_ms = 0;
    for (minutes, op) in ops {
        for _ in 0..*minutes {
            if clock.running_since.is_some() {
                slow_ms += office.worked(now, now + MINUTE);
            }
            now += MINUTE;
        }
        let (calendar, segments) = (Some(office), &mut segments);
        let mut fold = Fold { calendar, terms: &terms, now, cause: Action::Rung, segments };
        match op {
            0 => fold.pause(&mut clock),
            1 => fold.resume(&mut clock),
            _ => fold.fold(&mut clock),
        }
        prop_assert_eq!(clock.consumed_ms, slow_ms);
        prop_assert_eq!(clock.overdue_at.is_some(), slow_ms > budget * MINUTE);
        if let Some(due) = clock.due(calendar).filter(|_| slow_ms < budget * MINUTE) {
            prop_assert_eq!(clock.consumed(calendar, due), budget * MINUTE);
        }
    }
    let charged: i64 = segments.iter().map(|segment| segment.added_ms).sum();
    prop_assert_eq!(charged, slow_ms);
    Ok(())
}

#[test]
fn clocks_equal_a_minute_by_minute_reckoning() {
    let office = office();
    let steps = prop::collection::vec((0..1_500i64, 0..3u8), 1..12);
    let clocks = (0..20_000i64, 1..2_000i64, steps);
    runner(1_000)
        .run(&clocks, |(start, budget, ops)| reckon(&office, start, budget, &ops))
        .unwrap();
}
