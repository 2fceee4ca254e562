//! `WITH` queries that hide another one: the inner one gets a name of its own.
//!
//! In SQL a `WITH` query hides one of the same name in a statement around it. The engine has one space of names and refuses the second.
//! Here the inner query and the tables that mean it are renamed; those keep the written name as an alias, so that columns are called
//! as before. A name with a dot is replaced too: the engine takes `FROM a.t` for a `WITH` query that is called `"a.t"`.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Ident, ObjectName, ObjectNamePart, Query, SetExpr, SetOperator, Statement, TableAlias,
    TableFactor, VisitMut, VisitorMut, With, visit_relations,
};
use forebay_core::{Error, Result};

use crate::name::normal;

/// Renames in place. `outside` are names of tables that a `WITH` query hides, too.
///
/// Errors: `Config` `bad_sql` for two queries of one name in one `WITH`.
pub(crate) fn settle(statement: &mut Statement, outside: &[&str]) -> Result<()> {
    let visible = outside.iter().map(|name| Visible {
        name: name.to_lowercase(),
        renamed: None,
    });
    let mut scopes = Scopes {
        visible: visible.collect(),
        open: Vec::new(),
        taken: relations(statement),
    };
    match statement.visit(&mut scopes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// The names of all tables, which a new name must not be.
fn relations(statement: &Statement) -> HashSet<String> {
    let mut names = HashSet::new();
    let _ = visit_relations(statement, |relation| {
        names.extend(single(relation).map(normal));
        ControlFlow::<()>::Continue(())
    });
    names
}

/// The name of a table without a namespace.
fn single(relation: &ObjectName) -> Option<&Ident> {
    match relation.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name),
        _ => None,
    }
}

/// A `WITH` query that can be named at this place.
struct Visible {
    name: String,
    renamed: Option<String>,
}

/// A query that is being visited.
struct OpenQuery {
    /// How many names are visible around it.
    outer: usize,
    /// Its `WITH`, which is visited by hand: each query there sees those before it.
    with: Option<With>,
}

struct Scopes {
    /// Innermost last.
    visible: Vec<Visible>,
    open: Vec<OpenQuery>,
    taken: HashSet<String>,
}

impl Scopes {
    fn enter_with(&mut self, with: &mut With) -> ControlFlow<Box<Error>> {
        let outer = self.visible.len();
        for cte in &mut with.cte_tables {
            self.enter(cte, outer, with.recursive)?;
        }
        ControlFlow::Continue(())
    }

    fn enter(
        &mut self,
        cte: &mut Cte,
        outer: usize,
        is_recursive: bool,
    ) -> ControlFlow<Box<Error>> {
        let name = normal(&cte.alias.name);
        let (around, beside) = self.visible.split_at(outer);
        if beside.iter().any(|other| other.name == name) {
            return ControlFlow::Break(Box::new(twice(&cte.alias.name)));
        }
        let is_hiding = around.iter().any(|other| other.name == name);
        let renamed = (is_hiding || name.contains('.')).then(|| self.free(&name));
        if let Some(renamed) = &renamed {
            cte.alias.name.value.clone_from(renamed);
            cte.alias.name.quote_style = Some('"');
        }
        let visible = Visible { name, renamed };
        match cte.query.body.as_mut() {
            // The first term does not see the query itself.
            SetExpr::SetOperation {
                op: SetOperator::Union,
                left,
                right,
                ..
            } if is_recursive => {
                left.visit(self)?;
                self.visible.push(visible);
                right.visit(self)
            }
            _ => {
                cte.query.visit(self)?;
                self.visible.push(visible);
                ControlFlow::Continue(())
            }
        }
    }

    fn free(&mut self, name: &str) -> String {
        let plain = name.replace('.', "_");
        let mut number = 2_u64;
        loop {
            let numbered = format!("{plain} ({number})");
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
            number += 1;
        }
    }

    fn renamed(&self, name: &Ident) -> Option<String> {
        let name = normal(name);
        let mut innermost = self.visible.iter().rev();
        innermost.find(|other| other.name == name)?.renamed.clone()
    }
}

fn twice(name: &Ident) -> Error {
    let start = name.span.start;
    let message = format!(
        "{}:{}: WITH query name {name} specified more than once",
        start.line, start.column
    );
    Error::config("bad_sql", message).with_hint("give one of them another name")
}

impl VisitorMut for Scopes {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let outer = self.visible.len();
        let mut with = query.with.take();
        let entered = with.as_mut().map(|with| self.enter_with(with));
        self.open.push(OpenQuery { outer, with });
        entered.unwrap_or(ControlFlow::Continue(()))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        if let Some(open) = self.open.pop() {
            self.visible.truncate(open.outer);
            query.with = open.with;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
            && let Some(written) = single(name).cloned()
            && let Some(renamed) = self.renamed(&written)
        {
            let quoted = Ident::with_quote_and_span('"', written.span, renamed);
            *name = ObjectName::from(vec![quoted]);
            alias.get_or_insert_with(|| plain_alias(written));
        }
        ControlFlow::Continue(())
    }
}

fn plain_alias(name: Ident) -> TableAlias {
    TableAlias {
        explicit: true,
        name,
        columns: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    fn check(sql: &str, expected: &str) {
        let mut statement = crate::statement::parse(sql).unwrap();
        let datafusion::sql::parser::Statement::Statement(inner) = &mut statement else {
            panic!("{sql}");
        };
        super::settle(inner, &["input"]).unwrap();
        assert_eq!(statement.to_string(), expected);
    }

    #[test]
    fn only_what_hides_another_is_renamed() {
        check(
            "WITH x AS (SELECT 1 AS n) SELECT * FROM (WITH x AS (SELECT n FROM x) SELECT x.n FROM x) AS q JOIN x AS y ON true",
            "WITH x AS (SELECT 1 AS n) SELECT * FROM (WITH \"x (2)\" AS (SELECT n FROM x) SELECT x.n FROM \"x (2)\" AS x) AS q JOIN x AS y ON true",
        );
        check(
            "WITH input AS (SELECT * FROM input) SELECT * FROM Input",
            "WITH \"input (2)\" AS (SELECT * FROM input) SELECT * FROM \"input (2)\" AS Input",
        );
        check(
            "WITH \"a.t\" AS (SELECT 1) SELECT * FROM \"a.t\", a.t",
            "WITH \"a_t (2)\" AS (SELECT 1) SELECT * FROM \"a_t (2)\" AS \"a.t\", a.t",
        );
        for sql in [
            "(WITH x AS (SELECT 1) SELECT * FROM x) UNION (WITH x AS (SELECT 2) SELECT * FROM x)",
            "WITH x AS (WITH x AS (SELECT 1) SELECT * FROM x) SELECT * FROM x",
            "WITH \"X\" AS (SELECT 1), x AS (SELECT 2) SELECT * FROM x, \"X\"",
        ] {
            check(sql, sql);
        }
    }

    #[test]
    fn a_recursive_query_hides_one_outside_in_its_second_term() {
        check(
            "WITH x AS (SELECT 1 AS n) SELECT (WITH RECURSIVE x AS (SELECT n FROM x UNION ALL SELECT n + 1 FROM x WHERE n < 3) SELECT max(n) FROM x)",
            "WITH x AS (SELECT 1 AS n) SELECT (WITH RECURSIVE \"x (2)\" AS (SELECT n FROM x UNION ALL SELECT n + 1 FROM \"x (2)\" AS x WHERE n < 3) SELECT max(n) FROM \"x (2)\" AS x)",
        );
    }

    #[test]
    fn two_of_one_name_in_one_place_are_refused() {
        let error = crate::statement::read("with x as (select 1), X as (select 2) select * from x");
        let error = error.unwrap_err();
        assert!(
            error.message().starts_with("1:23: WITH query name X"),
            "{error}"
        );
    }
}
