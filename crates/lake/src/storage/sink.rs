//! A durable object written from blocking code, in bounded memory.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use forebay_core::{Error, Result};
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::error::from_objects;

use super::{LakeStorage, NewObject, PART_BYTES, PARTS_MAX};

/// Writes one object through [`io::Write`]. Blocks on the object store: use it on a blocking thread.
///
/// Dropped before [`ObjectSink::finish`] it aborts what was sent.
pub(crate) struct ObjectSink {
    storage: Arc<LakeStorage>,
    path: Path,
    runtime: Handle,
    buffer: BytesMut,
    object: NewObject,
    bytes: u64,
}

impl std::fmt::Debug for ObjectSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectSink")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl ObjectSink {
    pub(super) fn new(storage: Arc<LakeStorage>, path: Path) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|e| {
            Error::bug("no_runtime", "an object is written outside of the runtime").with_source(e)
        })?;
        let object = NewObject::new(storage.objects().clone(), path.clone(), storage.medium());
        Ok(Self {
            storage,
            path,
            runtime,
            buffer: BytesMut::new(),
            object,
            bytes: 0,
        })
    }

    /// Bytes held in memory now.
    pub(crate) fn memory_bytes(&self) -> usize {
        let parts = if self.object.is_begun() {
            PARTS_MAX * PART_BYTES
        } else {
            0
        };
        self.buffer.len() + parts.min(usize::try_from(self.bytes).unwrap_or(usize::MAX))
    }

    /// Completes the object. On return it is durable and has its name; the answer is its size in bytes.
    pub(crate) fn finish(mut self) -> Result<u64> {
        let rest = self.buffer.split().freeze();
        let Self {
            storage,
            path,
            runtime,
            object,
            bytes,
            ..
        } = self;
        runtime.block_on(async {
            let made = object.finish(rest).await;
            made.map_err(|e| from_objects("write an object", &path, e))?;
            storage.make_durable(&path).await
        })?;
        Ok(bytes)
    }
}

impl io::Write for ObjectSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.buffer.len() >= PART_BYTES {
            let part = self.buffer.split().freeze();
            let sent = self.runtime.block_on(self.object.part(part));
            sent.map_err(|e| io::Error::other(from_objects("write an object", &self.path, e)))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
