//! Bounds how large and how deep a statement grows once its `WITH` queries are put where they are named.
//!
//! The engine copies such a query to each place that names it, so forty of them that each name the one before twice
//! make a plan of 2^40 tables out of a kilobyte of text, and a thousand that each name the one before a plan of a thousand levels.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, Visit, Visitor};
use forebay_core::{Error, Result};

use crate::depth::NESTING_MAX;

/// Most tables in a statement after expansion.
const TABLES_MAX: u64 = 1_000;

/// Most `CASE`, `COALESCE` and subqueries that are values, within each other, and most `WITH` within each other: the engine takes twice the
/// time for each further one.
const BRANCHES_MAX: usize = 14;

/// Most columns of a `CUBE`: it groups by every subset of them.
const CUBE_MAX: usize = 10;

/// `(a, b) IN (SELECT …)` becomes a `CASE` of two `EXISTS`, each with a copy of the subquery.
const ROW_BRANCHES: usize = 4;

/// Functions that the engine plans as a `CASE`.
const BRANCHING_FUNCTIONS: [&str; 3] = ["coalesce", "nvl", "ifnull"];

/// Refuses a statement that would grow beyond [`TABLES_MAX`], or to more queries within each other than [`NESTING_MAX`].
pub(crate) fn bound(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Statement(inner) => match inner.visit(&mut Sizes::default()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(refused) => Err(refused),
        },
        Statement::Explain(explain) => bound(&explain.statement),
        _ => Ok(()),
    }
}

fn too_large() -> Error {
    Error::config(
        "sql_too_large",
        format!(
            "the statement reads more than {TABLES_MAX} tables once its WITH queries are expanded"
        ),
    )
    .with_hint("name each WITH query fewer times, or store its result as a table")
}

fn too_deep() -> Error {
    Error::config("sql_too_deep", format!("the statement has more than {NESTING_MAX} nested queries once its WITH queries are expanded"))
        .with_hint("do more in each WITH query, or store the result of one as a table")
}

fn too_branched() -> Error {
    Error::config(
        "sql_too_deep",
        format!(
            "the statement has more than {BRANCHES_MAX} nested CASE, COALESCE, subqueries or WITH"
        ),
    )
    .with_hint("write one CASE with many WHEN, or store the result of a part as a table")
}

fn cube_too_large() -> Error {
    Error::config(
        "sql_too_large",
        format!("CUBE has more than {CUBE_MAX} columns, and groups by every subset of them"),
    )
    .with_hint("write the GROUPING SETS that you need")
}

/// How many times an expression is planned in two ways, both of which contain its children.
fn branches(expr: &Expr) -> usize {
    match expr {
        Expr::InSubquery { expr, .. } if is_row(expr) => ROW_BRANCHES,
        Expr::Case { .. } | Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => 1,
        Expr::Function(call) => {
            let name = call.name.to_string().to_lowercase();
            usize::from(BRANCHING_FUNCTIONS.contains(&name.as_str()))
        }
        _ => 0,
    }
}

fn is_row(expr: &Expr) -> bool {
    match expr {
        Expr::Tuple(_) => true,
        Expr::Nested(inner) => is_row(inner),
        _ => false,
    }
}

/// The size of a query once expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    tables: u64,
    /// Queries within each other below it.
    levels: usize,
}

impl Size {
    const TABLE: Self = Self {
        tables: 1,
        levels: 0,
    };

    fn add(&mut self, part: Self) {
        self.tables = self.tables.saturating_add(part.tables);
        self.levels = self.levels.max(part.levels);
    }

    fn max(self, other: Self) -> Self {
        Self {
            tables: self.tables.max(other.tables),
            levels: self.levels.max(other.levels),
        }
    }
}

/// Counts tables and levels of each query as they will be once expanded.
#[derive(Default)]
struct Sizes {
    /// Expanded size by name of a `WITH` query. Scopes are not distinguished: the larger of two of one name counts.
    known: HashMap<String, Size>,
    /// The name of each `WITH` query that is still to be visited, by the address of its tree.
    names: HashMap<*const Query, String>,
    /// Sizes of the queries that are being visited, outermost first.
    open: Vec<Size>,
    /// How many expressions that branch, and queries with `WITH`, are around this place.
    branches: usize,
    withs: usize,
}

impl Sizes {
    /// Adds a part to the query that is being visited.
    fn add(&mut self, part: Size) -> ControlFlow<Error> {
        let Some(open) = self.open.last_mut() else {
            return ControlFlow::Continue(());
        };
        open.add(part);
        match *open {
            Size { tables, .. } if tables > TABLES_MAX => ControlFlow::Break(too_large()),
            Size { levels, .. } if levels > NESTING_MAX => ControlFlow::Break(too_deep()),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for Sizes {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.names.insert(
                std::ptr::from_ref(cte.query.as_ref()),
                cte.alias.name.value.to_lowercase(),
            );
        }
        self.open.push(Size::default());
        self.withs += usize::from(query.with.is_some());
        match self.withs > BRANCHES_MAX {
            true => ControlFlow::Break(too_branched()),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        self.branches += branches(expr);
        match expr {
            _ if self.branches > BRANCHES_MAX => ControlFlow::Break(too_branched()),
            Expr::Cube(sets) if sets.len() > CUBE_MAX => ControlFlow::Break(cube_too_large()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        self.branches -= branches(expr);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Error> {
        let name = relation.to_string().replace('"', "").to_lowercase();
        self.add(self.known.get(&name).copied().unwrap_or(Size::TABLE))
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        let mut size = self.open.pop().unwrap_or_default();
        size.levels += 1;
        self.withs -= usize::from(query.with.is_some());
        match self.names.remove(&std::ptr::from_ref(query)) {
            Some(name) => {
                let known = self.known.entry(name).or_insert(Size::TABLE);
                *known = size.max(*known);
                ControlFlow::Continue(())
            }
            None => self.add(size),
        }
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
    fn queries_that_build_on_each_other_are_refused_beyond_a_depth() {
        let chain = |count: usize| {
            let mut sql = "with q0 as (select 1 as a)".to_owned();
            for n in 1..count {
                sql += &format!(", q{n} as (select a + 1 as a from q{})", n - 1);
            }
            sql + &format!(" select a from q{}", count - 1)
        };
        assert!(crate::statement::read(&chain(64)).is_ok());
        for deep in [chain(66), chain(1_000), format!("explain {}", chain(1_000))] {
            let error = crate::statement::read(&deep).unwrap_err();
            assert_eq!(error.code(), "sql_too_deep");
        }
    }

    #[test]
    fn what_doubles_the_time_of_planning_is_bounded() {
        let nested = |count: usize, open: &str, inner: &str, close: &str| {
            format!(
                "select {}{inner}{}",
                open.repeat(count),
                close.repeat(count)
            )
        };
        for (open, inner, close) in [
            ("case when true then ", "1", " end"),
            ("case when false then 1 else ", "1", " end"),
            ("coalesce(null, ", "1", ")"),
            ("(select ", "1", ")"),
            ("exists (select ", "1", ")"),
            ("1 in (select ", "1", ")"),
            ("(with q as (select ", "1", ") select * from q)"),
        ] {
            assert!(
                crate::statement::read(&nested(6, open, inner, close)).is_ok(),
                "{open}"
            );
            let error = crate::statement::read(&nested(20, open, inner, close)).unwrap_err();
            assert_eq!(error.code(), "sql_too_deep", "{open}");
        }
        let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
        let cube = format!("select 1 from x.t group by cube ({})", names.join(", "));
        assert_eq!(
            crate::statement::read(&cube).unwrap_err().code(),
            "sql_too_large"
        );
        let whens = "when true then 1 ".repeat(200);
        assert!(crate::statement::read(&format!("select case {whens} end")).is_ok());
    }

    #[test]
    fn ordinary_statements_pass() {
        let sql = "with a as (select * from x.t), b as (select * from a join a c on true) select * from b union select * from a";
        assert!(crate::statement::read(sql).is_ok());
    }
}
