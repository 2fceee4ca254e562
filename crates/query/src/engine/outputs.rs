//! The columns that the text of a transform yields: names that are given twice, columns that it makes, and statements that yield one
//! of them each. Never inspects types.

use std::collections::{BTreeSet, HashSet};

use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, SelectItem, SetExpr, Spanned, Statement,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::name::normal;

/// Computed columns whose types are inferred; the types of later ones are known with the first rows.
const PARTS_MAX: usize = 200;

/// The columns of the statement when each has a name of its own.
pub(super) fn columns(statement: &Statement) -> Option<Vec<String>> {
    let Statement::Query(query) = statement else {
        return None;
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(normal(ident)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(normal),
        _ => None,
    };
    select.projection.iter().map(name).collect()
}

/// A name that two computed columns have, and where the second is.
pub(super) fn name_given_twice(statement: &Statement) -> Option<(String, Location)> {
    let Statement::Query(query) = statement else {
        return None;
    };
    given_twice_in(&query.body)
}

fn given_twice_in(body: &SetExpr) -> Option<(String, Location)> {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return given_twice_in(&query.body),
        SetExpr::SetOperation { left, right, .. } => {
            return given_twice_in(left).or_else(|| given_twice_in(right));
        }
        _ => return None,
    };
    let mut seen = HashSet::new();
    let items = select.projection.iter();
    let mut named = items.filter_map(|item| Some((computed_name(item)?, item)));
    let (name, item) = named.find(|(name, _)| !seen.insert(name.clone()))?;
    Some((name, item.span().start))
}

/// The name of a computed column.
fn computed_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
        SelectItem::UnnamedExpr(expr) => Some(expr.to_string()),
        _ => None,
    }
}

/// Names given with `AS` that are not used as a column elsewhere.
pub(super) fn made(statement: &Statement, mentioned: &BTreeSet<String>) -> Vec<String> {
    let items = select(statement).map(|select| select.projection.iter());
    let names = items.into_iter().flatten().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        _ => None,
    });
    names.filter(|name| !mentioned.contains(name)).collect()
}

/// The statement with one of its computed columns each.
pub(super) fn parts(statement: &Statement) -> Vec<String> {
    let Statement::Query(query) = statement else {
        return Vec::new();
    };
    let items = select(statement).map(|select| select.projection.iter());
    let computed = items.into_iter().flatten().filter(|item| match item {
        SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) => !is_column(expr),
        _ => false,
    });
    let parts = computed.filter_map(|item| part(query, item));
    parts.take(PARTS_MAX).collect()
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn part(query: &Query, item: &SelectItem) -> Option<String> {
    let mut part = query.clone();
    part.order_by = None;
    let SetExpr::Select(select) = part.body.as_mut() else {
        return None;
    };
    select.projection = vec![item.clone()];
    Some(part.to_string())
}

fn select(statement: &Statement) -> Option<&Select> {
    let Statement::Query(query) = statement else {
        return None;
    };
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}
