//! The time limit of a run, and its cancellation: checked each time an operator is polled for rows and each time a join compares pairs.
//!
//! A statement is not interrupted by a timer: the engine may run for hours without yielding (an aggregate over a
//! cross join). A function call on one batch of rows is not interrupted.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use forebay_core::{Clock, Error};
use futures::StreamExt;

use crate::error::{cancelled, external};

const TOO_SLOW: &str = "sql_too_slow";

/// Cancels statements from another thread: they end as they would at their time limit.
#[derive(Debug, Clone, Default)]
pub struct QueryCancellation(Arc<AtomicBool>);

impl QueryCancellation {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// When a run must have ended.
#[derive(Debug)]
pub(crate) struct Deadline {
    limit: Option<TimeLimit>,
    cancellation: Option<QueryCancellation>,
}

#[derive(Debug)]
struct TimeLimit {
    clock: Arc<dyn Clock>,
    at: Duration,
    limit: Duration,
    exceeded: fn(Duration) -> Error,
}

impl Deadline {
    /// `limit` from now, for one batch of a transform.
    pub(super) fn after(clock: &Arc<dyn Clock>, limit: Duration) -> Arc<Self> {
        Self::with_error(clock, limit, too_slow)
    }

    /// `limit` from now; `exceeded` is the error of a run that takes longer.
    pub(crate) fn with_error(
        clock: &Arc<dyn Clock>,
        limit: Duration,
        exceeded: fn(Duration) -> Error,
    ) -> Arc<Self> {
        Arc::new(Self {
            limit: Some(TimeLimit {
                at: clock.monotonic().saturating_add(limit),
                clock: clock.clone(),
                limit,
                exceeded,
            }),
            cancellation: None,
        })
    }

    /// The same, if there is a limit, and until it is cancelled.
    pub(crate) fn cancellable(
        limit: Option<Arc<Self>>,
        cancellation: QueryCancellation,
    ) -> Arc<Self> {
        Arc::new(Self {
            limit: limit
                .and_then(Arc::into_inner)
                .and_then(|bound| bound.limit),
            cancellation: Some(cancellation),
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self
            .cancellation
            .as_ref()
            .is_some_and(QueryCancellation::is_cancelled)
        {
            return Err(external(cancelled()));
        }
        match &self.limit {
            Some(limit) if limit.clock.monotonic() > limit.at => {
                Err(external((limit.exceeded)(limit.limit)))
            }
            _ => Ok(()),
        }
    }
}

/// Fewer rows are tried next, until the slow one is isolated.
fn too_slow(limit: Duration) -> Error {
    let seconds = limit.as_secs_f64();
    Error::data(
        TOO_SLOW,
        format!("the statement took more than {seconds} s for one record"),
    )
    .with_hint("joins, recursion and lists that are unnested one within the other multiply rows: filter before")
}

/// The plan with the deadline in every operator. Only for a plan that is run next: the optimizer does not know it.
pub(crate) fn bounded(
    plan: Arc<dyn ExecutionPlan>,
    deadline: &Arc<Deadline>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let node: Arc<dyn ExecutionPlan> = Arc::new(Bounded {
            inner: bounded_join(node, deadline)?,
            deadline: deadline.clone(),
        });
        Ok(Transformed::yes(node))
    })
    .data()
}

/// A join may weigh pairs for hours without a row that its condition lets pass.
fn bounded_join(
    node: Arc<dyn ExecutionPlan>,
    deadline: &Arc<Deadline>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(join) = node.as_any().downcast_ref::<NestedLoopJoinExec>() {
        let filter = join.filter().map(|filter| bounded_filter(filter, deadline));
        let join = NestedLoopJoinExecBuilder::from(join).with_filter(filter);
        return Ok(Arc::new(join.build()?));
    }
    if let Some(join) = node.as_any().downcast_ref::<HashJoinExec>() {
        let filter = join.filter().map(|filter| bounded_filter(filter, deadline));
        return join.builder().with_filter(filter).build_exec();
    }
    if let Some(join) = node.as_any().downcast_ref::<SortMergeJoinExec>() {
        let filter = join.filter.as_ref();
        let filter = filter.map(|filter| bounded_filter(filter, deadline));
        return Ok(Arc::new(merge_join_with(join, filter)?));
    }
    Ok(node)
}

/// The join with another condition.
pub(crate) fn merge_join_with(
    join: &SortMergeJoinExec,
    filter: Option<JoinFilter>,
) -> Result<SortMergeJoinExec> {
    SortMergeJoinExec::try_new(
        Arc::clone(&join.left),
        Arc::clone(&join.right),
        join.on.clone(),
        filter,
        join.join_type,
        join.sort_options.clone(),
        join.null_equality,
    )
}

fn bounded_filter(filter: &JoinFilter, deadline: &Arc<Deadline>) -> JoinFilter {
    let condition = BoundedExpr {
        inner: filter.expression().clone(),
        deadline: deadline.clone(),
    };
    JoinFilter::new(
        Arc::new(condition),
        filter.column_indices().to_vec(),
        filter.schema().clone(),
    )
}

/// An operator that checks the deadline before each batch.
#[derive(Debug)]
struct Bounded {
    inner: Arc<dyn ExecutionPlan>,
    deadline: Arc<Deadline>,
}

impl DisplayAs for Bounded {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Bounded")
    }
}

impl ExecutionPlan for Bounded {
    fn name(&self) -> &str {
        "Bounded"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = children.into_iter().next();
        Ok(Arc::new(Self {
            inner: inner.unwrap_or_else(|| self.inner.clone()),
            deadline: self.deadline.clone(),
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let inner = self.inner.execute(partition, context)?;
        let schema = inner.schema();
        let deadline = self.deadline.clone();
        let mut inner = inner;
        let stream = futures::stream::poll_fn(move |context| match deadline.check() {
            Ok(()) => inner.poll_next_unpin(context),
            Err(late) => std::task::Poll::Ready(Some(Err(late))),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// The condition of a join, which checks the deadline before each batch of pairs.
#[derive(Debug)]
struct BoundedExpr {
    inner: Arc<dyn PhysicalExpr>,
    deadline: Arc<Deadline>,
}

impl PartialEq for BoundedExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for BoundedExpr {}

impl Hash for BoundedExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for BoundedExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for BoundedExpr {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.deadline.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next();
        Ok(Arc::new(Self {
            inner: inner.unwrap_or_else(|| self.inner.clone()),
            deadline: self.deadline.clone(),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
