//! The table of a data file, recorded in its footer.

use parquet::file::metadata::KeyValue;
use uuid::Uuid;

/// The key of the table in the footer of an index.
pub(crate) const TABLE_ID: &str = "forebay.table";

/// The table named in the footer of an index.
pub(crate) fn table_id(table: Uuid) -> KeyValue {
    KeyValue::new(TABLE_ID.to_owned(), table.to_string())
}
