//! Compaction: many small files of a table become few, and rows that were deleted are left out.
//!
//! Files are chosen by a [`plan`], written again one group after another, and put in the place of the old ones by a commit like any other:
//! a snapshot `replace` with the same rows ([`update`]). Other writers may commit at any time. Rows that they append stay as they are, deletes
//! of rows that were moved meanwhile are moved too, and a group whose files are gone is left out. Old files stay for readers of
//! earlier states until [`Lake::clean`] deletes them.

mod plan;
mod rules;
mod run;
mod update;

use forebay_core::{RefName, Result, TableName};

use crate::{FileCount, Lake};

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

/// What a compaction did, or in a dry run would do.
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
    /// Errors: `NotFound` `no_such_table`, `Config` of the rules, and those of [`Lake::commit`]. A file that cannot be read is no error: its group is
    /// left as it is and `problems` has the reason.
    pub async fn compact(&self, request: &CompactRequest) -> Result<CompactedTable> {
        Box::pin(run::compact(self, request)).await
    }
}
