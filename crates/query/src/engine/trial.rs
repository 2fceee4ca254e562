//! Plans a transform before its columns are known: some statements fail whatever the types of the columns are.
//!
//! Everything that may be the name of a column is taken for one, and all of them have one type at a time. An error that is
//! the same for each type is the statement's own. Columns whose types are declared have those. A column that may be missing, ambiguous or given twice is never one:
//! that depends on the rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::DataFusionError;
use datafusion::execution::session_state::SessionState;
use forebay_core::{Error, ErrorKind, Result};

use super::plan::Planned;
use crate::error::{Phase, explain};
use crate::statement;

/// Null comes first: most statements can be planned with it.
fn types() -> [DataType; 7] {
    let field = |name: &str, kind: DataType| Arc::new(Field::new(name, kind, true));
    [
        DataType::Null,
        DataType::Utf8,
        DataType::Float64,
        DataType::Boolean,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::List(field("element", DataType::Int64)),
        DataType::Struct(Fields::from(vec![field("a", DataType::Int64)])),
    ]
}

/// Checks a transform over the table `input`.
///
/// Errors: those of planning that no types of its columns prevent.
pub(super) fn check(
    state: &SessionState,
    input: &str,
    sql: &str,
    names: &BTreeSet<String>,
    known: &SchemaRef,
) -> Result<()> {
    let trial = Trial {
        state,
        input,
        sql,
        names,
        known,
    };
    let mut own: Option<Error> = None;
    for kind in types() {
        let Some(error) = trial.error(&kind)? else {
            return trial.check_subqueries();
        };
        let error = match fault(&error, sql) {
            Some(error) => error,
            None => return Ok(()),
        };
        if own
            .as_ref()
            .is_some_and(|own| own.message() != error.message())
        {
            return trial.check_subqueries();
        }
        own = Some(error);
    }
    own.map_or(Ok(()), Err)
}

/// A transform that is planned with columns of one type.
struct Trial<'a> {
    state: &'a SessionState,
    input: &'a str,
    sql: &'a str,
    names: &'a BTreeSet<String>,
    known: &'a SchemaRef,
}

impl Trial<'_> {
    /// The known columns, and every other name with this type.
    fn columns(&self, kind: &DataType) -> SchemaRef {
        let known = self.known.fields().iter().cloned();
        let is_open = |name: &&String| self.known.field_with_name(name).is_err();
        let open = self.names.iter().filter(is_open);
        let open = open.map(|name| Arc::new(Field::new(name, kind.clone(), true)));
        Arc::new(Schema::new(known.chain(open).collect::<Vec<_>>()))
    }

    fn error(&self, kind: &DataType) -> Result<Option<DataFusionError>> {
        let statement = statement::select(self.sql)?;
        let columns = self.columns(kind);
        let planned = Planned::new(self.state, self.input, columns, statement, self.sql);
        Ok(futures::executor::block_on(planned).err())
    }

    /// What makes a subquery impossible to join is the same for each type, and hidden by other errors of a wrong one.
    ///
    /// Errors: for a subquery that cannot be joined, unless the statement can be planned with one of the types.
    fn check_subqueries(&self) -> Result<()> {
        if self.sql.to_ascii_lowercase().matches("select").count() < 2 {
            return Ok(());
        }
        let mut own = Ok(());
        for kind in [DataType::Int64, DataType::Utf8] {
            let Some(error) = self.error(&kind)? else {
                return Ok(());
            };
            if let Some(error) = fault(&error, self.sql).filter(is_of_subquery) {
                own = Err(error);
            }
        }
        own
    }
}

fn is_of_subquery(error: &Error) -> bool {
    let is_unsupported = error.kind() == ErrorKind::Unsupported;
    is_unsupported
        && error
            .message()
            .contains("a subquery that refers to the row outside")
}

/// An error that may be the statement's own.
fn fault(error: &DataFusionError, sql: &str) -> Option<Error> {
    if matches!(error.find_root(), DataFusionError::SchemaError(..)) {
        return None;
    }
    let error = explain(error, Phase::Plan, sql, &[]);
    let is_own = matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported);
    is_own.then_some(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use forebay_core::SqlEngine;

    use crate::Engine;

    #[test]
    fn what_fails_for_every_type_is_refused_before_the_first_record() {
        let engine = Engine::new();
        for (sql, message) in [
            ("select id, 'a' + 1 as x from input", "not a valid number"),
            ("select id, cast('x' as int) as x from input", "Cannot cast"),
            (
                "select id, date '2024-13-01' as x from input",
                "Cannot cast",
            ),
            ("select id, upper(1, 2) as x from input", "upper"),
            ("select id, unnest(1) as x from input", "unnest"),
            ("select id from input where 1 + true", "bigint + boolean"),
            (
                "select id from input where 'x'",
                "1:22: a condition is a boolean, not text",
            ),
            ("select id from input order by 5", "out of bounds"),
            (
                "select id from input union all select id, price from input",
                "number of columns",
            ),
            (
                "select id as a, price as a from input union all select id, price from input",
                "1:17: two columns",
            ),
            ("select * from input tablesample (10)", "TABLESAMPLE"),
            (
                "select id, (select x from (values (1, 2), (2, 3)) v(k, x) where v.k < input.id) as x from input",
                "refers to the row outside",
            ),
            (
                "select id, (select x from (values ('a', 2), ('b', 3)) v(k, x) where v.k = input.name limit 2) as x from input",
                "refers to the row outside",
            ),
        ] {
            let error = engine.inspect("input", sql).unwrap_err();
            assert!(error.message().contains(message), "{sql}: {error}");
        }
    }

    #[test]
    fn declared_types_are_those_of_their_columns() {
        let engine = Engine::new();
        let known = Arc::new(Schema::new(vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("ok", DataType::Boolean, true),
        ]));
        for (sql, message) in [
            ("select name - 1 as x from input", "1:8: text - bigint"),
            ("select other, abs(ok) as x from input", "abs"),
            (
                "select other from input where n",
                "1:25: a condition is a boolean, not bigint",
            ),
            (
                "select case when name then 1 end as x from input",
                "1:18: WHEN takes a boolean, not text",
            ),
            (
                "select not n as x from input",
                "NOT takes a boolean, not bigint",
            ),
            ("select other, n + ok as x from input", "bigint + boolean"),
        ] {
            engine.inspect("input", sql).unwrap();
            let error = engine.check_types("input", &known, sql).unwrap_err();
            assert!(error.message().contains(message), "{sql}: {error}");
        }
        for sql in [
            "select name || n as x, other * n as y from input where ok and other",
            "select upper(name) as x, other.a.b as z from input order by n",
        ] {
            engine.check_types("input", &known, sql).unwrap();
        }
    }

    #[test]
    fn what_some_columns_make_valid_is_left_to_the_first_record() {
        let engine = Engine::new();
        for sql in [
            "select a + 1 as a, upper(b) as b, unnest(l) as l, s['k'] as k, m.n.o as o from input",
            "select *, price * 2 as twice from input order by twice",
            "select input.id, v.x from input join (values (1, 'a')) v(k, x) on v.k = input.id and v.x = input.name",
            "select date_trunc('day', at) as day, l[1] as first, array_length(l) as n from input",
            "select case when ok then 1 / 0 else n end as n from input where ok and name like 'a%'",
            "select l && k as both, l @> [1] as has, m['k'] as v, x from input where l <@ k",
            "with q as (select *, n as m from input) select m, m as n2, q.n from q",
            "select id, nosuch as x from input",
            "select id, (select x from (values (1, 'a')) v(k, x) where v.k = input.id) as x, upper(name) as n from input",
            "select id, (select x from (values ('b', 'a')) v(k, x) where v.k = input.name order by x limit 1) as x from input",
        ] {
            engine.inspect("input", sql).unwrap();
        }
    }
}
