//! Commits that replace or drop whole tables.

use forebay_core::{RefName, Result};
use forebay_store::{Commit, HeadChange, PositionMove};

use crate::engine::RunContext;

/// Commits changes of whole tables, with the positions that go with them.
///
/// Errors: `Conflict` `stale_head` when a table has changed since.
pub(in crate::engine) async fn commit_heads(
    context: &RunContext,
    branch: &RefName,
    message: String,
    heads: Vec<HeadChange>,
    positions: Vec<PositionMove>,
) -> Result<()> {
    let id = context.ids.make_commit(context.clock.as_ref());
    let author = context.author.clone();
    let commit = Commit {
        positions,
        ..Commit::of_heads(id, branch.clone(), author, message, heads)
    };
    context.lake.store().commit(commit).await.map(drop)
}
