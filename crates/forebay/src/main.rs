//! The `forebay` binary: the command line, the settings, and the one place where concrete parts are put together.
//!
//! Nothing here knows how a pipeline works; it reads what the user asked for, calls the crates below, and says what
//! happened: data on stdout, everything else on stderr.

mod cli;
mod demo;
mod log;
mod machine;
mod output;
mod progress;
mod project;
mod say;
mod settings;
mod wire;

use std::process::ExitCode;

use forebay_core::Error;

/// Everything happens on a thread whose stack is known: that of the first thread is what the shell allows.
fn main() -> ExitCode {
    let thread = std::thread::Builder::new()
        .name("main".to_owned())
        .stack_size(forebay_query::statement::STACK_BYTES);
    match thread.spawn(cli::main).map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        // The panic has been reported where it happened.
        Ok(Err(_)) => ExitCode::from(101),
        Err(error) => {
            let failed = Error::unavailable("no_thread", "failed to start a thread");
            say::error(&failed.with_source(error));
            ExitCode::FAILURE
        }
    }
}
