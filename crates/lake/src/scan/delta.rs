//! The files that two states of a table do not have in common, from their manifests. Nothing here opens a data file.

use std::collections::{HashMap, HashSet};

use forebay_core::{Context, Result};
use iceberg::spec::{DataContentType, ManifestFile};

use super::manifests::{Live, Snapshot};
use super::{ScanFile, bounds, scan_file};
use crate::{DataFile, Table};

/// What became of the files of a table from one state to another. Holds an entry for each file of the manifests that only one of
/// them has.
#[derive(Debug, Default)]
pub(crate) struct TableDelta {
    /// Data files that came.
    pub(crate) added: Vec<AddedFile>,
    pub(crate) files_removed: u64,
    /// Rows of files that came, and of those that went.
    pub(crate) rows_added: u64,
    pub(crate) rows_removed: u64,
    /// Rows that position deletes and deletion vectors name: new ones, and those that are no longer there.
    pub(crate) deletes_added: u64,
    pub(crate) deletes_removed: u64,
    /// Delete files that came or went.
    pub(crate) delete_files_changed: u64,
}

/// A data file that only the later state has.
#[derive(Debug, Clone)]
pub(crate) struct AddedFile(Live);

impl TableDelta {
    /// `None` stands for a table that is not there.
    pub(crate) async fn between(before: Option<&Table>, after: Option<&Table>) -> Result<Self> {
        let name = after.or(before).map(|table| table.name().to_string());
        let delta = difference(before, after).await;
        delta.context("table", name.unwrap_or_default())
    }

    /// Whether data files came and nothing else happened.
    pub(crate) fn is_append(&self) -> bool {
        self.files_removed == 0 && self.delete_files_changed == 0
    }

    /// Rows that are no longer seen.
    pub(crate) fn rows_deleted(&self) -> u64 {
        (self.rows_removed + self.deletes_added).saturating_sub(self.deletes_removed)
    }
}

impl AddedFile {
    /// The snapshot that it came with.
    pub(crate) fn snapshot(&self) -> Option<i64> {
        self.0.entry.snapshot_id()
    }

    pub(crate) fn location(&self) -> &str {
        self.0.entry.data_file().file_path()
    }

    pub(crate) fn spec_id(&self) -> i32 {
        self.0.spec_id
    }

    /// The file as one that is added to the table of `storage`.
    pub(crate) fn data_file(&self, table: &Table) -> Result<DataFile> {
        let file = self.0.entry.data_file();
        Ok(DataFile {
            path: table.storage().path(file.file_path())?,
            rows: file.record_count(),
            bytes: file.file_size_in_bytes(),
            file: file.clone(),
            spec_id: self.0.spec_id,
        })
    }

    /// The file as one to read, with the statistics that `table` has of it; its deleted rows are not known.
    pub(crate) fn to_read(&self, table: &Table) -> Result<ScanFile> {
        let snapshot = Snapshot::current(table);
        let spec = snapshot.spec(self.0.spec_id);
        let bounds = bounds::of_file(self.0.entry.data_file(), spec, snapshot.schema());
        scan_file(&snapshot, bounds, &self.0)
    }
}

async fn difference(before: Option<&Table>, after: Option<&Table>) -> Result<TableDelta> {
    let old = manifests(before).await?;
    let new = manifests(after).await?;
    let paths = |manifests: &[ManifestFile]| -> HashSet<String> {
        let paths = manifests.iter();
        paths.map(|one| one.manifest_path.clone()).collect()
    };
    let (old_paths, new_paths) = (paths(&old), paths(&new));
    let gone = entries(before, old, &new_paths).await?;
    let came = entries(after, new, &old_paths).await?;
    let mut delta = TableDelta::default();
    for (location, live) in &gone {
        if !came.contains_key(location) {
            delta.remove(live);
        }
    }
    for (location, live) in came {
        if !gone.contains_key(&location) {
            delta.add(live);
        }
    }
    delta.added.sort_by(|a, b| {
        let key = |file: &AddedFile| (file.0.sequence(), file.location().to_owned());
        key(a).cmp(&key(b))
    });
    Ok(delta)
}

impl TableDelta {
    fn add(&mut self, live: Live) {
        let file = live.entry.data_file();
        let rows = file.record_count();
        if file.content_type() == DataContentType::Data {
            self.rows_added += rows;
            self.added.push(AddedFile(live));
            return;
        }
        self.delete_files_changed += 1;
        if file.content_type() == DataContentType::PositionDeletes {
            self.deletes_added += rows;
        }
    }

    fn remove(&mut self, live: &Live) {
        let file = live.entry.data_file();
        match file.content_type() {
            DataContentType::Data => {
                self.files_removed += 1;
                self.rows_removed += file.record_count();
            }
            DataContentType::PositionDeletes => {
                self.delete_files_changed += 1;
                self.deletes_removed += file.record_count();
            }
            DataContentType::EqualityDeletes => self.delete_files_changed += 1,
        }
    }
}

async fn manifests(table: Option<&Table>) -> Result<Vec<ManifestFile>> {
    let Some(table) = table else {
        return Ok(Vec::new());
    };
    let (data, deletes) = Snapshot::current(table).manifests().await?;
    Ok(data.into_iter().chain(deletes).collect())
}

/// Live files by what tells them apart, of the manifests that the other state does not have.
async fn entries(
    table: Option<&Table>,
    mut manifests: Vec<ManifestFile>,
    shared: &HashSet<String>,
) -> Result<HashMap<String, Live>> {
    let Some(table) = table else {
        return Ok(HashMap::new());
    };
    manifests.retain(|manifest| !shared.contains(&manifest.manifest_path));
    let live = Snapshot::current(table).entries(manifests).await?;
    let named = live.into_iter().map(|live| {
        let file = live.entry.data_file();
        // Many deletion vectors are in one file.
        let target = file.referenced_data_file().unwrap_or_default();
        let offset = file.content_offset().unwrap_or_default();
        let name = format!("{}\n{target}\n{offset}", file.file_path());
        (name, live)
    });
    Ok(named.collect())
}
