//! `a IS DISTINCT FROM b AND c`: the parser takes all that follows for the right side, whatever binds it less.
//!
//! An expression in parentheses has a node of its own, so an `AND` or `OR` without them below something that binds more is misplaced.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

/// Lifts a misplaced `AND` or `OR` above the expression, which becomes its first operand. For expressions from the inside out.
pub(super) fn hoist(expr: &mut Expr) {
    let Some(slot) = misplaced(expr) else {
        return;
    };
    let mut whole = take(slot);
    let first = first_operand(&mut whole);
    *slot = take(first);
    *first = take(expr);
    *expr = whole;
}

/// The operand of the expression that is an `AND` or `OR` and should not be.
fn misplaced(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => {
            connects(right, true).then(|| right.as_mut())
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: inner,
        } => connects(inner, true).then(|| inner.as_mut()),
        Expr::BinaryOp {
            op: BinaryOperator::And,
            right,
            ..
        } => connects(right, false).then(|| right.as_mut()),
        _ => None,
    }
}

fn connects(expr: &Expr, takes_and: bool) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => {
            *op == BinaryOperator::Or || (takes_and && *op == BinaryOperator::And)
        }
        _ => false,
    }
}

fn first_operand(expr: &mut Expr) -> &mut Expr {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            ..
        } => first_operand(left),
        other => other,
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}
