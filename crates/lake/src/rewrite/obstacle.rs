//! Obstacles to widening a column of whole numbers to double.

use std::collections::{BTreeSet, HashSet};

use forebay_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{FormatVersion, TableMetadata};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use super::rewritten_bytes;
use crate::Table;
use crate::checked_file::CheckedFile;
use crate::scan::ScanFile;
use crate::storage::LakeStorage;
use crate::value::Value;

/// Bytes of data files that one commit may write again. A record decides that a column is widened, so anybody who may send records
/// could make a commit as long as the table is big.
pub const REWRITE_BYTES_MAX: u64 = 1 << 30;
/// Files that one commit may write again.
const REWRITE_FILES_MAX: usize = 10_000;
/// Bytes of a table that may be written again over all of its life: each further column would cost as much as the first.
const REWRITTEN_BYTES_MAX: u64 = 16 << 30;
/// Whole numbers up to this magnitude are exact doubles, all of them.
const EXACT_MAX: i64 = 1 << 53;
/// Footers read at once.
const READS_MAX: usize = 8;

/// Why columns of a table are not widened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WideningObstacle {
    pub reason: String,
}

/// The obstacle to widening the fields of these ids, which are whole numbers, to doubles.
pub(crate) async fn find_obstacle(
    table: &Table,
    ids: &BTreeSet<i32>,
) -> Result<Option<WideningObstacle>> {
    let reason = match of_metadata(table.metadata(), ids) {
        Some(reason) => Some(reason),
        None => of_files(table, ids).await?,
    };
    Ok(reason.map(|reason| WideningObstacle { reason }))
}

fn of_metadata(table: &TableMetadata, ids: &BTreeSet<i32>) -> Option<String> {
    let schema = table.current_schema();
    let mut specs = table.partition_specs_iter().flat_map(|spec| spec.fields());
    let mut orders = table
        .sort_orders_iter()
        .flat_map(|order| order.fields.iter());
    if table.format_version() != FormatVersion::V2 {
        let version = table.format_version();
        return Some(format!(
            "the table has version {version} of the Iceberg format"
        ));
    }
    if specs.any(|field| ids.contains(&field.source_id)) {
        return Some("the table is partitioned by the column".to_owned());
    }
    if orders.any(|field| ids.contains(&field.source_id)) {
        return Some("the table is sorted by the column".to_owned());
    }
    if schema.identifier_field_ids().any(|id| ids.contains(&id)) {
        return Some("the column is part of the table's key".to_owned());
    }
    has_own_branch(table).then(|| {
        "the table has a branch of its own, whose files would be read by the new column".to_owned()
    })
}

/// Readers of a table's own branch read its files with the table's newest schema. `iceberg` shows the refs only in its JSON.
fn has_own_branch(table: &TableMetadata) -> bool {
    let value = serde_json::to_value(table).unwrap_or_default();
    let refs = value["refs"].as_object();
    refs.into_iter()
        .flatten()
        .any(|(name, reference)| name != "main" && reference["type"].as_str() == Some("branch"))
}

async fn of_files(table: &Table, ids: &BTreeSet<i32>) -> Result<Option<String>> {
    let plan = match table.scan(None).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Ok(Some(error.message().to_owned()));
        }
        plan => plan?,
    };
    let bytes: u64 = plan.files.iter().map(|file| file.bytes).sum();
    if bytes > REWRITE_BYTES_MAX || plan.files.len() > REWRITE_FILES_MAX {
        let files = plan.files.len();
        let max = REWRITE_BYTES_MAX >> 20;
        return Ok(Some(format!(
            "the table has {} MiB in {files} files, a commit writes at most {max} MiB in {REWRITE_FILES_MAX} files again",
            bytes >> 20
        )));
    }
    if rewritten_bytes(table.metadata()).saturating_add(bytes) > REWRITTEN_BYTES_MAX {
        let max = REWRITTEN_BYTES_MAX >> 30;
        return Ok(Some(format!(
            "{max} GiB of the table have been written again already"
        )));
    }
    let inexact = Box::pin(has_inexact(table, &plan.files, ids)).await?;
    Ok(inexact.then(|| {
        format!("a whole number beyond {EXACT_MAX} is there, and doubles do not hold all of these")
    }))
}

/// Whether a file may hold a whole number without an exact double.
async fn has_inexact(table: &Table, files: &[ScanFile], ids: &BTreeSet<i32>) -> Result<bool> {
    let mut unbounded = Vec::new();
    for file in files {
        let mut untold = HashSet::new();
        for id in ids {
            match bounded(file, *id) {
                Some(false) => return Ok(true),
                Some(true) => {}
                None => drop(untold.insert(*id)),
            }
        }
        if !untold.is_empty() {
            unbounded.push((file, untold));
        }
    }
    // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
    let reads: Vec<_> = unbounded
        .into_iter()
        .map(|(file, ids)| Box::pin(is_exact(table.storage(), file, ids)))
        .collect();
    let mut exact = stream::iter(reads).buffer_unordered(READS_MAX);
    while let Some(is_exact) = exact.try_next().await? {
        if !is_exact {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the bounds of a column show that it is exact; `None` without bounds.
fn bounded(file: &ScanFile, id: i32) -> Option<bool> {
    if file.bounds.nulls.get(&id) == Some(&file.rows) {
        return Some(true);
    }
    let bounds = [file.bounds.lower.get(&id)?, file.bounds.upper.get(&id)?];
    Some(bounds.iter().all(|bound| match bound {
        Value::Int(_) => true,
        Value::Long(value) => is_within(*value),
        _ => false,
    }))
}

fn is_within(value: i64) -> bool {
    (-EXACT_MAX..=EXACT_MAX).contains(&value)
}

/// Whether the footer of a file shows that these columns are exact: the bounds of columns in lists are only there.
async fn is_exact(storage: &LakeStorage, file: &ScanFile, ids: HashSet<i32>) -> Result<bool> {
    let objects = std::sync::Arc::clone(storage.objects());
    let mut reader = CheckedFile::new(objects, file.path.clone(), file.bytes);
    let footer = reader.footer().await.map_err(|error| {
        Error::data(
            "unreadable_file",
            "failed to read the footer of a data file of the table",
        )
        .with_source(error)
        .with_context("file", &file.path)
    })?;
    Ok(chunks(&footer, &ids).all(is_chunk_exact))
}

fn chunks<'f>(
    footer: &'f ParquetMetaData,
    ids: &'f HashSet<i32>,
) -> impl Iterator<Item = &'f ColumnChunkMetaData> {
    let all = footer.row_groups().iter().flat_map(|group| group.columns());
    let id = |chunk: &ColumnChunkMetaData| {
        let info = chunk.column_descr().self_type().get_basic_info();
        info.has_id().then(|| info.id())
    };
    let has_ids = all.clone().any(|chunk| id(chunk).is_some());
    // Of a file without ids it is not known which columns are meant: each of them counts.
    all.filter(move |chunk| !has_ids || id(chunk).is_some_and(|id| ids.contains(&id)))
}

fn is_chunk_exact(chunk: &ColumnChunkMetaData) -> bool {
    let Some(statistics) = chunk.statistics() else {
        return false;
    };
    if statistics
        .null_count_opt()
        .and_then(|count| i64::try_from(count).ok())
        == Some(chunk.num_values())
    {
        return true;
    }
    match statistics {
        Statistics::Int32(_) => true,
        Statistics::Int64(values) => {
            let bounds = [values.min_opt(), values.max_opt()];
            bounds
                .iter()
                .all(|bound| bound.is_some_and(|bound| is_within(*bound)))
        }
        _ => false,
    }
}
