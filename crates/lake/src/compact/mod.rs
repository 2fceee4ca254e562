//! Compaction: many small files of a table become few, and rows that were deleted are left out.
//!
//! Files are chosen by a [`plan`], written again one group after another, and put in the place of the old ones by a commit like any other:
//! a snapshot `replace` with the same rows ([`update`]). Other writers may commit at any time. Rows that they append stay as they are, deletes
//! of moved rows are moved too, and a group whose files are gone is left out. Old files stay for readers of
//! earlier states until [`Lake::clean`] deletes them.

mod plan;
mod rules;
mod run;
mod update;

use std::collections::BTreeMap;

use forebay_core::{RefName, Result, TableName};
use forebay_store::Head;
use iceberg::spec::Operation;

use crate::commit::COMMIT_PROPERTY;
use crate::{FileCount, Lake, Table};

pub use rules::CompactionRules;
pub(crate) use update::CompactionUpdate;

/// A compaction of a table.
#[derive(Debug, Clone)]
pub struct CompactRequest {
    pub branch: RefName,
    pub table: TableName,
    pub rules: CompactionRules,
    /// Plan, and change nothing.
    pub dry_run: bool,
    /// Of the commits.
    pub author: String,
}

/// The result of a compaction, or of a dry run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactedTable {
    /// Files that were written again.
    pub replaced: FileCount,
    /// Their deleted rows, which were left out.
    pub rows_dropped: u64,
    /// Files that came in their place; in a dry run their number, and an estimate of their bytes.
    pub written: FileCount,
    /// Delete files that are no longer there; unknown in a dry run.
    pub deletes_removed: u64,
    pub commits: u32,
    /// Groups of files that other writers changed first: a later compaction takes them.
    pub outdated: u64,
    /// Why files, or all of the table, were left as they are.
    pub problems: Vec<String>,
}

impl CompactedTable {
    /// Whether there was nothing to do.
    pub fn is_untouched(&self) -> bool {
        self.replaced.files == 0 && self.deletes_removed == 0
    }
}

impl Lake {
    /// Writes small files of a table, and files with many deleted rows, again as few. One group of files at a time, on one thread; holds a
    /// row group of each and the positions of deleted rows in memory. May run at any time, beside writers and other compactions.
    ///
    /// Errors: `NotFound` `no_such_table`, `Config` of the rules, and those of [`Lake::commit`]. A file that cannot be read does not fail the compaction: its group is
    /// skipped and `problems` has the reason.
    pub async fn compact(&self, request: &CompactRequest) -> Result<CompactedTable> {
        Box::pin(run::compact(self, request)).await
    }

    /// Whether a table has only been compacted between two of its states, as far as its newest metadata knows.
    pub async fn is_only_compacted(&self, before: &Head, after: &Head) -> Result<bool> {
        if before == after || before.uuid != after.uuid {
            return Ok(before == after);
        }
        let before = self.load(before.clone()).await?;
        let after = self.load(after.clone()).await?;
        Ok(is_only_compacted(&before, &after))
    }
}

/// The same for two states of one table.
pub(crate) fn is_only_compacted(before: &Table, after: &Table) -> bool {
    same_definition(before, after) && same_rows(before, after)
}

fn same_definition(before: &Table, after: &Table) -> bool {
    // Every commit notes itself.
    let noted = |table: &Table| -> BTreeMap<String, String> {
        let mut properties = table.properties();
        properties.remove(COMMIT_PROPERTY);
        properties
    };
    let schemas = [before, after].map(|table| table.metadata().current_schema());
    schemas[0] == schemas[1] && noted(before) == noted(after)
}

fn same_rows(before: &Table, after: &Table) -> bool {
    let mut at = after.snapshot_id();
    while at != before.snapshot_id() {
        let snapshot = at.and_then(|id| after.metadata().snapshot_by_id(id));
        match snapshot {
            Some(snapshot) if snapshot.summary().operation == Operation::Replace => {
                at = snapshot.parent_snapshot_id();
            }
            _ => return false,
        }
    }
    true
}
