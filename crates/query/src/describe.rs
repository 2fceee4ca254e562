//! `DESCRIBE t`: the columns of a table with the names that SQL has for their types.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::memory::MemoryStream;

/// One row a column: `column_name`, `data_type`, `is_nullable`.
pub(crate) fn describe(schema: &Schema) -> Result<SendableRecordBatchStream, DataFusionError> {
    let fields = schema.fields();
    let nullable = fields
        .iter()
        .map(|field| if field.is_nullable() { "YES" } else { "NO" });
    let columns: [(&str, ArrayRef); 3] = [
        (
            "column_name",
            Arc::new(StringArray::from_iter_values(
                fields.iter().map(|field| field.name()),
            )),
        ),
        (
            "data_type",
            Arc::new(StringArray::from_iter_values(
                fields.iter().map(|field| sql_type(field.data_type())),
            )),
        ),
        (
            "is_nullable",
            Arc::new(StringArray::from_iter_values(nullable)),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns)?;
    let schema = batch.schema();
    Ok(Box::pin(MemoryStream::try_new(vec![batch], schema, None)?))
}

/// The name of a type as Postgres writes it; `struct(…)` and `map(…)`, which Postgres has not, as DuckDB does.
pub(crate) fn sql_type(kind: &DataType) -> String {
    match kind {
        DataType::Null => "null".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            "bigint unsigned".to_owned()
        }
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("numeric({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::Duration(_) | DataType::Interval(_) => "interval".to_owned(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("{}[]", sql_type(item.data_type())),
        DataType::Struct(fields) => format!("struct({})", members(fields)),
        DataType::Map(entries, _) => map_type(entries),
        DataType::Dictionary(_, value) => sql_type(value),
        DataType::RunEndEncoded(_, values) => sql_type(values.data_type()),
        DataType::Union(..) => "union".to_owned(),
    }
}

fn members(fields: &Fields) -> String {
    let members = fields
        .iter()
        .map(|field| format!("{} {}", field.name(), sql_type(field.data_type())));
    members.collect::<Vec<_>>().join(", ")
}

fn map_type(entries: &Field) -> String {
    match entries.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => format!(
            "map({}, {})",
            sql_type(fields[0].data_type()),
            sql_type(fields[1].data_type())
        ),
        _ => "map".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn nested_types_are_named_in_sql() {
        let at = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let item = DataType::Struct(Fields::from(vec![
            Field::new("sku", DataType::Utf8View, true),
            Field::new("at", at, true),
        ]));
        let list = DataType::List(Arc::new(Field::new("element", item, true)));
        assert_eq!(sql_type(&list), "struct(sku text, at timestamptz)[]");
        assert_eq!(sql_type(&DataType::Decimal128(10, 2)), "numeric(10,2)");
    }
}
