//! The names that a statement gives columns of a table: one rule for `CREATE TABLE`, `CREATE TABLE AS` and `ALTER TABLE`, at every depth.
//!
//! Loads rename such columns, because records cannot be asked; a statement can be written again.

use std::collections::HashSet;

use arrow::datatypes::{DataType, Fields, Schema};
use forebay_core::data_type::list_element;
use forebay_core::{Error, Result};
use forebay_lake::check_new_column;

use crate::output_names::given_twice;

/// The columns that a statement declares.
///
/// Errors: `Config` `bad_new_name`, `duplicate_column`.
pub(super) fn check_declared(schema: &Schema) -> Result<()> {
    check_fields(schema.fields(), &check_new_column)
}

/// The columns of a query. One may have a dot, and two may differ in case only, as columns of loaded tables do, so that every table can be
/// copied: the later of two is renamed as by a load.
///
/// Errors: `Config` `bad_new_name`.
pub(super) fn check_copied(schema: &Schema) -> Result<()> {
    let check = |name: &str| check_new_column(&name.replace('.', "_"));
    for field in schema.fields() {
        check(field.name())?;
        check_kind(field.data_type(), &check)?;
    }
    Ok(())
}

/// The type of a column that a statement declares.
///
/// Errors: `Config` `bad_new_name`, `duplicate_column`.
pub(super) fn check_type(kind: &DataType) -> Result<()> {
    check_kind(kind, &check_new_column)
}

fn check_fields(fields: &Fields, check: &dyn Fn(&str) -> Result<()>) -> Result<()> {
    let mut seen = HashSet::new();
    for field in fields {
        check(field.name())?;
        // Many engines ignore case.
        if !seen.insert(field.name().to_lowercase()) {
            return Err(given_twice("", field.name()));
        }
        check_kind(field.data_type(), check)?;
    }
    Ok(())
}

fn check_kind(kind: &DataType, check: &dyn Fn(&str) -> Result<()>) -> Result<()> {
    match kind {
        DataType::Struct(fields) => check_fields(fields, check),
        DataType::Map(entries, _) => check_kind(entries.data_type(), check),
        kind => list_element(kind).map_or(Ok(()), |element| check_kind(element.data_type(), check)),
    }
}

/// Errors: `Config` `bad_sql` for a column whose name a table has at this place.
pub(super) fn already_named(table: &str, name: &str) -> Error {
    let what = format!("{table} has a column {name} already");
    Error::config("bad_sql", what).with_hint("choose another name")
}
