//! Runs a planned statement: within its time, and again with operators that spill when the first ones do not fit in memory.
//!
//! Nothing here plans text or knows tables.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use forebay_core::{Clock, Error};
use futures::{StreamExt, TryStreamExt};

use crate::engine::deadline::{Deadline, QueryCancellation, bounded};

/// A planned statement.
pub(crate) struct PlannedStatement {
    pub(crate) state: SessionState,
    pub(crate) logical: LogicalPlan,
    pub(crate) deadline: Option<Arc<Deadline>>,
}

impl PlannedStatement {
    /// Rows of the statement. A plan that outgrows the memory before the first row is replaced by a frugal one.
    pub(crate) async fn stream(self) -> Result<SendableRecordBatchStream, DataFusionError> {
        let plan = self.physical(&self.state, Frugality::None).await?;
        let frugality = match has_hash_join(&plan) && !has_null_aware_join(&plan) {
            true => Frugality::SortsAndJoins,
            false => Frugality::Sorts,
        };
        let first = execute_stream(plan, self.state.task_ctx())?;
        if is_explained(&self.logical) {
            return Ok(first);
        }
        let schema = first.schema();
        let rows = futures::stream::once(self.with_fallback(first, frugality)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    async fn with_fallback(
        self,
        mut first: SendableRecordBatchStream,
        frugality: Frugality,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let schema = first.schema();
        match first.next().await {
            Some(Err(error)) if is_out_of_memory(&error) => {
                tracing::debug!(%error, "query exceeds the memory limit, retrying with operators that spill");
                drop(first);
                let state = frugal_state(&self.state, frugality);
                let plan = self.physical(&state, frugality).await?;
                execute_stream(plan, state.task_ctx())
            }
            head => {
                let rows = futures::stream::iter(head).chain(first);
                Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
            }
        }
    }

    async fn physical(
        &self,
        state: &SessionState,
        frugality: Frugality,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let plan = state.create_physical_plan(&self.logical).await?;
        let plan = match frugality {
            Frugality::None => plan,
            _ => plan.transform_up(sorted_whole).data()?,
        };
        match &self.deadline {
            // The explained plan is the one without the limit.
            Some(deadline) if !is_explained(&self.logical) => bounded(plan, deadline),
            _ => Ok(plan),
        }
    }
}

/// How a plan saves memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frugality {
    None,
    /// Small batches in few partitions, and sorts that spill also where a limit is above them.
    Sorts,
    /// Sort-merge joins, too.
    SortsAndJoins,
}

/// Rows in one batch of a frugal plan.
const FRUGAL_BATCH_ROWS: usize = 1_024;

/// Partitions of a frugal plan with joins: the planner sorts and merges for them only where there is more than one.
const JOIN_PARTITIONS: usize = 2;

fn frugal_state(state: &SessionState, frugality: Frugality) -> SessionState {
    let mut config = state
        .config()
        .clone()
        .with_batch_size(FRUGAL_BATCH_ROWS)
        .with_target_partitions(match frugality {
            Frugality::SortsAndJoins => JOIN_PARTITIONS,
            _ => 1,
        });
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.prefer_hash_join = frugality != Frugality::SortsAndJoins;
    // The filter is that of a sort which keeps its rows in memory.
    optimizer.enable_topk_dynamic_filter_pushdown = false;
    SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .build()
}

/// A sort with a limit keeps batches in memory, and cannot spill: all rows are sorted, and then limited.
fn sorted_whole(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>, DataFusionError> {
    let Some(sort) = plan.as_any().downcast_ref::<SortExec>() else {
        return Ok(Transformed::no(plan));
    };
    let Some(rows) = sort.fetch() else {
        return Ok(Transformed::no(plan));
    };
    let is_partitioned = sort.preserve_partitioning();
    let whole = SortExec::new(sort.expr().clone(), Arc::clone(sort.input()))
        .with_preserve_partitioning(is_partitioned);
    let whole: Arc<dyn ExecutionPlan> = Arc::new(whole);
    Ok(Transformed::yes(match is_partitioned {
        true => Arc::new(LocalLimitExec::new(whole, rows)),
        false => Arc::new(GlobalLimitExec::new(whole, 0, Some(rows))),
    }))
}

fn is_explained(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))
}

fn has_hash_join(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.as_any().is::<HashJoinExec>() || plan.children().into_iter().any(has_hash_join)
}

/// Whether a join knows nulls as `NOT IN` does: the planner would make one that does not.
fn has_null_aware_join(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let join = plan.as_any().downcast_ref::<HashJoinExec>();
    join.is_some_and(|join| join.null_aware) || plan.children().into_iter().any(has_null_aware_join)
}

fn is_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// The time limit of one statement, and what cancels it.
pub(crate) fn deadline(
    clock: &Arc<dyn Clock>,
    limit: Option<Duration>,
    cancellation: Option<QueryCancellation>,
) -> Option<Arc<Deadline>> {
    let limit = limit.map(|limit| Deadline::with_error(clock, limit, timed_out));
    match cancellation {
        Some(cancellation) => Some(Deadline::cancellable(limit, cancellation)),
        None => limit,
    }
}

fn timed_out(limit: Duration) -> Error {
    Error::unavailable(
        "query_timeout",
        format!("the query took longer than {} s", limit.as_secs_f64()),
    )
    .with_hint("filter more, or raise `timeout` in `[sql]` of forebay.toml or with --timeout")
}
