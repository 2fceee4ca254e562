//! Names within a clause of `MERGE` whose pairs have one side only: the other side is not visible there, and its columns would be null.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, TableFactor, Visit, Visitor};
use forebay_core::{Error, Result};

use crate::name::normal;
use crate::outside::change_outside;
use crate::time_clause::MARK;

/// The name by which columns of a factor are qualified: its alias, or that of its table.
pub(super) fn factor_name(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table {
            alias: None, name, ..
        } => {
            let mut last = name.0.last()?.as_ident()?.clone();
            // A clause about time is part of the name.
            if let Some((plain, _)) = last.value.split_once(MARK) {
                last.value = plain.to_owned();
            }
            Some(last)
        }
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => {
            alias.as_ref().map(|alias| alias.name.clone())
        }
        _ => None,
    }
}

/// The side that the pairs of a clause do not have.
pub(super) struct HiddenSide<'a> {
    pub(super) name: &'a Ident,
    pub(super) clause: &'static str,
}

/// The expression with its names as those of the visible side.
///
/// Errors: `Config` `bad_sql` for a column of the hidden side.
pub(super) fn of_side(mut expr: Expr, visible: &Ident, hidden: &HiddenSide<'_>) -> Result<Expr> {
    let mut found = FoundNames::default();
    let _ = Visit::visit(&expr, &mut found);
    let name = normal(hidden.name);
    let is_hidden = found.outside.contains(&name)
        || found.inside.contains(&name) && !found.tables.contains(&name);
    if is_hidden {
        let what = format!("{} has no row of {name}", hidden.clause);
        return Err(Error::config("bad_sql", what).with_hint(format!(
            "read columns of {} there, or write the condition into ON",
            normal(visible)
        )));
    }
    // Names within subqueries may be of tables there.
    change_outside(&mut expr, |part| {
        if let Expr::Identifier(name) = part {
            *part = Expr::CompoundIdentifier(vec![visible.clone(), name.clone()]);
        }
    });
    Ok(expr)
}

/// The tables that columns of an expression are read from, as far as they are named.
#[derive(Default)]
struct FoundNames {
    depth: usize,
    outside: HashSet<String>,
    /// The same within subqueries, and the tables there.
    inside: HashSet<String>,
    tables: HashSet<String>,
}

impl Visitor for FoundNames {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.tables.extend(factor_name(factor).as_ref().map(normal));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expr
            && let Some(first) = names.first()
        {
            let names = match self.depth {
                0 => &mut self.outside,
                _ => &mut self.inside,
            };
            names.insert(normal(first));
        }
        ControlFlow::Continue(())
    }
}
