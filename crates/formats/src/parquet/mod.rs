//! Parquet files: columns with types of their own.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! Columns are matched by name. Types become those of a table without losing anything: dictionaries become their values,
//! unsigned numbers the next larger signed one, nanoseconds microseconds; a row with a time finer than one microsecond is
//! quarantined. A file that is corrupt, encrypted, compressed with an unknown codec, or has a value that does not fit, is
//! quarantined whole with the reason: a partly readable file is never loaded in part. Checksums of pages are verified where
//! a file has them. A file that expands more than [`RATIO_MAX`] times is rejected. `exclude` leaves columns out, such as
//! those of a type that no table has (durations, decimals of more than 38 digits) and that `schema.columns` does not
//! declare.

pub(crate) mod admit;
mod encryption;
pub(crate) mod footer;
mod hybrid;
pub(crate) mod input;
mod int96;
mod known_columns;
mod lists;
mod numbers;
mod pages;
mod part;
pub(crate) mod plan;
pub(crate) mod shape;
mod thrift;
pub(crate) mod types;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use ::parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataBuilder};
use ::parquet::file::reader::Length;
use forebay_core::quarantine::Extent;
use forebay_core::{Batch, Error, Origins, PayloadHead, Rejected, Result, panic_message};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::admit::Refused;
use self::input::ObjectFile;
use self::int96::NanosReader;
use self::plan::{Part, Plan, Refusal, Table};
use crate::contract::{Contract, ContractPolicy};
use crate::extraction::needs_an_object;
use crate::framing::Framing;
use crate::{Extracted, Extraction, Extractor, ExtractorKind, ObjectInput};
use forebay_config::{Component, Document};

/// Rows decoded at once.
const BATCH_ROWS: usize = 8_192;

/// Decoded bytes of one file for one byte of it, once [`RATIO_FLOOR_BYTES`] have been decoded.
pub const RATIO_MAX: u64 = 1_000;

/// Decoded bytes below which the ratio is not checked.
pub const RATIO_FLOOR_BYTES: u64 = 1 << 30;

/// Files whose rows take at most this, with the origin of each row, are read once and held until they are fully verified;
/// larger ones are read twice.
const HOLD_BYTES_MAX: u64 = 64 << 20;

/// Bytes of rows that one call returns at most, about, with the origin of each row.
const STEP_BYTES: u64 = 64 << 20;

/// The origin of a row in memory, see [`Origins`]: more than the row itself where columns are few and narrow.
const ORIGIN_BYTES: u64 = 20;

/// Largest value, also by the mean of a column chunk in the footer. A value is in memory some four times until it is
/// written, and other pipelines of the process need memory beside it.
const VALUE_BYTES_MAX: u64 = 32 << 20;

/// Decoded bytes of one batch, about, according to the footer.
const BATCH_BYTES: u64 = 32 << 20;

/// `extract: {parquet: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads Parquet files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParquetConfig {
    /// Columns that are not read, by their names in the file.
    pub exclude: Vec<String>,
}

#[derive(Debug)]
struct Parquet(ParquetConfig);

impl Component for Kind {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn summary(&self) -> &'static str {
        "Parquet files"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<ParquetConfig>()
    }
}

impl ExtractorKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>> {
        Ok(Box::new(Parquet(config.parse()?)))
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
            table: Table::new("parquet", contract, policy)?,
            excluded: self.0.exclude.clone(),
            pending: None,
        }))
    }
}

struct ParquetExtraction {
    table: Table,
    /// Columns that are not read.
    excluded: Vec<String>,
    /// A verified file whose rows are being returned.
    pending: Option<Pending>,
}

struct Pending {
    head: Arc<PayloadHead>,
    rows: Rows,
}

/// The rows of a file.
struct Rows {
    reader: ParquetRecordBatchReader,
    /// For a file with INT96 timestamps.
    nanos: Option<NanosReader>,
    plan: Plan,
    batch_rows: usize,
    /// Row count of the footer, and rows read.
    promised: u64,
    read: u64,
    file_bytes: u64,
    decoded_bytes: u64,
}

impl ParquetExtraction {
    /// Reads a verified file, up to [`STEP_BYTES`]; returns whether there is more.
    fn step(&mut self, out: &mut Extracted) -> Result<bool> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(false);
        };
        let until = pending.rows.bytes() + STEP_BYTES;
        while pending.rows.bytes() < until {
            let before = pending.rows.read;
            match guarded(|| pending.rows.next()) {
                Ok(None) => return Ok(false),
                Ok(Some(part)) => give(&pending.head, &pending.rows.plan, part, before, out)?,
                Err(refusal) => {
                    // It was verified a moment ago.
                    return Err(Error::unavailable("raw_read_failed", refusal.reason)
                        .with_context("payload", &pending.head.name));
                }
            }
        }
        self.pending = Some(pending);
        Ok(true)
    }

    /// Opens a file; `batch_rows` is known when its pages have been checked before.
    fn open(
        &mut self,
        input: &ObjectFile,
        batch_rows: Option<usize>,
    ) -> Result<Result<Rows, Refusal>> {
        let footer = match guarded(|| Footer::read(input)) {
            Ok(footer) => footer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let checked = batch_rows.map_or_else(
            || guarded(|| rows_at_once(input, footer.metadata.metadata())),
            Ok,
        );
        let batch_rows = match checked {
            Ok(rows) => rows,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let kept = footer.columns_but(&self.excluded);
        if kept.is_empty() && !self.excluded.is_empty() {
            return Ok(Err(Refusal {
                code: "no_columns",
                reason: "`extract.parquet.exclude` leaves no column of the file".to_owned(),
            }));
        }
        let schema = match footer.metadata.schema().project(&kept) {
            Ok(schema) => schema,
            Err(error) => return Ok(Err(corrupt(&error.to_string()))),
        };
        let plan = match self.table.plan(&schema)? {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(guarded(|| footer.rows(input, &kept, plan, batch_rows)))
    }

    /// Returns a small file once it has been read to its end, or makes a large one pending.
    fn read(
        &mut self,
        head: &Arc<PayloadHead>,
        input: &ObjectFile,
        out: &mut Extracted,
    ) -> Result<Option<Refusal>> {
        let columns = self.table.columns.clone();
        let before = self.table.contract();
        let mut rows = match self.open(input, None)? {
            Ok(rows) => rows,
            Err(refusal) => return Ok(Some(refusal)),
        };
        let mut held = Vec::new();
        loop {
            match guarded(|| rows.next()) {
                Ok(None) => break,
                Ok(Some(part)) if rows.bytes() <= HOLD_BYTES_MAX => held.push(part),
                Ok(Some(_)) => held = Vec::new(),
                Err(refusal) => {
                    // A corrupt file must not change the table's schema.
                    if self.table.contract() != before {
                        self.table.columns = columns;
                    }
                    return Ok(Some(refusal));
                }
            }
        }
        if rows.bytes() <= HOLD_BYTES_MAX {
            let mut at = 0;
            for part in held {
                let count = part.records.num_rows() as u64;
                give(head, &rows.plan, part, at, out)?;
                at += count;
            }
            return Ok(None);
        }
        self.pending = match self.open(input, Some(rows.batch_rows))? {
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
        Err(needs_an_object())
    }

    fn end(&mut self, _: &Arc<PayloadHead>, _: Option<Error>, _: &mut Extracted) -> Result<()> {
        Err(needs_an_object())
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
            let refusal = encryption::encrypted(&input).unwrap_or(refusal);
            out.rejected.push(refusal.of_all(head));
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

/// The metadata of a file.
struct Footer {
    metadata: ArrowReaderMetadata,
    /// With INT96 timestamps as nanoseconds, where there are any.
    nanos: Option<ArrowReaderMetadata>,
}

impl Footer {
    fn read(input: &ObjectFile) -> Result<Self, Refusal> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(false);
        let metadata = footer::load(input, options.clone())?;
        let metadata = counted(metadata, options)?;
        if int96::find_columns(&metadata).is_empty() {
            return Ok(Self {
                metadata,
                nanos: None,
            });
        }
        Ok(Self {
            metadata: int96::with_micros(&metadata)?,
            nanos: Some(metadata),
        })
    }

    /// The indexes of the columns that have none of these names.
    fn columns_but(&self, excluded: &[String]) -> Vec<usize> {
        let fields = self.metadata.schema().fields();
        (0..fields.len())
            .filter(|at| !excluded.contains(fields[*at].name()))
            .collect()
    }

    fn rows(
        self,
        input: &ObjectFile,
        kept: &[usize],
        plan: Plan,
        batch_rows: usize,
    ) -> Result<Rows, Refusal> {
        let footer = self.metadata.metadata().file_metadata();
        let promised = u64::try_from(footer.num_rows()).unwrap_or(u64::MAX);
        let nanos = self
            .nanos
            .map(|nanos| NanosReader::open(input, nanos, kept, batch_rows));
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), kept.iter().copied());
        let metadata = self.metadata;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input.clone(), metadata);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
            .map_err(refused)?;
        Ok(Rows {
            reader,
            nanos: nanos.transpose()?.flatten(),
            plan,
            batch_rows,
            promised,
            read: 0,
            file_bytes: input.len(),
            decoded_bytes: 0,
        })
    }
}

impl Rows {
    /// Approximate memory of the rows read so far.
    fn bytes(&self) -> u64 {
        self.decoded_bytes + self.read * ORIGIN_BYTES
    }

    /// The next rows, converted to the table's types; `None` after all rows of the footer.
    fn next(&mut self) -> Result<Option<Part>, Refusal> {
        let Some(batch) = self.reader.next() else {
            if self.read == self.promised {
                return Ok(None);
            }
            let reason = format!(
                "the footer has {} rows, but the pages have {}",
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
        let unrepresentable = match &mut self.nanos {
            Some(nanos) => nanos.unrepresentable_rows(&batch)?,
            None => BTreeMap::new(),
        };
        let part = self.plan.apply_beside(&batch, unrepresentable)?;
        self.read += part.records.num_rows() as u64;
        self.decoded_bytes += part.bytes();
        pages::check_ratio(self.file_bytes, self.decoded_bytes)?;
        if self.read > self.promised {
            let reason = format!(
                "the footer has {} rows, but the pages have more",
                self.promised
            );
            return Err(Refusal {
                code: "corrupt_parquet",
                reason,
            });
        }
        Ok(Some(part))
    }
}

/// The footer with the sum of its row groups as the total. Some writers leave the total at 0, and a reader that trusts it
/// reads nothing.
///
/// Errors: `corrupt_parquet` for a total that is another number.
fn counted(
    metadata: ArrowReaderMetadata,
    options: ArrowReaderOptions,
) -> Result<ArrowReaderMetadata, Refusal> {
    let footer = metadata.metadata();
    let file = footer.file_metadata();
    let mut rows = 0_i64;
    for group in footer.row_groups() {
        if group.num_rows() < 0 {
            return Err(corrupt("a row group has a negative number of rows"));
        }
        rows = rows.saturating_add(group.num_rows());
    }
    if file.num_rows() == rows {
        return Ok(metadata);
    }
    if file.num_rows() != 0 {
        return Err(corrupt(&format!(
            "the footer has {} rows, but the row groups have {rows}",
            file.num_rows()
        )));
    }
    let file = FileMetaData::new(
        file.version(),
        rows,
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let rebuilt = ParquetMetaDataBuilder::new(file)
        .set_row_groups(footer.row_groups().to_vec())
        .set_column_index(footer.column_index().cloned())
        .set_offset_index(footer.offset_index().cloned())
        .build();
    ArrowReaderMetadata::try_new(Arc::new(rebuilt), options).map_err(refused)
}

/// Rows to decode at once, so that a batch stays small also where values are large.
fn rows_at_once(input: &ObjectFile, metadata: &ParquetMetaData) -> Result<usize, Refusal> {
    Ok(by_footer(metadata, input.len())?.min(pages::check(input, metadata)?))
}

/// The number of rows that make a batch of [`BATCH_BYTES`] according to the footer.
fn by_footer(metadata: &ParquetMetaData, file_bytes: u64) -> Result<usize, Refusal> {
    let mut total = 0_u64;
    let mut rows = BATCH_ROWS as u64;
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
            return Err(value_too_large());
        }
        for chunk in group.columns() {
            lists::check_mean(chunk, count)?;
        }
        total = total.saturating_add(bytes);
        rows = rows.min((BATCH_BYTES / (bytes / count).max(1)).max(1));
    }
    pages::check_ratio(file_bytes, total)?;
    Ok(usize::try_from(rows).unwrap_or(BATCH_ROWS))
}

fn value_too_large() -> Refusal {
    let reason = format!("a value is larger than {} MiB", VALUE_BYTES_MAX >> 20);
    Refusal {
        code: "value_too_large",
        reason,
    }
}

fn corrupt(why: &str) -> Refusal {
    Refusal {
        code: "corrupt_parquet",
        reason: format!("the file is corrupt: {why}"),
    }
}

/// Runs a step of the Parquet reader, which panics on some corrupt files.
fn guarded<T>(work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic_message(panic.as_ref());
        Err(corrupt(&format!("the reader panicked: {message}")))
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

/// Hands rows on; those that lack a required column or have a time that is too fine are rejected one by one.
pub(crate) fn give(
    head: &PayloadHead,
    plan: &Plan,
    part: Part,
    first: u64,
    out: &mut Extracted,
) -> Result<()> {
    let skips = head.skips()?;
    let rows = first..first + part.records.num_rows() as u64;
    let wanted = rows.map(|row| !skips.iter().any(|range| range.contains(&row)));
    let admitted = plan.admit(part, wanted.collect())?;
    for refused in admitted.refused {
        out.rejected.push(refused_row(head, first, refused));
    }
    let mut origins = Origins::default();
    for (row, _) in admitted.keep.iter().enumerate().filter(|(_, keep)| **keep) {
        // A row has no bytes of its own: its number is its position.
        origins.push(head.ordinal, first + row as u64, 0);
    }
    if admitted.records.num_rows() > 0 {
        out.batches
            .push(Batch::main(admitted.records, Some(origins)));
    }
    Ok(())
}

/// A rejected row of a part whose rows are counted from `first`.
fn refused_row(head: &PayloadHead, first: u64, refused: Refused) -> Rejected {
    let row = first + refused.row as u64;
    Rejected {
        payload: Some(head.ordinal),
        extent: Some(Extent::record(row, 0)),
        offset: Some(row),
        line: None,
        stage: "extract".to_owned(),
        code: refused.code.to_owned(),
        reason: format!("row {}: {}", row + 1, refused.reason),
        record: refused.record,
    }
}
