//! `(a, b) = (c, d)` and `(a, b) IN (…)`: columns side by side, compared one by one with the nulls of SQL. The engine makes structs of
//! them, in which nulls equal each other, and takes no subquery of several columns.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, SetExpr, TableFactor, UnaryOperator,
};
use datafusion::sql::sqlparser::parser::Parser;
use forebay_core::Error;

use super::unsupported;
use crate::dialect::ForebayDialect;

/// Rows of a list that are compared one by one.
const ROWS_MAX: usize = 16;

const HINT: &str = "write NOT EXISTS (SELECT 1 FROM … WHERE c = a AND d = b), or IN as a condition of WHERE of its own";

/// Compares rows that are written out.
pub(super) fn settle(expr: &mut Expr) {
    match expr {
        Expr::BinaryOp {
            left,
            op: op @ (BinaryOperator::Eq | BinaryOperator::NotEq),
            right,
        } => {
            if let (Some(left), Some(right)) = (row(left), row(right))
                && left.len() == right.len()
            {
                let is_equal = equal(left, right);
                *expr = match op {
                    BinaryOperator::NotEq => not(is_equal),
                    _ => Expr::Nested(Box::new(is_equal)),
                };
            }
        }
        Expr::InList {
            expr: value,
            list,
            negated,
        } if list.len() <= ROWS_MAX => {
            let Some(value) = row(value) else {
                return;
            };
            let rows: Option<Vec<&[Expr]>> = list.iter().map(row).collect();
            let rows = rows.filter(|rows| rows.iter().all(|row| row.len() == value.len()));
            let tests = rows.map(|rows| rows.into_iter().map(|row| equal(value, row)));
            let Some(any) = tests.and_then(|tests| join(tests, &BinaryOperator::Or)) else {
                return;
            };
            *expr = match negated {
                true => not(any),
                false => Expr::Nested(Box::new(any)),
            };
        }
        _ => {}
    }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(Expr::Nested(Box::new(expr))),
    }
}

fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(items) if items.len() > 1 => Some(items),
        Expr::Nested(inner) => row(inner),
        _ => None,
    }
}

fn equal(left: &[Expr], right: &[Expr]) -> Expr {
    let tests = left.iter().zip(right).map(|(left, right)| Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(left.clone()))),
        op: BinaryOperator::Eq,
        right: Box::new(Expr::Nested(Box::new(right.clone()))),
    });
    join(tests, &BinaryOperator::And).unwrap_or_else(|| Expr::Tuple(left.to_vec()))
}

fn join(tests: impl Iterator<Item = Expr>, op: &BinaryOperator) -> Option<Expr> {
    tests.reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: op.clone(),
        right: Box::new(Expr::Nested(Box::new(right))),
    })
}

/// Rewrites conditions of `WHERE` that must be true, where unknown is as good as false.
pub(super) fn settle_conditions(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            if let Some(condition) = &mut select.selection {
                settle_condition(condition);
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            settle_conditions(left);
            settle_conditions(right);
        }
        _ => {}
    }
}

fn settle_condition(condition: &mut Expr) {
    match condition {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            right,
        } => {
            settle_condition(left);
            settle_condition(right);
        }
        Expr::Nested(inner) => settle_condition(inner),
        Expr::InSubquery {
            expr,
            subquery,
            negated: false,
        } => {
            if let Some(exists) = row(expr).and_then(|row| exists(row, subquery)) {
                *condition = exists;
            }
        }
        _ => {}
    }
}

/// Errors: `Unsupported` for a row that is looked for in a subquery in another place.
pub(super) fn check(expr: &Expr) -> ControlFlow<Box<Error>> {
    match expr {
        Expr::InSubquery { expr: value, .. } if row(value).is_some() => {
            let message = "several columns in IN (SELECT …) are not supported here";
            ControlFlow::Break(unsupported(expr, message, HINT))
        }
        _ => ControlFlow::Continue(()),
    }
}

fn exists(row: &[Expr], subquery: &Query) -> Option<Expr> {
    let names: Vec<String> = (0..row.len()).map(|at| format!("__member_{at}")).collect();
    let columns = names.join(", ");
    let template = format!("EXISTS (SELECT 1 FROM (SELECT 1) AS __members ({columns}) WHERE true)");
    let mut parser = Parser::new(&ForebayDialect).try_with_sql(&template).ok()?;
    let mut made = parser.parse_expr().ok()?;
    let Expr::Exists { subquery: test, .. } = &mut made else {
        return None;
    };
    let SetExpr::Select(select) = test.body.as_mut() else {
        return None;
    };
    match &mut select.from.first_mut()?.relation {
        TableFactor::Derived { subquery: rows, .. } => **rows = subquery.clone(),
        _ => return None,
    }
    let members: Vec<Expr> = names
        .into_iter()
        .map(|name| Expr::Identifier(name.as_str().into()))
        .collect();
    select.selection = Some(equal(&members, row));
    Some(made)
}
