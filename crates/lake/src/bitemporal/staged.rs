//! Rows of a bitemporal table that wait for their commit.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use forebay_core::{Error, Result, Timestamp};

use super::Bitemporal;
use super::periods::DELETE_COLUMN;
use crate::WriterOptions;

/// Bytes of the rows of one commit, at most: which rows a commit makes is known only when all of them are there.
const STAGED_BYTES_MAX: usize = 1 << 30;

/// The rows of a draft, as they came in.
#[derive(Debug)]
pub(crate) struct StagedRows {
    pub(super) rules: Bitemporal,
    pub(super) batches: Vec<StagedBatch>,
    bytes: usize,
    /// How the files are written.
    pub(super) options: WriterOptions,
    /// The system time of what comes next.
    system_time: Option<Timestamp>,
}

/// Rows that came in together.
#[derive(Debug, Clone)]
pub(super) struct StagedBatch {
    /// Without [`DELETE_COLUMN`].
    pub(super) rows: RecordBatch,
    pub(super) deletes: BooleanArray,
    /// When they were committed before; `None` for the commit that they wait for.
    pub(super) system_time: Option<Timestamp>,
}

impl StagedRows {
    pub(crate) fn new(rules: Bitemporal) -> Self {
        Self {
            rules,
            batches: Vec::new(),
            bytes: 0,
            options: WriterOptions::default(),
            system_time: None,
        }
    }

    pub(crate) fn rules(&self) -> &Bitemporal {
        &self.rules
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn row_count(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.rows.num_rows() as u64)
            .sum()
    }

    pub(crate) fn set_options(&mut self, options: &WriterOptions) {
        self.options = options.clone();
    }

    /// What comes from here on was committed at this time before.
    pub(crate) fn set_system_time(&mut self, at: Timestamp) {
        self.system_time = Some(at);
    }

    /// Adds rows from [`super::rows_with_periods`].
    ///
    /// Errors: `Config` `commit_too_big`.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let (rows, deletes) = split_deletes(rows)?;
        self.bytes += rows.columns().iter().map(slice_bytes).sum::<usize>();
        if self.bytes > STAGED_BYTES_MAX {
            let what = format!("one commit has more than {STAGED_BYTES_MAX} bytes of rows");
            return Err(Error::config("commit_too_big", what)
                .with_hint("commit fewer rows at once: set a smaller `buffer.rows`"));
        }
        self.batches.push(StagedBatch {
            rows,
            deletes,
            system_time: self.system_time,
        });
        Ok(())
    }

    /// What was added so far; nothing is known after it.
    pub(crate) fn take(&mut self) -> Self {
        let empty = Self {
            system_time: self.system_time,
            options: self.options.clone(),
            ..Self::new(self.rules.clone())
        };
        std::mem::replace(self, empty)
    }
}

fn slice_bytes(column: &arrow::array::ArrayRef) -> usize {
    let data = column.to_data();
    data.get_slice_memory_size()
        .unwrap_or_else(|_| column.get_array_memory_size())
}

/// Splits off the column that says which rows are deletes.
pub(crate) fn split_deletes(rows: &RecordBatch) -> Result<(RecordBatch, BooleanArray)> {
    let Ok(at) = rows.schema().index_of(DELETE_COLUMN) else {
        return Err(Error::bug(
            "no_operation",
            "rows of a bitemporal table have no operation",
        ));
    };
    let mut rows = rows.clone();
    let deletes = rows.remove_column(at);
    Ok((rows, deletes.as_boolean().clone()))
}
