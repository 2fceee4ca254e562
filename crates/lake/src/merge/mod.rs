//! Merging a branch into another: what the source changed since both had the same state comes into the target, in one commit.
//!
//! For each table that the source changed: the target still has a common state, and takes over the source's pointer; or both changed it and
//! the source only appended, and its data files are added on top of the target's head; or it is a conflict, and nothing of the merge happens.
//! A position that only the source moved moves along. Nothing here reads rows, but for the keys that a conflict names.

mod apply;
mod both;
mod graft;
mod keys;
mod plan;
mod positions;
mod properties;
mod schema_text;

use std::time::Duration;

use forebay_core::{CommitId, Error, Ident, Position, RefName, Result, TableName};
use forebay_store::Committed;

use crate::Lake;

/// Conflicts that the message of an error lists.
const CONFLICTS_LISTED_MAX: usize = 20;

/// A merge of one branch into another.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    pub id: CommitId,
    pub source: RefName,
    /// The newest commit that the source must have; `None` for whatever it has.
    pub source_head: Option<CommitId>,
    pub target: RefName,
    pub author: String,
    /// Identifies the process among holders of leases.
    pub owner: String,
    /// Of the splits whose positions move.
    pub lease: Duration,
}

/// What a branch has that another has not, and what a merge makes of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BranchChanges {
    /// By name.
    pub tables: Vec<TableChanges>,
    /// By pipeline and split.
    pub positions: Vec<PositionChanges>,
}

/// One table that the branch changed.
#[derive(Debug, Clone, PartialEq)]
pub struct TableChanges {
    pub table: TableName,
    pub kind: ChangeKind,
    /// Rows of data files that came, and rows that are no longer seen; 0 where they were not counted.
    pub rows_added: u64,
    pub rows_deleted: u64,
    /// Changes of the columns, for people.
    pub schema: Vec<String>,
    pub outcome: MergeOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Created,
    Dropped,
    /// Another table is there under the name.
    Recreated,
    Changed,
    /// The same rows in other files.
    Compacted,
}

/// What a merge makes of the change of a table or position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeOutcome {
    /// The target has what both started from, and takes over what the source has.
    FastForward,
    /// The target has changed too, and gets the source's data files in addition.
    Append,
    /// Nothing: the target has the same, or the rows are the same.
    Nothing,
    /// Not merged, for this reason.
    Conflict(String),
}

/// One position that the branch moved.
#[derive(Debug, Clone, PartialEq)]
pub struct PositionChanges {
    pub pipeline: Ident,
    pub split: Ident,
    /// `None`: nothing was read.
    pub before: Option<Position>,
    pub after: Option<Position>,
    pub outcome: MergeOutcome,
}

/// The result of a merge.
#[derive(Debug, Clone)]
pub struct MergedBranch {
    pub changes: BranchChanges,
    /// `None`: the target had everything already.
    pub committed: Option<Committed>,
}

impl ChangeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Dropped => "dropped",
            Self::Recreated => "recreated",
            Self::Changed => "changed",
            Self::Compacted => "compacted",
        }
    }
}

impl MergeOutcome {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::FastForward => "fast-forward",
            Self::Append => "append",
            Self::Nothing => "nothing",
            Self::Conflict(_) => "conflict",
        }
    }

    /// The reason of a conflict.
    pub fn conflict(&self) -> Option<&str> {
        match self {
            Self::Conflict(reason) => Some(reason),
            _ => None,
        }
    }
}

impl BranchChanges {
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.positions.is_empty()
    }

    /// The reason of each conflict, with the name of the table or position.
    pub fn conflicts(&self) -> Vec<String> {
        let tables = self.tables.iter().filter_map(|change| {
            let reason = change.outcome.conflict()?;
            Some(format!("table {}: {reason}", change.table))
        });
        let positions = self.positions.iter().filter_map(|change| {
            let reason = change.outcome.conflict()?;
            let (pipeline, split) = (&change.pipeline, &change.split);
            Some(format!("pipeline {pipeline}, split {split}: {reason}"))
        });
        tables.chain(positions).collect()
    }

    /// Errors: `Conflict` `merge_conflict` with all reasons.
    fn check(&self, source: &RefName, target: &RefName) -> Result<()> {
        let conflicts = self.conflicts();
        if conflicts.is_empty() {
            return Ok(());
        }
        let count = conflicts.len();
        let mut listed = conflicts;
        listed.truncate(CONFLICTS_LISTED_MAX);
        let more = match count - listed.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let what = format!(
            "{source} cannot be merged into {target}: {}{more}",
            listed.join("; ")
        );
        Err(Error::conflict(MERGE_CONFLICT, what).with_hint(format!(
            "nothing was changed; create a new branch from {target} and make the changes again there, or undo one side of each (`forebay rollback`, `forebay pipeline reset`)"
        )))
    }
}

/// Code of the error for branches that both changed the same.
pub const MERGE_CONFLICT: &str = "merge_conflict";

impl Lake {
    /// What `source` changed since it and `target` had the same state, and what a merge would make of it. Counts rows by the manifests of both
    /// states; changes nothing.
    ///
    /// Errors: `NotFound` `no_such_branch`, `merge_base_expired`; `Config` `same_branch`.
    pub async fn branch_changes(
        &self,
        source: &RefName,
        target: &RefName,
    ) -> Result<BranchChanges> {
        let sides = self.store().merge_sides(source, target).await?;
        let names = (source, target);
        let plan = Box::pin(plan::plan(self, &sides, names, plan::Detail::Rows)).await?;
        Ok(plan.changes)
    }

    /// Brings the changes of the source into the target in one commit, all or none. Other writers may commit at any time: what they moved is
    /// looked at again, a bounded number of times.
    ///
    /// Errors: `Conflict` `merge_conflict`, `leased` while a pipeline whose position moves runs on the target,
    /// `merge_contended`, `merge_source_moved` when the source has another head than was asked for; those of
    /// [`Lake::branch_changes`] and of [`forebay_store::Store::commit`].
    pub async fn merge_branch(&self, request: &MergeRequest) -> Result<MergedBranch> {
        Box::pin(apply::merge(self, request)).await
    }
}
