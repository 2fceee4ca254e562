//! An object store of a process that dies or is stopped: after a number of operations it does not answer.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{Notify, watch};

/// What happens at the last operation and to everything after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Every operation fails.
    Errors,
    /// The operation is done, its answer and everything after it never comes.
    Silence,
    /// None: the next operation waits until the process is released, and all is well then.
    Pause,
}

#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    death: Death,
    left: AtomicI64,
    stopped: Notify,
    released: watch::Sender<bool>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, death: Death, operations: i64) -> Arc<Self> {
        Arc::new(Self {
            inner,
            death,
            left: AtomicI64::new(operations),
            stopped: Notify::new(),
            released: watch::Sender::new(false),
        })
    }

    /// Returns when the store does not answer any more.
    pub(crate) async fn stopped(&self) {
        self.stopped.notified().await;
    }

    async fn before(&self) -> Result<()> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        match self.death {
            Death::Errors if left <= 0 => Err(object_store::Error::Generic {
                store: "faulty",
                source: "the disk is gone".into(),
            }),
            Death::Silence if left < 0 => self.silence().await,
            Death::Pause if left == 0 => {
                self.wait().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn after<T>(&self, answer: Result<T>) -> Result<T> {
        if self.death == Death::Silence && self.left.load(Ordering::SeqCst) < 0 {
            self.silence().await?;
        }
        answer
    }

    /// Lets threads that still wait go; of a dead process, once its tasks are gone.
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    async fn wait(&self) {
        self.stopped.notify_one();
        let mut released = self.released.subscribe();
        let waited = released.wait_for(|released| *released).await;
        drop(waited);
    }

    async fn silence(&self) -> Result<()> {
        self.wait().await;
        Err(object_store::Error::Generic {
            store: "faulty",
            source: "the process is dead".into(),
        })
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.before().await?;
        let answer = self.inner.put_opts(path, payload, options).await;
        self.after(answer).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.before().await?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.before().await?;
        let answer = self.inner.get_opts(path, options).await;
        self.after(answer).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.before().await?;
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if self.death == Death::Pause {
            return self.inner.delete_stream(paths);
        }
        let refusal = Err(object_store::Error::Generic {
            store: "faulty",
            source: "a commit deletes nothing".into(),
        });
        futures::stream::iter([refusal]).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.before().await?;
        self.inner.copy_opts(from, to, options).await
    }
}
