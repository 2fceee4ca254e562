//! Resets a pipeline to its beginning: its tables, its kept payloads and its positions are deleted in one commit.
//!
//! The state before stays readable by `AS OF` until its retention ends. Never touches tables of another pipeline, nor a
//! target outside of the lake.

use std::sync::Arc;

use forebay_core::{Error, Ident, Position, Result, TableName};
use forebay_store::{AsOf, Head, Lease, LeaseRequest};

use crate::engine::RunContext;
use crate::engine::commit::heads::commit_heads;
use crate::engine::commit::{move_position, tables};
use crate::engine::row_target::lake_target;
use crate::engine::split::lease;
use crate::quarantine;
use crate::spec::PipelineSpec;

/// The effect of a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetPlan {
    pub tables: Vec<TableName>,
    /// Splits whose position is deleted. Those of pushes keep theirs: acknowledged pushes are stored nowhere else.
    pub splits: Vec<Ident>,
}

/// The tables and positions that [`reset`] would delete.
///
/// # Errors
/// `Unsupported` `reset_target` for a pipeline that loads into another database.
pub async fn plan_reset(spec: &PipelineSpec, context: &RunContext) -> Result<ResetPlan> {
    if spec.load.is_transactional() || spec.load.lake().is_none() {
        return Err(Error::unsupported(
            "reset_target",
            format!(
                "{} loads into {}, which keeps its own positions",
                spec.name,
                spec.load.describe()
            ),
        )
        .with_hint(format!(
            "empty the target, then run `forebay run {} --full`",
            spec.name
        )));
    }
    let tables = heads_of(spec, context).await?;
    Ok(ResetPlan {
        tables: tables.into_iter().map(|head| head.table).collect(),
        splits: splits_of(spec, context).await?,
    })
}

/// Deletes everything that [`plan_reset`] lists. The next run reads the source from its start.
///
/// # Errors
/// As [`plan_reset`]; `Conflict` `leased` while the pipeline runs somewhere.
pub async fn reset(spec: Arc<PipelineSpec>, context: RunContext) -> Result<ResetPlan> {
    let plan = plan_reset(&spec, &context).await?;
    let mut held = Vec::new();
    let outcome = take_and_commit(&spec, &context, &plan, &mut held).await;
    for (request, lease) in &held {
        if let Err(error) = context
            .lake
            .store()
            .release_lease(request, lease.epoch)
            .await
        {
            tracing::debug!(%error, "failed to release a split after a reset");
        }
    }
    outcome.map(|()| plan)
}

async fn take_and_commit(
    spec: &PipelineSpec,
    context: &RunContext,
    plan: &ResetPlan,
    held: &mut Vec<(LeaseRequest, Lease)>,
) -> Result<()> {
    let store = context.lake.store();
    for split in &plan.splits {
        let request = lease::request(spec, context, split);
        let lease = store.take_lease(&request, context.exclusive).await?;
        held.push((request, lease));
    }
    let positions = held.iter().map(|(request, lease)| {
        move_position(&spec.name, &request.split, lease, Position::start())
    });
    let positions = positions.collect();
    let heads = heads_of(spec, context).await?;
    let heads = heads.into_iter().map(Head::into_drop).collect();
    let message = format!("{}: reset", spec.name);
    commit_heads(context, &context.branch, message, heads, positions).await
}

/// The pipeline's main table, its child tables, the index of its raw zone and its quarantine, where they exist.
async fn heads_of(spec: &PipelineSpec, context: &RunContext) -> Result<Vec<Head>> {
    let target = lake_target(spec)?;
    let raw = tables::raw(&spec.name)?;
    let quarantine = quarantine::table(&spec.name)?;
    let mut heads = tables::owned_heads(&context.lake, &context.branch, &target.table).await?;
    let branch = AsOf::Head(context.branch.clone());
    for own in [raw, quarantine] {
        heads.extend(context.lake.store().head(&branch, &own).await?);
    }
    Ok(heads)
}

async fn splits_of(spec: &PipelineSpec, context: &RunContext) -> Result<Vec<Ident>> {
    if spec.source.push().is_some() {
        return Ok(Vec::new());
    }
    let positions = context
        .lake
        .store()
        .positions(&context.branch, &spec.name)
        .await?;
    Ok(positions.into_iter().map(|(split, ..)| split).collect())
}
