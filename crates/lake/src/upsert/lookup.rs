//! Finds the rows of a table that have the keys of a draft.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray, StringBuilder};
use forebay_core::{Context, Error, Result};
use iceberg::spec::Struct;
use object_store::path::Path;
use roaring::{RoaringBitmap, RoaringTreemap};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::children::{GoneRows, IdColumn, add_id};
use super::key::KeyColumn;
use super::key_map::Place;
use super::key_numbers::KeyNumbers;
use super::key_range::KeyRange;
use super::written::WrittenKeys;
use crate::file_columns::{FileToSearch, WantedColumns, search_files};
use crate::scan::{Bounds, ScanFile};
use crate::{DataFile, Table};

/// Rows of a data file that a commit deletes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowDeletes {
    /// As the table's metadata names the file.
    pub(crate) location: String,
    pub(crate) spec_id: i32,
    pub(crate) partition: Struct,
    pub(crate) rows: RoaringTreemap,
}

impl RowDeletes {
    /// Rows of a file that a scan has planned.
    pub(crate) fn of(file: ScanFile, rows: RoaringTreemap) -> Self {
        Self {
            location: file.location,
            spec_id: file.spec_id,
            partition: file.partition_values,
            rows,
        }
    }

    /// Rows of a file of a draft.
    pub(crate) fn of_draft(file: &DataFile, rows: RoaringTreemap) -> Self {
        Self {
            location: file.file.file_path().to_owned(),
            spec_id: file.spec_id,
            partition: file.file.partition().clone(),
            rows,
        }
    }
}

/// What the rows of a draft take the place of, in the table and in the draft itself.
#[derive(Debug, Default)]
pub(crate) struct Superseded {
    pub(crate) deletes: Vec<RowDeletes>,
    /// The same rows by their ids, when drafts of child tables need them.
    pub(crate) gone: GoneRows,
}

/// A row of the table with a key of the draft.
#[derive(Debug, Clone, Copy)]
struct Match {
    position: u64,
    entry: u32,
    /// Whether it is newer than the row that comes.
    is_newer: bool,
}

/// The rows of a file with keys of the draft.
#[derive(Debug, Default)]
struct FileMatches {
    rows: Vec<Match>,
    /// The id of each, when child tables need them.
    ids: Option<StringArray>,
}

impl FileMatches {
    fn id(&self, row: usize) -> Option<&str> {
        let ids = self.ids.as_ref().filter(|ids| ids.is_valid(row))?;
        Some(ids.value(row))
    }
}

/// Those of them that are not deleted yet, by their numbers.
struct LiveMatches {
    file: ScanFile,
    matches: Arc<FileMatches>,
    live: Vec<usize>,
}

impl LiveMatches {
    fn rows(&self) -> impl Iterator<Item = (usize, &Match)> {
        self.live.iter().map(|row| (*row, &self.matches.rows[*row]))
    }
}

/// Looks the keys of a draft up in a table, each file once however often the commit is tried.
#[derive(Debug)]
pub(crate) struct KeyLookup {
    written: Arc<WrittenKeys>,
    range: KeyRange,
    /// By which drafts of child tables know the rows.
    id: Option<IdColumn>,
    done: Mutex<BTreeMap<Path, Arc<FileMatches>>>,
}

impl KeyLookup {
    /// `bounds` are those of the files that have the keys.
    pub(crate) fn new(written: WrittenKeys, bounds: &[Bounds], id: Option<IdColumn>) -> Self {
        let ids = written.columns().key.iter().map(|column| column.id);
        Self {
            range: KeyRange::of(ids, bounds),
            written: Arc::new(written),
            id,
            done: Mutex::default(),
        }
    }

    /// The rows that are deleted when `files`, which have the keys, come into `table`.
    pub(crate) async fn superseded(&self, table: &Table, files: &[DataFile]) -> Result<Superseded> {
        let found = self.live_matches(table).await?;
        let newer = found.iter().flat_map(LiveMatches::rows);
        let late: RoaringBitmap = newer
            .filter(|(_, row)| row.is_newer)
            .map(|(_, row)| row.entry)
            .collect();
        let own = self.own_deletes(files, &late)?;
        let mut older = Vec::new();
        let mut stored = KeyNumbers::default();
        for found in found {
            let gone = found.rows().filter(|(_, row)| !late.contains(row.entry));
            let mut rows = RoaringTreemap::new();
            for (number, row) in gone {
                rows.insert(row.position);
                if let Some(id) = found.matches.id(number) {
                    add_id(&mut stored, id)?;
                }
            }
            if !rows.is_empty() {
                older.push(RowDeletes::of(found.file, rows));
            }
        }
        let gone = match &self.id {
            Some(id) => GoneRows::of(stored, table.storage(), files, &own, id).await?,
            None => GoneRows::default(),
        };
        let deletes = own.into_iter().chain(older).collect();
        Ok(Superseded { deletes, gone })
    }

    /// Rows of the draft itself: superseded by others of it, or by the table.
    fn own_deletes(&self, files: &[DataFile], late: &RoaringBitmap) -> Result<Vec<RowDeletes>> {
        let mut rows = self.written.superseded.clone();
        for entry in late {
            let Place { file, position } = self.written.map.entries[entry as usize].place;
            rows[file as usize].insert(position);
        }
        let mut deletes = Vec::new();
        for (path, rows) in self.written.files.iter().zip(rows) {
            if rows.is_empty() {
                continue;
            }
            let file = files.iter().find(|file| file.path == *path);
            let file = file.ok_or_else(|| unknown_file(path))?;
            deletes.push(RowDeletes::of_draft(file, rows));
        }
        Ok(deletes)
    }

    /// Matches in the rows of the table that are not deleted yet.
    async fn live_matches(&self, table: &Table) -> Result<Vec<LiveMatches>> {
        let plan = table.scan(Some(&self.range)).await?;
        let mut done = self.done.lock().await;
        let files = plan.files.iter();
        let unread = files.filter(|file| !done.contains_key(&file.path));
        let searches = unread.map(|file| {
            let path = file.path.clone();
            let search = Search {
                written: Arc::clone(&self.written),
                id: self.id.clone(),
                file: FileToSearch::new(table, file),
            };
            move |runtime: &Handle| {
                let found = search.run(runtime).context("file", &path)?;
                Ok((path, Arc::new(found)))
            }
        });
        let searches: Vec<_> = searches.collect();
        done.extend(search_files(searches).await?);
        let live = |file: ScanFile| {
            let matches = Arc::clone(done.get(&file.path)?);
            let is_live = |row: &usize| {
                let position = matches.rows[*row].position;
                let deleted = file.deleted.as_ref();
                deleted.is_none_or(|deleted| !deleted.contains(position))
            };
            let live: Vec<usize> = (0..matches.rows.len()).filter(is_live).collect();
            (!live.is_empty()).then_some(LiveMatches {
                file,
                matches,
                live,
            })
        };
        Ok(plan.files.into_iter().filter_map(live).collect())
    }
}

fn unknown_file(path: &Path) -> Error {
    Error::bug("unknown_file", "a file with keys is not part of the draft")
        .with_context("file", path)
}

/// The search of one file.
struct Search {
    written: Arc<WrittenKeys>,
    id: Option<IdColumn>,
    file: FileToSearch,
}

impl Search {
    fn run(self, runtime: &Handle) -> Result<FileMatches> {
        let keys = self.written.columns();
        let order = keys.order.iter().map(KeyColumn::name_and_id);
        let id = self.id.iter().map(IdColumn::name_and_id);
        let wanted = WantedColumns {
            needed: keys.key.iter().map(KeyColumn::name_and_id).collect(),
            others: order.chain(id).collect(),
        };
        let mut rows = Vec::new();
        let mut ids = StringBuilder::new();
        self.file.read(runtime, &wanted, |batch, first| {
            self.collect(batch, first, &mut rows, &mut ids)
        })?;
        Ok(FileMatches {
            rows,
            ids: self.id.is_some().then(|| ids.finish()),
        })
    }

    fn collect(
        &self,
        batch: &RecordBatch,
        first: u64,
        rows: &mut Vec<Match>,
        ids: &mut StringBuilder,
    ) -> Result<()> {
        let encoded = self.written.encoder.encode(batch)?;
        let own_ids = self.id.as_ref().map(|id| id.values(batch)).transpose()?;
        let own_ids = own_ids.flatten();
        for row in 0..batch.num_rows() {
            if let Some(entry) = self.written.map.find(encoded.key.row(row).data()) {
                rows.push(Match {
                    position: first + row as u64,
                    entry,
                    is_newer: encoded.order(row) > self.written.map.order(entry),
                });
                let own_id = own_ids.as_ref().filter(|ids| ids.is_valid(row));
                if self.id.is_some() {
                    ids.append_option(own_id.map(|ids| ids.value(row)));
                }
            }
        }
        Ok(())
    }
}
