//! The tables that rows go to, with the text of their statements built once at open.
//!
//! Many rows are one statement: `VALUES` of a few fixed sizes in SQLite (each size is prepared once
//! and stays in the statement cache), whole columns through `UNNEST` in PostgreSQL.

use sqlx::SqlStr;
use yiwang_core::ids::Id;
use yiwang_core::incident::{
    AuditRow, Clock, ClockSegment, CommandRow, History, Incident, OutboxRow, PolicyRow, Request,
    SignalRow, Task, TimerFire,
};

use super::{Column, Row};
use crate::Error;
use crate::engine::{Dialect, Kind, Link, Value, quoted, sql};

/// Rows per statement in SQLite, largest first; 1 must be among them.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// What happens to a row whose key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnConflict {
    /// The statement fails: append only.
    Fail,
    /// The row is replaced, its key columns stay.
    Replace,
    /// The first one is kept.
    Keep,
}

/// What a table has beside the columns of its struct.
#[derive(Default)]
struct Shape {
    /// Columns before those of the struct.
    extra: &'static [(&'static str, Kind)],
    /// Key of the conflict that replaces a row.
    key: &'static [&'static str],
    /// Columns that never change and are spared their indexes when a row is replaced.
    fixed: &'static [&'static str],
    /// Column `incident` holds the incident's number n, not its id.
    linked: bool,
}

/// A table and its statements.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// What a reader gets: the columns of the struct.
    pub(crate) kinds: Vec<Kind>,
    /// Columns before those.
    extra: usize,
    /// What is written: the same but for the link.
    write_kinds: Vec<Kind>,
    columns: Vec<Column>,
    /// Index of the linked column.
    link: Option<usize>,
    /// One text per chunk size, or the one text of PostgreSQL.
    inserts: Vec<SqlStr>,
}

impl Table {
    fn of<R: Row>(
        dialect: Dialect,
        name: &'static str,
        on_conflict: OnConflict,
        shape: &Shape,
    ) -> Self {
        let column = |(name, kind): &(&str, Kind)| Column { name: (*name).to_owned(), kind: *kind };
        let mut columns: Vec<Column> = shape.extra.iter().map(column).collect();
        R::columns("", &mut columns);
        Self::new(dialect, name, columns, on_conflict, shape)
    }

    fn new(
        dialect: Dialect,
        name: &'static str,
        columns: Vec<Column>,
        on_conflict: OnConflict,
        shape: &Shape,
    ) -> Self {
        let names = || columns.iter().map(|column| column.name.as_str());
        let extra = shape.extra.len();
        let mut write_kinds: Vec<Kind> = columns.iter().map(|column| column.kind).collect();
        let kinds = write_kinds.split_off(extra);
        write_kinds.extend(&kinds);
        let link = shape.linked.then(|| names().position(|name| name == "incident")).flatten();
        if let Some(kind) = link.and_then(|link| write_kinds.get_mut(link)) {
            *kind = Kind::Int;
        }
        let head = format!("INSERT INTO {name} ({})", quoted("", names()));
        let tail = match on_conflict {
            OnConflict::Fail => String::new(),
            OnConflict::Keep => " ON CONFLICT DO NOTHING".to_owned(),
            OnConflict::Replace => {
                let sets: Vec<String> = names()
                    .filter(|name| !shape.key.contains(name) && !shape.fixed.contains(name))
                    .map(|name| format!("\"{name}\" = excluded.\"{name}\""))
                    .collect();
                let key = quoted("", shape.key.iter().copied());
                format!(" ON CONFLICT ({key}) DO UPDATE SET {}", sets.join(", "))
            }
        };
        let inserts = match dialect {
            Dialect::Sqlite => CHUNKS
                .iter()
                .map(|rows| sql(format!("{head} VALUES {}{tail}", places(*rows, columns.len()))))
                .collect(),
            Dialect::Postgres => {
                vec![sql(format!("{head} SELECT * FROM UNNEST({}){tail}", arrays(&write_kinds)))]
            }
        };
        Self { name, kinds, extra, write_kinds, columns, link, inserts }
    }

    /// The columns of the struct under an alias, as a reader gets them.
    pub(crate) fn select(&self, alias: &str) -> String {
        let column = |(index, column): (usize, &Column)| {
            let name = &column.name;
            if self.link == Some(index) {
                let of = format!("SELECT link.id FROM incident link WHERE link.n = {alias}");
                format!("({of}.\"{name}\") AS \"{name}\"")
            } else {
                format!("{alias}.\"{name}\"")
            }
        };
        self.columns.iter().enumerate().skip(self.extra).map(column).collect::<Vec<_>>().join(", ")
    }

    /// Puts the numbers of incidents in the place of their ids; names an id that has none.
    pub(crate) fn link(
        &self,
        values: &mut [Value<'_>],
        number: impl Fn(Id) -> Option<i64>,
    ) -> Result<(), Error> {
        let Some(link) = self.link else { return Ok(()) };
        for value in values.iter_mut().skip(link).step_by(self.columns.len()) {
            *value = match value {
                Value::Bytes(Some(bytes)) => {
                    let id = bytes.as_ref().try_into().map(Id::from_bytes).ok();
                    let number = id.and_then(&number).ok_or_else(|| Error::Conflict {
                        reason: format!(
                            "a row of {} names an incident that is not there",
                            self.name
                        ),
                    })?;
                    Value::int(number)
                }
                _ => Value::Int(None),
            };
        }
        Ok(())
    }

    /// Names of the columns, for the test that compares them with the schema.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Writes rows given as one run of values; says how many rows were written.
    pub(crate) async fn write(
        &self,
        link: &mut Link,
        mut values: Vec<Value<'_>>,
    ) -> Result<u64, Error> {
        if values.is_empty() {
            return Ok(0);
        }
        if let Link::Postgres(postgres) = link {
            let text = self.inserts.first().cloned().unwrap_or_else(|| sql(String::new()));
            return Link::run_columns(postgres, text, &values, &self.write_kinds).await;
        }
        let width = self.columns.len();
        let mut written = 0;
        for (rows, text) in CHUNKS.iter().zip(&self.inserts) {
            while values.len() >= rows * width {
                let rest = values.split_off(rows * width);
                written += link.run(text.clone(), values).await?;
                values = rest;
            }
        }
        Ok(written)
    }
}

fn places(rows: usize, width: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(","));
    vec![row; rows].join(",")
}

fn arrays(kinds: &[Kind]) -> String {
    let array = |(index, kind): (usize, &Kind)| {
        let of = match kind {
            Kind::Int => "bigint",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
        };
        format!("${}::{of}[]", index + 1)
    };
    kinds.iter().enumerate().map(array).collect::<Vec<_>>().join(", ")
}

/// All tables that `Tx::apply` writes.
pub(crate) struct Tables {
    pub(crate) incident: Table,
    pub(crate) task: Table,
    pub(crate) clock: Table,
    pub(crate) segment: Table,
    pub(crate) request: Table,
    pub(crate) history: Table,
    pub(crate) outbox: Table,
    pub(crate) audit: Table,
    pub(crate) signal: Table,
    pub(crate) command: Table,
    pub(crate) fire: Table,
    pub(crate) policy: Table,
    pub(crate) audience: Table,
}

impl Tables {
    pub(crate) fn new(dialect: Dialect) -> Self {
        use OnConflict::{Fail, Keep, Replace};
        let plain = Shape::default();
        let linked = Shape { linked: true, ..Shape::default() };
        let incident = Shape {
            extra: &[("n", Kind::Int)],
            key: &["id"],
            fixed: &["n", "no", "reported_at"],
            linked: false,
        };
        let task = Shape { key: &["incident", "number"], linked: true, ..Shape::default() };
        let by_id = Shape { key: &["incident", "id"], linked: true, ..Shape::default() };
        let outbox = Shape { extra: &[("seq", Kind::Int)], linked: true, ..Shape::default() };
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        let audience = vec![
            column("unit", Kind::Text),
            column("reported_at", Kind::Int),
            column("incident", Kind::Bytes),
        ];
        Self {
            incident: Table::of::<Incident>(dialect, "incident", Replace, &incident),
            task: Table::of::<Task>(dialect, "task", Replace, &task),
            clock: Table::of::<Clock>(dialect, "clock", Replace, &by_id),
            segment: Table::of::<ClockSegment>(dialect, "clock_segment", Fail, &linked),
            request: Table::of::<Request>(dialect, "request", Replace, &by_id),
            history: Table::of::<History>(dialect, "history", Fail, &linked),
            outbox: Table::of::<OutboxRow>(dialect, "outbox", Fail, &outbox),
            audit: Table::of::<AuditRow>(dialect, "audit", Keep, &plain),
            signal: Table::of::<SignalRow>(dialect, "signal", Fail, &linked),
            command: Table::of::<CommandRow>(dialect, "command", Fail, &plain),
            fire: Table::of::<TimerFire>(dialect, "timer_fire", Fail, &plain),
            policy: Table::of::<PolicyRow>(dialect, "policy", Keep, &plain),
            audience: Table::new(dialect, "incident_audience", audience, Keep, &linked),
        }
    }
}
