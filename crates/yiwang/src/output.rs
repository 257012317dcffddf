//! What commands say on standard output and standard error; nothing else in this program writes there, and nothing here
//! panics.
//!
//! Invariant: a reader that has gone is how `head` says that it has seen enough and no failure; any other write that
//! fails is one.

use std::fmt::Display;
use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::Context;

/// Whether somebody reads on.
pub type Heard = ControlFlow<()>;

/// Says all that a command has to say; the outcome is the same if nobody wants to hear it.
///
/// # Errors
/// Standard output cannot be written.
pub fn show(text: impl Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let _ = heard(write!(out, "{text}").and_then(|()| out.flush()))?;
    Ok(())
}

/// Says a line of many.
///
/// # Errors
/// Standard output cannot be written.
pub fn line(text: impl Display) -> anyhow::Result<Heard> {
    let mut out = io::stdout().lock();
    heard(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// What came of a write to standard output.
///
/// # Errors
/// It failed for another reason than that nobody reads on.
pub fn heard(written: io::Result<()>) -> anyhow::Result<Heard> {
    match written {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => {
            Err(error).context("failed to write to standard output; make room where it goes")
        }
    }
}

/// Says a line on standard error. Where that fails there is no place left to say so; the exit code still tells.
pub fn tell(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_is_no_failure() {
        assert!(heard(Ok(())).unwrap().is_continue());
        assert!(heard(Err(io::ErrorKind::BrokenPipe.into())).unwrap().is_break());
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied] {
            let error = format!("{:#}", heard(Err(kind.into())).unwrap_err());
            assert!(error.starts_with("failed to write to standard output"), "{error}");
        }
    }
}
