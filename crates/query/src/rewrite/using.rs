//! `SELECT *` over `JOIN … USING`: the columns of the list once, with the value of the left side.
//!
//! The planner leaves out the ones of the table whose name sorts last, so that a row without a partner in a `LEFT JOIN` may have null for its
//! key, and another key behind further joins twice. Here `*` becomes `t.*` for each table, without what it has in common with those before it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins,
    WildcardAdditionalOptions,
};
use forebay_core::Error;

use super::unsupported;
use super::wildcard::is_plain_star;
use crate::name::normal;
use crate::outside::change_outside;
use crate::time_clause::MARK;

/// Writes the tables of `*` in every `SELECT` of a query that is not a subquery of its own.
///
/// Errors: `Unsupported` for an outer join whose columns cannot be told from the statement.
pub(super) fn settle(body: &mut SetExpr) -> ControlFlow<Box<Error>> {
    match body {
        SetExpr::Select(select) => settle_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            settle(left)?;
            settle(right)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn settle_select(select: &mut Select) -> ControlFlow<Box<Error>> {
    name_side(select);
    let stars = select.projection.iter().filter_map(|item| match item {
        SelectItem::Wildcard(options) => Some(options),
        _ => None,
    });
    let stars: Vec<_> = stars.collect();
    if stars.is_empty() {
        return ControlFlow::Continue(());
    }
    let is_plain = stars.into_iter().all(is_plain_star);
    let joins = select.from.iter().flat_map(|from| &from.joins);
    let mut merged = joins.filter_map(|join| Merge::of(&join.join_operator));
    let Some(any) = merged.next() else {
        return ControlFlow::Continue(());
    };
    let is_outer = any.is_outer || merged.any(|merge| merge.is_outer);
    let items = is_plain.then(|| items_of(&select.from)).flatten();
    let Some(items) = items else {
        // Both sides of an inner join have the same value.
        return match is_outer {
            true => ControlFlow::Break(unsupported(
                &*select,
                "* over an outer join whose sides have columns in common",
                "list the columns, or name each table (SELECT t.*, u.* EXCLUDE (id)) and join with USING",
            )),
            false => ControlFlow::Continue(()),
        };
    };
    let projection = std::mem::take(&mut select.projection);
    for item in projection {
        match item {
            SelectItem::Wildcard(_) => select.projection.extend(items.iter().cloned()),
            other => select.projection.push(other),
        }
    }
    ControlFlow::Continue(())
}

/// Names the left table before a column of the list in `WHERE`, where the planner finds two.
fn name_side(select: &mut Select) {
    let ([from], Some(condition)) = (select.from.as_slice(), &mut select.selection) else {
        return;
    };
    let Some(table) = table_name(&from.relation) else {
        return;
    };
    let columns = columns_of_all(from);
    change_outside(condition, |part| {
        if let Expr::Identifier(name) = part
            && columns.iter().any(|column| column.value == normal(name))
        {
            let whole = table.iter().cloned().chain([name.clone()]);
            *part = Expr::CompoundIdentifier(whole.collect());
        }
    });
}

/// A join that merges columns of its sides.
struct Merge<'a> {
    is_outer: bool,
    /// `None` for `NATURAL`.
    columns: Option<&'a [ObjectName]>,
}

impl<'a> Merge<'a> {
    fn of(operator: &'a JoinOperator) -> Option<Self> {
        let (constraint, is_outer) = match operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (constraint, false),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                (constraint, true)
            }
            // Others are refused, or have the rows of one side only.
            _ => return None,
        };
        let columns = match constraint {
            JoinConstraint::Using(columns) => Some(columns.as_slice()),
            JoinConstraint::Natural => None,
            _ => return None,
        };
        Some(Self { is_outer, columns })
    }
}

/// The items that `*` stands for; `None` where they cannot be told without the tables.
fn items_of(from: &[TableWithJoins]) -> Option<Vec<SelectItem>> {
    let mut items = Vec::new();
    for from in from {
        let shared = columns_of_all(from);
        let first = table_name(&from.relation)?;
        for column in &shared {
            let whole = first.iter().cloned().chain([column.clone()]);
            items.push(SelectItem::UnnamedExpr(Expr::CompoundIdentifier(
                whole.collect(),
            )));
        }
        items.push(all_but(first, shared));
        for join in &from.joins {
            let is_one_sided = matches!(
                join.join_operator,
                JoinOperator::Semi(_)
                    | JoinOperator::LeftSemi(_)
                    | JoinOperator::RightSemi(_)
                    | JoinOperator::Anti(_)
                    | JoinOperator::LeftAnti(_)
                    | JoinOperator::RightAnti(_)
            );
            if is_one_sided {
                return None;
            }
            let merged = match Merge::of(&join.join_operator) {
                Some(merge) => merge.columns?.iter().map(column_name).collect(),
                None => Some(Vec::new()),
            };
            items.push(all_but(table_name(&join.relation)?, merged?));
        }
    }
    Some(items)
}

/// The columns that every table of a `FROM` is joined by, which come first; none where the joins differ.
fn columns_of_all(from: &TableWithJoins) -> Vec<Ident> {
    let lists = from.joins.iter().map(|join| {
        let merge = Merge::of(&join.join_operator)?;
        merge.columns?.iter().map(column_name).collect()
    });
    let lists: Option<Vec<Vec<Ident>>> = lists.collect();
    match lists.as_deref() {
        Some([first, others @ ..]) if others.iter().all(|other| other == first) => first.clone(),
        _ => Vec::new(),
    }
}

fn column_name(name: &ObjectName) -> Option<Ident> {
    let [part] = name.0.as_slice() else {
        return None;
    };
    Some(Ident::with_quote('"', normal(part.as_ident()?)))
}

/// The name by which a table of `FROM` is known.
fn table_name(factor: &TableFactor) -> Option<Vec<Ident>> {
    match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => Some(vec![alias.name.clone()]),
        TableFactor::Table {
            name,
            alias: None,
            args: None,
            ..
        } => {
            let parts = name.0.iter().map(|part| part.as_ident().cloned());
            let parts = parts.collect::<Option<Vec<Ident>>>()?;
            // A table of another state gets its name as alias later.
            let is_pinned = parts.last()?.value.contains(MARK);
            Some(match is_pinned {
                true => parts.last().cloned().into_iter().collect(),
                false => parts,
            })
        }
        _ => None,
    }
}

fn all_but(table: Vec<Ident>, merged: Vec<Ident>) -> SelectItem {
    let options = WildcardAdditionalOptions {
        opt_exclude: (!merged.is_empty()).then_some(ExcludeSelectItem::Multiple(merged)),
        ..WildcardAdditionalOptions::default()
    };
    let kind = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(table));
    SelectItem::QualifiedWildcard(kind, options)
}
