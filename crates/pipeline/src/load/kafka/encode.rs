//! Rows to messages: each a JSON object, with a key of its own.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use forebay_core::{Error, Result};

/// The messages of a batch.
pub(super) struct Encoded {
    text: Vec<u8>,
    /// Where each row ends in `text`, its line feed not counted.
    ends: Vec<usize>,
    keys: Option<ArrayRef>,
}

impl Encoded {
    /// Errors: `Config` when there is no column `key`, or none that has a text.
    pub(super) fn new(records: &RecordBatch, key: Option<&str>) -> Result<Self> {
        let keys = key.map(|key| keys(records, key)).transpose()?;
        let mut text = Vec::new();
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(&mut text);
        crate::json_keys::with_text_keys(records)
            .and_then(|records| writer.write(&records))
            .and_then(|()| writer.finish())
            .map_err(|error| {
                Error::unsupported(
                    "no_json",
                    "rows with these columns cannot be written as JSON",
                )
                .with_source(error)
            })?;
        // JSON has no line feed inside.
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', &text).collect();
        if ends.len() != records.num_rows() {
            return Err(Error::bug(
                "json_rows",
                "a batch gave another number of lines than rows",
            ));
        }
        Ok(Self { text, ends, keys })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn value(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        &self.text[start..self.ends[row]]
    }

    pub(super) fn key(&self, row: usize) -> Option<&str> {
        let keys = self.keys.as_ref()?.as_string::<i32>();
        keys.is_valid(row).then(|| keys.value(row))
    }
}

fn keys(records: &RecordBatch, key: &str) -> Result<ArrayRef> {
    let column = records.column_by_name(key).ok_or_else(|| {
        Error::config(
            "no_key_column",
            format!("the rows have no column `{key}`, which `key` names"),
        )
    })?;
    cast(column, &DataType::Utf8).map_err(|error| {
        let what = format!(
            "column `{key}` has type {}, which makes no key",
            column.data_type()
        );
        Error::config("bad_key_column", what).with_source(error)
    })
}
