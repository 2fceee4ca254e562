//! Payloads that pack messages: selects the messages to extract, and adds the columns of message metadata.
//!
//! Rejects messages without a value, and keeps message metadata (key, time, position, headers) for the columns of its rows.
//! Never reads a value.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, new_null_array};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Field};
use forebay_core::quarantine::Extent;
use forebay_core::{Compression, Error, Messages, Origins, PayloadHead, Rejected, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::added_columns::{AddedColumn, ColumnExtraction, ColumnSource, OwnColumn};
use super::magic::{FOREIGN_FORMAT, compressed};
use crate::{Extracted, Extraction, Value};
use forebay_config::Document;

/// Messages whose rows may be held back in the extractor before it has to release them.
const HELD_MAX: usize = 1 << 18;

/// The message options that a pipeline can configure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageRules {
    pub columns: MessageColumns,
    pub tombstones: Tombstones,
    /// Whether the source brings only messages. Otherwise an extractor without messages reads whole payloads.
    pub only: bool,
}

/// Columns of the main table with message metadata; each is added when it is given a name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MessageColumns {
    /// The key as text; a message whose key is not UTF-8 is rejected.
    pub key: Option<String>,
    /// The key as bytes.
    pub key_bytes: Option<String>,
    /// The timestamp of the message, set by its producer or broker.
    pub timestamp: Option<String>,
    /// The number of the partition.
    pub partition: Option<String>,
    /// The offset of the message in its partition.
    pub offset: Option<String>,
    /// A list of `name` and `value` (bytes).
    pub headers: Option<String>,
}

/// Handling of a message without a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tombstones {
    /// It is quarantined.
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

    /// Checks beyond the schema. Errors: `Config` at the `columns` of `source`.
    pub fn check(&self, source: &Document) -> Result<()> {
        let mut names: Vec<String> = self.names().collect();
        names.sort();
        let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) else {
            return Ok(());
        };
        let place = source.get("columns").unwrap_or_else(|| source.clone());
        let what = format!("duplicate column name `{}`", pair[0]);
        Err(place.error("column_clash", what))
    }

    /// The names that are given.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.wanted().into_iter().map(|(name, ..)| name)
    }
}

/// An extraction that unpacks messages.
pub type MessageExtraction = ColumnExtraction<MessageSource>;

/// The messages whose rows are being extracted, and their columns.
#[derive(Debug)]
pub struct MessageSource {
    wanted: Vec<(String, &'static str, DataType)>,
    /// Messages of the payloads whose rows are still held back, by the payload's ordinal.
    held: VecDeque<(u64, Arc<Messages>)>,
    held_messages: usize,
}

/// Unpacks payloads of messages.
#[derive(Debug)]
pub(super) struct MessagePacking {
    /// Whether the extractor takes many messages at once.
    packs: bool,
    rules: MessageRules,
}

impl MessageExtraction {
    /// `packs`: whether `inner` takes many messages at once.
    pub fn of_messages(inner: Box<dyn Extraction>, packs: bool, rules: MessageRules) -> Self {
        let source = MessageSource {
            wanted: rules.columns.wanted(),
            held: VecDeque::new(),
            held_messages: 0,
        };
        Self::with_source(inner, source, Some(MessagePacking { packs, rules }))
    }
}

impl MessagePacking {
    /// Passes the valid messages of a payload to `inner`.
    pub(super) fn extract(
        &self,
        inner: &mut dyn Extraction,
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
                "{} packs {} messages, but the extractor reads one at a time",
                head.name,
                messages.len()
            );
            return Err(Error::unsupported("packed_messages", what).with_hint(
                "use the extractor of the pipeline that stored them, or another that reads messages",
            ));
        }
        let values = self.admit(head, (&messages, bytes), out);
        out.relieve()?;
        if self.packs {
            return inner.messages(head, bytes, &values, out);
        }
        if values.is_empty() {
            return Ok(());
        }
        inner.push(head, bytes, out)?;
        inner.end(head, None, out)
    }

    /// The values to extract; invalid messages are rejected here.
    fn admit(
        &self,
        head: &PayloadHead,
        (messages, bytes): (&Messages, &[u8]),
        out: &mut Extracted,
    ) -> Vec<Value> {
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
                (Some(value), None) => match compressed(&bytes[value.clone()], Compression::None) {
                    Some(error) => {
                        out.rejected
                            .push(refuse(FOREIGN_FORMAT, error.message(), &[]));
                    }
                    None => values.push(Value {
                        at: value.start as u64,
                        bytes: value,
                    }),
                },
            }
        }
        values
    }
}

impl ColumnSource for MessageSource {
    fn has_columns(&self) -> bool {
        !self.wanted.is_empty()
    }

    fn is_full(&self, head: &PayloadHead) -> bool {
        let more = head.messages.as_ref().map_or(0, |messages| messages.len());
        !self.held.is_empty() && self.held_messages + more > HELD_MAX
    }

    fn note(&mut self, head: &PayloadHead) {
        if let Some(messages) = &head.messages {
            self.held_messages += messages.len();
            self.held.push_back((head.ordinal, Arc::clone(messages)));
        }
    }

    fn columns(&self, origins: &Origins) -> Result<Vec<AddedColumn>> {
        let places = self.places(origins)?;
        let wanted = self.wanted.iter();
        let added = wanted.map(|(name, from, kind)| {
            Ok(AddedColumn {
                field: Field::new(name, kind.clone(), true),
                values: self.column(from, kind, &places)?,
                own: OwnColumn::Renamed,
                is_declared: false,
            })
        });
        added.collect()
    }

    fn forget_before(&mut self, ordinal: u64) {
        while self.held.front().is_some_and(|(held, _)| *held < ordinal) {
            if let Some((_, messages)) = self.held.pop_front() {
                self.held_messages -= messages.len();
            }
        }
    }
}

impl MessageSource {
    /// For each row, the index of its held payload and of its message; an index past the last payload for a row of a
    /// payload without messages.
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
            let Some((_, messages)) = found else {
                return Ok((self.held.len(), 0));
            };
            let message = messages.at(*byte).map(|message| (payload, message));
            message.ok_or_else(|| Error::bug("no_message", "a row without a message"))
        })
        .collect()
    }

    fn column(&self, from: &str, kind: &DataType, places: &[(usize, usize)]) -> Result<ArrayRef> {
        let missing = || Error::bug("no_column", "messages without a column");
        let fields = Messages::fields();
        let (_, field) = fields.find(from).ok_or_else(missing)?;
        let none = new_null_array(field.data_type(), 1);
        let held = self.held.iter();
        let sources: Option<Vec<&dyn Array>> = held
            .map(|(_, messages)| Some(messages.column(from)?.as_ref()))
            .chain([Some(none.as_ref())])
            .collect();
        let values = interleave(&sources.ok_or_else(missing)?, places).map_err(broken)?;
        cast(&values, kind).map_err(broken)
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

/// A position in the payload that is unique to this message, so that a replay takes no other: the start of its value, or,
/// for one without content, a position after all values.
fn offset_of(messages: &Messages, n: usize) -> u64 {
    match messages.value(n) {
        Some(value) if !value.is_empty() => value.start as u64,
        _ => messages.bytes() + n as u64,
    }
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::bug("message_columns", "failed to add the columns of messages").with_source(error)
}
