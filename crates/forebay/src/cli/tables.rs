//! `forebay tables`: what the lake holds.

use std::process::ExitCode;

use clap::Args;
use forebay_core::Result;

use super::Global;
use super::sql::{At, execute};
use crate::wire::Workspace;

#[derive(Debug, Args)]
pub(crate) struct Tables {
    #[command(flatten)]
    at: At,
}

impl Tables {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open(global).await?;
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
