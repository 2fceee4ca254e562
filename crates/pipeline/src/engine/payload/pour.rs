//! Feeds one payload into an extractor: decompressed on the way, the same on arrival and on replay.
//!
//! A compressed payload has been [verified](crate::engine::payload::verify) before.

use std::sync::Arc;

use forebay_core::{Compression, Error, PayloadHead, Result};

use crate::engine::payload::verify::refuse_all;
use forebay_formats::decode::Decoder;
use forebay_formats::json::IDENTITY_ATTRIBUTE;
use forebay_formats::magic::{FOREIGN_FORMAT, foreign_format};
use forebay_formats::{Extracted, Extraction};

/// Bytes that an extractor gets at once: their expansion is handed on before the next.
const PIECE_BYTES: usize = 128 << 10;

/// A payload that is being received.
pub(in crate::engine) struct Pour {
    pub(in crate::engine) head: Arc<PayloadHead>,
    decoder: Option<Decoder>,
    /// Why its format is not supported by the extractor; the rest is not extracted.
    broken: Option<Error>,
    /// The bytes so far of a payload that packs messages; it is bounded by
    /// [`MESSAGES_BYTES`](forebay_core::messages::MESSAGES_BYTES) and one message.
    packed: Vec<u8>,
    /// Whether the first bytes have been inspected.
    is_begun: bool,
}

impl Pour {
    pub(in crate::engine) fn new(head: &PayloadHead) -> Result<Self> {
        let decoder = match head.compression {
            Compression::None => None,
            compression => Some(Decoder::new(compression)?),
        };
        Ok(Self {
            head: with_identity(head),
            decoder,
            broken: None,
            packed: Vec::new(),
            is_begun: false,
        })
    }

    pub(in crate::engine) fn push(
        &mut self,
        extraction: &mut dyn Extraction,
        bytes: &[u8],
        out: &mut Extracted,
    ) -> Result<()> {
        let head = &self.head;
        if head.messages.is_some() {
            self.packed.extend_from_slice(bytes);
            return Ok(());
        }
        if self.broken.is_some() {
            return Ok(());
        }
        let is_begun = &mut self.is_begun;
        let pushed = match &mut self.decoder {
            None => feed(extraction, head, is_begun, bytes, out),
            Some(decoder) => decoder.push(bytes, &mut |bytes| {
                feed(extraction, head, is_begun, bytes, out)
            }),
        };
        self.keep(pushed)
    }

    pub(in crate::engine) fn finish(
        mut self,
        extraction: &mut dyn Extraction,
        out: &mut Extracted,
    ) -> Result<()> {
        if self.head.messages.is_some() {
            return extraction.packed(&self.head, &self.packed, out);
        }
        if let Some(decoder) = self.decoder.take().filter(|_| self.broken.is_none()) {
            let head = self.head.clone();
            let is_begun = &mut self.is_begun;
            let finished =
                decoder.finish(&mut |bytes| feed(extraction, &head, is_begun, bytes, out));
            self.keep(finished)?;
        }
        match self.broken {
            // Rejected here, whatever the extractor, which has not received a byte of it.
            Some(error) => out.rejected.push(refuse_all(self.head.ordinal, &error)),
            None => extraction.end(&self.head, None, out)?,
        }
        Ok(())
    }

    /// A payload of another format is the payload's fault; anything else ends the run.
    fn keep(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if error.code() == FOREIGN_FORMAT => {
                self.broken = Some(error);
                Ok(())
            }
            Err(error) if Decoder::is_payload_error(&error) => {
                Err(changed_since(error).with_context("payload", &self.head.name))
            }
            other => other,
        }
    }
}

/// A payload that was whole when it was verified.
fn changed_since(error: Error) -> Error {
    Error::data(
        "raw_corrupt",
        "failed to read a payload back from the raw zone",
    )
    .with_source(error)
    .with_hint("restore the object from a copy")
}

/// Hands bytes to the extractor in pieces; the first ones only when they do not match a known binary format.
fn feed(
    extraction: &mut dyn Extraction,
    head: &Arc<PayloadHead>,
    is_begun: &mut bool,
    bytes: &[u8],
    out: &mut Extracted,
) -> Result<()> {
    let is_first = !std::mem::replace(is_begun, true);
    if is_first
        && !extraction.knows(bytes)
        && let Some(error) = foreign_format(bytes, head.compression)
    {
        return Err(error);
    }
    for piece in bytes.chunks(PIECE_BYTES) {
        extraction.push(head, piece, out)?;
        out.relieve()?;
    }
    Ok(())
}

/// Adds the attribute that record keys are made from: name and time of receipt, both kept in the raw index.
fn with_identity(head: &PayloadHead) -> Arc<PayloadHead> {
    let mut head = head.clone();
    let identity = format!("{}@{}", head.name, head.received_at.micros());
    head.attributes
        .insert(IDENTITY_ATTRIBUTE.to_owned(), identity);
    Arc::new(head)
}
