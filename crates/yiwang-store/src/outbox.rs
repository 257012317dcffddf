//! The outbox as `Watch` reads it, and how far each consumer has acknowledged it.

use yiwang_core::incident::{OutboxRow, UnitId};
use yiwang_core::record::Millis;

use crate::Error;
use crate::engine::{Kind, Value};
use crate::rows::{Cell as _, Cells, read, read_all};
use crate::store::{Store, first_int};

/// A change with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// Contiguous, in the order of commits.
    pub seq: u64,
    /// The change.
    pub row: OutboxRow,
}

/// What the outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxSpan {
    /// Epoch of the numbers.
    pub log_epoch: u32,
    /// Oldest number still there; `head + 1` when there is none.
    pub first: u64,
    /// Number of the newest change ever committed, 0 before the first.
    pub head: u64,
}

/// How far a consumer has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Durable name: account and client slot.
    pub consumer: String,
    /// Unit it watches for.
    pub unit: UnitId,
    /// Hash or text of scope and filter; another one asks for a snapshot.
    pub scope: String,
    /// Epoch of `seq`.
    pub epoch: u32,
    /// Last acknowledged number.
    pub seq: u64,
    /// When it was last heard of.
    pub seen_at: Millis,
}

const CURSOR: &str = "id, unit, scope, epoch, seq, seen_at";
const CURSOR_KINDS: [Kind; 6] =
    [Kind::Text, Kind::Text, Kind::Text, Kind::Int, Kind::Int, Kind::Int];

impl Store {
    /// The changes after a number, at most `limit`, in order and without a gap.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn outbox_after(&self, seq: u64, limit: u32) -> Result<Vec<OutboxEntry>, Error> {
        let table = &self.shared.tables.outbox;
        let select = table.select(table.name);
        let text = format!("SELECT seq, {select} FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2");
        let seq = i64::try_from(seq).unwrap_or(i64::MAX);
        let values = vec![Value::int(seq), Value::int(i64::from(limit))];
        let kinds: Vec<Kind> = [Kind::Int].iter().chain(&table.kinds).copied().collect();
        let rows = self.rows(&text, values, &kinds).await?;
        let entry = |mut row: Vec<Value<'static>>| {
            let values = row.split_off(1);
            let seq: i64 = Cells::new(&mut row).next("seq")?;
            Ok(OutboxEntry { seq: seq as u64, row: read(values)? })
        };
        rows.into_iter().map(entry).collect()
    }

    /// What the outbox holds now.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn outbox_span(&self) -> Result<OutboxSpan, Error> {
        let text = "SELECT c.value, (SELECT MIN(seq) FROM outbox) \
                    FROM counter c WHERE c.name = 'outbox'";
        let rows = self.rows(text, vec![], &[Kind::Int; 2]).await?;
        let head = first_int(&rows).unwrap_or_default();
        let first = match rows.first().and_then(|row| row.get(1)) {
            Some(Value::Int(Some(first))) => *first,
            _ => head + 1,
        };
        let log_epoch = self.log_epoch();
        Ok(OutboxSpan { log_epoch, first: first as u64, head: head as u64 })
    }

    /// The cursor of a consumer.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn cursor(&self, consumer: &str) -> Result<Option<Cursor>, Error> {
        let text = format!("SELECT {CURSOR} FROM consumer WHERE id = $1");
        let rows = self.rows(&text, vec![Value::text(consumer)], &CURSOR_KINDS).await?;
        rows.into_iter().next().map(read_cursor).transpose()
    }

    /// All cursors, for the ledger and for lists.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn cursors(&self) -> Result<Vec<Cursor>, Error> {
        let text = format!("SELECT {CURSOR} FROM consumer ORDER BY id");
        self.rows(&text, vec![], &CURSOR_KINDS).await?.into_iter().map(read_cursor).collect()
    }

    /// Keeps a cursor. Within an epoch and a scope it never moves backwards: a lower number is
    /// ignored.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn set_cursor(&self, cursor: &Cursor) -> Result<(), Error> {
        let text = format!(
            "INSERT INTO consumer ({CURSOR}) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET unit = excluded.unit, scope = excluded.scope, \
             epoch = excluded.epoch, seen_at = excluded.seen_at, \
             seq = CASE WHEN consumer.epoch = excluded.epoch AND consumer.scope = excluded.scope \
             AND consumer.seq > excluded.seq THEN consumer.seq ELSE excluded.seq END"
        );
        let seq = i64::try_from(cursor.seq).map_err(|_| Error::unreadable("seq", cursor.seq))?;
        let values = vec![
            cursor.consumer.value(),
            cursor.unit.value(),
            cursor.scope.value(),
            Value::int(i64::from(cursor.epoch)),
            Value::int(seq),
            Value::int(cursor.seen_at),
        ];
        let mut tx = self.begin(None).await?;
        tx.run(&text, values).await?;
        tx.commit().await
    }

    /// Changes of one incident that are still in the outbox.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn outbox_of(&self, incident: yiwang_core::ids::Id) -> Result<Vec<OutboxRow>, Error> {
        let table = &self.shared.tables.outbox;
        let select = table.select(table.name);
        let text = format!(
            "SELECT {select} FROM outbox \
             WHERE incident = (SELECT n FROM incident WHERE id = $1) ORDER BY version"
        );
        read_all(self.rows(&text, vec![Value::id(incident)], &table.kinds).await?)
    }
}

fn read_cursor(mut row: Vec<Value<'static>>) -> Result<Cursor, Error> {
    let mut cells = Cells::new(&mut row);
    Ok(Cursor {
        consumer: cells.next("id")?,
        unit: cells.next("unit")?,
        scope: cells.next("scope")?,
        epoch: cells.next("epoch")?,
        seq: cells.next::<i64>("seq")? as u64,
        seen_at: cells.next("seen_at")?,
    })
}
