//! Writing `Changes`: numbers first, then the rows table by table, the outbox last.

use std::collections::{BTreeMap, HashMap, HashSet};

use yiwang_core::ids::Id;
use yiwang_core::incident::{AlarmCleared, Changes, OutboxRow, State, Task};

use super::Tx;
use crate::Error;
use crate::engine::{Dialect, Kind, Value, storable};
use crate::rows::{Cells, NO_CELL, Row, Rows, Table, outbox_values};

/// Versions and signals of a step that is small: a few incidents, whose rows go together.
const GATHERED_MAX: usize = 24;

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
    /// Number of the first outbox row.
    first_seq: i64,
}

impl Incidents {
    /// What is known of the rows that hang on them: with new incidents all of these are new.
    fn rows(&self) -> Rows {
        if self.before.is_empty() { Rows::New } else { Rows::Any }
    }
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
        if changes.history.len() + changes.signals.len() <= GATHERED_MAX {
            self.link.gather();
        }
        let written = self.write_all(changes, &incidents).await;
        let written = match written {
            Ok(()) => self.link.finish().await,
            failed => failed,
        };
        self.broken |= written.is_err();
        written?;
        Ok(Applied { first_seq: incidents.first_seq as u64, numbers: incidents.numbers })
    }

    async fn write_all(&mut self, changes: &Changes, known: &Incidents) -> Result<(), Error> {
        let shared = self.shared.clone();
        let tables = &shared.tables;
        let hanging = known.rows();
        let done = changes.audit.iter().all(|row| row.refused.is_none());
        self.write(&tables.policy, &changes.policies, Rows::Any, known).await?;
        self.write_incidents(&tables.incident, changes, known).await?;
        self.write_tasks(&tables.task, &changes.tasks, known).await?;
        self.write(&tables.clock, &changes.clocks, hanging, known).await?;
        self.write(&tables.segment, &changes.segments, Rows::New, known).await?;
        self.write(&tables.request, &changes.requests, hanging, known).await?;
        self.write(&tables.history, &changes.history, Rows::New, known).await?;
        self.write_cleared(&changes.cleared).await?;
        self.write(&tables.signal, &changes.signals, Rows::New, known).await?;
        self.write(&tables.command, &changes.commands, Rows::New, known).await?;
        self.write(&tables.fire, &changes.fires, Rows::New, known).await?;
        // Only the row of a refusal may come again.
        let audit = if done { Rows::New } else { Rows::Any };
        self.write(&tables.audit, &changes.audit, audit, known).await?;
        self.write_audience(&tables.audience, &changes.outbox, known).await?;
        self.count_changes(changes, known)?;
        self.write_outbox(&tables.outbox, &changes.outbox, known).await
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

    /// Gives every new incident its n and, unless it has one, the next `no` of the day; and every
    /// change its place in the outbox.
    async fn number(
        &mut self,
        changes: &Changes,
        numbering: &Numbering<'_>,
        incidents: &mut Incidents,
    ) -> Result<(), Error> {
        let new: Vec<_> = changes.incidents.iter().filter(|upsert| upsert.base == 0).collect();
        let unnumbered: Vec<Id> =
            new.iter().filter(|new| new.row.no.is_empty()).map(|new| new.row.id).collect();
        let Numbering { district, day } = numbering;
        let day_counter = format!("no/{district}/{day}");
        let wanted = [
            ("incident", new.len()),
            (day_counter.as_str(), unnumbered.len()),
            ("outbox", changes.outbox.len()),
        ];
        let [first_n, first_no, first_seq] = self.take_numbers(wanted).await?;
        incidents.first_seq = first_seq;
        incidents.ns.extend(new.iter().map(|upsert| upsert.row.id).zip(first_n..));
        let number = |(id, n): (Id, i64)| (id, format!("{district}-{day}-{n:06}"));
        incidents.numbers.extend(unnumbered.into_iter().zip(first_no..).map(number));
        Ok(())
    }

    /// The first of so many new numbers of each counter, in one statement; the rows of the counters
    /// stay locked until the end.
    async fn take_numbers<const N: usize>(
        &mut self,
        wanted: [(&str, usize); N],
    ) -> Result<[i64; N], Error> {
        let counters: Vec<_> = wanted.iter().filter(|(_, count)| *count > 0).collect();
        if counters.is_empty() {
            return Ok([0; N]);
        }
        let places: Vec<_> =
            (0..counters.len()).map(|n| format!("(${}, ${})", 2 * n + 1, 2 * n + 2)).collect();
        let text = format!(
            "INSERT INTO counter (name, value) VALUES {} ON CONFLICT (name) \
             DO UPDATE SET value = counter.value + excluded.value RETURNING name, value",
            places.join(", ")
        );
        let pair = |(name, count): &&(&'_ str, usize)| {
            [Value::owned((*name).to_owned()), Value::int(*count as i64)]
        };
        let values = counters.iter().flat_map(pair).collect();
        let mut last = HashMap::new();
        for mut row in self.rows(&text, values, &[Kind::Text, Kind::Int]).await? {
            let mut cells = Cells::new(&mut row);
            last.insert(cells.next::<String>("name")?, cells.next::<i64>("value")?);
        }
        let mut first = [0; N];
        for (first, (name, count)) in first.iter_mut().zip(wanted).filter(|(_, (_, n))| *n > 0) {
            let last = last.get(name).ok_or_else(|| Error::unreadable("counter", name))?;
            *first = last - count as i64 + 1;
        }
        Ok(first)
    }

    async fn write<R: Row>(
        &mut self,
        table: &Table,
        rows: &[R],
        known: Rows,
        incidents: &Incidents,
    ) -> Result<(), Error> {
        self.write_each(table, rows.iter(), known, incidents, R::put).await
    }

    async fn write_each<'v, T>(
        &mut self,
        table: &Table,
        rows: impl ExactSizeIterator<Item = T>,
        known: Rows,
        incidents: &Incidents,
        put: impl Fn(T, &mut Vec<Value<'v>>),
    ) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let number = |id| incidents.ns.get(&id).copied();
        let written = table.write(&mut self.link, rows, known, put, number).await;
        self.broken = written.is_err();
        written
    }

    async fn write_incidents(
        &mut self,
        table: &Table,
        changes: &Changes,
        known: &Incidents,
    ) -> Result<(), Error> {
        let rows = changes.incidents.iter().map(|upsert| &upsert.row);
        self.write_each(table, rows, known.rows(), known, |row, values| {
            values.push(Value::Int(known.ns.get(&row.id).copied()));
            let start = values.len();
            row.put(values);
            let cell = values.get_mut(start + NO_CELL);
            if let (Some(no), Some(cell)) = (known.numbers.get(&row.id), cell) {
                *cell = Value::text(no);
            }
        })
        .await
    }

    /// Ended tasks first: the old lead has gone before the new one comes.
    async fn write_tasks(
        &mut self,
        table: &Table,
        tasks: &[Task],
        known: &Incidents,
    ) -> Result<(), Error> {
        let mut ordered: Vec<&Task> = tasks.iter().collect();
        ordered.sort_by_key(|task| task.state.is_live());
        self.write_each(table, ordered.into_iter(), known.rows(), known, Task::put).await
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
        let mut rows = Vec::with_capacity(8 * last.len());
        for row in last.values() {
            let at = (row.view.reported_at, row.incident);
            rows.extend(row.audience.iter().map(|unit| (unit, at)));
        }
        // In the order of the key: neighbours are written together, and each once.
        rows.sort_unstable();
        rows.dedup();
        self.write_each(table, rows.into_iter(), known.rows(), known, |(unit, at), values| {
            values.extend([Value::text(unit), Value::int(at.0), Value::id(at.1)]);
        })
        .await?;
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
    fn count_changes(&mut self, changes: &Changes, known: &Incidents) -> Result<(), Error> {
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
        self.count(&counts)
    }

    async fn write_outbox(
        &mut self,
        table: &Table,
        outbox: &[OutboxRow],
        known: &Incidents,
    ) -> Result<(), Error> {
        let rows: Vec<_> = (known.first_seq..).zip(outbox).collect();
        self.write_each(table, rows.into_iter(), Rows::New, known, |(seq, row), values| {
            values.push(Value::int(seq));
            let no = known.numbers.get(&row.incident).filter(|_| row.view.no.is_empty());
            outbox_values(row, no.map(String::as_str), values);
        })
        .await
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
