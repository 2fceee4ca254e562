//! Finding the column that a partition field is made of, also inside structs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use forebay_core::{Error, Result};
use iceberg::spec::{Schema, StructType, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// The Iceberg id of an Arrow field.
pub(crate) fn field_id(field: &Field) -> Option<i32> {
    field
        .metadata()
        .get(PARQUET_FIELD_ID_META_KEY)?
        .parse()
        .ok()
}

/// Field ids from a top-level column down to the one meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourcePath(Vec<i32>);

impl SourcePath {
    /// `None` when the field does not exist or is inside a list or map.
    pub(crate) fn find(schema: &Schema, id: i32) -> Option<Self> {
        let mut path = Vec::new();
        descend(schema.as_struct(), id, &mut path).then_some(Self(path))
    }

    /// The column of a batch that has the table's schema; a null parent makes its members null.
    pub(super) fn column(&self, records: &RecordBatch) -> Result<ArrayRef> {
        let missing = || {
            Error::bug(
                "missing_column",
                "a batch lacks the column that the table is partitioned by",
            )
        };
        let schema = records.schema();
        let (first, rest) = self.0.split_first().ok_or_else(missing)?;
        let index = position(schema.fields(), *first).ok_or_else(missing)?;
        let mut array = Arc::clone(records.column(index));
        for id in rest {
            let DataType::Struct(fields) = array.data_type() else {
                return Err(missing());
            };
            let index = position(fields, *id).ok_or_else(missing)?;
            let member = array.as_struct().column(index);
            array = with_nulls(member, array.nulls())?;
        }
        Ok(array)
    }
}

fn descend(fields: &StructType, id: i32, path: &mut Vec<i32>) -> bool {
    for field in fields.fields() {
        path.push(field.id);
        if field.id == id {
            return true;
        }
        if let Type::Struct(members) = field.field_type.as_ref()
            && descend(members, id, path)
        {
            return true;
        }
        path.pop();
    }
    false
}

/// The column of a batch that has this field id.
pub(crate) fn column_of(records: &RecordBatch, id: i32) -> Option<&ArrayRef> {
    let at = position(records.schema_ref().fields(), id)?;
    Some(records.column(at))
}

fn position(fields: &Fields, id: i32) -> Option<usize> {
    fields.iter().position(|field| field_id(field) == Some(id))
}

fn with_nulls(array: &ArrayRef, parent: Option<&NullBuffer>) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(array.nulls(), parent);
    let data = array.to_data().into_builder().nulls(nulls).build();
    let data = data.map_err(|e| {
        Error::bug("bad_batch", "failed to read a member of a struct").with_source(e)
    })?;
    Ok(make_array(data))
}
