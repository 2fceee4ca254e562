//! Writing data files: batches in, Parquet files of a sensible size out, one set per partition.

use arrow::array::RecordBatch;
use forebay_core::Result;

/// A written, durable file that no commit names yet.
#[derive(Debug, Clone)]
pub struct DataFile {
    pub path: object_store::path::Path,
    pub rows: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// A file is closed when it has grown to this size.
    pub file_bytes_target: u64,
    /// A row group is closed at this many rows.
    pub row_group_rows_max: usize,
    /// Files open at once; the one written longest ago is closed when a further partition comes.
    pub open_files_max: usize,
    /// Writes to this path below the lake's object store instead of one under the table: for the raw zone's index, which
    /// lies beside its object. Only for a table without partitions, and one file.
    pub path: Option<object_store::path::Path>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { file_bytes_target: 256 << 20, row_group_rows_max: 250_000, open_files_max: 32, path: None }
    }
}

/// Splits batches by partition and encodes them. CPU work happens on the calling thread: call it from a blocking one.
#[derive(Debug)]
pub struct TableWriter;

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
impl TableWriter {
    /// Rows must have the columns of the draft's schema by name; missing optional ones become null, order is free.
    pub fn write(&mut self, records: &RecordBatch) -> Result<()> {
        unimplemented!()
    }

    /// Bytes of Arrow data and encoded pages held in memory now.
    pub fn memory_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        unimplemented!()
    }

    /// Closes every file; on return each is durable.
    pub fn finish(self) -> Result<Vec<DataFile>> {
        unimplemented!()
    }
}
