//! Journals that take no pushes any more: which of them a run has to read.

use forebay_core::{Ident, RefName, Result};

use crate::journal::{Journal, Limits, Taken};
use crate::source::SourceContext;

/// Those with records that the branch has not taken. What `main` has taken of the others is let go of.
pub(super) async fn splits(context: &SourceContext, limits: Limits) -> Result<Vec<Ident>> {
    let left = context
        .journals
        .left_behind(&context.pipeline, limits)
        .await?;
    let Some(lake) = context.lake.as_ref().filter(|_| !left.is_empty()) else {
        return Ok(left.iter().map(|journal| journal.id().clone()).collect());
    };
    let store = lake.store();
    let positions = store.positions(&context.branch, &context.pipeline).await?;
    let mut splits = Vec::new();
    for journal in left {
        let position = positions.iter().find(|(split, ..)| split == journal.id());
        let taken = position.map(|(_, _, position)| Taken::read(position));
        let offset = taken.transpose()?.map(|taken| taken.offset);
        if let Some(offset) = offset.filter(|_| context.branch == RefName::main()) {
            journal.release(offset).await?;
        }
        if has_more(&journal, offset)? || context.full {
            splits.push(journal.id().clone());
        }
    }
    Ok(splits)
}

fn has_more(journal: &Journal, offset: Option<u64>) -> Result<bool> {
    let offset = match offset {
        Some(offset) => offset,
        None => journal.first()?,
    };
    Ok(journal.after_own(offset) < journal.durable())
}
