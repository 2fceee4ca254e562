//! Objects of a bucket: a pattern to the keys that match it, and reading them window by window.
//!
//! Every read is conditional on the entity tag that was found, so that all reads return one version of the object. Where
//! the store has no entity tags, size and time of the last change identify the version. Only the client retries requests
//! (see `forebay_objects`).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_core::{Error, Result, Timestamp};
use forebay_objects::from_objects;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::folder::{DEPTH_MAX, Folder, Found, Identity, OpenFile, Stat};
use super::listing::Listed;
use super::pattern::{Pattern, matches};
use super::plain;

/// Bytes requested at once and held in memory until they are passed on.
const WINDOW_BYTES: u64 = 8 << 20;

/// Keys shown when none matches.
const NAMES_SHOWN_MAX: usize = 3;

/// Objects of a bucket that match a pattern.
pub(super) struct ObjectFolder {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) bucket: String,
    pub(super) pattern: Pattern,
}

impl fmt::Debug for ObjectFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectFolder")
            .field("bucket", &self.bucket)
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}

impl ObjectFolder {
    /// The folders before the first wildcard; for a plain path the whole key.
    fn fixed(&self) -> Result<Path> {
        let text = self.pattern.fixed.to_string_lossy();
        Path::parse(text.as_ref()).map_err(|error| self.failed("name an object", error.into()))
    }

    fn failed(&self, what: &str, error: object_store::Error) -> Error {
        let place = format!("s3://{}/{}", self.bucket, self.pattern.fixed.display());
        from_objects(what, place, error)
    }

    async fn plain(&self, key: &Path, mut listed: Listed) -> Result<Listed> {
        let missing = match self.objects.head(key).await {
            Ok(object) => {
                listed.take(self.found(object))?;
                return Ok(listed);
            }
            Err(error @ object_store::Error::NotFound { .. }) => error,
            Err(error) => return Err(self.failed("look for an object", error)),
        };
        // The response to HEAD has no body: a listing shows whether it is the object that is missing.
        if let Some(Err(error)) = self.objects.list(Some(key)).next().await {
            return Err(self.failed("look for an object", error));
        }
        let what = format!("object s3://{}/{key} not found", self.bucket);
        Err(Error::not_found("no_such_file", what)
            .with_source(missing)
            .with_hint(
                "check `source.file.path`; a path that ends with `/` means every object below it",
            ))
    }

    fn matches(&self, key: &Path) -> bool {
        let Some(below) = key.prefix_match(&self.fixed().unwrap_or_default()) else {
            return false;
        };
        let names: Vec<String> = below.map(|part| part.as_ref().to_owned()).collect();
        if names.len() > DEPTH_MAX {
            tracing::warn!(object = %key, "skipped: nested too deep");
            return false;
        }
        matches(
            &self.pattern.rest,
            &names.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    }

    fn found(&self, object: ObjectMeta) -> Found {
        let key = object.location.as_ref();
        let name = format!("s3://{}/{key}", self.bucket);
        Found {
            path: PathBuf::from(key),
            name: name.chars().flat_map(plain).collect(),
            stat: stat_of(&object),
        }
    }
}

#[async_trait]
impl Folder for ObjectFolder {
    async fn list(&self, mut listed: Listed) -> Result<Listed> {
        let fixed = self.fixed()?;
        if self.pattern.rest.is_empty() {
            return self.plain(&fixed, listed).await;
        }
        let prefix = (!fixed.as_ref().is_empty()).then_some(&fixed);
        let mut objects = self.objects.list(prefix);
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| self.failed("list the objects", error))?;
            if self.matches(&object.location) {
                listed.take(self.found(object))?;
            }
        }
        Ok(listed)
    }

    async fn explain_nothing(&self) -> Result<String> {
        let fixed = self.fixed()?;
        let prefix = (!fixed.as_ref().is_empty()).then_some(&fixed);
        let mut listed = self.objects.list(prefix);
        let mut names = Vec::new();
        while let Some(object) = listed.next().await {
            let object = object.map_err(|error| self.failed("list the objects", error))?;
            names.push(object.location.to_string());
            if names.len() == NAMES_SHOWN_MAX {
                break;
            }
        }
        let place = format!("s3://{}/{fixed}", self.bucket);
        Ok(match names.is_empty() {
            true => format!("no objects below {place}"),
            false => format!("objects below {place}: {}", names.join(", ")),
        })
    }

    async fn open(&self, found: &Found) -> Result<Option<Box<dyn OpenFile>>> {
        let key = Path::parse(found.path.to_string_lossy())
            .map_err(|error| self.failed("name an object", error.into()))?;
        let mut file = ObjectFile {
            objects: Arc::clone(&self.objects),
            bucket: self.bucket.clone(),
            key,
            stat: found.stat.clone(),
            window: (0, Bytes::new()),
            changed: false,
        };
        if found.stat.size == 0 {
            // An empty object has no range to request: only HEAD shows whether it exists.
            match self.objects.head(&file.key).await {
                Ok(object) if is_same_version(&file.stat, &stat_of(&object)) => {}
                Ok(object) => file.stat = stat_of(&object),
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(file.failed(error)),
            }
        } else if file.fetch(0).await? == Fetched::Gone {
            return Ok(None);
        }
        Ok(Some(Box::new(file)))
    }
}

struct ObjectFile {
    objects: Arc<dyn ObjectStore>,
    bucket: String,
    key: Path,
    stat: Stat,
    /// Offset of the buffered bytes, and the bytes.
    window: (u64, Bytes),
    /// Whether a request found another version of the object, or none.
    changed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Fetched {
    Bytes,
    Changed,
    Gone,
}

impl ObjectFile {
    /// Gets the window that begins at `offset`.
    async fn fetch(&mut self, offset: u64) -> Result<Fetched> {
        let end = self.stat.size.min(offset + WINDOW_BYTES);
        let options = GetOptions {
            if_match: condition(&self.stat.identity),
            range: Some(GetRange::Bounded(offset..end)),
            ..GetOptions::default()
        };
        let got = match self.objects.get_opts(&self.key, options).await {
            Ok(got) if is_same_version(&self.stat, &stat_of(&got.meta)) => got,
            Ok(got) if !is_comparable(&self.stat, &stat_of(&got.meta)) => {
                return Err(self.unversioned());
            }
            Ok(_) | Err(object_store::Error::Precondition { .. }) => {
                self.changed = true;
                return Ok(Fetched::Changed);
            }
            Err(object_store::Error::NotFound { .. }) => {
                self.changed = true;
                return Ok(Fetched::Gone);
            }
            Err(error) => return Err(self.failed(error)),
        };
        let bytes = got.bytes().await.map_err(|error| self.failed(error))?;
        self.window = (offset, bytes);
        Ok(Fetched::Bytes)
    }

    fn failed(&self, error: object_store::Error) -> Error {
        let place = format!("s3://{}/{}", self.bucket, self.key);
        from_objects("read an object", place, error)
    }

    fn unversioned(&self) -> Error {
        let what = format!(
            "the store returns s3://{}/{} without `ETag` and `Last-Modified`: a change while it is read cannot be detected",
            self.bucket, self.key
        );
        Error::unsupported("object_unversioned", what)
            .with_hint("check the proxy before the store: it must pass both headers on")
    }

    /// The buffered bytes from `offset` on.
    fn at_hand(&self, offset: u64) -> &[u8] {
        let (from, bytes) = &self.window;
        let skip = offset
            .checked_sub(*from)
            .and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| bytes.get(skip..)).unwrap_or_default()
    }
}

#[async_trait]
impl OpenFile for ObjectFile {
    fn stat(&self) -> &Stat {
        &self.stat
    }

    async fn read(&mut self, offset: u64, limit: usize, room: &mut Vec<u8>) -> Result<usize> {
        let mut got = 0;
        while got < limit && !self.changed {
            let at = offset + got as u64;
            if at >= self.stat.size {
                break;
            }
            if self.at_hand(at).is_empty() && self.fetch(at).await? != Fetched::Bytes {
                break;
            }
            let bytes = self.at_hand(at);
            let bytes = &bytes[..bytes.len().min(limit - got)];
            room.extend_from_slice(bytes);
            got += bytes.len();
        }
        Ok(got)
    }

    async fn unchanged(&mut self) -> Result<bool> {
        Ok(!self.changed)
    }
}

/// The value of `If-Match`.
fn condition(identity: &Identity) -> Option<String> {
    match identity {
        Identity::Tag(Some(tag)) if tag.contains('"') => Some(tag.clone()),
        Identity::Tag(Some(tag)) => Some(format!("\"{tag}\"")),
        Identity::Tag(None) | Identity::Inode { .. } => None,
    }
}

/// A store that leaves the time out of a response.
const NO_TIME: Timestamp = Timestamp(0);

/// Whether a response has anything that identifies a version as the one found has.
fn is_comparable(found: &Stat, got: &Stat) -> bool {
    let has_tag = |stat: &Stat| matches!(stat.identity, Identity::Tag(Some(_)));
    let has_time = |stat: &Stat| stat.modified != NO_TIME;
    (has_tag(found) && has_tag(got)) || (has_time(found) && has_time(got))
}

/// Whether a response is of the version that was found. Some stores leave the entity tag or the time out of their
/// responses, or out of some of them.
fn is_same_version(found: &Stat, got: &Stat) -> bool {
    let is_same_tag = match (&found.identity, &got.identity) {
        (Identity::Tag(Some(found)), Identity::Tag(Some(got))) => found == got,
        _ => true,
    };
    let has_times = ![found.modified, got.modified].contains(&NO_TIME);
    let is_same_time = !has_times || found.modified == got.modified;
    found.size == got.size && is_same_tag && is_same_time && is_comparable(found, got)
}

fn stat_of(object: &ObjectMeta) -> Stat {
    // Some stores leave the quotes out in one of their answers, and proxies mark a tag as weak.
    let bare = |tag: &String| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        let inner = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        inner.unwrap_or(tag).to_owned()
    };
    Stat {
        size: object.size,
        modified: Timestamp(object.last_modified.timestamp().saturating_mul(1_000_000)),
        identity: Identity::Tag(
            object
                .e_tag
                .as_ref()
                .map(bare)
                .filter(|tag| !tag.is_empty()),
        ),
    }
}
