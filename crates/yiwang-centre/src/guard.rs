//! Keeps a panic of the core to the step that caused it.
//!
//! Invariant: whatever the step had in its hands is thrown away by the caller, so nothing half done is ever committed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Error;

/// Runs a step.
///
/// # Errors
/// [`Error::Panicked`] with the words of the panic.
pub(crate) fn guarded<T>(step: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| Error::Panicked(words(&*panic)))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without words").to_owned()
}
