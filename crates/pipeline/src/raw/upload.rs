//! Bytes to an object that becomes visible at once, when it is complete.
//!
//! A small object is one `put`; a larger one is a multipart upload, which the local file system writes under a temporary
//! name. An upload that is dropped leaves nothing visible.

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::Arc;

use forebay_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::runtime::Handle;

/// Bytes of one part of a multipart upload, and the largest object that is put in one request. S3 asks for 5 MiB or more.
const PART_BYTES: usize = 8 << 20;

/// Parts under way at once; more input waits.
const PARTS_MAX: usize = 4;

/// Where objects go.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) runtime: Handle,
}

/// One object being written.
pub(super) struct Upload {
    destination: Destination,
    path: Path,
    /// Not handed over yet.
    pub(super) buffer: Vec<u8>,
    multipart: Option<WriteMultipart>,
    sent: u64,
}

impl Upload {
    pub(super) fn new(destination: Destination, path: Path) -> Self {
        Self {
            destination,
            path,
            buffer: Vec::new(),
            multipart: None,
            sent: 0,
        }
    }

    /// Hands over what is in the buffer when it is enough for a part. Blocks while too many parts are under way.
    pub(super) fn advance(&mut self) -> Result<()> {
        if self.buffer.len() < PART_BYTES {
            return Ok(());
        }
        self.send().map_err(|error| failed(error, &self.path))
    }

    fn send(&mut self) -> object_store::Result<()> {
        let runtime = self.destination.runtime.clone();
        let part = std::mem::take(&mut self.buffer);
        self.sent += part.len() as u64;
        runtime.block_on(async {
            let upload = match &mut self.multipart {
                Some(upload) => upload,
                none => {
                    let upload = self.destination.objects.put_multipart(&self.path).await?;
                    none.insert(WriteMultipart::new_with_chunk_size(upload, PART_BYTES))
                }
            };
            upload.wait_for_capacity(PARTS_MAX).await?;
            upload.put(part.into());
            Ok(())
        })
    }

    /// Makes the object visible; returns its size in bytes. On the local disk it is durable after [`flush`].
    pub(super) fn finish(mut self) -> Result<u64> {
        let runtime = self.destination.runtime.clone();
        let rest = std::mem::take(&mut self.buffer);
        let bytes = self.sent + rest.len() as u64;
        let path = self.path.clone();
        runtime
            .block_on(async {
                match self.multipart.take() {
                    Some(mut upload) => {
                        upload.put(rest.into());
                        upload.finish().await
                    }
                    None => self.destination.objects.put(&self.path, rest.into()).await,
                }
            })
            .map_err(|error| failed(error, &path))?;
        Ok(bytes)
    }
}

/// Flushes objects of the local disk and the folders that lead to them: only then does a power cut leave them there.
pub(super) fn flush<'a>(root: &FilePath, objects: impl Iterator<Item = &'a Path>) -> Result<()> {
    let mut folders = BTreeSet::new();
    for path in objects {
        let file = root.join(path.as_ref());
        sync(&file)?;
        folders.extend(
            file.ancestors()
                .skip(1)
                .take_while(|folder| folder.starts_with(root))
                .map(FilePath::to_owned),
        );
    }
    folders.iter().rev().try_for_each(|folder| sync(folder))
}

fn sync(path: &FilePath) -> Result<()> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| {
            Error::unavailable("raw_write_failed", "failed to make a raw object durable")
                .with_source(error)
                .with_context("file", path.display())
        })
}

fn failed(error: object_store::Error, path: &Path) -> Error {
    Error::unavailable("raw_write_failed", "failed to write a raw object")
        .with_source(error)
        .with_context("object", path)
}
