//! Rows of a lake table, selected by the source `table`.
//!
//! ```yaml
#![doc = include_str!("table.example.yaml")]
//! ```
//!
//! A payload is a *portion*: JSON that names data files, row groups and deleted rows, with the table's columns as of that
//! snapshot. Its rows are read from the files themselves, columns found by field id, so that renamed and widened ones are
//! right. A row's place is its number in the portion. Nothing here goes through JSON but the portion.

mod portion;
mod reshape;

use std::collections::VecDeque;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use arrow::datatypes::SchemaRef;
use forebay_core::{Error, PayloadHead, Result};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

pub use self::portion::{MEDIA_TYPE, Portion, PortionFile};
use crate::contract::{Contract, ContractPolicy};
use crate::extraction::needs_an_object;
use crate::framing::Framing;
use crate::parquet::footer;
use crate::parquet::give;
use crate::parquet::input::ObjectFile;
use crate::parquet::plan::{Plan, Refusal, Table};
use crate::{Extracted, Extraction, Extractor, ExtractorKind, ObjectInput};
use forebay_config::{Component, Document};

/// Rows decoded at once.
const BATCH_ROWS: usize = 16_384;

/// Rows that one call gives at most, about.
const STEP_ROWS: u64 = 131_072;

/// Largest portion, expanded: a thousand files with their deleted rows.
const PORTION_BYTES_MAX: usize = 256 << 20;

/// `extract: {table: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads the rows selected by the source `table`. Has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableRowsConfig {}

#[derive(Debug)]
struct TableRows;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "table"
    }

    fn summary(&self) -> &'static str {
        "rows of a lake table, with the source `table`"
    }

    fn example(&self) -> &'static str {
        include_str!("table.example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<TableRowsConfig>()
    }
}

impl ExtractorKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>> {
        let TableRowsConfig {} = config.parse()?;
        Ok(Box::new(TableRows))
    }

    fn of_own_source(&self) -> Option<Box<dyn Extractor>> {
        Some(Box::new(TableRows))
    }
}

impl Extractor for TableRows {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        _records: Option<&str>,
    ) -> Result<Box<dyn Extraction>> {
        Ok(Box::new(PortionExtraction {
            table: Table::new("table", contract, policy)?,
            pending: None,
        }))
    }
}

struct PortionExtraction {
    table: Table,
    pending: Option<Pending>,
}

/// A portion whose rows are being returned.
struct Pending {
    head: Arc<PayloadHead>,
    input: Input,
    schema: SchemaRef,
    plan: Plan,
    files: VecDeque<PortionFile>,
    reader: Option<ParquetRecordBatchReader>,
    /// Rows returned so far, which is the number of the next.
    row: u64,
}

/// Where files are read.
struct Input {
    objects: Arc<dyn object_store::ObjectStore>,
    runtime: tokio::runtime::Handle,
}

impl Pending {
    /// Returns some rows; `false` when there are no more.
    fn step(&mut self, out: &mut Extracted) -> Result<bool> {
        let until = self.row + STEP_ROWS;
        while self.row < until {
            let Some(reader) = &mut self.reader else {
                let Some(file) = self.files.pop_front() else {
                    return Ok(false);
                };
                self.reader = Some(self.open(&file)?);
                continue;
            };
            let Some(batch) = reader.next() else {
                self.reader = None;
                continue;
            };
            let batch = batch.map_err(unreadable)?;
            let rows = reshape::batch(&batch, &self.schema)?;
            let count = rows.num_rows() as u64;
            let part = self.plan.apply(&rows).map_err(|refusal| {
                Error::data(
                    "table_value",
                    format!("a value does not fit: {}", refusal.reason),
                )
            })?;
            give(&self.head, &self.plan, part, self.row, out)?;
            self.row += count;
        }
        Ok(true)
    }

    fn open(&self, file: &PortionFile) -> Result<ParquetRecordBatchReader> {
        let path = Path::from(file.path.as_str());
        let gone = |error: object_store::Error| {
            match error {
            object_store::Error::NotFound { .. } => Error::not_found(
                "data_file_gone",
                "a data file of the table no longer exists",
            )
            .with_context("object", &path)
            .with_hint(
                "the table's history was cleaned up: read its current state with `forebay run --full`",
            ),
            other => unreadable(other).with_context("object", &path),
        }
        };
        let input =
            ObjectFile::open(&self.input.objects, &path, &self.input.runtime).map_err(gone)?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        // Other writers of the table may have made it.
        let metadata = footer::load(&input, options)
            .map_err(|refusal| unreadable(refusal.reason).with_context("object", &path))?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata);
        reshape::check_identity(builder.schema(), &self.schema, &file.identity)?;
        if let Some((first, last)) = file.groups {
            builder = builder.with_row_groups((first..last).collect());
        }
        let groups = builder.metadata().row_groups();
        let wanted = file
            .groups
            .map_or(0..groups.len(), |(first, last)| first..last);
        let rows = wanted
            .filter_map(|group| groups.get(group))
            .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
            .sum();
        if let Some(selection) = file.selection(rows) {
            builder = builder.with_row_selection(selection);
        }
        builder
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| unreadable(error).with_context("object", &path))
    }
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::unavailable("data_file_unreadable", "failed to read a file of the table")
        .with_source(error)
}

impl Extraction for PortionExtraction {
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
        self.flush(out)?;
        let read = object.runtime.block_on(async {
            let object = object.objects.get(object.path).await?;
            object.bytes().await
        });
        let bytes = read.map_err(|error| {
            Error::unavailable("raw_read_failed", "failed to read a raw object")
                .with_source(error)
                .with_context("object", object.path)
        })?;
        let portion = match Portion::read(&bytes, PORTION_BYTES_MAX) {
            Ok(portion) => portion,
            Err(reason) => {
                let code = "not_a_portion";
                out.rejected.push(Refusal { code, reason }.of_all(head));
                return Ok(());
            }
        };
        let schema = portion.columns()?;
        let plan = match self.table.plan(&schema)? {
            Ok(plan) => plan,
            Err(refusal) => {
                out.rejected.push(refusal.of_all(head));
                return Ok(());
            }
        };
        self.pending = Some(Pending {
            head: head.clone(),
            input: Input {
                objects: object.objects.clone(),
                runtime: object.runtime.clone(),
            },
            schema,
            plan,
            files: portion.files.into(),
            reader: None,
            row: 0,
        });
        Ok(())
    }

    fn more(&mut self, out: &mut Extracted) -> Result<bool> {
        let Some(pending) = &mut self.pending else {
            return Ok(false);
        };
        let more = pending.step(out)?;
        if !more {
            self.pending = None;
        }
        Ok(more)
    }

    fn wants_object(&self) -> bool {
        true
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        while self.more(out)? {}
        Ok(())
    }

    fn contract(&self) -> Contract {
        self.table.contract()
    }
}
