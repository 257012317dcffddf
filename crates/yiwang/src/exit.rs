//! Exit codes, part of the command line's contract; `yiwang --help` lists them.

use std::process::ExitCode;

/// The command line asks for what must not be.
pub const USAGE: u8 = 2;
/// The configuration is wrong: a person must change a file.
pub const CONFIG: u8 = 3;
/// A port, folder, broker or database could not be had.
pub const UNAVAILABLE: u8 = 4;
/// Durability is in doubt; the log of the program says where.
pub const HALT: u8 = 5;

/// A failure that has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// See [`USAGE`].
    #[error("{0}")]
    Usage(String),
    /// See [`CONFIG`].
    #[error("{0}")]
    Config(String),
    /// See [`UNAVAILABLE`].
    #[error("{0}")]
    Unavailable(String),
    /// The same, and it may be there a moment later: worth waiting for.
    #[error("{0}")]
    Away(String),
    /// See [`HALT`].
    #[error("{0}")]
    Halt(String),
}

/// The code of a failure: its own, or 1.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    let code =
        error.chain().find_map(|cause| cause.downcast_ref::<Failure>()).map_or(1, |failure| {
            match failure {
                Failure::Usage(_) => USAGE,
                Failure::Config(_) => CONFIG,
                Failure::Unavailable(_) | Failure::Away(_) => UNAVAILABLE,
                Failure::Halt(_) => HALT,
            }
        });
    ExitCode::from(code)
}
