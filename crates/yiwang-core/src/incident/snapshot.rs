//! Policies as text for the store: only this crate writes it and only this crate reads it back.

use crate::policy::Policy;

/// The text of a policy.
#[must_use]
pub fn encode(policy: &Policy) -> String {
    format!("{policy:?}")
}
