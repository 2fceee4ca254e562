//! Reading the objects of a journal.

use bytes::Bytes;
use forebay_core::{Error, Result, Timestamp};
use forebay_objects::from_objects;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::super::blocking;
use super::super::frame::{self, Parsed, Place};
use super::super::tail::{Pushed, pushed};
use super::index::Object;
use super::{Objects, corrupt};

/// Objects that are fetched at once.
pub(super) const READS_MAX: usize = 8;

/// Objects of one read.
const OBJECTS_MAX: usize = 64;

impl Objects {
    /// Records from `offset` on, of whole objects, until they have `bytes`, about; and where the next one begins.
    ///
    /// Errors: `Data` `journal_lost` when an object is gone, `journal_corrupt`.
    pub(in super::super) async fn read_on(
        &self,
        offset: u64,
        durable: u64,
        bytes: usize,
    ) -> Result<(Vec<Pushed>, u64)> {
        let objects = self.index().from(offset, bytes, OBJECTS_MAX);
        let Some(last) = objects.last().filter(|last| last.end <= durable) else {
            return Err(lost(&self.segment(offset)));
        };
        let end = last.end;
        let read = stream::iter(objects).map(|object| async move {
            let path = self.segment(object.base);
            let bytes = match object.bytes {
                Some(bytes) => bytes,
                None => get(self.lake.objects().as_ref(), &path).await?,
            };
            Ok::<_, Error>((object.base, path, bytes))
        });
        let read: Vec<_> = read.buffered(READS_MAX).try_collect().await?;
        let parse = move || {
            let mut all = Vec::new();
            for (base, path, bytes) in read {
                for (at, parsed) in records(&bytes, base, offset.max(base), &path)? {
                    all.extend(pushed(at, parsed)?);
                }
            }
            Ok(all)
        };
        Ok((blocking(parse).await?, end))
    }

    /// Receive time of the first record at or after `offset`; `None` when there is none.
    pub(in super::super) async fn time_of(&self, offset: u64) -> Result<Option<Timestamp>> {
        let offset = self.after_stamps(offset);
        let Some(Object { base, bytes, .. }) = self.index().from(offset, 1, 1).pop() else {
            return Ok(None);
        };
        let path = self.segment(base);
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => get(self.lake.objects().as_ref(), &path).await?,
        };
        let found = records(&bytes, base, offset.max(base), &path)?;
        let first = found.iter().find(|(_, parsed)| !parsed.head.is_empty());
        first
            .map(|(_, parsed)| frame::head(&parsed.head).map(|head| head.at))
            .transpose()
    }
}

/// Errors: `Data` `journal_lost` when it is not there.
pub(super) async fn get(objects: &dyn ObjectStore, path: &Path) -> Result<Bytes> {
    let failed = |error| match error {
        object_store::Error::NotFound { .. } => lost(path),
        error => from_objects("read the journal", path, error),
    };
    let found = objects.get(path).await.map_err(failed)?;
    found.bytes().await.map_err(failed)
}

/// The records of an object that starts at `base`, from the one at `offset` on: all of them must be whole.
///
/// Errors: `Data` `journal_corrupt`.
pub(super) fn records(
    bytes: &Bytes,
    base: u64,
    offset: u64,
    path: &Path,
) -> Result<Vec<(u64, Parsed)>> {
    let start = usize::try_from(offset - base).unwrap_or(usize::MAX);
    let mut at = start.min(bytes.len());
    let mut found = Vec::new();
    while at < bytes.len() {
        let place = base + at as u64;
        let Place::Record(parsed) = frame::parse(&bytes.slice(at..), place) else {
            return Err(corrupt(path, place));
        };
        at += parsed.bytes;
        found.push((place, parsed));
    }
    Ok(found)
}

fn lost(path: &Path) -> Error {
    let what = "an uncommitted object of the journal is missing";
    Error::data("journal_lost", what)
        .with_context("object", path)
        .with_hint("restore the object from a backup or an older version of it, and find out what else deletes objects of the storage")
}
