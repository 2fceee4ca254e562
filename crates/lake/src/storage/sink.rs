//! A durable object written from blocking code, in bounded memory.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use forebay_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};
use tokio::runtime::Handle;

use crate::error::from_objects;

use super::LakeStorage;

/// What is gathered before an upload in parts begins; a smaller object is written at once.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way at once.
const PARTS_IN_FLIGHT_MAX: usize = 4;

/// Writes one object through [`io::Write`]. Blocks on the object store: use it on a blocking thread.
///
/// Dropped before [`ObjectSink::finish`] it leaves at most a torn upload that no table names.
pub(crate) struct ObjectSink {
    storage: Arc<LakeStorage>,
    path: Path,
    runtime: Handle,
    buffer: BytesMut,
    upload: Option<WriteMultipart>,
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
        Ok(Self {
            storage,
            path,
            runtime,
            buffer: BytesMut::new(),
            upload: None,
            bytes: 0,
        })
    }

    /// Bytes held in memory now.
    pub(crate) fn memory_bytes(&self) -> usize {
        let parts = if self.upload.is_some() {
            PARTS_IN_FLIGHT_MAX * PART_BYTES
        } else {
            0
        };
        self.buffer.len() + parts.min(usize::try_from(self.bytes).unwrap_or(usize::MAX))
    }

    /// Completes the object. On return it is durable and has its name; the answer is its size in bytes.
    pub(crate) fn finish(mut self) -> Result<u64> {
        let rest = self.buffer.split().freeze();
        let (storage, path) = (Arc::clone(&self.storage), self.path.clone());
        let upload = self.upload.take();
        self.runtime.block_on(async move {
            let Some(mut upload) = upload else {
                return storage.write(&path, rest).await;
            };
            upload.put(rest);
            upload
                .finish()
                .await
                .map_err(|e| from_objects("write an object", &path, e))?;
            storage.make_durable(&path).await
        })?;
        Ok(self.bytes)
    }

    fn send(&mut self, part: Bytes) -> object_store::Result<()> {
        let _entered = self.runtime.enter();
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => {
                let begun = self
                    .runtime
                    .block_on(self.storage.objects().put_multipart(&self.path))?;
                WriteMultipart::new_with_chunk_size(begun, PART_BYTES)
            }
        };
        self.runtime
            .block_on(upload.wait_for_capacity(PARTS_IN_FLIGHT_MAX))?;
        upload.put(part);
        self.upload = Some(upload);
        Ok(())
    }
}

impl io::Write for ObjectSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.buffer.len() >= PART_BYTES {
            let part = self.buffer.split().freeze();
            self.send(part).map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
