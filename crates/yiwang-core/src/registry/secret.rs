//! Device secrets: readable only on purpose.

use std::fmt;

/// Fewest characters of a secret.
pub(crate) const SECRET_CHARS_MIN: usize = 16;

/// A plain secret of the demo profile. It prints as `Secret(…)` and compares with nothing.
pub struct Secret(Box<str>);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself, to be sealed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is kept of a secret: HMAC-SHA256(pepper, secret).
#[derive(Clone, Copy)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    /// Whether this is the hash, in time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &[u8; 32]) -> bool {
        self.0.iter().zip(other).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}
