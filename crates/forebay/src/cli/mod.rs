//! The command line: one file a command, one table of them.

mod branch;
mod check;
mod components;
mod demo;
mod docs;
mod explain;
#[cfg(test)]
mod guides;
mod head_changes;
mod init;
mod pipeline;
mod quarantine;
mod rebuild;
mod rollback;
mod run;
mod runs;
mod schema;
mod serve;
mod shared_table;
mod sql;
mod states;
mod tables;
mod tag;
mod test;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use forebay_core::{Error, ErrorKind, Result};

use crate::options::Global;
use crate::output::{OUTPUT_CLOSED, print_text};
use crate::{log, say};

/// Data pipelines and a lakehouse in one binary: from any source to Iceberg tables to SQL.
#[derive(Debug, Parser)]
#[command(
    name = "forebay",
    version,
    max_term_width = 100,
    after_help = "Start with `forebay demo`. Most errors end with a hint; `forebay explain CODE` says more."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: pull a real data set over HTTP into a lake and query it, in ten seconds
    Demo(demo::Demo),
    /// Create a project with a first pipeline
    Init(init::Init),
    /// Validate settings and pipeline files: all errors at once, nothing is run
    Check(check::Check),
    /// Run pipelines until their sources are exhausted
    Run(run::Run),
    /// Run all pipelines continuously or on schedule, and accept HTTP pushes
    Serve(serve::Serve),
    /// Query tables with SQL; starts an interactive shell if no statement is given
    Sql(sql::Sql),
    /// SQL tests of the project; each must return zero rows
    Test(test::Test),
    /// List, describe, drop and clean tables
    Tables(tables::Tables),
    /// List, create, compare, merge and drop branches of the catalog
    #[command(subcommand)]
    Branch(branch::Branch),
    /// List, create and drop tags: names for states of the lake that never move
    #[command(subcommand)]
    Tag(tag::Tag),
    /// Start a pipeline over
    #[command(subcommand)]
    Pipeline(pipeline::Pipeline),
    /// Run history
    #[command(subcommand)]
    Runs(runs::Runs),
    /// List, inspect and replay rejected records
    #[command(subcommand)]
    Quarantine(quarantine::Quarantine),
    /// Rebuild a table from raw data on a branch and compare it with the current one
    Rebuild(rebuild::Rebuild),
    /// Bring tables back to an earlier state, in one commit
    Rollback(rollback::Rollback),
    /// Find damaged and missing files: catalog, tables, raw zone, positions, journals
    Verify(verify::Verify),
    /// JSON Schema of a pipeline file or the settings, for editors
    Schema(schema::Schema),
    /// Sources, extractors, transforms and sinks that a pipeline file may name
    Components(components::Components),
    /// What an error code means and what to do next
    Explain(explain::Explain),
    /// Write the reference of the documentation
    #[command(hide = true)]
    Docs(docs::Docs),
    /// Completions for a shell, on stdout
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The whole command line, for the reference.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

pub(crate) fn main() -> ExitCode {
    // The first request needs TLS; its implementation is selected here, once.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Remaining spans are sent on drop.
    let started = log::start(log::Wanted {
        format: cli.global.log,
        verbose: cli.global.verbose,
        is_server: matches!(cli.command, Command::Serve(_)) && !cli.global.quiet,
        project: &cli.global.project,
    });
    let done = started.and_then(|exporter| {
        let done = dispatch(cli);
        drop(exporter);
        done
    });
    match done {
        Ok(code) => code,
        // `forebay sql … | head`: the reader has enough.
        Err(error) if error.code() == OUTPUT_CLOSED => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Commands that need no data come first: they start no runtime.
fn dispatch(cli: Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "forebay", &mut script);
            print_text(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Schema(command) => command.run(),
        Command::Explain(command) => command.run(global),
        Command::Docs(command) => command.run(),
        Command::Components(command) => command.run(global),
        Command::Init(command) => command.run(global),
        command => {
            let runtime = runtime()?;
            let done = runtime.block_on(with_data(command, global));
            runtime.shutdown_timeout(SHUTDOWN_TIME_MAX);
            done
        }
    }
}

async fn with_data(command: Command, global: &Global) -> Result<ExitCode> {
    match command {
        Command::Demo(command) => Box::pin(command.run(global)).await,
        Command::Check(command) => command.run(global),
        Command::Run(command) => Box::pin(command.run(global)).await,
        Command::Serve(command) => Box::pin(command.run(global)).await,
        Command::Sql(command) => Box::pin(command.run(global)).await,
        Command::Test(command) => Box::pin(command.run(global)).await,
        Command::Tables(command) => Box::pin(command.run(global)).await,
        Command::Branch(command) => Box::pin(command.run(global)).await,
        Command::Tag(command) => Box::pin(command.run(global)).await,
        Command::Pipeline(command) => Box::pin(command.run(global)).await,
        Command::Runs(command) => Box::pin(command.run(global)).await,
        Command::Quarantine(command) => Box::pin(command.run(global)).await,
        Command::Rebuild(command) => Box::pin(command.run(global)).await,
        Command::Rollback(command) => Box::pin(command.run(global)).await,
        Command::Verify(command) => Box::pin(command.run(global)).await,
        Command::Completions { .. }
        | Command::Schema(_)
        | Command::Explain(_)
        | Command::Docs(_)
        | Command::Components(_)
        | Command::Init(_) => Err(Error::bug("dispatch", "this command was handled before")),
    }
}

/// Time limit for background work at exit. Nothing depends on it: uncommitted work is not visible.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(5);

fn runtime() -> Result<tokio::runtime::Runtime> {
    crate::machine::check_file_handles()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(forebay_query::statement::STACK_BYTES)
        .build()
        .map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                "no_runtime",
                "failed to start threads",
            )
            .with_source(error)
        })
}
