//! Changes of tables as a whole: which state of each a branch has.

use forebay_core::{CommitId, RefName, Result};
use forebay_store::{Commit, Committed, HeadChange};
use rand::Rng;

use crate::wire::Workspace;

/// Makes the changes in one commit.
pub(super) async fn commit_heads(
    workspace: &Workspace,
    branch: &RefName,
    message: String,
    heads: Vec<HeadChange>,
) -> Result<Committed> {
    let commit = Commit {
        id: CommitId::new(workspace.clock().now(), rand::rng().random()),
        branch: branch.clone(),
        author: workspace.author(),
        message,
        run: None,
        at: None,
        heads,
        positions: Vec::new(),
    };
    workspace.lake().store().commit(commit).await
}

/// Namespaces whose tables belong to a pipeline as a whole.
pub(super) const SYSTEM_NAMESPACES: [&str; 3] = ["raw", "quarantine", "audit"];
