//! The tables that rows go to, with the text of their statements built once at open.
//!
//! Many rows are one statement: `VALUES` of a few fixed sizes in SQLite (each size is prepared once and stays in the
//! statement cache), whole columns through `UNNEST` in PostgreSQL.

use sqlx::SqlStr;
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

/// A table and its statements.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) kinds: Vec<Kind>,
    columns: Vec<Column>,
    /// One text per chunk size, or the one text of PostgreSQL.
    inserts: Vec<SqlStr>,
}

impl Table {
    fn of<R: Row>(
        dialect: Dialect,
        name: &'static str,
        extra: &[(&str, Kind)],
        conflict: (OnConflict, &[&str]),
    ) -> Self {
        let mut columns: Vec<Column> = extra
            .iter()
            .map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind })
            .collect();
        R::columns("", &mut columns);
        Self::new(dialect, name, columns, conflict)
    }

    fn new(
        dialect: Dialect,
        name: &'static str,
        columns: Vec<Column>,
        (on_conflict, key): (OnConflict, &[&str]),
    ) -> Self {
        let names = || columns.iter().map(|column| column.name.as_str());
        let head = format!("INSERT INTO {name} ({})", quoted("", names()));
        let tail = match on_conflict {
            OnConflict::Fail => String::new(),
            OnConflict::Keep => " ON CONFLICT DO NOTHING".to_owned(),
            OnConflict::Replace => {
                let sets: Vec<String> = names()
                    .filter(|name| !key.contains(name))
                    .map(|name| format!("\"{name}\" = excluded.\"{name}\""))
                    .collect();
                let key = quoted("", key.iter().copied());
                format!(" ON CONFLICT ({key}) DO UPDATE SET {}", sets.join(", "))
            }
        };
        let inserts = match dialect {
            Dialect::Sqlite => CHUNKS
                .iter()
                .map(|rows| sql(format!("{head} VALUES {}{tail}", places(*rows, columns.len()))))
                .collect(),
            Dialect::Postgres => {
                vec![sql(format!("{head} SELECT * FROM UNNEST({}){tail}", arrays(&columns)))]
            }
        };
        let kinds = columns.iter().map(|column| column.kind).collect();
        Self { name, kinds, columns, inserts }
    }

    /// `"a", "b"` of all columns.
    pub(crate) fn select(&self, alias: &str) -> String {
        quoted(alias, self.columns.iter().map(|column| column.name.as_str()))
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
            return Link::run_columns(postgres, text, &values, &self.kinds).await;
        }
        let width = self.kinds.len();
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

fn arrays(columns: &[Column]) -> String {
    let array = |(index, column): (usize, &Column)| {
        let of = match column.kind {
            Kind::Int => "bigint",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
        };
        format!("${}::{of}[]", index + 1)
    };
    columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ")
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
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        let audience = vec![
            column("unit", Kind::Text),
            column("reported_at", Kind::Int),
            column("incident", Kind::Bytes),
        ];
        Self {
            incident: Table::of::<Incident>(dialect, "incident", &[], (Replace, &["id"])),
            task: Table::of::<Task>(dialect, "task", &[], (Replace, &["incident", "number"])),
            clock: Table::of::<Clock>(dialect, "clock", &[], (Replace, &["incident", "id"])),
            segment: Table::of::<ClockSegment>(dialect, "clock_segment", &[], (Fail, &[])),
            request: Table::of::<Request>(dialect, "request", &[], (Replace, &["incident", "id"])),
            history: Table::of::<History>(dialect, "history", &[], (Fail, &[])),
            outbox: Table::of::<OutboxRow>(dialect, "outbox", &[("seq", Kind::Int)], (Fail, &[])),
            audit: Table::of::<AuditRow>(dialect, "audit", &[], (Keep, &[])),
            signal: Table::of::<SignalRow>(dialect, "signal", &[], (Fail, &[])),
            command: Table::of::<CommandRow>(dialect, "command", &[], (Fail, &[])),
            fire: Table::of::<TimerFire>(dialect, "timer_fire", &[], (Fail, &[])),
            policy: Table::of::<PolicyRow>(dialect, "policy", &[], (Keep, &[])),
            audience: Table::new(dialect, "incident_audience", audience, (Keep, &[])),
        }
    }
}
