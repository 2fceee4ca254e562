//! Keys of windows as columns of a projection below.
//!
//! The engine derives the order of an expression from that of its columns, takes a test or a cast for ordered by what is sorted
//! already, and then fails to recognise `ORDER BY cast(f AS bigint), id` in its own plan. Columns it compares by their names alone.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Window};

use super::map_named;

/// The plan with such keys; its columns stay as they are.
pub(super) fn lifted(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Window(window) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let keys = computed_keys(window);
    if keys.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let columns = window.input.schema().columns().into_iter();
    let named = keys.iter().enumerate();
    let named = named.map(|(at, key)| key.clone().alias(name_of(at)));
    let columns = columns.map(Expr::Column).chain(named);
    let input = LogicalPlanBuilder::from(window.input.as_ref().clone()).project(columns)?;
    let shown = window.schema.columns().into_iter().map(Expr::Column);
    let shown: Vec<Expr> = shown.collect();
    let plan = map_named(plan, |expr| Ok(over_columns(expr, &keys)))?.data;
    let window = Window::try_new(plan.expressions(), Arc::new(input.build()?))?;
    let plan = LogicalPlanBuilder::from(LogicalPlan::Window(window));
    plan.project(shown)?.build().map(Transformed::yes)
}

fn name_of(at: usize) -> String {
    format!("__window_key_{at}")
}

/// The keys that are not columns yet, each once.
fn computed_keys(window: &Window) -> Vec<Expr> {
    let mut found: Vec<Expr> = Vec::new();
    for expr in &window.window_expr {
        let Expr::WindowFunction(function) = expr.clone().unalias() else {
            continue;
        };
        for key in keys_of(function.params) {
            let is_computed = !matches!(key, Expr::Column(_) | Expr::Literal(..));
            if is_computed && !found.contains(&key) {
                found.push(key);
            }
        }
    }
    found
}

fn keys_of(params: WindowFunctionParams) -> impl Iterator<Item = Expr> {
    let order = params.order_by.into_iter().map(|key| key.expr);
    params.partition_by.into_iter().chain(order)
}

fn over_columns(expr: Expr, keys: &[Expr]) -> Transformed<Expr> {
    match expr {
        Expr::WindowFunction(mut function) => {
            for key in &mut function.params.partition_by {
                replace(key, keys);
            }
            for key in &mut function.params.order_by {
                replace(&mut key.expr, keys);
            }
            Transformed::yes(Expr::WindowFunction(function))
        }
        Expr::Alias(alias) => {
            let inner = over_columns(*alias.expr, keys);
            inner.update_data(|inner| inner.alias_qualified(alias.relation, alias.name))
        }
        other => Transformed::no(other),
    }
}

fn replace(key: &mut Expr, keys: &[Expr]) {
    if let Some(at) = keys.iter().position(|known| known == key) {
        *key = Expr::Column(Column::new_unqualified(name_of(at)));
    }
}
