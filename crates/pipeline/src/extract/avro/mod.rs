//! `extract: avro`: messages of a registry, each a record of an Avro schema.
//!
//! ```yaml
//! source:
//!   kafka:
//!     cluster: {brokers: [localhost:9092]}
//!     topic: orders
//!     registry: {url: "http://localhost:8081"}
//! extract:
//!   avro: {}
//! ```
//!
//! Columns have the types that the schema says. Each message is decoded with the schema that wrote it; a later schema with
//! more fields adds columns by policy. Avro 1.11 (<https://avro.apache.org/docs/1.11.1/specification/>), in Confluent's wire
//! format. A union of several types becomes a column for each kind, by the rule of `extract: json`: `id: ["int", "string"]` is the
//! column `id` and `id__v_string` beside it; several records in a union have a column by the name of each; a column whose type is
//! declared has that type. A message that is no record (a union of records, a text) is the column `value`. Never reads container
//! files.

mod decode;
mod inline;
#[cfg(test)]
mod tests;
mod union;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::quarantine::RECORD_BYTES_MAX;
use forebay_core::{Batch, Error, Origins, PayloadHead, Rejected, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::decode::Decoding;
use super::contract::{Contract, ContractPolicy};
use super::parquet::plan::{Part, Plan, Refusal, Table, row_as_json};
use super::wire::{self, Unreadable};
use super::{Extracted, Extraction, Extractor, ExtractorKind, Value};
use crate::file::Document;
use crate::source::Framing;

/// Schemas whose decoders are kept.
const SCHEMAS_MAX: usize = 1_000;

/// Messages that are decoded together; when one of them is bad, so many are decoded again at most.
const TOGETHER: usize = 512;

/// `extract: {avro: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads Avro messages. Has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvroConfig {}

#[derive(Debug)]
struct Avro;

impl ExtractorKind for Kind {
    fn name(&self) -> &'static str {
        "avro"
    }

    fn summary(&self) -> &'static str {
        "Avro messages whose schemas are in a registry"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<AvroConfig>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>> {
        let AvroConfig {} = config.parse()?;
        Ok(Box::new(Avro))
    }
}

impl Extractor for Avro {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn takes_messages(&self) -> bool {
        true
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        _records: Option<&str>,
    ) -> Result<Box<dyn Extraction>> {
        Ok(Box::new(AvroExtraction {
            table: Table::new("avro", contract, policy)?,
            known: HashMap::new(),
        }))
    }
}

struct AvroExtraction {
    table: Table,
    /// How to read the messages of a schema, by its id.
    known: HashMap<u32, Known>,
}

struct Known {
    decoding: Decoding,
    reading: Reading,
}

/// How decoded messages become rows.
struct Reading {
    plan: Plan,
    /// Types of the columns that have been declared.
    declared: HashMap<String, DataType>,
}

impl Reading {
    fn new(table: &mut Table, columns: SchemaRef) -> Result<Result<Self, Refusal>> {
        let names = columns.fields().iter().map(|field| field.name());
        let declared = names.filter_map(|name| Some((name.clone(), table.declared(name)?)));
        let declared: HashMap<_, _> = declared.collect();
        let rows = RecordBatch::new_empty(columns);
        let rows = match union::split(&rows, &|name| declared.get(name).cloned()) {
            Ok(rows) => rows,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let plan = table.plan(&rows.schema())?;
        Ok(plan.map(|plan| Self { plan, declared }))
    }

    fn apply(&self, batch: &RecordBatch) -> Result<Part, Refusal> {
        let rows = union::split(batch, &|name| self.declared.get(name).cloned())?;
        self.plan.apply(&rows)
    }
}

impl AvroExtraction {
    /// How to read messages of this schema, or why that cannot be.
    fn known(&mut self, head: &PayloadHead, id: u32) -> Result<Result<&mut Known, Unreadable>> {
        if !self.known.contains_key(&id) {
            let schema = match wire::schema(head, id, "AVRO")? {
                Ok(schema) => schema,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            let decoding = match Decoding::new(id, &schema) {
                Ok(decoding) => decoding,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            let reading = match Reading::new(&mut self.table, decoding.columns())? {
                Ok(reading) => reading,
                Err(refusal) => return Ok(Err(Unreadable::new(refusal.code, refusal.reason))),
            };
            if self.known.len() >= SCHEMAS_MAX {
                self.known.clear();
            }
            self.known.insert(id, Known { decoding, reading });
        }
        let known = self.known.get_mut(&id);
        Ok(known.ok_or_else(|| Unreadable::new("unknown_schema", "the schema is gone")))
    }

    /// Decodes messages of one schema, in order.
    fn run(
        &mut self,
        payload: &Payload<'_>,
        id: u32,
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        let known = match self.known(payload.head, id)? {
            Ok(known) => known,
            Err(unreadable) => {
                for value in values {
                    out.rejected.push(payload.refuse(value, &unreadable));
                }
                return Ok(());
            }
        };
        let mut left = values;
        while !left.is_empty() {
            let together = &left[..left.len().min(TOGETHER)];
            let messages = together
                .iter()
                .map(|value| &payload.bytes[value.bytes.clone()]);
            let (decoded, bad) = known.decoding.decode(messages)?;
            let good = &together[..decoded.as_ref().map_or(0, RecordBatch::num_rows)];
            if let Some(batch) = decoded {
                payload.give(&known.reading, &batch, good, out)?;
            }
            left = &left[good.len()..];
            if let (Some(unreadable), Some(value)) = (bad, left.first()) {
                out.rejected.push(payload.refuse(value, &unreadable));
                left = &left[1..];
            }
        }
        Ok(())
    }
}

/// The payload whose messages are being read.
struct Payload<'a> {
    head: &'a PayloadHead,
    bytes: &'a [u8],
}

impl Payload<'_> {
    fn refuse(&self, value: &Value, unreadable: &Unreadable) -> Rejected {
        let message = &self.bytes[value.bytes.clone()];
        Rejected {
            payload: self.head.ordinal,
            offset: Some(value.at),
            line: None,
            stage: "extract".to_owned(),
            code: unreadable.code.to_owned(),
            reason: unreadable.reason.clone(),
            record: message[..message.len().min(RECORD_BYTES_MAX)].to_vec(),
        }
    }

    /// Hands rows on as the table has them; what does not fit is refused.
    fn give(
        &self,
        reading: &Reading,
        batch: &RecordBatch,
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        let part = match reading.apply(batch) {
            Ok(part) => part,
            Err(refusal) if batch.num_rows() > 1 => {
                // One of them does not fit: which one shows when they are halved.
                let (middle, rows) = (batch.num_rows() / 2, batch.num_rows());
                let _ = refusal;
                self.give(reading, &batch.slice(0, middle), &values[..middle], out)?;
                return self.give(
                    reading,
                    &batch.slice(middle, rows - middle),
                    &values[middle..],
                    out,
                );
            }
            Err(refusal) => {
                let unreadable = Unreadable::new(refusal.code, refusal.reason);
                out.rejected
                    .extend(values.iter().map(|value| self.refuse(value, &unreadable)));
                return Ok(());
            }
        };
        self.keep(&reading.plan, part, values, out)
    }

    fn keep(&self, plan: &Plan, part: Part, values: &[Value], out: &mut Extracted) -> Result<()> {
        let mut keep = vec![true; values.len()];
        for finer in part.finer {
            keep[finer.row] = false;
            let what = format!(
                "column `{}` has a time with a part below one microsecond, which a table cannot hold",
                finer.column
            );
            out.rejected
                .push(self.refuse(&values[finer.row], &Unreadable::new("time_too_fine", what)));
        }
        let mut records = part.records;
        for (row, keep) in keep.iter_mut().enumerate().filter(|_| plan.has_required()) {
            if let Some(name) = plan.lacks(&records, row).filter(|_| *keep) {
                *keep = false;
                let what = format!("column `{name}` is required and has no value");
                let record = row_as_json(&records, row).map_err(failed)?;
                let refused = self.refuse(&values[row], &Unreadable::new("missing_required", what));
                out.rejected.push(Rejected { record, ..refused });
            }
        }
        let mut origins = Origins::default();
        for (value, _) in values.iter().zip(&keep).filter(|(_, keep)| **keep) {
            let length = u32::try_from(value.bytes.len()).unwrap_or(u32::MAX);
            origins.push(self.head.ordinal, value.at, length);
        }
        if origins.len() < keep.len() {
            records = filter_record_batch(&records, &BooleanArray::from(keep)).map_err(failed)?;
        }
        if records.num_rows() > 0 {
            out.batches.push(Batch::main(records, Some(origins)));
        }
        Ok(())
    }
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("avro_batch", "failed to hand rows of Avro messages on").with_source(error)
}

impl Extraction for AvroExtraction {
    fn push(&mut self, _: &Arc<PayloadHead>, _: &[u8], _: &mut Extracted) -> Result<()> {
        let what = "the extractor `avro` reads messages of a registry, and the source brings files";
        Err(Error::config("needs_messages", what))
    }

    fn end(&mut self, _: &Arc<PayloadHead>, _: Option<Error>, _: &mut Extracted) -> Result<()> {
        Ok(())
    }

    fn messages(
        &mut self,
        head: &Arc<PayloadHead>,
        bytes: &[u8],
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        let payload = Payload { head, bytes };
        let id = |value: &Value| wire::split(&bytes[value.bytes.clone()]).map(|(id, _)| id);
        for run in values.chunk_by(|one, other| id(one).ok() == id(other).ok()) {
            match id(&run[0]) {
                Ok(schema) => self.run(&payload, schema, run, out)?,
                Err(unreadable) => out
                    .rejected
                    .extend(run.iter().map(|value| payload.refuse(value, &unreadable))),
            }
        }
        Ok(())
    }

    fn flush(&mut self, _: &mut Extracted) -> Result<()> {
        Ok(())
    }

    fn contract(&self) -> Contract {
        self.table.contract()
    }
}
