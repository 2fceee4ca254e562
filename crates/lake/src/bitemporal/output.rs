//! The rows that a commit adds to a bitemporal table, from those that came and those that were there.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use forebay_core::{Error, Result};

use super::periods::{SYSTEM_FROM, SYSTEM_TO, VALID_FROM, VALID_TO};
use super::timeline::{RowSource, Segment};
use crate::write::TableWriter;
use crate::{DataFile, Table, WriterOptions};

/// Rows that are put together at once.
const BATCH_ROWS: usize = 8_192;

/// A row to write: the attributes of another row, with its own times.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputRow {
    source: RowSource,
    from: i64,
    to: i64,
    since: i64,
    until: i64,
}

impl OutputRow {
    pub(super) fn of(segment: &Segment, since: i64, until: i64) -> Self {
        let Segment {
            from, to, source, ..
        } = *segment;
        Self {
            source,
            from,
            to,
            since,
            until,
        }
    }
}

/// All rows of a commit, and what they are made from.
pub(super) struct OutputRows {
    writer: TableWriter,
    schema: SchemaRef,
    /// Rows of the table.
    sources: Vec<RecordBatch>,
    rows: Vec<OutputRow>,
}

impl OutputRows {
    pub(super) fn new(table: &Table, options: WriterOptions) -> Result<Self> {
        Ok(Self {
            writer: TableWriter::of_table(table, options)?,
            schema: table.schema(),
            sources: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Adds rows of the table; returns their number among them.
    pub(super) fn add_source(&mut self, rows: RecordBatch) -> u32 {
        self.sources.push(rows);
        self.sources.len() as u32 - 1
    }

    pub(super) fn push(&mut self, row: OutputRow) {
        self.rows.push(row);
    }

    /// Writes the rows; `staged` are those that came. Blocks.
    pub(super) fn write(self, staged: &[RecordBatch]) -> Result<Vec<DataFile>> {
        let Self {
            mut writer,
            schema,
            sources,
            rows,
        } = self;
        let sources: Vec<&RecordBatch> = staged.iter().chain(&sources).collect();
        for part in rows.chunks(BATCH_ROWS) {
            writer.write_fitted(&batch(&schema, &sources, part)?)?;
        }
        writer.finish()
    }
}

fn batch(schema: &SchemaRef, sources: &[&RecordBatch], rows: &[OutputRow]) -> Result<RecordBatch> {
    let failed = |error| Error::bug("bad_batch", "failed to put rows together").with_source(error);
    let places: Vec<(usize, usize)> = rows
        .iter()
        .map(|row| (row.source.batch as usize, row.source.row as usize))
        .collect();
    let attributes = interleave_record_batch(sources, &places).map_err(failed)?;
    let times = |name: &str| -> Option<fn(&OutputRow) -> i64> {
        Some(match name {
            VALID_FROM => |row| row.from,
            VALID_TO => |row| row.to,
            SYSTEM_FROM => |row| row.since,
            SYSTEM_TO => |row| row.until,
            _ => return None,
        })
    };
    let columns = schema.fields().iter().zip(attributes.columns());
    let columns = columns.map(|(field, column)| match times(field.name()) {
        Some(time) => {
            let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(time));
            Arc::new(times.with_timezone_opt(zone(field.data_type()))) as ArrayRef
        }
        None => Arc::clone(column),
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).map_err(failed)
}

fn zone(kind: &arrow::datatypes::DataType) -> Option<Arc<str>> {
    match kind {
        arrow::datatypes::DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}
