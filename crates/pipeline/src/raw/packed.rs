//! The messages of packed payloads in the raw index: a column of lists.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field};
use forebay_core::{Error, Messages, Result};

use crate::raw::RawEntry;

/// The column of these entries; `None` when none of them packs messages.
pub(super) fn to_list(entries: &[RawEntry]) -> Result<Option<ArrayRef>> {
    let rows: Vec<&dyn Array> = entries
        .iter()
        .filter_map(|entry| entry.messages.as_ref())
        .map(|messages| messages.rows() as &dyn Array)
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let lengths = entries
        .iter()
        .map(|entry| entry.messages.as_ref().map_or(0, |all| all.len()));
    let nulls: NullBuffer = entries
        .iter()
        .map(|entry| entry.messages.is_some())
        .collect();
    let values = concat(&rows).map_err(broken)?;
    let list = ListArray::try_new(
        element(),
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(nulls),
    );
    Ok(Some(Arc::new(list.map_err(broken)?)))
}

fn element() -> Arc<Field> {
    Arc::new(Field::new(
        "element",
        DataType::Struct(Messages::fields()),
        true,
    ))
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::bug(
        "raw_index",
        "failed to put the messages of payloads together",
    )
    .with_source(error)
}

/// The column as read.
pub(super) struct Packed(Option<ListArray>);

impl Packed {
    pub(super) fn new(batch: &RecordBatch) -> Result<Self> {
        let Some(column) = batch.column_by_name("messages") else {
            return Ok(Self(None));
        };
        let list = cast(column, &DataType::List(element())).map_err(|error| {
            Error::data(
                "raw_index",
                "the raw index cannot be read: `messages` has the wrong type",
            )
            .with_source(error)
        })?;
        Ok(Self(Some(list.as_list::<i32>().clone())))
    }

    pub(super) fn of(&self, row: usize) -> Result<Option<Arc<Messages>>> {
        let Some(list) = self.0.as_ref().filter(|list| list.is_valid(row)) else {
            return Ok(None);
        };
        let rows: StructArray = list.value(row).as_struct().clone();
        Messages::new(rows).map(|messages| Some(Arc::new(messages)))
    }
}
