//! The one way the lake changes.

use forebay_core::{CommitId, Ident, Position, RefName, RunId, TableName, Timestamp};
use uuid::Uuid;

use crate::Lease;

/// Everything that one commit does; all of it happens or none.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Chosen by the caller beforehand, so that an unknown result can be looked up.
    pub id: CommitId,
    pub branch: RefName,
    pub author: String,
    pub message: String,
    pub run: Option<RunId>,
    /// The time that it must have, since its files name it; `None` for the clock's. Refused when a newer commit is there.
    pub at: Option<Timestamp>,
    pub heads: Vec<HeadChange>,
    pub positions: Vec<PositionMove>,
}

impl Commit {
    /// A commit of heads alone: no run made it, and no position moves.
    pub fn of_heads(
        id: CommitId,
        branch: RefName,
        author: String,
        message: String,
        heads: Vec<HeadChange>,
    ) -> Self {
        Self {
            id,
            branch,
            author,
            message,
            run: None,
            at: None,
            heads,
            positions: Vec::new(),
        }
    }
}

/// Compare-and-set of one table's head on the branch.
#[derive(Debug, Clone)]
pub struct HeadChange {
    pub table: TableName,
    pub uuid: Uuid,
    /// The metadata location that the caller read; `None` when it saw no such table.
    pub expected: Option<String>,
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The new metadata location.
    Set(String),
    Drop,
}

/// Moves one writer's position; refused unless the writer still holds `epoch` and is at `sequence`.
#[derive(Debug, Clone)]
pub struct PositionMove {
    pub pipeline: Ident,
    pub split: Ident,
    pub epoch: i64,
    /// The sequence that the caller read.
    pub sequence: i64,
    /// The sequence from then on: the next one, or that of another branch whose position is taken over.
    pub sequence_after: i64,
    pub position: Position,
}

impl PositionMove {
    /// The next move of a split whose lease is held.
    pub fn next(pipeline: Ident, split: Ident, lease: &Lease, position: Position) -> Self {
        Self {
            pipeline,
            split,
            epoch: lease.epoch,
            sequence: lease.sequence,
            sequence_after: lease.sequence + 1,
            position,
        }
    }
}

/// Code of the error for a commit whose time is not after that of the newest one.
pub const TIME_PASSED: &str = "time_passed";

/// The result of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub id: CommitId,
    /// Strictly increasing over the whole catalog: max(clock, last + 1 µs).
    pub at: Timestamp,
}
