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
use crate::source::Division;

/// Makes the positions those of the splits that there are now.
pub(super) async fn rearrange(run: &Run) -> Result<()> {
    let context = &run.context;
    let Some(division) = run.spec.source.division() else {
        return Ok(());
    };
    loop {
        match once(run, division).await {
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

async fn once(run: &Run, division: &dyn Division) -> Result<()> {
    let store = run.context.lake.store();
    let positions = store.positions(&run.context.branch, &run.spec.name).await?;
    let of_source = positions
        .into_iter()
        .filter(|(split, ..)| split.as_str() != replay::SPLIT)
        .map(|(split, _, position)| (split, position));
    let context = read::source_context(&run.spec, &run.context, &run.requests);
    let of_source: Vec<_> = of_source.collect();
    let moves = division.rearranged(&of_source, &context).await?;
    if moves.is_empty() {
        return Ok(());
    }
    let mut held = Vec::new();
    let outcome = async {
        let positions = taken(run, &moves, &mut held).await?;
        // Only now nobody else moves them.
        let moves = division.rearranged(&positions, &context).await?;
        commit(run, moves, &held).await
    };
    let outcome = outcome.await;
    for (request, lease) in &held {
        // Who is fenced by now has nothing to give back.
        if let Err(error) = store.release_lease(request, lease.epoch).await {
            tracing::debug!(%error, "failed to give a split back");
        }
    }
    outcome
}

/// Takes the splits; gives the positions that they have now.
async fn taken(
    run: &Run,
    moves: &[(Ident, Position)],
    held: &mut Vec<(LeaseRequest, Lease)>,
) -> Result<Vec<(Ident, Position)>> {
    let context = &run.context;
    let mut positions = Vec::with_capacity(moves.len());
    for (split, _) in moves {
        let request = request(&run.spec, context, split);
        let store = context.lake.store();
        let mut lease = store.take_lease(&request, context.exclusive).await?;
        // A target with positions of its own may be one commit ahead.
        let level = match run.spec.load.is_transactional() {
            true => deliver::open(&run.spec, context, split, &mut lease, false)
                .await
                .map(drop),
            false => Ok(()),
        };
        let position = lease.position.clone();
        positions.extend(position.map(|position| (split.clone(), position)));
        held.push((request, lease));
        level.context("split", split)?;
    }
    Ok(positions)
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
