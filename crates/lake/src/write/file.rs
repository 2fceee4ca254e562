//! One open Parquet file of one partition.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use forebay_core::{Error, Result};
use iceberg::spec::Struct;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

pub(super) use super::stats::FileRole;
use super::stats::{self, Written};
use super::{DataFile, Target, WriterOptions, dictionary};
use crate::file_owner::table_id;
use crate::storage::{ObjectSink, data_file_name};

/// A row group is closed at this many encoded bytes, whatever its rows.
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;
/// Rows and bytes of Arrow data that are encoded between two looks at the limits.
const CHUNK_ROWS_MAX: usize = 16_384;
const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Rows of a row group of a file with more columns than get a dictionary: few enough that no column ends a page before the group
/// is closed, since each such column keeps a compressor of its own until then.
const WIDE_GROUP_ROWS_MAX: usize = 16_384;

/// How many rows of `records` to encode at once.
pub(super) fn chunk_rows(records: &RecordBatch) -> usize {
    let row_bytes = records.get_array_memory_size() / records.num_rows().max(1);
    (CHUNK_BYTES_MAX / row_bytes.max(1)).clamp(1, CHUNK_ROWS_MAX)
}

/// Lends the sink to the encoder, which does not return it; `None` once it was taken.
#[derive(Debug)]
struct Loan(Option<ObjectSink>);

impl Write for Loan {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .as_mut()
            .ok_or(std::io::ErrorKind::BrokenPipe)?
            .write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.as_mut().map_or(Ok(()), Write::flush)
    }
}

#[derive(Debug)]
pub(super) struct OpenFile {
    writer: ArrowWriter<Loan>,
    path: Path,
    partition: Struct,
    nans: HashMap<i32, u64>,
    rows: u64,
    touched: u64,
}

impl OpenFile {
    /// `first` is the first batch: it decides which columns get a dictionary.
    pub(super) fn open(
        target: &Target,
        options: &WriterOptions,
        partition: Struct,
        first: &RecordBatch,
    ) -> Result<Self> {
        let path = match &options.path {
            Some(path) => path.clone(),
            None => target
                .folder
                .clone()
                .join("data")
                .join(format!("{}.parquet", data_file_name())),
        };
        let sink = target.storage.sink(path.clone())?.with_checksums();
        let sink = Loan(Some(sink));
        let properties = properties(options, target, first)?;
        let writer = ArrowWriter::try_new(sink, Arc::clone(&target.arrow), Some(properties))
            .map_err(encode_error)?;
        Ok(Self {
            writer,
            path,
            partition,
            nans: HashMap::new(),
            rows: 0,
            touched: 0,
        })
    }

    pub(super) fn write(&mut self, chunk: &RecordBatch, tick: u64) -> Result<()> {
        self.touched = tick;
        self.rows += chunk.num_rows() as u64;
        stats::count_nans(chunk, &mut self.nans);
        self.writer.write(chunk).map_err(encode_error)
    }

    /// Ends the row group.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(encode_error)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The write that touched it last, on the scale of the writer's ticks.
    pub(super) fn touched(&self) -> u64 {
        self.touched
    }

    pub(super) fn row_group_memory_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.writer.memory_size()
            + self
                .writer
                .inner()
                .0
                .as_ref()
                .map_or(0, ObjectSink::memory_bytes)
    }

    /// Size of the file if it were closed now, roughly.
    pub(super) fn encoded_bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Rows that have been written.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the footer and makes the file durable under its name.
    pub(super) fn close(self, target: &Target) -> Result<DataFile> {
        self.close_as(target, FileRole::Rows)
    }

    /// The same for a file of any role.
    pub(super) fn close_as(mut self, target: &Target, role: FileRole) -> Result<DataFile> {
        self.writer.flush().map_err(encode_error)?;
        if let Some(sink) = &mut self.writer.inner_mut().0 {
            sink.begin_footer();
        }
        let footer = self.writer.finish().map_err(encode_error)?;
        let sink = self
            .writer
            .inner_mut()
            .0
            .take()
            .expect("a sink is taken once, here");
        let bytes = sink.finish()?;
        let written = Written {
            location: target.storage.location(&self.path),
            bytes,
            partition: self.partition,
            spec_id: target.spec.spec_id(),
            nans: self.nans,
            role,
        };
        let file = stats::data_file(&target.schema, &footer, written)?;
        Ok(DataFile {
            path: self.path,
            rows: self.rows,
            bytes,
            file,
            spec_id: target.spec.spec_id(),
        })
    }
}

fn properties(
    options: &WriterOptions,
    target: &Target,
    first: &RecordBatch,
) -> Result<WriterProperties> {
    let mut group_rows = options.row_group_rows_max.max(1);
    let level = ZstdLevel::try_new(1).expect("zstd has level 1");
    let mut compression = Compression::ZSTD(level);
    if target.width > dictionary::DICTIONARIES_MAX {
        group_rows = group_rows.min(WIDE_GROUP_ROWS_MAX);
        // The encoder makes a codec for each column; that of zstd takes 100 KiB.
        compression = Compression::SNAPPY;
    }
    let table_id = options.has_table_id.then(|| vec![table_id(target.uuid)]);
    let builder = WriterProperties::builder()
        .set_key_value_metadata(table_id)
        .set_created_by(format!("forebay {}", env!("CARGO_PKG_VERSION")))
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(group_rows))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX));
    let without = dictionary::columns_without(first)?;
    Ok(without
        .into_iter()
        .fold(builder, |builder, column| {
            builder.set_column_dictionary_enabled(column, false)
        })
        .build())
}

/// The sink's own errors come back through Parquet's as I/O errors.
fn encode_error(error: ParquetError) -> Error {
    if let ParquetError::External(below) = &error
        && below.is::<std::io::Error>()
    {
        return Error::unavailable("write_failed", "failed to write a data file")
            .with_source(error);
    }
    Error::bug("encode_failed", "failed to encode a data file").with_source(error)
}
