//! Converts rows to messages: each a JSON object, with a key of its own.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use forebay_core::{Error, Result};

use forebay_formats::text::{NullFields, no_json, write_json_lines};

/// The messages of a batch.
pub(super) struct Encoded {
    text: Vec<u8>,
    /// End of each row in `text`, without its line feed.
    ends: Vec<usize>,
    keys: Option<ArrayRef>,
}

impl Encoded {
    /// Errors: `Config` when column `key` is missing, or has no text form.
    pub(super) fn new(records: &RecordBatch, key: Option<&str>) -> Result<Self> {
        let keys = key.map(|key| keys(records, key)).transpose()?;
        let mut text = Vec::new();
        write_json_lines(records, NullFields::Written, &mut text).map_err(no_json)?;
        // JSON has no line feed inside.
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', &text).collect();
        if ends.len() != records.num_rows() {
            return Err(Error::bug(
                "json_rows",
                "the number of lines of a batch differs from its rows",
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
            "column `{key}` has type {}, which cannot be a message key",
            column.data_type()
        );
        Error::config("bad_key_column", what).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Float64Array;

    use super::*;

    #[test]
    fn what_json_has_no_number_for_is_no_null() {
        let values = Float64Array::from(vec![Some(f64::NAN), Some(f64::INFINITY), None]);
        let records = RecordBatch::try_from_iter([("v", Arc::new(values) as ArrayRef)]).unwrap();
        let encoded = Encoded::new(&records, None).unwrap();
        let texts: Vec<&[u8]> = (0..encoded.len()).map(|row| encoded.value(row)).collect();
        let expected: [&[u8]; 3] = [br#"{"v":"NaN"}"#, br#"{"v":"Infinity"}"#, br#"{"v":null}"#];
        assert_eq!(texts, expected);
    }
}
