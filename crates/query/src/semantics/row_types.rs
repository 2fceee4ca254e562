//! Rows of several sources in types that hold all of their values: unions, `VALUES` and joins by equality.
//!
//! The engine takes decimals beside floats to a decimal that cuts, and dates beside timestamps to nanoseconds, which end at the year
//! 2262. Lists, structs and maps of them likewise.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, JoinConstraint, Result};
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, Join, LogicalPlan, Projection, Union, Values,
};

use super::coerce::{Common, Purpose, cast_to, common};
use crate::function::nested::common_type;

/// The plan with such types.
pub(super) fn settle(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Union(union) => settle_union(union),
        LogicalPlan::Values(values) => settle_values(values),
        LogicalPlan::Join(join) => Ok(settle_join(join)),
        other => Ok(Transformed::no(other)),
    }
}

fn settle_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.schema.fields().len();
    let schemas = union.inputs.iter().map(|input| input.schema());
    if schemas.clone().any(|schema| schema.fields().len() != width) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let kinds = |at: usize| {
        schemas
            .clone()
            .map(move |schema| schema.field(at).data_type().clone())
    };
    let types = (0..width).map(|at| common(&kinds(at).collect::<Vec<_>>(), Purpose::Chosen));
    let types: Vec<Common> = types.collect();
    if types.iter().all(|kind| *kind == Common::AsTheEngineDoes) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.into_iter().map(|input| {
        let columns = input.schema().iter().zip(&types);
        let columns = columns.map(|((relation, field), kind)| {
            let column = Expr::Column(Column::new(relation.cloned(), field.name()));
            let cast = cast_to(column.clone(), kind, input.schema());
            match cast == column {
                true => column,
                false => cast.alias_qualified(relation.cloned(), field.name()),
            }
        });
        let columns = columns.collect();
        Projection::try_new(columns, input).map(|made| Arc::new(LogicalPlan::Projection(made)))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let union = Union::try_new_with_loose_types(inputs)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

/// The planner has cast the rows already, to the engine's type of theirs.
fn settle_values(mut values: Values) -> Result<Transformed<LogicalPlan>> {
    let empty = DFSchema::empty();
    let fields = values.schema.fields().iter().enumerate();
    let types = fields.map(|(at, field)| {
        let column = values.values.iter().map(|row| &row[at]);
        own_type(column, field.data_type(), &empty)
    });
    let types: Vec<Option<DataType>> = types.collect();
    if types.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Values(values)));
    }
    for row in &mut values.values {
        let cells = row.iter_mut().zip(values.schema.fields()).zip(&types);
        for ((cell, field), kind) in cells {
            if let Some(kind) = kind {
                *cell = recast(std::mem::take(cell), field.data_type(), kind, &empty);
            }
        }
    }
    let fields = values
        .schema
        .iter()
        .zip(&types)
        .map(|((relation, field), kind)| {
            let field = match kind {
                Some(kind) => Arc::new(field.as_ref().clone().with_data_type(kind.clone())),
                None => Arc::clone(field),
            };
            (relation.cloned(), field)
        });
    let metadata = values.schema.metadata().clone();
    values.schema = Arc::new(DFSchema::new_with_metadata(fields.collect(), metadata)?);
    Ok(Transformed::yes(LogicalPlan::Values(values)))
}

/// The type of a column where it is not the planner's. Its cells may have got others since it was planned.
fn own_type<'a>(
    cells: impl Iterator<Item = &'a Expr>,
    planned: &DataType,
    schema: &DFSchema,
) -> Option<DataType> {
    let cells: Vec<&Expr> = cells.collect();
    let kinds = |cells: Vec<&Expr>| -> Option<Vec<DataType>> {
        let kinds = cells.into_iter().map(|cell| cell.get_type(schema));
        kinds.collect::<Result<_>>().ok()
    };
    let written = cells.iter().map(|cell| as_written(cell, planned, schema));
    let leaf = |kinds: &[DataType]| common(kinds, Purpose::Chosen).into_type();
    let found = common_type(&kinds(written.collect())?, &leaf)?;
    let kind = match found.is_own {
        true => found.kind,
        false => common_type(&kinds(cells)?, &leaf)?.kind,
    };
    (kind != *planned).then_some(kind)
}

/// A cell without the cast of the planner. Texts are cast where they are written.
fn as_written<'a>(cell: &'a Expr, planned: &DataType, schema: &DFSchema) -> &'a Expr {
    match cell {
        Expr::Cast(cast) if is_planned(cast, planned, schema) => &cast.expr,
        other => other,
    }
}

fn is_planned(cast: &Cast, planned: &DataType, schema: &DFSchema) -> bool {
    let is_text = |kind: DataType| kind.is_string();
    cast.data_type == *planned && !cast.expr.get_type(schema).is_ok_and(is_text)
}

fn recast(cell: Expr, planned: &DataType, kind: &DataType, schema: &DFSchema) -> Expr {
    let written = match cell {
        Expr::Cast(cast) if is_planned(&cast, planned, schema) => *cast.expr,
        other => other,
    };
    match written.get_type(schema) {
        Ok(found) if found == *kind => written,
        _ => Expr::Cast(Cast::new(Box::new(written), kind.clone())),
    }
}

/// The columns that a join compares; one by name is one by condition then.
fn settle_join(mut join: Join) -> Transformed<LogicalPlan> {
    let mut is_changed = false;
    for (left, right) in &mut join.on {
        let kinds = [
            left.get_type(join.left.schema()),
            right.get_type(join.right.schema()),
        ];
        let [Ok(one), Ok(other)] = kinds else {
            continue;
        };
        let to = common(&[one, other], Purpose::Compared);
        if to != Common::AsTheEngineDoes {
            *left = cast_to(std::mem::take(left), &to, join.left.schema());
            *right = cast_to(std::mem::take(right), &to, join.right.schema());
            is_changed = true;
        }
    }
    if !is_changed {
        return Transformed::no(LogicalPlan::Join(join));
    }
    join.join_constraint = JoinConstraint::On;
    Transformed::yes(LogicalPlan::Join(join))
}
