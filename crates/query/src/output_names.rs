//! The names of the columns that a statement gives, as it is written.

use std::collections::HashSet;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, SelectItem, SetExpr, Statement as Sql};
use forebay_core::{Error, Result};

/// A table has one column of a name, whatever its letters are: two that differ in case alone are one to most readers.
///
/// Errors: `Config` `duplicate_column`, with line and column.
pub(crate) fn check_names(statement: &Statement) -> Result<()> {
    let Statement::Statement(statement) = statement else {
        return Ok(());
    };
    let Sql::Query(query) = statement.as_ref() else {
        return Ok(());
    };
    let mut seen = HashSet::new();
    for ident in names_of(&query.body) {
        if !seen.insert(ident.value.to_lowercase()) {
            let place = ident.span.start;
            let at = format!("{}:{}: ", place.line, place.column);
            return Err(given_twice(&at, &ident.value));
        }
    }
    Ok(())
}

/// `at` is a line and a column, or nothing.
pub(crate) fn given_twice(at: &str, name: &str) -> Error {
    let what = format!("{at}the statement gives two columns the name `{name}`");
    Error::config("duplicate_column", what).with_hint("give one of them another name with AS")
}

/// The columns that have a name of their own.
fn names_of(body: &SetExpr) -> Vec<&Ident> {
    match body {
        SetExpr::Select(select) => select.projection.iter().filter_map(name_of).collect(),
        SetExpr::Query(query) => names_of(&query.body),
        SetExpr::SetOperation { left, .. } => names_of(left),
        _ => Vec::new(),
    }
}

fn name_of(item: &SelectItem) -> Option<&Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias),
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last(),
        _ => None,
    }
}
