//! `WITH RECURSIVE t(n) AS (…)`: the names reach the recursive term, which the engine names after the first one.

use datafusion::sql::sqlparser::ast::{Cte, Query, SetExpr, SetOperator, Statement, TableFactor};
use datafusion::sql::sqlparser::parser::Parser;

use crate::dialect::ForebayDialect;

/// The first term with the names of the columns, for each recursive table that has some.
pub(super) fn name_first_terms(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else {
        return;
    };
    for table in &mut with.cte_tables {
        let _ = name_first_term(table);
    }
}

/// `SELECT * FROM (first term) AS t(n)`; `None` for a table without a recursive term.
fn name_first_term(table: &mut Cte) -> Option<()> {
    let SetExpr::SetOperation {
        op: SetOperator::Union,
        left,
        ..
    } = table.query.body.as_mut()
    else {
        return None;
    };
    if table.alias.columns.is_empty() {
        return None;
    }
    let parsed = Parser::parse_sql(&ForebayDialect, "SELECT * FROM (SELECT 1) AS t").ok()?;
    let Some(Statement::Query(named)) = parsed.into_iter().next() else {
        return None;
    };
    let mut named = *named;
    let SetExpr::Select(select) = named.body.as_mut() else {
        return None;
    };
    let TableFactor::Derived {
        subquery,
        alias: Some(alias),
        ..
    } = &mut select.from.first_mut()?.relation
    else {
        return None;
    };
    *alias = table.alias.clone();
    std::mem::swap(&mut subquery.body, left);
    *left = named.body;
    Some(())
}
