//! The `forebay` binary: the command line, the settings, and the one place where concrete parts are put together.
//!
//! Nothing here knows how a pipeline works; it parses the command line, calls the crates below, and reports what
//! happened: data on stdout, everything else on stderr.

mod allocator;
mod cli;
mod demo;
mod explain;
mod log;
mod machine;
mod options;
mod output;
mod panics;
mod progress;
mod project;
mod reference;
mod say;
mod settings;
mod wire;

use std::process::ExitCode;

use forebay_core::Error;

/// Everything happens on a thread whose stack is known: that of the first thread is set by the shell.
fn main() -> ExitCode {
    allocator::limit_arenas();
    let thread = std::thread::Builder::new()
        .name("main".to_owned())
        .stack_size(forebay_query::statement::STACK_BYTES);
    std::panic::set_hook(Box::new(panics::log_panic));
    match thread.spawn(cli::main).map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        Ok(Err(panic)) => {
            say::error(&panics::bug(panic.as_ref()));
            ExitCode::from(101)
        }
        Err(error) => {
            let failed = Error::unavailable("no_thread", "failed to start a thread");
            say::error(&failed.with_source(error));
            ExitCode::FAILURE
        }
    }
}
