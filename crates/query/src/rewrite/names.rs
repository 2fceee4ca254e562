//! The names of a select list: an unnamed expression is called by its text, and no two columns have one name.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, Select, SelectFlavor, SelectItem, SetExpr, WildcardAdditionalOptions,
};
use forebay_core::Error;

use super::{Reader, unsupported};
use crate::name::normal;

/// Longest name made of a text, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Names the columns of every `SELECT` of a query that is not a subquery of its own.
pub(super) fn settle(body: &mut SetExpr, reader: Reader) -> ControlFlow<Box<Error>> {
    match body {
        SetExpr::Select(select) => settle_select(select, reader),
        SetExpr::SetOperation { left, right, .. } => {
            settle(left, reader)?;
            settle(right, reader)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn settle_select(select: &mut Select, reader: Reader) -> ControlFlow<Box<Error>> {
    if select.flavor == SelectFlavor::FromFirstNoSelect {
        let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
        select.flavor = SelectFlavor::Standard;
        select.projection = vec![all];
    }
    if select.projection.is_empty() {
        return ControlFlow::Break(unsupported(
            select,
            "SELECT without columns",
            "write SELECT * for all columns",
        ));
    }
    let has_wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_)));
    let mut taken: HashSet<String> = select.projection.iter().filter_map(given_name).collect();
    let mut seen = HashSet::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        if is_unnest(expr) {
            continue;
        }
        let name = match column(expr) {
            Some(name) => {
                let is_repeated =
                    has_wildcard || taken.contains(&name) || !seen.insert(name.clone());
                if !is_repeated {
                    continue;
                }
                free(&name, &mut taken, &mut seen, true)
            }
            None if reader == Reader::Table && !is_hidden_name(expr) => continue,
            None => free(&shown(expr), &mut taken, &mut seen, false),
        };
        *item = SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias: Ident::with_quote('"', name),
        };
    }
    ControlFlow::Continue(())
}

/// A cast has the name of its operand: in a table `SELECT x, cast(x as int)` would be one name twice.
fn is_hidden_name(expr: &Expr) -> bool {
    matches!(expr, Expr::Cast { expr, .. } if column(expr).is_some())
}

fn given_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        _ => None,
    }
}

fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(normal(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(normal),
        _ => None,
    }
}

fn is_unnest(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(Function { name, .. }) if name.to_string().eq_ignore_ascii_case("unnest"))
}

fn shown(expr: &Expr) -> String {
    let text = expr.to_string();
    match text.char_indices().nth(NAME_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// The name, or the first of `name_2`, `name_3`, … that no column has.
fn free(
    name: &str,
    taken: &mut HashSet<String>,
    seen: &mut HashSet<String>,
    is_repeated: bool,
) -> String {
    if !is_repeated && !taken.contains(name) && seen.insert(name.to_owned()) {
        taken.insert(name.to_owned());
        return name.to_owned();
    }
    let mut number = 2_u64;
    loop {
        let numbered = format!("{name}_{number}");
        if taken.insert(numbered.clone()) {
            return numbered;
        }
        number += 1;
    }
}
