//! What is wrong with a configuration file: one [`Problem`] per finding, never a panic and never only the first one.

use std::fmt;

/// Whether a problem stops the program from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look; the configuration is used.
    Warning,
    /// The configuration is refused as a whole and the old one stays.
    Error,
}

impl Severity {
    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding about one configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Warning or error.
    pub severity: Severity,
    /// Stable code in `SCREAMING_SNAKE_CASE`, e.g. `UNKNOWN_PARENT`.
    pub code: &'static str,
    /// File as it was given to the loader.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// What is wrong and where, in one sentence.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, code, file, line, message, remedy } = self;
        write!(f, "{}: {file}:{line}: {code}: {message}; {remedy}", severity.as_str())
    }
}
