//! `forebay tables`: lists, describes, registers, compacts, drops and undrops tables, and cleans up.

mod clean;
mod compact;
mod drop;
mod register;
mod undrop;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use forebay_core::Result;

use super::sql::{Answering, At, execute};
use crate::options::Global;
use crate::project;
use crate::wire::Workspace;

/// The main columns; `--all` shows the rest.
const LIST: &str =
    "SELECT \"table\", columns, partition, rows, files, bytes, problem FROM lake.tables ORDER BY 1";
const LIST_ALL: &str = "SELECT * FROM lake.tables ORDER BY 1";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Tables {
    #[command(flatten)]
    at: At,
    /// All columns: UUID, snapshots and metadata location too
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Columns and types of a table
    Describe {
        /// The table, as `namespace.table`
        table: String,
        #[command(flatten)]
        at: At,
    },
    /// Drop a table; earlier states stay readable with AS OF until their retention ends
    Drop(drop::DropTable),
    /// Bring back a dropped table as it was when it was dropped
    Undrop(undrop::UndropTable),
    /// Take a table that another engine has made into the catalog, as it is
    Register(register::RegisterTable),
    /// Find files and rows that no retained state of the lake needs; --delete deletes them
    Clean(clean::Clean),
    /// Write small files, and files with many deleted rows, again as few
    Compact(compact::Compact),
}

impl Tables {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open_existing(global).await?;
        let answering = Answering::plain(global.format);
        match self.action {
            Some(Action::Clean(clean)) => return clean.run(&workspace, global.format).await,
            Some(Action::Compact(command)) => return command.run(&workspace, global.format).await,
            Some(Action::Drop(command)) => return command.run(&workspace, global).await,
            Some(Action::Undrop(command)) => return command.run(&workspace).await,
            Some(Action::Register(command)) => return command.run(&workspace).await,
            Some(Action::Describe { table, at }) => {
                let table = project::table(workspace.project(), &table, workspace.engine())?;
                let statement = format!("DESCRIBE {table}");
                let as_of = at.as_of(workspace.lake().store()).await?;
                execute(&workspace, as_of, &statement, answering).await?;
            }
            None => {
                let statement = if self.all { LIST_ALL } else { LIST };
                let as_of = self.at.as_of(workspace.lake().store()).await?;
                execute(&workspace, as_of, statement, answering).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
