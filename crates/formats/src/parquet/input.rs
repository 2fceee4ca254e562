//! An object of the raw zone as a file that the Parquet reader can seek in.

use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

/// Bytes read at once where the reader does not know how much it needs.
const READ_BYTES: u64 = 1 << 20;

/// Bytes that were read and where they begin.
#[derive(Debug, Default)]
struct Block {
    start: u64,
    bytes: Bytes,
}

/// Ranges of an object, fetched while the thread blocks.
#[derive(Debug, Clone)]
pub(crate) struct ObjectFile {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    runtime: Handle,
    size: u64,
    /// The last block of at most [`READ_BYTES`]: the reader requests each page separately, and small pages are adjacent.
    block: Arc<Mutex<Block>>,
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
            block: Arc::default(),
        })
    }

    /// The bytes from `at` to the end of the block that holds it, which is read unless it is the last one.
    fn block_at(&self, at: u64) -> Result<Bytes> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = at.checked_sub(block.start);
        let offset = offset.filter(|offset| *offset < block.bytes.len() as u64);
        if let Some(offset) = offset {
            return Ok(block.bytes.slice(usize::try_from(offset).unwrap_or(0)..));
        }
        let length = READ_BYTES.min(self.size.saturating_sub(at));
        let bytes = self.range(at, length)?;
        *block = Block {
            start: at,
            bytes: bytes.clone(),
        };
        Ok(bytes)
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
        let bytes = self.file.block_at(self.at).map_err(std::io::Error::other)?;
        self.at += bytes.len() as u64;
        self.held = Cursor::new(bytes);
        self.held.read(room)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    /// The Parquet reader requests each page separately: a file of many small pages would be read once for each.
    #[test]
    fn what_lies_in_the_last_block_is_not_read_again() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a");
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        runtime
            .block_on(objects.put(&path, content.clone().into()))
            .unwrap();
        let file = ObjectFile::open(&objects, &path, runtime.handle()).unwrap();
        let read = |from: u64, length: usize| {
            let mut room = vec![0; length];
            let mut reader = file.get_read(from).unwrap();
            reader.read_exact(&mut room).map(|()| room)
        };
        for (from, length) in [
            (0, 10),
            (1_500_000, 1_400_000),
            (2_900_000, 100_000),
            (7, 100),
        ] {
            let expected = &content[from..from + length];
            assert_eq!(read(from as u64, length).unwrap(), expected, "{from}");
        }
        runtime.block_on(objects.delete(&path)).unwrap();
        assert_eq!(read(500_000, 500_000).unwrap(), content[500_000..1_000_000]);
        assert!(read(2_000_000, 1).is_err());
    }
}
