//! Leases: which process may write. The fencing token grows with every holder and is checked in
//! every transaction.
//!
//! Time is the store's own clock, the one clock that all processes share. Safety never rests on it:
//! a holder whose lease ran out may write until somebody else has taken it, and never after.

use std::time::Duration;

use crate::Error;
use crate::engine::{Kind, Value};
use crate::store::{Store, first_int};

/// A lease as it was acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is for, `centre`.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Fencing token: grows with every acquisition.
    pub token: i64,
}

impl Store {
    /// Takes a lease that is free, has run out or is this holder's own; `None` while somebody else
    /// holds it. Taking it waits for the transaction that the last holder has open.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn acquire_lease(
        &self,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, Error> {
        let now = self.shared.engine.dialect().now();
        let text = format!(
            "INSERT INTO lease (name, holder, token, expires_at) VALUES ($1, $2, 1, {now} + $3) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = lease.token + 1, \
             expires_at = excluded.expires_at \
             WHERE lease.expires_at <= {now} OR lease.holder = excluded.holder RETURNING token"
        );
        let values = vec![Value::text(name), Value::text(holder), millis(ttl)];
        let mut tx = self.begin(None).await?;
        let rows = tx.rows(&text, values, &[Kind::Int]).await?;
        tx.commit().await?;
        let lease = |token| Lease { name: name.to_owned(), holder: holder.to_owned(), token };
        Ok(first_int(&rows).map(lease))
    }

    /// Keeps a lease for another `ttl` from now.
    ///
    /// # Errors
    /// `Fenced` when somebody else has taken it.
    pub async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<(), Error> {
        let now = self.shared.engine.dialect().now();
        let text =
            format!("UPDATE lease SET expires_at = {now} + $3 WHERE name = $1 AND token = $2");
        self.change_lease(lease, &text, vec![millis(ttl)]).await
    }

    /// Gives a lease back before it runs out.
    ///
    /// # Errors
    /// `Fenced` when somebody else has taken it.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), Error> {
        let text = "UPDATE lease SET expires_at = 0 WHERE name = $1 AND token = $2";
        self.change_lease(lease, text, vec![]).await
    }

    async fn change_lease(
        &self,
        lease: &Lease,
        text: &str,
        more: Vec<Value<'_>>,
    ) -> Result<(), Error> {
        let mut values = vec![Value::text(&lease.name), Value::int(lease.token)];
        values.extend(more);
        let mut tx = self.begin(None).await?;
        let changed = tx.run(text, values).await?;
        tx.commit().await?;
        if changed == 0 {
            let held = lease.token;
            return Err(Error::Fenced { name: lease.name.clone(), held, found: 0 });
        }
        Ok(())
    }
}

fn millis(ttl: Duration) -> Value<'static> {
    Value::int(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2))
}
