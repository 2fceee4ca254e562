//! Rows sorted by columns, as many at once as fit into memory: each run of them is sorted.

use arrow::array::RecordBatch;
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch,
};
use arrow::error::ArrowError;
use forebay_core::{Error, Result};

/// Bytes of rows that are sorted at once. They are held twice while they are sorted.
const RUN_BYTES_MAX: usize = 128 << 20;
/// Rows that are sorted at once: places are numbers of 32 bits.
const RUN_ROWS_MAX: usize = 1 << 24;

/// Rows that wait to be sorted.
pub(super) struct SortedRun<'a> {
    columns: &'a [String],
    rows: Vec<RecordBatch>,
    bytes: usize,
    count: usize,
}

impl<'a> SortedRun<'a> {
    pub(super) fn new(columns: &'a [String]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
            bytes: 0,
            count: 0,
        }
    }

    pub(super) fn is_sorting(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Takes rows; gives a sorted run when it is full.
    pub(super) fn add(&mut self, rows: RecordBatch) -> Result<Option<RecordBatch>> {
        self.bytes += rows.get_array_memory_size();
        self.count += rows.num_rows();
        self.rows.push(rows);
        match self.bytes >= RUN_BYTES_MAX || self.count >= RUN_ROWS_MAX {
            true => self.finish(),
            false => Ok(None),
        }
    }

    /// The last run.
    ///
    /// Errors: `Config` `no_sort_column`, `bad_sort_column`.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let rows = std::mem::take(&mut self.rows);
        (self.bytes, self.count) = (0, 0);
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let all = concat_batches(first.schema_ref(), &rows).map_err(unsortable)?;
        drop(rows);
        let columns = self.columns.iter().map(|name| sort_column(&all, name));
        let columns: Vec<SortColumn> = columns.collect::<Result<_>>()?;
        let places = lexsort_to_indices(&columns, None).map_err(unsortable)?;
        take_record_batch(&all, &places)
            .map(Some)
            .map_err(unsortable)
    }
}

fn sort_column(rows: &RecordBatch, name: &str) -> Result<SortColumn> {
    let values = rows.column_by_name(name).ok_or_else(|| {
        Error::config(
            "no_sort_column",
            format!("the table has no column `{name}` to sort by"),
        )
        .with_hint("run `forebay tables describe TABLE` to list its columns")
    })?;
    let options = SortOptions {
        descending: false,
        nulls_first: true,
    };
    Ok(SortColumn {
        values: values.clone(),
        options: Some(options),
    })
}

fn unsortable(error: ArrowError) -> Error {
    Error::config("bad_sort_column", "rows cannot be sorted by these columns")
        .with_hint("sort by columns of numbers, text, dates, times or booleans")
        .with_source(error)
}
