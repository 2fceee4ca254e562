//! The tables that a statement over the lake names, found in its text.

use datafusion::sql::TableReference;
use datafusion::sql::resolve::resolve_table_references;
use forebay_core::{NamedTables, Result, TableName};

use crate::error::{Phase, explain};
use crate::information;
use crate::period_rows::View;
use crate::statement;
use crate::system;
use crate::time_clause::ClausedName;

/// Errors: `Config` when the text is not one `SELECT`.
pub(crate) fn named_tables(sql: &str) -> Result<NamedTables> {
    let statement = statement::read_select(sql)?;
    let (tables, _) = resolve_table_references(&statement, true)
        .map_err(|error| explain(&error, Phase::Plan, sql, &[]))?;
    let mut named = NamedTables::default();
    tables.iter().for_each(|table| add(table, &mut named));
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
    if let Some(viewed) = View::parse(claused.name).and_then(|(base, _)| name(base)) {
        named.views.insert(own.clone(), viewed);
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
