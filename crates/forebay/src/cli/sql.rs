//! `forebay sql`: one statement, or a shell.

mod cancel;
mod change;
mod command;
mod complete;
mod shell;
mod split;

pub(super) use split::statements;

use std::process::ExitCode;

use cancel::cancellable;
use change::ChangeMode;
use clap::Args;
use forebay_core::unit::Span;
use forebay_core::{Error, RefName, Result};
use forebay_query::{Answer, Query};
use forebay_store::{AsOf, Store};
use futures::TryStreamExt;
use split::ScriptStatement;

use super::states::past_state;
use crate::options::Global;
use crate::output::{Format, Layout, Writer};
use crate::wire::Workspace;

#[derive(Debug, Args)]
#[command(
    after_help = "Tables are `namespace.table`; `raw.PIPELINE`, `quarantine.PIPELINE`, `audit.requests` and `lake.*` are tables too.\n\
    One table at another time: SELECT … FROM t FOR SYSTEM_TIME AS OF '2026-01-01T00:00:00Z'.\n\
    CREATE TABLE, INSERT, UPDATE, DELETE, TRUNCATE, ALTER TABLE and DROP TABLE are one commit each."
)]
pub(crate) struct Sql {
    /// Statements, separated by `;`; without any an interactive shell
    statement: Option<String>,
    /// Run the statements of a file
    #[arg(long, short, value_name = "FILE", conflicts_with = "statement")]
    file: Option<String>,
    /// Longest that one statement may take, such as 30s or 5m [default: `timeout` of `[sql]`]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    /// Refuse statements that change tables
    #[arg(long, conflicts_with = "force")]
    read_only: bool,
    /// Change also tables that a pipeline loads
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    at: At,
}

/// Which state of the lake a command reads.
#[derive(Debug, Clone, Args)]
pub(super) struct At {
    /// The branch or tag to read
    #[arg(long, default_value = "main")]
    pub(super) branch: RefName,
    /// The whole lake as it was at this time (RFC 3339), after this commit, or at this tag
    #[arg(long, value_name = "TIME|COMMIT|TAG")]
    pub(super) as_of: Option<String>,
}

impl At {
    pub(super) async fn as_of(&self, store: &Store) -> Result<AsOf> {
        match &self.as_of {
            None => Ok(AsOf::Head(self.branch.clone())),
            Some(text) => past_state(store, &self.branch, text).await,
        }
    }
}

impl Sql {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let mut workspace = Workspace::open_existing(global).await?;
        workspace.limit_statements(self.timeout);
        let as_of = self.at.as_of(workspace.lake().store()).await?;
        let answering = Answering {
            changes: self.change_mode(),
            ..Answering::plain(global.format)
        };
        match (&self.statement, &self.file) {
            (Some(text), _) if statements(text).is_empty() => {
                return Err(Error::config("no_statement", "the statement is empty")
                    .with_hint("write a query, such as 'SELECT * FROM lake.tables'"));
            }
            (Some(text), _) => shell::run_script(&workspace, &as_of, text, answering).await?,
            (None, Some(file)) => shell::run_file(&workspace, &as_of, file, answering).await?,
            (None, None) => Box::pin(shell::run(&workspace, &as_of, answering)).await?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn change_mode(&self) -> ChangeMode {
        match (self.read_only, self.force) {
            (true, _) => ChangeMode::ReadOnly,
            (false, false) => ChangeMode::OwnTables,
            (false, true) => ChangeMode::AllTables,
        }
    }
}

/// How answers are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answering {
    format: Format,
    layout: Layout,
    changes: ChangeMode,
}

impl Answering {
    pub(super) fn plain(format: Format) -> Self {
        Self {
            format,
            layout: Layout::grid(),
            changes: ChangeMode::ReadOnly,
        }
    }
}

/// Runs one statement and streams its answer to stdout; how many rows there were.
pub(super) async fn execute(
    workspace: &Workspace,
    as_of: AsOf,
    statement: &str,
    answering: Answering,
) -> Result<usize> {
    print_answer(&workspace.query(as_of), statement, answering).await
}

/// The same for one of several statements.
async fn execute_in_script(
    workspace: &Workspace,
    as_of: AsOf,
    statement: ScriptStatement<'_>,
    answering: Answering,
) -> Result<usize> {
    let change = change::parse(statement.text, answering.changes);
    let change = change.map_err(|error| statement.locate(error))?;
    let done = cancellable(async |cancellation| {
        if let Some(change) = &change {
            let change = (change, statement.text);
            let run = change::run(workspace, as_of, change, answering, cancellation);
            return Box::pin(run).await;
        }
        let query = workspace.cancellable_query(as_of, cancellation);
        print_answer(&query, statement.text, answering).await
    });
    let done = done.await;
    done.map_err(|error| statement.locate(error))
}

/// The same in a session of its own.
pub(super) async fn print_answer(
    query: &Query,
    statement: &str,
    answering: Answering,
) -> Result<usize> {
    print_rows(query.execute(statement).await?, answering).await
}

async fn print_rows(mut answer: Answer, answering: Answering) -> Result<usize> {
    let mut writer = Writer::with_layout(
        std::io::stdout(),
        answering.format,
        answering.layout,
        answer.schema.clone(),
    );
    while let Some(batch) = answer.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.finish()
}
