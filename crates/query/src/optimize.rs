//! The engine's rules for logical plans, without those that change answers.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};

/// Without any group left, no rows become one.
const LEAVES_OUT_GROUPS: &str = "eliminate_group_by_constant";
/// Writes several joins as one, with the equality of the last for all.
const REORDERS_JOINS: &str = "eliminate_cross_join";

pub(crate) fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let rules = Optimizer::new().rules.into_iter();
    let rules = rules.filter(|rule| rule.name() != LEAVES_OUT_GROUPS);
    let rules = rules.map(|rule| match rule.name() {
        REORDERS_JOINS => Arc::new(OfPlainEqualities(rule)) as _,
        _ => rule,
    });
    rules.collect()
}

/// A rule that is left out where a join takes nulls as equal (`IS NOT DISTINCT FROM`).
#[derive(Debug)]
struct OfPlainEqualities(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for OfPlainEqualities {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan.exists(|plan| Ok(takes_nulls_as_equal(plan)))? {
            true => Ok(Transformed::no(plan)),
            false => self.0.rewrite(plan, config),
        }
    }
}

fn takes_nulls_as_equal(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Join(Join {
            null_equality: NullEquality::NullEqualsNull,
            ..
        })
    )
}
