//! Objects of the raw zone that no commit names.
//!
//! Whatever commits an object writes its index beside it first (`<ulid>.index.parquet`), and deletes none that it committed. Runs that
//! failed or were killed leave two kinds:
//!
//! - An object without an index. It goes once it is older than the safe age. No catalog is asked: it is so for every catalog that
//!   shares the storage, also for one that is lost.
//! - An index that was never committed, and its object. They go once they are also older than the states that are kept. The index
//!   says in its footer for which table it was written; that table must be one of this catalog, be there, and be readable to the end.
//!
//! All else stays: indexes of a dropped table (other pipelines may name its objects), of another catalog, and of a run whose
//! target commits on its own, since its outbox may still restore the index. The zone is listed once, and one folder of it, an
//! hour of a split, is held in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{Result, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStoreExt};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetObjectReader};
use uuid::Uuid;

use crate::Lake;
use crate::file_owner::TABLE_ID;
use forebay_objects::from_objects;

use super::reach::Reach;
use super::sweep::{DELETED_AT_ONCE, before, delete};
use super::{CleanRequest, CleanedRaw, FileCount};

/// Suffix after the ULID in the name of an index.
const INDEX: &str = "index.";
/// How the name of the folder of objects begins; other folders of the raw zone hold other things.
const HOUR: &str = "hour=";
/// Characters of a ULID, which the name of every object and index begins with.
const ULID_CHARS: usize = 26;
/// Indexes whose footers are read at once.
const READS_MAX: usize = 16;
/// Finds them, and deletes them unless it is a dry run.
pub(super) async fn sweep(
    lake: &Lake,
    request: &CleanRequest,
    reach: &Reach,
) -> Result<CleanedRaw> {
    let prefix = Path::from("raw");
    let failed = |e| from_objects("list the raw zone", &prefix, e);
    let mut found = lake.objects().list(Some(&prefix));
    let mut sweep = RawSweep::new(lake, request, reach);
    let mut folder = HourFolder::default();
    while let Some(object) = found.try_next().await.map_err(failed)? {
        let Some((path, ulid)) = name_parts(&object.location) else {
            continue;
        };
        // Stores list the objects of one folder together.
        if path != folder.path {
            sweep.clean_folder(std::mem::take(&mut folder)).await?;
            folder.path = path;
        }
        folder.units.entry(ulid).or_default().add(object);
    }
    sweep.clean_folder(folder).await?;
    sweep.finish().await
}

/// The objects of one folder.
#[derive(Default)]
struct HourFolder {
    path: String,
    /// By ULID.
    units: BTreeMap<String, RawUnit>,
}

/// An object with its index, as far as they are there. One that was committed from an outbox has a second index.
#[derive(Default)]
struct RawUnit {
    indexes: Vec<ObjectMeta>,
    objects: Vec<ObjectMeta>,
}

impl RawUnit {
    fn add(&mut self, object: ObjectMeta) {
        let file = object.location.filename().unwrap_or_default();
        let is_index = file
            .split_once('.')
            .is_some_and(|(_, rest)| rest.starts_with(INDEX) && rest.ends_with(".parquet"));
        match is_index {
            true => self.indexes.push(object),
            false => self.objects.push(object),
        }
    }

    fn files(&self) -> impl Iterator<Item = &ObjectMeta> {
        self.indexes.iter().chain(&self.objects)
    }

    fn is_older_than(&self, time: Timestamp) -> bool {
        self.files()
            .all(|file| file.last_modified.timestamp_micros() < time.micros())
    }

    fn count_into(&self, count: &mut FileCount) {
        self.files().for_each(|file| count.add(file.size));
    }
}

pub(super) fn is_young(modified_micros: i64, until: Timestamp) -> bool {
    modified_micros >= until.micros()
}

/// The action for a unit.
enum Verdict {
    Keep,
    /// It may come to be committed.
    Young,
    Delete,
}

struct RawSweep<'a> {
    lake: &'a Lake,
    request: &'a CleanRequest,
    reach: &'a Reach,
    /// Younger files may be about to be committed.
    safe_until: Timestamp,
    /// Younger indexes may have been committed in a state that a restored catalog has forgotten.
    kept_from: Timestamp,
    orphans: Vec<Path>,
    cleaned: CleanedRaw,
}

impl<'a> RawSweep<'a> {
    fn new(lake: &'a Lake, request: &'a CleanRequest, reach: &'a Reach) -> Self {
        let safe_until = before(lake.clock().now(), request.safe_age);
        Self {
            lake,
            request,
            reach,
            safe_until,
            kept_from: safe_until.min(request.keep_from),
            orphans: Vec::new(),
            cleaned: CleanedRaw::default(),
        }
    }

    async fn clean_folder(&mut self, folder: HourFolder) -> Result<()> {
        let sweep = &*self;
        let judged = folder.units.into_values().map(|unit| async move {
            let verdict = sweep.judge(&unit).await?;
            Ok::<_, forebay_core::Error>((unit, verdict))
        });
        let judged: Vec<(RawUnit, Verdict)> = stream::iter(judged)
            .buffer_unordered(READS_MAX)
            .try_collect()
            .await?;
        for (unit, verdict) in judged {
            match verdict {
                Verdict::Keep => {}
                Verdict::Young => unit.count_into(&mut self.cleaned.young),
                Verdict::Delete => self.delete(unit).await?,
            }
        }
        Ok(())
    }

    async fn delete(&mut self, unit: RawUnit) -> Result<()> {
        unit.count_into(&mut self.cleaned.orphaned);
        self.orphans
            .extend(unit.files().map(|file| file.location.clone()));
        if self.orphans.len() < DELETED_AT_ONCE {
            return Ok(());
        }
        delete(self.lake, self.request, std::mem::take(&mut self.orphans)).await
    }

    async fn finish(self) -> Result<CleanedRaw> {
        delete(self.lake, self.request, self.orphans).await?;
        Ok(self.cleaned)
    }

    async fn judge(&self, unit: &RawUnit) -> Result<Verdict> {
        let mut indexes = unit.indexes.iter();
        if indexes.any(|index| self.reach.has(&index.location)) {
            return Ok(Verdict::Keep);
        }
        if !unit.is_older_than(self.safe_until) {
            return Ok(Verdict::Young);
        }
        let is_orphan = match unit.indexes.is_empty() {
            true => self.has_no_index(unit).await?,
            false => unit.is_older_than(self.kept_from) && self.was_never_committed(unit).await?,
        };
        Ok(match is_orphan {
            true => Verdict::Delete,
            false => Verdict::Keep,
        })
    }

    /// Asks again for the index that the listing did not show.
    async fn has_no_index(&self, unit: &RawUnit) -> Result<bool> {
        for object in &unit.objects {
            let Some((folder, ulid)) = name_parts(&object.location) else {
                return Ok(false);
            };
            let index = Path::from(format!("{folder}/{ulid}.index.parquet"));
            match self.lake.objects().head(&index).await {
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(from_objects("look for a raw index", &index, error)),
                Ok(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether each index, which no kept state reaches, is of a table all of whose files are reached.
    async fn was_never_committed(&self, unit: &RawUnit) -> Result<bool> {
        for index in &unit.indexes {
            match self.table_of(index).await {
                Some(table) if self.reach.has_all_of(table) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The table that an index was written for. One that cannot be read says nothing, and stays.
    async fn table_of(&self, index: &ObjectMeta) -> Option<Uuid> {
        let objects = Arc::clone(self.lake.objects());
        let mut reader =
            ParquetObjectReader::new(objects, index.location.clone()).with_file_size(index.size);
        let footer = reader.get_metadata(None).await;
        let footer = footer
            .inspect_err(|error| tracing::warn!(%error, index = %index.location, "failed to read raw index, keeping it"))
            .ok()?;
        let pairs = footer.file_metadata().key_value_metadata()?;
        let pair = pairs.iter().find(|pair| pair.key == TABLE_ID)?;
        Uuid::try_parse(pair.value.as_deref()?).ok()
    }
}

/// The common part of an object and its index: folder and ULID. `None` for other objects.
fn name_parts(path: &Path) -> Option<(String, String)> {
    let (folder, file) = path.as_ref().rsplit_once('/')?;
    let (ulid, _) = file.split_once('.')?;
    let hour = folder.rsplit('/').next()?;
    let is_ulid = ulid.len() == ULID_CHARS && ulid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (hour.starts_with(HOUR) && is_ulid).then(|| (folder.to_owned(), ulid.to_owned()))
}
