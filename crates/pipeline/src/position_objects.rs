//! Objects of the storage that hold what is too large for a position: `positions/<run>/<ulid>.zst`.
//!
//! An object is durable before the commit that names it, and is never changed. A process that dies in between leaves one that
//! no position names; `forebay tables clean` deletes it. Whoever deletes goes by age, so an object that is named for the first
//! time must be young (`check_age`).

use std::collections::HashSet;
use std::time::Duration;

use forebay_core::{Error, ErrorKind, Position, PositionObject, Result, RunId, Timestamp};
use forebay_lake::storage::{Created, from_objects};
use forebay_lake::{DRAFT_AGE_MAX, Lake};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use ulid::Ulid;

const RESTORE: &str = "restore the object from a backup of the storage; without it `forebay run PIPELINE --full` loads everything again";

/// Where a run keeps what is too large for its positions.
#[derive(Debug, Clone)]
pub struct PositionObjects {
    lake: Lake,
    run: RunId,
}

impl PositionObjects {
    pub fn new(lake: Lake, run: RunId) -> Self {
        Self { lake, run }
    }

    /// Makes an object; durable on return.
    pub(crate) async fn create(&self, bytes: Vec<u8>, entries: u64) -> Result<PositionObject> {
        create_in(&self.lake, &self.run.to_string(), bytes, entries).await
    }

    pub(crate) async fn read(&self, object: &PositionObject) -> Result<Vec<u8>> {
        read(&self.lake, object).await
    }
}

async fn create_in(
    lake: &Lake,
    folder: &str,
    bytes: Vec<u8>,
    entries: u64,
) -> Result<PositionObject> {
    let name = new_name(lake.clock().now());
    let path = format!("{}/{folder}/{name}.zst", Position::OBJECTS_FOLDER);
    let path = Path::from(path);
    let object = PositionObject {
        path: path.to_string(),
        sha256: sha256(&bytes),
        bytes: bytes.len() as u64,
        entries,
    };
    match lake.create(&path, bytes.into(), &name).await? {
        Created::Ours => Ok(object),
        Created::Another => {
            let what = format!("another process has made the object {path}");
            Err(Error::conflict("object_exists", what))
        }
    }
}

/// A name that nobody has used, and that says when it was made.
fn new_name(now: Timestamp) -> String {
    let millis = u64::try_from(now.micros() / 1_000).unwrap_or(0);
    let salt = uuid::Uuid::new_v4().as_u128();
    Ulid::from_parts(millis, salt).to_string().to_lowercase()
}

/// The bytes of an object, compared with its checksum.
///
/// Errors: `NotFound`, `Data` `damaged_position`, and those of the storage.
pub async fn read(lake: &Lake, object: &PositionObject) -> Result<Vec<u8>> {
    let path = Path::from(object.path.as_str());
    let failed = |error| {
        let error = from_objects("read an object of a position", &path, error);
        match error.kind() {
            ErrorKind::NotFound => error.with_hint(RESTORE),
            _ => error,
        }
    };
    let got = lake.objects().get(&path).await.map_err(failed)?;
    let bytes = got.bytes().await.map_err(failed)?;
    if bytes.len() as u64 != object.bytes || sha256(&bytes) != object.sha256 {
        let what = "an object of a position is not what was written: its checksum differs";
        return Err(Error::data("damaged_position", what)
            .with_context("object", &path)
            .with_hint(RESTORE));
    }
    Ok(bytes.into())
}

/// Writes the content of an object again under a new name in the folder of the first: the first may be deleted any time.
pub(crate) async fn create_again(
    lake: &Lake,
    object: &PositionObject,
    bytes: Vec<u8>,
) -> Result<PositionObject> {
    let mut parts = object.path.rsplit('/').skip(1);
    let folder = parts.next().unwrap_or_default();
    create_in(lake, folder, bytes, object.entries).await
}

/// Paths of the objects that a position names.
pub(crate) fn object_paths(position: &Position) -> Result<HashSet<String>> {
    let objects = position.objects()?;
    Ok(objects.into_iter().map(|object| object.path).collect())
}

/// The objects of `position` that `before` does not name.
pub(crate) fn new_objects(
    position: &Position,
    before: &HashSet<String>,
) -> Result<Vec<PositionObject>> {
    let mut objects = position.objects()?;
    objects.retain(|object| !before.contains(&object.path));
    Ok(objects)
}

/// Refuses an object that is named for the first time and may have been deleted meanwhile as one that nothing names.
///
/// Errors: `Conflict` `draft_too_old`.
pub(crate) fn check_age(objects: &[PositionObject], now: Timestamp) -> Result<()> {
    match objects
        .iter()
        .find(|object| age(object, now) > DRAFT_AGE_MAX)
    {
        None => Ok(()),
        Some(object) => {
            let what = "an object of the position is older than a day and was never committed";
            Err(Error::conflict("draft_too_old", what).with_context("object", &object.path))
        }
    }
}

/// Since it was made, by its name.
fn age(object: &PositionObject, now: Timestamp) -> Duration {
    let name = object.path.rsplit('/').next().unwrap_or_default();
    let ulid = name.split('.').next().map(Ulid::from_string);
    let Some(Ok(ulid)) = ulid else {
        return Duration::MAX;
    };
    let made_us = i64::try_from(ulid.timestamp_ms() * 1_000).unwrap_or(0);
    now.since(Timestamp(made_us))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> PositionObject {
        PositionObject {
            path: format!("positions/run/{name}.zst"),
            sha256: String::new(),
            bytes: 0,
            entries: 0,
        }
    }

    #[test]
    fn an_object_that_may_have_been_cleaned_is_not_named_for_the_first_time() {
        let made = Timestamp(1_767_225_600_000_000);
        let object = named(&new_name(made));
        let position = Position(serde_json::json!({}));
        assert_eq!(position.objects().unwrap(), []);
        let position = Position(serde_json::json!({ "objects": [object] }));
        let known = object_paths(&position).unwrap();
        let is_named = |before: &HashSet<String>, now: Timestamp| {
            check_age(&new_objects(&position, before).unwrap(), now).map_err(|error| error.code())
        };
        let day = made.plus(DRAFT_AGE_MAX);
        let later = day.plus(Duration::from_secs(1));
        assert_eq!(is_named(&HashSet::new(), day), Ok(()));
        assert_eq!(is_named(&HashSet::new(), later), Err("draft_too_old"));
        assert_eq!(is_named(&known, later), Ok(()));
        assert!(check_age(&[named("x")], made).is_err());
    }
}
