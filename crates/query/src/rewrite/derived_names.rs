//! `(SELECT …) AS t(a, b)`: the names as those of the select list. The planner reads the names that it replaces as identifiers, and so
//! finds no `NULL` and no `"Id"` among columns.

use datafusion::sql::sqlparser::ast::{
    GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, TableAliasColumnDef, TableFactor,
};

/// Gives the columns of a derived table their names, as far as each is one item of a list.
pub(super) fn settle(factor: &mut TableFactor) {
    let TableFactor::Derived {
        subquery,
        alias: Some(alias),
        ..
    } = factor
    else {
        return;
    };
    let is_typed = |column: &TableAliasColumnDef| column.data_type.is_some();
    if alias.columns.iter().any(is_typed) {
        return;
    }
    let names = alias.columns.iter().map(|column| column.name.clone());
    let names: Vec<Ident> = names.collect();
    if let Some(select) = first_select(subquery).filter(|select| has_items(select, names.len())) {
        for (item, name) in select.projection.iter_mut().zip(names) {
            rename(item, name);
        }
    }
}

/// The list that names the columns of a query. One that is sorted may be sorted by the names that it has.
fn first_select(query: &mut Query) -> Option<&mut Select> {
    if query.order_by.is_some() {
        return None;
    }
    let mut body = query.body.as_mut();
    loop {
        match body {
            SetExpr::Select(select) => return Some(select.as_mut()),
            SetExpr::SetOperation { left, .. } => body = left.as_mut(),
            _ => return None,
        }
    }
}

/// Groups may be called by a name of the list, which stays as it is then.
fn has_items(select: &Select, count: usize) -> bool {
    let mut items = select.projection.iter();
    let has_groups = match &select.group_by {
        GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
        GroupByExpr::All(_) => true,
    };
    !has_groups
        && select.projection.len() == count
        && items.all(|item| matches!(item, SelectItem::UnnamedExpr(_)))
}

fn rename(item: &mut SelectItem, alias: Ident) {
    if let SelectItem::UnnamedExpr(expr) = item {
        *item = SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias,
        };
    }
}
