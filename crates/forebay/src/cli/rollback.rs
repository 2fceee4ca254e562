//! `forebay rollback`: tables as they were before. A dry run unless `--yes` is passed.
//!
//! A rollback is one more commit: nothing is deleted, and it can be rolled back itself. Positions, raw zone and quarantine stay: a
//! pipeline goes on where it was.

use std::collections::BTreeSet;
use std::process::ExitCode;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use clap::Args;
use forebay_core::{Error, ErrorKind, RefName, Result, TableName};
use forebay_lake::bitemporal::is_bitemporal;
use forebay_lake::is_pipeline_namespace;
use forebay_pipeline::engine::{is_owned, may_be_child, owner};
use forebay_store::{AsOf, Change, Head, HeadChange};
use futures::TryStreamExt;

use super::head_changes::commit_heads;
use super::states::past_state;
use crate::options::Global;
use crate::say;
use crate::wire::Workspace;

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The tables, each with its child tables
    #[arg(required_unless_present = "lake")]
    tables: Vec<TableName>,
    /// Every table that pipelines load
    #[arg(long, conflicts_with = "tables")]
    lake: bool,
    /// The state to go back to: a time (RFC 3339), a commit of `lake.commits`, or a tag
    #[arg(long, value_name = "TIME|COMMIT|TAG")]
    to: String,
    /// The branch
    #[arg(long, default_value = "main")]
    branch: RefName,
    /// Do it; without this the command lists what it would change
    #[arg(long)]
    yes: bool,
}

/// A table whose state changes.
struct TableChange {
    now: Option<Head>,
    then: Option<Head>,
}

impl Rollback {
    /// Takes tables of `main` back, at once.
    pub(super) fn of(tables: Vec<TableName>, to: String) -> Self {
        Self {
            tables,
            lake: false,
            to,
            branch: RefName::main(),
            yes: true,
        }
    }

    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open_existing(global).await?;
        let store = workspace.lake().store();
        let then = past_state(store, &self.branch, &self.to).await?;
        let changes = self.changes(&workspace, &then).await?;
        if changes.is_empty() {
            say::good(format_args!(
                "nothing to do: the tables are as they were at {}",
                self.to
            ));
            return Ok(ExitCode::SUCCESS);
        }
        for change in &changes {
            say::line(format_args!(
                "  {}",
                change.describe(&workspace, &then, &self.branch).await
            ));
        }
        self.warn_of_periods(&workspace, &changes).await?;
        if !self.yes {
            say::line("dry run: pass --yes to go back");
            return Ok(ExitCode::SUCCESS);
        }
        let message = format!("rollback to {}", self.to);
        let heads = changes
            .into_iter()
            .filter_map(TableChange::into_head)
            .collect();
        let committed = commit_heads(&workspace, &self.branch, message, heads).await?;
        say::good(format_args!("rolled back in commit {}", committed.id));
        say::line(
            "  pipelines go on where they were: what they have loaded since then is in the raw zone",
        );
        Ok(ExitCode::SUCCESS)
    }

    /// The columns of a bitemporal table tell what was believed, and go back with it.
    async fn warn_of_periods(&self, workspace: &Workspace, changes: &[TableChange]) -> Result<()> {
        let branch = AsOf::Head(self.branch.clone());
        for head in changes.iter().filter_map(|change| change.now.as_ref()) {
            // One that cannot be read may still be rolled back.
            let Ok(Some(table)) = workspace.lake().table(&branch, &head.table).await else {
                continue;
            };
            if is_bitemporal(&table) {
                say::warn(format_args!(
                    "{} is bitemporal: what was believed since then is read FOR VERSION AS OF a commit only, as long as it is kept; a corrected record would keep it in the table",
                    head.table
                ));
            }
        }
        Ok(())
    }

    async fn changes(&self, workspace: &Workspace, then: &AsOf) -> Result<Vec<TableChange>> {
        let store = workspace.lake().store();
        let head = AsOf::Head(self.branch.clone());
        let mut now = store.heads(&head).await?;
        let mut before = store.heads(then).await?;
        let mut chosen = self.chosen(workspace, &head, &now).await?;
        chosen.extend(self.chosen(workspace, then, &before).await?);
        now.retain(|head| chosen.contains(&head.table));
        before.retain(|head| chosen.contains(&head.table));
        self.refuse_unknown(&now, &before)?;
        let find = |heads: &[Head], table: &TableName| {
            heads.iter().find(|head| head.table == *table).cloned()
        };
        let mut tables: Vec<TableName> = now
            .iter()
            .chain(&before)
            .map(|head| head.table.clone())
            .collect();
        tables.sort();
        tables.dedup();
        let changes = tables.iter().map(|table| TableChange {
            now: find(&now, table),
            then: find(&before, table),
        });
        Ok(changes.filter(TableChange::is_change).collect())
    }

    /// The tables of a state that go back: with `--lake` those that pipelines load, else the named ones with their child tables, whose rows
    /// hang from rows of theirs.
    async fn chosen(
        &self,
        workspace: &Workspace,
        as_of: &AsOf,
        heads: &[Head],
    ) -> Result<BTreeSet<TableName>> {
        let mut chosen = BTreeSet::new();
        for name in heads.iter().map(|head| &head.table) {
            if self.tables.contains(name) || self.is_loaded(workspace, as_of, name).await? {
                chosen.insert(name.clone());
            }
        }
        Ok(chosen)
    }

    /// Whether a table is loaded by a pipeline with `--lake`, else by one that loads a named table.
    async fn is_loaded(
        &self,
        workspace: &Workspace,
        as_of: &AsOf,
        name: &TableName,
    ) -> Result<bool> {
        let is_candidate = match self.lake {
            true => !is_pipeline_namespace(name.namespace.as_str()),
            false => self.parents(name).next().is_some(),
        };
        if !is_candidate {
            return Ok(false);
        }
        let table = match workspace.lake().table(as_of, name).await {
            // Its other state may say whose it is.
            Err(error) if error.kind() == ErrorKind::Data => return Ok(false),
            table => table?,
        };
        Ok(table.is_some_and(|table| match self.lake {
            true => owner(&table).is_some(),
            false => self.parents(name).any(|parent| is_owned(&table, parent)),
        }))
    }

    /// The named tables that could have a child table of this name.
    fn parents(&self, name: &TableName) -> impl Iterator<Item = &TableName> {
        let parents = self.tables.iter();
        parents.filter(move |parent| may_be_child(name, parent))
    }

    fn refuse_unknown(&self, now: &[Head], before: &[Head]) -> Result<()> {
        for table in &self.tables {
            if is_pipeline_namespace(table.namespace.as_str()) {
                let what = format!(
                    "{table} belongs to a pipeline, whose position would not go back with it"
                );
                return Err(Error::config("system_table", what)
                    .with_hint(format!("forebay pipeline reset {}", table.name)));
            }
            if !now.iter().chain(before).any(|head| head.table == *table) {
                return Err(Error::not_found(
                    "no_such_table",
                    format!("table {table} does not exist, now or then"),
                )
                .with_hint("run `forebay tables` to list the tables"));
            }
        }
        Ok(())
    }
}

impl TableChange {
    fn is_change(&self) -> bool {
        let location =
            |head: &Option<Head>| head.as_ref().map(|head| head.metadata_location.clone());
        location(&self.now) != location(&self.then)
    }

    async fn describe(&self, workspace: &Workspace, then: &AsOf, branch: &RefName) -> String {
        let now = AsOf::Head(branch.clone());
        match (&self.now, &self.then) {
            (Some(head), Some(_)) => {
                let before = count_rows(workspace, &now, &head.table).await;
                let after = count_rows(workspace, then, &head.table).await;
                format!("{}: from {before} to {after}", head.table)
            }
            (None, Some(head)) => {
                let rows = count_rows(workspace, then, &head.table).await;
                format!("{}: comes back with {rows}", head.table)
            }
            (Some(head), None) => format!("{}: is dropped, it did not exist", head.table),
            (None, None) => String::new(),
        }
    }

    fn into_head(self) -> Option<HeadChange> {
        let known = self.then.as_ref().or(self.now.as_ref())?;
        Some(HeadChange {
            table: known.table.clone(),
            uuid: known.uuid,
            expected: self.now.map(|head| head.metadata_location),
            change: self
                .then
                .map_or(Change::Drop, |head| Change::Set(head.metadata_location)),
        })
    }
}

/// For people; a table that cannot be read may still be rolled back.
async fn count_rows(workspace: &Workspace, as_of: &AsOf, table: &TableName) -> String {
    let counted = async {
        let statement = format!("SELECT count(*) FROM {table}");
        let mut answer = workspace.query(as_of.clone()).execute(&statement).await?;
        let batch = answer.batches.try_next().await?;
        let count = batch.map_or(0, |batch| {
            batch.column(0).as_primitive::<Int64Type>().value(0)
        });
        Ok::<_, Error>(u64::try_from(count).unwrap_or(0))
    };
    match counted.await {
        Ok(rows) => say::counted(rows, "row"),
        Err(error) => format!("a state that cannot be read ({})", error.code()),
    }
}
