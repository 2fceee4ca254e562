//! The live files of a state, and the rows of them that each position delete file deletes: the input of a
//! compaction that is rebased.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use forebay_core::{Context, Result};
use iceberg::spec::{DataContentType, DataFileFormat, Struct};
use object_store::path::Path;
use parking_lot::Mutex;
use roaring::RoaringTreemap;

use super::deletes::{position_deletes, target};
use super::manifests::{Live, Snapshot};
use super::{TableFile, table_file};
use crate::Table;

/// A partition of the spec with this id.
pub(crate) type PartitionKey = (i32, Struct);

/// Rows by the path of their data file.
type FileRows = Vec<(Path, Arc<RoaringTreemap>)>;

/// Delete files that were read, by their location: each once, for any number of states.
#[derive(Debug, Default)]
pub(crate) struct DecodedDeletes(Mutex<HashMap<String, Arc<FileRows>>>);

/// The live files of one state of a table.
pub(crate) struct TableContent {
    data: HashMap<Path, Live>,
    /// Position delete files of the wanted partitions.
    pub(crate) deletes: Vec<LiveDelete>,
    /// The deleted rows of each data file, as each delete file has them.
    deleted: HashMap<Path, Vec<Arc<RoaringTreemap>>>,
}

/// A position delete file.
pub(crate) struct LiveDelete {
    pub(crate) file: TableFile,
    pub(crate) partition: PartitionKey,
    /// Rows of live data files.
    pub(crate) hits: FileRows,
}

impl TableContent {
    /// Reads the position delete files of the wanted partitions, and lists all data files. Others than Parquet are not listed.
    pub(crate) async fn read(
        table: &Table,
        wanted: &HashSet<PartitionKey>,
        decoded: &DecodedDeletes,
    ) -> Result<Self> {
        let snapshot = Snapshot::current(table);
        let read = read(&snapshot, wanted, decoded).await;
        read.context("table", table.name())
    }

    /// Whether the data file is live.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.data.contains_key(path)
    }

    /// The entry of a live data file: location, partition.
    pub(crate) fn data_file(&self, path: &Path) -> Option<(String, PartitionKey)> {
        let live = self.data.get(path)?;
        let file = live.entry.data_file();
        let partition = (live.spec_id, file.partition().clone());
        Some((file.file_path().to_owned(), partition))
    }

    /// A live data file without its partition.
    pub(crate) fn table_file(&self, path: &Path) -> Option<TableFile> {
        self.data.get(path).map(plain_file)
    }

    /// The deleted rows of a data file.
    pub(crate) fn deleted_rows(&self, path: &Path) -> RoaringTreemap {
        let of_file = self.deleted.get(path).into_iter().flatten();
        of_file.fold(RoaringTreemap::new(), |all, rows| all | &**rows)
    }
}

/// Numbers of position delete files by partition.
pub(crate) async fn delete_counts(table: &Table) -> Result<HashMap<PartitionKey, usize>> {
    let snapshot = Snapshot::current(table);
    let (_, deletes) = snapshot.manifests().await?;
    let mut counts = HashMap::new();
    for live in snapshot.entries(deletes).await? {
        if is_position_file(&live) {
            let partition = live.entry.data_file().partition().clone();
            *counts.entry((live.spec_id, partition)).or_default() += 1;
        }
    }
    Ok(counts)
}

async fn read(
    snapshot: &Snapshot<'_>,
    wanted: &HashSet<PartitionKey>,
    decoded: &DecodedDeletes,
) -> Result<TableContent> {
    let (data, deletes) = snapshot.manifests().await?;
    let mut content = TableContent {
        data: HashMap::new(),
        deletes: Vec::new(),
        deleted: HashMap::new(),
    };
    for live in snapshot.entries(data).await? {
        let location = live.entry.data_file().file_path();
        content.data.insert(snapshot.storage.path(location)?, live);
    }
    for live in snapshot.entries(deletes).await? {
        let file = live.entry.data_file();
        let partition = (live.spec_id, file.partition().clone());
        if !is_position_file(&live) || !is_wanted(snapshot, &content, &live, wanted)? {
            continue;
        }
        let rows = decode(snapshot, &live, decoded).await;
        let rows = rows.context("file", file.file_path())?;
        let is_hit = |path: &Path| {
            let hit = content.data.get(path);
            hit.is_some_and(|data| data.sequence() <= live.sequence())
        };
        let hits = rows.iter().filter(|(path, _)| is_hit(path)).cloned();
        let hits: FileRows = hits.collect();
        for (path, rows) in &hits {
            let deleted = content.deleted.entry(path.clone());
            deleted.or_default().push(Arc::clone(rows));
        }
        content.deletes.push(LiveDelete {
            file: plain_file(&live),
            partition,
            hits,
        });
    }
    Ok(content)
}

/// A file as counts need it.
fn plain_file(live: &Live) -> TableFile {
    table_file(live, String::new())
}

fn is_position_file(live: &Live) -> bool {
    let file = live.entry.data_file();
    file.content_type() == DataContentType::PositionDeletes
        && file.file_format() == DataFileFormat::Parquet
}

/// A delete file may name a data file of another partition.
fn is_wanted(
    snapshot: &Snapshot<'_>,
    content: &TableContent,
    live: &Live,
    wanted: &HashSet<PartitionKey>,
) -> Result<bool> {
    let file = live.entry.data_file();
    if wanted.contains(&(live.spec_id, file.partition().clone())) {
        return Ok(true);
    }
    let Some(target) = target(file) else {
        return Ok(false);
    };
    let data = content.data_file(&snapshot.storage.path(&target)?);
    Ok(data.is_some_and(|(_, partition)| wanted.contains(&partition)))
}

async fn decode(
    snapshot: &Snapshot<'_>,
    live: &Live,
    decoded: &DecodedDeletes,
) -> Result<Arc<FileRows>> {
    let file = live.entry.data_file();
    let known = decoded.0.lock().get(file.file_path()).cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let rows = position_deletes(snapshot, file).await?;
    let rows = rows.into_iter().map(|(location, rows)| {
        let path = snapshot.storage.path(&location)?;
        Ok((path, Arc::new(rows)))
    });
    let rows: Arc<FileRows> = Arc::new(rows.collect::<Result<_>>()?);
    let mut known = decoded.0.lock();
    known.insert(file.file_path().to_owned(), Arc::clone(&rows));
    Ok(rows)
}
