//! Branches. Creating one copies nothing: it is its base commit plus its own changes.

use forebay_core::{CommitId, RefName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    pub name: RefName,
    /// The branch and commit it started from; `None` for `main`.
    pub base: Option<(RefName, Option<CommitId>)>,
    pub head: Option<CommitId>,
}
