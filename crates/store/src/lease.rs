//! The current worker of a split. A lease is a hint; the epoch checked inside the commit fences out a zombie.

use std::time::Duration;

use forebay_core::{Ident, Position, RefName};

#[derive(Debug, Clone)]
pub struct LeaseRequest {
    pub branch: RefName,
    pub pipeline: Ident,
    pub split: Ident,
    /// Identifies the process: host, pid and a random part.
    pub owner: String,
    pub duration: Duration,
}

/// A process that takes part in the work of a pipeline.
#[derive(Debug, Clone)]
pub struct Member {
    pub branch: RefName,
    pub pipeline: Ident,
    /// As in [`LeaseRequest`].
    pub owner: String,
    /// For as long it counts without attending again.
    pub duration: Duration,
}

/// The right to write one split, and where to start.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    pub epoch: i64,
    pub sequence: i64,
    /// `None` before the first commit.
    pub position: Option<Position>,
}
