//! Names of columns that no table may have: engines of Iceberg give them to rows as metadata, and Forebay to rows of statements that change
//! tables.

use arrow::datatypes::Schema as ArrowSchema;
use forebay_core::{Error, Result};
use iceberg::spec::Schema;

/// Begins the names of Forebay's own columns.
const OWN_PREFIX: &str = "_forebay_";
/// Metadata columns of the Iceberg specification and of its readers.
const METADATA_COLUMNS: [&str; 10] = [
    "_file",
    "_pos",
    "_deleted",
    "_spec_id",
    "_partition",
    "_row_id",
    "_last_updated_sequence_number",
    "_change_type",
    "_change_ordinal",
    "_commit_snapshot_id",
];

/// Errors: `Config` `reserved_column_name`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let lower = name.to_lowercase();
    if !lower.starts_with(OWN_PREFIX) && !METADATA_COLUMNS.contains(&lower.as_str()) {
        return Ok(());
    }
    let what = format!(
        "no column of a table may be called {name}: readers give this name to metadata of rows"
    );
    Err(Error::config("reserved_column_name", what).with_hint(
        "give the column another name: in SQL by AS, in a pipeline by `transform: [{rename: …}]` or SELECT … AS",
    ))
}

/// The same for the columns that a table does not have yet.
pub(crate) fn check_new_columns(current: Option<&Schema>, incoming: &ArrowSchema) -> Result<()> {
    let is_known = |name: &str| current.is_some_and(|schema| schema.field_by_name(name).is_some());
    let mut new = incoming
        .fields()
        .iter()
        .filter(|field| !is_known(field.name()));
    new.try_for_each(|field| check_name(field.name()))
}
