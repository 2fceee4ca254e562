//! The interface to the place where files are stored: a local folder or a bucket.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Result, Timestamp};

use super::listing::Listed;

/// Deepest folder that `**` goes down to.
pub(super) const DEPTH_MAX: usize = 64;

/// A place with files in it.
#[async_trait]
pub(super) trait Folder: Debug + Send + Sync {
    /// Adds the files that match the source's pattern to `listed`, in no order, and returns it.
    ///
    /// Errors: `NotFound` for a plain path without a file, `Denied`, `Unavailable`, and those of [`Listed::take`].
    async fn list(&self, listed: Listed) -> Result<Listed>;

    /// Why the pattern matches nothing, and what may be meant instead.
    async fn explain_nothing(&self) -> Result<String>;

    /// Opens the file that is there now, which may differ from the one found; `None` when there is none.
    async fn open(&self, found: &Found) -> Result<Option<Box<dyn OpenFile>>>;
}

/// An open file.
#[async_trait]
pub(super) trait OpenFile: Send {
    /// Its stat when it was opened.
    fn stat(&self) -> &Stat;

    /// Appends at most `limit` bytes from `offset` on to `room` and returns how many. Fewer only at the end of the
    /// file, or when it was replaced: check [`Self::unchanged`].
    async fn read(&mut self, offset: u64, limit: usize, room: &mut Vec<u8>) -> Result<usize>;

    /// Whether all bytes read belong to the file that was opened.
    async fn unchanged(&mut self) -> Result<bool>;

    /// Whether the open file has not become shorter. Its first bytes may have changed, which only their digest shows.
    async fn has_only_grown(&mut self) -> Result<bool> {
        Ok(false)
    }
}

/// A file that matches the pattern.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Path on the disk, or key in the bucket.
    pub(super) path: PathBuf,
    /// For display and as identity: the path below the project, or the URL.
    pub(super) name: String,
    pub(super) stat: Stat,
}

/// Identifies a version of a file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) size: u64,
    /// Of an object in whole seconds: some responses of a store are no more precise.
    pub(super) modified: Timestamp,
    pub(super) identity: Identity,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// Any change of the content changes `changed` (seconds and nanoseconds), which cannot be set.
    Inode {
        changed: (i64, i64),
        inode: u64,
        device: u64,
    },
    /// An object's entity tag, if the store has them: it differs for different content.
    Tag(Option<String>),
}

/// A change this close to now may be followed by another that leaves the same times.
const FRESH: Duration = Duration::from_secs(2);

impl Stat {
    /// Whether the file changed so recently that a further change might not show.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let changed = match &self.identity {
            Identity::Inode { changed, .. } => Timestamp(
                changed
                    .0
                    .saturating_mul(1_000_000)
                    .saturating_add(changed.1 / 1_000),
            ),
            Identity::Tag(Some(_)) => return false,
            Identity::Tag(None) => self.modified,
        };
        now.since(changed) < FRESH && changed.since(now) < FRESH
    }
}
