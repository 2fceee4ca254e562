//! `x = ANY (list)` and `x <> ALL (list)`: a list that is written out becomes `IN`, others go to functions of ours. The engine looks for
//! an equal item only, and takes a null for none.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Array, BinaryOperator, Expr};
use forebay_core::Error;

use super::{call, unsupported};

const HINT: &str = "compare with =, <>, <, <=, > or >=";

/// `= ANY (SELECT …)` is `IN`, `<> ALL (SELECT …)` is `NOT IN`.
pub(super) fn settle_membership(expr: &mut Expr) {
    let (value, rows, negated) = match expr {
        Expr::AnyOp {
            left,
            compare_op: BinaryOperator::Eq,
            right,
            ..
        } => (left, right, false),
        Expr::AllOp {
            left,
            compare_op: BinaryOperator::NotEq,
            right,
        } => (left, right, true),
        _ => return,
    };
    if let Expr::Subquery(subquery) = rows.as_ref() {
        *expr = Expr::InSubquery {
            expr: value.clone(),
            subquery: subquery.clone(),
            negated,
        };
    }
}

/// Rewrites a comparison with the items of a list; one with a subquery is settled in the plan.
pub(super) fn settle(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    let (quantifier, value, operator, list) = match expr {
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => ("any", left, compare_op, right),
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => ("all", left, compare_op, right),
        _ => return ControlFlow::Continue(()),
    };
    if matches!(list.as_ref(), Expr::Subquery(_)) {
        return comparison(expr);
    }
    let negated = match (quantifier, &operator) {
        ("any", BinaryOperator::Eq) => Some(false),
        ("all", BinaryOperator::NotEq) => Some(true),
        _ => None,
    };
    if let (Some(negated), Some(items)) = (negated, items(list)) {
        *expr = Expr::InList {
            expr: value.clone(),
            list: items,
            negated,
        };
        return ControlFlow::Continue(());
    }
    let operator = match operator {
        BinaryOperator::Eq => "equal",
        BinaryOperator::NotEq => "not_equal",
        BinaryOperator::Lt => "less",
        BinaryOperator::LtEq => "less_or_equal",
        BinaryOperator::Gt => "greater",
        BinaryOperator::GtEq => "greater_or_equal",
        other => {
            let message = format!("{other} {} is not supported", quantifier.to_uppercase());
            return ControlFlow::Break(unsupported(expr, &message, HINT));
        }
    };
    let args = vec![value.as_ref().clone(), list.as_ref().clone()];
    *expr = call(&format!("{quantifier}_{operator}"), args);
    ControlFlow::Continue(())
}

/// Errors: `Unsupported` for an operator that does not compare.
fn comparison(expr: &Expr) -> ControlFlow<Box<Error>> {
    let (Expr::AnyOp { compare_op, .. } | Expr::AllOp { compare_op, .. }) = expr else {
        return ControlFlow::Continue(());
    };
    match compare_op {
        BinaryOperator::Eq
        | BinaryOperator::NotEq
        | BinaryOperator::Lt
        | BinaryOperator::LtEq
        | BinaryOperator::Gt
        | BinaryOperator::GtEq => ControlFlow::Continue(()),
        other => {
            let message = format!("{other} ANY or ALL (SELECT …) is not supported");
            ControlFlow::Break(unsupported(expr, &message, HINT))
        }
    }
}

/// The items of a list that is written out and has some.
fn items(list: &Expr) -> Option<Vec<Expr>> {
    match list {
        Expr::Nested(inner) => items(inner),
        Expr::Array(Array { elem, .. }) if !elem.is_empty() => {
            let is_list = |item: &Expr| matches!(item, Expr::Array(_));
            (!elem.iter().any(is_list)).then(|| elem.clone())
        }
        _ => None,
    }
}
