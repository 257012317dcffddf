//! What operators see of an incident: names in Chinese, times, tasks; nothing personal.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use yiwang_core::district::{District, FileSet};
use yiwang_core::ids::Id;
use yiwang_core::incident::{
    Action, Actor, Cause, ChangeKind, Confidence, Incident, LocatedBy, Notice, NoticeKind,
    OutboxRow, Role, State, Task, TaskRole, TaskState,
};
use yiwang_core::record::AlarmSeverity;
use yiwang_proto::incident::v1;
use yiwang_proto::view;

const NOON: i64 = 1_795_406_400_000;

fn district() -> District {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/district");
    let mut files: FileSet = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        files.insert(name, std::fs::read_to_string(&path).unwrap());
    }
    let (district, problems) = District::load(&files);
    district.unwrap_or_else(|| panic!("{problems:?}"))
}

/// A village, its station, its town.
fn somewhere(district: &District) -> [std::sync::Arc<str>; 4] {
    let village = district.units().find(|unit| district.ancestors(&unit.id).count() == 4).unwrap();
    let chain: Vec<_> = district.ancestors(&village.id).map(|unit| unit.id.clone()).collect();
    chain.try_into().unwrap()
}

#[expect(clippy::too_many_lines, reason = "one struct, a line a field")]
fn row(district: &District) -> Incident {
    let [village, station, town, root] = somewhere(district);
    Incident {
        id: Id(7),
        no: "310118-20261124-000001".to_owned(),
        version: 3,
        state: State::Dispatched,
        category: "pipe.gas".into(),
        list_version: "qp-demo@2026.1".into(),
        title: "燃气泄漏".to_owned(),
        text: "lel 30 %".to_owned(),
        joint_duty: false,
        severity: AlarmSeverity::Critical,
        level: None,
        drill_id: None,
        source: "device/gas-01/G-1".to_owned(),
        event_id: "e".to_owned(),
        asset: None,
        point: None,
        located_by: LocatedBy::Asset,
        confidence: Confidence::High,
        candidates: Vec::new(),
        location_conflict: false,
        place: village.clone(),
        district: root,
        town: Some(town.clone()),
        station: Some(station),
        village: Some(village),
        grid: None,
        desk: town.clone(),
        lead: Some(town.clone()),
        holder: Some(town.clone()),
        tier: Some(1),
        watchers: Vec::new(),
        excluded: Vec::new(),
        bound: None,
        parent: None,
        merged_into: None,
        recurrence_of: None,
        mode_epoch: 0,
        supervise_level: 0,
        signals: 2,
        standing: 1,
        returns: 0,
        extensions: 0,
        suspensions: 0,
        reworks: 0,
        reopenings: 0,
        first_signal_at: NOON,
        last_signal_at: NOON,
        reported_at: NOON,
        filed_at: Some(NOON),
        dispatched_at: Some(NOON + 5),
        acked_at: None,
        fed_back_at: None,
        closed_at: None,
        recovered_at: None,
        on_time: None,
        overdue_at: None,
        due_at: Some(NOON + 60_000),
        close_method: None,
        reporter: Some("王女士 13800000000".to_owned()),
        checker: None,
        policy_id: None,
        group_key: Id(1),
        group_radius_m: 80,
        group_window_ms: 0,
        urgent: true,
        updated_at: NOON + 5,
        updated_by_unit: town,
        updated_by: String::new(),
    }
}

fn task(incident: &Incident) -> Task {
    Task {
        id: Id(8),
        incident: incident.id,
        number: 1,
        unit: incident.desk.clone(),
        seat: None,
        role: TaskRole::Lead,
        mandatory: false,
        from_policy: true,
        state: TaskState::Sent,
        cause: Cause::Filed,
        end_cause: None,
        persons: Vec::new(),
        note: String::new(),
        evidence: Vec::new(),
        sent_at: NOON + 5,
        acked_at: None,
        done_at: None,
        ended_at: None,
        due_at: Some(NOON + 60_005),
    }
}

#[test]
fn a_change_as_a_town_sees_it() {
    let district = district();
    let view = row(&district);
    let town = view.desk.clone();
    let village = view.place.clone();
    let notice = |unit: &std::sync::Arc<str>, kind| Notice { unit: unit.clone(), kind };
    let actor =
        Actor { role: Role::Sys, unit: town.clone(), person: String::new(), on_behalf_of: None };
    let out = OutboxRow {
        incident: view.id,
        version: 3,
        kind: ChangeKind::State,
        action: Action::Dispatch,
        at: NOON + 5,
        audience: vec![town.clone()],
        left: Vec::new(),
        urgent: true,
        notices: vec![notice(&town, NoticeKind::Task), notice(&village, NoticeKind::Watch)],
        mode_epoch: 0,
        drill_id: None,
        tasks: vec![task(&view)],
        view,
        actor,
        detail: String::new(),
    };
    let last = Some((out.action, &out.actor));
    let shown = view::Shown { incident: &out.view, tasks: &out.tasks, clocks: &[], last };
    let shown = view::incident(shown, &district);
    let change = view::change(&out, &town, b"token".to_vec(), shown, &district);
    assert_eq!((change.kind(), change.transition.as_str()), (v1::ChangeKind::State, "T07"));
    assert_eq!(change.notices, [i32::from(v1::NoticeKind::Task)]);
    let incident = change.incident.as_ref().unwrap();
    assert_eq!((incident.state(), incident.etag.as_str()), (v1::State::Dispatched, "3"));
    assert_eq!(incident.category_display_name, "燃气泄漏");
    assert_eq!(incident.last_action, "DISPATCH");
    let place = incident.place.as_ref().unwrap();
    for unit in [&place.district, &place.town, &place.station, &place.village] {
        let unit = unit.as_ref().unwrap();
        assert_eq!(unit.display_name, district.unit(&unit.id).unwrap().name);
        assert!(unit.display_name.chars().any(|c| c as u32 > 0x4e00), "{unit:?}");
    }
    assert_eq!(incident.due_time.map(|time| view::millis(&time)), Some(Some(NOON + 60_000)));
    assert_eq!(incident.tasks[0].role(), v1::TaskRole::Lead);
    assert_eq!(incident.ack_time, None);
    let bytes = change.encode_to_vec();
    let personal = bytes.windows(11).any(|window| window == b"13800000000");
    assert!(!personal, "the reporter is in no view");
}
