//! Types that a statement declares for a column and that no table keeps: it would take values that the type does not have.

use arrow::datatypes::{DataType, Schema};
use forebay_core::{Error, Result};

use crate::types::sql_name;

/// Errors: `Unsupported` `sql_unsupported` for a column of a narrower type than a table has for it.
pub(super) fn check_kept(schema: &Schema) -> Result<()> {
    for field in schema.fields() {
        if let Some((declared, kept)) = wider(field.data_type()) {
            let declared = sql_name(declared);
            let what = format!(
                "column {}: {declared} is not kept, the table would take every {kept}",
                field.name()
            );
            return Err(Error::unsupported("sql_unsupported", what)
                .with_hint(format!("write {} {kept}", field.name())));
        }
    }
    Ok(())
}

/// A type that a table keeps as a wider one, at any depth, and that one.
fn wider(kind: &DataType) -> Option<(&DataType, &'static str)> {
    match kind {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => {
            Some((kind, "int"))
        }
        DataType::UInt32 => Some((kind, "bigint")),
        DataType::UInt64 => Some((kind, "decimal(20, 0)")),
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            wider(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().find_map(|field| wider(field.data_type())),
        _ => None,
    }
}
