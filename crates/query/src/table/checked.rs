//! Readers of data files that any writer of a table may have made: a footer and the indexes of pages that it names are
//! checked before the engine first reads them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::object_store::ObjectStore;
use datafusion::object_store::path::Path;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use forebay_lake::CheckedFile;
use futures::FutureExt;
use futures::future::BoxFuture;

/// Makes readers that share a cache of footers; one in the cache has been checked.
#[derive(Debug)]
pub(super) struct CheckedReaders {
    readers: CachedParquetFileReaderFactory,
    store: Arc<dyn ObjectStore>,
    cache: Arc<dyn FileMetadataCache>,
}

impl CheckedReaders {
    pub(super) fn new(store: Arc<dyn ObjectStore>, cache: Arc<dyn FileMetadataCache>) -> Self {
        Self {
            readers: CachedParquetFileReaderFactory::new(Arc::clone(&store), Arc::clone(&cache)),
            store,
            cache,
        }
    }
}

impl ParquetFileReaderFactory for CheckedReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let path = file.object_meta.location.clone();
        let size = file.object_meta.size;
        let inner = self
            .readers
            .create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(CheckedReader {
            inner,
            file: CheckedFile::new(Arc::clone(&self.store), path.clone(), size),
            path,
            cache: Arc::clone(&self.cache),
        }))
    }
}

struct CheckedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    file: CheckedFile,
    path: Path,
    cache: Arc<dyn FileMetadataCache>,
}

impl AsyncFileReader for CheckedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            if !self.cache.contains_key(&self.path) {
                let footer = self.file.check().await?;
                self.file.check_indexes(&footer).await?;
            }
            self.inner.get_metadata(options).await
        }
        .boxed()
    }
}
