//! Verifies compressed payloads before a byte of them is extracted.
//!
//! A checksum comes last, and rows before it look valid even when a byte has changed. So a payload is decompressed twice:
//! first to verify it, then into the extractor. Small ones are kept in memory in between; large ones are read back from the
//! raw zone.

use forebay_core::quarantine::Extent;
use forebay_core::{Compression, Error, PayloadHead, Rejected, Result};

use crate::engine::payload::stored::StoredPayload;
use forebay_formats::decode::Decoder;

/// Compressed bytes that are kept in memory until the payload is verified.
const HELD_BYTES_MAX: usize = 8 << 20;

/// A compressed payload that is being decompressed to verify it.
#[derive(Debug)]
pub(in crate::engine) struct Verification {
    ordinal: u64,
    decoder: Decoder,
    broken: Option<Error>,
    /// `None` once they are more than [`HELD_BYTES_MAX`].
    held: Option<Vec<u8>>,
}

/// The result of a verification.
#[derive(Debug)]
pub(in crate::engine) enum Verified {
    /// The payload is whole; with its compressed bytes when they were few.
    Whole(Option<Vec<u8>>),
    /// Nothing of it may be loaded.
    Refused(Rejected),
}

impl Verification {
    /// `None` for a payload that is not compressed.
    pub(in crate::engine) fn begin(head: &PayloadHead) -> Result<Option<Self>> {
        if head.compression == Compression::None {
            return Ok(None);
        }
        Ok(Some(Self {
            ordinal: head.ordinal,
            decoder: Decoder::new(head.compression)?,
            broken: None,
            held: Some(Vec::new()),
        }))
    }

    pub(in crate::engine) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.broken.is_some() {
            return Ok(());
        }
        self.hold(bytes);
        let decoded = self.decoder.push(bytes, &mut |_| Ok(()));
        self.broken = fault(decoded)?;
        Ok(())
    }

    /// The payload is complete.
    pub(in crate::engine) fn finish(self) -> Result<Verified> {
        let broken = match self.broken {
            None => fault(self.decoder.finish(&mut |_| Ok(())))?,
            broken => broken,
        };
        Ok(match broken {
            None => Verified::Whole(self.held),
            Some(error) => Verified::Refused(refuse_all(self.ordinal, &error)),
        })
    }

    fn hold(&mut self, bytes: &[u8]) {
        let fits = |held: &Vec<u8>| held.len() + bytes.len() <= HELD_BYTES_MAX;
        self.held = self.held.take().filter(fits).map(|mut held| {
            held.extend_from_slice(bytes);
            held
        });
    }
}

/// Verifies a payload that is stored; returns why nothing of it may be loaded, if so.
pub(in crate::engine) fn verify(
    head: &PayloadHead,
    stored: &dyn StoredPayload,
) -> Result<Option<Rejected>> {
    let Some(mut verification) = Verification::begin(head)? else {
        return Ok(None);
    };
    // It can be read again.
    verification.held = None;
    stored.read(&mut |bytes| verification.push(bytes))?;
    Ok(match verification.finish()? {
        Verified::Whole(_) => None,
        Verified::Refused(rejected) => Some(rejected),
    })
}

/// The fault of the payload; any other error ends the run.
fn fault(decoded: Result<()>) -> Result<Option<Error>> {
    match decoded {
        Ok(()) => Ok(None),
        Err(error) if Decoder::is_payload_error(&error) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Rejects a whole payload.
pub(in crate::engine) fn refuse_all(ordinal: u64, error: &Error) -> Rejected {
    Rejected {
        payload: Some(ordinal),
        extent: Some(Extent::PAYLOAD),
        offset: None,
        line: None,
        stage: "extract".to_owned(),
        code: error.code().to_owned(),
        reason: format!("{error}; nothing of the payload is loaded"),
        // It is in the raw zone; the bytes are of no use in the quarantine table.
        record: Vec::new(),
    }
}
