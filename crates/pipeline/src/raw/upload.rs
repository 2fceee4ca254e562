//! Uploads bytes to an object that becomes visible atomically, when it is complete.
//!
//! The creation of an object, never over an existing one, follows the lake's rule ([`NewObject`]). An upload that is
//! dropped leaves nothing visible.

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::Arc;

use forebay_core::{Error, Result};
use forebay_lake::Lake;
use forebay_objects::{Medium, NewObject, PART_BYTES, from_objects};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;

/// The target of objects.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) medium: Medium,
    pub(super) runtime: Handle,
}

/// One object being written.
pub(super) struct Upload {
    runtime: Handle,
    path: Path,
    /// Not handed over yet.
    pub(super) buffer: Vec<u8>,
    object: NewObject,
    sent: u64,
}

impl Upload {
    pub(super) fn new(destination: Destination, path: Path) -> Self {
        Self {
            object: NewObject::new(destination.objects, path.clone(), destination.medium),
            runtime: destination.runtime,
            path,
            buffer: Vec::new(),
            sent: 0,
        }
    }

    /// Hands over the buffer when it is enough for a part. Blocks while too many parts are in progress.
    pub(super) fn advance(&mut self) -> Result<()> {
        if self.buffer.len() < PART_BYTES {
            return Ok(());
        }
        let part = std::mem::take(&mut self.buffer);
        self.sent += part.len() as u64;
        let sent = self.runtime.block_on(self.object.part(part.into()));
        sent.map_err(|error| from_objects("write a raw object", &self.path, error))
    }

    /// Makes the object visible; returns its size in bytes. On the local disk it is durable after [`flush`].
    pub(super) fn finish(self) -> Result<u64> {
        let bytes = self.sent + self.buffer.len() as u64;
        let made = self
            .runtime
            .block_on(self.object.finish(self.buffer.into()));
        made.map_err(|error| from_objects("write a raw object", &self.path, error))?;
        Ok(bytes)
    }
}

/// Flushes objects of the local disk and the folders that lead to them: only then do they survive a power cut.
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

/// Creates a small object from bytes in memory, durable when this returns. Blocks.
pub(crate) fn put_object(lake: &Lake, runtime: &Handle, path: &Path, bytes: Vec<u8>) -> Result<()> {
    let root = lake.root().strip_prefix("file://");
    let medium = if root.is_some() {
        Medium::Disk
    } else {
        Medium::Remote
    };
    let object = NewObject::new(lake.objects().clone(), path.clone(), medium);
    let made = runtime.block_on(object.finish(bytes.into()));
    made.map_err(|error| from_objects("write an object", path, error))?;
    match root {
        Some(root) => flush(FilePath::new(root), std::iter::once(path)),
        None => Ok(()),
    }
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
