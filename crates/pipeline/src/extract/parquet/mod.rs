//! Parquet files: columns with types of their own.
//!
//! ```yaml
//! pipeline: trips
//! source:
//!   file: {path: "data/*.parquet"}
//! extract:
//!   parquet: {}
//! load:
//!   stdout: {format: ndjson}
//! ```
//!
//! Columns are matched by name. Types become those of a table without losing anything: dictionaries become their values,
//! unsigned numbers the next larger signed one, nanoseconds microseconds. A file that is broken, encrypted, compressed in
//! an unknown way, or has a value that does not fit, is quarantined whole with the reason: a file of which only a part can be
//! read is never read in part. A file that expands more than [`RATIO_MAX`] times is refused.

mod input;
mod plan;
mod types;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ::parquet::file::metadata::ParquetMetaData;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use forebay_core::{Batch, Error, Origins, PayloadHead, Rejected, Result, quarantine};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::input::ObjectFile;
use self::plan::{Plan, Refusal, Table};
use crate::extract::contract::{Contract, ContractPolicy};
use crate::extract::{Extracted, Extraction, Extractor, ExtractorKind, ObjectInput};
use crate::file::Document;
use crate::source::Framing;

/// Rows decoded at once.
const BATCH_ROWS: usize = 8_192;

/// Decoded bytes of one file for one byte of it, once [`RATIO_FLOOR_BYTES`] have come out.
pub const RATIO_MAX: u64 = 1_000;

/// Decoded bytes below which the ratio is not looked at.
pub const RATIO_FLOOR_BYTES: u64 = 1 << 30;

/// Files that decode to at most this, by their footer, are read once and held until they have proved to be whole; larger
/// ones are read twice.
const HOLD_BYTES_MAX: u64 = 64 << 20;

/// Decoded bytes that one call gives at most, about.
const STEP_BYTES: u64 = 64 << 20;

/// Largest value that the footer may hint at: the mean of a column chunk.
const VALUE_BYTES_MAX: u64 = 256 << 20;

/// Decoded bytes of one batch, about, by what the footer says.
const BATCH_BYTES: u64 = 32 << 20;

/// `extract: {parquet: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads Parquet files. Has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetConfig {}

#[derive(Debug)]
struct Parquet;

impl ExtractorKind for Kind {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn summary(&self) -> &'static str {
        "Parquet files"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<ParquetConfig>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>> {
        let ParquetConfig {} = config.parse()?;
        Ok(Box::new(Parquet))
    }
}

impl Extractor for Parquet {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        _records: Option<&str>,
    ) -> Result<Box<dyn Extraction>> {
        Ok(Box::new(ParquetExtraction {
            table: Table::new(contract, policy)?,
            pending: None,
        }))
    }
}

struct ParquetExtraction {
    table: Table,
    /// A file that has proved to be whole and is being given out.
    pending: Option<Pending>,
}

struct Pending {
    head: Arc<PayloadHead>,
    rows: Rows,
}

/// The rows of a file.
struct Rows {
    reader: ParquetRecordBatchReader,
    plan: Plan,
    /// Rows that the footer promises, and rows read.
    promised: u64,
    read: u64,
    file_bytes: u64,
    decoded_bytes: u64,
}

impl ParquetExtraction {
    /// Reads a file that has been found whole, up to [`STEP_BYTES`]; whether there is more.
    fn step(&mut self, out: &mut Extracted) -> Result<bool> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(false);
        };
        let until = pending.rows.decoded_bytes + STEP_BYTES;
        while pending.rows.decoded_bytes < until {
            let before = pending.rows.read;
            match guarded(|| pending.rows.next()) {
                Ok(None) => return Ok(false),
                Ok(Some(batch)) => give(&pending.head, &pending.rows.plan, batch, before, out)?,
                Err(refusal) => {
                    // It was whole a moment ago.
                    return Err(Error::unavailable("raw_read_failed", refusal.reason)
                        .with_context("payload", &pending.head.name));
                }
            }
        }
        self.pending = Some(pending);
        Ok(true)
    }

    fn open(&mut self, input: &ObjectFile) -> Result<Result<Rows, Refusal>> {
        let builder = guarded(|| {
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(false);
            ParquetRecordBatchReaderBuilder::try_new_with_options(input.clone(), options)
                .map_err(refused)
        });
        let builder = match builder {
            Ok(builder) => builder,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let promised =
            u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(u64::MAX);
        let plan = match self.table.plan(builder.schema())? {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let file_bytes = ::parquet::file::reader::Length::len(input);
        let batch_rows = match batch_rows(builder.metadata(), file_bytes) {
            Ok(rows) => rows,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(guarded(|| {
            let reader = builder
                .with_batch_size(batch_rows)
                .build()
                .map_err(refused)?;
            Ok(Rows {
                reader,
                plan,
                promised,
                read: 0,
                file_bytes,
                decoded_bytes: 0,
            })
        }))
    }

    /// Gives out a small file once it has been read to its end, or makes a large one pending.
    fn read(
        &mut self,
        head: &Arc<PayloadHead>,
        input: &ObjectFile,
        out: &mut Extracted,
    ) -> Result<Option<Refusal>> {
        let (columns, before) = (self.table.columns.clone(), self.table.contract());
        let mut rows = match self.open(input)? {
            Ok(rows) => rows,
            Err(refusal) => return Ok(Some(refusal)),
        };
        let mut held = Vec::new();
        loop {
            match guarded(|| rows.next()) {
                Ok(None) => break,
                Ok(Some(batch)) if rows.decoded_bytes <= HOLD_BYTES_MAX => held.push(batch),
                Ok(Some(_)) => held.clear(),
                Err(refusal) => {
                    // A broken file has no say in what the table looks like.
                    if self.table.contract() != before {
                        self.table.columns = columns;
                    }
                    return Ok(Some(refusal));
                }
            }
        }
        if rows.decoded_bytes <= HOLD_BYTES_MAX {
            let mut at = 0;
            for batch in held {
                let count = batch.num_rows() as u64;
                give(head, &rows.plan, batch, at, out)?;
                at += count;
            }
            return Ok(None);
        }
        self.pending = match self.open(input)? {
            Ok(rows) => Some(Pending {
                head: Arc::clone(head),
                rows,
            }),
            Err(refusal) => return Ok(Some(refusal)),
        };
        self.step(out)?;
        Ok(None)
    }
}

impl Extraction for ParquetExtraction {
    fn push(&mut self, _: &Arc<PayloadHead>, _: &[u8], _: &mut Extracted) -> Result<()> {
        Err(Error::bug(
            "needs_an_object",
            "Parquet is read from an object, not from a stream",
        ))
    }

    fn end(&mut self, _: &Arc<PayloadHead>, _: Option<Error>, _: &mut Extracted) -> Result<()> {
        Err(Error::bug(
            "needs_an_object",
            "Parquet is read from an object, not from a stream",
        ))
    }

    fn object(
        &mut self,
        head: &Arc<PayloadHead>,
        object: ObjectInput<'_>,
        out: &mut Extracted,
    ) -> Result<()> {
        while self.step(out)? {}
        let input =
            ObjectFile::open(object.objects, object.path, object.runtime).map_err(|error| {
                Error::unavailable("raw_read_failed", "failed to read a raw object")
                    .with_source(error)
                    .with_context("object", object.path)
            })?;
        if let Some(refusal) = self.read(head, &input, out)? {
            out.rejected.push(Rejected {
                payload: head.ordinal,
                offset: Some(0),
                line: None,
                stage: "extract".to_owned(),
                code: refusal.code.to_owned(),
                reason: refusal.reason,
                // The file lies in the raw zone; nobody reads the begin of one.
                record: Vec::new(),
            });
        }
        Ok(())
    }

    fn more(&mut self, out: &mut Extracted) -> Result<bool> {
        self.step(out)
    }

    fn wants_object(&self) -> bool {
        true
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        while self.step(out)? {}
        Ok(())
    }

    fn contract(&self) -> Contract {
        self.table.contract()
    }
}

impl Rows {
    /// The next rows, as the table has them; `None` when all that the footer promises have come.
    fn next(&mut self) -> Result<Option<RecordBatch>, Refusal> {
        let Some(batch) = self.reader.next() else {
            if self.read == self.promised {
                return Ok(None);
            }
            let reason = format!(
                "the footer promises {} rows, the pages hold {}",
                self.promised, self.read
            );
            return Err(Refusal {
                code: "corrupt_parquet",
                reason,
            });
        };
        let batch = batch.map_err(|error| Refusal {
            code: "corrupt_parquet",
            reason: error.to_string(),
        })?;
        let batch = self.plan.apply(&batch)?;
        self.read += batch.num_rows() as u64;
        self.decoded_bytes += batch.get_array_memory_size() as u64;
        if self.decoded_bytes > RATIO_FLOOR_BYTES
            && self.decoded_bytes / RATIO_MAX > self.file_bytes
        {
            let reason = format!(
                "the file expands more than {RATIO_MAX} times: {} bytes gave {}",
                self.file_bytes, self.decoded_bytes
            );
            return Err(Refusal {
                code: "ratio_exceeded",
                reason,
            });
        }
        if self.read > self.promised {
            let reason = format!(
                "the footer promises {} rows, the pages hold more",
                self.promised
            );
            return Err(Refusal {
                code: "corrupt_parquet",
                reason,
            });
        }
        Ok(Some(batch))
    }
}

/// Rows to decode at once, so that a batch stays small also where values are large.
fn batch_rows(metadata: &ParquetMetaData, file_bytes: u64) -> Result<usize, Refusal> {
    let (mut total, mut rows) = (0_u64, BATCH_ROWS as u64);
    for group in metadata.row_groups() {
        let count = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        let sizes = group
            .columns()
            .iter()
            .map(|chunk| u64::try_from(chunk.uncompressed_size()).unwrap_or(0));
        let (bytes, largest) = sizes.fold((0_u64, 0), |(sum, max), size| {
            (sum.saturating_add(size), size.max(max))
        });
        if largest / count > VALUE_BYTES_MAX {
            let reason = format!("a value is larger than {} MiB", VALUE_BYTES_MAX >> 20);
            return Err(Refusal {
                code: "value_too_large",
                reason,
            });
        }
        total = total.saturating_add(bytes);
        rows = rows.min((BATCH_BYTES / (bytes / count).max(1)).max(1));
    }
    if total > RATIO_FLOOR_BYTES && total / RATIO_MAX > file_bytes {
        let reason = format!(
            "the file expands more than {RATIO_MAX} times: {file_bytes} bytes give {total}"
        );
        return Err(Refusal {
            code: "ratio_exceeded",
            reason,
        });
    }
    Ok(usize::try_from(rows).unwrap_or(BATCH_ROWS))
}

/// Runs a step of the Parquet reader, which panics on some broken files.
fn guarded<T>(work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = format!(
            "the file is broken: {}",
            text.unwrap_or("the reader gave up")
        );
        Err(Refusal {
            code: "corrupt_parquet",
            reason,
        })
    })
}

fn refused(error: ::parquet::errors::ParquetError) -> Refusal {
    use ::parquet::errors::ParquetError as E;
    let code = match &error {
        E::NYI(_) => "unsupported_parquet",
        E::General(text) if text.contains("ncrypt") || text.contains("Disabled feature") => {
            "unsupported_parquet"
        }
        _ => "corrupt_parquet",
    };
    Refusal {
        code,
        reason: error.to_string(),
    }
}

/// Hands rows on; those that lack a required column are refused one by one.
fn give(
    head: &PayloadHead,
    plan: &Plan,
    mut batch: RecordBatch,
    first: u64,
    out: &mut Extracted,
) -> Result<()> {
    let skips = head.skips()?;
    let skipped = |row: usize| {
        skips
            .iter()
            .any(|range| range.contains(&(first + row as u64)))
    };
    let mut keep: Vec<bool> = (0..batch.num_rows()).map(|row| !skipped(row)).collect();
    if plan.has_required() {
        for (row, keep) in keep.iter_mut().enumerate().filter(|(_, keep)| **keep) {
            if let Some(name) = plan.lacks(&batch, row) {
                *keep = false;
                out.rejected.push(lacking(head, &batch, row, first, name)?);
            }
        }
    }
    let mut origins = Origins::default();
    for (row, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
        // A row has no bytes of its own: its number stands for its place.
        origins.push(head.ordinal, first + row as u64, 0);
    }
    if origins.len() < keep.len() {
        batch = filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(failed)?;
    }
    if batch.num_rows() > 0 {
        out.batches.push(Batch::main(batch, Some(origins)));
    }
    Ok(())
}

fn lacking(
    head: &PayloadHead,
    batch: &RecordBatch,
    row: usize,
    first: u64,
    name: &str,
) -> Result<Rejected> {
    let mut record = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut record);
    writer
        .write(&batch.slice(row, 1))
        .and_then(|()| writer.finish())
        .map_err(failed)?;
    record.truncate(quarantine::RECORD_BYTES_MAX);
    let number = first + row as u64;
    Ok(Rejected {
        payload: head.ordinal,
        offset: Some(number),
        line: None,
        stage: "extract".to_owned(),
        code: "missing_required".to_owned(),
        reason: format!(
            "row {}: column `{name}` is required and has no value",
            number + 1
        ),
        record,
    })
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("parquet_batch", "failed to hand rows of a Parquet file on").with_source(error)
}
