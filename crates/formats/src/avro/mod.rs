//! `extract: avro`: container files, and messages of a registry, each a record of an Avro schema.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! Columns have the types of the schema. Each message is decoded with the schema that wrote it; a later schema with more
//! fields adds columns by policy. Avro 1.11 (<https://avro.apache.org/docs/1.11.1/specification/>), in Confluent's wire
//! format. A union of several types becomes a column for each kind, by the rule of `extract: json`: `id: ["int", "string"]`
//! is the column `id` and `id__v_string` beside it; several records in a union have a column by the name of each; a column
//! with a declared type has that type. A message other than a record (a union of records, a text) is the column `value`.
//!
//! A container file (`.avro`, with the schema in its header) is read block by block, from any source. Codecs are `null`,
//! `deflate`, `snappy` and `zstandard`. A block that cannot be decoded is rejected; where the file is damaged between
//! blocks, the rest of it is. A container that is one message among others is loaded whole or rejected.

mod container;
mod decode;
mod empty_lists;
mod inline;
mod layout;
#[cfg(test)]
mod tests;
mod union;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::quarantine::RECORD_BYTES_MAX;
use forebay_core::{Batch, Error, Origins, PayloadHead, Rejected, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::container::MAGIC;
use self::container::reading::ContainerReading;
use self::decode::Decoding;
use super::contract::{Contract, ContractPolicy};
use super::parquet::plan::{Part, Plan, Refusal, Table};
use super::wire::{self, Unreadable};
use super::{Extracted, Extraction, Extractor, ExtractorKind, Value};
use crate::framing::Framing;
use forebay_config::{Component, Document};

/// Messages that are decoded together; when one of them is bad, at most this many are decoded again.
const TOGETHER: usize = 512;

/// Expanded size limit of a container file that is one message among others.
const FILE_MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// `extract: {avro: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads Avro files and messages. Has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvroConfig {}

#[derive(Debug)]
struct Avro;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "avro"
    }

    fn summary(&self) -> &'static str {
        "Avro container files, and messages whose schemas are in a registry"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<AvroConfig>()
    }
}

impl ExtractorKind for Kind {
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
            known: wire::Known::new(),
            file: None,
        }))
    }
}

struct AvroExtraction {
    table: Table,
    /// How to read the messages of a schema, by its id.
    known: wire::Known<Known>,
    /// The container file that is being received.
    file: Option<ContainerReading>,
}

struct Known {
    decoding: Decoding,
    reading: Reading,
}

/// Converts decoded messages to rows.
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
        let rows = match plain(&rows, &declared) {
            Ok(rows) => rows,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let plan = table.plan(&rows.schema())?;
        Ok(plan.map(|plan| Self { plan, declared }))
    }

    fn apply(&self, batch: &RecordBatch) -> Result<Part, Refusal> {
        self.plan.apply(&plain(batch, &self.declared)?)
    }
}

/// The batch without types that only Avro has.
fn plain(
    batch: &RecordBatch,
    declared: &HashMap<String, DataType>,
) -> Result<RecordBatch, Refusal> {
    let batch = empty_lists::untyped(batch, &|name| declared.contains_key(name))?;
    union::split(&batch, &|name| declared.get(name).cloned())
}

impl AvroExtraction {
    /// The reader for messages of this schema, or why there is none.
    fn known(&mut self, head: &PayloadHead, id: u32) -> Result<Result<&mut Known, Unreadable>> {
        let table = &mut self.table;
        self.known.of(id, || {
            let schema = match wire::schema(head, id, "AVRO")? {
                Ok(schema) => schema,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            let decoding = match Decoding::new(id, &schema) {
                Ok(decoding) => decoding,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            let reading = Reading::new(table, decoding.columns())?;
            Ok(match reading {
                Ok(reading) => Ok(Known { decoding, reading }),
                Err(refusal) => Err(Unreadable::new(refusal.code, refusal.reason)),
            })
        })
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
                payload.refuse_all(values, &unreadable, out);
                return Ok(());
            }
        };
        let mut left = values;
        while !left.is_empty() {
            let first = &left[..left.len().min(TOGETHER)];
            let bytes = first.iter().map(|value| value.bytes.len());
            let together = &left[..known.decoding.layout().together(bytes)];
            let messages = together
                .iter()
                .map(|value| &payload.bytes[value.bytes.clone()]);
            let (decoded, bad) = known.decoding.decode(&messages.collect::<Vec<_>>())?;
            let good = &together[..decoded.as_ref().map_or(0, RecordBatch::num_rows)];
            if let Some(batch) = decoded {
                payload.give(&known.reading, &batch, good, out)?;
            }
            left = &left[good.len()..];
            if let (Some(unreadable), Some(value)) = (bad, left.first()) {
                out.rejected.push(payload.refuse(value, unreadable));
                left = &left[1..];
            }
        }
        Ok(())
    }
}

impl AvroExtraction {
    /// Reads messages that are container files. All rows of one have the origin of its message, so it is loaded whole or
    /// rejected.
    fn files(
        &mut self,
        payload: &Payload<'_>,
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        let head = payload.head;
        for value in values {
            let mut held = Extracted::default();
            let mut file = ContainerReading::bounded(FILE_MESSAGE_BYTES_MAX);
            file.push(&mut self.table, head, payload.message(value), &mut held)?;
            file.end(&mut self.table, head, None, &mut held)?;
            if let Some(first) = held.rejected.first() {
                let reason = format!("{}; nothing of the file is loaded", first.reason);
                let unreadable = Unreadable::new("bad_avro_file", reason);
                out.rejected.push(payload.refuse(value, unreadable));
                continue;
            }
            let length = u32::try_from(value.bytes.len()).unwrap_or(u32::MAX);
            for mut batch in held.batches {
                let mut origins = Origins::default();
                for _ in 0..batch.records.num_rows() {
                    origins.push(head.ordinal, value.at, length);
                }
                batch.origins = Some(origins);
                out.batches.push(batch);
            }
            out.relieve()?;
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
    fn message(&self, value: &Value) -> &[u8] {
        &self.bytes[value.bytes.clone()]
    }

    fn refuse(&self, value: &Value, unreadable: Unreadable) -> Rejected {
        unreadable.refuse(self.head, value, self.message(value))
    }

    fn refuse_all(&self, values: &[Value], unreadable: &Unreadable, out: &mut Extracted) {
        let refused = values
            .iter()
            .map(|value| self.refuse(value, unreadable.clone()));
        out.rejected.extend(refused);
    }

    /// Hands rows on in the table's types; rows that do not fit are rejected.
    fn give(
        &self,
        reading: &Reading,
        batch: &RecordBatch,
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        let part = match reading.apply(batch) {
            Ok(part) => part,
            Err(_) if batch.num_rows() > 1 => {
                // One of them does not fit: it is found by bisection.
                let middle = batch.num_rows() / 2;
                let rows = batch.num_rows();
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
                self.refuse_all(values, &unreadable, out);
                return Ok(());
            }
        };
        self.keep(&reading.plan, part, values, out)
    }

    fn keep(
        &self,
        plan: &Plan,
        mut part: Part,
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        for unrepresentable in &mut part.unrepresentable {
            unrepresentable.record = self.message(&values[unrepresentable.row]).to_vec();
        }
        let admitted = plan.admit(part, vec![true; values.len()])?;
        for refused in admitted.refused {
            let value = &values[refused.row];
            let why = refused.reason;
            let mut rejected = Unreadable::new(refused.code, why).refuse(self.head, value, &[]);
            rejected.record = refused.record;
            rejected.record.truncate(RECORD_BYTES_MAX);
            out.rejected.push(rejected);
        }
        let mut origins = Origins::default();
        for (value, _) in values.iter().zip(&admitted.keep).filter(|(_, keep)| **keep) {
            let length = u32::try_from(value.bytes.len()).unwrap_or(u32::MAX);
            origins.push(self.head.ordinal, value.at, length);
        }
        if admitted.records.num_rows() > 0 {
            out.batches
                .push(Batch::main(admitted.records, Some(origins)));
        }
        Ok(())
    }
}

impl Extraction for AvroExtraction {
    fn knows(&self, start: &[u8]) -> bool {
        start.starts_with(MAGIC)
    }

    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        let file = self.file.get_or_insert_with(ContainerReading::new);
        file.push(&mut self.table, head, bytes, out)
    }

    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        broken: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()> {
        let broken = broken.map(|error| Unreadable::new("corrupt_avro", error.to_string()));
        let file = self.file.take().unwrap_or_else(ContainerReading::new);
        file.end(&mut self.table, head, broken, out)
    }

    fn is_between_records(&self) -> bool {
        self.file.is_none()
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
        let is_file = |value: &Value| bytes[value.bytes.clone()].starts_with(MAGIC);
        let kind = |value: &Value| (id(value).ok(), is_file(value));
        for run in values.chunk_by(|one, other| kind(one) == kind(other)) {
            match id(&run[0]) {
                _ if is_file(&run[0]) => self.files(&payload, run, out)?,
                Ok(schema) => self.run(&payload, schema, run, out)?,
                Err(unreadable) => payload.refuse_all(run, &unreadable, out),
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
