//! Finds out whether the tables of the statement have changed since it was run.

use std::collections::BTreeMap;

use forebay_core::{
    CommitId, Error, LakeStatement, NamedTables, Position, Result, RowRange, TableName,
};
use forebay_lake::{Lake, Table};
use forebay_store::AsOf;

use super::QuerySettings;
use super::position::{ReadState, digest};
use crate::platform::PlatformContext;
use crate::platform::table::plan::{self, NewRows};

/// All rows of a table.
const ALL: RowRange = RowRange {
    snapshot: None,
    after: -1,
};

/// The tables of a statement, and the state in which it was run last.
pub(super) struct TableWatch {
    settings: QuerySettings,
    tables: NamedTables,
    context: PlatformContext,
    lake: Lake,
    /// The state that the last run has read; `None` to read everything.
    last: Option<ReadState>,
    /// The newest commit checked, which has nothing new.
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
        self.follow_target(commit).await?;
        let tables = self.named_tables(commit).await?;
        if tables.len() < self.tables.all.len() && self.context.follow {
            self.seen = Some(commit);
            return self.wait_for_tables();
        }
        let end = ReadState {
            commit,
            statement: digest(&self.settings.sql),
            definition: self.context.definition.clone(),
            tables: tables
                .iter()
                .map(|(name, table)| (name.to_string(), plan::end(table)))
                .collect(),
        };
        let new = self.new_rows(commit, &tables).await?;
        if !self.is_due(&end, new.is_some()) {
            self.seen = Some(commit);
            return Ok(None);
        }
        let statement = LakeStatement {
            text: self.settings.sql.clone(),
            branch: self.context.branch.clone(),
            commit,
            new: new.unwrap_or_default(),
        };
        Ok(Some(DueRun { statement, end }))
    }

    /// The rows of the target are those of the last run, unless somebody has dropped the table or taken it back to an earlier state: then
    /// this reader goes back with it. A state has what was read for it among its properties.
    async fn follow_target(&mut self, commit: CommitId) -> Result<()> {
        let (Some(target), Some(last)) = (&self.context.target, &self.last) else {
            return Ok(());
        };
        let branch = &self.context.branch;
        let Some(table) = self.lake.table(&AsOf::Commit(commit), &target.name).await? else {
            let store = self.lake.store();
            // Without a drop no run has given it a row yet.
            if store
                .is_dropped_since(branch, &target.name, last.commit)
                .await?
            {
                tracing::warn!(table = %target.name, "the target was dropped, making it again");
                self.last = None;
            }
            return Ok(());
        };
        let noted = ReadState::noted(&table, &self.context.source.pipeline);
        if let Some(noted) = noted.filter(|noted| noted != last) {
            tracing::warn!(table = %target.name, commit = %noted.commit, "the target was taken back to an earlier state, reading on from there");
            self.last = Some(noted);
        }
        Ok(())
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

    /// The new rows of each table of `${new:…}`; `None` when none of them has any.
    async fn new_rows(
        &self,
        commit: CommitId,
        tables: &BTreeMap<TableName, Table>,
    ) -> Result<Option<BTreeMap<TableName, Vec<RowRange>>>> {
        let mut new = BTreeMap::new();
        for name in &self.tables.new {
            new.insert(
                name.clone(),
                self.ranges(name, commit, tables.get(name)).await?,
            );
        }
        let has_new = new.values().any(|ranges| !ranges.is_empty());
        Ok(has_new.then_some(new))
    }

    async fn ranges(
        &self,
        name: &TableName,
        commit: CommitId,
        table: Option<&Table>,
    ) -> Result<Vec<RowRange>> {
        let last = self.last.as_ref();
        let last = last.and_then(|last| last.tables.get(&name.to_string()));
        let (Some(table), Some(last)) = (table, last) else {
            return Ok(vec![ALL]);
        };
        match plan::new_rows(&self.lake, commit, table, last).await? {
            NewRows::Ranges(ranges) => Ok(ranges),
            NewRows::Changed(change) => {
                self.settings.changes.accept(name, &change, &self.context)?;
                Ok(vec![ALL])
            }
        }
    }

    /// With `${new:…}`, when there are new rows; otherwise when a table or the pipeline itself has changed, and always when it does not follow.
    fn is_due(&self, end: &ReadState, has_new: bool) -> bool {
        let Some(last) = &self.last else {
            return true;
        };
        let is_same_statement = last.statement == end.statement;
        if self.tables.new.is_empty() {
            // A run that somebody asks for, or a schedule, is made: the result may depend on the time, and the target may be gone.
            let is_same = last.definition == end.definition && last.tables == end.tables;
            return !self.context.follow || !is_same_statement || !is_same;
        }
        if has_new && !is_same_statement {
            tracing::warn!(
                "the statement has changed, only new rows are read by it; run once with `--full` to read all rows by it"
            );
        }
        has_new
    }
}
