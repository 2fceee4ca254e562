//! Changes of tables as a whole: which state of each a branch has.

use forebay_core::{CommitId, RefName, Result};
use forebay_store::{AsOf, Commit, Committed, HeadChange};
use rand::Rng;

use crate::wire::Workspace;

/// Makes the changes in one commit.
///
/// Errors: `Config` `view_name_taken`.
pub(super) async fn commit_heads(
    workspace: &Workspace,
    branch: &RefName,
    message: String,
    heads: Vec<HeadChange>,
) -> Result<Committed> {
    let as_of = AsOf::Head(branch.clone());
    workspace.lake().check_new_heads(&as_of, &heads).await?;
    let id = CommitId::new(workspace.clock().now(), rand::rng().random());
    let commit = Commit::of_heads(id, branch.clone(), workspace.author(), message, heads);
    workspace.lake().store().commit(commit).await
}
