//! Operands of `NOT`, `AND`, `OR`, `IS TRUE`, `FILTER`, `CASE WHEN` and the sign, in types that they take: the engine's errors name its own
//! rules instead.
//!
//! A quoted literal is read as a boolean, as beside other operators. A null without a type is a boolean one: the engine compares it with
//! `true` as it is, and fails.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Diagnostic, Result};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::literal::read_boolean;
use crate::types::sql_name;

/// The expression with its literals read.
///
/// Errors: of planning, with the place of a column, for an operand of another type.
pub(super) fn settle(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Expr::Negative(value) = &expr {
        check_signed(value, schema)?;
        return Ok(Transformed::no(expr));
    }
    let is_changed = match operator_of(&expr) {
        Some(operator) => check_operands(operator, operands(&mut expr), schema)?,
        None => false,
    };
    Ok(match is_changed {
        true => Transformed::yes(expr),
        false => Transformed::no(expr),
    })
}

/// Reads the literals among operands; returns whether there were any. Errors: as [`settle`].
pub(super) fn check_operands(
    operator: &str,
    operands: Vec<&mut Expr>,
    schema: &DFSchema,
) -> Result<bool> {
    let mut is_changed = false;
    for operand in operands {
        is_changed |= read_boolean(operand)?;
        is_changed |= type_null(operand, schema);
        check_boolean(operator, operand, schema)?;
    }
    Ok(is_changed)
}

/// The plan with the conditions of `WHERE`, `HAVING` and `ON` that are null without a type as boolean nulls. Of another type the planner
/// takes none.
pub(super) fn settle_condition(
    mut plan: LogicalPlan,
    schema: &DFSchema,
) -> Transformed<LogicalPlan> {
    let is_changed = match &mut plan {
        LogicalPlan::Filter(filter) => type_null(&mut filter.predicate, schema),
        LogicalPlan::Join(join) => join
            .filter
            .as_mut()
            .is_some_and(|condition| type_null(condition, schema)),
        _ => false,
    };
    match is_changed {
        true => Transformed::yes(plan),
        false => Transformed::no(plan),
    }
}

/// Makes a null without a type a boolean one; returns whether it was one.
fn type_null(operand: &mut Expr, schema: &DFSchema) -> bool {
    let is_null = matches!(operand.get_type(schema), Ok(DataType::Null));
    if is_null {
        let null = Box::new(std::mem::take(operand));
        *operand = Expr::Cast(Cast::new(null, DataType::Boolean));
    }
    is_null
}

/// The word of a connective, whose operands the engine checks while it plans.
pub(super) fn word(operator: &BinaryOperator) -> Option<&'static str> {
    match operator {
        BinaryOperator::And => Some("AND"),
        BinaryOperator::Or => Some("OR"),
        _ => None,
    }
}

/// The word of an operator over booleans, or of a condition.
fn operator_of(expr: &Expr) -> Option<&'static str> {
    Some(match expr {
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => "FILTER",
        Expr::Not(_) => "NOT",
        Expr::IsTrue(_) | Expr::IsNotTrue(_) => "IS TRUE",
        Expr::IsFalse(_) | Expr::IsNotFalse(_) => "IS FALSE",
        Expr::IsUnknown(_) | Expr::IsNotUnknown(_) => "IS UNKNOWN",
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And => "AND",
            Operator::Or => "OR",
            _ => return None,
        },
        Expr::Case(case) if case.expr.is_none() => "WHEN",
        _ => return None,
    })
}

fn operands(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::Not(value)
        | Expr::IsTrue(value)
        | Expr::IsNotTrue(value)
        | Expr::IsFalse(value)
        | Expr::IsNotFalse(value)
        | Expr::IsUnknown(value)
        | Expr::IsNotUnknown(value) => vec![value.as_mut()],
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => vec![left.as_mut(), right.as_mut()],
        Expr::Case(case) => {
            let whens = case.when_then_expr.iter_mut();
            whens.map(|(when, _)| when.as_mut()).collect()
        }
        Expr::AggregateFunction(call) => call.params.filter.as_deref_mut().into_iter().collect(),
        Expr::WindowFunction(window) => window.params.filter.as_deref_mut().into_iter().collect(),
        _ => Vec::new(),
    }
}

fn check_boolean(operator: &str, operand: &Expr, schema: &DFSchema) -> Result<()> {
    match operand.get_type(schema) {
        Ok(kind) if !matches!(kind, DataType::Boolean | DataType::Null) => {
            Err(refused(operator, "boolean", operand, &kind))
        }
        _ => Ok(()),
    }
}

fn check_signed(value: &Expr, schema: &DFSchema) -> Result<()> {
    let is_signed = |kind: &DataType| {
        kind.is_numeric()
            || matches!(
                kind,
                DataType::Null | DataType::Interval(_) | DataType::Duration(_)
            )
    };
    match value.get_type(schema) {
        Ok(kind) if !is_signed(&kind) => Err(refused("-", "number or interval", value, &kind)),
        _ => Ok(()),
    }
}

fn refused(operator: &str, wanted: &str, operand: &Expr, kind: &DataType) -> DataFusionError {
    let message = format!("{operator} takes a {wanted}, not {}", sql_name(kind));
    let error = DataFusionError::Plan(message.clone());
    let span = match operand {
        Expr::Column(column) => column.spans().first(),
        _ => None,
    };
    match span {
        Some(span) => error.with_diagnostic(Diagnostic::new_error(message, Some(span))),
        None => error,
    }
}
