//! Both sides of a merge, and the states that they have in common. What to make of the differences is decided elsewhere.

use std::collections::BTreeMap;

use forebay_core::{CommitId, Ident, Position, TableName};

use crate::Head;

/// What the newest states have of one thing that both branches have: of a table or a split.
///
/// Mostly it is one state, the fork or the last merge. Two branches that both took in two others have several.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeBase<T> {
    /// Distinct values.
    pub known: Vec<Option<T>>,
    /// Whether all states that the branches have in common could be read: that of a branch which was dropped long ago cannot.
    pub is_complete: bool,
}

/// A table that the source has changed since it and the target had the same.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSides {
    pub table: TableName,
    pub base: MergeBase<Head>,
    pub source: Option<Head>,
    pub target: Option<Head>,
}

/// A position with the number of commits that led to it; both are equal on two branches only when neither has moved it since the states
/// that they have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitPosition {
    pub sequence: i64,
    pub position: Position,
}

/// A split whose position the source has moved.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitSides {
    pub pipeline: Ident,
    pub split: Ident,
    pub base: MergeBase<SplitPosition>,
    pub source: Option<SplitPosition>,
    pub target: Option<SplitPosition>,
}

/// What a merge may bring into the target, as of one state of each branch.
#[derive(Debug, Clone)]
pub struct MergeSides {
    /// By name.
    pub tables: Vec<TableSides>,
    /// By pipeline and split.
    pub splits: Vec<SplitSides>,
    /// The newest commit of the source.
    pub source_head: Option<CommitId>,
    /// What the target has once all of it is merged.
    pub merged: MergedStates,
}

/// The states of branches that come into another with a merge.
#[derive(Debug, Clone)]
pub struct MergedStates {
    /// The state of the source that was looked at.
    pub(crate) branch: i64,
    pub(crate) head: i64,
    /// The newest commit by branch.
    pub(crate) upto: BTreeMap<i64, i64>,
}

impl<T: PartialEq> MergeBase<T> {
    /// Whether the value is that of a state which both branches have.
    pub fn has(&self, value: Option<&T>) -> bool {
        self.known.iter().any(|known| known.as_ref() == value)
    }

    /// The one value that both branches started from; `None` when there is more than one, or one is unknown.
    pub fn single(&self) -> Option<Option<&T>> {
        match self.known.as_slice() {
            [one] if self.is_complete => Some(one.as_ref()),
            _ => None,
        }
    }
}

impl TableSides {
    /// Whether the source has something that the states in common do not have.
    pub fn is_changed(&self) -> bool {
        !self.base.has(self.source.as_ref())
    }
}

impl SplitSides {
    pub fn is_moved(&self) -> bool {
        !self.base.has(self.source.as_ref())
    }
}
