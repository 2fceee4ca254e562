//! Replaces the tables of a pipeline by those of a rebuild.
//!
//! One commit: the pipeline's tables, its quarantine and its contract become those of the rebuild's branch, positions stay.
//! It is refused when any of them has changed since the rebuild started. The state before stays readable by `AS OF`.

use forebay_core::{Context, Error, Ident, Result, TableName};
use forebay_store::{AsOf, Change, Head, HeadChange, Lease, LeaseRequest, PositionMove};

use crate::engine::RunContext;
use crate::engine::commit::heads::commit_heads;
use crate::engine::commit::{move_position, tables};
use crate::engine::reprocess::rebuild::Rebuilt;
use crate::engine::reprocess::replay;
use crate::engine::split::lease;
use crate::quarantine;
use crate::spec::PipelineSpec;

/// Adopts a rebuild, and drops its branch.
///
/// # Errors
/// `Conflict` `leased` while the pipeline runs somewhere, `rebuild_outdated` when it has made a commit since the rebuild
/// started.
pub async fn adopt(spec: &PipelineSpec, context: &RunContext, rebuilt: &Rebuilt) -> Result<()> {
    let mut held = Vec::new();
    let outcome = take_and_commit(spec, context, rebuilt, &mut held).await;
    let store = context.lake.store();
    for (request, lease) in &held {
        if let Err(error) = store.release_lease(request, lease.epoch).await {
            tracing::debug!(%error, "failed to release a split after adopting a rebuild");
        }
    }
    outcome.context("branch", &rebuilt.branch)?;
    store.drop_branch(&rebuilt.branch).await
}

async fn take_and_commit(
    spec: &PipelineSpec,
    context: &RunContext,
    rebuilt: &Rebuilt,
    held: &mut Vec<(LeaseRequest, Lease)>,
) -> Result<()> {
    let store = context.lake.store();
    let positions = store.positions(&context.branch, &spec.name).await?;
    let mut splits: Vec<Ident> = positions.into_iter().map(|(split, ..)| split).collect();
    let replays: Ident = replay::SPLIT.parse()?;
    if !splits.contains(&replays) {
        splits.push(replays);
    }
    for split in &splits {
        let request = lease::request(spec, context, split);
        let lease = store.take_lease(&request, context.exclusive).await?;
        held.push((request, lease));
    }
    let message = format!("{}: adopted {}", spec.name, rebuilt.branch);
    let heads = changes(spec, context, rebuilt).await?;
    let positions = held.iter().filter_map(stays).collect();
    match commit_heads(context, &context.branch, message, heads, positions).await {
        Err(error) if error.code() == "stale_head" => Err(outdated(spec).with_source(error)),
        done => done,
    }
}

/// The unchanged position; committing it fences the previous owner of the split.
fn stays((request, lease): &(LeaseRequest, Lease)) -> Option<PositionMove> {
    let position = lease.position.clone()?;
    Some(move_position(
        &request.pipeline,
        &request.split,
        lease,
        position,
    ))
}

/// The changes that replace every table of the pipeline, as of the start of the rebuild, by the rebuilt one.
async fn changes(
    spec: &PipelineSpec,
    context: &RunContext,
    rebuilt: &Rebuilt,
) -> Result<Vec<HeadChange>> {
    let as_of = AsOf::Head(rebuilt.branch.clone());
    let mut names = rebuilt.tables.clone();
    names.push(tables::raw(&spec.name)?);
    names.push(quarantine::table(&spec.name)?);
    let mut changes = Vec::new();
    for name in names {
        let made = context.lake.store().head(&as_of, &name).await?;
        let before = rebuilt.before.iter().find(|head| head.table == name);
        let before = compacted(context, before).await?;
        changes.extend(change(name, before.as_ref(), made));
    }
    Ok(changes)
}

/// The table as it was, or as it is when it has only been compacted since: it has the same rows.
async fn compacted(context: &RunContext, before: Option<&Head>) -> Result<Option<Head>> {
    let Some(before) = before else {
        return Ok(None);
    };
    let as_of = AsOf::Head(context.branch.clone());
    let now = context.lake.store().head(&as_of, &before.table).await?;
    Ok(match now {
        Some(now) if context.lake.is_only_compacted(before, &now).await? => Some(now),
        _ => Some(before.clone()),
    })
}

fn change(table: TableName, before: Option<&Head>, made: Option<Head>) -> Option<HeadChange> {
    if before == made.as_ref() {
        return None;
    }
    let uuid = made.as_ref().or(before)?.uuid;
    let made = made.map(|head| Change::Set(head.metadata_location));
    Some(HeadChange {
        table,
        uuid,
        expected: before.map(|head| head.metadata_location.clone()),
        change: made.unwrap_or(Change::Drop),
    })
}

fn outdated(spec: &PipelineSpec) -> Error {
    let message = format!(
        "{} has made a commit since the rebuild started, which the rebuild does not contain",
        spec.name
    );
    Error::conflict("rebuild_outdated", message)
        .with_hint("stop the pipeline everywhere, then run `forebay rebuild … --adopt` again")
}
