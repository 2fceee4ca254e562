//! Columns of a subquery called apart from those of the row outside and of its conditions: all become columns of one join, `x.k` and
//! `y.k` beside `max(y.id) AS k`, and the engine finds several of one name.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::utils::expr_to_columns;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Subquery,
};

use super::{is_correlated, subquery_of};

/// The expression over a subquery with such columns: nobody outside reads their names.
pub(super) fn apart(expr: Expr) -> Result<Expr> {
    Ok(match expr {
        Expr::ScalarSubquery(subquery) => Expr::ScalarSubquery(own_columns(subquery)?),
        Expr::InSubquery(member) => Expr::InSubquery(InSubquery::new(
            member.expr,
            own_columns(member.subquery)?,
            member.negated,
        )),
        other => other,
    })
}

fn own_columns(subquery: Subquery) -> Result<Subquery> {
    match is_correlated(&subquery.subquery) {
        true => Ok(subquery_of(renamed(&subquery.subquery)?, &subquery)),
        false => Ok(subquery),
    }
}

/// The plan with names of our own for columns that are made, and for those that are called as another one of its conditions.
pub(super) fn renamed(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let needed = columns_of_conditions(plan)?;
    with_new_names(plan, &needed)
}

fn with_new_names(plan: &LogicalPlan, needed: &HashSet<Column>) -> Result<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Projection(projection) => {
            let columns = projection.expr.iter().enumerate();
            let columns = columns.map(|(at, expr)| match keeps_name(expr, needed) {
                true => expr.clone(),
                false => expr.clone().unalias().alias(format!("__out_{at}")),
            });
            let columns = columns.collect();
            let renamed = Projection::try_new(columns, Arc::clone(&projection.input))?;
            LogicalPlan::Projection(renamed)
        }
        // `DISTINCT`, which is the groups of all columns by now.
        LogicalPlan::Aggregate(groups) if is_distinct(groups) => {
            let rows = with_new_names(&groups.input, needed)?;
            let columns = rows.schema().columns().into_iter().map(Expr::Column);
            let columns: Vec<Expr> = columns.collect();
            let none: Vec<Expr> = Vec::new();
            LogicalPlanBuilder::from(rows)
                .aggregate(columns, none)?
                .build()?
        }
        other => other.clone(),
    })
}

fn is_distinct(groups: &Aggregate) -> bool {
    let columns = groups.input.schema().columns().into_iter();
    groups.aggr_expr.is_empty()
        && columns
            .map(Expr::Column)
            .eq(groups.group_expr.iter().cloned())
}

fn keeps_name(expr: &Expr, needed: &HashSet<Column>) -> bool {
    match expr {
        Expr::Column(own) => !needed
            .iter()
            .any(|column| column.name == own.name && column != own),
        _ => false,
    }
}

fn columns_of_conditions(plan: &LogicalPlan) -> Result<HashSet<Column>> {
    let mut columns = HashSet::new();
    plan.apply(|plan| {
        if let LogicalPlan::Filter(filter) = plan
            && filter.predicate.contains_outer()
        {
            expr_to_columns(&filter.predicate, &mut columns)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}
