//! Which rows of a scan's data files are deleted.
//!
//! Position deletes (format v2) and deletion vectors (v3) name rows by file and position. A delete applies to files
//! that are not younger than it; a deletion vector replaces every older position delete of its file. Equality deletes
//! are refused: they would need the values of the rows.

use std::collections::{HashMap, HashSet};

use forebay_core::{Context, Error, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use iceberg::spec::{DataContentType, DataFile, DataFileFormat, PrimitiveLiteral, Struct};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use roaring::RoaringTreemap;

use super::manifests::{Live, Snapshot};
use super::positions::{self, FILE_PATH_ID};
use crate::storage::LakeStorage;
use forebay_objects::{from_objects, gone};

/// Delete files read at once.
const READS_MAX: usize = 8;

/// The data files that deletes can hit.
struct Targets<'a> {
    /// Data sequence number by path.
    files: HashMap<Path, i64>,
    /// The oldest data file of each partition.
    partitions: HashMap<(i32, &'a Struct), i64>,
    oldest: i64,
}

/// Deletes of one data file from one delete file.
struct Hit {
    path: Path,
    sequence: i64,
    is_vector: bool,
    rows: RoaringTreemap,
}

/// The deleted rows of each of the data files that has any.
///
/// Errors: `Unsupported` for equality deletes and position deletes that are not Parquet.
pub(super) async fn deleted_rows(
    snapshot: &Snapshot<'_>,
    data: &[Live],
    deletes: &[Live],
) -> Result<HashMap<Path, RoaringTreemap>> {
    if data.is_empty() || deletes.is_empty() {
        return Ok(HashMap::new());
    }
    let targets = Targets::of(snapshot, data)?;
    let mut wanted = Vec::new();
    for delete in deletes {
        if targets.may_hit(snapshot, delete)? {
            wanted.push(delete);
        }
    }
    // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
    let reads: Vec<BoxFuture<'_, Result<Vec<Hit>>>> = wanted
        .into_iter()
        .map(|delete| read(snapshot, delete, &targets).boxed())
        .collect();
    let hits: Vec<Vec<Hit>> = stream::iter(reads)
        .buffer_unordered(READS_MAX)
        .try_collect()
        .await?;
    Ok(merge(hits.into_iter().flatten().collect(), &targets))
}

impl<'a> Targets<'a> {
    fn of(snapshot: &Snapshot<'_>, data: &'a [Live]) -> Result<Self> {
        let mut targets = Self {
            files: HashMap::new(),
            partitions: HashMap::new(),
            oldest: i64::MAX,
        };
        for live in data {
            let file = live.entry.data_file();
            let sequence = live.sequence();
            targets
                .files
                .insert(snapshot.storage.path(file.file_path())?, sequence);
            let oldest = targets
                .partitions
                .entry((live.spec_id, file.partition()))
                .or_insert(sequence);
            *oldest = sequence.min(*oldest);
            targets.oldest = sequence.min(targets.oldest);
        }
        Ok(targets)
    }

    fn may_hit(&self, snapshot: &Snapshot<'_>, delete: &Live) -> Result<bool> {
        let file = delete.entry.data_file();
        let sequence = delete.sequence();
        if file.content_type() == DataContentType::EqualityDeletes {
            // They apply to strictly older files only.
            return if self.oldest < sequence {
                Err(equality_deletes(file))
            } else {
                Ok(false)
            };
        }
        if let Some(target) = target(file) {
            let path = snapshot.storage.path(&target)?;
            return Ok(self.files.get(&path).is_some_and(|data| *data <= sequence));
        }
        Ok(self
            .partitions
            .get(&(delete.spec_id, file.partition()))
            .is_some_and(|data| *data <= sequence))
    }

    /// Whether a delete of this age applies to the file.
    fn is_hit(&self, path: &Path, sequence: i64) -> bool {
        self.files.get(path).is_some_and(|data| *data <= sequence)
    }
}

fn equality_deletes(file: &DataFile) -> Error {
    Error::unsupported(
        "equality_deletes",
        "the table has equality deletes, which Forebay does not read",
    )
    .with_context("file", file.file_path())
    .with_hint("Compact the table with the engine that wrote them.")
}

/// The one data file that a delete file applies to, if recorded. Older writers record it by equal bounds of the path.
pub(super) fn target(file: &DataFile) -> Option<String> {
    if let Some(target) = file.referenced_data_file() {
        return Some(target);
    }
    let lower = file.lower_bounds().get(&FILE_PATH_ID)?;
    let upper = file.upper_bounds().get(&FILE_PATH_ID)?;
    match lower.literal() {
        PrimitiveLiteral::String(path) if lower == upper => Some(path.clone()),
        _ => None,
    }
}

async fn read(snapshot: &Snapshot<'_>, delete: &Live, targets: &Targets<'_>) -> Result<Vec<Hit>> {
    let file = delete.entry.data_file();
    let is_vector = file.file_format() == DataFileFormat::Puffin;
    let rows = match file.file_format() {
        DataFileFormat::Puffin => vector(snapshot.storage, file).await,
        DataFileFormat::Parquet => position_deletes(snapshot, file).await,
        other => Err(Error::unsupported(
            "delete_format",
            format!("position deletes in the format {other} are not read"),
        )),
    };
    let mut hits = Vec::new();
    for (location, rows) in rows.context("file", file.file_path())? {
        let path = snapshot.storage.path(&location)?;
        if targets.is_hit(&path, delete.sequence()) {
            hits.push(Hit {
                path,
                sequence: delete.sequence(),
                is_vector,
                rows,
            });
        }
    }
    Ok(hits)
}

pub(super) async fn position_deletes(
    snapshot: &Snapshot<'_>,
    file: &DataFile,
) -> Result<Vec<(String, RoaringTreemap)>> {
    read_position_deletes(snapshot.storage, file).await
}

async fn read_position_deletes(
    storage: &LakeStorage,
    file: &DataFile,
) -> Result<Vec<(String, RoaringTreemap)>> {
    let bytes = storage.read(&storage.path(file.file_path())?).await?;
    let decoded = tokio::task::spawn_blocking(move || positions::decode_parquet(bytes)).await;
    decoded
        .map_err(|e| Error::bug("task_failed", "failed to read position deletes").with_source(e))?
}

/// Reads a position delete file, to see that it can be read.
///
/// Errors: `Data` `bad_position_deletes`; those of the object store.
pub(crate) async fn check_position_deletes(storage: &LakeStorage, file: &DataFile) -> Result<()> {
    read_position_deletes(storage, file).await.map(drop)
}

/// The same of a deletion vector.
///
/// Errors: `Data` `bad_deletion_vector`; those of the object store.
pub(crate) async fn check_deletion_vector(storage: &LakeStorage, file: &DataFile) -> Result<()> {
    vector(storage, file).await.map(drop)
}

/// Bytes of one deletion vector: a bit for each of 2^32 rows.
const VECTOR_BYTES_MAX: u64 = 512 << 20;

async fn vector(storage: &LakeStorage, file: &DataFile) -> Result<Vec<(String, RoaringTreemap)>> {
    let torn = || {
        Error::data(
            "bad_deletion_vector",
            "a deletion vector has no location or no data file",
        )
    };
    let offset = file
        .content_offset()
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(torn)?;
    let length = file
        .content_size_in_bytes()
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(torn)?;
    let target = file.referenced_data_file().ok_or_else(torn)?;
    let end = offset.checked_add(length).ok_or_else(torn)?;
    if end > file.file_size_in_bytes() || length > VECTOR_BYTES_MAX {
        let what = "a deletion vector ends after its file, or is too large";
        return Err(Error::data("bad_deletion_vector", what));
    }
    let path = storage.path(file.file_path())?;
    let blob = storage.objects().get_range(&path, offset..end).await;
    let blob = blob.map_err(|e| gone(from_objects("read a deletion vector", &path, e)))?;
    let rows = positions::decode_vector(&blob)?;
    if rows.len() != file.record_count() {
        let message = format!(
            "a deletion vector holds {} rows where {} were announced",
            rows.len(),
            file.record_count()
        );
        return Err(Error::data("bad_deletion_vector", message));
    }
    Ok(vec![(target, rows)])
}

fn merge(hits: Vec<Hit>, targets: &Targets<'_>) -> HashMap<Path, RoaringTreemap> {
    let mut newest: HashMap<Path, i64> = HashMap::new();
    for hit in hits.iter().filter(|hit| hit.is_vector) {
        let sequence = newest.entry(hit.path.clone()).or_insert(hit.sequence);
        *sequence = hit.sequence.max(*sequence);
    }
    let mut deleted: HashMap<Path, RoaringTreemap> = HashMap::new();
    for hit in hits {
        let replaced = newest
            .get(&hit.path)
            .is_some_and(|newest| !hit.is_vector || hit.sequence < *newest);
        if !replaced {
            *deleted.entry(hit.path).or_default() |= hit.rows;
        }
    }
    debug_assert!(
        deleted
            .keys()
            .collect::<HashSet<_>>()
            .iter()
            .all(|path| targets.files.contains_key(*path))
    );
    deleted
}
