//! `WITH RECURSIVE` keeps all of its columns: the engine leaves out those that the statement does not read, also where the next
//! step needs them. An always true condition on all of them is added above it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, ScalarUDF, Signature, Volatility};

use crate::function::ScalarDefinition;

/// A function of columns that is true, which the engine must not compute in advance.
pub(super) fn all_columns() -> Arc<ScalarUDF> {
    let boolean = |_: &[DataType]| Ok(DataType::Boolean);
    let same = |types: &[DataType]| Ok(types.to_vec());
    let mut function = ScalarDefinition::new("all_columns", boolean, same, |args| {
        let rows = args.first().map_or(0, |column| column.len());
        Ok(Arc::new(BooleanArray::from(vec![true; rows])) as ArrayRef)
    });
    function.signature = Signature::user_defined(Volatility::Volatile);
    function.shared()
}

pub(super) fn keep_columns(
    plan: LogicalPlan,
    all_columns: &ScalarUDF,
) -> Result<Transformed<LogicalPlan>> {
    if !matches!(plan, LogicalPlan::RecursiveQuery(_)) {
        return Ok(Transformed::no(plan));
    }
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let condition = all_columns.call(columns.collect());
    let filter = Filter::try_new(condition, Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}
