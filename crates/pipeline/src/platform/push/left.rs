//! Journals that no longer accept pushes: selects those that a run has to read.

use forebay_core::{Ident, RefName, Result};
use forebay_lake::Lake;

use crate::platform::PlatformContext;
use forebay_journal::{Journal, Limits, Place, Taken};

/// Those with records that the branch has not read. A journal that the run of another process may still read is left for later.
pub(super) async fn splits(context: &PlatformContext, limits: Limits) -> Result<Vec<Ident>> {
    let left = context.journals.left_behind(&context.pipeline, limits);
    let left = left.await?;
    let Some(lake) = context.lake.as_ref().filter(|_| !left.is_empty()) else {
        return Ok(left.iter().map(|journal| journal.id().clone()).collect());
    };
    let mut splits = Vec::new();
    for (journal, offset) in taken(context, lake, left).await? {
        let has_more = context.full || has_more(&journal, offset)?;
        if has_more && !is_read_by_another(context, lake, &journal).await? {
            splits.push(journal.id().clone());
        }
    }
    Ok(splits)
}

/// Releases the records that `main` has read.
pub(super) async fn let_go(context: &PlatformContext) -> Result<()> {
    let left = context.journals.left(&context.pipeline);
    match context.lake.as_ref().filter(|_| !left.is_empty()) {
        Some(lake) => taken(context, lake, left).await.map(drop),
        None => Ok(()),
    }
}

/// How far the branch has read each of them. Releases the records that `main` has read.
async fn taken(
    context: &PlatformContext,
    lake: &Lake,
    left: Vec<Journal>,
) -> Result<Vec<(Journal, Option<u64>)>> {
    let store = lake.store();
    let positions = store.positions(&context.branch, &context.pipeline).await?;
    let mut all = Vec::with_capacity(left.len());
    for journal in left {
        let position = positions.iter().find(|(split, ..)| split == journal.id());
        let taken = position.map(|(_, _, position)| Taken::read(position));
        let offset = taken.transpose()?.map(|taken| taken.offset);
        if let Some(offset) = offset.filter(|_| context.branch == RefName::main()) {
            journal.release(offset).await?;
        }
        all.push((journal, offset));
    }
    Ok(all)
}

fn has_more(journal: &Journal, offset: Option<u64>) -> Result<bool> {
    let offset = match offset {
        Some(offset) => offset,
        None => journal.first()?,
    };
    Ok(journal.after_own(offset) < journal.durable())
}

/// Other processes can only reach the storage.
async fn is_read_by_another(
    context: &PlatformContext,
    lake: &Lake,
    journal: &Journal,
) -> Result<bool> {
    if context.journals.is_exclusive() || journal.place() == Place::Disk {
        return Ok(false);
    }
    let branch = &context.branch;
    let pipeline = &context.pipeline;
    let now = context.clock.now();
    let until = lake.store().held_until(branch, pipeline, journal.id(), now);
    Ok(until.await?.is_some())
}
