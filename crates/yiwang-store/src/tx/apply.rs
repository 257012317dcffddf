//! Writing `Changes`: numbers first, then the rows table by table, the outbox last.

use std::collections::{BTreeMap, HashMap, HashSet};

use yiwang_core::ids::Id;
use yiwang_core::incident::{AlarmCleared, Changes, OutboxRow, State, Task, Upsert};

use super::Tx;
use crate::Error;
use crate::engine::{Dialect, Kind, Value, storable};
use crate::rows::{Cells, NO_CELL, Row, Table, outbox_values};

/// What new incidents are numbered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbering<'a> {
    /// Code of the district, `310118`.
    pub district: &'a str,
    /// Day in Asia/Shanghai, `yyyymmdd`.
    pub day: &'a str,
}

/// What a transaction gave its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Number of the first outbox row; the others follow without a gap, in the order of
    /// `Changes::outbox`.
    pub first_seq: u64,
    /// `no` of each incident that had none.
    pub numbers: HashMap<Id, String>,
}

/// The incidents that a step touches.
#[derive(Default)]
struct Incidents {
    /// Version and state of those that were there.
    before: HashMap<Id, (i64, State)>,
    /// The number n that other rows are keyed by.
    ns: HashMap<Id, i64>,
    /// New `no` of those that had none.
    numbers: HashMap<Id, String>,
}

impl Tx {
    /// Writes everything a step changed. May be called once per transaction or for several steps in
    /// turn.
    ///
    /// # Errors
    /// `Stale` (Fenced) when an incident is not at the version the change was computed from;
    /// `Conflict` (Halt) when a row is there that must not be.
    pub async fn apply(
        &mut self,
        changes: &Changes,
        numbering: &Numbering<'_>,
    ) -> Result<Applied, Error> {
        let mut incidents = self.check_versions(changes).await?;
        self.number(changes, numbering, &mut incidents).await?;
        let (shared, known) = (self.shared.clone(), &incidents);
        let tables = &shared.tables;
        self.write(&tables.policy, &changes.policies, known).await?;
        self.write_incidents(&tables.incident, changes, known).await?;
        self.write_tasks(&tables.task, &changes.tasks, known).await?;
        self.write(&tables.clock, &changes.clocks, known).await?;
        self.write(&tables.segment, &changes.segments, known).await?;
        self.write(&tables.request, &changes.requests, known).await?;
        self.write(&tables.history, &changes.history, known).await?;
        self.write_cleared(&changes.cleared).await?;
        self.write(&tables.signal, &changes.signals, known).await?;
        self.write(&tables.command, &changes.commands, known).await?;
        self.write(&tables.fire, &changes.fires, known).await?;
        self.write(&tables.audit, &changes.audit, known).await?;
        self.write_audience(&tables.audience, &changes.outbox, known).await?;
        self.count_changes(changes, known).await?;
        let first_seq = self.write_outbox(&tables.outbox, &changes.outbox, known).await?;
        Ok(Applied { first_seq, numbers: incidents.numbers })
    }

    /// Compares every changed incident with the store; in PostgreSQL their rows stay locked.
    async fn check_versions(&mut self, changes: &Changes) -> Result<Incidents, Error> {
        let mut incidents = Incidents::default();
        let ids = touched(changes);
        if ids.is_empty() {
            return Ok(incidents);
        }
        let dialect = self.dialect();
        let lock = if dialect == Dialect::Postgres { " FOR UPDATE" } else { "" };
        let member = dialect.member("id", 1, Kind::Bytes);
        let text = format!("SELECT id, n, version, state FROM incident WHERE {member}{lock}");
        let kinds = [Kind::Bytes, Kind::Int, Kind::Int, Kind::Text];
        for mut row in self.rows(&text, vec![Value::Ids(ids)], &kinds).await? {
            let mut cells = Cells::new(&mut row);
            let id = cells.next("id")?;
            incidents.ns.insert(id, cells.next("n")?);
            incidents.before.insert(id, (cells.next("version")?, cells.next("state")?));
        }
        for upsert in &changes.incidents {
            let found = incidents.before.get(&upsert.row.id).map_or(0, |(version, _)| *version);
            if found != upsert.base {
                self.broken = true;
                let (incident, expected) = (upsert.row.id, upsert.base);
                return Err(Error::Stale { incident, expected, found });
            }
        }
        Ok(incidents)
    }

    /// Gives every new incident its n and, unless it has one, the next `no` of the day.
    async fn number(
        &mut self,
        changes: &Changes,
        numbering: &Numbering<'_>,
        incidents: &mut Incidents,
    ) -> Result<(), Error> {
        let new: Vec<_> = changes.incidents.iter().filter(|upsert| upsert.base == 0).collect();
        let first = self.take_numbers("incident", new.len()).await?;
        incidents.ns.extend(new.iter().map(|upsert| upsert.row.id).zip(first..));
        let unnumbered: Vec<Id> =
            new.iter().filter(|new| new.row.no.is_empty()).map(|new| new.row.id).collect();
        let Numbering { district, day } = numbering;
        let first = self.take_numbers(&format!("no/{district}/{day}"), unnumbered.len()).await?;
        let number = |(id, n): (Id, i64)| (id, format!("{district}-{day}-{n:06}"));
        incidents.numbers.extend(unnumbered.into_iter().zip(first..).map(number));
        Ok(())
    }

    /// The first of `count` new numbers; the counter's row stays locked until the end.
    async fn take_numbers(&mut self, counter: &str, count: usize) -> Result<i64, Error> {
        if count == 0 {
            return Ok(0);
        }
        let text = "INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) \
                    DO UPDATE SET value = counter.value + excluded.value RETURNING value";
        let count = count as i64;
        let values = vec![Value::text(counter), Value::int(count)];
        let rows = self.rows(text, values, &[Kind::Int]).await?;
        let last =
            crate::store::first_int(&rows).ok_or_else(|| Error::unreadable("counter", counter))?;
        Ok(last - count + 1)
    }

    async fn write<R: Row>(
        &mut self,
        table: &Table,
        rows: &[R],
        known: &Incidents,
    ) -> Result<(), Error> {
        let mut values = Vec::with_capacity(rows.len() * table.kinds.len());
        for row in rows {
            row.put(&mut values);
        }
        self.write_values(table, values, known).await
    }

    async fn write_values(
        &mut self,
        table: &Table,
        mut values: Vec<Value<'_>>,
        known: &Incidents,
    ) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let written = match table.link(&mut values, |id| known.ns.get(&id).copied()) {
            Ok(()) => table.write(&mut self.link, values).await,
            Err(error) => Err(error),
        };
        self.broken = written.is_err();
        written.map(|_| ())
    }

    async fn write_incidents(
        &mut self,
        table: &Table,
        changes: &Changes,
        known: &Incidents,
    ) -> Result<(), Error> {
        let mut values = Vec::with_capacity(changes.incidents.len() * table.kinds.len());
        for Upsert { row, .. } in &changes.incidents {
            values.push(Value::Int(known.ns.get(&row.id).copied()));
            let start = values.len();
            row.put(&mut values);
            let cell = values.get_mut(start + NO_CELL);
            if let (Some(no), Some(cell)) = (known.numbers.get(&row.id), cell) {
                *cell = Value::text(no);
            }
        }
        self.write_values(table, values, known).await
    }

    /// Ended tasks first: the old lead has gone before the new one comes.
    async fn write_tasks(
        &mut self,
        table: &Table,
        tasks: &[Task],
        known: &Incidents,
    ) -> Result<(), Error> {
        let mut values = Vec::with_capacity(tasks.len() * table.kinds.len());
        for live in [false, true] {
            for task in tasks.iter().filter(|task| task.state.is_live() == live) {
                task.put(&mut values);
            }
        }
        self.write_values(table, values, known).await
    }

    /// Marks alarms as cleared; two clears of one alarm are done in their order.
    async fn write_cleared(&mut self, cleared: &[AlarmCleared]) -> Result<(), Error> {
        let text = format!(
            "UPDATE signal SET cleared_at = CAST(j.value->>2 AS BIGINT) FROM {} \
             WHERE signal_source = j.value->>0 AND signal_alarm_key = j.value->>1 \
             AND signal_time <= CAST(j.value->>2 AS BIGINT) \
             AND cleared_at IS NULL AND signal_alarm_key <> '' AND signal_kind <> 'clear'",
            self.dialect().lists(1)
        );
        let mut rest = cleared;
        while !rest.is_empty() {
            let mut seen = HashSet::new();
            let same =
                |row: &AlarmCleared| !seen.insert((row.source.clone(), row.alarm_key.clone()));
            let length = rest.iter().position(same).unwrap_or(rest.len());
            let (run, after) = rest.split_at(length);
            let lists: Vec<_> = run
                .iter()
                .map(|row| (storable(&row.source), storable(&row.alarm_key), row.until.to_string()))
                .collect();
            let json = serde_json::to_string(&lists).unwrap_or_default();
            self.run(&text, vec![Value::owned(json)]).await?;
            rest = after;
        }
        Ok(())
    }

    /// Keeps who sees an incident: the last change of each says it.
    async fn write_audience(
        &mut self,
        table: &Table,
        outbox: &[OutboxRow],
        known: &Incidents,
    ) -> Result<(), Error> {
        let last: HashMap<Id, &OutboxRow> = outbox.iter().map(|row| (row.incident, row)).collect();
        let mut values = Vec::new();
        for row in last.values() {
            for unit in &row.audience {
                values.push(Value::text(unit));
                values.push(Value::int(row.view.reported_at));
                values.push(Value::id(row.incident));
            }
        }
        self.write_values(table, values, known).await?;
        let text = "DELETE FROM incident_audience \
                    WHERE unit = $1 AND reported_at = $2 AND incident = $3";
        for row in outbox {
            let stays = last.get(&row.incident).map_or(&row.audience, |last| &last.audience);
            let n = known.ns.get(&row.incident).copied();
            for unit in row.left.iter().filter(|unit| !stays.contains(unit)) {
                let reported_at = Value::int(row.view.reported_at);
                self.run(text, vec![Value::text(unit), reported_at, Value::Int(n)]).await?;
            }
        }
        Ok(())
    }

    /// Rows C and I of the ledger move with what they count.
    async fn count_changes(&mut self, changes: &Changes, known: &Incidents) -> Result<(), Error> {
        let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for row in &changes.signals {
            *counts.entry(("centre", row.outcome.as_str())).or_default() += 1;
        }
        for upsert in &changes.incidents {
            match known.before.get(&upsert.row.id) {
                Some((_, state)) => *counts.entry(("incidents", state.as_str())).or_default() -= 1,
                None => *counts.entry(("incidents", "opened")).or_default() += 1,
            }
            *counts.entry(("incidents", upsert.row.state.as_str())).or_default() += 1;
        }
        let counts: Vec<_> = counts.iter().map(|((stage, name), n)| (*stage, *name, *n)).collect();
        self.count(&counts).await
    }

    async fn write_outbox(
        &mut self,
        table: &Table,
        outbox: &[OutboxRow],
        known: &Incidents,
    ) -> Result<u64, Error> {
        let first = self.take_numbers("outbox", outbox.len()).await?;
        let mut values = Vec::with_capacity(outbox.len() * table.kinds.len());
        for (row, seq) in outbox.iter().zip(first..) {
            values.push(Value::int(seq));
            let no = known.numbers.get(&row.incident).filter(|_| row.view.no.is_empty());
            outbox_values(row, no.map(String::as_str), &mut values);
        }
        self.write_values(table, values, known).await?;
        Ok(first as u64)
    }
}

/// Every incident that a row of the step hangs on.
fn touched(changes: &Changes) -> Vec<Id> {
    let mut ids = HashSet::new();
    ids.extend(changes.incidents.iter().map(|upsert| upsert.row.id));
    ids.extend(changes.tasks.iter().map(|row| row.incident));
    ids.extend(changes.clocks.iter().map(|row| row.incident));
    ids.extend(changes.segments.iter().map(|row| row.incident));
    ids.extend(changes.requests.iter().map(|row| row.incident));
    ids.extend(changes.history.iter().map(|row| row.incident));
    ids.extend(changes.outbox.iter().map(|row| row.incident));
    ids.extend(changes.signals.iter().filter_map(|row| row.incident));
    ids.into_iter().collect()
}
