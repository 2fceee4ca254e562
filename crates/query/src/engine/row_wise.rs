//! Statements whose rows each come from one row of the input: which they are, and how the number of that row is carried.
//!
//! Row-wise is a chain of projections, filters, aliases and `unnest` over the input and nothing else. In such a plan a
//! hidden column with the row's number is added to the input and handed through every node as the last column.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableScan, Unnest,
};

use super::input::Input;

/// The hidden column. A statement that has a column of this name itself is not row-wise.
const ROW: &str = "_fb_input_row";

/// Whether the plan over this input is row-wise.
pub(super) fn is_row_wise(plan: &LogicalPlan) -> Result<bool> {
    let is_other = plan.exists(|node| Ok(!is_row_wise_node(node)?))?;
    Ok(!is_other)
}

fn is_row_wise_node(node: &LogicalPlan) -> Result<bool> {
    let mut fields = node.schema().fields().iter();
    if fields.any(|field| field.name() == ROW) {
        return Ok(false);
    }
    Ok(match node {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => !has_subquery(node)?,
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Unnest(_) => true,
        LogicalPlan::TableScan(scan) => {
            let source = source_as_provider(&scan.source)?;
            source.as_any().is::<Input>()
        }
        _ => false,
    })
}

fn has_subquery(node: &LogicalPlan) -> Result<bool> {
    let mut has_subquery = false;
    node.apply_expressions(|expr| {
        has_subquery |= expr.exists(|expr| Ok(is_subquery(expr)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(has_subquery)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
    )
}

/// A row-wise plan over the numbered input; the number is its last column.
pub(super) fn numbered(plan: &LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let schema = schema(scan.source.schema().as_ref());
            let source = provider_as_source(Arc::new(Input(schema)));
            TableScan::try_new(scan.table_name.clone(), source, None, Vec::new(), None)
                .map(LogicalPlan::TableScan)
        }
        LogicalPlan::Projection(node) => {
            let input = numbered(&node.input)?;
            let mut exprs = node.expr.clone();
            exprs.push(Expr::Column(row(&input)?));
            Projection::try_new(exprs, Arc::new(input)).map(LogicalPlan::Projection)
        }
        LogicalPlan::Filter(node) => {
            let input = Arc::new(numbered(&node.input)?);
            Filter::try_new(node.predicate.clone(), input).map(LogicalPlan::Filter)
        }
        LogicalPlan::SubqueryAlias(node) => {
            let input = Arc::new(numbered(&node.input)?);
            SubqueryAlias::try_new(input, node.alias.clone()).map(LogicalPlan::SubqueryAlias)
        }
        LogicalPlan::Unnest(node) => {
            let input = Arc::new(numbered(&node.input)?);
            Unnest::try_new(input, node.exec_columns.clone(), node.options.clone())
                .map(LogicalPlan::Unnest)
        }
        other => Err(DataFusionError::Internal(format!(
            "a row-wise plan has {}",
            other.display()
        ))),
    }
}

fn row(plan: &LogicalPlan) -> Result<Column> {
    let mut fields = plan.schema().iter();
    let row = fields.find(|(_, field)| field.name() == ROW);
    row.map(Column::from)
        .ok_or_else(|| DataFusionError::Internal("the number of the row is lost".to_owned()))
}

fn schema(input: &Schema) -> SchemaRef {
    let hidden = Arc::new(Field::new(ROW, DataType::UInt32, false));
    let fields = input.fields().iter().cloned().chain([hidden]);
    Arc::new(Schema::new_with_metadata(
        fields.collect::<Vec<_>>(),
        input.metadata().clone(),
    ))
}

/// The batch with the number of each row as its last column.
pub(super) fn number(records: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let rows = u32::try_from(records.num_rows()).map_err(|_| {
        ArrowError::InvalidArgumentError("a batch has 2^32 rows or more".to_owned())
    })?;
    let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows));
    let mut columns = records.columns().to_vec();
    columns.push(numbers);
    RecordBatch::try_new(schema(records.schema_ref()), columns)
}
