//! Every pair of the shipped tree's 406 fixed units: who sees an incident placed at the other, and who may act.

use super::*;
use crate::district::{FileSet, Tier};
use crate::ids::Id;
use crate::incident::{Cause, Confidence, LocatedBy, TaskState, locate};
use crate::record::{AlarmSeverity, Signal, SignalKind};

fn qingpu() -> District {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/district");
    let files: FileSet = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    District::load(&files).0.unwrap()
}

fn placed(district: &District, place: &UnitId) -> Incident {
    let signal = Signal {
        source: "partner/p".into(),
        event_id: "e".into(),
        kind: SignalKind::Report,
        alarm_key: String::new(),
        category: "flood.road".into(),
        severity: AlarmSeverity::Minor,
        time: 0,
        since: 0,
        received_at: 0,
        device: String::new(),
        asset: None,
        place: Some(place.to_string()),
        point: None,
        cause: String::new(),
        text: String::new(),
        reading: None,
        members: Vec::new(),
    };
    let spotted = locate::locate(district, &signal);
    assert_eq!((&spotted.place, spotted.by), (place, LocatedBy::Stated));
    assert_eq!(spotted.confidence, Confidence::Medium);
    locate::draft(district, &signal, Id(1), &"flood.road".into(), spotted)
}

fn task(unit: &UnitId, state: TaskState) -> Task {
    Task {
        id: Id(1),
        incident: Id(1),
        number: 1,
        unit: unit.clone(),
        seat: None,
        role: TaskRole::Assist,
        mandatory: false,
        from_policy: false,
        state,
        cause: Cause::Added,
        end_cause: None,
        persons: Vec::new(),
        note: String::new(),
        evidence: Vec::new(),
        sent_at: 0,
        acked_at: None,
        done_at: None,
        ended_at: None,
        due_at: None,
    }
}

fn fixed(district: &District) -> Vec<UnitId> {
    let fixed = |tier: Option<Tier>| tier.is_some_and(|tier| tier != Tier::Microgrid);
    district.units().filter(|unit| fixed(unit.tier())).map(|unit| unit.id.clone()).collect()
}

#[test]
fn all_pairs_see_by_subtree_or_desk_only() {
    let district = qingpu();
    let units = fixed(&district);
    assert_eq!(units.len(), 406);
    let authorizer = Authorizer::new(&district);
    let (mut seen, mut pairs) = (0, 0);
    for place in &units {
        let incident = placed(&district, place);
        let audience = audience(&district, &incident, &[]);
        assert!(audience.is_sorted());
        for unit in &units {
            let above = district.ancestors(place).any(|above| above.id == *unit);
            let expected = above || incident.desk == *unit;
            assert_eq!(sees(&district, unit, &incident, &[]), expected, "{unit} {place}");
            assert_eq!(audience.binary_search(unit).is_ok(), expected, "{unit} {place}");
            let action = Action::ALL[pairs % Action::ALL.len()];
            let decision = authorizer.decide(unit, action, &incident, &[]);
            assert_eq!(decision == Decision::NotFound, !expected, "{unit} {place} {action:?}");
            seen += usize::from(expected);
            pairs += 1;
        }
    }
    assert_eq!(pairs, 164_836);
    // Itself, and everything above: 1 district, 2 a town, 3 a station, 4 a village.
    assert_eq!(seen, 1 + 11 * 2 + 43 * 3 + 351 * 4);
}

#[test]
fn a_task_gives_sight_while_it_lives_and_only_upwards() {
    let district = qingpu();
    let units = fixed(&district);
    let (here, there) = (&units[3], &units[400]);
    let incident = placed(&district, here);
    for (state, lives) in [(TaskState::Sent, true), (TaskState::Returned, false)] {
        let tasks = [task(there, state), task(&"dept:water".into(), state)];
        let audience = audience(&district, &incident, &tasks);
        for unit in district.units() {
            let of_task = district.in_subtree(there, &unit.id) || &*unit.id == "dept:water";
            let of_place = district.in_subtree(here, &unit.id);
            let expected = of_place || (lives && of_task);
            assert_eq!(sees(&district, &unit.id, &incident, &tasks), expected, "{}", unit.id);
            assert_eq!(audience.contains(&unit.id), expected, "{}", unit.id);
        }
    }
}

#[test]
fn roles_are_those_of_the_unit() {
    let district = qingpu();
    let village = district.units().find(|unit| unit.tier() == Some(Tier::Village)).unwrap();
    let path = district.path(&village.id).unwrap();
    let (town, station) = (path.town.unwrap(), path.station.unwrap());
    let mut incident = placed(&district, &village.id);
    incident.lead = Some(village.id.clone());
    let tasks = [task(&"dept:water".into(), TaskState::Sent)];
    let decide =
        |unit: &str, action| Authorizer::new(&district).decide(unit, action, &incident, &tasks);
    let allowed = |role| Decision::Allowed { role, on_behalf_of: None };
    let for_desk = |role| Decision::Allowed { role, on_behalf_of: Some(town.clone()) };
    assert_eq!(decide(&town, Action::Accept), allowed(Role::Clerk));
    assert_eq!(decide(district.id(), Action::Accept), for_desk(Role::Clerk));
    assert_eq!(decide(&station, Action::Accept), Decision::NotYours);
    assert_eq!(decide(&station, Action::Reassign), allowed(Role::Disp));
    assert_eq!(decide(&village.id, Action::Reassign), Decision::NotYours);
    assert_eq!(decide(&village.id, Action::Acknowledge), allowed(Role::Unit));
    assert_eq!(decide(&town, Action::Acknowledge), Decision::NotYours);
    assert_eq!(decide("dept:water", Action::TaskDone), allowed(Role::Unit));
    assert_eq!(decide("dept:water", Action::FeedBack), Decision::NotYours);
    assert_eq!(decide("dept:fire", Action::Comment), Decision::NotFound);
    assert_eq!(decide(&town, Action::Climb), Decision::NotYours, "the system's alone");
}
