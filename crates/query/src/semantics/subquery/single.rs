//! A subquery that is a value has one row: the engine makes a join of it, which repeats the row outside for each further one.
//!
//! Where a plan may have more, its rows are counted, and a function fails when there are several (as in Postgres). For a correlated
//! one that is decided above the join: a key with several rows is no error as long as no row outside has it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Column, Result};
use datafusion::functions_aggregate::expr_fn::{count, first_value};
use datafusion::logical_expr::{
    Cast, Expr, FetchType, LogicalPlan, LogicalPlanBuilder, ScalarUDF, SkipType, lit,
};
use forebay_core::Error;

use super::form::is_aggregate_with_condition;
use super::is_correlated;
use super::row_bound::RowBound;
use crate::error::external;
use crate::function::{Kernel, ScalarDefinition, execution};
use crate::semantics::nested::plain_argument;

/// Columns of [`counted`] rows.
const FIRST: &str = "__first";
const ROWS: &str = "__rows";

/// The plan with one row, which is null where there is none, and which fails when there are more. `None` where it has one for certain: in a
/// statement without `FROM` the engine takes the rows of a subquery for those of the statement, also when there are none.
pub(super) fn with_one_row(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if RowBound::of(plan).is_one() {
        return Ok(None);
    }
    let name = plan.schema().field(0).name().clone();
    let counted = LogicalPlanBuilder::from(counted(plan)?);
    let columns = counted.schema().columns().into_iter().map(Expr::Column);
    let only = only_row().call(columns.collect());
    let only = as_first_of(plan, only).alias(name);
    counted.project([only])?.build().map(Some)
}

/// Whether a subquery may have several rows for one outside.
pub(super) fn may_have_several(rows: &LogicalPlan) -> bool {
    let has_one_at_most = RowBound::of(rows).is_one_at_most();
    is_correlated(rows) && !has_one_at_most && !is_aggregate_with_condition(rows)
}

/// The first value of a plan, and the count of its rows.
pub(super) fn counted(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let first = plain_argument(first_column(plan), plan.schema());
    let first = first_value(first, Vec::new()).alias(FIRST);
    let rows = count(lit(1_i64)).alias(ROWS);
    let none: [Expr; 0] = [];
    let counted = LogicalPlanBuilder::from(plan.clone()).aggregate(none, [first, rows])?;
    counted.build()
}

/// The value of a relation with [`counted`] rows of a plan.
pub(super) fn value_of(relation: &str, plan: &LogicalPlan) -> Expr {
    let column = |name: &str| Expr::Column(Column::new(Some(relation), name));
    let only = only_row_of_key().call(vec![column(FIRST), column(ROWS)]);
    as_first_of(plan, only)
}

/// The value in the type of the first column of a plan, whose nested fields have ids there.
fn as_first_of(plan: &LogicalPlan, value: Expr) -> Expr {
    let kind = plan.schema().field(0).data_type();
    match kind.is_nested() {
        true => Expr::Cast(Cast::new(Box::new(value), kind.clone())),
        false => value,
    }
}

/// The plan with the first of its sorted rows as an aggregate: `LIMIT 1` would count the rows of all rows outside together. `None` for
/// a plan without such a limit.
pub(super) fn first_row(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Limit(limit) = plan else {
        return Ok(None);
    };
    let skip = limit.get_skip_type()?;
    let fetch = limit.get_fetch_type()?;
    if !matches!(
        (skip, fetch),
        (SkipType::Literal(0), FetchType::Literal(Some(1)))
    ) {
        return Ok(None);
    }
    let (value, rows) = match limit.input.as_ref() {
        LogicalPlan::Projection(projection) if projection.expr.len() == 1 => {
            (projection.expr[0].clone().unalias(), &projection.input)
        }
        rows => (first_column(rows), &limit.input),
    };
    let (keys, rows) = match rows.as_ref() {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => (sort.expr.clone(), &sort.input),
        _ => (Vec::new(), rows),
    };
    let value = plain_argument(value, rows.schema());
    let first = first_value(value, keys).alias(FIRST);
    let none: [Expr; 0] = [];
    let rows = LogicalPlanBuilder::from(rows.as_ref().clone());
    rows.aggregate(none, [first])?.build().map(Some)
}

fn first_column(plan: &LogicalPlan) -> Expr {
    Expr::Column(plan.schema().qualified_field(0).into())
}

/// Gives its first argument, unless the second says that there are several rows.
fn only_row() -> Arc<ScalarUDF> {
    defined("only_row", |args| only(args, several_rows))
}

/// The same for each row outside, whose value is at fault then.
fn only_row_of_key() -> Arc<ScalarUDF> {
    defined("only_row_of_key", |args| only(args, several_rows_of_key))
}

fn defined(name: &'static str, kernel: Kernel) -> Arc<ScalarUDF> {
    let first = |types: &[DataType]| Ok(types[0].clone());
    let same = |types: &[DataType]| Ok(types.to_vec());
    ScalarDefinition::new(name, first, same, kernel).shared()
}

fn only(args: &[ArrayRef], error: fn() -> Error) -> Result<ArrayRef> {
    let counts = args[1].as_primitive_opt::<Int64Type>();
    let counts = counts.ok_or_else(|| execution("only_row() counts rows"))?;
    match counts.iter().flatten().any(|count| count > 1) {
        true => Err(external(error().with_hint(
            "add a condition, an aggregate such as max(), or ORDER BY with LIMIT 1",
        ))),
        false => Ok(Arc::clone(&args[0])),
    }
}

fn several_rows() -> Error {
    let message = "a subquery that is used as a value gave more than one row";
    Error::config("subquery_rows", message)
}

fn several_rows_of_key() -> Error {
    let message = "a subquery that is used as a value gave more than one row for one row outside";
    Error::data("subquery_rows", message)
}
