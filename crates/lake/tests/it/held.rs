//! An object store that stops before one of its operations until it is told to go on.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{Notify, watch};

#[derive(Debug)]
pub(crate) struct Held {
    inner: Arc<dyn ObjectStore>,
    left: AtomicI64,
    reached: Notify,
    released: watch::Sender<bool>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held")
    }
}

impl Held {
    /// Stops after so many operations.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, operations: i64) -> Arc<Self> {
        Arc::new(Self {
            inner,
            left: AtomicI64::new(operations),
            reached: Notify::new(),
            released: watch::Sender::new(false),
        })
    }

    /// Returns when it has stopped.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    async fn before(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.reached.notify_one();
            let mut released = self.released.subscribe();
            let waited = released.wait_for(|released| *released).await;
            drop(waited);
        }
    }
}

#[async_trait]
impl ObjectStore for Held {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.before().await;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.before().await;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.before().await;
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.before().await;
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.before().await;
        self.inner.copy_opts(from, to, options).await
    }
}
