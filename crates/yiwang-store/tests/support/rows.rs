//! Rows for tests: random ones for round trips, and plausible changes of whole incidents.

use std::sync::Arc;

use yiwang_core::ids::{self, Id};
use yiwang_core::incident::{
    Action, Actor, AuditRow, Cause, CauseKind, ChangeKind, Changes, Clock, ClockKind, ClockSegment,
    CloseMethod, CommandRow, Confidence, History, Incident, LocatedBy, Notice, NoticeKind,
    OutboxRow, Outcome, PolicyRow, RefusalCode, Request, RequestKind, RequestState, Role,
    SignalRow, State, Task, TaskRole, TaskState, TimerFire, UnitId, Upsert,
};
use yiwang_core::record::{AlarmSeverity, Point, Signal, SignalKind};

/// Deterministic random numbers (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub fn id(&mut self) -> Id {
        Id(u128::from(self.next()) << 64 | u128::from(self.next()))
    }

    fn int(&mut self) -> i64 {
        match self.below(4) {
            0 => self.of(&[0, 1, -1, i64::MAX, i64::MIN]),
            1 => (self.next() % 1000) as i64,
            _ => self.next() as i64,
        }
    }

    fn u32(&mut self) -> u32 {
        self.next() as u32
    }

    fn bool(&mut self) -> bool {
        self.below(2) == 1
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 9] =
            ["", "青浦区", "a", "\"quoted\"", "\\", "\n", "徐泾镇 🚒", "'; DROP TABLE x;--", "é"];
        (0..self.below(5)).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }

    fn arc(&mut self) -> Arc<str> {
        Arc::from(self.text())
    }

    fn option<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.bool() { Some(make(self)) } else { None }
    }

    fn list<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    fn point(&mut self) -> Point {
        Point { lon_e6: self.u32() as i32, lat_e6: self.u32() as i32 }
    }
}

pub fn incident(r: &mut Rng) -> Incident {
    Incident {
        id: r.id(),
        no: format!("no-{}", r.next()),
        version: r.int(),
        state: r.of(State::ALL),
        category: r.arc(),
        list_version: r.arc(),
        title: r.text(),
        text: r.text(),
        joint_duty: r.bool(),
        severity: r.of(&AlarmSeverity::ALL),
        level: r.option(|r| r.next() as u8),
        drill_id: r.option(Rng::text),
        source: r.text(),
        event_id: r.text(),
        asset: r.option(Rng::arc),
        point: r.option(Rng::point),
        located_by: r.of(LocatedBy::ALL),
        confidence: r.of(Confidence::ALL),
        candidates: r.list(Rng::arc),
        location_conflict: r.bool(),
        place: r.arc(),
        district: r.arc(),
        town: r.option(Rng::arc),
        station: r.option(Rng::arc),
        village: r.option(Rng::arc),
        grid: r.option(Rng::arc),
        desk: r.arc(),
        lead: r.option(Rng::arc),
        holder: r.option(Rng::arc),
        tier: r.option(|r| r.next() as u8),
        watchers: r.list(Rng::arc),
        excluded: r.list(Rng::arc),
        bound: r.option(Rng::arc),
        parent: r.option(Rng::id),
        merged_into: r.option(Rng::id),
        recurrence_of: r.option(Rng::id),
        mode_epoch: r.int(),
        supervise_level: r.next() as u8,
        signals: r.u32(),
        standing: r.u32(),
        returns: r.u32(),
        extensions: r.u32(),
        suspensions: r.u32(),
        reworks: r.u32(),
        reopenings: r.u32(),
        first_signal_at: r.int(),
        last_signal_at: r.int(),
        reported_at: r.int(),
        filed_at: r.option(Rng::int),
        dispatched_at: r.option(Rng::int),
        acked_at: r.option(Rng::int),
        fed_back_at: r.option(Rng::int),
        closed_at: r.option(Rng::int),
        recovered_at: r.option(Rng::int),
        on_time: r.option(Rng::bool),
        overdue_at: r.option(Rng::int),
        due_at: r.option(Rng::int),
        close_method: r.option(|r| r.of(CloseMethod::ALL)),
        reporter: r.option(Rng::text),
        checker: r.option(Rng::text),
        policy_id: r.option(Rng::id),
        group_key: r.id(),
        group_radius_m: r.u32(),
        group_window_ms: r.int(),
        urgent: r.bool(),
        updated_at: r.int(),
        updated_by_unit: r.arc(),
        updated_by: r.text(),
    }
}

pub fn task(r: &mut Rng, incident: Id, number: u32) -> Task {
    Task {
        id: r.id(),
        incident,
        number,
        unit: r.arc(),
        seat: r.option(Rng::arc),
        role: r.of(&[TaskRole::Assist, TaskRole::Check]),
        mandatory: r.bool(),
        from_policy: r.bool(),
        state: r.of(TaskState::ALL),
        cause: r.of(Cause::ALL),
        end_cause: r.option(|r| r.of(Cause::ALL)),
        persons: r.list(Rng::text),
        note: r.text(),
        evidence: r.list(Rng::text),
        sent_at: r.int(),
        acked_at: r.option(Rng::int),
        done_at: r.option(Rng::int),
        ended_at: r.option(Rng::int),
        due_at: r.option(Rng::int),
    }
}

pub fn clock(r: &mut Rng, incident: Id) -> Clock {
    Clock {
        id: r.id(),
        incident,
        owner: r.id(),
        kind: r.of(ClockKind::ALL),
        milestone: r.option(Rng::text),
        budget_ms: r.int(),
        budget_no: r.u32(),
        consumed_ms: r.int(),
        running_since: r.option(Rng::int),
        stopped: r.bool(),
        calendar: r.option(Rng::arc),
        generation: r.u32(),
        rungs: r.arc(),
        next_rung: r.option(Rng::u32),
        fire_at: r.option(Rng::int),
        overdue_at: r.option(Rng::int),
        started_at: r.int(),
    }
}

pub fn segment(r: &mut Rng, incident: Id) -> ClockSegment {
    ClockSegment {
        clock: r.id(),
        incident,
        generation: r.u32(),
        from: r.int(),
        to: r.int(),
        calendar: r.option(Rng::arc),
        budget_ms: r.int(),
        budget_no: r.u32(),
        added_ms: r.int(),
        consumed_ms: r.int(),
        cause: r.of(Action::ALL),
    }
}

pub fn request(r: &mut Rng, incident: Id) -> Request {
    Request {
        id: r.id(),
        incident,
        kind: r.of(RequestKind::ALL),
        state: r.of(&[RequestState::Approved, RequestState::Denied, RequestState::Lapsed]),
        task: r.id(),
        version: r.int(),
        asked_by_unit: r.arc(),
        asked_by: r.text(),
        asked_at: r.int(),
        reason: r.text(),
        note: r.text(),
        proposed: r.option(Rng::arc),
        approver: r.arc(),
        decided_by_unit: r.option(Rng::arc),
        decided_by: r.option(Rng::text),
        decided_at: r.option(Rng::int),
        decision_note: r.text(),
    }
}

pub fn actor(r: &mut Rng) -> Actor {
    Actor {
        role: r.of(Role::ALL),
        unit: r.arc(),
        person: r.text(),
        on_behalf_of: r.option(Rng::arc),
    }
}

pub fn history(r: &mut Rng, incident: Id, version: i64) -> History {
    History {
        incident,
        version,
        action: r.of(Action::ALL),
        from: r.option(|r| r.of(State::ALL)),
        to: r.of(State::ALL),
        actor: actor(r),
        reason: r.text(),
        cause_kind: r.of(CauseKind::ALL),
        cause_id: r.text(),
        request_id: r.text(),
        mode_epoch: r.int(),
        at: r.int(),
        detail: r.text(),
    }
}

pub fn outbox(r: &mut Rng, view: &Incident, version: i64) -> OutboxRow {
    let notice = |r: &mut Rng| Notice { unit: r.arc(), kind: r.of(NoticeKind::ALL) };
    let mut view = view.clone();
    view.version = version;
    OutboxRow {
        incident: view.id,
        version,
        kind: r.of(ChangeKind::ALL),
        action: r.of(Action::ALL),
        at: r.int(),
        audience: r.list(Rng::arc),
        left: r.list(Rng::arc),
        urgent: r.bool(),
        notices: r.list(notice),
        mode_epoch: r.int(),
        drill_id: r.option(Rng::text),
        tasks: (0..r.below(3)).map(|number| task(r, view.id, number as u32)).collect(),
        view,
        actor: actor(r),
        detail: r.text(),
    }
}

pub fn audit(r: &mut Rng) -> AuditRow {
    AuditRow {
        id: r.id(),
        at: r.int(),
        actor: actor(r),
        action: r.of(Action::ALL),
        incident: r.option(Rng::id),
        version: r.option(Rng::int),
        reason: r.text(),
        request_id: r.text(),
        refused: r.option(|r| r.of(RefusalCode::ALL)),
    }
}

pub fn signal(r: &mut Rng, incident: Id) -> SignalRow {
    SignalRow {
        signal: Signal {
            source: format!("device/{}", r.next()),
            event_id: r.id().to_string(),
            kind: r.of(&SignalKind::ALL),
            alarm_key: r.text(),
            category: r.text(),
            severity: r.of(&AlarmSeverity::ALL),
            time: r.int(),
            since: r.int(),
            received_at: r.int(),
            device: r.text(),
            asset: r.option(Rng::text),
            place: r.option(Rng::text),
            point: r.option(Rng::point),
            cause: r.text(),
            text: r.text(),
            reading: r.option(Rng::id),
            members: r.list(Rng::text),
        },
        digest: r.id(),
        drill_id: r.option(Rng::text),
        outcome: r.of(Outcome::ALL),
        reason: r.text(),
        incident: r.option(|_| incident),
        place: r.option(Rng::arc),
        at: r.int(),
        cleared_at: r.option(Rng::int),
    }
}

pub fn command(r: &mut Rng) -> CommandRow {
    CommandRow {
        request_id: r.id().to_string(),
        digest: r.id(),
        at: r.int(),
        incident: r.option(Rng::id),
        version: r.int(),
        state: r.option(|r| r.of(State::ALL)),
        outcome: r.option(|r| r.of(Outcome::ALL)),
    }
}

pub fn fire(r: &mut Rng) -> TimerFire {
    TimerFire { clock: r.id(), budget_no: r.u32(), rung: r.u32(), at: r.int() }
}

pub fn policy(r: &mut Rng) -> PolicyRow {
    PolicyRow { id: r.id(), body: r.text() }
}

/// Every table with random rows that hang together by their incident.
pub fn everything(seed: u64) -> Changes {
    let mut r = Rng(seed);
    let r = &mut r;
    let row = incident(r);
    let id = row.id;
    Changes {
        tasks: (0..5).map(|number| task(r, id, number)).collect(),
        clocks: (0..5).map(|_| clock(r, id)).collect(),
        segments: (0..5).map(|_| segment(r, id)).collect(),
        requests: (0..3).map(|_| request(r, id)).collect(),
        history: (1..6).map(|version| history(r, id, version)).collect(),
        outbox: (1..6).map(|version| outbox(r, &row, version)).collect(),
        audit: (0..5).map(|_| audit(r)).collect(),
        signals: (0..5).map(|_| signal(r, id)).collect(),
        cleared: Vec::new(),
        commands: (0..5).map(|_| command(r)).collect(),
        fires: (0..5).map(|_| fire(r)).collect(),
        policies: (0..2).map(|_| policy(r)).collect(),
        incidents: vec![Upsert { base: 0, row }],
    }
}

/// Time of the first plausible incident.
pub const START: i64 = 1_795_399_200_000;

fn unit(name: &str) -> UnitId {
    Arc::from(name)
}

/// Who sees an incident of this village.
pub fn audience(town: &str, village: &str) -> Vec<UnitId> {
    let mut units: Vec<UnitId> = ["310118", town, village, "dept-water"].map(unit).to_vec();
    units.push(Arc::from(format!("{town}-s1")));
    units.sort();
    units
}

/// One signal that opened an incident which was accepted, filed and dispatched: the rows of the
/// usual case.
pub fn dispatched(seed: u64, number: u64, town: &str, village: &str) -> Changes {
    let mut r = Rng(seed ^ number.wrapping_mul(0x51_7c_c1_b7_27_22_0a_95));
    let r = &mut r;
    let at = START + number as i64;
    let source = format!("device/wl-radar-01/R-{number:06}");
    let event_id = r.id().to_string();
    let id = ids::incident(&source, &event_id);
    let mut row = incident(r);
    row.id = id;
    row.no = String::new();
    row.version = 4;
    row.state = State::Dispatched;
    row.category = unit("flood.road");
    row.list_version = unit("qp-demo@2026.1");
    row.title = "道路积水 · 徐泾镇".to_owned();
    row.text = "water level 1.27 m, threshold 1.20 m".to_owned();
    row.source.clone_from(&source);
    row.event_id.clone_from(&event_id);
    row.place = unit(village);
    row.district = unit("310118");
    row.town = Some(unit(town));
    row.village = Some(unit(village));
    row.reported_at = at;
    row.updated_at = at;
    row.closed_at = None;
    row.drill_id = None;
    let mut changes = Changes::default();
    let audience = audience(town, village);
    for version in 1..=4 {
        let mut change = outbox(r, &row, version);
        change.audience.clone_from(&audience);
        change.left = Vec::new();
        change.at = at;
        change.tasks.clear();
        changes.outbox.push(change);
        changes.history.push(history(r, id, version));
        changes.audit.push(audit(r));
    }
    for number in 1..=3 {
        let mut row = task(r, id, number);
        row.state = TaskState::Sent;
        row.role = if number == 1 { TaskRole::Lead } else { TaskRole::Assist };
        changes.tasks.push(row);
    }
    changes.clocks = (0..5).map(|_| clock(r, id)).collect();
    changes.segments = (0..3).map(|_| segment(r, id)).collect();
    let mut row_of_signal = signal(r, id);
    row_of_signal.signal.source = source;
    row_of_signal.signal.event_id = event_id;
    row_of_signal.signal.kind = SignalKind::Raise;
    row_of_signal.signal.alarm_key = format!("R-{number:06}/high-level");
    row_of_signal.signal.time = at;
    row_of_signal.outcome = Outcome::Opened;
    row_of_signal.incident = Some(id);
    row_of_signal.cleared_at = None;
    changes.signals.push(row_of_signal);
    changes.incidents.push(Upsert { base: 0, row });
    changes
}

/// Appends the rows of another step.
pub fn merge(into: &mut Changes, from: Changes) {
    into.incidents.extend(from.incidents);
    into.tasks.extend(from.tasks);
    into.clocks.extend(from.clocks);
    into.segments.extend(from.segments);
    into.requests.extend(from.requests);
    into.history.extend(from.history);
    into.outbox.extend(from.outbox);
    into.audit.extend(from.audit);
    into.signals.extend(from.signals);
    into.cleared.extend(from.cleared);
    into.commands.extend(from.commands);
    into.fires.extend(from.fires);
    into.policies.extend(from.policies);
}
