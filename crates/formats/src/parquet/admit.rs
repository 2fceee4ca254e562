//! Selects the accepted rows: a row that lacks a required column, or has a time that is too fine, is rejected alone.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use forebay_core::{Error, Result};

use super::plan::{Part, Plan, row_as_json};

/// A rejected row.
pub(crate) struct Refused {
    /// Its index among the records of the part.
    pub(crate) row: usize,
    pub(crate) code: &'static str,
    pub(crate) reason: String,
    pub(crate) record: Vec<u8>,
}

/// The result for a part.
pub(crate) struct Admitted {
    /// The accepted rows.
    pub(crate) records: RecordBatch,
    /// Which rows of the part they are.
    pub(crate) keep: Vec<bool>,
    pub(crate) refused: Vec<Refused>,
}

impl Plan {
    /// The code for a value that no column of a table holds, and what it is.
    fn describe_unrepresentable(&self, column: &str) -> (&'static str, &'static str) {
        let field = self.schema.field_with_name(column).ok();
        match field.map(|field| field.data_type()) {
            Some(DataType::Decimal128(..)) => (
                "decimal_too_long",
                "a decimal of more digits than it declares",
            ),
            Some(DataType::Time64(_)) => (
                "time_too_fine",
                "a time that is out of the day or has a part below one microsecond",
            ),
            Some(DataType::Timestamp(..)) | None => {
                ("time_too_fine", "a time with a part below one microsecond")
            }
            Some(_) => (
                "time_too_fine",
                "a time that is out of the day or has a part below one microsecond, or a decimal of more digits than it declares",
            ),
        }
    }

    /// Filters the rows in `keep`.
    pub(crate) fn admit(&self, part: Part, mut keep: Vec<bool>) -> Result<Admitted> {
        let mut refused = Vec::new();
        for unrepresentable in part.unrepresentable {
            if std::mem::replace(&mut keep[unrepresentable.row], false) {
                let (code, what) = self.describe_unrepresentable(&unrepresentable.column);
                refused.push(Refused {
                    row: unrepresentable.row,
                    code,
                    reason: format!(
                        "column `{}` has {what}, which a table cannot hold",
                        unrepresentable.column
                    ),
                    record: unrepresentable.record,
                });
            }
        }
        let mut records = part.records;
        if self.has_required() {
            for (row, keep) in keep.iter_mut().enumerate().filter(|(_, keep)| **keep) {
                if let Some(name) = self.lacks(&records, row) {
                    *keep = false;
                    refused.push(Refused {
                        row,
                        code: "missing_required",
                        reason: format!("column `{name}` is required and has no value"),
                        record: row_as_json(&records, row).map_err(failed)?,
                    });
                }
            }
        }
        if keep.iter().any(|keep| !keep) {
            let kept = BooleanArray::from(keep.clone());
            records = filter_record_batch(&records, &kept).map_err(failed)?;
        }
        Ok(Admitted {
            records,
            keep,
            refused,
        })
    }
}

fn failed(error: ArrowError) -> Error {
    Error::bug(
        "rows_refused",
        "failed to part rows from those that are refused",
    )
    .with_source(error)
}
