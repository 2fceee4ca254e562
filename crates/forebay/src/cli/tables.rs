//! `forebay tables`: what the lake holds, and cleaning it.

mod clean;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use forebay_core::Result;

use super::Global;
use super::sql::{At, execute};
use crate::wire::Workspace;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Tables {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Find files and rows that no kept state of the lake needs, and delete them with --delete
    Clean(clean::Clean),
}

impl Tables {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open(global).await?;
        if let Some(Action::Clean(clean)) = self.action {
            return clean.run(&workspace, global.format).await;
        }
        execute(
            &workspace,
            self.at.as_of()?,
            "SELECT * FROM lake.tables",
            global.format,
        )
        .await?;
        Ok(ExitCode::SUCCESS)
    }
}
