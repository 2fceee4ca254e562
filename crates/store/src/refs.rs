//! Branches and tags. Creating one copies nothing: it is its base commit plus its own changes, of which a tag has none.

use forebay_core::{CommitId, RefName, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    pub name: RefName,
    /// The branch and commit it started from; `None` for `main`.
    pub base: Option<(RefName, Option<CommitId>)>,
    pub head: Option<CommitId>,
    /// When its newest commit was made; `None` without one.
    pub head_at: Option<Timestamp>,
    /// It stays where it was made: nothing is committed to it.
    pub is_tag: bool,
}
