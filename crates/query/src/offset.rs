//! `OFFSET` without `LIMIT`, kept away from the limits below it.
//!
//! The engine's rule for limits takes the skipped rows from each of them again: `SELECT * FROM (SELECT x FROM t LIMIT 2) q ORDER BY x
//! OFFSET 1` would have no rows. Here the rule sees such an `OFFSET` and what is below it one after the other.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rule, run on both sides of each `OFFSET` without `LIMIT`.
pub(crate) fn beside_offsets(rule: Rule) -> Rule {
    Arc::new(BesideOffsets { rule })
}

#[derive(Debug)]
struct BesideOffsets {
    rule: Rule,
}

impl BesideOffsets {
    fn hidden(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        let limit = plan.as_any().downcast_ref::<GlobalLimitExec>();
        let Some(offset) = limit.filter(|limit| limit.skip() > 0 && limit.fetch().is_none()) else {
            return Ok(Transformed::no(plan));
        };
        let input = self.optimize(Arc::clone(offset.input()), config)?;
        let hidden = GlobalLimitExec::new(Arc::new(HiddenInput(input)), offset.skip(), None);
        Ok(Transformed::yes(Arc::new(hidden)))
    }
}

impl PhysicalOptimizerRule for BesideOffsets {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan
            .transform_down(|plan| self.hidden(plan, config))
            .data()?;
        let plan = self.rule.optimize(plan, config)?;
        plan.transform_up(shown).data()
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

fn shown(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    match plan.as_any().downcast_ref::<HiddenInput>() {
        Some(HiddenInput(input)) => Ok(Transformed::yes(Arc::clone(input))),
        None => Ok(Transformed::no(plan)),
    }
}

/// A plan that the rule takes for one without inputs.
#[derive(Debug)]
struct HiddenInput(Arc<dyn ExecutionPlan>);

impl DisplayAs for HiddenInput {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("HiddenInput")
    }
}

impl ExecutionPlan for HiddenInput {
    fn name(&self) -> &str {
        "HiddenInput"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.0.execute(partition, context)
    }
}
