//! The tables that rows go to, with the text of their statements built once at open.
//!
//! Many rows are one statement: `VALUES` of a few fixed sizes in SQLite (each size is prepared once
//! and stays in the statement cache), whole columns through `UNNEST` in PostgreSQL. `COPY` would be no
//! quicker there: the driver sends its end in a packet of its own, which waits for a delayed ACK.

use sqlx::SqlStr;
use sqlx::sqlite::SqliteArguments;
use yiwang_core::ids::Id;
use yiwang_core::incident::{
    AuditRow, Clock, ClockSegment, CommandRow, History, Incident, OutboxRow, PolicyRow, Request,
    SignalRow, Task, TimerFire,
};

use super::{Column, Row};
use crate::Error;
use crate::engine::{
    Dialect, Kind, Link, PostgresLink, Shared, SqliteLink, Value, add_arguments, quoted, sql,
};

/// Rows per statement in SQLite, largest first; 1 must be among them.
const CHUNKS: [usize; 7] = [64, 16, 8, 4, 3, 2, 1];
/// Values per statement in SQLite: what is more makes its buffers slow, not its work quick.
const CHUNK_VALUES_MAX: usize = 1_600;

/// What happens to a row whose key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnConflict {
    /// The statement fails: append only.
    Fail,
    /// The row is replaced, its key columns stay.
    Replace,
    /// The first one is kept.
    Keep,
    /// Its value is added to the one that is there.
    Add,
}

/// What is known of rows that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Some may be there: what happens then is the table's matter.
    Any,
    /// None is there: finding one is a failure.
    New,
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
    /// Rows per statement with its text, largest first; the one text of PostgreSQL.
    merges: Vec<(usize, SqlStr)>,
    /// The same for new rows.
    inserts: Vec<(usize, SqlStr)>,
    /// All rows that are written are new.
    append_only: bool,
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
            OnConflict::Add => {
                let key = quoted("", shape.key.iter().copied());
                let set = format!("value = {name}.value + excluded.value");
                format!(" ON CONFLICT ({key}) DO UPDATE SET {set}")
            }
            OnConflict::Replace => {
                let sets: Vec<String> = names()
                    .filter(|name| !shape.key.contains(name) && !shape.fixed.contains(name))
                    .map(|name| format!("\"{name}\" = excluded.\"{name}\""))
                    .collect();
                let key = quoted("", shape.key.iter().copied());
                format!(" ON CONFLICT ({key}) DO UPDATE SET {}", sets.join(", "))
            }
        };
        let texts = |tail: &str| match dialect {
            Dialect::Sqlite => CHUNKS
                .into_iter()
                .filter(|rows| *rows == 1 || rows * columns.len() <= CHUNK_VALUES_MAX)
                .map(|rows| {
                    (rows, sql(format!("{head} VALUES {}{tail}", places(rows, columns.len()))))
                })
                .collect(),
            Dialect::Postgres => {
                let text = format!("{head} SELECT * FROM UNNEST({}){tail}", arrays(&write_kinds));
                vec![(usize::MAX, sql(text))]
            }
        };
        let (merges, inserts) = (texts(&tail), texts(""));
        let append_only = on_conflict == OnConflict::Fail;
        Self { name, kinds, extra, write_kinds, columns, link, merges, inserts, append_only }
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

    /// Puts the number of the incident in the place of its id; names one that has none.
    fn link_row(
        &self,
        row: &mut [Value<'_>],
        number: &impl Fn(Id) -> Option<i64>,
    ) -> Result<(), Error> {
        let Some(cell) = self.link.and_then(|link| row.get_mut(link)) else { return Ok(()) };
        *cell = match cell {
            Value::Id(id) => Value::int(number(*id).ok_or_else(|| Error::Conflict {
                reason: format!("a row of {} names an incident that is not there", self.name),
            })?),
            _ => Value::Int(None),
        };
        Ok(())
    }

    /// Names of the columns, for the test that compares them with the schema.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Writes rows: `put` gives the values of each, `number` the number of an incident.
    pub(crate) async fn write<'v, T>(
        &self,
        link: &mut Link,
        rows: impl ExactSizeIterator<Item = T>,
        known: Rows,
        put: impl Fn(T, &mut Vec<Value<'v>>),
        number: impl Fn(Id) -> Option<i64>,
    ) -> Result<(), Error> {
        let fill = |row: T, values: &mut Vec<Value<'v>>| {
            let start = values.len();
            put(row, values);
            self.link_row(&mut values[start..], &number)
        };
        match link {
            _ if rows.len() == 0 => Ok(()),
            Link::Sqlite(link) => self.write_sqlite(link, rows, known, fill).await,
            Link::Postgres(link) => self.write_postgres(link, rows, known, fill).await,
        }
    }

    /// While one statement runs in the engine's thread, the values of the next are made here.
    async fn write_sqlite<'v, T>(
        &self,
        link: &mut SqliteLink,
        mut rows: impl ExactSizeIterator<Item = T>,
        known: Rows,
        fill: impl Fn(T, &mut Vec<Value<'v>>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let texts = self.texts(known);
        let (mut values, mut shared) = (Vec::new(), Shared::new());
        let mut next = |arguments: &mut SqliteArguments| {
            let chunk = texts.iter().find(|(size, _)| *size <= rows.len());
            let Some((size, text)) = chunk else { return Ok(None) };
            for row in rows.by_ref().take(*size) {
                fill(row, &mut values)?;
            }
            add_arguments(arguments, values.drain(..), &mut shared)?;
            Ok::<_, Error>(Some(text))
        };
        if let Some(script) = link.script() {
            while let Some(text) = next(&mut script.arguments)? {
                script.push(text.as_str());
            }
            return Ok(());
        }
        let mut arguments = SqliteArguments::default();
        let mut chunk = next(&mut arguments)?;
        while let Some(text) = chunk {
            let run = link.run(text.clone(), std::mem::take(&mut arguments));
            let (done, following) = tokio::join!(biased; run, async { next(&mut arguments) });
            done?;
            chunk = following?;
        }
        Ok(())
    }

    async fn write_postgres<'v, T>(
        &self,
        link: &mut PostgresLink,
        rows: impl ExactSizeIterator<Item = T>,
        known: Rows,
        fill: impl Fn(T, &mut Vec<Value<'v>>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut values = Vec::with_capacity(rows.len() * self.columns.len());
        for row in rows {
            fill(row, &mut values)?;
        }
        let Some((_, text)) = self.texts(known).first() else { return Ok(()) };
        link.run_columns(text.clone(), &values, &self.write_kinds).await.map(drop)
    }

    fn texts(&self, known: Rows) -> &[(usize, SqlStr)] {
        if known == Rows::New || self.append_only { &self.inserts } else { &self.merges }
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
    pub(crate) ledger: Table,
}

impl Tables {
    pub(crate) fn new(dialect: Dialect) -> Self {
        use OnConflict::{Add, Fail, Keep, Replace};
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
        let count = vec![
            column("stage", Kind::Text),
            column("name", Kind::Text),
            column("value", Kind::Int),
        ];
        let counted = Shape { key: &["stage", "name"], ..Shape::default() };
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
            ledger: Table::new(dialect, "ledger", count, Add, &counted),
        }
    }
}
