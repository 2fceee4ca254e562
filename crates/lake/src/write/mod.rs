//! Writing data files: batches in, Parquet files of a sensible size out, one set per partition.
//!
//! A batch is first [`adapt`]ed to the table's schema, then split by partition ([`crate::partition::split`]), then
//! encoded into the open file of each partition ([`mod@file`]); the [`stats`] of a closed file come from its own footer. Nothing here commits: a written file is invisible until a draft that names it is
//! committed, and a writer dropped before [`TableWriter::finish`] leaves no half-written file behind.

pub(crate) mod adapt;
mod cast;
mod dictionary;
pub(crate) mod fetch;
mod file;
mod memory;
pub(crate) mod position_deletes;
pub(crate) mod rewrite;
mod sort;
mod stats;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wide_tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use forebay_core::{Context, Error, Result};
use iceberg::spec::PartitionSpecRef;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::bitemporal::{DELETE_COLUMN, StagedRows, split_deletes};
use crate::partition::split::{Group, Splitter};
use crate::storage::LakeStorage;
use crate::upsert::{NotedRows, WrittenKeys};
use crate::{Draft, Table, schema};
use file::OpenFile;
use memory::HeldMemory;
pub(crate) use stats::footer_datum;

/// Cells, empty ones too, that a batch may have when it is fitted to the table: it is taken in parts, since a narrow batch in a wide
/// table is mostly columns that it lacks.
const PART_CELLS_MAX: usize = 1 << 20;

/// A written, durable file that no commit names yet.
#[derive(Debug, Clone)]
pub struct DataFile {
    pub path: object_store::path::Path,
    pub rows: u64,
    pub bytes: u64,
    /// Its manifest entry.
    pub(crate) file: iceberg::spec::DataFile,
    /// The partition spec it was written under ([`iceberg::spec::DataFile`] keeps that to itself).
    pub(crate) spec_id: i32,
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
    /// is stored beside its object. Only for a table without partitions, and one file.
    pub path: Option<object_store::path::Path>,
    /// The footer says which table the file is for. [`crate::Lake::clean`] deletes such an index of the raw zone, with its object, when
    /// it was never committed: not for one that something outside of the lake may still bring back.
    pub has_table_id: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            file_bytes_target: 256 << 20,
            row_group_rows_max: 250_000,
            open_files_max: 32,
            path: None,
            has_table_id: false,
        }
    }
}

/// The location and layout of a writer's files.
#[derive(Debug)]
struct Target {
    /// Arrow schema with field ids at every depth.
    arrow: SchemaRef,
    /// Fields at every depth.
    width: usize,
    schema: iceberg::spec::SchemaRef,
    spec: PartitionSpecRef,
    uuid: Uuid,
    /// The table's folder.
    folder: object_store::path::Path,
    storage: Arc<LakeStorage>,
}

impl Target {
    fn of(draft: &Draft) -> Result<Self> {
        let schema = draft.iceberg_schema()?;
        let arrow = schema::to_arrow(&schema)?;
        Ok(Self {
            width: arrow.flattened_fields().len(),
            arrow,
            schema,
            spec: draft.partition_spec()?,
            uuid: draft.uuid(),
            folder: draft.folder(),
            storage: Arc::clone(draft.storage()),
        })
    }

    fn of_table(table: &Table) -> Result<Self> {
        let metadata = table.metadata();
        let arrow = table.schema();
        Ok(Self {
            width: arrow.flattened_fields().len(),
            arrow,
            schema: Arc::clone(metadata.current_schema()),
            spec: Arc::clone(metadata.default_partition_spec()),
            uuid: table.uuid(),
            folder: table.storage().path(metadata.location())?,
            storage: Arc::clone(table.storage()),
        })
    }
}

/// Splits batches by partition and encodes them. CPU work happens on the calling thread: call it from a blocking one.
#[derive(Debug)]
pub struct TableWriter {
    target: Target,
    options: WriterOptions,
    splitter: Splitter,
    /// Open files by the encoded values of their partition.
    open: HashMap<Box<[u8]>, OpenFile>,
    done: Vec<DataFile>,
    rows: u64,
    /// Counts writes, to find the least recently written file.
    tick: u64,
    held: HeldMemory,
    /// Of a draft whose rows replace others.
    keys: Option<Arc<Mutex<WrittenKeys>>>,
    /// Of a draft whose rows are written when it is committed.
    staged: Option<Arc<Mutex<StagedRows>>>,
}

impl TableWriter {
    /// Errors: `Bug` when the draft has no schema, or a fixed path is asked for on a partitioned table; `Unsupported`
    /// for a partition transform that cannot be computed.
    pub(crate) fn new(draft: &Draft, options: WriterOptions) -> Result<Self> {
        let staged = draft.staged_rows();
        if let Some(staged) = &staged {
            staged.lock().set_options(&options);
        }
        let mut writer = Self::of_target(Target::of(draft)?, options)?;
        writer.keys = draft.written_keys();
        writer.staged = staged;
        Ok(writer)
    }

    /// A writer of files for a table as it is, whatever its rows do to others.
    pub(crate) fn of_table(table: &Table, options: WriterOptions) -> Result<Self> {
        Self::of_target(Target::of_table(table)?, options)
    }

    fn of_target(target: Target, options: WriterOptions) -> Result<Self> {
        if options.path.is_some() && !target.spec.is_unpartitioned() {
            return Err(Error::bug(
                "fixed_path",
                "a fixed file path needs a table without partitions",
            ));
        }
        let splitter = Splitter::new(&target.schema, &target.spec)?;
        Ok(Self {
            held: HeldMemory::new(Arc::clone(&target.storage)),
            keys: None,
            staged: None,
            target,
            options,
            splitter,
            open: HashMap::new(),
            done: Vec::new(),
            rows: 0,
            tick: 0,
        })
    }

    /// Rows must have the columns of the draft's schema by name; missing optional ones become null, order is free.
    ///
    /// Errors: `Data` when a value does not fit its column (null in a required one, a cast that would lose
    /// something); `Bug` when a column is not the table's or its type can never fit; `Unavailable` when the storage
    /// fails. After an error the writer must be dropped.
    pub fn write(&mut self, records: &RecordBatch) -> Result<()> {
        if records.num_rows() == 0 {
            return Ok(());
        }
        if records.num_columns() == 0 {
            return Err(Error::bug(
                "rows_without_columns",
                format!(
                    "{} rows without a column cannot be written: they would not be counted",
                    records.num_rows()
                ),
            ));
        }
        if let Some(staged) = &self.staged {
            self.check(records)?;
            self.rows += records.num_rows() as u64;
            return staged.lock().add(records);
        }
        let parts = self.parts(records);
        if parts.len() > 1 {
            // All of the batch or nothing.
            self.check(records)?;
        }
        parts.iter().try_for_each(|part| self.write_part(part))
    }

    /// The batch in slices that are small enough to be fitted to the table.
    fn parts(&self, records: &RecordBatch) -> Vec<RecordBatch> {
        let rows = (PART_CELLS_MAX / self.target.width.max(1)).max(1);
        let starts = (0..records.num_rows()).step_by(rows);
        starts
            .map(|start| records.slice(start, rows.min(records.num_rows() - start)))
            .collect()
    }

    fn write_part(&mut self, records: &RecordBatch) -> Result<()> {
        self.write_fitted(&adapt::batch(records, &self.target.arrow)?)
    }

    /// Writes rows with exactly the columns of the table.
    pub(crate) fn write_fitted(&mut self, records: &RecordBatch) -> Result<()> {
        let mut groups = self.splitter.split(records)?;
        // Open files first: a batch of many partitions must not close a file that its own rows still need.
        groups.sort_by_key(|group| !self.open.contains_key(&group.key));
        let keys = self.keys.as_ref();
        let arrival = keys.map_or(0, |keys| keys.lock().arrive(records.num_rows()));
        for group in groups {
            self.write_group(records, group, arrival)?;
        }
        self.rows += records.num_rows() as u64;
        Ok(())
    }

    /// Whether [`Self::write`] would take the rows; nothing is written. Its `Data` errors leave the writer as it was.
    pub fn check(&self, records: &RecordBatch) -> Result<()> {
        let without;
        let records = match records.schema_ref().index_of(DELETE_COLUMN) {
            Ok(_) => {
                (without, _) = split_deletes(records)?;
                &without
            }
            Err(_) => records,
        };
        self.parts(records).iter().try_for_each(|part| {
            let part = adapt::batch(part, &self.target.arrow)?;
            self.splitter.split(&part).map(drop)
        })
    }

    /// Bytes of Arrow data and encoded pages held in memory now.
    pub fn memory_bytes(&self) -> usize {
        self.open.values().map(OpenFile::memory_bytes).sum()
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Closes every file; on return each is durable.
    pub fn finish(mut self) -> Result<Vec<DataFile>> {
        let keys: Vec<Box<[u8]>> = self.open.keys().cloned().collect();
        for key in keys {
            self.close(&key)?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Gives up the files that are open; those that were closed are the answer, for [`Draft::discard`].
    pub fn abandon(self) -> Vec<DataFile> {
        self.done
    }

    fn write_group(&mut self, records: &RecordBatch, group: Group, arrival: u64) -> Result<()> {
        let rows = match &group.rows {
            None => records.clone(),
            Some(rows) => take_record_batch(records, rows).map_err(|e| {
                Error::bug("split_failed", "failed to take the rows of a partition").with_source(e)
            })?,
        };
        let step = file::chunk_rows(&rows);
        let mut start = 0;
        while start < rows.num_rows() {
            let chunk = rows.slice(start, step.min(rows.num_rows() - start));
            let row = |at: usize| match &group.rows {
                Some(rows) => u64::from(rows.value(start + at)),
                None => (start + at) as u64,
            };
            self.write_chunk(&chunk, &group, |at| arrival + row(at))?;
            start += chunk.num_rows();
        }
        Ok(())
    }

    /// `arrival` numbers the rows in the order that they came in.
    fn write_chunk(
        &mut self,
        chunk: &RecordBatch,
        group: &Group,
        arrival: impl Fn(usize) -> u64,
    ) -> Result<()> {
        if !self.open.contains_key(&group.key) {
            self.make_room()?;
            let file = OpenFile::open(&self.target, &self.options, group.partition.clone(), chunk)?;
            self.open.insert(group.key.clone(), file);
        }
        self.tick += 1;
        let file = self
            .open
            .get_mut(&group.key)
            .expect("the file was opened above");
        if let Some(keys) = &self.keys {
            let noted = NotedRows {
                rows: chunk,
                path: file.path(),
                position: file.rows(),
            };
            keys.lock().note(&noted, arrival)?;
        }
        file.write(chunk, self.tick).context("file", file.path())?;
        if file.encoded_bytes() >= self.options.file_bytes_target && self.options.path.is_none() {
            self.close(&group.key)?;
        }
        self.hold_memory()
    }

    /// Closes the file written longest ago until one more may be opened.
    fn make_room(&mut self) -> Result<()> {
        while self.open.len() >= self.options.open_files_max.max(1) {
            let oldest = self
                .open
                .iter()
                .min_by_key(|(_, file)| file.touched())
                .map(|(key, _)| key.clone());
            self.close(&oldest.expect("there is an open file"))?;
        }
        Ok(())
    }

    /// Writes out the biggest unfinished row groups while all of them together, or those of the whole lake, are too big.
    fn hold_memory(&mut self) -> Result<()> {
        loop {
            let open = self.open.values().map(OpenFile::row_group_memory_bytes);
            let bytes = open.sum();
            if !self.held.exceeds(bytes) {
                return Ok(());
            }
            let biggest = self
                .open
                .values_mut()
                .max_by_key(|file| file.row_group_memory_bytes());
            let file = biggest.expect("memory is held by an open file");
            file.flush().context("file", file.path())?;
        }
    }

    fn close(&mut self, key: &[u8]) -> Result<()> {
        let file = self.open.remove(key).expect("only open files are closed");
        let path = file.path().clone();
        self.done
            .push(file.close(&self.target).context("file", path)?);
        Ok(())
    }
}
