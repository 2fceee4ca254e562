//! A durable object written from blocking code, in bounded memory.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use forebay_core::{Error, Result};
use object_store::path::Path;
use tokio::runtime::Handle;

use forebay_objects::{NewObject, PART_BYTES, PARTS_MAX, from_objects};

use super::LakeStorage;
use super::checksum::{BlockHasher, PARQUET_END_BYTES};

/// Writes one object through [`io::Write`]. Blocks on the object store: use it on a blocking thread.
///
/// Dropped before [`ObjectSink::finish`] it aborts the upload.
pub(crate) struct ObjectSink {
    storage: Arc<LakeStorage>,
    path: Path,
    runtime: Handle,
    buffer: BytesMut,
    object: NewObject,
    bytes: u64,
    /// Of a Parquet file: its checksums, and the bytes held back since its footer may have begun.
    hasher: Option<BlockHasher>,
    tail: Option<Vec<u8>>,
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
            hasher: None,
            tail: None,
        })
    }

    /// The object is a Parquet file, which gets checksums before its footer.
    pub(crate) fn with_checksums(self) -> Self {
        Self {
            hasher: Some(BlockHasher::new()),
            ..self
        }
    }

    /// From here on page indexes and the footer may come: they are held in memory until [`Self::finish`].
    pub(crate) fn begin_footer(&mut self) {
        if self.hasher.is_some() {
            self.tail = Some(Vec::new());
        }
    }

    /// Puts the checksums before the footer.
    fn insert_checksums(&mut self) -> io::Result<()> {
        let Some(mut tail) = self.tail.take() else {
            return Ok(());
        };
        let Some(mut hasher) = self.hasher.take() else {
            return Ok(());
        };
        let footer_at = footer_start(&tail).ok_or(io::ErrorKind::UnexpectedEof)?;
        let footer = tail.split_off(footer_at);
        hasher.update(&tail);
        self.send(&tail)?;
        self.send(&hasher.finish(&footer))?;
        self.send(&footer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.buffer.len() >= PART_BYTES {
            let part = self.buffer.split().freeze();
            let sent = self.runtime.block_on(self.object.part(part));
            sent.map_err(|e| io::Error::other(from_objects("write an object", &self.path, e)))?;
        }
        Ok(())
    }

    /// Bytes held in memory now.
    pub(crate) fn memory_bytes(&self) -> usize {
        let parts = if self.object.is_begun() {
            PARTS_MAX * PART_BYTES
        } else {
            0
        };
        let tail = self.tail.as_ref().map_or(0, Vec::len);
        tail + self.buffer.len() + parts.min(usize::try_from(self.bytes).unwrap_or(usize::MAX))
    }

    /// Completes the object. On return it is durable and has its name; the answer is its size in bytes.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.insert_checksums().map_err(|e| {
            Error::unavailable("write_failed", "failed to write the end of a data file")
                .with_source(e)
        })?;
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

/// Where the footer begins in the end of a Parquet file.
fn footer_start(tail: &[u8]) -> Option<usize> {
    let (rest, end) = tail.split_last_chunk::<PARQUET_END_BYTES>()?;
    let footer = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
    rest.len().checked_sub(usize::try_from(footer).ok()?)
}

impl io::Write for ObjectSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (&mut self.tail, &mut self.hasher) {
            (Some(tail), _) => tail.extend_from_slice(bytes),
            (None, hasher) => {
                if let Some(hasher) = hasher {
                    hasher.update(bytes);
                }
                self.send(bytes)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
