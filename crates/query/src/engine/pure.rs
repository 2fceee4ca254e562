//! Refuses functions whose answer depends on the moment they are called.

use std::fmt::Display;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::WindowFunctionDefinition;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use forebay_core::Error;

use crate::error::{external, locate};

/// Checks every expression of the plan, subqueries too.
pub(super) fn check_plan(plan: &LogicalPlan, sql: &str) -> Result<()> {
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| check(expr, sql).map(|()| TreeNodeRecursion::Continue))
    })?;
    Ok(())
}

/// Checks one expression.
pub(super) fn check(expr: &Expr, sql: &str) -> Result<()> {
    expr.apply(|expr| match function(expr) {
        Some((name, volatility)) if volatility != Volatility::Immutable => {
            let (line, column) = locate(sql, name).unwrap_or((1, 1));
            Err(external(refused(name, line, column)))
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

fn function(expr: &Expr) -> Option<(&str, Volatility)> {
    match expr {
        Expr::ScalarFunction(call) => Some((call.func.name(), call.func.signature().volatility)),
        Expr::AggregateFunction(call) => Some((call.func.name(), call.func.signature().volatility)),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                Some((function.name(), function.signature().volatility))
            }
            WindowFunctionDefinition::WindowUDF(function) => {
                Some((function.name(), function.signature().volatility))
            }
        },
        _ => None,
    }
}

/// The error for a call at a line and column.
pub(super) fn refused(name: &str, line: impl Display, column: impl Display) -> Error {
    Error::config("not_deterministic", format!("{line}:{column}: {name}() gives another answer on each run, so a replay would not give the same rows"))
        .with_hint("use a value of the record instead; the time a payload was taken is `received_at` in raw.<pipeline>")
}
