//! The engine's physical rules, with their faults kept away.
//!
//! An outer `ORDER BY` is moved below `OFFSET` with too few rows for it to skip, and with its `LIMIT` below groups, of which each
//! takes several rows: a boundary above both stops it. Filters are
//! moved by the names of columns: where a join has two columns of one name they stay where the logical rules put them. Ranges of keys say
//! nothing about nulls that are taken as equal, and compare lists and structs otherwise than sorts do: no filter and no count is made of
//! them, and a sort by such values with a limit sorts all rows.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    with_new_children_if_necessary,
};

use crate::function::sized::ResultLimit;
use crate::function::sized::unnest::UnnestPieces;
use crate::limit_statistics::LimitStatistics;
use crate::offset::beside_offsets;
use crate::whole_sort::sorted_whole;

/// The engine's rules with the boundary first, careful filters, and `unnest` in pieces.
pub(crate) fn rules(limit: ResultLimit) -> Vec<Rule> {
    let mut rules: Vec<Rule> = vec![Arc::new(LimitStatistics), Arc::new(Boundaries)];
    rules.extend(PhysicalOptimizer::new().rules.into_iter().map(careful));
    rules.push(Arc::new(WholeNestedSorts));
    rules.push(Arc::new(UnnestPieces(limit)));
    rules
}

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

fn careful(rule: Rule) -> Rule {
    let is_misled = match rule.name() {
        "FilterPushdown(Post)" => is_misread_by_ranges,
        name if name.starts_with("FilterPushdown") => has_repeated_names,
        "aggregate_statistics" => has_equal_nulls,
        "ProjectionPushdown" => is_misread_by_projections,
        "LimitedDistinctAggregation" => has_ordered_distinct,
        "LimitPushdown" => return beside_offsets(rule),
        _ => return rule,
    };
    Arc::new(Careful { rule, is_misled })
}

/// A rule of the engine, left out for plans that it misreads.
#[derive(Debug)]
struct Careful {
    rule: Rule,
    is_misled: fn(&Arc<dyn ExecutionPlan>) -> bool,
}

impl PhysicalOptimizerRule for Careful {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (self.is_misled)(&plan) {
            true => Ok(plan),
            false => self.rule.optimize(plan, config),
        }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Whether some operator of a plan is such a one.
fn anywhere(
    plan: &Arc<dyn ExecutionPlan>,
    is_one: &dyn Fn(&Arc<dyn ExecutionPlan>) -> bool,
) -> bool {
    let children = plan.children();
    is_one(plan) || children.into_iter().any(|child| anywhere(child, is_one))
}

/// Whether `DISTINCT` is over rows that are sorted: with a limit the engine then wants a direction, and fails.
fn has_ordered_distinct(plan: &Arc<dyn ExecutionPlan>) -> bool {
    anywhere(plan, &|plan| {
        let groups = plan.as_any().downcast_ref::<AggregateExec>();
        let is_distinct = groups.is_some_and(|groups| groups.aggr_expr().is_empty());
        is_distinct && has_order(plan)
    })
}

fn has_order(plan: &Arc<dyn ExecutionPlan>) -> bool {
    anywhere(plan, &|plan| {
        orders(plan) || plan.output_ordering().is_some()
    })
}

fn is_misread_by_projections(plan: &Arc<dyn ExecutionPlan>) -> bool {
    has_one_sided_loops(plan) || has_conditional_merge(plan) || has_limited_values(plan)
}

/// Whether rows that are in memory have a limit, which they lose when their columns are put into another order.
fn has_limited_values(plan: &Arc<dyn ExecutionPlan>) -> bool {
    anywhere(plan, &|plan| {
        let source = plan.as_any().downcast_ref::<DataSourceExec>();
        source.is_some_and(|source| {
            let rows = source.data_source().as_any();
            rows.is::<MemorySourceConfig>() && source.fetch().is_some()
        })
    })
}

/// Whether a join has the rows of one side only, or makes a mark: projections take the columns of its condition for its own.
fn has_one_sided_loops(plan: &Arc<dyn ExecutionPlan>) -> bool {
    anywhere(plan, &|plan| {
        let join = plan.as_any().downcast_ref::<NestedLoopJoinExec>();
        join.is_some_and(|join| {
            !matches!(
                join.join_type(),
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
            )
        })
    })
}

/// Whether a sort-merge join has a condition beside its keys: projections that are moved below it leave the places of its columns as
/// they were.
fn has_conditional_merge(plan: &Arc<dyn ExecutionPlan>) -> bool {
    anywhere(plan, &|plan| {
        let join = plan.as_any().downcast_ref::<SortMergeJoinExec>();
        join.is_some_and(|join| join.filter.is_some())
    })
}

/// Whether filters that grow while the plan runs would lose rows.
fn is_misread_by_ranges(plan: &Arc<dyn ExecutionPlan>) -> bool {
    has_repeated_names(plan) || has_equal_nulls(plan) || has_nested_keys(plan)
}

/// Whether a join takes nulls as equal (`IS NOT DISTINCT FROM`, `INTERSECT`).
fn has_equal_nulls(plan: &Arc<dyn ExecutionPlan>) -> bool {
    anywhere(plan, &|plan| {
        let hashed = plan.as_any().downcast_ref::<HashJoinExec>();
        let hashed = hashed.map(HashJoinExec::null_equality);
        let merged = plan.as_any().downcast_ref::<SortMergeJoinExec>();
        let equality = hashed.or(merged.map(|join| join.null_equality));
        equality == Some(NullEquality::NullEqualsNull)
    })
}

/// Whether a join has a key that is a list or struct.
fn has_nested_keys(plan: &Arc<dyn ExecutionPlan>) -> bool {
    anywhere(plan, &|plan| {
        let join = plan.as_any().downcast_ref::<HashJoinExec>();
        join.is_some_and(|join| {
            let schema = join.left().schema();
            let mut keys = join.on().iter();
            keys.any(|(key, _)| key.data_type(&schema).is_ok_and(|kind| kind.is_nested()))
        })
    })
}

/// Whether an operator has two columns of one name: filters take the one for the other.
fn has_repeated_names(plan: &Arc<dyn ExecutionPlan>) -> bool {
    anywhere(plan, &|plan| {
        let schema = plan.schema();
        let mut seen = HashSet::new();
        let mut names = schema.fields().iter().map(|field| field.name());
        names.any(|name| !seen.insert(name))
    })
}

/// Sorts all rows where the keys are lists or structs, and limits them then: the engine leaves rows out by comparing keys otherwise.
#[derive(Debug)]
struct WholeNestedSorts;

impl PhysicalOptimizerRule for WholeNestedSorts {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = |plan: Arc<dyn ExecutionPlan>| match sorts_nested_values(&plan) {
            true => sorted_whole(plan),
            false => Ok(Transformed::no(plan)),
        };
        plan.transform_up(whole).data()
    }

    fn name(&self) -> &str {
        "whole_nested_sorts"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn sorts_nested_values(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let sort = plan.as_any().downcast_ref::<SortExec>();
    let is_nested = |sort: &SortExec| {
        let schema = sort.input().schema();
        let kinds = sort.expr().iter().map(|key| key.expr.data_type(&schema));
        kinds.flatten().any(|kind| kind.is_nested())
    };
    sort.is_some_and(is_nested)
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

/// Only below an operator that reorders rows: elsewhere the order of the rows below is that of the result.
fn with_boundaries(
    plan: Arc<dyn ExecutionPlan>,
    is_ordered_above: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let is_ordered = is_ordered_above || orders(&plan);
    let children = plan.children().into_iter().cloned();
    let children = children.map(|child| with_boundaries(child, is_ordered));
    let children = children.collect::<Result<Vec<_>>>()?;
    let plan = with_new_children_if_necessary(plan, children)?;
    Ok(
        match is_ordered_above && (skips_rows(&plan) || makes_groups(&plan)) {
            true => Arc::new(OrderBoundary::new(plan)),
            false => plan,
        },
    )
}

fn skips_rows(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let limit = plan.as_any().downcast_ref::<GlobalLimitExec>();
    limit.is_some_and(|limit| limit.skip() > 0)
}

/// The last step of an aggregate: a sort with a limit that is moved below it counts rows, not groups.
fn makes_groups(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let groups = plan.as_any().downcast_ref::<AggregateExec>();
    groups.is_some_and(|groups| *groups.mode() != AggregateMode::Partial)
}

fn orders(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut required = plan.required_input_ordering().into_iter();
    plan.as_any().is::<SortExec>() || required.any(|ordering| ordering.is_some())
}

/// Passes on the rows of its input, without declaring their order.
#[derive(Debug)]
struct OrderBoundary {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl OrderBoundary {
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

impl DisplayAs for OrderBoundary {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("OrderBoundary")
    }
}

impl ExecutionPlan for OrderBoundary {
    fn name(&self) -> &str {
        "OrderBoundary"
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
