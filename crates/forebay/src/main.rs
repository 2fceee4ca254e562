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

fn main() -> ExitCode {
    cli::main()
}
