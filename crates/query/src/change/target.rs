//! The table that a statement changes: its name, and whether it may be changed.

use datafusion::sql::sqlparser::ast::{ObjectName, Spanned};
use forebay_core::{Error, Result, TableName};
use forebay_lake::bitemporal::is_bitemporal;
use forebay_lake::{OWNER_PROPERTY, Table, is_system_namespace};

use super::{ChangeOptions, ChangeStatement};
use crate::name::normal;

/// The name of a table, which has a namespace.
///
/// Errors: `Config` `bad_sql`, `system_table`.
pub(super) fn table_name(name: &ObjectName) -> Result<TableName> {
    let idents = name.0.iter().map(|part| part.as_ident().map(normal));
    let idents: Option<Vec<String>> = idents.collect();
    let parsed = match idents.as_deref() {
        Some([namespace, table]) => namespace
            .parse()
            .and_then(|namespace| Ok(TableName::new(namespace, table.parse()?))),
        _ => Err(Error::config("bad_sql", "a name without a namespace")),
    };
    let start = name.span().start;
    let place = format!("{}:{}", start.line.max(1), start.column.max(1));
    let parsed = parsed.map_err(|_| {
        let what = format!("{place}: {name} is not the name of a table in a namespace");
        Error::config("bad_sql", what)
            .with_hint("write namespace.table, in lower case letters, digits and _")
    })?;
    if is_system_namespace(parsed.namespace.as_str()) {
        let what = format!("{place}: {parsed} is kept by Forebay itself and cannot be changed");
        return Err(Error::config("system_table", what)
            .with_hint("write into a table of another namespace"));
    }
    Ok(parsed)
}

/// Errors: `Config` `table_is_bitemporal`, `table_in_use`.
pub(super) fn check_changeable(
    table: &Table,
    statement: &ChangeStatement,
    options: &ChangeOptions,
) -> Result<()> {
    let name = table.name();
    let verb = statement.verb();
    if is_bitemporal(table) && statement.changes_rows() {
        let what = format!(
            "{verb} is refused: {name} is bitemporal, what was believed stays readable in it"
        );
        return Err(Error::config("table_is_bitemporal", what).with_hint(
            "load a correction by its pipeline: a row with the key, its period and the new values, or one that the `delete` of `mode: bitemporal` marks",
        ));
    }
    if is_bitemporal(table) {
        let what = format!(
            "DROP TABLE is refused: {name} is bitemporal, what was believed would go with it"
        );
        return Err(Error::config("table_is_bitemporal", what).with_hint(format!(
            "`forebay tables drop {name} --force --yes` drops it, `forebay tables undrop {name}` brings it back"
        )));
    }
    let properties = table.properties();
    let Some(owner) = properties.get(OWNER_PROPERTY) else {
        return Ok(());
    };
    match options.is_forced {
        true => Ok(()),
        false => {
            let what =
                format!("{verb} is refused: a pipeline loads {name} (its main table is {owner})");
            Err(Error::config("table_in_use", what).with_hint(
                "change the pipeline, or write the result into a table of its own; --force changes this one: a rebuild brings the rows of the pipeline back as they were",
            ))
        }
    }
}

pub(super) fn no_such_table(name: &TableName) -> Error {
    Error::not_found("no_such_table", format!("table {name} does not exist"))
        .with_hint("run SHOW TABLES to list the tables, or CREATE TABLE")
}
