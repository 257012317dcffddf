//! Who calls: the unit of a bearer token. Deny by default; no answer says which part of a credential was wrong.

use std::sync::Arc;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use yiwang_core::incident::UnitId;
use yiwang_store::{Store, TokenHash};

use crate::caller;

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 256;

/// A caller that was recognised.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Its unit.
    pub(crate) unit: UnitId,
    /// Its token, to be looked at again while a stream is open.
    pub(crate) token: TokenHash,
}

/// Recognises the caller of a request.
///
/// # Errors
/// `UNAUTHENTICATED` for a missing, unknown, expired or revoked token, in the same words.
pub(crate) async fn caller(
    store: &Store,
    metadata: &MetadataMap,
    now: i64,
) -> Result<Caller, Status> {
    let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
    let token = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(unknown());
    }
    let hash = TokenHash::of(token);
    let unit = unit_of(store, hash, now).await?;
    Ok(Caller { unit, token: hash })
}

/// The unit that a token still speaks for.
pub(crate) async fn unit_of(store: &Store, hash: TokenHash, now: i64) -> Result<UnitId, Status> {
    let found = store.find_token(hash).await.map_err(caller::store_failed)?;
    found
        .filter(|token| token.is_valid(now))
        .map(|token| Arc::clone(&token.unit))
        .ok_or_else(unknown)
}

fn unknown() -> Status {
    caller::status(
        Code::Unauthenticated,
        "TOKEN_UNKNOWN",
        "no valid token: send metadata `authorization: Bearer TOKEN`, made by `yiwang token new --unit UNIT`",
    )
}
