//! The object store as one process sees it: each request is an event before it is carried out, and another one after it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::fate::Life;

#[derive(Debug)]
pub(super) struct SeenObjects {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) life: Arc<Life>,
}

impl fmt::Display for SeenObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects of a process")
    }
}

impl SeenObjects {
    async fn event(&self) -> Result<()> {
        self.life
            .event()
            .await
            .map_err(|error| object_store::Error::Generic {
                store: "schedule",
                source: error.into(),
            })
    }
}

#[async_trait]
impl ObjectStore for SeenObjects {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.event().await?;
        let done = self.inner.put_opts(path, payload, options).await;
        self.event().await?;
        done
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.event().await?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.event().await?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let life = self.life.clone();
        let paths = paths.then(move |path| {
            let life = life.clone();
            async move {
                let failed = |error: forebay_core::Error| object_store::Error::Generic {
                    store: "schedule",
                    source: error.into(),
                };
                life.event().await.map_err(failed)?;
                path
            }
        });
        self.inner.delete_stream(paths.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.event().await?;
        self.inner.copy_opts(from, to, options).await
    }
}
