//! Unions of several types as columns, a column for each kind.
//!
//! A column has one type and a union has several, so it becomes columns like a JSON key with values of several kinds:
//!
//! - `null` is not a kind. Numbers are one kind where that is exact: `int` and `long` are `long`, `int`, `float` and `double` are
//!   `double`; a `long` is never made a `double`. Strings and enums are one kind, and so are bytes and fixed ones.
//! - The first kind has the plain name, every other `<field>__v_<kind>` beside it. For a field of the message itself
//!   it is the table's first kind, else the first in the union.
//! - Where a union has several records, each has a column by its own name, `<field>__v_<Record>`: the name of the record would be
//!   lost otherwise.
//! - A list or a map whose elements are of several kinds is one for each kind, all of the same length: `<list>__e_<kind>` (`__e2_` in a
//!   list within a list), null where the element is of another kind.
//! - A field whose type is declared has one column of that type; a value that does not fit it is refused.
//!
//! This never drops a value, and does not depend on a table: [`Table`](super::Table) maps the columns.

mod kinds;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;

use self::kinds::together;
use crate::parquet::plan::Refusal;

/// A result of splitting a column, or one of its columns.
struct Piece {
    /// After the plain name.
    suffix: String,
    /// Whether it is one kind of a union, and the table may give it another name.
    is_kind: bool,
    array: ArrayRef,
}

/// The batch without unions. `declared` has the types of declared columns.
pub(super) fn split(
    batch: &RecordBatch,
    declared: &dyn Fn(&str) -> Option<DataType>,
) -> Result<RecordBatch, Refusal> {
    let schema = batch.schema_ref();
    if !schema.fields().iter().any(|field| has(field.data_type())) {
        return Ok(batch.clone());
    }
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        let found = pieces(array).map_err(|why| why.of(field.name()))?;
        let found = match declared(field.name()).filter(|_| found.len() > 1) {
            Some(kind) => vec![together(&found, &kind).map_err(|why| why.of(field.name()))?],
            None => found,
        };
        for piece in found {
            let suffix = if piece.is_kind { "" } else { &piece.suffix };
            let name = format!("{}{suffix}", field.name());
            fields.push(Field::new(name, piece.array.data_type().clone(), true));
            arrays.push(piece.array);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let split = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
    split.map_err(|error| Why::from(error).of("*"))
}

fn has(kind: &DataType) -> bool {
    match kind {
        DataType::Union(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| has(field.data_type())),
        DataType::List(field) | DataType::Map(field, _) => has(field.data_type()),
        _ => false,
    }
}

/// Why a column cannot be split.
struct Why {
    code: &'static str,
    reason: String,
}

impl Why {
    fn new(code: &'static str, reason: String) -> Self {
        Self { code, reason }
    }

    fn of(self, column: &str) -> Refusal {
        let reason = format!("column `{column}`: {}", self.reason);
        Refusal {
            code: self.code,
            reason,
        }
    }
}

impl From<ArrowError> for Why {
    fn from(error: ArrowError) -> Self {
        Self::new("unsupported_type", error.to_string())
    }
}

fn pieces(array: &ArrayRef) -> Result<Vec<Piece>, Why> {
    match array.data_type() {
        DataType::Union(..) => kinds::kinds(array.as_union()),
        kind if !has(kind) => Ok(vec![Piece {
            suffix: String::new(),
            is_kind: false,
            array: Arc::clone(array),
        }]),
        DataType::Struct(_) => structure(array.as_struct()),
        DataType::List(_) => list(array.as_list()),
        _ => map(array.as_map()),
    }
}

fn structure(array: &StructArray) -> Result<Vec<Piece>, Why> {
    let mut fields = Vec::<Field>::new();
    let mut arrays = Vec::new();
    for (field, column) in array.fields().iter().zip(array.columns()) {
        let nullable = field.is_nullable() || has(field.data_type());
        for piece in pieces(column)? {
            let name = format!("{}{}", field.name(), piece.suffix);
            if fields.iter().any(|field| field.name() == &name) {
                let what =
                    format!("the schema has a field `{name}` beside the union that makes one");
                return Err(Why::new("duplicate_column", what));
            }
            fields.push(Field::new(name, piece.array.data_type().clone(), nullable));
            arrays.push(piece.array);
        }
    }
    let nulls = array.nulls().cloned();
    let split = StructArray::try_new_with_length(Fields::from(fields), arrays, nulls, array.len())?;
    Ok(vec![Piece {
        suffix: String::new(),
        is_kind: false,
        array: Arc::new(split),
    }])
}

fn list(array: &ListArray) -> Result<Vec<Piece>, Why> {
    let DataType::List(item) = array.data_type() else {
        return Err(Why::new("unsupported_type", "not a list".to_owned()));
    };
    let lists = pieces(array.values())?.into_iter().map(|piece| {
        let item = Field::new(item.name(), piece.array.data_type().clone(), true);
        let offsets = array.offsets().clone();
        let nulls = array.nulls().cloned();
        let list = ListArray::try_new(Arc::new(item), offsets, piece.array, nulls)?;
        Ok(Piece {
            suffix: deeper(&piece.suffix),
            is_kind: false,
            array: Arc::new(list),
        })
    });
    lists.collect()
}

fn map(array: &MapArray) -> Result<Vec<Piece>, Why> {
    let DataType::Map(entry, sorted) = array.data_type() else {
        return Err(Why::new("unsupported_type", "not a map".to_owned()));
    };
    let [key, value] = &array.entries().fields()[..] else {
        return Err(Why::new(
            "unsupported_type",
            "its entries are not pairs".to_owned(),
        ));
    };
    let maps = pieces(array.values())?.into_iter().map(|piece| {
        let value = Field::new(value.name(), piece.array.data_type().clone(), true);
        let fields = Fields::from(vec![key.as_ref().clone(), value]);
        let entries = vec![Arc::clone(array.keys()), piece.array];
        let entries = StructArray::try_new(fields.clone(), entries, None)?;
        let entry = Field::new(entry.name(), DataType::Struct(fields), false);
        let offsets = array.offsets().clone();
        let nulls = array.nulls().cloned();
        let map = MapArray::try_new(Arc::new(entry), offsets, entries, nulls, *sorted)?;
        Ok(Piece {
            suffix: deeper(&piece.suffix),
            is_kind: false,
            array: Arc::new(map),
        })
    });
    maps.collect()
}

/// The suffix of a list by that of its elements: `__v_int` is `__e_int`, and that `__e2_int`.
fn deeper(suffix: &str) -> String {
    let Some((mark, rest)) = suffix
        .strip_prefix("__")
        .and_then(|suffix| suffix.split_once('_'))
    else {
        return suffix.to_owned();
    };
    let depth = match mark {
        "v" => return format!("__e_{rest}"),
        "e" => 2,
        mark => mark[1..].parse().unwrap_or(1) + 1,
    };
    format!("__e{depth}_{rest}")
}
