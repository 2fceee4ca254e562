//! Plans for little memory: operators that spill in the place of those that cannot.
//!
//! Nothing here decides when such a plan is run.

mod compact;

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{binary, lit};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use crate::engine::deadline::merge_join_with;
use crate::spill_pool::SpillerCount;
use crate::whole_sort::sorted_whole;
use compact::CompactBatches;

/// How a plan saves memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frugality {
    None,
    /// Small batches in few partitions, and sorts that spill also where a limit is above them.
    Sorts,
    /// Sort-merge joins, too.
    SortsAndJoins,
}

impl Frugality {
    /// That of the second attempt of a plan.
    pub(crate) fn of_retry(plan: &Arc<dyn ExecutionPlan>) -> Self {
        match has_hash_join(plan) && !has_null_aware_join(plan) {
            true => Self::SortsAndJoins,
            false => Self::Sorts,
        }
    }
}

/// Rows in one batch of a frugal plan.
const FRUGAL_BATCH_ROWS: usize = 1_024;

/// Partitions of a frugal plan with joins: the planner sorts and merges for them only where there is more than one.
const JOIN_PARTITIONS: usize = 2;

pub(crate) fn frugal_state(state: &SessionState, frugality: Frugality) -> SessionState {
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

/// The plan with sorts that spill and count their rows only, and sort-merge joins that are right.
pub(crate) fn made_frugal(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(sorted_whole).data()?;
    let plan = plan.transform_up(with_compact_rows).data()?;
    plan.transform_up(with_known_condition).data()
}

fn with_compact_rows(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(sort) = plan.as_any().downcast_ref::<SortExec>() else {
        return Ok(Transformed::no(plan));
    };
    let input = CompactBatches::over(sort.input());
    plan.with_new_children(vec![input]).map(Transformed::yes)
}

/// A sort-merge join takes a condition that is null for one that is true where it keeps the rows of both sides.
fn with_known_condition(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(join) = plan.as_any().downcast_ref::<SortMergeJoinExec>() else {
        return Ok(Transformed::no(plan));
    };
    let Some(filter) = &join.filter else {
        return Ok(Transformed::no(plan));
    };
    let known = merge_join_with(join, Some(is_true(filter)?))?;
    Ok(Transformed::yes(Arc::new(known)))
}

fn is_true(filter: &JoinFilter) -> Result<JoinFilter> {
    let schema: &Schema = filter.schema();
    let condition = Arc::clone(filter.expression());
    let condition = binary(condition, Operator::IsNotDistinctFrom, lit(true), schema)?;
    Ok(JoinFilter::new(
        condition,
        filter.column_indices().to_vec(),
        Arc::clone(filter.schema()),
    ))
}

/// Operators of a plan that spill.
pub(crate) fn count_spillers(plan: &Arc<dyn ExecutionPlan>) -> SpillerCount {
    let is_sort = plan.as_any().is::<SortExec>();
    let is_spiller = is_sort || plan.as_any().is::<AggregateExec>();
    let partitions = plan.output_partitioning().partition_count();
    let here = SpillerCount {
        all: partitions * usize::from(is_spiller),
        sorts: partitions * usize::from(is_sort),
    };
    let children = plan.children().into_iter().map(count_spillers);
    children.fold(here, |sum, count| SpillerCount {
        all: sum.all + count.all,
        sorts: sum.sorts + count.sorts,
    })
}

fn has_hash_join(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.as_any().is::<HashJoinExec>() || plan.children().into_iter().any(has_hash_join)
}

/// Whether a join knows nulls as `NOT IN` does: the planner would make one that does not.
fn has_null_aware_join(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let join = plan.as_any().downcast_ref::<HashJoinExec>();
    join.is_some_and(|join| join.null_aware) || plan.children().into_iter().any(has_null_aware_join)
}
