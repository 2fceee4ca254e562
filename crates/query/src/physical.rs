//! The engine's physical rules, with two of their faults kept away.
//!
//! An outer `ORDER BY` is moved below `OFFSET` with too few rows for it to skip: a boundary above `OFFSET` stops it. Filters are
//! moved by the names of columns: where a join has two columns of one name they stay where the logical rules put them.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    with_new_children_if_necessary,
};

/// The engine's rules with the boundary first and careful filters.
pub(crate) fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = vec![Arc::new(Boundaries)];
    rules.extend(PhysicalOptimizer::new().rules.into_iter().map(careful));
    rules
}

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

fn careful(rule: Rule) -> Rule {
    match rule.name().starts_with("FilterPushdown") {
        true => Arc::new(CarefulFilters(rule)),
        false => rule,
    }
}

/// The engine's rule, for plans whose columns have different names in every operator.
#[derive(Debug)]
struct CarefulFilters(Rule);

impl PhysicalOptimizerRule for CarefulFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match has_repeated_names(&plan) {
            true => Ok(plan),
            false => self.0.optimize(plan, config),
        }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

fn has_repeated_names(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let mut seen = HashSet::new();
    let mut names = schema.fields().iter().map(|field| field.name());
    names.any(|name| !seen.insert(name)) || plan.children().into_iter().any(has_repeated_names)
}

/// The rule; see the module.
#[derive(Debug)]
struct Boundaries;

impl PhysicalOptimizerRule for Boundaries {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        with_boundaries(plan, false)
    }

    fn name(&self) -> &str {
        "offset_boundaries"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Only below an operator that orders rows anew: elsewhere the order of the rows below is that of the answer.
fn with_boundaries(
    plan: Arc<dyn ExecutionPlan>,
    is_ordered_above: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let is_ordered = is_ordered_above || orders(&plan);
    let children = plan.children().into_iter().cloned();
    let children = children.map(|child| with_boundaries(child, is_ordered));
    let children = children.collect::<Result<Vec<_>>>()?;
    let plan = with_new_children_if_necessary(plan, children)?;
    let limit = plan.as_any().downcast_ref::<GlobalLimitExec>();
    Ok(match limit {
        Some(limit) if is_ordered_above && limit.skip() > 0 => Arc::new(OffsetBoundary::new(plan)),
        _ => plan,
    })
}

fn orders(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut required = plan.required_input_ordering().into_iter();
    plan.as_any().is::<SortExec>() || required.any(|ordering| ordering.is_some())
}

/// Gives the rows of its input on, and says nothing of their order.
#[derive(Debug)]
struct OffsetBoundary {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl OffsetBoundary {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for OffsetBoundary {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("OffsetBoundary")
    }
}

impl ExecutionPlan for OffsetBoundary {
    fn name(&self) -> &str {
        "OffsetBoundary"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next();
        Ok(Arc::new(Self::new(
            input.unwrap_or_else(|| self.input.clone()),
        )))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
