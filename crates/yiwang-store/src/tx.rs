//! The write transaction: everything one step changes, as a whole or not at all.
//!
//! Outbox numbers come from one counter row: `UPDATE … RETURNING` locks it until the commit, so the
//! writer that has number n+1 got it only after the one with n had committed and become visible.
//! Number order is therefore commit order for any number of processes, without gaps (a rollback
//! gives the numbers back), and a reader that has seen n never finds a smaller one later. A
//! database sequence has none of this, and an advisory-lock sequencer beside the writers would need
//! a second pass over committed rows and one more process to fail over. The price is that writers
//! wait for each other's commit, which SQLite and the lease ask for anyway.

mod apply;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use yiwang_core::record::Millis;

use crate::Error;
use crate::engine::{self, Dialect, Kind, Link, Value, sql};
use crate::lease::Lease;
use crate::rows::Rows;
use crate::store::{Shared, Store};

pub use apply::{Applied, Numbering};

/// An open write transaction. Dropped without [`Tx::commit`], it never happened.
///
/// After a call has failed, every later call fails too: the transaction is begun anew, from the
/// position on.
pub struct Tx {
    shared: std::sync::Arc<Shared>,
    link: Link,
    /// The server's id of this transaction, for a commit whose answer is lost.
    xid: Option<String>,
    /// Counted so far, written last: by (stage, name).
    counts: BTreeMap<(String, String), i64>,
    broken: bool,
}

/// What may be removed once it is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Changes: consumers behind it have to start with a snapshot.
    Outbox,
    /// Answers of commands (kept at least 7 days).
    Commands,
}

impl Store {
    /// Begins a write transaction; SQLite has one at a time, callers queue. With a lease, the
    /// transaction holds the lease's row: a newer holder's takeover waits for this commit, and
    /// nothing is written after a takeover.
    ///
    /// # Errors
    /// `Fenced` when the lease has gone; `Retry` when the store cannot be reached or the queue is
    /// too long.
    pub async fn begin(&self, lease: Option<&Lease>) -> Result<Tx, Error> {
        let link = Link::begin(&self.shared.engine).await?;
        let mut tx = Tx {
            shared: self.shared.clone(),
            link,
            xid: None,
            counts: BTreeMap::new(),
            broken: false,
        };
        match (tx.dialect(), lease) {
            (Dialect::Sqlite, None) => {}
            (Dialect::Sqlite, Some(lease)) => {
                let text = "SELECT token FROM lease WHERE name = $1";
                let rows = tx.rows(text, vec![Value::text(&lease.name)], &[Kind::Int]).await?;
                check(lease, crate::store::first_int(&rows))?;
            }
            (Dialect::Postgres, None) => {
                let text = "SELECT pg_current_xact_id()::text";
                let rows = tx.rows(text, vec![], &[Kind::Text]).await?;
                tx.xid = last_text(rows.into_iter().next());
            }
            (Dialect::Postgres, Some(lease)) => {
                let text = "SELECT token, pg_current_xact_id()::text FROM lease \
                            WHERE name = $1 FOR UPDATE";
                let kinds = [Kind::Int, Kind::Text];
                let rows = tx.rows(text, vec![Value::text(&lease.name)], &kinds).await?;
                check(lease, crate::store::first_int(&rows))?;
                tx.xid = last_text(rows.into_iter().next());
            }
        }
        Ok(tx)
    }
}

/// Whether a lease is still the one that was acquired.
fn check(lease: &Lease, found: Option<i64>) -> Result<(), Error> {
    let found = found.unwrap_or_default();
    if found == lease.token {
        return Ok(());
    }
    Err(Error::Fenced { name: lease.name.clone(), held: lease.token, found })
}

/// The text in the last column of a row.
fn last_text(row: Option<Vec<Value<'static>>>) -> Option<String> {
    match row?.pop()? {
        Value::Text(text) => text.map(Cow::into_owned),
        _ => None,
    }
}

impl Tx {
    /// Moves the read position of a partition: committed with the effects of what was read before
    /// it.
    ///
    /// # Errors
    /// `Halt` when it would move backwards within an epoch.
    pub async fn set_position(
        &mut self,
        topic: &str,
        position: crate::Position,
    ) -> Result<(), Error> {
        let text = "INSERT INTO read_position (topic, partition, epoch, seq) \
                    VALUES ($1, $2, $3, $4) ON CONFLICT (topic, partition) \
                    DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq \
                    WHERE read_position.epoch < excluded.epoch \
                    OR (read_position.epoch = excluded.epoch \
                    AND read_position.seq <= excluded.seq)";
        let crate::Position { epoch, partition, seq } = position;
        let seq_int = i64::try_from(seq).map_err(|_| Error::unreadable("seq", seq))?;
        let values = vec![
            Value::text(topic),
            Value::int(i64::from(partition)),
            Value::int(i64::from(epoch)),
            Value::int(seq_int),
        ];
        if self.run(text, values).await? == 0 {
            self.broken = true;
            return Err(Error::Backwards { topic: topic.to_owned(), partition, seq });
        }
        Ok(())
    }

    /// Adds to counters of the ledger, when it commits: `(stage, name, how many)`.
    ///
    /// # Errors
    /// `Broken` after another call has failed.
    pub fn count(&mut self, counts: &[(&str, &str, i64)]) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        for (stage, name, value) in counts {
            *self.counts.entry(((*stage).to_owned(), (*name).to_owned())).or_default() += value;
        }
        Ok(())
    }

    /// All counters of the transaction, in one statement.
    async fn write_counts(&mut self) -> Result<(), Error> {
        let mut counts = std::mem::take(&mut self.counts);
        counts.retain(|_, value| *value != 0);
        fn put<'c>(count: (&'c (String, String), &'c i64), values: &mut Vec<Value<'c>>) {
            let ((stage, name), value) = count;
            values.extend([Value::text(stage), Value::text(name), Value::int(*value)]);
        }
        let table = &self.shared.tables.ledger;
        table.write(&mut self.link, counts.iter(), Rows::Any, put, |_| None).await
    }

    /// Removes rows made before `before`, at most `limit`; says how many.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn prune(&mut self, what: Prune, before: Millis, limit: u32) -> Result<u64, Error> {
        let limit = i64::from(limit);
        if what == Prune::Commands {
            let text = "DELETE FROM command WHERE request_id IN \
                        (SELECT request_id FROM command WHERE at < $1 ORDER BY at LIMIT $2)";
            return self.run(text, vec![Value::int(before), Value::int(limit)]).await;
        }
        // From the oldest number on, without a hole: the rows left are one span.
        let text = "SELECT seq, at FROM outbox ORDER BY seq LIMIT $1";
        let rows = self.rows(text, vec![Value::int(limit)], &[Kind::Int; 2]).await?;
        let old = |row: &Vec<Value<'_>>| match row.as_slice() {
            [Value::Int(Some(seq)), Value::Int(Some(at))] if *at < before => Some(*seq),
            _ => None,
        };
        let Some(last) = rows.iter().map_while(old).last() else { return Ok(0) };
        self.run("DELETE FROM outbox WHERE seq <= $1", vec![Value::int(last)]).await
    }

    /// Makes it true. Once this returns `Ok`, it survives every crash.
    ///
    /// A commit whose answer was lost is looked up on the server until its outcome is known: `Ok`
    /// means committed, and any error but `InDoubt` means that nothing was written.
    ///
    /// # Errors
    /// `Retry` when nothing was written, or `InDoubt`; `Halt` when the disk failed.
    pub async fn commit(mut self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        self.write_counts().await?;
        let Self { shared, link, xid, .. } = self;
        match (link.commit().await, xid) {
            (Err(error @ Error::Unreachable { .. }), Some(xid)) => {
                resolve(&shared, xid, error).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Gives everything up and the connection back.
    ///
    /// # Errors
    /// As the engine fails; nothing was written in any case.
    pub async fn rollback(self) -> Result<(), Error> {
        self.link.rollback().await
    }

    fn dialect(&self) -> Dialect {
        self.shared.engine.dialect()
    }

    pub(crate) async fn run(&mut self, text: &str, values: Vec<Value<'_>>) -> Result<u64, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let done = self.link.run(sql(text.to_owned()), values).await;
        self.broken = done.is_err();
        done
    }

    pub(crate) async fn rows(
        &mut self,
        text: &str,
        values: Vec<Value<'_>>,
        kinds: &[Kind],
    ) -> Result<engine::Rows, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let rows = self.link.rows(sql(text.to_owned()), values, kinds).await;
        self.broken = rows.is_err();
        rows
    }
}

/// Asks the server what became of a commit whose answer never came.
async fn resolve(shared: &Shared, xid: String, lost: Error) -> Result<(), Error> {
    let deadline = Instant::now() + shared.limits.doubt_max;
    let mut pause = Duration::from_millis(20);
    while Instant::now() < deadline {
        let text = sql("SELECT pg_xact_status($1::text::xid8)".to_owned());
        let answer = shared.engine.rows(text, vec![Value::text(&xid)], &[Kind::Text]).await;
        let status = answer.ok().and_then(|rows| rows.into_iter().flatten().next());
        match status {
            Some(Value::Text(Some(status))) if status == "committed" => return Ok(()),
            Some(Value::Text(Some(status))) if status == "aborted" => return Err(lost),
            Some(Value::Text(None)) => break,
            _ => {} // Still running there, or still unreachable.
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    Err(Error::InDoubt { xid })
}
