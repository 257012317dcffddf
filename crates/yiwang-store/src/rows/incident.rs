//! Which columns each struct of `yiwang_core::incident` has. Fields are only ever added at the end
//! of a list.

use std::borrow::Cow;

use yiwang_core::incident::{
    Actor, AuditRow, Clock, ClockSegment, CommandRow, History, Incident, OutboxRow, PolicyRow,
    Request, SignalRow, Task, TimerFire,
};
use yiwang_core::record::Signal;

use super::{Cell, Row as _, blob, row};
use crate::engine::{Kind, Value};

/// Index of `no` among the values of an incident.
pub(crate) const NO_CELL: usize = 1;

row!(
    Incident,
    [],
    id,
    no,
    version,
    state,
    category,
    list_version,
    title,
    text,
    joint_duty,
    severity,
    level,
    drill_id,
    source,
    event_id,
    asset,
    point,
    located_by,
    confidence,
    candidates,
    location_conflict,
    place,
    district,
    town,
    station,
    village,
    grid,
    desk,
    lead,
    holder,
    tier,
    watchers,
    excluded,
    bound,
    parent,
    merged_into,
    recurrence_of,
    mode_epoch,
    supervise_level,
    signals,
    standing,
    returns,
    extensions,
    suspensions,
    reworks,
    reopenings,
    first_signal_at,
    last_signal_at,
    reported_at,
    filed_at,
    dispatched_at,
    acked_at,
    fed_back_at,
    closed_at,
    recovered_at,
    on_time,
    overdue_at,
    due_at,
    close_method,
    reporter,
    checker,
    policy_id,
    group_key,
    group_radius_m,
    group_window_ms,
    urgent,
    updated_at,
    updated_by_unit,
    updated_by,
);

row!(
    Task,
    [],
    id,
    incident,
    number,
    unit,
    seat,
    role,
    mandatory,
    from_policy,
    state,
    cause,
    end_cause,
    persons,
    note,
    evidence,
    sent_at,
    acked_at,
    done_at,
    ended_at,
    due_at,
);

row!(
    Clock,
    [],
    id,
    incident,
    owner,
    kind,
    milestone,
    budget_ms,
    budget_no,
    consumed_ms,
    running_since,
    stopped,
    calendar,
    generation,
    rungs,
    next_rung,
    fire_at,
    overdue_at,
    started_at,
);

row!(
    ClockSegment,
    [],
    clock,
    incident,
    generation,
    from,
    to,
    calendar,
    budget_ms,
    budget_no,
    added_ms,
    consumed_ms,
    cause,
);

row!(
    Request,
    [],
    id,
    incident,
    kind,
    state,
    task,
    version,
    asked_by_unit,
    asked_by,
    asked_at,
    reason,
    note,
    proposed,
    approver,
    decided_by_unit,
    decided_by,
    decided_at,
    decision_note,
);

row!(Actor, [], role, unit, person, on_behalf_of);

row!(
    History,
    [actor as "actor_"],
    incident,
    version,
    action,
    from,
    to,
    reason,
    cause_kind,
    cause_id,
    request_id,
    mode_epoch,
    at,
    detail,
);

row!(
    OutboxRow,
    [actor as "actor_"],
    incident,
    version,
    kind,
    action,
    at,
    audience,
    left,
    urgent,
    notices,
    mode_epoch,
    drill_id,
    view,
    tasks,
    detail,
);

row!(
    AuditRow,
    [actor as "actor_"],
    id,
    at,
    action,
    incident,
    version,
    reason,
    request_id,
    refused,
);

row!(
    Signal,
    [],
    source,
    event_id,
    kind,
    alarm_key,
    category,
    severity,
    time,
    since,
    received_at,
    device,
    asset,
    place,
    point,
    cause,
    text,
    reading,
    members,
);

row!(
    SignalRow,
    [signal as "signal_"],
    digest,
    drill_id,
    outcome,
    reason,
    incident,
    place,
    at,
    cleared_at,
);

row!(CommandRow, [], request_id, digest, at, incident, version, state, outcome);

row!(TimerFire, [], clock, budget_no, rung, at);

row!(PolicyRow, [], id, body);

impl Cell for Incident {
    const KIND: Kind = Kind::Bytes;

    fn value(&self) -> Value<'_> {
        view_value(self, None)
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        match value {
            Value::Bytes(Some(bytes)) => blob::read(bytes)?.pop(),
            _ => None,
        }
    }
}

impl Cell for Vec<Task> {
    const KIND: Kind = Kind::Bytes;

    fn value(&self) -> Value<'_> {
        let mut out = blob::start();
        let mut values = Vec::new();
        for task in self {
            values.clear();
            task.put(&mut values);
            blob::push(&values, &mut out);
        }
        Value::Bytes(Some(Cow::Owned(out)))
    }

    fn of(value: &mut Value<'static>) -> Option<Self> {
        match value {
            Value::Bytes(Some(bytes)) => blob::read(bytes),
            _ => None,
        }
    }
}

fn view_value(view: &Incident, no: Option<&str>) -> Value<'static> {
    let mut values = Vec::with_capacity(80);
    view.put(&mut values);
    if let (Some(no), Some(cell)) = (no, values.get_mut(NO_CELL)) {
        *cell = Value::text(no);
    }
    let mut out = blob::start();
    blob::push(&values, &mut out);
    Value::Bytes(Some(Cow::Owned(out)))
}

/// The values of an outbox row whose incident gets its number in this transaction.
pub(crate) fn outbox_values<'a>(row: &'a OutboxRow, no: Option<&str>, out: &mut Vec<Value<'a>>) {
    if no.is_none() {
        return row.put(out);
    }
    let OutboxRow { actor, incident, version, kind, action, at, audience, left, urgent, .. } = row;
    let OutboxRow { notices, mode_epoch, drill_id, view, tasks, detail, .. } = row;
    actor.put(out);
    out.extend([incident.value(), version.value(), kind.value(), action.value(), at.value()]);
    out.extend([audience.value(), left.value(), urgent.value(), notices.value()]);
    out.extend([mode_epoch.value(), drill_id.value(), view_value(view, no)]);
    out.extend([tasks.value(), detail.value()]);
}
