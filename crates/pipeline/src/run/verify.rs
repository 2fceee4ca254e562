//! Compressed payloads, proved whole before a byte of them is extracted.
//!
//! A checksum comes last, and rows before it read like any others when a byte has changed. So a payload is decompressed twice: first to
//! nothing, then into the extractor. Small ones are held meanwhile; large ones are read back from the raw zone.

use forebay_core::quarantine::Extent;
use forebay_core::{Compression, Error, PayloadHead, Rejected, Result};

use super::stored::StoredPayload;
use crate::extract::decode::Decoder;

/// Compressed bytes that are held until the payload has proved to be whole.
const HELD_BYTES_MAX: usize = 8 << 20;

/// A compressed payload that is being decompressed to nothing.
#[derive(Debug)]
pub(super) struct Verification {
    ordinal: u64,
    decoder: Decoder,
    broken: Option<Error>,
    /// `None` once they are more than [`HELD_BYTES_MAX`].
    held: Option<Vec<u8>>,
}

/// What has been found.
#[derive(Debug)]
pub(super) enum Verified {
    /// The payload is whole; with its compressed bytes when they were few.
    Whole(Option<Vec<u8>>),
    /// Nothing of it may be loaded.
    Refused(Rejected),
}

impl Verification {
    /// `None` for a payload that is not compressed.
    pub(super) fn begin(head: &PayloadHead) -> Result<Option<Self>> {
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

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.broken.is_some() {
            return Ok(());
        }
        self.hold(bytes);
        let decoded = self.decoder.push(bytes, &mut |_| Ok(()));
        self.broken = fault(decoded)?;
        Ok(())
    }

    /// The payload is complete.
    pub(super) fn finish(self) -> Result<Verified> {
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

/// Decompresses a payload that is kept to nothing; gives why nothing of it may be loaded, if so.
pub(super) fn verify(head: &PayloadHead, stored: &dyn StoredPayload) -> Result<Option<Rejected>> {
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

/// What is wrong with the payload; any other error ends the run.
fn fault(decoded: Result<()>) -> Result<Option<Error>> {
    match decoded {
        Ok(()) => Ok(None),
        Err(error) if Decoder::is_payload_error(&error) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Refuses a payload whole.
pub(super) fn refuse_all(ordinal: u64, error: &Error) -> Rejected {
    Rejected {
        payload: Some(ordinal),
        extent: Some(Extent::PAYLOAD),
        offset: None,
        line: None,
        stage: "extract".to_owned(),
        code: error.code().to_owned(),
        reason: format!("{error}; nothing of the payload is loaded"),
        // It lies in the raw zone; nobody reads such bytes.
        record: Vec::new(),
    }
}
