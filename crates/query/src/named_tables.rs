//! The tables that a statement over the lake names, found in its text.

use datafusion::sql::TableReference;
use datafusion::sql::resolve::resolve_table_references;
use forebay_core::{NamedTables, Result, TableName};

use crate::error::{Phase, explain};
use crate::information;
use crate::moving::moving_functions;
use crate::output_names::check_names;
use crate::period_rows::View;
use crate::statement;
use crate::system;
use crate::time_clause::ClausedName;

/// Errors: `Config` when the text is not one `SELECT`, or gives two columns one name.
pub(crate) fn named_tables(sql: &str) -> Result<NamedTables> {
    check_names(&statement::parse(sql)?)?;
    let statement = statement::read_select(sql)?;
    let (tables, _) = resolve_table_references(&statement, true)
        .map_err(|error| explain(&error, Phase::Plan, sql, &[]))?;
    let mut named = NamedTables::default();
    tables.iter().for_each(|table| add(table, &mut named));
    named.moving.extend(moving_functions(&statement));
    Ok(named)
}

/// Adds a table of the lake. Other names are left to the planner, which refuses what does not exist.
fn add(table: &TableReference, named: &mut NamedTables) {
    let Some(namespace) = table.schema().filter(|name| is_of_tables(name)) else {
        return;
    };
    let claused = ClausedName::parse(table.table());
    let name = |name: &str| Some(TableName::new(namespace.parse().ok()?, name.parse().ok()?));
    let Some(own) = name(claused.name) else {
        return;
    };
    if claused.is_new {
        named.new.insert(own.clone());
    }
    let view = View::parse(claused.name);
    if let Some((Some(viewed), view)) = view.map(|(base, view)| (name(base), view)) {
        named.views.insert(own.clone(), viewed);
        if view == View::Now {
            named.moving.insert(own.to_string());
        }
    }
    named.all.insert(own);
}

fn is_of_tables(namespace: &str) -> bool {
    namespace != system::NAMESPACE && namespace != information::NAMESPACE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tables: &[&str]) -> std::collections::BTreeSet<TableName> {
        tables.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn every_table_of_the_lake_is_named_once() {
        let sql = "with a as (select * from s.a where id in (select id from s.b)) \
            select * from a join ${new:s.c} c on true join s.p__now on true \
            join s.d for system_time as of '2026-01-01' d on true join lake.commits on true \
            union all select * from s.a";
        let named = named_tables(sql).unwrap();
        assert_eq!(named.all, names(&["s.a", "s.b", "s.c", "s.d", "s.p__now"]));
        let viewed = named.views.get(&"s.p__now".parse().unwrap());
        assert_eq!(viewed, Some(&"s.p".parse().unwrap()));
        assert_eq!(named.new, names(&["s.c"]));
    }

    #[test]
    fn what_changes_without_a_commit_is_named() {
        let moving = |sql: &str| {
            let named = named_tables(sql).unwrap();
            named.moving.into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(moving("select a, lower(b) from s.t"), "");
        assert_eq!(moving("select now() as n from s.t"), "now");
        let dates = "select a from s.t where d < CURRENT_DATE and e < current_timestamp";
        assert_eq!(moving(dates), "current_date current_timestamp");
        assert_eq!(
            moving("select random() + 1 as r, uuid() as u from s.t"),
            "random uuid"
        );
        assert_eq!(moving("select a from s.t__now"), "s.t__now");
        assert_eq!(moving("select a from s.t__current"), "");
        let within = "with w as (select a from s.t where a in (select now() as n)) select a from w";
        assert_eq!(moving(within), "now");
    }

    #[test]
    fn no_two_columns_have_one_name() {
        for bad in [
            "select id, id from s.t",
            "select id, c AS ID from s.t",
            "select a.id, b.id from s.t a join s.u b on a.x = b.x",
            "select id, id, c AS ID from s.t",
            "select id, \"ID\" from s.t",
            "(select 1 as a, 2 as a) union all select 1, 2",
        ] {
            let error = named_tables(bad).unwrap_err();
            assert_eq!(error.code(), "duplicate_column", "{bad}");
            assert!(error.message().starts_with("1:"), "{}", error.message());
        }
        named_tables("select id, (select id from s.u limit 1) as other from s.t").unwrap();
        named_tables("select a from (select 1 as a, 2 as b, 3 as b2) x").unwrap();
    }

    #[test]
    fn only_a_select_has_tables() {
        for bad in [
            "delete from s.a",
            "select",
            "select 1; select 2",
            "show tables",
        ] {
            assert!(named_tables(bad).is_err(), "{bad}");
        }
    }
}
