//! Sorts with a limit that sort all rows, and limit them then.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::sorts::sort::SortExec;

/// A sort with a limit keeps batches in memory, and cannot spill: all rows are sorted, and then limited.
pub(crate) fn sorted_whole(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
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
