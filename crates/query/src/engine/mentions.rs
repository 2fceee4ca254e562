//! The columns that a transform names, and those that it passes through.
//!
//! From the text alone, without knowing the columns: a name may turn out to be something else. Reported columns surely pass through.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, SelectItem, SetExpr, Statement, TableFactor, Value, Visit, Visitor,
};
use forebay_core::InspectedStatement;

use super::outputs;
use crate::name::normal;
use crate::rewrite::wildcard::is_plain_star;

/// The columns that the statement mentions.
pub(super) fn of(statement: &Statement) -> InspectedStatement {
    let mut mentions = Mentions::default();
    let _ = statement.visit(&mut mentions);
    let plain = plain_select(statement);
    let passed = plain.map_or_else(BTreeSet::new, |select| mentions.passed(select));
    let names = mentions.counts.into_keys().collect();
    InspectedStatement {
        columns: outputs::columns(statement),
        made: outputs::made(statement, &names),
        parts: outputs::parts(statement),
        passed,
        passes_others: plain.is_some_and(has_plain_star),
        names,
    }
}

/// How often each name occurs.
#[derive(Default)]
struct Mentions {
    counts: BTreeMap<String, usize>,
}

impl Mentions {
    fn note(&mut self, name: String) {
        *self.counts.entry(name).or_default() += 1;
    }

    /// Columns that are in the select list by themselves and nowhere else.
    fn passed(&self, select: &Select) -> BTreeSet<String> {
        let items = select.projection.iter().filter_map(|item| match item {
            SelectItem::UnnamedExpr(expr) => column_name(expr),
            SelectItem::ExprWithAlias { expr, alias } => {
                column_name(expr).filter(|name| *name == normal(alias))
            }
            _ => None,
        });
        items
            .filter(|name| self.counts.get(name) == Some(&1))
            .collect()
    }
}

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.note(normal(name)),
            Expr::CompoundIdentifier(parts) => {
                parts.iter().for_each(|name| self.note(normal(name)));
            }
            // `object['name']`
            Expr::Value(value) => {
                if let Value::SingleQuotedString(text) = &value.value {
                    self.note(text.clone());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The statement when it is one `SELECT` from one table.
fn plain_select(statement: &Statement) -> Option<&Select> {
    let Statement::Query(query) = statement else {
        return None;
    };
    let Query {
        with: None, body, ..
    } = query.as_ref()
    else {
        return None;
    };
    let SetExpr::Select(select) = body.as_ref() else {
        return None;
    };
    let is_plain = match select.from.as_slice() {
        [from] => from.joins.is_empty() && matches!(from.relation, TableFactor::Table { .. }),
        _ => false,
    };
    is_plain.then_some(select)
}

fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(normal(name)),
        _ => None,
    }
}

fn has_plain_star(select: &Select) -> bool {
    let is_star = |item: &SelectItem| match item {
        SelectItem::Wildcard(options) => is_plain_star(options),
        _ => false,
    };
    select.projection.iter().any(is_star)
}

#[cfg(test)]
mod tests {
    use forebay_core::SqlEngine;

    use crate::Engine;

    #[test]
    fn what_is_named_and_what_passes_is_read_from_the_text() {
        for (sql, passed, passes_others, names) in [
            ("select * from input", "", true, ""),
            ("select a, B as b, c as d from input", "a b", false, "a b c"),
            ("select a, \"A\" from input where a > 1", "A", false, "A a"),
            ("select *, a * 2 as twice from input", "", true, "a"),
            ("select * exclude (a) from input", "", false, ""),
            (
                "select o['x'] as y, t.z as z from input t",
                "",
                false,
                "o t x z",
            ),
            (
                "with q as (select * from input) select a from q",
                "",
                false,
                "a",
            ),
            (
                "select a from input union all select b from input",
                "",
                false,
                "a b",
            ),
        ] {
            let found = Engine::new().inspect("input", sql).unwrap();
            let joined = |names: &std::collections::BTreeSet<String>| {
                names.iter().cloned().collect::<Vec<_>>().join(" ")
            };
            assert_eq!(joined(&found.passed), passed, "{sql}");
            assert_eq!(found.passes_others, passes_others, "{sql}");
            assert_eq!(joined(&found.names), names, "{sql}");
        }
    }
}
