//! A data file that any writer of a table may have made: its footer is checked before the Parquet library reads it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::parquet_footer::{self, ENDING_BYTES, FOOTER_BYTES_MAX};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetObjectReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// Bytes that are read at the end of a file: most footers are within them.
const TAIL_BYTES: u64 = 64 << 10;

/// Ranges of a file in the object store. The indexes of its pages are not read.
#[derive(Debug, Clone)]
pub struct CheckedFile {
    inner: ParquetObjectReader,
    size: u64,
}

impl CheckedFile {
    /// The file of `size` bytes.
    pub fn new(objects: Arc<dyn ObjectStore>, path: Path, size: u64) -> Self {
        let inner = ParquetObjectReader::new(objects, path).with_file_size(size);
        Self { inner, size }
    }

    /// Its footer.
    ///
    /// # Errors
    ///
    /// Those of [`CheckedFile::check`], and of the library.
    pub async fn footer(&mut self) -> Result<ParquetMetaData> {
        ParquetMetaDataReader::decode_metadata(&self.check().await?)
    }

    /// The bytes of its footer, checked.
    ///
    /// # Errors
    ///
    /// What [`parquet_footer::check`] refuses, and the errors of the store.
    pub async fn check(&mut self) -> Result<Bytes> {
        let from = self.size.saturating_sub(TAIL_BYTES);
        let tail = self.inner.get_bytes(from..self.size).await?;
        let (above, ending) = tail.split_last_chunk().ok_or_else(not_parquet)?;
        let length = footer_bytes(ending)?;
        let footer = match above.len().checked_sub(length as usize) {
            Some(start) => tail.slice(start..above.len()),
            None => self.above(length).await?,
        };
        parquet_footer::check(&footer).map_err(ParquetError::General)?;
        Ok(footer)
    }

    /// The footer of this many bytes.
    async fn above(&mut self, length: u32) -> Result<Bytes> {
        let before = self.size.checked_sub(ENDING_BYTES as u64);
        let start = before.and_then(|before| Some((before.checked_sub(length.into())?, before)));
        let (start, before) = start.ok_or_else(not_parquet)?;
        self.inner.get_bytes(start..before).await
    }
}

/// Bytes of the footer before the ending of a file.
fn footer_bytes(ending: &[u8; ENDING_BYTES]) -> Result<u32> {
    match parquet_footer::footer_bytes(ending) {
        Some(length) if length > FOOTER_BYTES_MAX => {
            Err(ParquetError::General("the footer is too large".to_owned()))
        }
        length => length.ok_or_else(not_parquet),
    }
}

fn not_parquet() -> ParquetError {
    ParquetError::General("the file has no Parquet footer, or is encrypted".to_owned())
}

impl AsyncFileReader for CheckedFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async { self.footer().await.map(Arc::new) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_footer_that_the_library_must_not_read_is_refused() {
        // A schema of 70 groups within each other, and too few bytes for more.
        let group = [0x35, 0, 0x18, 1, b'g', 0x15, 2, 0];
        let footer = [&[0x15, 2, 0x19, 0xFC, 71], &group.repeat(71)[..]].concat();
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        let file = [b"PAR1", &footer[..], &length, b"PAR1"].concat();
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a.parquet");
        let size = file.len() as u64;
        objects.put(&path, file.into()).await.unwrap();
        let mut file = CheckedFile::new(objects, path, size);
        let error = file.get_metadata(None).await.unwrap_err().to_string();
        assert!(error.contains("schema"), "{error}");
    }
}
