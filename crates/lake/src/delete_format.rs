//! Whether rows of a table may be deleted by position deletes in Parquet, as every commit here deletes rows.
//!
//! Version 1 of the Iceberg format has no deletes of rows: its readers would take a delete file for rows. In version 3 readers ignore position
//! deletes of a data file that has a deletion vector, so the rows would stay. Never looks at files.

use forebay_core::{Error, Result, TableName};
use iceberg::spec::{FormatVersion, TableMetadata};

/// Code of the error for a table of another version of the format.
pub const ROW_DELETES_UNSUPPORTED: &str = "row_deletes_unsupported";

/// Errors: `Unsupported` `row_deletes_unsupported`.
pub(crate) fn check_row_deletes(table: &TableMetadata) -> Result<()> {
    let version = table.format_version();
    if version == FormatVersion::V2 {
        return Ok(());
    }
    let number = version as u8;
    let what = format!(
        "rows of tables of version {number} of the Iceberg format are neither deleted nor replaced"
    );
    Err(Error::unsupported(ROW_DELETES_UNSUPPORTED, what).with_hint(
        "change the rows with the engine that wrote the table, or copy them into a table of version 2: CREATE TABLE t AS SELECT …",
    ))
}

impl crate::Table {
    /// For a change that will delete or replace rows, before it is planned.
    ///
    /// Errors: `Unsupported` `row_deletes_unsupported`.
    pub fn check_row_deletes(&self) -> Result<()> {
        let name: &TableName = self.name();
        check_row_deletes(self.metadata()).map_err(|error| error.with_context("table", name))
    }
}
