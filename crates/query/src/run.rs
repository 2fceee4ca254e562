//! Runs a planned statement: within its time, and again with joins that spill when hash joins do not fit in memory.
//!
//! Nothing here plans text or knows tables.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::HashJoinExec;
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
    /// Rows of the statement. A hash join that outgrows the memory before the first row is replaced by one that spills.
    pub(crate) async fn stream(self) -> Result<SendableRecordBatchStream, DataFusionError> {
        let plan = self.physical(&self.state).await?;
        let has_other_plan = has_hash_join(&plan) && !has_null_aware_join(&plan);
        let first = execute_stream(plan, self.state.task_ctx())?;
        if !has_other_plan {
            return Ok(first);
        }
        let schema = first.schema();
        let rows = futures::stream::once(self.with_fallback(first)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    async fn with_fallback(
        self,
        mut first: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let schema = first.schema();
        match first.next().await {
            Some(Err(error)) if is_out_of_memory(&error) => {
                tracing::debug!(%error, "hash join exceeds the memory limit, retrying with sort-merge joins");
                drop(first);
                let mut config = self.state.config().clone();
                config.options_mut().optimizer.prefer_hash_join = false;
                // The planner sorts and merges only where there is more than one partition.
                let partitions = config.target_partitions().max(2);
                let config = config.with_target_partitions(partitions);
                let state = SessionStateBuilder::new_from_existing(self.state.clone())
                    .with_config(config)
                    .build();
                let plan = self.physical(&state).await?;
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
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let plan = state.create_physical_plan(&self.logical).await?;
        match &self.deadline {
            // The explained plan is the one without the limit.
            Some(deadline) if !is_explained(&self.logical) => bounded(plan, deadline),
            _ => Ok(plan),
        }
    }
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
