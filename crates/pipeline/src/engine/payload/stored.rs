//! The stored bytes of a payload, readable repeatedly.

use std::sync::Arc;

use forebay_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

use forebay_formats::decode::Take;

/// Bytes asked for at once: a request has a time limit, however large the object is.
const WINDOW_BYTES: u64 = 8 << 20;

/// Bytes that can be read from their beginning more than once.
pub(in crate::engine) trait StoredPayload {
    /// Passes all bytes on, piece by piece. Blocks.
    ///
    /// Errors: `Unavailable` when the store does not answer; and whatever `take` returns.
    fn read(&self, take: &mut Take<'_>) -> Result<()>;
}

/// A small payload that is still in memory.
#[derive(Debug)]
pub(in crate::engine) struct HeldPayload(pub(in crate::engine) Vec<u8>);

impl StoredPayload for HeldPayload {
    fn read(&self, take: &mut Take<'_>) -> Result<()> {
        take(&self.0)
    }
}

/// A payload that is the only one in its raw object.
#[derive(Debug)]
pub(in crate::engine) struct ObjectPayload {
    pub(in crate::engine) objects: Arc<dyn ObjectStore>,
    pub(in crate::engine) path: Path,
    pub(in crate::engine) runtime: Handle,
}

impl StoredPayload for ObjectPayload {
    fn read(&self, take: &mut Take<'_>) -> Result<()> {
        let failed = |error| {
            Error::unavailable("raw_read_failed", "failed to read a raw object")
                .with_source(error)
                .with_context("object", &self.path)
        };
        let head = self.runtime.block_on(self.objects.head(&self.path));
        let size = head.map_err(failed)?.size;
        let mut at = 0;
        while at < size {
            let end = size.min(at + WINDOW_BYTES);
            let window = self.objects.get_range(&self.path, at..end);
            take(&self.runtime.block_on(window).map_err(failed)?)?;
            at = end;
        }
        Ok(())
    }
}
