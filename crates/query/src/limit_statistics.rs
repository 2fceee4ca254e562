//! Statistics of limits: no column has more nulls than there are rows.
//!
//! The engine keeps the nulls of all rows where a limit leaves fewer, and subtracts them when it estimates a join above.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, with_new_children_if_necessary,
};

/// The rule; see the module. For plans that have no limits in other operators yet.
#[derive(Debug)]
pub(crate) struct LimitStatistics;

impl PhysicalOptimizerRule for LimitStatistics {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        with_bounds(plan, false)
    }

    fn name(&self) -> &str {
        "limit_statistics"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Only below an operator of several inputs: nothing else reads the nulls.
fn with_bounds(plan: Arc<dyn ExecutionPlan>, is_joined: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let children = plan.children();
    let is_joined_below = is_joined || children.len() > 1;
    let children = children.into_iter().cloned();
    let children = children.map(|child| with_bounds(child, is_joined_below));
    let children = children.collect::<Result<Vec<_>>>()?;
    let plan = with_new_children_if_necessary(plan, children)?;
    Ok(match is_joined && plan.fetch().is_some() {
        true => Arc::new(BoundedNulls(plan)),
        false => plan,
    })
}

/// Passes on the rows of its input.
#[derive(Debug)]
struct BoundedNulls(Arc<dyn ExecutionPlan>);

impl DisplayAs for BoundedNulls {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("BoundedNulls")
    }
}

impl ExecutionPlan for BoundedNulls {
    fn name(&self) -> &str {
        "BoundedNulls"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Statistics> {
        let mut statistics = self.0.partition_statistics(partition)?;
        if let Some(rows) = statistics.num_rows.get_value().copied() {
            for column in &mut statistics.column_statistics {
                let nulls = column.null_count.get_value();
                if nulls.is_some_and(|nulls| *nulls > rows) {
                    column.null_count = Precision::Inexact(rows);
                }
            }
        }
        Ok(statistics)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next();
        let input = input.unwrap_or_else(|| self.0.clone());
        Ok(Arc::new(Self(input)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.0.execute(partition, context)
    }
}
