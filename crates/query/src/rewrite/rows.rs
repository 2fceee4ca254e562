//! `(a, b) = (c, d)`, `(a, b) < (c, d)` and `(a, b) IN ((c, d), …)`: columns side by side, compared one by one with the nulls of SQL.
//! The engine makes structs of them, in which nulls equal each other. [`super::row_members`] has those with subqueries.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use forebay_core::Error;

use super::unsupported;

/// Compares rows that are written out.
pub(super) fn settle(expr: &mut Expr) {
    let settled = match expr {
        Expr::BinaryOp { left, op, right } => compared(left, op, right),
        Expr::Between {
            expr: value,
            negated,
            low,
            high,
        } => between(value, low, high).map(|test| negated_if(*negated, test)),
        Expr::InList {
            expr: value,
            list,
            negated,
        } => in_list(value, list).map(|test| negated_if(*negated, test)),
        _ => None,
    };
    if let Some(settled) = settled {
        *expr = settled;
    }
}

fn compared(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    let left = row(left)?;
    let right = row(right).filter(|right| right.len() == left.len())?;
    match op {
        BinaryOperator::Eq => Some(nested(equal(left, right))),
        BinaryOperator::NotEq => Some(negated_if(true, equal(left, right))),
        BinaryOperator::Lt | BinaryOperator::LtEq => ordered(left, op, &BinaryOperator::Lt, right),
        BinaryOperator::Gt | BinaryOperator::GtEq => ordered(left, op, &BinaryOperator::Gt, right),
        _ => None,
    }
}

/// `a < c OR (a = c AND b < d)`: what comes first decides where it differs.
fn ordered(
    left: &[Expr],
    op: &BinaryOperator,
    strict: &BinaryOperator,
    right: &[Expr],
) -> Option<Expr> {
    let mut pairs = left.iter().zip(right).rev();
    let (left, right) = pairs.next()?;
    let last = binary(nested(left.clone()), op, nested(right.clone()));
    let test = pairs.fold(last, |rest, (left, right)| {
        let left = nested(left.clone());
        let right = nested(right.clone());
        let is_less = binary(left.clone(), strict, right.clone());
        let is_equal = binary(left, &BinaryOperator::Eq, right);
        let is_less_behind = binary(is_equal, &BinaryOperator::And, nested(rest));
        binary(is_less, &BinaryOperator::Or, nested(is_less_behind))
    });
    Some(nested(test))
}

fn between(value: &Expr, low: &Expr, high: &Expr) -> Option<Expr> {
    let low = compared(value, &BinaryOperator::GtEq, low)?;
    let high = compared(value, &BinaryOperator::LtEq, high)?;
    Some(binary(low, &BinaryOperator::And, high))
}

fn in_list(value: &Expr, list: &[Expr]) -> Option<Expr> {
    let value = row(value)?;
    let rows = list.iter().map(row).collect::<Option<Vec<&[Expr]>>>()?;
    if rows.iter().any(|row| row.len() != value.len()) {
        return None;
    }
    let tests = rows.into_iter().map(|row| equal(value, row)).collect();
    any(tests)
}

/// The tests joined by `OR`, in a tree: a chain of them would be too deep.
fn any(mut tests: Vec<Expr>) -> Option<Expr> {
    if tests.len() < 2 {
        return tests.pop();
    }
    let second = tests.split_off(tests.len() / 2);
    let left = nested(any(tests)?);
    let right = nested(any(second)?);
    Some(binary(left, &BinaryOperator::Or, right))
}

/// The items of a row of several.
pub(super) fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(items) if items.len() > 1 => Some(items),
        Expr::Nested(inner) => row(inner),
        _ => None,
    }
}

/// Errors: `Unsupported` for a row beside a subquery that is one, `Config` for parentheses around nothing.
pub(super) fn check(expr: &Expr) -> ControlFlow<Box<Error>> {
    match expr {
        Expr::BinaryOp { left, right, .. } => {
            let is_row_of_subquery =
                |one: &Expr, other: &Expr| row(one).is_some() && matches!(other, Expr::Subquery(_));
            match is_row_of_subquery(left, right) || is_row_of_subquery(right, left) {
                true => ControlFlow::Break(unsupported(
                    expr,
                    "a row beside a subquery is not supported",
                    "write (a, b) IN (SELECT c, d FROM …)",
                )),
                false => ControlFlow::Continue(()),
            }
        }
        Expr::Tuple(items) if items.is_empty() => {
            let error = Error::config("bad_sql", "an expression is missing between ( and )");
            ControlFlow::Break(Box::new(error))
        }
        _ => ControlFlow::Continue(()),
    }
}

pub(super) fn equal(left: &[Expr], right: &[Expr]) -> Expr {
    let tests = left.iter().zip(right).map(|(left, right)| {
        binary(
            nested(left.clone()),
            &BinaryOperator::Eq,
            nested(right.clone()),
        )
    });
    all(tests).unwrap_or_else(|| Expr::Tuple(left.to_vec()))
}

pub(super) fn all(tests: impl Iterator<Item = Expr>) -> Option<Expr> {
    tests.reduce(|left, right| binary(left, &BinaryOperator::And, nested(right)))
}

pub(super) fn binary(left: Expr, op: &BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: op.clone(),
        right: Box::new(right),
    }
}

pub(super) fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn negated_if(is_negated: bool, test: Expr) -> Expr {
    match is_negated {
        true => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(nested(test)),
        },
        false => nested(test),
    }
}
