//! A run: one pipeline from its position to the current end of its source.
//!
//! A split is leased, catalog and target are reconciled, and three stages work on it until its source has nothing more. The
//! commit of the last stage moves the position; uncommitted output of an interrupted run is invisible.

mod attempts;
mod audit;
mod commit;
mod context;
mod contract;
mod failpoint;
mod figures;
mod ids;
mod payload;
mod publish;
mod reconcile;
mod refusals;
mod refused;
mod reprocess;
mod row_target;
mod scan;
mod split;
mod stages;
mod steps;

use std::sync::Arc;

use forebay_core::{Context, Error, RefName, Result};
use forebay_store::{RunRecord, RunStatus};
use tracing::Instrument;

pub use audit::{requests_schema, requests_table};
pub use commit::loaders::find_other_loaders;
pub use commit::tables::{is_owned, may_be_child, owner};
pub use context::{RunContext, RunReport};
pub use failpoint::{CommitStep, Failpoint};
pub use figures::{Figures, Stage};
pub use ids::Ids;
pub use publish::CHECK_STEP;
pub use refused::{ALL_REFUSED, all_refused};
pub use reprocess::adopt::adopt;
pub use reprocess::discard::{DiscardFilter, DiscardPlan, discard, plan_discard};
pub use reprocess::rebuild::{Rebuilt, rebuild};
pub use reprocess::replay::{Replayed, replay};
pub use reprocess::reset::{ResetPlan, plan_reset, reset};

use crate::spec::PipelineSpec;
/// Runs a pipeline until its source has nothing more. The run record is written also when this fails.
pub async fn run(spec: Arc<PipelineSpec>, context: RunContext) -> Result<RunReport> {
    refuse_sink_on_branch(&spec, &context)?;
    let started_at = context.clock.now();
    let id = context.ids.make_run(context.clock.as_ref());
    let store = context.lake.store().clone();
    context.figures.begin_run();
    let mut record = RunRecord {
        id,
        pipeline: spec.name.clone(),
        branch: context.branch.clone(),
        status: RunStatus::Running,
        started_at,
        ended_at: None,
        error: None,
        steps: Vec::new(),
    };
    store.record_run(&record).await?;
    if context.exclusive {
        store.mark_lost(&context.branch, &spec.name, id).await?;
    }
    // Everything logged from here on carries the run's fields, whatever the level.
    let span = tracing::error_span!("run", pipeline = %spec.name, run = %id);
    let mut checked = Vec::new();
    let work = async |context: &RunContext| all_splits(&spec, context, &record).await;
    let outcome = publish::publish_checked(&spec, &context, work, &mut checked)
        .instrument(span)
        .await;
    record.ended_at = Some(context.clock.now());
    record.steps = context.figures.steps();
    record.steps.extend(checked);
    // A run that refused every record has not failed for its source, which has moved on, but it has for people.
    let refused = all_refused(&spec, &context.figures);
    let error = outcome.as_ref().err().or(refused.as_ref());
    record.status = match error {
        None => RunStatus::Succeeded,
        Some(_) => RunStatus::Failed,
    };
    record.error = error.map(ToString::to_string);
    let recorded = store.record_run(&record).await;
    outcome.context("pipeline", &spec.name).context("run", id)?;
    recorded?;
    Ok(RunReport {
        id,
        record,
        interrupted: context.cancel.is_cancelled(),
    })
}

/// A target outside of the lake has no branches: what a branch sends there, `main` would send again.
fn refuse_sink_on_branch(spec: &PipelineSpec, context: &RunContext) -> Result<()> {
    if spec.load.lake().is_some() || context.branch == RefName::main() {
        return Ok(());
    }
    let (pipeline, target) = (&spec.name, spec.load.describe());
    let what = format!(
        "pipeline {pipeline} loads into {target}, which has no branches: its rows would be there twice once `main` loads them"
    );
    Err(Error::unsupported("sink_on_branch", what)
        .with_context("branch", &context.branch)
        .with_hint("run it on `main`, or try it with `load: {iceberg: {table: …}}` on the branch"))
}

async fn all_splits(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    record: &RunRecord,
) -> Result<()> {
    let replaces = spec.load.replaces();
    let context = &RunContext {
        full: context.full || replaces,
        follow: context.follow && spec.is_continuous(),
        // A result is computed again by each attempt, so a kill says nothing about its bytes.
        payload_attempts: match spec.source.capabilities().is_by_pass {
            true => 0,
            false => context.payload_attempts,
        },
        ..context.clone()
    };
    let requests = Arc::new(audit::Requests::default());
    let source_context = stages::read::source_context(spec, context, &requests);
    let splits = spec.source.splits(&source_context).await?;
    if replaces && splits.len() != 1 {
        let message = format!(
            "`mode: replace` needs a source that is read in one piece, this one has {}",
            splits.len()
        );
        return Err(Error::unsupported("replace_in_parts", message));
    }
    let run = split::lease::Run {
        spec: spec.clone(),
        context: context.clone(),
        record: record.clone(),
        requests,
        attempts: Arc::default(),
    };
    split::repartition::rearrange(&run).await?;
    split::assignment::work(&run, splits).await
}

#[cfg(test)]
mod tests;
