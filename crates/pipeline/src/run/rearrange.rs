//! Goes over to other splits when a pipeline is divided otherwise than before.
//!
//! Every split of the old division and of the new one is taken, so that nobody else can commit to any of them, and one commit
//! moves the positions of all: what has been read is read by nobody again, and nothing is left out. A process that still has
//! the old division keeps the others waiting until it goes over, too.

use forebay_core::{CommitId, Context, Error, Ident, Position, Result};
use forebay_lake::CommitRequest;
use forebay_store::{Lease, LeaseRequest, PositionMove};

use super::split::{Run, is_anothers, request};
use super::{deliver, random, read, replay};

/// Makes the positions those of the splits that there are now.
pub(super) async fn rearrange(run: &Run) -> Result<()> {
    let context = &run.context;
    loop {
        match once(run).await {
            Err(error) if context.follow && is_anothers(&error) => {
                tracing::info!(%error, "another process works on splits of another division; waiting for it");
                tokio::select! {
                    () = context.clock.sleep(context.lease / 4) => {}
                    () = context.cancel.cancelled() => return Ok(()),
                }
            }
            other => return other,
        }
    }
}

async fn once(run: &Run) -> Result<()> {
    let store = run.context.lake.store();
    let positions = store.positions(&run.context.branch, &run.spec.name).await?;
    let of_source = positions
        .into_iter()
        .filter(|(split, ..)| split.as_str() != replay::SPLIT)
        .map(|(split, _, position)| (split, position));
    let moves = rearranged(run, of_source.collect()).await?;
    if moves.is_empty() {
        return Ok(());
    }
    let mut held = Vec::new();
    let outcome = taken(run, moves, &mut held).await;
    for (request, lease) in &held {
        // Who is fenced by now has nothing to give back.
        if let Err(error) = store.release_lease(request, lease.epoch).await {
            tracing::debug!(%error, "failed to give a split back");
        }
    }
    outcome
}

async fn rearranged(
    run: &Run,
    positions: Vec<(Ident, Position)>,
) -> Result<Vec<(Ident, Position)>> {
    let context = read::source_context(&run.spec, &run.context, &run.requests);
    run.spec.source.rearranged(&positions, &context).await
}

/// Takes the splits and moves them.
async fn taken(
    run: &Run,
    moves: Vec<(Ident, Position)>,
    held: &mut Vec<(LeaseRequest, Lease)>,
) -> Result<()> {
    let context = &run.context;
    let mut positions = Vec::with_capacity(moves.len());
    for (split, _) in &moves {
        let request = request(&run.spec, context, split);
        let store = context.lake.store();
        let lease = store.take_lease(&request, context.exclusive).await?;
        held.push((request, lease));
        let lease = held.last_mut().map(|(_, lease)| lease);
        let lease = lease.ok_or_else(|| Error::bug("no_lease", "a lease was taken and is gone"))?;
        if run.spec.load.is_transactional() {
            // The target may be one commit ahead.
            let opened = deliver::open(&run.spec, context, split, lease, false).await;
            opened.context("split", split)?;
        }
        let position = lease.position.clone();
        positions.extend(position.map(|position| (split.clone(), position)));
    }
    // Only now nobody else moves them.
    let moves = rearranged(run, positions).await?;
    commit(run, moves, held).await
}

async fn commit(
    run: &Run,
    moves: Vec<(Ident, Position)>,
    held: &[(LeaseRequest, Lease)],
) -> Result<()> {
    let context = &run.context;
    let mut positions = Vec::with_capacity(moves.len());
    for (split, position) in moves {
        let held = held.iter().find(|(request, _)| request.split == split);
        let moved = || Error::conflict("leased", "the pipeline was divided otherwise meanwhile");
        let (_, lease) = held.ok_or_else(moved)?;
        positions.push(PositionMove {
            pipeline: run.spec.name.clone(),
            split,
            epoch: lease.epoch,
            sequence: lease.sequence,
            position,
        });
    }
    if positions.is_empty() {
        return Ok(());
    }
    let splits = positions.len();
    let salt = random(context.seed, 8);
    let request = CommitRequest {
        id: CommitId::new(context.clock.now(), salt),
        branch: context.branch.clone(),
        author: context.author.clone(),
        message: format!("{}: divided into other splits", run.spec.name),
        run: Some(run.record.id),
        drafts: Vec::new(),
        positions,
    };
    context.lake.commit(request).await?;
    tracing::info!(splits, "the pipeline is divided into other splits");
    Ok(())
}
