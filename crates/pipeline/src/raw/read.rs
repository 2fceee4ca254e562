//! Reading payloads back.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use forebay_core::Result;
use object_store::ObjectStore;

use crate::raw::RawEntry;

/// Reads payloads of the raw zone; checks each against its sha256.
#[derive(Debug, Clone)]
pub struct RawReader;

/// A payload being read, in chunks of bounded size.
#[derive(Debug)]
pub struct RawPayload;

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(clippy::unused_async, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
impl RawReader {
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        unimplemented!()
    }

    /// Index rows (as `raw.<pipeline>` holds them) to entries.
    pub fn entries(&self, index: &RecordBatch) -> Result<Vec<RawEntry>> {
        unimplemented!()
    }

    /// The whole payload, if it is at most `bytes_max` long.
    pub async fn read(&self, entry: &RawEntry, bytes_max: u64) -> Result<Bytes> {
        unimplemented!()
    }

    /// The payload piece by piece.
    pub async fn open(&self, entry: &RawEntry) -> Result<RawPayload> {
        unimplemented!()
    }
}

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(clippy::unused_async, reason = "skeleton")]
impl RawPayload {
    /// The next piece; `None` after the last, when the sha256 has been checked.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        unimplemented!()
    }
}
