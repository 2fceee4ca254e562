//! Objects of the raw zone that no commit can name.
//!
//! Whatever commits an object writes its index beside it first (`<ulid>.index.parquet`), and nothing deletes an index. An object that is
//! old and has none was left by a run that failed or was killed. No catalog is asked: it is so for every catalog that shares the
//! storage, also for one that is lost. Objects that have an index are never touched.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use forebay_core::{Result, Timestamp};
use futures::TryStreamExt;
use object_store::path::Path;

use crate::Lake;
use crate::error::from_objects;

use super::sweep::{DELETED_AT_ONCE, before, delete};
use super::{CleanRequest, CleanedRaw};

/// How the name of an index ends.
const INDEX: &str = ".index.parquet";
/// How the name of the folder of objects begins; other folders of the raw zone hold other things.
const HOUR: &str = "hour=";
/// Characters of a ULID, which the name of every object and index begins with.
const ULID_CHARS: usize = 26;

/// Finds them, and deletes them unless it is a dry run. Holds a few bytes for every object of the raw zone in memory.
pub(super) async fn sweep(lake: &Lake, request: &CleanRequest) -> Result<CleanedRaw> {
    let indexed = indexed_objects(lake).await?;
    let until = before(lake.clock().now(), request.safe_age);
    let mut cleaned = CleanedRaw::default();
    let mut orphans = Vec::new();
    let prefix = Path::from("raw");
    let failed = |e| from_objects("list the raw zone", &prefix, e);
    let mut found = lake.objects().list(Some(&prefix));
    while let Some(object) = found.try_next().await.map_err(failed)? {
        let Some(name) = name_hash(&object.location) else {
            continue;
        };
        if indexed.contains(&name) {
            continue;
        }
        if is_young(object.last_modified.timestamp_micros(), until) {
            cleaned.young.add(object.size);
            continue;
        }
        cleaned.orphaned.add(object.size);
        orphans.push(object.location);
        if orphans.len() == DELETED_AT_ONCE {
            delete(lake, request, std::mem::take(&mut orphans)).await?;
        }
    }
    delete(lake, request, orphans).await?;
    Ok(cleaned)
}

pub(super) fn is_young(modified_micros: i64, until: Timestamp) -> bool {
    modified_micros >= until.micros()
}

/// Hashes of the names that have an index. Two names with one hash: at worst an object stays that could go.
async fn indexed_objects(lake: &Lake) -> Result<HashSet<u64>> {
    let prefix = Path::from("raw");
    let failed = |e| from_objects("list the raw zone", &prefix, e);
    let mut found = lake.objects().list(Some(&prefix));
    let mut indexed = HashSet::new();
    while let Some(object) = found.try_next().await.map_err(failed)? {
        if object.location.as_ref().ends_with(INDEX) {
            indexed.extend(name_hash(&object.location));
        }
    }
    Ok(indexed)
}

/// Stands for what an object and its index have in common: folder and ULID. `None` for what is neither.
fn name_hash(path: &Path) -> Option<u64> {
    let (folder, file) = path.as_ref().rsplit_once('/')?;
    let (ulid, _) = file.split_once('.')?;
    let is_hour = folder
        .rsplit('/')
        .next()
        .is_some_and(|hour| hour.starts_with(HOUR));
    let is_ulid = ulid.len() == ULID_CHARS && ulid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let mut hasher = DefaultHasher::new();
    (folder, ulid).hash(&mut hasher);
    (is_hour && is_ulid).then(|| hasher.finish())
}
