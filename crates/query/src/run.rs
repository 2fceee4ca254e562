//! Runs a planned statement: within its time, and again with operators that spill when the first ones do not fit in memory.
//!
//! Nothing here plans text or knows tables.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use forebay_core::{Clock, Error};
use futures::{StreamExt, TryStreamExt};

use crate::engine::deadline::{Deadline, QueryCancellation, bounded};
use crate::frugal::{Frugality, count_spillers, frugal_state, made_frugal};
use crate::spill_pool::SpillPool;

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
        let frugality = Frugality::of_retry(&plan);
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
                let pool = state.config().get_extension::<SpillPool>();
                let expected = pool.map(|pool| pool.expect_spillers(count_spillers(&plan)));
                let rows = execute_stream(plan, state.task_ctx())?.inspect(move |_| {
                    let _kept = &expected;
                });
                Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
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
            _ => made_frugal(plan)?,
        };
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
