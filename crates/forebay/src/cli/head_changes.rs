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
    let id = CommitId::new(workspace.clock().now(), rand::rng().random());
    let commit = Commit::of_heads(id, branch.clone(), workspace.author(), message, heads);
    workspace.lake().store().commit(commit).await
}
