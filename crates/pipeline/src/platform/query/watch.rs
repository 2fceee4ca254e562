//! Finds out whether the tables of the statement have changed since it was run.

use std::collections::BTreeMap;

use forebay_core::{CommitId, Error, LakeStatement, NamedTables, Position, Result, TableName};
use forebay_lake::{Lake, Table};
use forebay_store::AsOf;

use super::QuerySettings;
use super::position::{ReadState, digest};
use crate::platform::PlatformContext;
use crate::platform::table::plan::{self, Since};

/// The sequence number before the first row of a table.
const NOTHING_KNOWN: i64 = -1;

/// The tables of a statement, and the state in which it was run last.
pub(super) struct TableWatch {
    settings: QuerySettings,
    tables: NamedTables,
    context: PlatformContext,
    lake: Lake,
    /// What the last run has read; `None` when everything is to be read.
    last: Option<ReadState>,
    /// The commit looked at last, which has nothing new.
    seen: Option<CommitId>,
}

/// A run of the statement that is due.
pub(super) struct DueRun {
    pub(super) statement: LakeStatement,
    /// The position after it.
    pub(super) end: ReadState,
}

impl TableWatch {
    pub(super) fn new(
        (settings, tables): (QuerySettings, NamedTables),
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Self> {
        let lake = context.lake.clone();
        let lake =
            lake.ok_or_else(|| Error::bug("no_lake", "a statement is read without its lake"))?;
        // A target that is replaced takes the whole result of every run; a follower still waits for a change.
        let position = position.filter(|_| context.follow || !context.full);
        Ok(Self {
            last: position.as_ref().map(ReadState::read).transpose()?,
            lake,
            settings,
            tables,
            context,
            seen: None,
        })
    }

    /// The next run of the statement; `None` when nothing has changed.
    pub(super) async fn look(&mut self) -> Result<Option<DueRun>> {
        let log = self.lake.store().log(&self.context.branch, 1).await?;
        let Some(commit) = log.first().map(|commit| commit.id) else {
            return self.wait_for_tables();
        };
        if self.seen == Some(commit) {
            return Ok(None);
        }
        let tables = self.named_tables(commit).await?;
        if tables.len() < self.tables.all.len() && self.context.follow {
            self.seen = Some(commit);
            return self.wait_for_tables();
        }
        let end = ReadState {
            commit,
            statement: digest(&self.settings.sql),
            tables: tables
                .iter()
                .map(|(name, table)| (name.to_string(), plan::end(table)))
                .collect(),
        };
        let known = self.known(commit, &tables).await?;
        if !self.is_due(&end, known.as_ref()) {
            self.seen = Some(commit);
            return Ok(None);
        }
        let statement = LakeStatement {
            text: self.settings.sql.clone(),
            branch: self.context.branch.clone(),
            commit,
            known: known.unwrap_or_default(),
        };
        Ok(Some(DueRun { statement, end }))
    }

    /// A reader may start before the writers of its tables. One that does not follow leaves the error to the statement.
    fn wait_for_tables(&self) -> Result<Option<DueRun>> {
        if self.context.follow {
            return Ok(None);
        }
        let names: Vec<String> = self.tables.all.iter().map(ToString::to_string).collect();
        let what = format!(
            "branch {} has no table yet, of {}",
            self.context.branch,
            names.join(", ")
        );
        Err(Error::not_found("no_such_table", what).with_hint("load the tables first"))
    }

    /// The tables of the statement that exist.
    async fn named_tables(&self, commit: CommitId) -> Result<BTreeMap<TableName, Table>> {
        let mut found = BTreeMap::new();
        for name in &self.tables.all {
            let viewed = self.tables.views.get(name);
            for candidate in std::iter::once(name).chain(viewed) {
                if let Some(table) = self.lake.table(&AsOf::Commit(commit), candidate).await? {
                    found.insert(name.clone(), table);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Up to where the rows of each table of `${new:…}` are known; `None` when none of them has a new row.
    async fn known(
        &self,
        commit: CommitId,
        tables: &BTreeMap<TableName, Table>,
    ) -> Result<Option<BTreeMap<TableName, i64>>> {
        let mut known = BTreeMap::new();
        let mut has_new = false;
        for name in &self.tables.new {
            let last = self.last.as_ref();
            let last = last.and_then(|last| last.tables.get(&name.to_string()));
            let (Some(table), Some(last)) = (tables.get(name), last) else {
                known.insert(name.clone(), NOTHING_KNOWN);
                has_new = true;
                continue;
            };
            match plan::since(&self.lake, commit, table.clone(), last).await? {
                Since::Pass(pass) => {
                    has_new |= !pass.files.is_empty();
                    known.insert(name.clone(), last.sequence);
                }
                Since::Changed(change) => {
                    self.settings.changes.accept(name, &change)?;
                    has_new = true;
                    known.insert(name.clone(), NOTHING_KNOWN);
                }
            }
        }
        Ok(has_new.then_some(known))
    }

    /// With `${new:…}`, when there are new rows; otherwise when a table or the statement itself has changed.
    fn is_due(&self, end: &ReadState, known: Option<&BTreeMap<TableName, i64>>) -> bool {
        let Some(last) = &self.last else {
            return true;
        };
        let is_same_statement = last.statement == end.statement;
        if self.tables.new.is_empty() {
            return !is_same_statement || last.tables != end.tables;
        }
        if known.is_some() && !is_same_statement {
            tracing::warn!(
                "the statement has changed, only new rows are read by it; run once with `--full` to read all rows by it"
            );
        }
        known.is_some()
    }
}
