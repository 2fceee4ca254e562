//! A merge, from what both sides have to one commit of the store.
//!
//! Pointers, files and positions are decided for pinned states of both branches; the commit compares all of them again, and when one has
//! moved since, everything is looked at anew. Positions that move are leased meanwhile, so that no run is in between.

use std::time::Duration;

use forebay_core::{Error, ErrorKind, Result};
use forebay_store::{AsOf, Commit, Committed, Lease, LeaseRequest, MergeSides, PositionMove};

use super::plan::{Detail, MergePlan, PlannedGraft, plan};
use super::positions::MovedSplit;
use super::{MergeRequest, MergedBranch};
use crate::commit::StackedHeads;
use crate::{CommitRequest, Draft, Lake};

/// How often a merge is tried while others commit to what it changes.
const ATTEMPTS_MAX: u32 = 40;
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Codes of conflicts after which both sides are looked at again.
const MOVED: [&str; 5] = [
    "stale_head",
    "stale_epoch",
    "schema_moved",
    "property_moved",
    "merge_moved",
];

pub(super) async fn merge(lake: &Lake, request: &MergeRequest) -> Result<MergedBranch> {
    lake.store().check_writable(&request.target).await?;
    let mut pause = PAUSE_FIRST;
    for _ in 0..ATTEMPTS_MAX {
        let names = (&request.source, &request.target);
        let sides = lake.store().merge_sides(names.0, names.1).await?;
        check_source(request, &sides)?;
        let plan = Box::pin(plan(lake, &sides, names, Detail::Outcome)).await?;
        plan.changes.check(names.0, names.1)?;
        if plan.changes.is_empty() {
            return Ok(MergedBranch {
                changes: plan.changes,
                committed: None,
            });
        }
        let changes = plan.changes.clone();
        match Box::pin(attempt(lake, request, sides, plan)).await {
            Ok(committed) => {
                return Ok(MergedBranch {
                    changes,
                    committed: Some(committed),
                });
            }
            Err(error) if is_moved(&error) => lake.clock().sleep(pause).await,
            Err(error) => return Err(error),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    let what = format!("others committed first, {ATTEMPTS_MAX} times");
    Err(Error::conflict("merge_contended", what)
        .with_hint("nothing was changed; merge again when fewer writers are at work"))
}

/// Errors: `Conflict` `merge_source_moved`.
fn check_source(request: &MergeRequest, sides: &MergeSides) -> Result<()> {
    if request.source_head.is_none() || request.source_head == sides.source_head {
        return Ok(());
    }
    let what = format!(
        "{} has another newest commit than the one to merge",
        request.source
    );
    Err(Error::conflict("merge_source_moved", what)
        .with_hint("nothing was changed: someone else writes to the branch, try again"))
}

fn is_moved(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && MOVED.contains(&error.code())
}

async fn attempt(
    lake: &Lake,
    request: &MergeRequest,
    sides: MergeSides,
    plan: MergePlan,
) -> Result<Committed> {
    let mut leases = HeldLeases {
        lake,
        request,
        held: Vec::new(),
    };
    let done = match leases.take(&plan.splits).await {
        Ok(positions) => commit(lake, request, sides, plan, positions).await,
        Err(error) => Err(error),
    };
    leases.release().await;
    done
}

async fn commit(
    lake: &Lake,
    request: &MergeRequest,
    sides: MergeSides,
    plan: MergePlan,
    positions: Vec<PositionMove>,
) -> Result<Committed> {
    let message = format!("merge {} into {}", request.source, request.target);
    let stacking = CommitRequest {
        id: request.id,
        branch: request.target.clone(),
        author: request.author.clone(),
        message: message.clone(),
        run: None,
        drafts: Vec::new(),
        positions: positions.clone(),
    };
    let (drafts, decided_for): (Vec<Draft>, Vec<String>) = plan
        .grafts
        .into_iter()
        .map(|PlannedGraft { draft, head }| (draft, head))
        .unzip();
    let stacked = StackedHeads::of(lake, &stacking, drafts).await?;
    let seen = stacked.heads().map(|head| head.expected.clone());
    if !seen.flatten().all(|head| decided_for.contains(&head)) {
        stacked.discard(lake).await;
        let what = "a table moved while it was merged";
        return Err(Error::conflict("merge_moved", what));
    }
    let mut heads = plan.heads;
    heads.extend(stacked.heads().cloned());
    let target = AsOf::Head(request.target.clone());
    if let Err(error) = lake.check_new_heads(&target, &heads).await {
        stacked.discard(lake).await;
        return Err(error);
    }
    let commit = Commit {
        id: request.id,
        branch: request.target.clone(),
        author: request.author.clone(),
        message,
        run: None,
        at: None,
        heads,
        positions,
    };
    match lake.store().commit_merge(commit, sides.merged).await {
        Ok(committed) => {
            stacked.remember(lake);
            Ok(committed)
        }
        Err(error) if is_moved(&error) => {
            stacked.discard(lake).await;
            Err(error)
        }
        // It may have landed: orphan cleanup deletes the files if not.
        Err(error) => Err(error),
    }
}

/// The splits of the target whose positions move.
struct HeldLeases<'a> {
    lake: &'a Lake,
    request: &'a MergeRequest,
    held: Vec<(LeaseRequest, i64)>,
}

impl HeldLeases<'_> {
    async fn take(&mut self, splits: &[MovedSplit]) -> Result<Vec<PositionMove>> {
        let mut moves = Vec::with_capacity(splits.len());
        for split in splits {
            let wanted = LeaseRequest {
                branch: self.request.target.clone(),
                pipeline: split.pipeline.clone(),
                split: split.split.clone(),
                owner: self.request.owner.clone(),
                duration: self.request.lease,
            };
            let lease = self.lake.store().take_lease(&wanted, false).await?;
            self.held.push((wanted, lease.epoch));
            moves.push(moved(split, &lease)?);
        }
        Ok(moves)
    }

    /// A lease that is not released expires.
    async fn release(self) {
        for (wanted, epoch) in self.held {
            if let Err(error) = self.lake.store().release_lease(&wanted, epoch).await {
                tracing::debug!(%error, split = %wanted.split, "failed to release a lease after a merge");
            }
        }
    }
}

fn moved(split: &MovedSplit, lease: &Lease) -> Result<PositionMove> {
    if lease.sequence != split.expected {
        let what = format!("split {} moved while it was merged", split.split);
        return Err(Error::conflict("merge_moved", what));
    }
    Ok(PositionMove {
        pipeline: split.pipeline.clone(),
        split: split.split.clone(),
        epoch: lease.epoch,
        sequence: lease.sequence,
        sequence_after: split.moved.sequence,
        position: split.moved.position.clone(),
    })
}
