//! A subquery that is a value has one row: the engine makes a join of it, which repeats the row outside for each further one.
//!
//! Where a plan may have more, its rows are counted, and a function fails when there are several (as in Postgres).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::functions_aggregate::expr_fn::{count, first_value};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use forebay_core::Error;

use super::form::has_one_row;
use crate::error::external;
use crate::function::{ScalarDefinition, execution};

/// The plan with at most one row, which fails when there are more. `None` where it has no more for certain.
pub(super) fn with_one_row(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if has_one_row(plan) || plan.max_rows().is_some_and(|rows| rows <= 1) {
        return Ok(None);
    }
    let (qualifier, field) = plan.schema().qualified_field(0);
    let column = Expr::Column((qualifier, field).into());
    let name = field.name().clone();
    let first = first_value(column, Vec::new()).alias("__first");
    let rows = count(lit(1_i64)).alias("__rows");
    let none: [Expr; 0] = [];
    let counted = LogicalPlanBuilder::from(plan.clone()).aggregate(none, [first, rows])?;
    let columns = counted.schema().columns().into_iter().map(Expr::Column);
    let only = only_row().call(columns.collect()).alias(name);
    counted.project([only])?.build().map(Some)
}

/// Gives its first argument, unless the second says that there are several rows.
fn only_row() -> Arc<ScalarUDF> {
    let first = |types: &[DataType]| Ok(types[0].clone());
    let same = |types: &[DataType]| Ok(types.to_vec());
    ScalarDefinition::new("only_row", first, same, |args| {
        let counts = args[1].as_primitive_opt::<Int64Type>();
        let counts = counts.ok_or_else(|| execution("only_row() counts rows"))?;
        match counts.iter().flatten().any(|count| count > 1) {
            true => Err(several_rows()),
            false => Ok(Arc::clone(&args[0]) as ArrayRef),
        }
    })
    .shared()
}

fn several_rows() -> DataFusionError {
    let error = Error::config(
        "subquery_rows",
        "a subquery that is used as a value gave more than one row",
    );
    external(
        error.with_hint("add a condition, an aggregate such as max(), or ORDER BY with LIMIT 1"),
    )
}
