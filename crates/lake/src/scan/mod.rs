//! Planning a scan: which files of a snapshot can hold rows that a query wants.
//!
//! Pruning happens twice with the same question, first over whole manifests, then over single files. The predicate
//! itself belongs to the caller: it sees column bounds and decides which files to keep. Nothing here opens a data file.

mod bounds;
mod content;
mod deletes;
mod delta;
mod header;
mod manifests;
mod positions;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use forebay_core::{Context, Error, Result};
use iceberg::spec::{DataContentType, DataFileFormat, Struct, TableMetadata};

use crate::partition::text::partition_text;
pub use crate::value::Value;
use crate::{DataFile, Table};
pub(crate) use content::{DecodedDeletes, LiveDelete, PartitionKey, TableContent, delete_counts};
pub(crate) use deletes::{check_deletion_vector, check_position_deletes};
pub(crate) use delta::{AddedFile, TableDelta};
#[cfg(test)]
pub(crate) use header::without_schema;
use manifests::{Live, Snapshot};
pub(crate) use manifests::{load_live, read_live};
pub(crate) use positions::{FILE_PATH_ID, POSITION_ID};

/// The statistics of one manifest or file, known without opening it. Bounds are per Iceberg field id, inclusive, and may be
/// wider than the truth (strings are cut), never narrower. A float column has bounds only when it holds no NaN.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    pub rows: u64,
    pub lower: HashMap<i32, Value>,
    pub upper: HashMap<i32, Value>,
    pub nulls: HashMap<i32, u64>,
    /// Columns whose bounds are statistics of the file: those of others come from its partition, and are wider than its values.
    pub measured: HashSet<i32>,
}

/// Says for each of many containers whether it can hold a wanted row.
pub trait Prune: Send + Sync {
    /// One answer per element of `bounds`, in order.
    fn keep(&self, bounds: &[Bounds]) -> Result<Vec<bool>>;
}

/// A data file to read.
#[derive(Debug, Clone)]
pub struct ScanFile {
    /// Path below the lake's object store.
    pub path: object_store::path::Path,
    pub bytes: u64,
    pub rows: u64,
    pub bounds: Bounds,
    /// Partition values by field id of the source column, for identity transforms (a file may lack the column).
    pub identity: HashMap<i32, Value>,
    /// Positions of deleted rows, ascending; from position deletes and deletion vectors.
    pub deleted: Option<Arc<roaring::RoaringTreemap>>,
    pub sequence: i64,
    /// The partition as text, `day=2026-01-01`, for people.
    pub partition: String,
    /// As the table's metadata names it.
    pub(crate) location: String,
    pub(crate) spec_id: i32,
    pub(crate) partition_values: Struct,
}

#[derive(Debug, Clone, Default)]
pub struct ScanPlan {
    pub files: Vec<ScanFile>,
    pub manifests_total: usize,
    pub manifests_kept: usize,
    /// Files in the kept manifests before file pruning.
    pub files_total: usize,
}

/// The role of a file of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileContent {
    Data,
    PositionDeletes,
    EqualityDeletes,
    DeletionVector,
}

impl FileContent {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::PositionDeletes => "position_deletes",
            Self::EqualityDeletes => "equality_deletes",
            Self::DeletionVector => "deletion_vector",
        }
    }
}

/// A live file of a table, for `lake.files` and `lake.partitions`.
#[derive(Debug, Clone, PartialEq)]
pub struct TableFile {
    pub content: FileContent,
    /// As the table's metadata names it.
    pub location: String,
    /// `parquet`, `puffin`, `orc` or `avro`.
    pub format: String,
    pub rows: u64,
    pub bytes: u64,
    /// The partition as text, `day=2026-01-01`; empty without partitions.
    pub partition: String,
    pub spec_id: i32,
    /// Data sequence number: deletes apply to files that are not younger.
    pub sequence: i64,
}

impl Table {
    /// Plans a scan of the table's current snapshot; `None` keeps every file.
    ///
    /// Errors: `Unsupported` for equality deletes and for data files that are not Parquet, when they could hold wanted
    /// rows.
    pub async fn scan(&self, prune: Option<&dyn Prune>) -> Result<ScanPlan> {
        plan(&Snapshot::current(self), prune)
            .await
            .context("table", self.name())
    }

    /// All live files of the current snapshot, data before deletes.
    pub async fn files(&self) -> Result<Vec<TableFile>> {
        list(&Snapshot::current(self))
            .await
            .context("table", self.name())
    }
}

/// What the statistics of a written file say.
pub(crate) fn written_bounds(file: &DataFile, table: &TableMetadata) -> Bounds {
    entry_bounds(&file.file, file.spec_id, table)
}

/// What a manifest says of a file.
pub(crate) fn entry_bounds(
    file: &iceberg::spec::DataFile,
    spec_id: i32,
    table: &TableMetadata,
) -> Bounds {
    let spec = table.partition_spec_by_id(spec_id).map(Arc::as_ref);
    bounds::of_file(file, spec, table.current_schema())
}

async fn plan(snapshot: &Snapshot<'_>, prune: Option<&dyn Prune>) -> Result<ScanPlan> {
    let (data, deletes) = snapshot.manifests().await?;
    let manifests_total = data.len();
    let of = |manifest: &_| {
        bounds::of_manifest(
            manifest,
            snapshot.spec(manifest.partition_spec_id),
            snapshot.schema(),
        )
    };
    let kept = retain(data.into_iter().map(|m| (of(&m), m)).collect(), prune)?;
    let manifests_kept = kept.len();
    let live = snapshot
        .entries(kept.into_iter().map(|(_, manifest)| manifest).collect())
        .await?;
    let files_total = live.len();
    let of = |live: &Live| {
        bounds::of_file(
            live.entry.data_file(),
            snapshot.spec(live.spec_id),
            snapshot.schema(),
        )
    };
    let (bounds, live): (Vec<_>, Vec<_>) =
        retain(live.into_iter().map(|l| (of(&l), l)).collect(), prune)?
            .into_iter()
            .unzip();
    let deletes = if live.is_empty() {
        Vec::new()
    } else {
        snapshot.entries(deletes).await?
    };
    let mut deleted = deletes::deleted_rows(snapshot, &live, &deletes).await?;
    let mut files = Vec::with_capacity(live.len());
    for (bounds, live) in bounds.into_iter().zip(&live) {
        let mut file = scan_file(snapshot, bounds, live)?;
        file.deleted = deleted
            .remove(&file.path)
            .filter(|rows| !rows.is_empty())
            .map(Arc::new);
        files.push(file);
    }
    Ok(ScanPlan {
        files,
        manifests_total,
        manifests_kept,
        files_total,
    })
}

/// Asks which of the containers to keep.
fn retain<T>(all: Vec<(Bounds, T)>, prune: Option<&dyn Prune>) -> Result<Vec<(Bounds, T)>> {
    let Some(prune) = prune.filter(|_| !all.is_empty()) else {
        return Ok(all);
    };
    let (bounds, rest): (Vec<Bounds>, Vec<T>) = all.into_iter().unzip();
    let keep = prune.keep(&bounds)?;
    if keep.len() != bounds.len() {
        return Err(Error::bug(
            "bad_prune",
            format!(
                "a predicate gave {} answers for {}",
                keep.len(),
                bounds.len()
            ),
        ));
    }
    Ok(bounds
        .into_iter()
        .zip(rest)
        .zip(keep)
        .filter_map(|(one, keep)| keep.then_some(one))
        .collect())
}

fn scan_file(snapshot: &Snapshot<'_>, bounds: Bounds, live: &Live) -> Result<ScanFile> {
    let file = live.entry.data_file();
    if file.file_format() != DataFileFormat::Parquet {
        let message = format!(
            "data files in the format {} are not read",
            file.file_format()
        );
        return Err(
            Error::unsupported("data_format", message).with_context("file", file.file_path())
        );
    }
    Ok(ScanFile {
        path: snapshot.storage.path(file.file_path())?,
        bytes: file.file_size_in_bytes(),
        rows: file.record_count(),
        bounds,
        identity: bounds::identity_values(file, snapshot.spec(live.spec_id), snapshot.schema()),
        deleted: None,
        sequence: live.sequence(),
        partition: text(snapshot, live),
        location: file.file_path().to_owned(),
        spec_id: live.spec_id,
        partition_values: file.partition().clone(),
    })
}

fn text(snapshot: &Snapshot<'_>, live: &Live) -> String {
    let partition = live.entry.data_file().partition();
    snapshot.spec(live.spec_id).map_or(String::new(), |spec| {
        partition_text(spec, partition, snapshot.schema())
    })
}

async fn list(snapshot: &Snapshot<'_>) -> Result<Vec<TableFile>> {
    let (data, deletes) = snapshot.manifests().await?;
    let live = snapshot
        .entries(data.into_iter().chain(deletes).collect())
        .await?;
    let file = |live| table_file(live, text(snapshot, live));
    Ok(live.iter().map(file).collect())
}

fn table_file(live: &Live, partition: String) -> TableFile {
    let file = live.entry.data_file();
    TableFile {
        content: content_of(file),
        location: file.file_path().to_owned(),
        format: file.file_format().to_string(),
        rows: file.record_count(),
        bytes: file.file_size_in_bytes(),
        partition,
        spec_id: live.spec_id,
        sequence: live.sequence(),
    }
}

fn content_of(file: &iceberg::spec::DataFile) -> FileContent {
    match (file.content_type(), file.file_format()) {
        (DataContentType::Data, _) => FileContent::Data,
        (DataContentType::EqualityDeletes, _) => FileContent::EqualityDeletes,
        (DataContentType::PositionDeletes, DataFileFormat::Puffin) => FileContent::DeletionVector,
        (DataContentType::PositionDeletes, _) => FileContent::PositionDeletes,
    }
}
