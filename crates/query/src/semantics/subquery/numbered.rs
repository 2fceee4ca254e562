//! Aggregates over rows that any condition on the row outside chooses: `(SELECT count(*) FROM u WHERE u.k <= t.k)`.
//!
//! The engine makes groups by the columns of equalities and joins them, and has no such groups here. The rows outside get numbers and
//! are joined with the rows inside by the condition; then each number is a group. A row outside without any row inside has a group too,
//! over whose one row, filled up with nulls, no aggregate runs.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Aggregate, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, lit,
};

use super::{PulledUp, Subqueries, can_be_joined, is_correlated};
use crate::error::{external, subquery_unsupported};

/// A value that is computed from an aggregate of all rows.
struct AggregateValue<'a> {
    /// Of the columns of the aggregate, and of the row outside.
    value: Expr,
    groups: &'a Aggregate,
}

impl<'a> AggregateValue<'a> {
    /// `None` for other plans, and for an aggregate of the row outside alone, which is one of the statement outside.
    fn of(plan: &'a LogicalPlan) -> Option<Self> {
        let column = plan.schema().columns().into_iter().next()?;
        let found = Self::below(plan, Expr::Column(column))?;
        let is_of_outside = |expr: &Expr| expr.contains_outer() && expr.column_refs().is_empty();
        let mut aggregates = found.groups.aggr_expr.iter();
        (!aggregates.any(is_of_outside)).then_some(found)
    }

    fn below(plan: &'a LogicalPlan, value: Expr) -> Option<Self> {
        match plan {
            LogicalPlan::Aggregate(groups) if groups.group_expr.is_empty() => {
                Some(Self { value, groups })
            }
            LogicalPlan::Projection(projection) => {
                let made = projection.expr.iter().map(|expr| expr.clone().unalias());
                Self::below(&projection.input, replaced(plan, made, value)?)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let columns = alias.input.schema().columns().into_iter();
                let value = replaced(plan, columns.map(Expr::Column), value)?;
                Self::below(&alias.input, value)
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Self::below(&sort.input, value),
            _ => None,
        }
    }
}

/// The value with what a plan makes of its columns.
fn replaced(plan: &LogicalPlan, made: impl Iterator<Item = Expr>, value: Expr) -> Option<Expr> {
    let columns = plan.schema().columns().into_iter();
    with_columns(value, &columns.zip(made).collect()).ok()
}

fn with_columns(expr: Expr, columns: &HashMap<Column, Expr>) -> Result<Expr> {
    let replaced = expr.transform_up(|expr| {
        Ok(match &expr {
            Expr::Column(column) => match columns.get(column) {
                Some(other) => Transformed::yes(other.clone()),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        })
    });
    replaced.data()
}

/// Whether a subquery is such a value, which the engine cannot join.
pub(super) fn is_numbered(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(value) if can_be_numbered(&value.subquery))
}

/// The same for its plan.
pub(super) fn can_be_numbered(plan: &LogicalPlan) -> bool {
    is_correlated(plan) && !can_be_joined(plan) && AggregateValue::of(plan).is_some()
}

impl Subqueries {
    /// The value beside the columns of the input, one row for each of the input, in any order.
    ///
    /// Errors: `Unsupported` where a condition cannot be lifted from its place, and for a transform.
    pub(super) fn numbered(
        &self,
        value: &Subquery,
        input: &LogicalPlan,
    ) -> Result<(LogicalPlan, Expr)> {
        let unsupported = || external(subquery_unsupported());
        let found = AggregateValue::of(&value.subquery).filter(|_| !self.refuses_groups);
        let AggregateValue { value, groups } = found.ok_or_else(unsupported)?;
        let inside = self.inside(groups)?.ok_or_else(unsupported)?;
        let number = self.alias("number");
        let outside = input.schema().columns().into_iter().map(Expr::Column);
        let keys: Vec<Expr> = outside
            .chain([Expr::Column(Column::new_unqualified(&number))])
            .collect();
        let joined = LogicalPlanBuilder::from(input.clone())
            .window([row_number().alias(&number)])?
            .join_on(inside.rows, JoinType::Left, Some(inside.condition))?;
        let made = self.aggregates(groups, &inside.columns, &inside.is_found)?;
        let (aggregates, results) = made;
        let grouped = Aggregate::try_new(Arc::new(joined.build()?), keys, aggregates)?;
        let value = as_inner(with_columns(value, &results)?)?;
        Ok((LogicalPlan::Aggregate(grouped), value))
    }

    /// The rows below an aggregate, with the columns that it reads under names of their own.
    fn inside(&self, groups: &Aggregate) -> Result<Option<Inside>> {
        let alias = self.alias("inside");
        let read = groups.aggr_expr.iter().flat_map(Expr::column_refs);
        let read: Vec<Column> = read.cloned().collect();
        let named = |at: usize| format!("__in_{at}");
        let shown = read.iter().enumerate();
        let shown = shown.map(|(at, column)| Expr::Column(column.clone()).alias(named(at)));
        let shown = shown.chain([lit(true).alias(FOUND)]).collect();
        let rows = Projection::try_new(shown, Arc::clone(&groups.input))?;
        let pulled = PulledUp::new(&LogicalPlan::Projection(rows), &alias, true)?;
        let of_alias = |name: &str| Expr::Column(Column::new(Some(alias.as_str()), name));
        let columns = read.into_iter().enumerate();
        let columns = columns.map(|(at, column)| (column, of_alias(&named(at))));
        let columns = columns.collect();
        Ok(pulled.map(|pulled| Inside {
            rows: pulled.rows,
            condition: pulled.condition,
            columns,
            is_found: of_alias(FOUND).is_not_null(),
        }))
    }

    /// The aggregates over the rows that are found, and the columns that they become.
    fn aggregates(
        &self,
        groups: &Aggregate,
        columns: &HashMap<Column, Expr>,
        is_found: &Expr,
    ) -> Result<(Vec<Expr>, HashMap<Column, Expr>)> {
        let mut made = Vec::new();
        let mut results = HashMap::new();
        for (expr, result) in groups.aggr_expr.iter().zip(groups.schema.columns()) {
            let name = self.alias("aggregate");
            let expr = as_inner(with_columns(expr.clone().unalias(), columns)?)?;
            made.push(of_found(expr, is_found)?.alias(&name));
            results.insert(result, Expr::Column(Column::new_unqualified(name)));
        }
        Ok((made, results))
    }
}

/// A column that is null where a row outside has no row inside.
const FOUND: &str = "__found";

/// The rows inside, and how they are chosen and read.
struct Inside {
    rows: LogicalPlan,
    condition: Expr,
    columns: HashMap<Column, Expr>,
    is_found: Expr,
}

/// The aggregate with a further condition.
fn of_found(expr: Expr, is_found: &Expr) -> Result<Expr> {
    let Expr::AggregateFunction(mut call) = expr else {
        return Err(external(subquery_unsupported()));
    };
    let condition = match call.params.filter.take() {
        Some(filter) => is_found.clone().and(*filter),
        None => is_found.clone(),
    };
    call.params.filter = Some(Box::new(condition));
    Ok(Expr::AggregateFunction(call))
}

/// The columns of the row outside, as they are beside the groups.
fn as_inner(value: Expr) -> Result<Expr> {
    let inner = value.transform_up(|expr| {
        Ok(match expr {
            Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
            other => Transformed::no(other),
        })
    });
    inner.data()
}
