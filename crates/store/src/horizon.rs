//! How far back states of the lake are kept, and the tables and positions that those states need.

use forebay_core::{CommitId, Position, TableName, Timestamp};
use uuid::Uuid;

/// States from here on are kept: as of this instant, of every later commit, and the bases of branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    pub at: Timestamp,
    /// The newest commit at that instant; 0 when there was none.
    pub(crate) seq: i64,
}

/// Where a table was in at least one kept state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub table: TableName,
    pub uuid: Uuid,
    pub metadata_location: String,
    /// The commit that put it there; `None` when the log no longer has it.
    pub commit: Option<CommitId>,
    /// A branch that is there has it as its newest.
    pub is_head: bool,
}

/// A part of all places, and where the next begins.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub places: Vec<Place>,
    pub next: Option<PlaceCursor>,
}

/// A position that names objects of the storage.
#[derive(Debug, Clone)]
pub struct LoggedPosition {
    pub position: Position,
    /// A kept state, or a branch that is there, needs it.
    pub is_needed: bool,
}

/// A part of all positions that name objects, and where the next begins.
#[derive(Debug, Clone, Default)]
pub struct LoggedPositions {
    pub positions: Vec<LoggedPosition>,
    pub next: Option<PlaceCursor>,
}

/// A row of the log, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceCursor {
    pub(crate) branch: i64,
    /// Namespace and name of a table, or pipeline and split.
    pub(crate) names: (String, String),
    pub(crate) seq: i64,
}

impl PlaceCursor {
    /// Before every row.
    pub(crate) fn start() -> Self {
        Self {
            branch: 0,
            names: Default::default(),
            seq: 0,
        }
    }
}

/// Rows that were deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Places of tables and positions of writers that no kept state needs.
    pub log_rows: u64,
    /// Commits of which only the record was left.
    pub commits: u64,
    pub runs: u64,
}
