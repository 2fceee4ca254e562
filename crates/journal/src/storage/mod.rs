//! A journal in the storage of the lake: each flush is one object, made by one PUT that never overwrites another object.
//!
//! Layout, below `journal/<pipeline>/<journal>/`: `<offset>.segment` holds the records of one flush as a segment on disk
//! would, after a stamp (a record without a head, see `frame.rs`) that names the opening of the journal which wrote it; the
//! name is the offset of its first byte, and the next object starts where it ends. `<from>-<to>.keys` holds the idempotency
//! keys of deleted objects. An object with only a stamp marks an opening of the journal.
//!
//! Many processes may try to write a journal, and one can: each PUT has to create the object at the journal's end. Opening
//! a journal first puts a stamp there, so the previous writer finds that offset taken and stops, acknowledging nothing.
//! Leases (`claim.rs`) only show which journals are free, so that servers do not take journals from each other;
//! acknowledged records never depend on them. No object is ever changed, and none is deleted before its records are
//! committed.

mod claim;
mod index;
mod open;
mod read;
mod write;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{Error, Ident, Result, Timestamp};
use forebay_lake::Lake;
use forebay_objects::{Created, from_objects};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::{Mutex, MutexGuard};

pub use claim::WRITERS;
pub(super) use claim::{CLAIM, Claim, is_held};
pub(super) use open::{Site, open};

use super::keys::{self, Keyed};
use index::{Index, Object, Saved};

/// How long a caller waits for an answer. Its records may become durable later, so its key stays taken.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// How long the stamp of an opening is kept after its offset is committed: a process that was stopped for longer than
/// [`write::PROVED_MAX`] does not write before it has opened the journal again.
const STAMP_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

const SEGMENT: &str = "segment";
const KEYS: &str = "keys";

/// The objects of one journal.
#[derive(Debug)]
pub(super) struct Objects {
    lake: Lake,
    folder: Path,
    linger_us: AtomicU64,
    index: Mutex<Index>,
    claim: Claim,
}

impl Objects {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn set_linger(&self, linger: Duration) {
        let us = u64::try_from(linger.as_micros()).unwrap_or(u64::MAX);
        self.linger_us.store(us, Ordering::Relaxed);
    }

    fn linger(&self) -> Duration {
        Duration::from_micros(self.linger_us.load(Ordering::Relaxed))
    }

    /// Releases the journal for another process at once.
    pub(super) async fn give_up(&self) {
        self.claim.release().await;
    }

    /// Start of the gap-free range.
    pub(super) fn first(&self) -> u64 {
        self.index().first()
    }

    /// The first offset at or after `offset` that may hold a pushed record.
    pub(super) fn after_stamps(&self, offset: u64) -> u64 {
        self.index().after_stamps(offset)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    fn segment(&self, base: u64) -> Path {
        segment(&self.folder, base)
    }

    fn keys_object(&self, from: u64, to: u64) -> Path {
        self.folder
            .clone()
            .join(format!("{from:020}-{to:020}.{KEYS}"))
    }

    async fn put(&self, base: u64, bytes: Bytes, nonce: &str) -> Result<Created> {
        self.lake.create(&self.segment(base), bytes, nonce).await
    }

    /// Deletes the objects committed before `offset`, except the newest, which marks the journal's end. Unexpired
    /// idempotency keys are saved first.
    pub(super) async fn release(&self, offset: u64, keep: Duration, now: Timestamp) -> Result<()> {
        let (passed, old) = {
            let index = self.index();
            (index.passed(offset, now), index.old_keys(keep, now))
        };
        if passed.is_empty() && old.is_empty() {
            return Ok(());
        }
        let saved = self.save_keys(&passed, keep, now).await?;
        let gone = passed.iter().map(|object| self.segment(object.base));
        let gone = gone.chain(
            old.iter()
                .map(|saved| self.keys_object(saved.from, saved.to)),
        );
        self.delete(gone.collect()).await?;
        self.index().forget(&passed, &old, saved);
        Ok(())
    }

    async fn save_keys(
        &self,
        passed: &[Object],
        keep: Duration,
        now: Timestamp,
    ) -> Result<Option<Saved>> {
        let keyed = passed
            .iter()
            .flat_map(|object| object.keyed.iter().copied());
        let keyed: Vec<Keyed> = keyed
            .filter(|keyed| now.since(keyed.seen.at) < keep)
            .collect();
        let newest = keyed.iter().map(|keyed| keyed.seen.at).max();
        let (Some(first), Some(last), Some(newest)) = (passed.first(), passed.last(), newest)
        else {
            return Ok(None);
        };
        let from = first.base;
        let to = last.end;
        let path = self.keys_object(from, to);
        let bytes = keys::to_bytes(&keyed).into();
        // An existing object was saved by an interrupted release: the same keys.
        self.lake.create(&path, bytes, &nonce()).await?;
        Ok(Some(Saved { from, to, newest }))
    }

    async fn delete(&self, paths: Vec<Path>) -> Result<()> {
        let objects = self.lake.objects();
        let paths = Box::pin(futures::stream::iter(paths.into_iter().map(Ok)));
        let mut deleted = objects.delete_stream(paths);
        loop {
            match deleted.try_next().await {
                Ok(Some(_)) | Err(object_store::Error::NotFound { .. }) => {}
                Ok(None) => return Ok(()),
                Err(error) => {
                    return Err(from_objects(
                        "delete a committed part of the journal",
                        &self.folder,
                        error,
                    ));
                }
            }
        }
    }
}

fn segment(folder: &Path, base: u64) -> Path {
    folder.clone().join(format!("{base:020}.{SEGMENT}"))
}

/// The folder of the journals of a pipeline.
fn folder_of(pipeline: &Ident) -> Path {
    Path::from_iter(["journal", pipeline.as_str()])
}

/// A unique value for each attempt to create an object.
fn nonce() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(super) fn slow() -> Error {
    let what = format!(
        "timed out after {} s waiting for the storage to confirm the push",
        ANSWER_TIME_MAX.as_secs()
    );
    Error::unavailable("journal_slow", what)
        .with_hint("retry the push under the same idempotency key: it may have been stored")
}

fn taken(folder: &Path) -> Error {
    let what =
        "another process has taken over this journal; this one no longer acknowledges pushes to it";
    Error::conflict("journal_taken", what)
        .with_context("journal", folder)
        .with_hint("retry the push: it goes to another journal. If this happens often, check the clocks of the servers")
}

fn corrupt(path: &Path, offset: u64) -> Error {
    let what = format!("the journal is damaged at offset {offset}, in acknowledged records");
    Error::data("journal_corrupt", what)
        .with_context("object", path)
        .with_hint("restore the object from a backup or an older version of it; nothing was deleted or skipped")
}
