//! `(a, b) IN (SELECT c, d …)`: the planner takes no subquery of several columns, so it becomes tests for rows.
//!
//! A row is found where all columns are equal. It may be there, and the answer is unknown, where no column differs and some are null.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use datafusion::execution::SessionStateDefaults;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, SetExpr, TableFactor, UnaryOperator, visit_expressions,
};
use datafusion::sql::sqlparser::parser::Parser;
use forebay_core::Error;

use super::calls::name_of;
use super::rows::{all, binary, equal, nested, row};
use super::unsupported;
use crate::dialect::ForebayDialect;

/// Rewrites conditions of `WHERE` that must be true, where unknown is as good as false: one test is enough.
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
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => {
            if let Some(test) = member(expr).and_then(|member| member.is_true(true)) {
                *condition = test;
            }
        }
        _ => {
            if let Some(test) = member(condition).and_then(|member| member.is_true(false)) {
                *condition = test;
            }
        }
    }
}

/// Rewrites such a test in any other place to its value: true, false or null.
pub(super) fn settle(expr: &mut Expr) {
    if let Some(value) = member(expr).and_then(|member| member.value()) {
        *expr = value;
    }
}

/// Errors: `Unsupported` for a row with an aggregate or a window function, which no subquery can read.
pub(super) fn check(expr: &Expr) -> ControlFlow<Box<Error>> {
    let Some(member) = member(expr) else {
        return ControlFlow::Continue(());
    };
    let mut items = member.row.iter();
    match items.any(|item| visit_expressions(item, find_aggregate).is_break()) {
        true => ControlFlow::Break(unsupported(
            expr,
            "an aggregate in (a, b) IN (SELECT …) is not supported",
            "compute it in a subquery: SELECT … FROM (SELECT k, count(*) AS n … GROUP BY k) AS g WHERE (k, n) IN (SELECT …)",
        )),
        false => ControlFlow::Continue(()),
    }
}

fn find_aggregate(expr: &Expr) -> ControlFlow<()> {
    match expr {
        Expr::Function(call) if call.over.is_some() || is_aggregate(&name_of(call)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    }
}

/// Whether the engine, or Postgres, has an aggregate of this name.
fn is_aggregate(name: &str) -> bool {
    static NAMES: OnceLock<HashSet<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let all = SessionStateDefaults::default_aggregate_functions();
        let mut names = HashSet::from(["every".to_owned(), "variance".to_owned()]);
        for function in all {
            names.extend(function.aliases().iter().cloned());
            names.insert(function.name().to_owned());
        }
        names
    });
    names.contains(name)
}

/// A row that is looked for.
struct RowMember<'a> {
    row: &'a [Expr],
    subquery: &'a Query,
    is_negated: bool,
}

fn member(expr: &Expr) -> Option<RowMember<'_>> {
    match expr {
        Expr::Nested(inner) => member(inner),
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } => Some(RowMember {
            row: row(expr)?,
            subquery,
            is_negated: *negated,
        }),
        _ => None,
    }
}

impl RowMember<'_> {
    /// A test that is true where this one is, or where its negation is.
    fn is_true(&self, is_negated: bool) -> Option<Expr> {
        match self.is_negated == is_negated {
            true => self.exists(equal),
            false => Some(Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr: Box::new(nested(self.exists(may_equal)?)),
            }),
        }
    }

    fn value(&self) -> Option<Expr> {
        let template = match self.is_negated {
            true => "CASE WHEN true THEN false WHEN true THEN NULL ELSE true END",
            false => "CASE WHEN true THEN true WHEN true THEN NULL ELSE false END",
        };
        let mut made = parsed(template)?;
        let Expr::Case { conditions, .. } = &mut made else {
            return None;
        };
        conditions.first_mut()?.condition = self.exists(equal)?;
        conditions.last_mut()?.condition = self.exists(may_equal)?;
        Some(made)
    }

    /// Whether the subquery has a row for which the test of its columns and this row is true.
    fn exists(&self, test: fn(&[Expr], &[Expr]) -> Expr) -> Option<Expr> {
        let names = (0..self.row.len()).map(|at| format!("__member_{at}"));
        let names: Vec<String> = names.collect();
        let columns = names.join(", ");
        let template =
            format!("EXISTS (SELECT 1 FROM (SELECT 1) AS __members ({columns}) WHERE true)");
        let mut made = parsed(&template)?;
        let Expr::Exists { subquery, .. } = &mut made else {
            return None;
        };
        let SetExpr::Select(select) = subquery.body.as_mut() else {
            return None;
        };
        match &mut select.from.first_mut()?.relation {
            TableFactor::Derived { subquery: rows, .. } => **rows = self.subquery.clone(),
            _ => return None,
        }
        let members = names.iter();
        let members = members.map(|name| Expr::Identifier(name.as_str().into()));
        let members: Vec<Expr> = members.collect();
        select.selection = Some(test(&members, self.row));
        Some(made)
    }
}

fn parsed(template: &str) -> Option<Expr> {
    let mut parser = Parser::new(&ForebayDialect).try_with_sql(template).ok()?;
    parser.parse_expr().ok()
}

/// Whether no column of two rows differs: each is equal, or null on one side.
fn may_equal(left: &[Expr], right: &[Expr]) -> Expr {
    let tests = left.iter().zip(right).map(|(left, right)| {
        let left = nested(left.clone());
        let right = nested(right.clone());
        let is_null = binary(
            Expr::IsNull(Box::new(left.clone())),
            &BinaryOperator::Or,
            Expr::IsNull(Box::new(right.clone())),
        );
        let is_equal = binary(left, &BinaryOperator::Eq, right);
        nested(binary(is_equal, &BinaryOperator::Or, is_null))
    });
    all(tests).unwrap_or_else(|| Expr::Tuple(left.to_vec()))
}
