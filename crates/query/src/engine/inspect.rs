//! Checks the text of a transform without knowing its columns: that it reads the input row by row, calls functions that
//! there are, and which columns it yields.
//!
//! A transform sees one batch at a time, and how rows come in batches depends on load and limits. So a statement whose answer for
//! one row depends on other rows is refused here. Subqueries that do not read the input may do as they like.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Volatility;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, JoinOperator, ObjectName, Query, Select, SetExpr, SetOperator,
    SetQuantifier, Spanned, TableFactor, TableWithJoins, Visit, Visitor,
};
use forebay_core::{Error, InspectedStatement, Result};

use super::{mentions, outputs, pure};
use crate::error::nearest;
use crate::name::normal;
use crate::rewrite::shadowed;
use crate::statement;

/// Checks a transform over the table `input`.
///
/// Errors: `Config` `sql_not_row_wise`, `bad_sql` with line and column.
pub(super) fn inspect(state: &SessionState, input: &str, sql: &str) -> Result<InspectedStatement> {
    let mut parsed = statement::parse(sql)?;
    let Statement::Statement(inner) = &mut parsed else {
        return Ok(InspectedStatement::default());
    };
    // One name is one table from here on.
    shadowed::settle(inner, &[input])?;
    let mut inspector = Inspector {
        state,
        input,
        readers: HashSet::from([input.to_lowercase()]),
        tables: HashSet::from([input.to_lowercase()]),
        reads: Vec::new(),
    };
    if let ControlFlow::Break(error) = inner.visit(&mut inspector) {
        return Err(*error);
    }
    if !inspector.reads_input(inner.as_ref()) {
        return Err(*inspector.refused(inner.as_ref(), "a query without the input"));
    }
    if let Some((name, at)) = outputs::name_given_twice(inner) {
        let message = format!(
            "{}:{}: two columns are named {name}",
            at.line.max(1),
            at.column.max(1)
        );
        let error = Error::config("bad_sql", message);
        return Err(error.with_hint("give one of them another name with AS"));
    }
    Ok(mentions::of(inner))
}

const KEEPS_OTHERS: &str = "a join that keeps rows without a row of the input";

struct Inspector<'a> {
    state: &'a SessionState,
    input: &'a str,
    /// Names of tables that hold rows of the input.
    readers: HashSet<String>,
    /// Names of tables there are.
    tables: HashSet<String>,
    /// For each query around this place, whether it reads the input.
    reads: Vec<bool>,
}

impl Inspector<'_> {
    fn is_over_input(&self) -> bool {
        self.reads.last().copied().unwrap_or(false)
    }

    fn refused(&self, at: &impl Spanned, what: &str) -> Box<Error> {
        let start = at.span().start;
        let message = format!(
            "{}:{}: {what} would see one batch of `{}` at a time, not all of its rows",
            start.line.max(1),
            start.column.max(1),
            self.input
        );
        let hint = "put it in a query over the loaded table (`forebay sql`), or in a second pipeline with `source: {table: …}` and `load: {postgres: {mode: replace}}`";
        Box::new(Error::config("sql_not_row_wise", message).with_hint(hint))
    }

    fn check_query(&self, query: &Query) -> ControlFlow<Box<Error>> {
        if query.limit_clause.is_some() || query.fetch.is_some() {
            return ControlFlow::Break(self.refused(query, "LIMIT"));
        }
        self.check_body(&query.body)
    }

    fn check_body(&self, body: &SetExpr) -> ControlFlow<Box<Error>> {
        match body {
            other if !self.reads_input(other) => {
                ControlFlow::Break(self.refused(body, "a query without the input"))
            }
            SetExpr::Select(select) => self.check_select(select),
            SetExpr::SetOperation {
                op,
                set_quantifier,
                left,
                right,
            } => {
                let keeps_all = matches!(
                    set_quantifier,
                    SetQuantifier::All | SetQuantifier::AllByName
                );
                if *op != SetOperator::Union || !keeps_all {
                    return ControlFlow::Break(self.refused(body, &format!("{op}")));
                }
                self.check_body(left)?;
                self.check_body(right)
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn check_select(&self, select: &Select) -> ControlFlow<Box<Error>> {
        let is_grouped = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
        };
        let what = if select.distinct.is_some() {
            "DISTINCT"
        } else if is_grouped {
            "GROUP BY"
        } else if select.having.is_some() {
            "HAVING"
        } else if select.qualify.is_some() {
            "QUALIFY"
        } else if select.top.is_some() {
            "TOP"
        } else if self.joins_input(select) {
            "a join of the input with itself"
        } else if select
            .from
            .iter()
            .any(|table| self.keeps_rows_without_input(table))
        {
            KEEPS_OTHERS
        } else if self.has_subquery_over_input(select) {
            "a subquery over the input"
        } else {
            return ControlFlow::Continue(());
        };
        ControlFlow::Break(self.refused(select, what))
    }

    fn joins_input(&self, select: &Select) -> bool {
        let factors = select.from.iter().flat_map(|table| {
            let joined = table.joins.iter().map(|join| &join.relation);
            [&table.relation].into_iter().chain(joined)
        });
        let from = factors.filter(|factor| self.reads_input(*factor)).count();
        from > 1 || (from == 1 && self.has_subquery_over_input(select))
    }

    fn has_subquery_over_input(&self, select: &Select) -> bool {
        let mut subqueries = Subqueries {
            inspector: self,
            found: false,
        };
        let _ = select.projection.visit(&mut subqueries);
        let _ = select.selection.visit(&mut subqueries);
        subqueries.found
    }

    /// Whether a row of another table may be in the answer, or be left out, because of all rows of the input.
    fn keeps_rows_without_input(&self, table: &TableWithJoins) -> bool {
        let mut left = self.reads_input(&table.relation);
        table.joins.iter().any(|join| {
            let right = self.reads_input(&join.relation);
            let is_kept = match join.join_operator {
                JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Semi(_)
                | JoinOperator::LeftSemi(_)
                | JoinOperator::Anti(_)
                | JoinOperator::LeftAnti(_)
                | JoinOperator::OuterApply => right,
                JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::RightSemi(_)
                | JoinOperator::RightAnti(_) => left,
                JoinOperator::FullOuter(_) => left || right,
                _ => false,
            };
            left |= right;
            is_kept
        })
    }

    fn reads_input(&self, node: &impl Visit) -> bool {
        let mut reader = Reads {
            readers: &self.readers,
            found: false,
        };
        let _ = node.visit(&mut reader);
        reader.found
    }

    fn check_function(
        &self,
        call: &datafusion::sql::sqlparser::ast::Function,
    ) -> ControlFlow<Box<Error>> {
        let name = call.name.to_string().to_lowercase();
        let is_aggregate = self.state.aggregate_functions().contains_key(&name);
        let is_window = self.state.window_functions().contains_key(&name);
        let is_known = is_aggregate
            || is_window
            || self.state.scalar_functions().contains_key(&name)
            || SPECIAL_FUNCTIONS.contains(&name.as_str());
        if !is_known {
            return ControlFlow::Break(self.unknown_function(&call.name, &name));
        }
        if self.is_of_the_moment(&name) {
            let start = call.name.span().start;
            let error = pure::refused(&name, start.line.max(1), start.column.max(1));
            return ControlFlow::Break(Box::new(error));
        }
        if !self.is_over_input() {
            return ControlFlow::Continue(());
        }
        if call.over.is_some() {
            return ControlFlow::Break(self.refused(&call.name, "a window function"));
        }
        if is_aggregate {
            return ControlFlow::Break(
                self.refused(&call.name, &format!("the aggregate {name}()")),
            );
        }
        ControlFlow::Continue(())
    }

    /// Whether a function may give another answer on the next run.
    fn is_of_the_moment(&self, name: &str) -> bool {
        let function = self.state.scalar_functions().get(name);
        function.is_some_and(|function| function.signature().volatility != Volatility::Immutable)
    }

    fn unknown_function(&self, at: &ObjectName, name: &str) -> Box<Error> {
        let start = at.span().start;
        let message = format!(
            "{}:{}: unknown function {name}()",
            start.line.max(1),
            start.column.max(1)
        );
        let known = self.state.scalar_functions().keys().map(String::as_str);
        let error = Error::config("bad_sql", message);
        Box::new(match nearest(name, known) {
            Some(near) => error.with_hint(format!("did you mean {near}()?")),
            None => error.with_hint("`forebay sql \"SHOW FUNCTIONS\"` lists the functions"),
        })
    }

    fn unknown_table(&self, at: &ObjectName) -> Box<Error> {
        let start = at.span().start;
        let message = format!(
            "{}:{}: no table {at}: a transform reads `{}` and nothing else",
            start.line.max(1),
            start.column.max(1),
            self.input
        );
        Box::new(Error::config("bad_sql", message).with_hint(format!("write FROM {}", self.input)))
    }
}

/// Functions that the planner knows by name.
const SPECIAL_FUNCTIONS: [&str; 4] = ["unnest", "grouping", "named_struct", "exists"];

impl Visitor for Inspector<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = normal(&cte.alias.name);
            self.tables.insert(name.clone());
            if self.reads_input(cte.query.as_ref()) {
                self.readers.insert(name);
            }
        }
        let reads = self.reads_input(query);
        self.reads.push(reads);
        if reads {
            self.check_query(query)?;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.reads.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::NestedJoin {
                table_with_joins, ..
            } if self.keeps_rows_without_input(table_with_joins) => {
                ControlFlow::Break(self.refused(factor, KEEPS_OTHERS))
            }
            TableFactor::Table {
                name, args: None, ..
            } => {
                let known = name.0.len() == 1
                    && name.0[0]
                        .as_ident()
                        .is_some_and(|ident| self.tables.contains(&normal(ident)));
                if known {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(self.unknown_table(name))
                }
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(call) => self.check_function(call),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether a node names a table that holds rows of the input.
struct Reads<'a> {
    readers: &'a HashSet<String>,
    found: bool,
}

impl Visitor for Reads<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = relation.0.last().and_then(|part| part.as_ident());
        if name.is_some_and(|name| self.readers.contains(&normal(name))) {
            self.found = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Whether an expression has a subquery that reads the input.
struct Subqueries<'a, 'b> {
    inspector: &'a Inspector<'b>,
    found: bool,
}

impl Visitor for Subqueries<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.found |= self.inspector.reads_input(query);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::SqlEngine;

    use crate::Engine;

    #[test]
    fn what_depends_on_other_rows_is_refused_with_its_place() {
        let engine = Engine::new();
        for (sql, message) in [
            (
                "select currency, count(*) from input group by currency",
                "GROUP BY",
            ),
            ("select max(id) from input", "1:8: the aggregate max()"),
            ("select distinct id from input", "DISTINCT"),
            ("select id from input order by id limit 2", "LIMIT"),
            (
                "select id,\n row_number() over () from input",
                "2:2: a window function",
            ),
            (
                "select a.id from input a join input b on a.id = b.id",
                "a join of the input",
            ),
            ("select id from input union select id from input", "UNION"),
            ("select id from input except all select 1", "EXCEPT"),
            (
                "with a as (select * from input) select sum(id) from a",
                "the aggregate sum()",
            ),
            (
                "select id from input where id in (select id from input)",
                "a join of the input",
            ),
            (
                "select id from input union all select 99",
                "a query without the input",
            ),
            (
                "with c as (select 1 as id) select id from input union all (select id from c)",
                "a query without the input",
            ),
            (
                "select id from (select id from input union all values (9)) t",
                "a query without the input",
            ),
            (
                "select k as id from (values (1)) v(k)",
                "a query without the input",
            ),
            (
                "select t.id from (values (1)) t(id) left join input on input.id = t.id",
                "a join that keeps rows",
            ),
            (
                "select t.id from input right join (values (1)) t(id) on input.id = t.id",
                "a join that keeps rows",
            ),
            (
                "select t.id from (input full join (values (1)) t(id) on input.id = t.id)",
                "a join that keeps rows",
            ),
            (
                "select id from (values (1)) t(id) where not exists (select 1 from input where input.id = t.id)",
                "a subquery over the input",
            ),
            (
                "select id, (select count(*) from input) from (values (1)) t(id)",
                "a subquery over the input",
            ),
        ] {
            let error = engine.inspect("input", sql).unwrap_err();
            assert_eq!(error.code(), "sql_not_row_wise", "{sql}: {error}");
            assert!(error.message().contains(message), "{sql}: {error}");
            assert!(error.hint().is_some(), "{sql}");
        }
    }

    #[test]
    fn unknown_functions_and_tables_are_found_without_columns() {
        let engine = Engine::new();
        for (sql, message) in [
            (
                "select strftime(at) from input",
                "1:8: unknown function strftime()",
            ),
            ("select id from orders", "1:16: no table orders"),
            ("select id from shop.input", "1:16: no table shop.input"),
        ] {
            let error = engine.inspect("input", sql).unwrap_err();
            assert!(error.message().starts_with(message), "{sql}: {error}");
        }
    }

    #[test]
    fn functions_of_the_moment_and_names_given_twice_are_found_without_columns() {
        let engine = Engine::new();
        for (sql, code, message) in [
            (
                "select id, now() as n from input",
                "not_deterministic",
                "1:12: now()",
            ),
            (
                "select id, random() as n from input",
                "not_deterministic",
                "1:12: random()",
            ),
            (
                "select\n uuid() as n from input",
                "not_deterministic",
                "2:2: uuid()",
            ),
            (
                "select current_date as d from input",
                "not_deterministic",
                "1:8: current_date()",
            ),
            (
                "select id from input where at < current_timestamp",
                "not_deterministic",
                "1:33:",
            ),
            (
                "select (select max(random()) from (values (1)) t(v)) as r from input",
                "not_deterministic",
                "1:20: random()",
            ),
            (
                "select id as a, id + 1 as A from input",
                "bad_sql",
                "1:17: two columns are named a",
            ),
            (
                "select id + 1, id + 1 from input",
                "bad_sql",
                "1:16: two columns are named id + 1",
            ),
        ] {
            let error = engine.inspect("input", sql).unwrap_err();
            assert_eq!(error.code(), code, "{sql}: {error}");
            assert!(error.message().starts_with(message), "{sql}: {error}");
            assert!(error.hint().is_some(), "{sql}");
        }
        for sql in [
            "select id, id from input",
            "select a.id, n.id from input a cross join (values (1)) n(id)",
            "select id as a, \"A\" from input",
            "select * from input union all select * from input",
        ] {
            assert!(engine.inspect("input", sql).is_ok(), "{sql}");
        }
    }

    #[test]
    fn made_columns_are_those_that_the_statement_reads_nowhere() {
        let engine = Engine::new();
        let inspected = |sql| engine.inspect("input", sql).unwrap();
        let sql = "select id, amount * 1.19 as gross, lower(name) as name from input";
        assert_eq!(inspected(sql).made, ["gross"]);
        let sql = "select amount * 1.19 as gross from input where input.gross is null";
        assert_eq!(inspected(sql).made, Vec::<String>::new());
        assert_eq!(
            inspected(
                "select id, at - \"Then\" as d, interval '1 day' as i from input where id > 1"
            )
            .parts,
            [
                "SELECT at - \"Then\" AS d FROM input WHERE id > 1",
                "SELECT INTERVAL '1 day' AS i FROM input WHERE id > 1",
            ]
        );
    }

    #[test]
    fn row_wise_statements_pass_and_tell_their_columns() {
        let engine = Engine::new();
        let columns = |sql| engine.inspect("input", sql).unwrap().columns;
        assert_eq!(
            columns(
                "select id, upper(Name) as \"N\", input.At from input where id > 1 order by id"
            ),
            Some(vec!["id".to_owned(), "N".to_owned(), "at".to_owned()])
        );
        assert_eq!(columns("select *, id + 1 as next from input"), None);
        for sql in [
            "select unnest(items) as item from input",
            "select a.id, n.v from input a cross join (values (1), (2)) n(v)",
            "select id from input union all select id + 1 from input",
            "select id, (select max(v) from (values (1), (2)) t(v)) as top from input",
            "with a as (select id from input) select case when id > 1 then 1 end as x from a",
        ] {
            assert!(engine.inspect("input", sql).is_ok(), "{sql}");
        }
    }
}
