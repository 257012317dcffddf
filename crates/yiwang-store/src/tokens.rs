//! Bearer tokens of units, kept as hashes only.
//!
//! A token is 256 random bits made elsewhere, so one hash without salt is enough and can be looked
//! up by key.

use yiwang_core::incident::UnitId;
use yiwang_core::record::Millis;

use crate::Error;
use crate::engine::{Kind, Value};
use crate::rows::{Cell, Cells};
use crate::store::Store;

/// Hash of a token: what is stored and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token as the caller sends it.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(*blake3::hash(token.as_bytes()).as_bytes())
    }
}

/// A token of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitToken {
    /// Its hash.
    pub hash: TokenHash,
    /// Unit it speaks for.
    pub unit: UnitId,
    /// What people call it.
    pub label: String,
    /// When it was made.
    pub created_at: Millis,
    /// From when on it is refused.
    pub expires_at: Option<Millis>,
    /// When it was revoked.
    pub revoked_at: Option<Millis>,
}

impl UnitToken {
    /// Whether it opens anything at this time.
    #[must_use]
    pub fn is_valid(&self, now: Millis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

const COLUMNS: &str = "hash, unit, label, created_at, expires_at, revoked_at";
const KINDS: [Kind; 6] = [Kind::Bytes, Kind::Text, Kind::Text, Kind::Int, Kind::Int, Kind::Int];

impl Store {
    /// Keeps a new token.
    ///
    /// # Errors
    /// `Conflict` when it is there already.
    pub async fn insert_token(&self, token: &UnitToken) -> Result<(), Error> {
        let text = format!("INSERT INTO unit_token ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)");
        let values = vec![
            Value::Bytes(Some(token.hash.0.as_slice().into())),
            token.unit.value(),
            token.label.value(),
            token.created_at.value(),
            token.expires_at.value(),
            token.revoked_at.value(),
        ];
        let mut tx = self.begin(None).await?;
        tx.run(&text, values).await?;
        tx.commit().await
    }

    /// The token with this hash, valid or not.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn find_token(&self, hash: TokenHash) -> Result<Option<UnitToken>, Error> {
        let text = format!("SELECT {COLUMNS} FROM unit_token WHERE hash = $1");
        let values = vec![Value::Bytes(Some(hash.0.to_vec().into()))];
        let rows = self.rows(&text, values, &KINDS).await?;
        rows.into_iter().next().map(read).transpose()
    }

    /// All tokens, by unit and time.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn tokens(&self) -> Result<Vec<UnitToken>, Error> {
        let text = format!("SELECT {COLUMNS} FROM unit_token ORDER BY unit, created_at, hash");
        self.rows(&text, vec![], &KINDS).await?.into_iter().map(read).collect()
    }

    /// Revokes a token; says whether there was a valid one.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn revoke_token(&self, hash: TokenHash, at: Millis) -> Result<bool, Error> {
        let text = "UPDATE unit_token SET revoked_at = $2 WHERE hash = $1 AND revoked_at IS NULL";
        let mut tx = self.begin(None).await?;
        let values = vec![Value::Bytes(Some(hash.0.to_vec().into())), Value::int(at)];
        let changed = tx.run(text, values).await?;
        tx.commit().await?;
        Ok(changed > 0)
    }
}

fn read(mut row: Vec<Value<'static>>) -> Result<UnitToken, Error> {
    let hash = match row.first() {
        Some(Value::Bytes(Some(bytes))) => bytes.as_ref().try_into().ok(),
        _ => None,
    };
    let hash = TokenHash(hash.ok_or_else(|| Error::unreadable("hash", "not 32 bytes"))?);
    let mut cells = Cells::new(row.get_mut(1..).unwrap_or_default());
    Ok(UnitToken {
        hash,
        unit: cells.next("unit")?,
        label: cells.next("label")?,
        created_at: cells.next("created_at")?,
        expires_at: cells.next("expires_at")?,
        revoked_at: cells.next("revoked_at")?,
    })
}
