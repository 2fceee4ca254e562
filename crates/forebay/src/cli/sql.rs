//! `forebay sql`: one statement, or a shell.

mod shell;

pub(super) use shell::statements;

use std::process::ExitCode;

use clap::Args;
use forebay_core::{CommitId, Error, RefName, Result, Timestamp};
use forebay_store::AsOf;
use futures::TryStreamExt;

use super::Global;
use crate::output::{Format, Writer};
use crate::wire::Workspace;

#[derive(Debug, Args)]
#[command(
    after_help = "Tables are `namespace.table`; `raw.PIPELINE`, `quarantine.PIPELINE`, `audit.requests` and `lake.*` are tables too.\n\
    One table at another time: SELECT … FROM t FOR SYSTEM_TIME AS OF '2026-01-01T00:00:00Z'."
)]
pub(crate) struct Sql {
    /// The statement; without one an interactive shell
    statement: Option<String>,
    #[command(flatten)]
    at: At,
}

/// Which state of the lake a command reads.
#[derive(Debug, Clone, Args)]
pub(super) struct At {
    /// The branch to read
    #[arg(long, default_value = "main")]
    pub(super) branch: RefName,
    /// The whole lake as it was at this time (RFC 3339) or after this commit
    #[arg(long, value_name = "TIME|COMMIT")]
    pub(super) as_of: Option<String>,
}

impl At {
    pub(super) fn as_of(&self) -> Result<AsOf> {
        let Some(text) = &self.as_of else {
            return Ok(AsOf::Head(self.branch.clone()));
        };
        if let Some(at) = Timestamp::parse(text) {
            return Ok(AsOf::Time(self.branch.clone(), at));
        }
        let commit: CommitId = text.parse().map_err(|_| {
            Error::config(
                "bad_as_of",
                format!("{text:?} is neither a time nor a commit"),
            )
            .with_hint(
                "write RFC 3339 such as 2026-01-01T00:00:00Z, or a commit id of `lake.commits`",
            )
        })?;
        Ok(AsOf::Commit(commit))
    }
}

impl Sql {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open(global).await?;
        let as_of = self.at.as_of()?;
        match &self.statement {
            Some(statement) => execute(&workspace, as_of, statement, global.format).await?,
            None => shell::run(&workspace, &as_of, global.format).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs one statement and streams its answer to stdout.
pub(super) async fn execute(
    workspace: &Workspace,
    as_of: AsOf,
    statement: &str,
    format: Format,
) -> Result<()> {
    let mut answer = workspace.query(as_of).execute(statement).await?;
    let mut writer = Writer::new(std::io::stdout(), format, answer.schema.clone());
    while let Some(batch) = answer.batches.try_next().await? {
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(())
}
