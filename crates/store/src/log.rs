//! Reading the catalog: heads now or as of any commit, and the log itself.

use forebay_core::{CommitId, RefName, RunId, TableName, Timestamp};
use uuid::Uuid;

use crate::{Change, HeadChange};

/// Which state of the lake a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsOf {
    /// The newest commit of a branch.
    Head(RefName),
    /// A branch as it was after the last commit at or before this instant.
    Time(RefName, Timestamp),
    /// Exactly this commit.
    Commit(CommitId),
}

/// A table's place in one state of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub table: TableName,
    pub uuid: Uuid,
    pub metadata_location: String,
}

impl Head {
    /// The drop of the table as it is now.
    pub fn into_drop(self) -> HeadChange {
        HeadChange {
            table: self.table,
            uuid: self.uuid,
            expected: Some(self.metadata_location),
            change: Change::Drop,
        }
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitRecord {
    pub id: CommitId,
    pub parent: Option<CommitId>,
    pub branch: RefName,
    pub at: Timestamp,
    pub author: String,
    pub message: String,
    pub run: Option<RunId>,
    pub changes: Vec<(TableName, Uuid, Change)>,
}
