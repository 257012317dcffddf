//! Errors as partners see them: a gRPC code, a text for people, and `google.rpc.ErrorInfo` with a stable reason.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Domain of every reason.
pub const DOMAIN: &str = "yiwang";

/// A status with a stable reason; `metadata` says what the caller needs to go on, e.g. the current version.
#[must_use]
pub fn status(
    code: Code,
    reason: &str,
    text: impl Into<String>,
    metadata: &[(&str, &str)],
) -> Status {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, text, details)
}

/// The stable reason of a status, and what goes with it; `None` for one that is not ours.
#[must_use]
pub fn reason(status: &Status) -> Option<(String, HashMap<String, String>)> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some((info.reason, info.metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_way() {
        let sent = status(Code::Aborted, "VERSION_CONFLICT", "seen 3, is 4", &[("version", "4")]);
        let (name, metadata) = reason(&sent).unwrap();
        assert_eq!((name.as_str(), metadata["version"].as_str()), ("VERSION_CONFLICT", "4"));
        assert_eq!(reason(&Status::not_found("x")), None);
    }
}
