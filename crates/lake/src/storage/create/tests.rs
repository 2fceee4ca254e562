//! Creating objects in a store that loses answers.

use std::ops::Range;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetResult, ListResult, ObjectMeta, PutPayload, PutResult, UploadPart,
};

use super::*;

/// What happens to the requests that make objects, one after the other; then all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is carried out, and the answer is lost.
    Applied,
    /// It never arrives.
    Lost,
    /// It is carried out, and the client's second try is told that the object is there.
    Twice,
}

#[derive(Debug)]
struct Lossy {
    inner: InMemory,
    faults: Arc<Mutex<Vec<Fault>>>,
    aborted: Arc<Mutex<u32>>,
}

impl fmt::Display for Lossy {
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

impl Lossy {
    fn new(faults: &[Fault]) -> Arc<Self> {
        let faults = faults.iter().rev().copied().collect();
        Arc::new(Self {
            inner: InMemory::new(),
            faults: Arc::new(Mutex::new(faults)),
            aborted: Arc::default(),
        })
    }

    async fn content(&self, path: &Path) -> Option<Bytes> {
        self.inner.get(path).await.ok()?.bytes().await.ok()
    }
}

#[async_trait]
impl ObjectStore for Lossy {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.faults.lock().unwrap().pop();
        match fault {
            None => self.inner.put_opts(path, payload, options).await,
            Some(Fault::Lost) => Err(lost()),
            Some(Fault::Applied) => {
                self.inner.put_opts(path, payload, options).await?;
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
        let fault = self.faults.lock().unwrap().pop();
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
        *self.aborted.lock().unwrap() += 1;
        self.inner.abort().await
    }
}

#[tokio::test]
async fn an_object_that_was_made_after_all_is_ours() {
    for faults in [
        &[][..],
        &[Fault::Applied],
        &[Fault::Twice],
        &[Fault::Lost],
        &[Fault::Lost, Fault::Lost],
        &[Fault::Lost, Fault::Applied],
    ] {
        let (objects, path) = (Lossy::new(faults), Path::from("a"));
        let made = create(objects.as_ref(), &path, "1".into(), Medium::Remote).await;
        assert!(made.is_ok(), "{faults:?}: {made:?}");
        assert_eq!(objects.content(&path).await.unwrap(), "1", "{faults:?}");
    }
    let objects = Lossy::new(&[Fault::Lost; 3]);
    let made = create(
        objects.as_ref(),
        &Path::from("a"),
        "1".into(),
        Medium::Remote,
    )
    .await;
    assert!(matches!(made, Err(Error::Generic { .. })));
}

#[tokio::test]
async fn another_object_is_never_written_over() {
    for fault in [Fault::Twice, Fault::Lost] {
        let (objects, path) = (Lossy::new(&[]), Path::from("a"));
        create(objects.as_ref(), &path, "theirs".into(), Medium::Remote)
            .await
            .unwrap();
        objects.faults.lock().unwrap().push(fault);
        // The same bytes do not make it ours.
        for ours in ["ours", "theirs"] {
            let made = create(objects.as_ref(), &path, ours.into(), Medium::Remote).await;
            assert!(made.is_err(), "{fault:?}");
        }
        assert_eq!(objects.content(&path).await.unwrap(), "theirs");
    }
}

async fn in_parts(objects: &Arc<Lossy>) -> Result<()> {
    let objects: Arc<dyn ObjectStore> = objects.clone();
    let mut object = NewObject::new(objects, Path::from("big"), Medium::Remote);
    for part in [b'a', b'b', b'c'] {
        object.part(vec![part; PART_BYTES].into()).await?;
    }
    object.finish("end".into()).await
}

#[tokio::test]
async fn a_large_object_is_whole_or_not_there() {
    for (faults, whole) in [
        (&[][..], true),
        (&[Fault::Applied], true),
        (&[Fault::Lost], false),
    ] {
        let objects = Lossy::new(faults);
        assert_eq!(in_parts(&objects).await.is_ok(), whole, "{faults:?}");
        let content = objects.content(&Path::from("big")).await;
        let length = content.map(|content| content.len());
        assert_eq!(length, whole.then_some(3 * PART_BYTES + 3));
        // What failed is aborted, in a task of its own.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*objects.aborted.lock().unwrap(), u32::from(!whole));
    }
}
