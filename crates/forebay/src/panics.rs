//! Panics in the log: one line each, without control characters. A library that panics on a value is caught where it is called, and
//! what becomes of the value is reported there: its message may hold the value, and there may be one for each record.

use std::any::Any;
use std::panic::PanicHookInfo;

use forebay_core::{Error, panic_message};

/// The hook of the process.
pub(crate) fn log_panic(info: &PanicHookInfo<'_>) {
    let location = info.location();
    let at = location.map(ToString::to_string).unwrap_or_default();
    // Libraries are compiled from the registry of cargo.
    let is_own = location.is_some_and(|location| !location.file().contains("/registry/"));
    match is_own {
        true => tracing::error!(
            at,
            panic = panic_message(info.payload()),
            "internal error: panicked"
        ),
        false => tracing::debug!(at, "library panicked"),
    }
}

/// The error of a panic that ended the main thread.
pub(crate) fn bug(panic: &(dyn Any + Send)) -> Error {
    Error::bug("panic", format!("internal error: {}", panic_message(panic)))
}
