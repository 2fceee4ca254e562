//! Clauses that the parser reads and the planner ignores: each is refused, since a statement without it has another answer.
//!
//! The parser's structures are taken apart field by field, without `..`: a field that a new version of it has does not compile until
//! it is carried out or refused. What the planner refuses itself is left to it.

mod function;
mod item;
mod select;
mod table;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, ExprWithAliasAndOrderBy, OrderBy, OrderByKind, OrderByOptions, PipeOperator, Query,
    SetExpr, SetOperator, SetQuantifier, Spanned, With,
};
use forebay_core::Error;

use super::unsupported;

pub(super) use function::check as check_function;
pub(super) use table::check as check_table;
pub(super) use table::of_function;

type Checked = ControlFlow<Box<Error>>;

/// Errors: `Unsupported` for a clause of this query that would be ignored; subqueries are queries of their own.
pub(super) fn check_query(query: &Query) -> Checked {
    let Query {
        with,
        body,
        order_by,
        // Refused by the planner where it is not `LIMIT` and `OFFSET`.
        limit_clause: _,
        // `LIMIT` by another name.
        fetch: _,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    if let Some(lock) = locks.first() {
        let hint = "leave it out: a statement reads one state of the lake, which nothing changes";
        return refuse(query, lock, hint);
    }
    if let Some(clause) = for_clause {
        return refuse(
            query,
            clause,
            "leave it out, and use `forebay sql --format json`",
        );
    }
    if settings.is_some() {
        return refuse(query, "SETTINGS", "set [sql] in forebay.toml");
    }
    if let Some(clause) = format_clause {
        return refuse(
            query,
            clause,
            "leave it out, and use `forebay sql --format`",
        );
    }
    if let Some(with) = with {
        check_with(with)?;
    }
    check_body(body)?;
    check_order(query, body, order_by.as_ref())?;
    pipe_operators
        .iter()
        .try_for_each(|pipe| check_pipe(query, pipe))
}

fn refuse(at: &impl Spanned, what: impl ToString, hint: &str) -> Checked {
    let message = format!("{} is not supported", what.to_string().trim());
    ControlFlow::Break(unsupported(at, &message, hint))
}

fn check_with(with: &With) -> Checked {
    let With {
        with_token: _,
        recursive,
        cte_tables,
    } = with;
    cte_tables.iter().try_for_each(|cte| {
        let Cte {
            alias,
            query,
            from,
            // How it is computed, not what.
            materialized: _,
            closing_paren_token: _,
        } = cte;
        table::check_alias(Some(alias))?;
        if let Some(from) = from {
            return refuse(
                query.as_ref(),
                format!("FROM {from} behind a WITH query"),
                "write it within",
            );
        }
        match recursive {
            true => check_recursive(query),
            false => ControlFlow::Continue(()),
        }
    })
}

/// The planner takes the two terms of such a query, and nothing around them.
fn check_recursive(query: &Query) -> Checked {
    let is_union = matches!(
        query.body.as_ref(),
        SetExpr::SetOperation {
            op: SetOperator::Union,
            ..
        }
    );
    let has_more = query.with.is_some()
        || query.order_by.is_some()
        || query.limit_clause.is_some()
        || query.fetch.is_some()
        || !query.pipe_operators.is_empty();
    match is_union && has_more {
        true => refuse(
            query,
            "WITH, ORDER BY or LIMIT in a query of WITH RECURSIVE",
            "write it in the query that reads from it, and end the recursion with WHERE",
        ),
        false => ControlFlow::Continue(()),
    }
}

fn check_body(body: &SetExpr) -> Checked {
    match body {
        SetExpr::Select(select) => select::check(select),
        SetExpr::SetOperation {
            op: _,
            set_quantifier: _,
            left,
            right,
        } => {
            check_body(left)?;
            check_body(right)
        }
        // A query is checked as one, and values have no clauses.
        SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
        // Refused by the planner.
        SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => ControlFlow::Continue(()),
    }
}

fn check_order(query: &Query, body: &SetExpr, order_by: Option<&OrderBy>) -> Checked {
    let Some(OrderBy {
        kind,
        // Refused by the planner.
        interpolate: _,
    }) = order_by
    else {
        return ControlFlow::Continue(());
    };
    let is_all = match kind {
        OrderByKind::All(_) => true,
        OrderByKind::Expressions(_) => false,
    };
    match is_all && !matches!(body, SetExpr::Select(_)) {
        true => refuse(query, "ORDER BY ALL behind UNION", "name the columns"),
        false => ControlFlow::Continue(()),
    }
}

fn check_pipe(query: &Query, pipe: &PipeOperator) -> Checked {
    match pipe {
        PipeOperator::Select { exprs } | PipeOperator::Extend { exprs } => {
            exprs.iter().try_for_each(item::check)
        }
        PipeOperator::Join(join) => table::check_join(join),
        PipeOperator::Aggregate {
            full_table_exprs,
            group_by_expr,
        } => {
            let mut all = full_table_exprs.iter().chain(group_by_expr);
            match all.any(is_ordered) {
                true => refuse(
                    query,
                    "an order in |> AGGREGATE",
                    "write |> ORDER BY behind it",
                ),
                false => ControlFlow::Continue(()),
            }
        }
        PipeOperator::Except { set_quantifier, .. }
        | PipeOperator::Intersect { set_quantifier, .. }
            if *set_quantifier == SetQuantifier::All =>
        {
            let hint = "leave ALL out, or number the rows with row_number()";
            refuse(query, "EXCEPT ALL and INTERSECT ALL", hint)
        }
        // Carried out in full, or refused by the planner.
        _ => ControlFlow::Continue(()),
    }
}

fn is_ordered(item: &ExprWithAliasAndOrderBy) -> bool {
    let OrderByOptions { asc, nulls_first } = item.order_by;
    asc.is_some() || nulls_first.is_some()
}
