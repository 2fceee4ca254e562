//! One commit over any number of tables and positions.

use forebay_core::{CommitId, RefName, RunId};
use forebay_store::{Committed, PositionMove};

use crate::Draft;

#[derive(Debug)]
pub struct CommitRequest {
    pub id: CommitId,
    pub branch: RefName,
    pub author: String,
    pub message: String,
    pub run: Option<RunId>,
    pub drafts: Vec<Draft>,
    pub positions: Vec<PositionMove>,
}

#[derive(Debug, Clone)]
pub struct LakeCommit {
    pub committed: Committed,
    /// Rows added over all tables.
    pub rows: u64,
    /// How often a table had moved and was rebased.
    pub rebases: u32,
}
