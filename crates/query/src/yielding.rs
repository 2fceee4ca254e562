//! Makes joins give way, so that a statement can be stopped while it joins.
//!
//! A join can make batches for hours out of two that it holds. The engine counts work only where data enters a plan,
//! so such a join would keep its thread for itself and neither a time limit nor a cancel would be looked at.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Wraps every join of the plan in a node that gives way after a budget of batches.
pub(crate) fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if node.name().ends_with("JoinExec") {
            let yielding: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
            return Ok(Transformed::yes(yielding));
        }
        Ok(Transformed::no(node))
    })
    .data()
}
