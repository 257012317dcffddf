//! Answers to callers that are no success: gRPC status with a stable reason code in `google.rpc.ErrorInfo`.
//!
//! Here and nowhere else a refusal or a failure becomes a status.

use tonic::{Code, Status};
use yiwang_core::ids::Id;
use yiwang_core::incident::{Refusal, RefusalCode};

use crate::Error;
use crate::token::{Opened, Signer};

/// A status with its reason code.
pub(crate) fn status(code: Code, reason: &str, text: impl Into<String>) -> Status {
    yiwang_proto::status::status(code, reason, text, &[])
}

/// An argument that cannot be used.
pub(crate) fn bad_argument(field: &str, what: &str) -> Status {
    let text = format!("{field}: {what}");
    yiwang_proto::status::status(
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
        text,
        &[("field", field)],
    )
}

/// What is out of sight and what is not there, in the same words.
pub(crate) fn not_found() -> Status {
    status(Code::NotFound, "NOT_FOUND", "no such incident")
}

/// What a caller's token says, if it is this consumer's.
pub(crate) fn open_token(signer: &Signer, consumer: Id, token: &[u8]) -> Result<Opened, Status> {
    let opened = signer
        .read(token)
        .map_err(|_| status(Code::InvalidArgument, "TOKEN_BAD", "the token is not ours"))?;
    if opened.audience.consumer == consumer {
        return Ok(opened);
    }
    Err(status(Code::PermissionDenied, "TOKEN_FOREIGN", "the token is another consumer's"))
}

/// A refusal of the core.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let code = match refusal.code {
        RefusalCode::NotFound => return not_found(),
        RefusalCode::NotYours | RefusalCode::SamePerson => Code::PermissionDenied,
        RefusalCode::VersionConflict => Code::Aborted,
        RefusalCode::CommandIdReused => Code::AlreadyExists,
        RefusalCode::PersonRequired
        | RefusalCode::RequestIdRequired
        | RefusalCode::ReasonRequired
        | RefusalCode::TargetInvalid
        | RefusalCode::TaskNotFound
        | RefusalCode::CategoryInvalid
        | RefusalCode::InvalidArgument => Code::InvalidArgument,
        _ => Code::FailedPrecondition,
    };
    let (reason, text) = (refusal.code.as_str(), refusal.detail.as_str());
    let Some(current) = &refusal.current else {
        return yiwang_proto::status::status(code, reason, text, &[]);
    };
    let facts = [
        ("etag", current.version.to_string()),
        ("state", current.state.as_str().to_owned()),
        ("changed_by_unit", current.unit.to_string()),
        ("changed_by", current.person.clone()),
    ];
    let facts: Vec<_> = facts.iter().map(|(name, value)| (*name, value.as_str())).collect();
    yiwang_proto::status::status(code, reason, text, &facts)
}

/// A failure of ours: the caller may try again with the same `request_id`.
pub(crate) fn failed(error: &Error) -> Status {
    tracing::warn!(error = error.chain(), "a call could not be served");
    match error {
        Error::Store(store) if store.action() == yiwang_store::Action::Retry => status(
            Code::Unavailable,
            "STORE_UNAVAILABLE",
            "the store is away; try again with the same request_id",
        ),
        Error::Away => status(Code::Unavailable, "STORE_UNAVAILABLE", error.to_string()),
        Error::Busy => status(Code::ResourceExhausted, "BUSY", error.to_string()),
        Error::Stopped => status(Code::Unavailable, "STOPPING", "the centre stops; try again"),
        Error::Fenced => {
            status(Code::Unavailable, "NOT_ACTIVE", "another centre is active; connect again")
        }
        _ => status(Code::Internal, "INTERNAL", "the centre failed; its log says why"),
    }
}

/// A failure of the store.
pub(crate) fn store_failed(error: yiwang_store::Error) -> Status {
    failed(&Error::from(error))
}
