//! The one row of an aggregate without `GROUP BY`, which the engine finds only behind values that read the aggregate.
//!
//! Where no row inside fits the row outside, it computes such values from an empty aggregate, and gives NULL for all others: for a
//! constant, and for `count(*) IS NULL`, which it knows to be false.

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection, lit, when};

use crate::semantics::float::unordered;

/// Name of the count that values read.
const ROWS: &str = "__rows";

/// The plan with values that read a count of rows, and are null where `HAVING` takes the row away.
pub(super) fn with_visible_row(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = &plan else {
        return Ok(plan);
    };
    let (groups, having) = match projection.input.as_ref() {
        LogicalPlan::Filter(filter) => (filter.input.as_ref(), Some(&filter.predicate)),
        other => (other, None),
    };
    let LogicalPlan::Aggregate(groups) = groups else {
        return Ok(plan);
    };
    let is_read = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(_));
    if !groups.group_expr.is_empty() || (having.is_none() && projection.expr.iter().all(is_read)) {
        return Ok(plan);
    }
    let mut aggregates = groups.aggr_expr.clone();
    aggregates.push(count(lit(1_i64)).alias(ROWS));
    let rows = Aggregate::try_new(Arc::clone(&groups.input), Vec::new(), aggregates)?;
    // Hidden, or the engine would know that a count is never negative.
    let counted = unordered().call(vec![Expr::Column(Column::new_unqualified(ROWS))]);
    let is_there = counted.gt_eq(lit(0_i64));
    let is_there = match having {
        Some(having) => is_there.and(having.clone()),
        None => is_there,
    };
    let values = projection.expr.iter().map(|expr| {
        let name = expr.schema_name().to_string();
        let value = when(is_there.clone(), expr.clone().unalias()).end()?;
        Ok(value.alias(name))
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    let rows = Arc::new(LogicalPlan::Aggregate(rows));
    Projection::try_new(values, rows).map(LogicalPlan::Projection)
}
