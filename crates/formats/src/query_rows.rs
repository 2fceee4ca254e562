//! Rows of a statement over the lake, selected by the source `query`.
//!
//! ```yaml
#![doc = include_str!("query_rows.example.yaml")]
//! ```
//!
//! A payload is the whole result as an Arrow IPC stream (Arrow columnar format 1.5, "IPC streaming format"), so that it can be extracted
//! again after the tables have changed or are gone. A row's place is its number in the result. Such payloads are made by Forebay and not
//! taken from outside. Holds one batch of the statement.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema as ArrowSchema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use forebay_core::{Batch, Error, Origins, PayloadHead, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::column_name::field_fault;
use crate::contract::{Contract, ContractPolicy};
use crate::framing::Framing;
use crate::parquet::give;
use crate::parquet::plan::{Plan, Refusal, Table};
use crate::parquet::types::normal;
use crate::{Extracted, Extraction, Extractor, ExtractorKind};
use forebay_config::{Component, Document};

/// The content type of a result.
pub const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";

/// `extract: {query: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads the rows selected by the source `query`. Has no settings, and need not be written: it is the default of that source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryRowsConfig {}

#[derive(Debug)]
struct QueryRows;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "query"
    }

    fn summary(&self) -> &'static str {
        "rows of a statement, with the source `query`"
    }

    fn example(&self) -> &'static str {
        include_str!("query_rows.example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<QueryRowsConfig>()
    }
}

impl ExtractorKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>> {
        let QueryRowsConfig {} = config.parse()?;
        Ok(Box::new(QueryRows))
    }

    fn of_own_source(&self) -> Option<Box<dyn Extractor>> {
        Some(Box::new(QueryRows))
    }
}

/// Refuses a result whose columns cannot be those of a table, before any of its rows is made. `declared` are columns whose type
/// the pipeline declares.
///
/// Errors: `Config` `bad_column_name`, `unsupported_type`.
pub fn check_columns(schema: &ArrowSchema, declared: &BTreeSet<String>) -> Result<()> {
    for (at, field) in schema.fields().iter().enumerate() {
        let name = field.name();
        if let Some(fault) = field_fault(field) {
            let what = format!("the name of column {} of the statement {fault}", at + 1);
            return Err(Error::config("bad_column_name", what)
                .with_hint("give it a name in the statement, such as count(*) AS orders"));
        }
        let kind = field.data_type();
        if *kind != DataType::Null && normal(kind).is_none() && !declared.contains(name) {
            let what = format!(
                "column `{name}` of the statement has type {kind}, which a table cannot hold"
            );
            return Err(Error::config("unsupported_type", what).with_hint(format!(
                "convert it in the statement, such as CAST({name} AS text)"
            )));
        }
    }
    Ok(())
}

impl Extractor for QueryRows {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        _records: Option<&str>,
    ) -> Result<Box<dyn Extraction>> {
        Ok(Box::new(ResultExtraction {
            table: Table::new("query", contract, policy)?,
            result: None,
        }))
    }
}

struct ResultExtraction {
    table: Table,
    result: Option<OpenResult>,
}

/// A result that is being read.
struct OpenResult {
    payload: u64,
    decoder: StreamDecoder,
    /// How its columns become those of the table; not known before its schema is.
    plan: Option<Plan>,
    /// Why the rest of it is skipped: it is refused, and that has been reported.
    is_refused: bool,
    /// Rows returned so far, which is the number of the next.
    row: u64,
}

impl OpenResult {
    fn of(payload: u64) -> Self {
        Self {
            payload,
            decoder: StreamDecoder::new(),
            plan: None,
            is_refused: false,
            row: 0,
        }
    }
}

impl OpenResult {
    /// A result without rows still has its columns.
    fn give_columns(&self, out: &mut Extracted) -> Result<()> {
        let plan = self.plan.as_ref().filter(|_| self.row == 0);
        let (Some(plan), Some(schema)) = (plan, self.decoder.schema()) else {
            return Ok(());
        };
        let none = RecordBatch::new_empty(schema);
        let part = plan.apply(&none).map_err(|refusal| unfit(&refusal))?;
        let none = plan.admit(part, Vec::new())?.records;
        out.batches
            .push(Batch::main(none, Some(Origins::default())));
        Ok(())
    }
}

fn unfit(refusal: &Refusal) -> Error {
    let what = format!("a value of the result does not fit: {}", refusal.reason);
    Error::data("query_value", what)
}

impl ResultExtraction {
    fn result(&mut self, payload: u64) -> &mut OpenResult {
        if self
            .result
            .as_ref()
            .is_none_or(|known| known.payload != payload)
        {
            self.result = None;
        }
        self.result.get_or_insert_with(|| OpenResult::of(payload))
    }

    /// Plans the columns once they are known.
    fn plan(&mut self, head: &PayloadHead, schema: &SchemaRef, out: &mut Extracted) -> Result<()> {
        let is_planned = self.result(head.ordinal).plan.is_some();
        if is_planned {
            return Ok(());
        }
        match self.table.plan(schema)? {
            Ok(plan) => self.result(head.ordinal).plan = Some(plan),
            Err(refusal) => {
                out.rejected.push(refusal.of_all(head));
                self.result(head.ordinal).is_refused = true;
            }
        }
        Ok(())
    }

    fn give(&mut self, head: &PayloadHead, rows: &RecordBatch, out: &mut Extracted) -> Result<()> {
        let result = self.result(head.ordinal);
        let Some(plan) = &result.plan else {
            return Ok(());
        };
        let first = result.row;
        let part = plan.apply(rows).map_err(|refusal| unfit(&refusal))?;
        result.row += rows.num_rows() as u64;
        let plan = result.plan.as_ref();
        plan.map_or(Ok(()), |plan| give(head, plan, part, first, out))?;
        out.relieve()
    }
}

impl Extraction for ResultExtraction {
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        let mut buffer = Buffer::from(bytes);
        while !buffer.is_empty() && !self.result(head.ordinal).is_refused {
            let decoder = &mut self.result(head.ordinal).decoder;
            let rows = decoder.decode(&mut buffer).map_err(broken)?;
            if let Some(schema) = decoder.schema() {
                self.plan(head, &schema, out)?;
            }
            if let Some(rows) = rows {
                self.give(head, &rows, out)?;
            }
        }
        Ok(())
    }

    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        fault: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()> {
        let mut result = self.result.take();
        let result = result
            .as_mut()
            .filter(|known| known.payload == head.ordinal);
        match (fault, result) {
            (Some(fault), _) => Err(fault),
            (None, Some(result)) if !result.is_refused => {
                result.decoder.finish().map_err(broken)?;
                result.give_columns(out)
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self, _: &mut Extracted) -> Result<()> {
        Ok(())
    }

    fn contract(&self) -> Contract {
        self.table.contract()
    }
}

/// It was written by this program, so it is damaged.
fn broken(error: ArrowError) -> Error {
    let what = "failed to read the stored result of a statement";
    Error::data("bad_result", what)
        .with_source(error)
        .with_hint("run the pipeline again with `--full` for a new result; run `forebay verify` to find what else is damaged")
}
