//! The columns of a key, and their values as bytes: equal for equal keys, ordered as the values of the order column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use arrow::row::{RowConverter, Rows, SortField};
use forebay_core::{Error, Result, VARIANT_SEPARATOR};

use crate::partition::source::{column_of, field_id};
use crate::schema::source_name;

/// Code of the refusal of a row whose key or order cannot be compared with others.
const OTHER_KIND: &str = "other_kind";

/// Code of the error for a table that lacks a column of its key.
pub const NO_KEY_COLUMN: &str = "no_key_column";

/// A column of a key, or the order column.
#[derive(Debug, Clone)]
pub(crate) struct KeyColumn {
    pub(crate) id: i32,
    pub(crate) name: String,
    /// The widest type that the column may get: bytes are the same whenever a file was written.
    kind: DataType,
}

impl KeyColumn {
    pub(crate) fn name_and_id(&self) -> (String, i32) {
        (self.name.clone(), self.id)
    }
}

/// Which columns identify a row, and which one says that it is newer.
#[derive(Debug, Clone)]
pub(crate) struct KeyColumns {
    pub(crate) key: Vec<KeyColumn>,
    pub(crate) order: Option<KeyColumn>,
}

impl KeyColumns {
    /// Finds the columns in a table's schema by their names in the data.
    ///
    /// Errors: `Config` `no_key_column`, `bad_key_type`.
    pub(crate) fn find(schema: &Schema, key: &[String], order: Option<&str>) -> Result<Self> {
        let key = key.iter().map(|name| key_column(schema, name));
        let order = order.map(|name| order_column(schema, name));
        Ok(Self {
            key: key.collect::<Result<_>>()?,
            order: order.transpose()?.flatten(),
        })
    }

    /// Those of the key alone.
    pub(crate) fn without_order(self) -> Self {
        Self {
            order: None,
            ..self
        }
    }

    /// All of them.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &KeyColumn> {
        self.key.iter().chain(&self.order)
    }
}

/// The column that has this name in the data.
pub(super) fn find<'s>(schema: &'s Schema, name: &str) -> Option<&'s Arc<Field>> {
    let fields = schema.fields().iter();
    fields.into_iter().find(|field| source_name(field) == name)
}

fn key_column(schema: &Schema, name: &str) -> Result<KeyColumn> {
    let missing = || {
        let what = format!("the table has no column `{name}`, which `key` names");
        Error::config(NO_KEY_COLUMN, what)
    };
    let field = find(schema, name).ok_or_else(missing)?;
    column(field, name).ok_or_else(|| {
        let what = format!(
            "column `{name}` is {}, which no key may have",
            type_name(field)
        );
        Error::config("bad_key_type", what)
    })
}

/// `None` for a column that no record had so far: then all rows are equally old.
fn order_column(schema: &Schema, name: &str) -> Result<Option<KeyColumn>> {
    let Some(field) = find(schema, name) else {
        return Ok(None);
    };
    match column(field, name) {
        Some(column) => Ok(Some(column)),
        None => {
            let what = format!(
                "column `{name}` is {}, which has no order",
                type_name(field)
            );
            Err(Error::config("bad_key_type", what))
        }
    }
}

fn type_name(field: &Field) -> &'static str {
    match field.data_type() {
        DataType::Struct(_) => "an object",
        DataType::List(_) => "a list",
        DataType::Map(..) => "a map",
        _ => "of a type without an order",
    }
}

fn column(field: &Field, name: &str) -> Option<KeyColumn> {
    Some(KeyColumn {
        id: field_id(field)?,
        name: name.to_owned(),
        kind: widest(field.data_type())?,
    })
}

fn widest(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal128(_, scale) => DataType::Decimal128(38, *scale),
        DataType::Boolean
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Time64(_)
        | DataType::Utf8
        | DataType::Binary
        | DataType::FixedSizeBinary(_) => kind.clone(),
        _ => return None,
    })
}

/// Makes bytes of keys.
pub(crate) struct KeyEncoder {
    pub(crate) columns: KeyColumns,
    key: RowConverter,
    order: Option<RowConverter>,
}

/// Keys of a batch.
pub(crate) struct EncodedKeys {
    pub(crate) key: Rows,
    order: Option<(Rows, Option<NullBuffer>)>,
}

impl EncodedKeys {
    /// Empty for null, and without an order column: less than any other.
    pub(crate) fn order(&self, row: usize) -> &[u8] {
        match &self.order {
            Some((order, nulls)) if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) => {
                order.row(row).data()
            }
            _ => &[],
        }
    }
}

impl KeyEncoder {
    pub(crate) fn new(columns: KeyColumns) -> Result<Self> {
        let field = |column: &KeyColumn| SortField::new(column.kind.clone());
        let key = RowConverter::new(columns.key.iter().map(field).collect());
        let order = columns
            .order
            .as_ref()
            .map(|column| RowConverter::new(vec![field(column)]));
        Ok(Self {
            key: key.map_err(failed)?,
            order: order.transpose().map_err(failed)?,
            columns,
        })
    }

    /// The keys of rows. A column that the batch lacks is null in every row.
    pub(crate) fn encode(&self, records: &RecordBatch) -> Result<EncodedKeys> {
        let key = self.columns.key.iter();
        let key: Vec<ArrayRef> = key
            .map(|column| values(records, column))
            .collect::<Result<_>>()?;
        let order = match (&self.order, &self.columns.order) {
            (Some(converter), Some(column)) => {
                let order = values(records, column)?;
                let nulls = order.logical_nulls();
                Some((converter.convert_columns(&[order]).map_err(failed)?, nulls))
            }
            _ => None,
        };
        Ok(EncodedKeys {
            key: self.key.convert_columns(&key).map_err(failed)?,
            order,
        })
    }
}

fn values(records: &RecordBatch, column: &KeyColumn) -> Result<ArrayRef> {
    let Some(found) = column_of(records, column.id) else {
        return Ok(new_null_array(&column.kind, records.num_rows()));
    };
    let values = match found {
        same if same.data_type() == &column.kind => Arc::clone(same),
        other => cast(other, &column.kind).map_err(failed)?,
    };
    match values.as_primitive_opt::<Float64Type>() {
        Some(floats) => Ok(Arc::new(floats.unary::<_, Float64Type>(canonical))),
        None => Ok(values),
    }
}

/// Equal numbers have equal bits: one zero, and one NaN, which is the greatest.
fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else {
        value + 0.0
    }
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("key_failed", "failed to read the key of rows").with_source(error)
}

/// Rows, by number, of which a column of `key` is null or missing.
pub fn rows_without_key(records: &RecordBatch, key: &[String]) -> Vec<usize> {
    let columns: Vec<Option<&ArrayRef>> = key
        .iter()
        .map(|name| records.column_by_name(name))
        .collect();
    let is_sound = |column: &Option<&ArrayRef>| column.is_some_and(|c| c.logical_null_count() == 0);
    if columns.iter().all(is_sound) {
        return Vec::new();
    }
    let is_null = |row: usize| {
        columns
            .iter()
            .any(|column| column.is_none_or(|column| column.is_null(row)))
    };
    (0..records.num_rows())
        .filter(|row| is_null(*row))
        .collect()
}

/// Whether a column has the values of another kind of the column `name`: `price__v_string` of `price`.
pub(crate) fn is_variant(column: &str, name: &str) -> bool {
    let rest = column.strip_prefix(name);
    rest.is_some_and(|rest| rest.starts_with(VARIANT_SEPARATOR))
}

/// The columns with values of another kind of a column.
pub(crate) fn variants<'r>(records: &'r RecordBatch, name: &str) -> Vec<&'r ArrayRef> {
    let schema = records.schema_ref();
    let columns = schema.fields().iter().zip(records.columns());
    let variants = columns.filter(|(field, _)| is_variant(field.name(), name));
    variants.map(|(_, column)| column).collect()
}

/// Rows, by number, whose value of the column is of another kind than those that have its name, with the reason.
pub fn rows_of_other_kind(records: &RecordBatch, name: &str) -> Vec<(usize, Error)> {
    let variants = variants(records, name);
    let is_other = |row: &usize| variants.iter().any(|column| column.is_valid(*row));
    let rows = (0..records.num_rows()).filter(|row| !variants.is_empty() && is_other(row));
    rows.map(|row| {
        let what =
            format!("the value of `{name}` is of another kind than those of the rows before");
        (row, Error::data(OTHER_KIND, what))
    })
    .collect()
}

/// Why such a row is refused.
pub fn key_refusal(key: &[String]) -> Error {
    let what = format!("a column of the key ({}) is null", key.join(", "));
    Error::data("null_key", what)
}
