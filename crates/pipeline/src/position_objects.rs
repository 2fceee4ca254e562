//! Objects of the storage with the large parts of positions: `positions/<run>/<ulid>.zst`.
//!
//! An object is durable before the commit that references it, and is never changed. A process that dies in between leaves
//! an unreferenced one; `forebay tables clean` deletes it. Cleaning goes by age, so an object that is referenced for the
//! first time must be young (`check_age`).

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connectors::source::PositionStorage;
use forebay_core::{Error, ErrorKind, Position, PositionObject, Result, RunId, Timestamp};
use forebay_lake::{DRAFT_AGE_MAX, Lake};
use forebay_objects::{Created, from_objects};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use ulid::Ulid;

const RESTORE: &str = "restore the object from a backup of the storage; without a backup load everything again with `forebay run PIPELINE --full`";

/// Where a run stores the large parts of its positions.
#[derive(Debug, Clone)]
pub struct PositionObjects {
    lake: Lake,
    run: RunId,
}

impl PositionObjects {
    pub fn new(lake: Lake, run: RunId) -> Self {
        Self { lake, run }
    }
}

#[async_trait]
impl PositionStorage for PositionObjects {
    async fn create(&self, bytes: Vec<u8>, entries: u64) -> Result<PositionObject> {
        create_in(&self.lake, &self.run.to_string(), bytes, entries).await
    }

    async fn read(&self, object: &PositionObject) -> Result<Vec<u8>> {
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
            let what = format!("another process has created the object {path}");
            Err(Error::conflict("object_exists", what))
        }
    }
}

/// A unique name with the creation time.
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
        let what = "an object of a position is damaged: its checksum differs";
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

/// Paths of the objects that a position references.
pub(crate) fn object_paths(position: &Position) -> Result<HashSet<String>> {
    let objects = position.objects()?;
    Ok(objects.into_iter().map(|object| object.path).collect())
}

/// The objects of `position` that `before` does not reference.
pub(crate) fn new_objects(
    position: &Position,
    before: &HashSet<String>,
) -> Result<Vec<PositionObject>> {
    let mut objects = position.objects()?;
    objects.retain(|object| !before.contains(&object.path));
    Ok(objects)
}

/// Rejects an object that is referenced for the first time and may have been deleted in the meantime as unreferenced.
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

/// Since its creation, by its name.
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
    hex::encode(digest)
}

#[cfg(test)]
mod tests {
    use forebay_core::SystemClock;
    use forebay_store::Store;
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;

    #[tokio::test]
    async fn an_object_that_is_damaged_or_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let database = folder.path().join("store.db");
        let store = Store::open(&database, clock.clone());
        let objects = std::sync::Arc::new(InMemory::new());
        let root = "memory://test".to_owned();
        let lake = Lake::new(store.await.unwrap(), objects.clone(), root, clock);
        let run = RunId::new(lake.clock().now(), 7);
        let storage = PositionObjects::new(lake, run);
        let bytes = b"the part of a position".to_vec();
        let object = storage.create(bytes.clone(), 1).await.unwrap();
        assert_eq!(storage.read(&object).await.unwrap(), bytes);
        let path = Path::from(object.path.as_str());
        for bit in [0, bytes.len() * 4, bytes.len() * 8 - 1] {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let put = objects.put(&path, PutPayload::from(flipped));
            put.await.unwrap();
            let error = storage.read(&object).await.unwrap_err();
            assert_eq!(error.code(), "damaged_position");
        }
        objects.delete(&path).await.unwrap();
        let error = storage.read(&object).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(path.as_ref()), "{error}");
    }

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
