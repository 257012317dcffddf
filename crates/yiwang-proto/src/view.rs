//! The rows of the event centre as the API shows them: ids as resource names, units with their names, times as
//! timestamps. Nothing personal of a reporter is ever copied. This module refuses to filter: sight is the core's.

use prost_types::Timestamp;
use yiwang_core::district::District;
use yiwang_core::ids::Id;
use yiwang_core::incident as core;
use yiwang_core::record::{Millis, Point};

use crate::incident::v1;

/// What an incident is shown from.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The incident.
    pub incident: &'a core::Incident,
    /// Its tasks.
    pub tasks: &'a [core::Task],
    /// Its clocks; empty where they are not shown.
    pub clocks: &'a [core::Clock],
    /// What was done last and by whom, where it is known.
    pub last: Option<(core::Action, &'a core::Actor)>,
}

/// The resource name of an incident.
#[must_use]
pub fn incident_name(id: Id) -> String {
    format!("incidents/{id}")
}

/// The id in a resource name of an incident.
#[must_use]
pub fn incident_id(name: &str) -> Option<Id> {
    Id::parse(name.strip_prefix("incidents/")?)
}

/// A time of the core.
#[must_use]
pub fn timestamp(millis: Millis) -> Timestamp {
    let nanos = (millis.rem_euclid(1_000) * 1_000_000) as i32;
    Timestamp { seconds: millis.div_euclid(1_000), nanos }
}

/// The time of a timestamp, cut to milliseconds; `None` outside the years 0001 to 9999.
#[must_use]
pub fn millis(timestamp: &Timestamp) -> Option<Millis> {
    const FIRST: i64 = -62_135_596_800;
    const LAST: i64 = 253_402_300_799;
    let valid = (FIRST..=LAST).contains(&timestamp.seconds)
        && (0..1_000_000_000).contains(&timestamp.nanos);
    valid.then(|| timestamp.seconds * 1_000 + i64::from(timestamp.nanos) / 1_000_000)
}

/// A unit with its name in this district; its id again where it has none, e.g. after a change of the data.
#[must_use]
pub fn unit(id: &str, names: &District) -> v1::UnitRef {
    let name = names.unit(id).map_or(id, |unit| &unit.name);
    v1::UnitRef { id: id.to_owned(), display_name: name.to_owned() }
}

/// Who did something.
#[must_use]
pub fn actor(actor: &core::Actor, names: &District) -> v1::Actor {
    v1::Actor {
        role: actor.role.as_str().to_owned(),
        unit: Some(unit(&actor.unit, names)),
        person: actor.person.clone(),
    }
}

/// An incident.
#[must_use]
pub fn incident(shown: Shown<'_>, names: &District) -> v1::Incident {
    let Shown { incident: row, tasks, clocks, last } = shown;
    let of = |id: &core::UnitId| unit(id, names);
    let at = |time: Option<Millis>| time.map(timestamp);
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    v1::Incident {
        name: incident_name(row.id),
        no: row.no.clone(),
        version: row.version,
        etag: row.version.to_string(),
        state: v1::State::from(row.state).into(),
        category: row.category.to_string(),
        category_display_name: category_name(&row.category, names).to_owned(),
        category_list: row.list_version.to_string(),
        joint_duty: row.joint_duty,
        severity: v1::Severity::from(row.severity).into(),
        level: row.level.map_or(0, u32::from),
        title: row.title.clone(),
        text: row.text.clone(),
        place: Some(place(row, names)),
        asset: row.asset.as_deref().unwrap_or_default().to_owned(),
        desk: Some(of(&row.desk)),
        lead: row.lead.as_ref().map(of),
        holder: row.holder.as_ref().map(of),
        tasks: tasks.iter().map(|row| task(row, names)).collect(),
        clocks: clocks.iter().map(|row| clock(row, tasks)).collect(),
        last_action: last.map(|(action, _)| action.as_str().to_owned()).unwrap_or_default(),
        last_actor: last.map(|(_, by)| actor(by, names)),
        source: row.source.clone(),
        event_id: row.event_id.clone(),
        signal_count: count(row.signals),
        return_count: count(row.returns),
        extension_count: count(row.extensions),
        suspension_count: count(row.suspensions),
        rework_count: count(row.reworks),
        reopening_count: count(row.reopenings),
        first_signal_time: Some(timestamp(row.first_signal_at)),
        last_signal_time: Some(timestamp(row.last_signal_at)),
        report_time: Some(timestamp(row.reported_at)),
        file_time: at(row.filed_at),
        dispatch_time: at(row.dispatched_at),
        ack_time: at(row.acked_at),
        feed_back_time: at(row.fed_back_at),
        close_time: at(row.closed_at),
        recover_time: at(row.recovered_at),
        due_time: at(row.due_at),
        overdue_time: at(row.overdue_at),
        update_time: Some(timestamp(row.updated_at)),
        on_time: row.on_time,
        close_method: row
            .close_method
            .map_or(v1::CloseMethod::Unspecified, v1::CloseMethod::from)
            .into(),
        recurrence_of: row.recurrence_of.map(incident_name).unwrap_or_default(),
        drill_id: row.drill_id.clone().unwrap_or_default(),
        mode_epoch: row.mode_epoch,
        urgent: row.urgent,
    }
}

/// One version of an incident.
#[must_use]
pub fn history(row: &core::History, names: &District) -> v1::HistoryEntry {
    v1::HistoryEntry {
        version: row.version,
        transition: row.action.transition().to_owned(),
        action: row.action.as_str().to_owned(),
        from_state: row.from.map_or(v1::State::Unspecified, v1::State::from).into(),
        to_state: v1::State::from(row.to).into(),
        actor: Some(actor(&row.actor, names)),
        on_behalf_of: row.actor.on_behalf_of.as_ref().map(|id| unit(id, names)),
        reason: row.reason.clone(),
        cause_kind: row.cause_kind.as_str().to_owned(),
        cause_id: row.cause_id.clone(),
        time: Some(timestamp(row.at)),
        detail: row.detail.clone(),
    }
}

/// One row of the outbox as `watcher` sees it: its own notices only. The incident, the same for all watchers, is
/// made once by the caller.
#[must_use]
pub fn change(
    row: &core::OutboxRow,
    watcher: &str,
    token: Vec<u8>,
    incident: v1::Incident,
    names: &District,
) -> v1::Change {
    let own = row.notices.iter().filter(|notice| &*notice.unit == watcher);
    v1::Change {
        token,
        kind: v1::ChangeKind::from(row.kind).into(),
        transition: row.action.transition().to_owned(),
        action: row.action.as_str().to_owned(),
        time: Some(timestamp(row.at)),
        incident: Some(incident),
        actor: Some(actor(&row.actor, names)),
        detail: row.detail.clone(),
        notices: own.map(|notice| v1::NoticeKind::from(notice.kind).into()).collect(),
        peek: false,
    }
}

fn category_name<'a>(code: &'a str, names: &'a District) -> &'a str {
    names.category(code).map_or(code, |category| &category.name)
}

fn place(row: &core::Incident, names: &District) -> v1::Place {
    let of = |id: &core::UnitId| unit(id, names);
    v1::Place {
        unit: Some(of(&row.place)),
        district: Some(of(&row.district)),
        town: row.town.as_ref().map(of),
        station: row.station.as_ref().map(of),
        village: row.village.as_ref().map(of),
        grid: row.grid.as_ref().map(of),
        point: row.point.map(|Point { lon_e6, lat_e6 }| v1::Point { lon_e6, lat_e6 }),
        method: v1::LocationMethod::from(row.located_by).into(),
        confidence: v1::Confidence::from(row.confidence).into(),
        candidates: row.candidates.iter().map(of).collect(),
        conflict: row.location_conflict,
    }
}

fn task(row: &core::Task, names: &District) -> v1::Task {
    v1::Task {
        number: row.number,
        unit: Some(unit(&row.unit, names)),
        role: v1::TaskRole::from(row.role).into(),
        state: v1::TaskState::from(row.state).into(),
        mandatory: row.mandatory,
        cause: row.cause.as_str().to_owned(),
        end_cause: row.end_cause.map(|cause| cause.as_str().to_owned()).unwrap_or_default(),
        persons: row.persons.clone(),
        note: row.note.clone(),
        evidence: row.evidence.clone(),
        send_time: Some(timestamp(row.sent_at)),
        ack_time: row.acked_at.map(timestamp),
        done_time: row.done_at.map(timestamp),
        end_time: row.ended_at.map(timestamp),
        due_time: row.due_at.map(timestamp),
    }
}

fn clock(row: &core::Clock, tasks: &[core::Task]) -> v1::Clock {
    let task = tasks.iter().find(|task| task.id == row.owner);
    v1::Clock {
        kind: v1::ClockKind::from(row.kind).into(),
        task: task.map_or(0, |task| task.number),
        budget_ms: row.budget_ms,
        consumed_ms: row.consumed_ms,
        running: row.running_since.is_some(),
        calendar: row.calendar.as_deref().unwrap_or_default().to_owned(),
        next_rung_time: row.fire_at.map(timestamp),
        overdue_time: row.overdue_at.map(timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_1970() {
        for millis_in in [-1_i64, -1_000, -1_001, 0, 999, 1_795_399_200_123] {
            assert_eq!(millis(&timestamp(millis_in)), Some(millis_in));
        }
        assert_eq!(millis(&Timestamp { seconds: i64::MAX, nanos: 0 }), None);
        assert_eq!(millis(&Timestamp { seconds: 0, nanos: -1 }), None);
    }

    #[test]
    fn names_of_incidents() {
        let id = Id(0x94be_c949);
        assert_eq!(incident_id(&incident_name(id)), Some(id));
        assert_eq!(incident_id("incidents/1"), None);
        assert_eq!(incident_id(&id.to_string()), None);
    }
}
