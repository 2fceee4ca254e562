//! Messages of one schema to columns.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_avro::errors::AvroError;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use forebay_core::Result;

use super::inline;
use super::layout::Layout;
use crate::registry_schema::Schema;
use crate::wire::Unreadable;

/// The zero byte and the id of the schema before a message.
const HEADER_BYTES: usize = 5;

/// Decodes messages of one schema.
pub(super) struct Decoding {
    store: SchemaStore,
    id: Fingerprint,
    /// `None` after a message has left it half filled.
    decoder: Option<Decoder>,
    columns: SchemaRef,
    layout: Layout,
}

impl Decoding {
    pub(super) fn new(id: u32, schema: &Schema) -> Result<Self, Unreadable> {
        let schema = inline::inline(schema)?;
        let layout = Layout::new(&schema)?;
        let id = Fingerprint::Id(id);
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        let set = store.set(id, AvroSchema::new(schema.to_string()));
        set.map_err(|error| Unreadable::new("bad_schema", error.to_string()))?;
        let decoder = decoder(&store, id)?;
        Ok(Self {
            store,
            id,
            columns: decoder.schema(),
            decoder: Some(decoder),
            layout,
        })
    }

    /// Where each message is a block, a list of records.
    pub(super) fn of_blocks(id: u32, schema: &Schema) -> Result<Self, Unreadable> {
        let decoding = Self::new(id, schema)?;
        Ok(Self {
            layout: decoding.layout.of_blocks(),
            ..decoding
        })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    /// Decodes messages up to the first bad one: the rows of those before it, or of some of them, and the reason why it is
    /// bad.
    pub(super) fn decode(
        &mut self,
        messages: &[&[u8]],
    ) -> Result<(Option<RecordBatch>, Option<Unreadable>)> {
        let (good, bad) = self.feed(messages);
        if bad.is_some() {
            // The bad one may have left something behind in the columns: take the others alone.
            self.decoder = None;
            self.feed(&messages[..good]);
        }
        match self.flush() {
            Ok(batch) => Ok((batch, bad)),
            Err(error) => {
                // Some errors of a value are found only when its column is built.
                self.decoder = None;
                match good {
                    0 | 1 => Ok((None, Some(Unreadable::new("bad_avro", error.to_string())))),
                    _ => self.decode(&messages[..good / 2]),
                }
            }
        }
    }

    /// The number of messages taken, and the error of the next.
    fn feed(&mut self, messages: &[&[u8]]) -> (usize, Option<Unreadable>) {
        for (taken, message) in messages.iter().enumerate() {
            if let Err(unreadable) = self.take(message) {
                return (taken, Some(unreadable));
            }
        }
        (messages.len(), None)
    }

    fn take(&mut self, message: &[u8]) -> Result<(), Unreadable> {
        self.layout
            .check(message.get(HEADER_BYTES..).unwrap_or_default())?;
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(decoder(&self.store, self.id)?),
        };
        let bad = |reason: String| Unreadable::new("bad_avro", reason);
        // An impossible length may end in a panic of an allocation.
        let consumed = catch_unwind(AssertUnwindSafe(|| decoder.decode(message)));
        let consumed = consumed.map_err(|_| bad("it has an impossible length".to_owned()))?;
        match consumed {
            Ok(consumed) if consumed == message.len() => Ok(()),
            Ok(consumed) if consumed <= HEADER_BYTES => {
                Err(bad("the bytes end before the record does".to_owned()))
            }
            Ok(consumed) => Err(bad(format!(
                "the record ends at byte {consumed} of {}",
                message.len()
            ))),
            Err(error) => Err(bad(error.to_string())),
        }
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>, AvroError> {
        let flushed = self.decoder.as_mut().map(Decoder::flush);
        flushed.transpose().map(Option::flatten)
    }
}

/// Rows that a decoder may hold before it is asked for them.
const ROWS_MAX: usize = super::TOGETHER + 1;

fn decoder(store: &SchemaStore, id: Fingerprint) -> Result<Decoder, Unreadable> {
    let builder = ReaderBuilder::new()
        .with_batch_size(ROWS_MAX)
        .with_writer_schema_store(store.clone());
    let decoder = builder.with_active_fingerprint(id).build_decoder();
    decoder.map_err(|error| {
        Unreadable::new("bad_schema", format!("the schema cannot be read: {error}"))
    })
}
