//! Payloads that pack messages: which of them are extracted, and the columns that say where each row came from.
//!
//! Wraps an extraction. It refuses messages without a value, and adds what came with a message — key, time, place,
//! headers — to the main rows of its records. Never looks into a value.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Field, Schema};
use forebay_core::quarantine::Extent;
use forebay_core::{Batch, Error, Messages, Origins, PayloadHead, Rejected, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::extract::contract::Contract;
use crate::extract::{Extracted, Extraction, ObjectInput, Outlet, Value};
use crate::file::Document;

/// Messages whose rows may be held back in the extractor before it has to give them up.
const HELD_MAX: usize = 1 << 18;

/// What a source of messages lets a pipeline say of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageRules {
    pub columns: MessageColumns,
    pub tombstones: Tombstones,
    /// Whether nothing but messages comes. Otherwise an extractor that takes none reads whole payloads.
    pub only: bool,
}

/// Columns of the main table that say what came with a message; each is there when it is given a name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MessageColumns {
    /// The key as text; a message whose key is not UTF-8 is refused.
    pub key: Option<String>,
    /// The key as it came.
    pub key_bytes: Option<String>,
    /// When the message was made, as its producer or broker says.
    pub timestamp: Option<String>,
    /// The number of the partition.
    pub partition: Option<String>,
    /// Where the message stands in its partition.
    pub offset: Option<String>,
    /// A list of `name` and `value` (bytes).
    pub headers: Option<String>,
}

/// What becomes of a message without a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tombstones {
    /// It is refused.
    #[default]
    Quarantine,
    /// It stays in the raw zone only.
    Skip,
}

impl MessageColumns {
    /// Name, column of [`Messages::fields`] and type of each column that is wanted.
    fn wanted(&self) -> Vec<(String, &'static str, DataType)> {
        let kind = |name: &str| {
            let fields = Messages::fields();
            let found = fields
                .find(name)
                .map(|(_, field)| field.data_type().clone());
            found.unwrap_or(DataType::Null)
        };
        let all = [
            (&self.key, "key", DataType::Utf8),
            (&self.key_bytes, "key", DataType::Binary),
            (&self.timestamp, "timestamp", kind("timestamp")),
            (&self.partition, "partition", kind("partition")),
            (&self.offset, "offset", kind("offset")),
            (&self.headers, "headers", kind("headers")),
        ];
        let named = all
            .into_iter()
            .filter_map(|(name, from, kind)| Some((name.clone()?, from, kind)));
        named.collect()
    }

    /// What a schema cannot say. Errors: `Config` at the `columns` of `source`.
    pub fn check(&self, source: &Document) -> Result<()> {
        let mut names: Vec<String> = self.names().collect();
        names.sort();
        let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) else {
            return Ok(());
        };
        let place = source.get("columns").unwrap_or_else(|| source.clone());
        let what = format!("two columns are called `{}`", pair[0]);
        Err(place.error("column_clash", what))
    }

    /// The names that are given.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.wanted().into_iter().map(|(name, ..)| name)
    }
}

/// An extraction that knows what messages are.
pub struct MessageExtraction {
    inner: Box<dyn Extraction>,
    /// Whether `inner` takes many messages at once.
    packs: bool,
    rules: MessageRules,
    columns: Arc<Mutex<Columns>>,
}

/// The columns of messages, as they are added to rows.
#[derive(Debug)]
struct Columns {
    wanted: Vec<(String, &'static str, DataType)>,
    /// Messages of the payloads whose rows are still held back, by the payload's ordinal.
    held: VecDeque<(u64, Arc<Messages>)>,
    held_messages: usize,
}

/// Adds the columns to what is handed on before a call ends.
#[derive(Debug)]
struct Completing {
    columns: Arc<Mutex<Columns>>,
    next: Arc<dyn Outlet>,
}

impl Outlet for Completing {
    fn take(&self, mut piece: Extracted) -> Result<()> {
        lock(&self.columns).complete(&mut piece)?;
        self.next.take(piece)
    }
}

fn lock(columns: &Mutex<Columns>) -> MutexGuard<'_, Columns> {
    columns.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MessageExtraction {
    pub fn new(inner: Box<dyn Extraction>, packs: bool, rules: MessageRules) -> Self {
        Self {
            inner,
            packs,
            columns: Arc::new(Mutex::new(Columns {
                wanted: rules.columns.wanted(),
                held: VecDeque::new(),
                held_messages: 0,
            })),
            rules,
        }
    }

    /// Lets `inner` give what it gives, with the columns of messages in it.
    fn complete(
        &mut self,
        out: &mut Extracted,
        give: impl FnOnce(&mut dyn Extraction, &mut Extracted) -> Result<()>,
    ) -> Result<()> {
        if lock(&self.columns).wanted.is_empty() {
            return give(self.inner.as_mut(), out);
        }
        let mut given = match out.outlet() {
            Some(next) => Extracted::into_outlet(Arc::new(Completing {
                columns: self.columns.clone(),
                next,
            })),
            None => Extracted::default(),
        };
        give(self.inner.as_mut(), &mut given)?;
        lock(&self.columns).complete(&mut given)?;
        out.batches.append(&mut given.batches);
        out.rejected.append(&mut given.rejected);
        Ok(())
    }

    fn payload(
        &mut self,
        head: &Arc<PayloadHead>,
        bytes: &[u8],
        out: &mut Extracted,
    ) -> Result<()> {
        let Some(messages) = head.messages.clone() else {
            return Err(Error::bug("no_messages", "the payload packs no messages"));
        };
        if messages.bytes() != bytes.len() as u64 {
            let what = format!(
                "{} has {} bytes and its messages {}",
                head.name,
                bytes.len(),
                messages.bytes()
            );
            return Err(Error::data("bad_messages", what));
        }
        if !self.packs && messages.len() > 1 {
            let what = format!(
                "{} packs {} messages, and the extractor takes one at a time",
                head.name,
                messages.len()
            );
            return Err(Error::unsupported("packed_messages", what).with_hint(
                "use the extractor of the pipeline that kept them, or another that takes messages",
            ));
        }
        let values = self.admit(head, &messages, out);
        out.relieve()?;
        let is_full = lock(&self.columns).hold(head.ordinal, &messages);
        let packs = self.packs;
        self.complete(out, |inner, out| {
            if packs {
                inner.messages(head, bytes, &values, out)?;
            } else if !values.is_empty() {
                inner.push(head, bytes, out)?;
                inner.end(head, None, out)?;
            }
            if is_full { inner.flush(out) } else { Ok(()) }
        })?;
        if is_full {
            lock(&self.columns).let_go();
        }
        Ok(())
    }

    /// The values to extract; what may not pass is refused here.
    fn admit(&self, head: &PayloadHead, messages: &Messages, out: &mut Extracted) -> Vec<Value> {
        let keys = messages.column("key").map(|keys| keys.as_binary::<i32>());
        let keys = keys.filter(|_| self.rules.columns.key.is_some());
        let mut values = Vec::with_capacity(messages.len());
        for n in 0..messages.len() {
            let refuse = |code, what, record| refused(head, messages, n, code, what, record);
            match (messages.value(n), keys.and_then(|keys| bad_key(keys, n))) {
                (None, _) if self.rules.tombstones == Tombstones::Skip => {}
                (None, _) => {
                    let refused = refuse("tombstone", "it has no value (a tombstone)", &[]);
                    out.rejected.push(refused);
                }
                (Some(value), _) if value.is_empty() => {
                    out.rejected
                        .push(refuse("empty_message", "it is empty", &[]));
                }
                (Some(_), Some(key)) => {
                    let what = "its key is not UTF-8: name it under `columns.key_bytes` instead of `columns.key`";
                    out.rejected.push(refuse("key_not_utf8", what, key));
                }
                (Some(value), None) => values.push(Value {
                    at: value.start as u64,
                    bytes: value,
                }),
            }
        }
        values
    }
}

impl Columns {
    /// Whether so many are held now that their rows have to be given up.
    fn hold(&mut self, ordinal: u64, messages: &Arc<Messages>) -> bool {
        if self.wanted.is_empty() {
            return false;
        }
        self.held_messages += messages.len();
        self.held.push_back((ordinal, Arc::clone(messages)));
        self.held_messages > HELD_MAX
    }

    fn let_go(&mut self) {
        self.held.clear();
        self.held_messages = 0;
    }

    /// Adds the columns to the main batches.
    fn complete(&mut self, out: &mut Extracted) -> Result<()> {
        let batches = out.batches.iter_mut();
        for batch in batches.filter(|batch| batch.child.is_empty()) {
            let Some(origins) = batch.origins.take() else {
                return Err(Error::bug(
                    "no_origins",
                    "extracted rows without their places",
                ));
            };
            *batch = self.with_columns(batch.records.clone(), origins)?;
        }
        Ok(())
    }

    fn with_columns(&mut self, records: RecordBatch, origins: Origins) -> Result<Batch> {
        let places = self.places(&origins)?;
        let (schema, mut columns, _) = records.into_parts();
        let mut fields = schema.fields().to_vec();
        for (name, from, kind) in &self.wanted {
            rename_own(&mut fields, name);
            fields.push(Arc::new(Field::new(name, kind.clone(), true)));
            columns.push(self.column(from, kind, &places)?);
        }
        if let Some(last) = origins.payloads.last() {
            self.let_go_before(*last);
        }
        let records =
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(broken)?;
        Ok(Batch::main(records, Some(origins)))
    }

    /// For each row, which of the held payloads and which of its messages.
    fn places(&self, origins: &Origins) -> Result<Vec<(usize, usize)>> {
        let mut payload = 0;
        let rows = origins.payloads.iter().zip(&origins.offsets);
        rows.map(|(ordinal, byte)| {
            while self
                .held
                .get(payload)
                .is_some_and(|(held, _)| held < ordinal)
            {
                payload += 1;
            }
            let found = self.held.get(payload).filter(|(held, _)| held == ordinal);
            let message = found.and_then(|(_, messages)| messages.at(*byte));
            let place = message.map(|message| (payload, message));
            place.ok_or_else(|| Error::bug("no_message", "a row came from no message"))
        })
        .collect()
    }

    fn column(&self, from: &str, kind: &DataType, places: &[(usize, usize)]) -> Result<ArrayRef> {
        let sources: Option<Vec<&dyn Array>> = self
            .held
            .iter()
            .map(|(_, messages)| Some(messages.column(from)?.as_ref()))
            .collect();
        let sources =
            sources.ok_or_else(|| Error::bug("no_column", "messages without a column"))?;
        let values = interleave(&sources, places).map_err(broken)?;
        cast(&values, kind).map_err(broken)
    }

    fn let_go_before(&mut self, ordinal: u64) {
        while self.held.front().is_some_and(|(held, _)| *held < ordinal) {
            if let Some((_, messages)) = self.held.pop_front() {
                self.held_messages -= messages.len();
            }
        }
    }
}

/// Records that have a column of this name themselves keep it under another: a record must not stop those behind it.
fn rename_own(fields: &mut [Arc<Field>], name: &str) {
    let Some(own) = fields.iter().position(|field| field.name() == name) else {
        return;
    };
    let is_free = |other: &String| fields.iter().all(|field| field.name() != other);
    let mut others = (2_u64..).map(|n| format!("{name}_{n}"));
    if let Some(other) = others.find(is_free) {
        fields[own] = Arc::new(fields[own].as_ref().clone().with_name(other));
    }
}

fn bad_key(keys: &BinaryArray, n: usize) -> Option<&[u8]> {
    let key = keys.is_valid(n).then(|| keys.value(n))?;
    std::str::from_utf8(key).is_err().then_some(key)
}

fn refused(
    head: &PayloadHead,
    messages: &Messages,
    n: usize,
    code: &str,
    what: &str,
    record: &[u8],
) -> Rejected {
    let (partition, offset) = messages.place(n);
    let start = offset_of(messages, n);
    let length = messages.value(n).map_or(0, |value| value.len() as u64);
    Rejected {
        payload: Some(head.ordinal),
        extent: Some(Extent::document(start, length)),
        offset: Some(start),
        line: None,
        stage: "extract".to_owned(),
        code: code.to_owned(),
        reason: format!("the message at offset {offset} of partition {partition}: {what}"),
        record: record.to_vec(),
    }
}

/// A place in the payload that is this message's alone, so that a replay takes no other: the start of its value, or, for one
/// without content, a place behind all values.
fn offset_of(messages: &Messages, n: usize) -> u64 {
    match messages.value(n) {
        Some(value) if !value.is_empty() => value.start as u64,
        _ => messages.bytes() + n as u64,
    }
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::bug("message_columns", "failed to add the columns of messages").with_source(error)
}

impl Extraction for MessageExtraction {
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        self.inner.push(head, bytes, out)
    }

    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        broken: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()> {
        self.inner.end(head, broken, out)
    }

    fn packed(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        self.payload(head, bytes, out)
    }

    fn object(
        &mut self,
        head: &Arc<PayloadHead>,
        object: ObjectInput<'_>,
        out: &mut Extracted,
    ) -> Result<()> {
        self.inner.object(head, object, out)
    }

    fn more(&mut self, out: &mut Extracted) -> Result<bool> {
        self.inner.more(out)
    }

    fn wants_object(&self) -> bool {
        self.inner.wants_object()
    }

    fn is_between_records(&self) -> bool {
        self.inner.is_between_records()
    }

    fn carried(&mut self, head: &PayloadHead) -> Option<(String, String)> {
        self.inner.carried(head)
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        self.complete(out, |inner, out| inner.flush(out))?;
        lock(&self.columns).let_go();
        Ok(())
    }

    fn pending_rows(&self) -> u64 {
        self.inner.pending_rows()
    }

    fn contract(&self) -> Contract {
        self.inner.contract()
    }
}
