//! `VALUES` with subqueries, which the engine does not plan: such a row becomes a `SELECT` of its own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Values, visit_expressions,
};
use datafusion::sql::sqlparser::parser::Parser;
use forebay_core::Error;

use super::unsupported;
use crate::dialect::ForebayDialect;

/// Most rows of one `VALUES` that have subqueries: each is planned on its own.
const ROWS_MAX: usize = 100;

/// Errors: `Unsupported` for more rows with subqueries than are planned.
pub(super) fn settle(body: &mut SetExpr) -> ControlFlow<Box<Error>> {
    let SetExpr::Values(values) = body else {
        return ControlFlow::Continue(());
    };
    let with_subqueries = values.rows.iter().filter(|row| has_subquery(row)).count();
    if with_subqueries == 0 {
        return ControlFlow::Continue(());
    }
    if with_subqueries > ROWS_MAX {
        let what = format!("VALUES with subqueries in more than {ROWS_MAX} rows is not supported");
        let hint = "write SELECT … UNION ALL SELECT …, or join the table that the subqueries read";
        return ControlFlow::Break(unsupported(&values.rows[0][0], &what, hint));
    }
    let parts = parts(values);
    if let Some(union) = parts.and_then(union_of) {
        *body = union;
    }
    ControlFlow::Continue(())
}

fn has_subquery(row: &[Expr]) -> bool {
    let find = |expr: &Expr| match expr {
        Expr::Subquery(_)
        | Expr::InSubquery { .. }
        | Expr::Exists { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    row.iter()
        .any(|cell| visit_expressions(cell, find).is_break())
}

/// The rows in order: runs of those without subqueries as `VALUES`, each of the others as a `SELECT`.
fn parts(values: &Values) -> Option<Vec<SetExpr>> {
    let mut parts = Vec::new();
    for run in values
        .rows
        .chunk_by(|a, b| !has_subquery(a) && !has_subquery(b))
    {
        parts.push(match run {
            [row] if has_subquery(row) => SetExpr::Select(Box::new(select(row)?)),
            rows => SetExpr::Values(Values {
                rows: rows.to_vec(),
                ..values.clone()
            }),
        });
    }
    Some(parts)
}

/// The columns have the names of those of `VALUES`.
fn select(row: &[Expr]) -> Option<Select> {
    let mut parser = Parser::new(&ForebayDialect).try_with_sql("SELECT 1").ok()?;
    let query = parser.parse_query().ok()?;
    let SetExpr::Select(mut select) = *query.body else {
        return None;
    };
    let items = (1..)
        .zip(row)
        .map(|(number, cell)| SelectItem::ExprWithAlias {
            expr: cell.clone(),
            alias: Ident::new(format!("column{number}")),
        });
    select.projection = items.collect();
    Some(*select)
}

/// A balanced tree: a plan of one row within the other would be as deep as there are rows.
fn union_of(mut parts: Vec<SetExpr>) -> Option<SetExpr> {
    match parts.len() {
        0 | 1 => parts.pop(),
        count => {
            let right = parts.split_off(count / 2);
            Some(SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left: Box::new(union_of(parts)?),
                right: Box::new(union_of(right)?),
            })
        }
    }
}
