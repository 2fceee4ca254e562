//! `forebay tables undrop`: brings a dropped table back as it was when it was dropped.

use std::process::ExitCode;

use clap::Args;
use forebay_core::{CommitId, Error, RefName, Result, TableName};
use forebay_store::{AsOf, Change, CommitRecord, HeadChange};

use crate::cli::head_changes::commit_heads;
use crate::say;
use crate::wire::Workspace;

/// Commits of the log in which the drop is looked for.
const COMMITS_MAX: u32 = 10_000;

#[derive(Debug, Args)]
pub(crate) struct UndropTable {
    /// The table, as `namespace.table`
    table: TableName,
    /// The branch that it was dropped on
    #[arg(long, default_value = "main")]
    branch: RefName,
}

impl UndropTable {
    pub(super) async fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let store = workspace.lake().store();
        let now = store
            .head(&AsOf::Head(self.branch.clone()), &self.table)
            .await?;
        if now.is_some() {
            let what = format!("table {} is there", self.table);
            return Err(Error::config("table_exists", what)
                .with_hint("`forebay rollback` brings an earlier state of a table back"));
        }
        let log = store.log(&self.branch, COMMITS_MAX).await?;
        let before = log.iter().find_map(|record| self.state_before(record));
        let before = before.ok_or_else(|| self.was_not_dropped())?;
        let head = store.head(&AsOf::Commit(before), &self.table).await?;
        let head = head.ok_or_else(|| self.was_not_dropped())?;
        let change = HeadChange {
            table: head.table,
            uuid: head.uuid,
            expected: None,
            change: Change::Set(head.metadata_location),
        };
        let message = format!("undrop {}", self.table);
        commit_heads(workspace, &self.branch, message, vec![change]).await?;
        say::good(format_args!(
            "{} is back, as it was before it was dropped",
            self.table
        ));
        Ok(ExitCode::SUCCESS)
    }

    /// The commit before this one, if it dropped the table.
    fn state_before(&self, record: &CommitRecord) -> Option<CommitId> {
        let is_drop = record
            .changes
            .iter()
            .any(|(table, _, change)| *table == self.table && *change == Change::Drop);
        record.parent.filter(|_| is_drop)
    }

    fn was_not_dropped(&self) -> Error {
        let what = format!("no commit that is kept dropped {}", self.table);
        Error::not_found("not_dropped", what).with_hint(format!(
            "`forebay rollback {} --to TIME` brings back a state of which you know the time",
            self.table
        ))
    }
}
