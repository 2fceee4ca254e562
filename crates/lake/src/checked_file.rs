//! A data file that any writer of a table may have made: its footer is checked before the Parquet library reads it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::parquet_footer::{
    self, COLUMN_INDEX, ENDING_BYTES, FOOTER_BYTES_MAX, INDEXES_BYTES_MAX, OFFSET_INDEX,
};
use forebay_core::thrift::{self, Fault, Fields};
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

/// Ranges of a file in the object store. The indexes of its pages are only checked, where somebody else reads them.
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

    /// Checks the indexes of pages that a footer names, before the library reads them: it reserves memory by what they claim.
    ///
    /// # Errors
    ///
    /// Indexes that are not in the file, have more than [`INDEXES_BYTES_MAX`] or cannot be read, and the errors of the store.
    pub async fn check_indexes(&mut self, footer: &Bytes) -> Result<()> {
        let indexes = indexes(&ParquetMetaDataReader::decode_metadata(footer)?);
        let start = indexes.iter().map(|index| index.place.start).min();
        let end = indexes.iter().map(|index| index.place.end).max();
        let (Some(start), Some(end)) = (start, end) else {
            return Ok(());
        };
        if end > self.size {
            return Err(bad_index("ends after the file"));
        }
        if end - start > INDEXES_BYTES_MAX {
            return Err(bad_index("is too far from the others"));
        }
        let bytes = self.inner.get_bytes(start..end).await?;
        for Index { place, fields } in indexes {
            let within = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
            let bytes = bytes.get(within(place.start)..within(place.end));
            let walked = thrift::check(bytes.unwrap_or_default(), fields);
            walked.map_err(|fault| match fault {
                Fault::Cut => bad_index("ends too early"),
                Fault::Bad(why) => bad_index(why),
            })?;
        }
        Ok(())
    }

    /// The footer of this many bytes.
    async fn above(&mut self, length: u32) -> Result<Bytes> {
        let before = self.size.checked_sub(ENDING_BYTES as u64);
        let start = before.and_then(|before| Some((before.checked_sub(length.into())?, before)));
        let (start, before) = start.ok_or_else(not_parquet)?;
        self.inner.get_bytes(start..before).await
    }
}

/// An index of the pages of a column chunk.
struct Index {
    place: Range<u64>,
    fields: Fields,
}

/// The indexes that the library reads: those with a place that is not negative.
fn indexes(footer: &ParquetMetaData) -> Vec<Index> {
    let chunks = footer.row_groups().iter().flat_map(|group| group.columns());
    let found = chunks.flat_map(|chunk| {
        let columns = (chunk.column_index_offset(), chunk.column_index_length());
        let offsets = (chunk.offset_index_offset(), chunk.offset_index_length());
        [(columns, COLUMN_INDEX), (offsets, OFFSET_INDEX)]
    });
    let placed = found.filter_map(|((offset, length), fields)| {
        let start = u64::try_from(offset?).ok()?;
        let length = u64::try_from(length?).ok()?;
        let place = start..start.saturating_add(length);
        Some(Index { place, fields })
    });
    placed.collect()
}

fn bad_index(why: &str) -> ParquetError {
    ParquetError::General(format!("an index of pages {why}"))
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
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

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

    /// A file of 2,000 numbers in pages of 100, and where its first index of values is.
    fn file_with_indexes() -> (Vec<u8>, Range<usize>) {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_000));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let properties = WriterProperties::builder()
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(100)
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let footer = writer.close().unwrap();
        let index = indexes(&footer).swap_remove(0).place;
        let place = usize::try_from(index.start).unwrap()..usize::try_from(index.end).unwrap();
        (bytes, place)
    }

    async fn check_indexes(bytes: Vec<u8>) -> Result<()> {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a.parquet");
        let size = bytes.len() as u64;
        objects.put(&path, bytes.into()).await.unwrap();
        let mut file = CheckedFile::new(objects, path, size);
        let footer = file.check().await?;
        file.check_indexes(&footer).await
    }

    #[tokio::test]
    async fn an_index_that_claims_more_than_it_has_is_refused() {
        let (good, place) = file_with_indexes();
        check_indexes(good.clone()).await.unwrap();
        // A list of 2^28 - 1 booleans, or of texts.
        for kind in [0xF1, 0xF8] {
            let mut bytes = good.clone();
            let claim = [0x19, kind, 0xFF, 0xFF, 0xFF, 0x7F];
            bytes[place.start..place.start + claim.len()].copy_from_slice(&claim);
            let error = check_indexes(bytes).await.unwrap_err().to_string();
            assert!(error.contains("an index of pages"), "{error}");
        }
    }
}
