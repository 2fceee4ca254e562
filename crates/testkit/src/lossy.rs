//! An object store that loses requests and answers.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};

/// The fate of the requests that make objects, one after the other; then all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out, and the answer is lost.
    Applied,
    /// It never arrives.
    Lost,
    /// It is carried out, and the client's retry gets the answer that the object exists.
    Twice,
    /// It is carried out, its answer is lost, and so is that to the question that follows.
    Silent,
}

/// An object store in memory that loses requests and answers.
#[derive(Debug)]
pub struct LossyStore {
    inner: InMemory,
    faults: Arc<Mutex<Vec<Fault>>>,
    aborted: Arc<Mutex<u32>>,
    silent: AtomicBool,
}

impl fmt::Display for LossyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lossy")
    }
}

fn lost() -> Error {
    Error::Generic {
        store: "lossy",
        source: "the connection was reset".into(),
    }
}

impl LossyStore {
    pub fn new(faults: &[Fault]) -> Arc<Self> {
        let store = Self {
            inner: InMemory::new(),
            faults: Arc::default(),
            aborted: Arc::default(),
            silent: AtomicBool::new(false),
        };
        store.will(faults);
        Arc::new(store)
    }

    /// The fate of the next requests that make objects.
    ///
    /// # Panics
    /// When another thread panicked here.
    pub fn will(&self, faults: &[Fault]) {
        *self.faults.lock().expect("nobody panics here") = faults.iter().rev().copied().collect();
    }

    /// How many multipart uploads were aborted.
    ///
    /// # Panics
    /// When another thread panicked here.
    pub fn aborted(&self) -> u32 {
        *self.aborted.lock().expect("nobody panics here")
    }

    fn next_fault(faults: &Mutex<Vec<Fault>>) -> Option<Fault> {
        faults.lock().expect("nobody panics here").pop()
    }

    /// The content of an object, if it exists.
    pub async fn content(&self, path: &Path) -> Option<Bytes> {
        self.inner.get(path).await.ok()?.bytes().await.ok()
    }
}

#[async_trait]
impl ObjectStore for LossyStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = LossyStore::next_fault(&self.faults);
        match fault {
            None => self.inner.put_opts(path, payload, options).await,
            Some(Fault::Lost) => Err(lost()),
            Some(Fault::Applied) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(lost())
            }
            Some(Fault::Silent) => {
                self.inner.put_opts(path, payload, options).await?;
                self.silent.store(true, Ordering::SeqCst);
                Err(lost())
            }
            Some(Fault::Twice) => {
                let again = (payload.clone(), options.clone());
                self.inner.put_opts(path, payload, options).await?;
                self.inner.put_opts(path, again.0, again.1).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(LossyUpload {
            inner: self.inner.put_multipart_opts(path, options).await?,
            faults: Arc::clone(&self.faults),
            aborted: Arc::clone(&self.aborted),
        }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if self.silent.swap(false, Ordering::SeqCst) {
            return Err(lost());
        }
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
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
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct LossyUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Arc<Mutex<Vec<Fault>>>,
    aborted: Arc<Mutex<u32>>,
}

#[async_trait]
impl MultipartUpload for LossyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fault = LossyStore::next_fault(&self.faults);
        match fault {
            None => self.inner.complete().await,
            Some(Fault::Lost) => Err(lost()),
            Some(_) => {
                self.inner.complete().await?;
                Err(lost())
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        *self.aborted.lock().expect("nobody panics here") += 1;
        self.inner.abort().await
    }
}
