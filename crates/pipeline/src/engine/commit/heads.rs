//! Commits that replace or drop whole tables.

use forebay_core::{RefName, Result};
use forebay_store::{Change, Commit, Head, HeadChange, PositionMove};

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
    let commit = Commit {
        id: context.ids.make_commit(context.clock.as_ref()),
        branch: branch.clone(),
        author: context.author.clone(),
        message,
        run: None,
        at: None,
        heads,
        positions,
    };
    context.lake.store().commit(commit).await.map(drop)
}

/// Drops a table as it is now.
pub(in crate::engine) fn drop_head(head: Head) -> HeadChange {
    HeadChange {
        table: head.table,
        uuid: head.uuid,
        expected: Some(head.metadata_location),
        change: Change::Drop,
    }
}
