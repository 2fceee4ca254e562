//! `SELECT t.* FROM s.t`: the planner knows the table by its whole name only.

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

use crate::name::normal;
use crate::time_clause::MARK;

/// Whether `*` stands without `EXCLUDE`, `REPLACE` and the like.
pub(crate) fn is_plain_star(options: &WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
}

/// Writes the whole name before `.*`, in every `SELECT` of a query that is not a subquery of its own.
pub(super) fn settle(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => settle_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            settle(left);
            settle(right);
        }
        _ => {}
    }
}

fn settle_select(select: &mut Select) {
    let mut tables = Vec::new();
    for from in &select.from {
        add_tables(from, &mut tables);
    }
    for item in &mut select.projection {
        if let SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(qualifier),
            _,
        ) = item
            && let [ObjectNamePart::Identifier(name)] = qualifier.0.as_slice()
            && let Some(whole) = whole_name(name, &tables)
        {
            *qualifier = whole;
        }
    }
}

/// A table of `FROM` by the name that a column of it has, and its whole name where it has no alias.
type Known = (String, Option<ObjectName>);

/// `None` where several tables, or one with this alias, may be meant.
fn whole_name(name: &Ident, tables: &[Known]) -> Option<ObjectName> {
    let wanted = normal(name);
    let mut meant = tables.iter().filter(|(known, _)| *known == wanted);
    match (meant.next(), meant.next()) {
        (Some((_, whole)), None) => whole.clone(),
        _ => None,
    }
}

fn add_tables(from: &TableWithJoins, tables: &mut Vec<Known>) {
    let joined = from.joins.iter().map(|join| &join.relation);
    for factor in std::iter::once(&from.relation).chain(joined) {
        match factor {
            TableFactor::Table {
                name, alias: None, ..
            } => tables.extend(of_name(name)),
            TableFactor::Table {
                alias: Some(alias), ..
            }
            | TableFactor::Derived {
                alias: Some(alias), ..
            } => tables.push((normal(&alias.name), None)),
            TableFactor::NestedJoin {
                table_with_joins, ..
            } => add_tables(table_with_joins, tables),
            _ => {}
        }
    }
}

fn of_name(name: &ObjectName) -> Option<Known> {
    let last = name.0.last()?.as_ident()?;
    // A table of another state gets its name as alias later.
    let is_whole = name.0.len() > 1 && !last.value.contains(MARK);
    Some((normal(last), is_whole.then(|| name.clone())))
}
