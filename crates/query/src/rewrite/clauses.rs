//! Clauses of standard SQL that the planner refuses: `FETCH FIRST`, which is `LIMIT`, and `COLLATE "C"`, which is the order of texts
//! here.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Fetch, LimitClause, Query, Value};
use forebay_core::Error;

use super::unsupported;

/// Names of the order by characters.
const COLLATIONS: [&str; 4] = ["c", "posix", "ucs_basic", "default"];

/// Errors: `Unsupported` for `WITH TIES`, `PERCENT` and a `LIMIT` beside it.
pub(super) fn limit_of_fetch(query: &mut Query) -> ControlFlow<Box<Error>> {
    let Some(fetch) = query.fetch.take() else {
        return ControlFlow::Continue(());
    };
    let offset = match query.limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset {
            limit: None,
            offset,
            limit_by,
        }) if limit_by.is_empty() => offset,
        Some(_) => return ControlFlow::Break(refused(query, "FETCH beside LIMIT")),
    };
    let Fetch {
        with_ties,
        percent,
        quantity,
    } = fetch;
    if with_ties {
        return ControlFlow::Break(refused(query, "FETCH … WITH TIES"));
    }
    if percent {
        return ControlFlow::Break(refused(query, "FETCH … PERCENT"));
    }
    let one = || Expr::value(Value::Number("1".to_owned(), false));
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit: Some(quantity.unwrap_or_else(one)),
        offset,
        limit_by: Vec::new(),
    });
    ControlFlow::Continue(())
}

fn refused(query: &Query, what: &str) -> Box<Error> {
    unsupported(
        query,
        &format!("{what} is not supported"),
        "write FETCH FIRST n ROWS ONLY; for ties, filter by rank() OVER (ORDER BY …) in a query around this one",
    )
}

/// Errors: `Unsupported` for another collation.
pub(super) fn without_collation(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    let Expr::Collate {
        expr: text,
        collation,
    } = expr
    else {
        return ControlFlow::Continue(());
    };
    let last = collation.0.last().and_then(|part| part.as_ident());
    let name = last.map_or_else(String::new, |ident| ident.value.to_lowercase());
    if COLLATIONS.contains(&name.as_str()) {
        *expr = Expr::Nested(Box::new(std::mem::replace(
            text.as_mut(),
            Expr::value(Value::Null),
        )));
        return ControlFlow::Continue(());
    }
    let message = format!("COLLATE {collation} is not supported");
    let hint = "texts are compared by their characters, as with COLLATE \"C\"; write lower(x) to ignore case";
    ControlFlow::Break(unsupported(expr, &message, hint))
}
