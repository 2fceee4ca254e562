//! Repartitions a pipeline: moves its positions to other splits.
//!
//! Every old and new split is acquired, so that nobody else can commit to any of them, and one commit moves the positions
//! of all: nothing is read twice, and nothing is left out. A process that still works on the old splits keeps the others
//! waiting until it repartitions, too.

use forebay_core::{Context, Error, Ident, Position, Result};
use forebay_store::{Lease, LeaseRequest};

use crate::engine::commit::{self, CommitNote, SealedCommit, move_position};
use crate::engine::reconcile;
use crate::engine::reprocess::replay;
use crate::engine::split::lease::{Run, is_anothers, request};
use crate::engine::stages::read;
use forebay_connectors::source::Division;

/// Moves the positions to the current splits.
pub(in crate::engine) async fn rearrange(run: &Run) -> Result<()> {
    let context = &run.context;
    let Some(division) = run.spec.source.division() else {
        return Ok(());
    };
    loop {
        match once(run, division).await {
            Err(error) if context.follow && is_anothers(&error) => {
                tracing::info!(%error, "another process still works on the old splits, waiting for it");
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
    let moves = division.rearranged(&of_source, &context.source).await?;
    if moves.is_empty() {
        return Ok(());
    }
    let mut held = Vec::new();
    let outcome = async {
        let positions = taken(run, &moves, &mut held).await?;
        // From here on nobody else moves them.
        let moves = division.rearranged(&positions, &context.source).await?;
        commit_moves(run, moves, &held).await
    };
    let outcome = outcome.await;
    for (request, lease) in &held {
        // A fenced owner has nothing to release.
        if let Err(error) = store.release_lease(request, lease.epoch).await {
            tracing::debug!(%error, "failed to release a split");
        }
    }
    outcome
}

/// Acquires the splits; returns their current positions.
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
        // A target that keeps its own positions may be one commit ahead.
        let level = match run.spec.load.is_transactional() {
            true => reconcile::open(&run.spec, context, split, &mut lease, Some(run.record.id))
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

async fn commit_moves(
    run: &Run,
    moves: Vec<(Ident, Position)>,
    held: &[(LeaseRequest, Lease)],
) -> Result<()> {
    let context = &run.context;
    let mut positions = Vec::with_capacity(moves.len());
    for (split, position) in moves {
        let held = held.iter().find(|(request, _)| request.split == split);
        let moved = || {
            Error::conflict(
                "leased",
                "the pipeline was repartitioned by another process",
            )
        };
        let (_, lease) = held.ok_or_else(moved)?;
        positions.push(move_position(&run.spec.name, &split, lease, position));
    }
    if positions.is_empty() {
        return Ok(());
    }
    let splits = positions.len();
    let note = CommitNote {
        message: format!("{}: repartitioned", run.spec.name),
        run: Some(run.record.id),
        positions,
    };
    commit::commit(context, SealedCommit::default(), note).await?;
    tracing::info!(splits, "pipeline repartitioned");
    Ok(())
}
