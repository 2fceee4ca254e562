//! Digests of what rows say: equal exactly for equal attributes.
//!
//! SHA-256 (FIPS 180-4), cut to 128 bits, of the row's bytes in Arrow's row format: nobody can make two rows that differ and have one
//! digest. Keys, periods and the order column are no attributes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::row::{RowConverter, SortField};
use forebay_core::{Error, Result};
use sha2::{Digest as _, Sha256};

use super::periods::{SYSTEM_FROM, SYSTEM_TO, VALID_FROM, VALID_TO};
use super::timeline::Digest;
use crate::schema::source_name;

/// Rows whose bytes are in memory at once.
const ROWS_AT_ONCE: usize = 8_192;

/// Makes digests of the rows of a table.
pub(super) struct Digests {
    columns: Vec<usize>,
    rows: RowConverter,
}

impl Digests {
    /// `left_out` are columns, by their names in the data, that are no attributes.
    pub(super) fn new(schema: &Schema, left_out: &[&str]) -> Result<Self> {
        let periods = [VALID_FROM, VALID_TO, SYSTEM_FROM, SYSTEM_TO];
        let is_attribute = |field: &Field| {
            !left_out.contains(&source_name(field)) && !periods.contains(&field.name().as_str())
        };
        let fields = schema.fields().iter().enumerate();
        let columns: Vec<usize> = fields
            .filter(|(_, field)| is_attribute(field))
            .map(|(at, _)| at)
            .collect();
        let kinds = columns
            .iter()
            .map(|at| SortField::new(listed_type(schema.field(*at).data_type())));
        let rows = RowConverter::new(kinds.collect()).map_err(failed)?;
        Ok(Self { columns, rows })
    }

    /// The digests of rows with exactly the columns of the schema.
    pub(super) fn of(&self, rows: &RecordBatch) -> Result<Vec<Digest>> {
        if self.columns.is_empty() {
            return Ok(vec![0; rows.num_rows()]);
        }
        let attributes = rows.project(&self.columns).map_err(failed)?;
        let mut digests = Vec::with_capacity(rows.num_rows());
        for start in (0..rows.num_rows()).step_by(ROWS_AT_ONCE) {
            let part = attributes.slice(start, ROWS_AT_ONCE.min(rows.num_rows() - start));
            let columns: Vec<ArrayRef> =
                part.columns().iter().map(listed).collect::<Result<_>>()?;
            let encoded = self.rows.convert_columns(&columns).map_err(failed)?;
            digests.extend(encoded.iter().map(|row| digest(row.data())));
        }
        Ok(digests)
    }
}

fn digest(bytes: &[u8]) -> Digest {
    let full = Sha256::digest(bytes);
    let (head, _) = full.split_first_chunk().expect("a digest has 32 bytes");
    Digest::from_be_bytes(*head)
}

/// Arrow's row format has no maps: they are lists of their entries.
fn listed_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Map(entries, _) => {
            let kind = listed_type(entries.data_type());
            DataType::List(Arc::new(entries.as_ref().clone().with_data_type(kind)))
        }
        DataType::List(item) => {
            let kind = listed_type(item.data_type());
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(kind)))
        }
        DataType::Struct(members) => {
            let listed = members.iter().map(|field| {
                let kind = listed_type(field.data_type());
                field.as_ref().clone().with_data_type(kind)
            });
            DataType::Struct(listed.collect())
        }
        other => other.clone(),
    }
}

fn listed(array: &ArrayRef) -> Result<ArrayRef> {
    let kind = listed_type(array.data_type());
    if kind == *array.data_type() {
        return Ok(Arc::clone(array));
    }
    Ok(match (array.data_type(), &kind) {
        (DataType::Map(..), DataType::List(item)) => {
            let map = array.as_map();
            let entries = listed(&(Arc::new(map.entries().clone()) as ArrayRef))?;
            let offsets = map.offsets().clone();
            let made = ListArray::try_new(Arc::clone(item), offsets, entries, map.nulls().cloned());
            Arc::new(made.map_err(failed)?)
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = listed(list.values())?;
            let offsets = list.offsets().clone();
            let made = ListArray::try_new(Arc::clone(item), offsets, values, list.nulls().cloned());
            Arc::new(made.map_err(failed)?)
        }
        (DataType::Struct(_), DataType::Struct(members)) => {
            let object = array.as_struct();
            let columns = object.columns().iter().map(listed).collect::<Result<_>>()?;
            let made = arrow::array::StructArray::try_new_with_length(
                members.clone(),
                columns,
                object.nulls().cloned(),
                object.len(),
            );
            Arc::new(made.map_err(failed)?)
        }
        _ => Arc::clone(array),
    })
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("digest_failed", "failed to compare rows").with_source(error)
}
