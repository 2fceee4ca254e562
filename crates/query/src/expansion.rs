//! Bounds how large a statement grows once its `WITH` queries are put where they are named.
//!
//! The engine copies such a query to each place that names it, so forty of them that each name the one before twice
//! make a plan of 2^40 tables out of a kilobyte of text.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit, Visitor};
use forebay_core::{Error, Result};

/// Most tables in a statement after expansion.
const TABLES_MAX: u64 = 1_000;

/// Refuses a statement that would grow beyond [`TABLES_MAX`].
pub(crate) fn bound(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Statement(inner) => match inner.visit(&mut Sizes::default()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(too_large()),
        },
        Statement::Explain(explain) => bound(&explain.statement),
        _ => Ok(()),
    }
}

fn too_large() -> Error {
    Error::config("sql_too_large", format!("the statement reads more than {TABLES_MAX} tables once its WITH queries are put in place"))
        .with_hint("name each WITH query fewer times, or store its result as a table")
}

/// Counts tables of each query as they will be once expanded.
#[derive(Default)]
struct Sizes {
    /// Expanded size by name of a `WITH` query. Scopes are not told apart: the larger of two of one name counts.
    known: HashMap<String, u64>,
    /// The name of each `WITH` query that is still to be visited, by where its tree lies.
    names: HashMap<*const Query, String>,
    /// Sizes of the queries that are being visited, outermost first.
    open: Vec<u64>,
}

impl Visitor for Sizes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.names.insert(
                std::ptr::from_ref(cte.query.as_ref()),
                cte.alias.name.value.to_lowercase(),
            );
        }
        self.open.push(0);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let size = self
            .known
            .get(&relation.to_string().replace('"', "").to_lowercase())
            .copied()
            .unwrap_or(1);
        match self.open.last_mut() {
            Some(open) => {
                *open = open.saturating_add(size);
                if *open > TABLES_MAX {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let size = self.open.pop().unwrap_or(0);
        match self.names.remove(&std::ptr::from_ref(query)) {
            Some(name) => {
                let known = self.known.entry(name).or_insert(1);
                *known = size.max(*known);
            }
            None => {
                if let Some(outer) = self.open.last_mut() {
                    *outer = outer.saturating_add(size);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn queries_that_double_at_each_step_are_refused() {
        let mut sql = "with q0 as (select 1 as a from x.t)".to_owned();
        for n in 1..30 {
            sql += &format!(", q{n} as (select l.a from Q{} l, \"q{}\" r)", n - 1, n - 1);
        }
        sql += " select * from q29";
        assert_eq!(
            crate::statement::read(&sql).unwrap_err().code(),
            "sql_too_large"
        );
        let nested = sql.replace("select * from q29", "select (select count(*) from q29)");
        assert_eq!(
            crate::statement::read(&nested).unwrap_err().code(),
            "sql_too_large"
        );
    }

    #[test]
    fn ordinary_statements_pass() {
        let sql = "with a as (select * from x.t), b as (select * from a join a c on true) select * from b union select * from a";
        assert!(crate::statement::read(sql).is_ok());
    }
}
