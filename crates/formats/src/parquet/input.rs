//! An object of the raw zone as a file that the Parquet reader can seek in.

use std::io::{Cursor, Read};
use std::sync::Arc;

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

/// Bytes read at once where the reader does not know how much it needs.
const READ_BYTES: u64 = 1 << 20;

/// Ranges of an object, fetched while the thread blocks.
#[derive(Debug, Clone)]
pub(crate) struct ObjectFile {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    runtime: Handle,
    size: u64,
}

impl ObjectFile {
    pub(crate) fn open(
        objects: &Arc<dyn ObjectStore>,
        path: &Path,
        runtime: &Handle,
    ) -> object_store::Result<Self> {
        let size = runtime.block_on(objects.head(path))?.size;
        Ok(Self {
            objects: Arc::clone(objects),
            path: path.clone(),
            runtime: runtime.clone(),
            size,
        })
    }

    fn range(&self, start: u64, length: u64) -> Result<Bytes> {
        let end = start.checked_add(length).filter(|end| *end <= self.size);
        let end =
            end.ok_or_else(|| ParquetError::EOF("a part of the file is past its end".to_owned()))?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let read = self
            .runtime
            .block_on(self.objects.get_range(&self.path, start..end));
        read.map_err(|error| ParquetError::External(Box::new(error)))
    }
}

impl Length for ObjectFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for ObjectFile {
    type T = Ranges;

    fn get_read(&self, start: u64) -> Result<Ranges> {
        Ok(Ranges {
            file: self.clone(),
            at: start,
            held: Cursor::new(Bytes::new()),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.range(start, length as u64)
    }
}

/// Reads on from an offset.
pub(crate) struct Ranges {
    file: ObjectFile,
    at: u64,
    held: Cursor<Bytes>,
}

impl Read for Ranges {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let got = self.held.read(room)?;
        if got > 0 || room.is_empty() {
            return Ok(got);
        }
        let length = READ_BYTES.min(self.file.size.saturating_sub(self.at));
        let bytes = self
            .file
            .range(self.at, length)
            .map_err(std::io::Error::other)?;
        self.at += length;
        self.held = Cursor::new(bytes);
        self.held.read(room)
    }
}
