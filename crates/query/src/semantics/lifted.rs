//! Keys of sorts and grouping sets that the engine takes as columns only: they become columns of a projection below.
//!
//! It cannot sort by a window function or by a test for rows, and it knows the keys of grouping sets by a name that changes with their
//! types. Runs before types are settled.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::find_window_exprs;
use datafusion::logical_expr::{
    Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, Sort,
};
use datafusion::optimizer::AnalyzerRule;

/// The rule; see the module.
#[derive(Debug)]
pub(crate) struct LiftedKeys;

impl AnalyzerRule for LiftedKeys {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let lifted = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Sort(sort) => sorted(sort),
            LogicalPlan::Aggregate(groups) => grouped(groups),
            other => Ok(Transformed::no(other)),
        });
        lifted.data()
    }

    fn name(&self) -> &str {
        "lifted_keys"
    }
}

fn sorted(mut sort: Sort) -> Result<Transformed<LogicalPlan>> {
    let lifts: Vec<bool> = sort.expr.iter().map(|key| is_lifted(&key.expr)).collect();
    if !lifts.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::Sort(sort)));
    }
    let shown = sort.input.schema().columns().into_iter().map(Expr::Column);
    let shown: Vec<Expr> = shown.collect();
    let windows = find_window_exprs(sort.expr.iter().map(|key| &key.expr));
    let input = LogicalPlanBuilder::window_plan(sort.input.as_ref().clone(), windows.clone())?;
    let mut columns = shown.clone();
    for (at, (key, _)) in sort
        .expr
        .iter_mut()
        .zip(lifts)
        .enumerate()
        .filter(|(_, (_, lifts))| *lifts)
    {
        let name = format!("__key_{at}");
        let value = of_columns(std::mem::take(&mut key.expr), &windows)?;
        columns.push(value.alias(&name));
        key.expr = Expr::Column(Column::new_unqualified(name));
    }
    let input = LogicalPlanBuilder::from(input).project(columns)?.build()?;
    sort.input = Arc::new(input);
    let plan = LogicalPlanBuilder::from(LogicalPlan::Sort(sort));
    plan.project(shown)?.build().map(Transformed::yes)
}

fn is_lifted(key: &Expr) -> bool {
    let is_odd = |expr: &Expr| {
        matches!(
            expr,
            Expr::WindowFunction(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        )
    };
    key.exists(|expr| Ok(is_odd(expr))).unwrap_or(false)
}

/// The expression with columns in place of others that an input computes.
fn of_columns(expr: Expr, computed: &[Expr]) -> Result<Expr> {
    let columns = expr.transform_down(|expr| {
        Ok(match computed.contains(&expr) {
            true => Transformed::yes(as_column(&expr)),
            false => Transformed::no(expr),
        })
    });
    columns.data()
}

/// The column that a plan makes of an expression.
fn as_column(expr: &Expr) -> Expr {
    Expr::Column(Column::new_unqualified(expr.schema_name().to_string()))
}

fn grouped(groups: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let keys: Vec<Expr> = match groups.group_expr.as_slice() {
        [Expr::GroupingSet(set)] => set.distinct_expr().into_iter().cloned().collect(),
        _ => Vec::new(),
    };
    let computed: Vec<Expr> = keys
        .into_iter()
        .filter(|key| !matches!(key, Expr::Column(_)))
        .collect();
    if computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(groups)));
    }
    let columns = groups
        .input
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column);
    let named = computed
        .iter()
        .map(|key| key.clone().alias(key.schema_name().to_string()));
    let columns: Vec<Expr> = columns.chain(named).collect();
    let input = LogicalPlanBuilder::from(groups.input.as_ref().clone());
    let input = Arc::new(input.project(columns)?.build()?);
    let group_expr = groups.group_expr.into_iter().map(|set| match set {
        Expr::GroupingSet(set) => set_of_columns(set, &computed),
        other => other,
    });
    let group_expr = group_expr.collect();
    let aggr_expr = groups.aggr_expr.into_iter();
    let aggr_expr = aggr_expr.map(|expr| grouping_of_columns(expr, &computed));
    let aggr_expr = aggr_expr.collect::<Result<Vec<_>>>()?;
    let groups = Aggregate::try_new(input, group_expr, aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(groups)))
}

fn set_of_columns(set: GroupingSet, computed: &[Expr]) -> Expr {
    let all = |keys: Vec<Expr>| -> Vec<Expr> {
        let keys = keys.into_iter().map(|key| match computed.contains(&key) {
            true => as_column(&key),
            false => key,
        });
        keys.collect()
    };
    Expr::GroupingSet(match set {
        GroupingSet::Rollup(keys) => GroupingSet::Rollup(all(keys)),
        GroupingSet::Cube(keys) => GroupingSet::Cube(all(keys)),
        GroupingSet::GroupingSets(sets) => {
            GroupingSet::GroupingSets(sets.into_iter().map(all).collect())
        }
    })
}

/// `grouping(key)` names a key of the set.
fn grouping_of_columns(expr: Expr, computed: &[Expr]) -> Result<Expr> {
    let name = expr.schema_name().to_string();
    let replaced = expr.transform_down(|expr| match expr {
        Expr::AggregateFunction(mut call) if call.func.name() == "grouping" => {
            let args = call.params.args.into_iter();
            let args = args.map(|arg| of_columns(arg, computed));
            call.params.args = args.collect::<Result<_>>()?;
            Ok(Transformed::yes(Expr::AggregateFunction(call)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let has_name = replaced.data.schema_name().to_string() == name;
    Ok(match has_name {
        true => replaced.data,
        false => replaced.data.alias(name),
    })
}
