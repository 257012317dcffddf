//! Signals, commands and rungs against a store in memory.

use super::fixture::{
    DAY, FRI_18_SEP, HOUR, MINUTE, Memory, V1, Variant, clear, district, order, raise, variant,
};
use super::*;
use crate::district::District;
use crate::ids::Id;
use crate::record::{AlarmSeverity, Signal, SignalKind};

const NOW: i64 = FRI_18_SEP + 10 * HOUR;

fn smoke() -> (District, Memory, Id) {
    let district = district();
    let mut memory = Memory::new(NOW);
    let answer = memory.signal(&district, &raise("s1", "fire.smoke", 1, NOW));
    (district, memory, answer.incident.unwrap())
}

fn actions(memory: &Memory, id: Id) -> Vec<Action> {
    memory.histories[&id].iter().map(|row| row.action).collect()
}

fn ok(memory: &mut Memory, district: &District, id: Id, unit: &str, person: &str, verb: Verb) {
    let command = order(memory, id, unit, person, verb);
    memory.command(district, &command).unwrap();
    memory.check(district);
}

fn refused(
    memory: &mut Memory,
    district: &District,
    id: Id,
    (unit, person): (&str, &str),
    verb: Verb,
) -> RefusalCode {
    let command = order(memory, id, unit, person, verb);
    let before = memory.cases.clone();
    let refusal = memory.command(district, &command).unwrap_err();
    assert!(memory.cases == before, "a refused command changes nothing");
    assert_eq!(memory.audit.last().unwrap().refused, Some(refusal.code));
    refusal.code
}

#[test]
fn opens_accepts_files_and_dispatches_at_once() {
    let (district, memory, id) = smoke();
    memory.check(&district);
    let case = memory.only();
    assert_eq!(
        actions(&memory, id),
        [Action::Report, Action::Accept, Action::File, Action::Dispatch]
    );
    assert_eq!((case.incident.state, case.incident.version), (State::Dispatched, 4));
    assert_eq!(case.incident.lead.as_deref(), Some(V1));
    assert_eq!(&*case.incident.desk, "t1");
    let kinds: Vec<ClockKind> = case.clocks.iter().map(|clock| clock.kind).collect();
    assert_eq!(kinds, [ClockKind::Incident, ClockKind::Ack, ClockKind::Ack, ClockKind::Ack]);
    assert_eq!(case.tasks.len(), 3, "village, fire, station");
    let last = memory.outbox.last().unwrap();
    let audience: Vec<&str> = last.audience.iter().map(|unit| &**unit).collect();
    assert_eq!(audience, ["d", "dept:fire", "t1", "t1s1", "t1s1v1"]);
    assert_eq!(case.tasks[0].due_at, Some(NOW + 5 * MINUTE));
    assert_eq!(case.incident.due_at, Some(NOW + 4 * HOUR));
}

#[test]
fn a_repeat_is_a_duplicate_with_the_same_answer() {
    let (district, mut memory, id) = smoke();
    let again = memory.signal(&district, &raise("s1", "fire.smoke", 1, NOW));
    assert!(again.duplicate && !again.content_differs);
    assert_eq!((again.outcome, again.incident), (Outcome::Opened, Some(id)));
    let other = Signal { severity: AlarmSeverity::Info, ..raise("s1", "fire.smoke", 1, NOW) };
    assert!(memory.signal(&district, &other).content_differs);
    assert_eq!(memory.only().incident.version, 4);
}

#[test]
fn signals_join_by_asset_within_the_window_only() {
    let (district, mut memory, id) = smoke();
    memory.now += MINUTE;
    let worse =
        Signal { severity: AlarmSeverity::Critical, ..raise("s1", "fire.smoke", 2, NOW + MINUTE) };
    let answer = memory.signal(&district, &worse);
    assert_eq!((answer.outcome, answer.incident), (Outcome::Attached, Some(id)));
    let incident = &memory.only().incident;
    assert_eq!((incident.signals, incident.standing), (2, 1));
    assert_eq!((incident.severity, incident.version), (AlarmSeverity::Critical, 5));
    let other = memory.signal(&district, &raise("s2", "fire.smoke", 1, NOW + MINUTE));
    assert_eq!(other.outcome, Outcome::Opened);
    let later = memory.signal(&district, &raise("s1", "fire.smoke", 3, NOW + 3 * HOUR));
    assert_eq!(later.outcome, Outcome::Opened);
    memory.check(&district);
}

#[test]
fn nearest_open_incident_within_the_radius_wins() {
    let district = district();
    let mut memory = Memory::new(NOW);
    let at = |device: &str, lat_e6| Signal {
        asset: None,
        point: Some(crate::record::Point { lon_e6: 121_010_000, lat_e6 }),
        ..raise(device, "flood.road", 1, NOW)
    };
    let a = memory.signal(&district, &at("a", 31_100_000));
    let b = memory.signal(&district, &at("b", 31_101_000));
    assert_eq!((a.outcome, b.outcome), (Outcome::Opened, Outcome::Opened), "111 m apart");
    let c = memory.signal(&district, &at("c", 31_100_600));
    assert_eq!((c.outcome, c.incident), (Outcome::Attached, b.incident));
    let batch = [at("x", 31_200_000), at("y", 31_200_100), at("z", 31_200_500)];
    let answers: Vec<Answer> = memory.with(&district, |session, memory| {
        batch.iter().map(|s| memory.answer(session, |session| session.signal(s))).collect()
    });
    assert_eq!(answers[0].outcome, Outcome::Opened);
    assert_eq!(answers[1].incident, answers[0].incident);
    assert_eq!(answers[2].incident, answers[0].incident);
    memory.check(&district);
}

#[test]
fn quiet_repeats_count_without_a_version() {
    let (district, mut memory, _) = smoke();
    for n in 2..10 {
        memory.now += 1_000;
        memory.signal(&district, &raise("s1", "fire.smoke", n, memory.now));
    }
    let incident = &memory.only().incident;
    assert_eq!((incident.signals, incident.version), (9, 5), "one version in 5 s");
    memory.check(&district);
}

#[test]
fn late_unknown_and_idless_signals_have_their_outcomes() {
    let district = district();
    let mut memory = Memory::new(NOW);
    let late = Signal { received_at: NOW + 2 * DAY, ..raise("s1", "fire.smoke", 1, NOW) };
    assert_eq!(memory.signal(&district, &late).outcome, Outcome::Late);
    let unknown = memory.signal(&district, &raise("s2", "no.such", 1, NOW));
    assert_eq!(unknown.outcome, Outcome::Opened);
    assert_eq!(&*memory.only().incident.category, "other");
    assert_eq!(memory.only().incident.state, State::Reported);
    let idless = Signal { event_id: String::new(), ..raise("s3", "fire.smoke", 1, NOW) };
    assert_eq!(memory.signal(&district, &idless).outcome, Outcome::Rejected);
    memory.check(&district);
}

#[test]
fn recovery_closes_a_fed_back_incident_by_the_sensor() {
    let (district, mut memory, id) = smoke();
    ok(&mut memory, &district, id, V1, "li", Verb::Acknowledge);
    assert_eq!(
        refused(&mut memory, &district, id, (V1, "li"), Verb::FeedBack),
        RefusalCode::AssistsOpen
    );
    ok(&mut memory, &district, id, "t1s1", "wang", Verb::TaskAck);
    ok(&mut memory, &district, id, "t1s1", "wang", Verb::TaskDone);
    ok(&mut memory, &district, id, V1, "li", Verb::FeedBack);
    assert_eq!(memory.only().incident.state, State::FedBack);
    memory.now += HOUR;
    let answer = memory.signal(&district, &clear("s1", "fire.smoke", 2, memory.now));
    assert_eq!((answer.outcome, answer.incident), (Outcome::Cleared, Some(id)));
    let incident = &memory.only().incident;
    assert_eq!(incident.state, State::Closed);
    assert_eq!(incident.close_method, Some(CloseMethod::Sensor));
    assert_eq!(incident.on_time, Some(true));
    let nothing = memory.signal(&district, &clear("s1", "fire.smoke", 3, memory.now));
    assert_eq!(nothing.outcome, Outcome::ClearedNothing);
    let again = memory.signal(&district, &raise("s1", "fire.smoke", 4, memory.now));
    assert_eq!(again.outcome, Outcome::Opened, "only open incidents are joined");
    let reopened = &memory.cases[&again.incident.unwrap()].incident;
    assert_eq!(reopened.recurrence_of, Some(id));
    memory.check(&district);
}

#[test]
fn a_new_raise_takes_back_recovery() {
    let (district, mut memory, id) = smoke();
    memory.signal(&district, &clear("s1", "fire.smoke", 2, NOW));
    assert_eq!(memory.only().incident.recovered_at, Some(NOW));
    memory.signal(&district, &raise("s1", "fire.smoke", 3, NOW + 1));
    assert_eq!(memory.only().incident.recovered_at, None);
    ok(&mut memory, &district, id, V1, "li", Verb::Acknowledge);
    let task = memory.only().tasks.iter().find(|task| task.mandatory && &*task.unit != V1);
    let task = task.unwrap().id;
    ok(&mut memory, &district, id, "t1", "zhao", Verb::WaiveAssist { task });
    ok(&mut memory, &district, id, V1, "li", Verb::FeedBack);
    assert_eq!(memory.only().incident.state, State::FedBack);
    let batch = [clear("s1", "fire.smoke", 4, NOW + 2), raise("s1", "fire.smoke", 5, NOW + 2)];
    memory.with(&district, |session, memory| {
        for signal in &batch {
            memory.answer(session, |session| session.signal(signal));
        }
    });
    assert_eq!(memory.cases.len(), 2, "closed by the clear, so the raise opens another");
    memory.check(&district);
}

#[test]
fn by_hand_from_report_to_close() {
    let district = district();
    let mut memory = Memory::new(NOW);
    let report = Signal {
        source: "partner/app".into(),
        kind: SignalKind::Report,
        alarm_key: String::new(),
        device: String::new(),
        asset: None,
        place: Some("t2s1v2".into()),
        ..raise("r", "env.fume", 1, NOW)
    };
    let id = memory
        .with(&district, |s, m| m.answer(s, |s| s.report(&report)))
        .unwrap()
        .incident
        .unwrap();
    assert_eq!(memory.only().incident.located_by, LocatedBy::Stated);
    ok(&mut memory, &district, id, "t2", "clerk", Verb::Accept);
    ok(&mut memory, &district, id, "t2", "leader", Verb::File);
    ok(&mut memory, &district, id, "t2", "disp", Verb::Dispatch { lead: None });
    assert_eq!(memory.only().incident.lead.as_deref(), Some("t2s1"));
    assert_eq!(
        refused(&mut memory, &district, id, ("t1", "x"), Verb::Acknowledge),
        RefusalCode::NotFound
    );
    assert_eq!(
        refused(&mut memory, &district, id, ("t2", "x"), Verb::Acknowledge),
        RefusalCode::NotYours
    );
    ok(&mut memory, &district, id, "t2s1", "li", Verb::Acknowledge);
    ok(&mut memory, &district, id, "t2s1", "li", Verb::FeedBack);
    assert_eq!(
        refused(&mut memory, &district, id, ("t2", "li"), Verb::StartCheck),
        RefusalCode::SamePerson
    );
    ok(&mut memory, &district, id, "t2", "check", Verb::StartCheck);
    ok(&mut memory, &district, id, "t2", "check", Verb::Rework);
    assert_eq!(memory.only().incident.state, State::Dispatched);
    ok(&mut memory, &district, id, "t2s1", "li", Verb::Acknowledge);
    ok(&mut memory, &district, id, "t2s1", "li", Verb::FeedBack);
    ok(&mut memory, &district, id, "d", "check", Verb::StartCheck);
    ok(&mut memory, &district, id, "t2", "leader", Verb::Close);
    let incident = &memory.only().incident;
    assert_eq!((incident.state, incident.reworks), (State::Closed, 1));
    assert_eq!(incident.close_method, Some(CloseMethod::Person));
    let unknown = Signal { category: "no.such".into(), event_id: "r-2".into(), ..report };
    let refusal = memory.with(&district, |s, m| m.answer(s, |s| s.report(&unknown)));
    assert_eq!(refusal.unwrap_err().code, RefusalCode::CategoryInvalid);
}

#[test]
fn commands_are_idempotent_and_versioned() {
    let (district, mut memory, id) = smoke();
    let ack = order(&memory, id, V1, "li", Verb::Acknowledge);
    let done = memory.command(&district, &ack).unwrap();
    let again = memory.command(&district, &ack).unwrap();
    assert_eq!(again, Done { repeat: true, ..done });
    let reused = Command { person: "wu".into(), ..ack.clone() };
    let refusal = memory.command(&district, &reused).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::CommandIdReused);
    let stale = Command { request_id: "new".into(), ..ack };
    let refusal = memory.command(&district, &stale).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::VersionConflict);
    let current = refusal.current.unwrap();
    assert_eq!((current.version, current.state), (5, State::Handling));
    assert_eq!((&*current.unit, &*current.person), (V1, "li"));
    assert_eq!(
        refused(&mut memory, &district, id, (V1, "li"), Verb::Acknowledge),
        RefusalCode::WrongState
    );
    assert_eq!(
        refused(&mut memory, &district, id, (V1, ""), Verb::FeedBack),
        RefusalCode::PersonRequired
    );
    let nowhere = order(&memory, Id(7), V1, "li", Verb::Acknowledge);
    assert_eq!(memory.command(&district, &nowhere).unwrap_err().code, RefusalCode::NotFound);
}

#[test]
fn the_second_approved_return_binds() {
    let (district, mut memory, id) = smoke();
    let ask = || Verb::RequestReturn { reason: ReturnReason::NotOurs, proposed: None };
    ok(&mut memory, &district, id, V1, "li", ask());
    assert_eq!(refused(&mut memory, &district, id, (V1, "li"), ask()), RefusalCode::RequestPending);
    assert_eq!(
        refused(&mut memory, &district, id, ("t1s1", "li"), Verb::ApproveReturn { lead: None }),
        RefusalCode::SamePerson
    );
    ok(&mut memory, &district, id, "t1s1", "sun", Verb::ApproveReturn { lead: None });
    let incident = &memory.only().incident;
    assert_eq!((incident.state, incident.returns), (State::Dispatched, 1));
    assert_eq!(incident.lead.as_deref(), Some("t1s1"), "the village is excluded");
    ok(&mut memory, &district, id, "t1s1", "sun", ask());
    ok(&mut memory, &district, id, "t1", "zhao", Verb::DenyReturn);
    ok(&mut memory, &district, id, "t1s1", "sun", ask());
    assert_eq!(
        refused(&mut memory, &district, id, ("t1", "zhao"), Verb::ApproveReturn { lead: None }),
        RefusalCode::TargetInvalid
    );
    let lead = Some(V1.into());
    ok(&mut memory, &district, id, "t1", "zhao", Verb::ApproveReturn { lead });
    let incident = &memory.only().incident;
    assert_eq!(incident.bound.as_deref(), Some(V1), "a binding decision may name it");
    assert_eq!(incident.lead.as_deref(), Some(V1));
    assert_eq!(refused(&mut memory, &district, id, (V1, "li"), ask()), RefusalCode::ReturnBound);
}

#[test]
fn returns_are_possible_for_a_working_hour_after_the_acknowledgement() {
    let (district, mut memory, id) = smoke();
    ok(&mut memory, &district, id, V1, "li", Verb::Acknowledge);
    memory.now += 2 * HOUR;
    let ask = Verb::RequestReturn { reason: ReturnReason::NotOurs, proposed: None };
    assert_eq!(refused(&mut memory, &district, id, (V1, "li"), ask), RefusalCode::ReturnTooLate);
}

#[test]
fn x5_return_and_redispatch() {
    let (district, mut memory, id) = smoke();
    memory.now = NOW + 2 * MINUTE;
    let ask = Verb::RequestReturn { reason: ReturnReason::NoPower, proposed: None };
    ok(&mut memory, &district, id, V1, "li", ask);
    memory.now = NOW + 4 * MINUTE;
    let lead = Some("t1s1v2".into());
    ok(&mut memory, &district, id, "t1", "zhao", Verb::ApproveReturn { lead });
    let left = memory.outbox.iter().flat_map(|row| &row.left).any(|unit| &**unit == "t1s1v1");
    assert!(!left, "the place itself keeps its sight");
    let case = memory.only();
    assert_eq!(case.incident.due_at, Some(NOW + 4 * HOUR), "INCIDENT runs on");
    let lead = case.tasks.iter().find(|task| &*task.unit == "t1s1v2").unwrap();
    assert_eq!(lead.due_at, Some(NOW + 9 * MINUTE), "a fresh ACK");
    memory.now = NOW + 6 * MINUTE;
    ok(&mut memory, &district, id, "t1s1v2", "wu", Verb::Acknowledge);
    let lead = memory.only().tasks.iter().find(|task| &*task.unit == "t1s1v2").unwrap();
    assert_eq!(lead.due_at, Some(NOW + 6 * MINUTE + 4 * HOUR));
}

#[test]
fn silence_climbs_to_the_district_and_then_tells_the_commander() {
    let (district, mut memory, id) = smoke();
    memory.until(&district, NOW + 5 * MINUTE);
    memory.check(&district);
    assert_eq!(memory.only().incident.lead.as_deref(), Some("t1s1"));
    let kept = memory.only().tasks.iter().find(|t| &*t.unit == V1 && t.state == TaskState::Sent);
    assert!(kept.is_some_and(|task| task.role == TaskRole::Assist && !task.mandatory));
    memory.until(&district, NOW + 16 * MINUTE);
    assert_eq!(memory.only().incident.lead.as_deref(), Some("d"));
    memory.until(&district, NOW + 3 * HOUR);
    memory.check(&district);
    let told = memory.outbox.iter().flat_map(|row| &row.notices);
    let told = told.filter(|notice| notice.kind == NoticeKind::Unanswered).count();
    assert_eq!(told, 13, "once and twelve repetitions");
    let climbs = actions(&memory, id).iter().filter(|a| **a == Action::Climb).count();
    assert_eq!(climbs, 3);
    ok(&mut memory, &district, id, "d", "cmd", Verb::Acknowledge);
    memory.until(&district, NOW + 12 * HOUR);
    memory.check(&district);
    let incident = &memory.only().incident;
    assert_eq!(incident.overdue_at, Some(NOW + 4 * HOUR));
}

#[test]
fn a_request_without_answer_goes_up() {
    let policies = "- {match: {category: fire.smoke, area: d}, ack: 1d}\n";
    let district = variant(&Variant { policies, ..Variant::default() });
    let mut memory = Memory::new(NOW);
    let id = memory.signal(&district, &raise("s1", "fire.smoke", 1, NOW)).incident.unwrap();
    let ask = Verb::RequestReturn { reason: ReturnReason::WrongPlace, proposed: None };
    ok(&mut memory, &district, id, V1, "li", ask);
    assert_eq!(&*memory.only().requests[0].approver, "t1s1");
    memory.until(&district, NOW + 4 * HOUR);
    memory.check(&district);
    assert_eq!(&*memory.only().requests[0].approver, "t1");
    assert_eq!(
        refused(&mut memory, &district, id, ("t1s1", "sun"), Verb::DenyReturn),
        RefusalCode::NotYours
    );
    ok(&mut memory, &district, id, "t1", "zhao", Verb::DenyReturn);
    assert_eq!(memory.only().requests[0].state, RequestState::Denied);
}

#[test]
fn absent_units_are_skipped_at_once() {
    let district = variant(&Variant { absent: &[V1, "t1s1"], ..Variant::default() });
    let mut memory = Memory::new(NOW);
    let id = memory.signal(&district, &raise("s1", "fire.smoke", 1, NOW)).incident.unwrap();
    assert_eq!(memory.only().incident.lead.as_deref(), Some("t1"));
    let detail = &memory.histories[&id].last().unwrap().detail;
    assert_eq!(detail, "lead t1; skipped t1s1v1 OFF_DUTY; skipped t1s1 OFF_DUTY");
    assert!(memory.only().incident.watchers.iter().any(|unit| &**unit == V1));
    let lead = "t1s1v2".into();
    ok(&mut memory, &district, id, "t1", "disp", Verb::Reassign { lead });
    let old = memory.only().tasks.iter().find(|t| &*t.unit == "t1").unwrap();
    assert_eq!(old.end_cause, Some(Cause::Reassign));
    let outside = Verb::Reassign { lead: "t2s1".into() };
    assert_eq!(
        refused(&mut memory, &district, id, ("t1s1", "sun"), outside),
        RefusalCode::NotYours
    );
}

#[test]
fn an_asset_s_maintainer_leads_and_climbs_to_the_town() {
    let district = district();
    let mut memory = Memory::new(NOW);
    let signal = Signal { asset: Some("lamp-1".into()), ..raise("l", "part.lamp", 1, NOW) };
    let id = memory.signal(&district, &signal).incident.unwrap();
    assert_eq!(memory.only().incident.lead.as_deref(), Some("company:muni"));
    memory.until(&district, NOW + 6 * MINUTE);
    assert_eq!(memory.only().incident.lead.as_deref(), Some("t1"));
    let left = memory.outbox.iter().any(|row| row.left.iter().any(|u| &**u == "company:muni"));
    assert!(!left, "it keeps an assist");
    let lead = "t1s1".into();
    ok(&mut memory, &district, id, "t1", "disp", Verb::Reassign { lead });
}

#[test]
fn one_step_may_be_one_change() {
    let district = district();
    let index = OpenIndex::new(10);
    let terms = Terms { outbox: OutboxGrain::Step, ..Terms::default() };
    let mut session = Session::new(Inputs {
        district: &district,
        index: &index,
        terms: &terms,
        now: NOW,
        mode_epoch: 0,
    });
    session.signal(&raise("s1", "fire.smoke", 1, NOW));
    let changes = session.finish();
    assert_eq!((changes.outbox.len(), changes.history.len(), changes.audit.len()), (1, 4, 1));
    assert_eq!(changes.outbox[0].kind, ChangeKind::Opened);
    assert_eq!(changes.outbox[0].version, 4);
}

#[test]
fn the_same_signal_a_hundred_times_is_one_incident() {
    let (district, mut memory, id) = smoke();
    let (one, other) = (raise("s1", "fire.smoke", 1, NOW), raise("s9", "fire.smoke", 1, NOW));
    let wanted = memory.with(&district, |session, memory| {
        for _ in 0..100 {
            let answer = memory.answer(session, |session| session.signal(&one));
            assert_eq!((answer.incident, answer.duplicate), (Some(id), true));
            memory.answer(session, |session| session.signal(&other));
        }
        session.wanted(&[raise("s1", "fire.smoke", 2, NOW), clear("s1", "fire.smoke", 3, NOW)])
    });
    assert_eq!(wanted, [id]);
    assert_eq!((memory.cases.len(), memory.signals.len()), (2, 2));
    memory.check(&district);
}

#[test]
fn an_incident_recovers_when_its_last_alarm_ends() {
    let (district, mut memory, id) = smoke();
    let second = Signal { alarm_key: "s1/low".into(), ..raise("s1", "fire.smoke", 2, NOW) };
    memory.signal(&district, &second);
    assert_eq!(memory.only().incident.standing, 2);
    memory.signal(&district, &clear("s1", "fire.smoke", 3, NOW + 1));
    assert_eq!(memory.only().incident.recovered_at, None);
    let severity = Signal {
        kind: SignalKind::Severity,
        severity: AlarmSeverity::Critical,
        event_id: "s1-4".into(),
        time: NOW + 9 * HOUR,
        ..second.clone()
    };
    let answer = memory.signal(&district, &severity);
    assert_eq!(answer.incident, Some(id), "an alarm's change goes where the alarm stands");
    let last = Signal { kind: SignalKind::Clear, event_id: "s1-5".into(), ..severity };
    memory.signal(&district, &last);
    assert_eq!(memory.only().incident.recovered_at, Some(NOW + 9 * HOUR));
    memory.check(&district);
}

#[test]
fn feedback_brings_the_evidence_that_the_policy_asks_for() {
    let policies =
        "- match: {category: part.lamp, area: d}\n  evidence: {feedback: ['photo>=2']}\n";
    let district = variant(&Variant { policies, ..Variant::default() });
    let mut memory = Memory::new(NOW);
    let signal = Signal { asset: Some("lamp-1".into()), ..raise("l", "part.lamp", 1, NOW) };
    let id = memory.signal(&district, &signal).incident.unwrap();
    ok(&mut memory, &district, id, "company:muni", "li", Verb::Acknowledge);
    assert_eq!(
        refused(&mut memory, &district, id, ("company:muni", "li"), Verb::FeedBack),
        RefusalCode::EvidenceMissing
    );
    let evidence = vec!["photo:1".into(), "photo:2".into()];
    let feed_back = order(&memory, id, "company:muni", "li", Verb::FeedBack);
    memory.command(&district, &Command { evidence, ..feed_back }).unwrap();
    assert_eq!(memory.only().tasks[0].evidence.len(), 2);
}

#[test]
fn a_department_is_dispatched_at_its_seat() {
    let district = district();
    let mut memory = Memory::new(NOW);
    memory.signal(&district, &raise("a", "flood.road", 1, NOW));
    let water = memory.only().tasks.iter().find(|task| &*task.unit == "dept:water").unwrap();
    assert_eq!((water.seat.as_deref(), water.mandatory), (Some("t1"), true));
    assert_eq!(memory.only().incident.lead.as_deref(), Some("t1"));
}
