//! Rows of a child table go with the row of the parent table that they hang from.
//!
//! A row of the parent is known by an id, which its child rows repeat. When a commit deletes rows of the parent, their ids are
//! collected ([`GoneRows`]), and the same commit deletes the child rows with these ids ([`ChildRows`]). A record that comes a second time has
//! the ids that it had: so rows of the table and rows of the draft are told apart, and the child rows that come with a record stay.
//!
//! The ids have no order, so one column of every file of a child table is read. Nothing is kept between commits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use forebay_core::{Context, Error, Result, TableName};
use object_store::path::Path;
use parking_lot::Mutex;
use roaring::RoaringTreemap;
use tokio::runtime::Handle;

use super::key::find;
use super::key_numbers::KeyNumbers;
use super::lookup::RowDeletes;
use super::written::{KEYS_BYTES_MAX, too_many_keys};
use crate::file_columns::{FileToSearch, WantedColumns, search_files};
use crate::partition::source::{column_of, field_id};
use crate::scan::ScanFile;
use crate::storage::LakeStorage;
use crate::{DataFile, Table};

/// A column of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdColumn {
    pub(crate) name: String,
    pub(crate) id: i32,
}

impl IdColumn {
    /// Errors: `Config` `no_row_ids` when the table has no such column of text.
    pub(crate) fn find(schema: &Schema, name: &str) -> Result<Self> {
        let field = find(schema, name).filter(|field| *field.data_type() == DataType::Utf8);
        match field.and_then(|field| field_id(field)) {
            Some(id) => Ok(Self {
                name: name.to_owned(),
                id,
            }),
            None => {
                let what = format!(
                    "the table has no text column `{name}`, by which rows and those of its child tables find each other"
                );
                let hint = "let the transform yield the column, or extract with `nested: flatten` or `keep`";
                Err(Error::config("no_row_ids", what).with_hint(hint))
            }
        }
    }

    /// The ids of a batch of [`FileToSearch::read`]; `None` when it lacks the column.
    pub(super) fn values(&self, records: &RecordBatch) -> Result<Option<StringArray>> {
        let Some(ids) = column_of(records, self.id) else {
            return Ok(None);
        };
        let text = cast(ids, &DataType::Utf8).map_err(|error| {
            Error::bug("key_failed", "failed to read the ids of rows").with_source(error)
        })?;
        Ok(text.as_string_opt::<i32>().cloned())
    }

    /// Gives the place and the id of each row of a file. Blocks.
    fn read(
        &self,
        file: &FileToSearch,
        runtime: &Handle,
        mut take: impl FnMut(u64, &str),
    ) -> Result<()> {
        let wanted = WantedColumns {
            needed: vec![self.name_and_id()],
            others: Vec::new(),
        };
        file.read(runtime, &wanted, |batch, first| {
            let ids = self.values(batch)?;
            for (row, id) in ids.iter().flatten().enumerate() {
                if let Some(id) = id {
                    take(first + row as u64, id);
                }
            }
            Ok(())
        })
    }

    pub(super) fn name_and_id(&self) -> (String, i32) {
        (self.name.clone(), self.id)
    }
}

/// Rows of a parent table that a commit deletes, by their ids.
#[derive(Debug, Default)]
pub(crate) struct GoneRows {
    /// Rows of the table.
    stored: Arc<KeyNumbers>,
    /// Rows of the draft.
    own: Arc<KeyNumbers>,
    /// Those of them whose record is in the draft once more, and stays.
    repeated: KeyNumbers,
}

impl GoneRows {
    /// `stored` are rows of the table; `deletes` are those of the draft's own files.
    ///
    /// Errors: `Config` `too_many_keys`.
    pub(super) async fn of(
        stored: KeyNumbers,
        storage: &Arc<LakeStorage>,
        files: &[DataFile],
        deletes: &[RowDeletes],
        id: &IdColumn,
    ) -> Result<Self> {
        let mut gone = Self {
            stored: Arc::new(stored),
            ..Self::default()
        };
        if deletes.is_empty() {
            return Ok(gone);
        }
        let files = own_files(storage, files, deletes);
        let with_deletes = files.iter().filter(|(_, deleted)| !deleted.is_empty());
        let own = with_deletes.cloned().map(|(file, deleted)| {
            let id = id.clone();
            ids_where(file, id, move |row, _| deleted.contains(row))
        });
        gone.own = Arc::new(numbered(search_files(own.collect()).await?)?);
        // The ids of the rows that stay are compared where they are: they may be many.
        let repeated = files.into_iter().map(|(file, deleted)| {
            let (id, own) = (id.clone(), Arc::clone(&gone.own));
            ids_where(file, id, move |row, id| {
                !deleted.contains(row) && own.find(id.as_bytes()).is_some()
            })
        });
        gone.repeated = numbered(search_files(repeated.collect()).await?)?;
        Ok(gone)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stored.len() == 0 && self.own.len() == 0
    }
}

/// Adds the id of a row.
///
/// Errors: `Config` `too_many_keys`.
pub(super) fn add_id(ids: &mut KeyNumbers, id: &str) -> Result<()> {
    ids.number(id.as_bytes()).ok_or_else(too_many_keys)?;
    match ids.memory_bytes() > KEYS_BYTES_MAX {
        true => Err(too_many_keys()),
        false => Ok(()),
    }
}

fn numbered(found: Vec<Vec<String>>) -> Result<KeyNumbers> {
    let mut ids = KeyNumbers::default();
    for id in found.iter().flatten() {
        add_id(&mut ids, id)?;
    }
    Ok(ids)
}

/// The files of a draft, each with its rows that the draft deletes.
fn own_files(
    storage: &Arc<LakeStorage>,
    files: &[DataFile],
    deletes: &[RowDeletes],
) -> Vec<(FileToSearch, Arc<RoaringTreemap>)> {
    let deletes = deletes.iter();
    let deletes: HashMap<&str, &RoaringTreemap> = deletes
        .map(|delete| (delete.location.as_str(), &delete.rows))
        .collect();
    let files = files.iter().map(|file| {
        let deleted = deletes.get(file.file.file_path());
        let deleted = deleted.map_or_else(RoaringTreemap::new, |rows| (*rows).clone());
        (FileToSearch::of_draft(storage, file), Arc::new(deleted))
    });
    files.collect()
}

/// A search for the ids of those rows of a file.
fn ids_where(
    file: FileToSearch,
    id: IdColumn,
    is_wanted: impl Fn(u64, &str) -> bool + Send + 'static,
) -> impl FnOnce(&Handle) -> Result<Vec<String>> + Send + 'static {
    move |runtime| {
        let mut found = Vec::new();
        id.read(&file, runtime, |row, id| {
            if is_wanted(row, id) {
                found.push(id.to_owned());
            }
        })?;
        Ok(found)
    }
}

/// How rows of a child table know the row of the parent that they hang from.
#[derive(Debug, Clone)]
pub(crate) struct ParentLink {
    pub(crate) table: TableName,
    /// The column with the id of that row.
    pub(crate) parent_id: String,
    /// The column with the id of the row itself.
    pub(crate) id: String,
}

/// The search for the rows of a child table that go with rows of its parent.
#[derive(Debug)]
pub(crate) struct ChildRows {
    pub(crate) parent: TableName,
    /// The id of the row of the parent.
    parent_id: IdColumn,
    /// The id of the row itself.
    id: IdColumn,
    found: Mutex<FoundRows>,
}

/// What was found in the table, so that a commit that is tried again reads each file once.
#[derive(Debug, Default)]
struct FoundRows {
    gone: Arc<KeyNumbers>,
    rows: BTreeMap<Path, Arc<RoaringTreemap>>,
}

impl ChildRows {
    /// Errors: `Config` `no_row_ids`.
    pub(crate) fn of(schema: &Schema, link: ParentLink) -> Result<Self> {
        Ok(Self {
            parent: link.table,
            parent_id: IdColumn::find(schema, &link.parent_id)?,
            id: IdColumn::find(schema, &link.id)?,
            found: Mutex::default(),
        })
    }

    /// Searches the files of a table, so that [`Self::deletes`] reads none of them again.
    pub(crate) async fn search(&self, table: &Table, gone: &GoneRows) -> Result<()> {
        self.stored_deletes(table, &gone.stored).await.map(drop)
    }

    /// The rows that are deleted with `gone` when `files` come into `table`.
    pub(crate) async fn deletes(
        &self,
        table: &Table,
        files: &[DataFile],
        gone: &GoneRows,
    ) -> Result<Vec<RowDeletes>> {
        let mut deletes = self.own_deletes(table.storage(), files, gone).await?;
        deletes.extend(self.stored_deletes(table, &gone.stored).await?);
        Ok(deletes)
    }

    async fn stored_deletes(
        &self,
        table: &Table,
        gone: &Arc<KeyNumbers>,
    ) -> Result<Vec<RowDeletes>> {
        if gone.len() == 0 {
            return Ok(Vec::new());
        }
        let files = table.scan(None).await?.files;
        let searches = self.unread(gone, &files).into_iter().map(|file| {
            let (gone, column) = (Arc::clone(gone), self.parent_id.clone());
            let search = FileToSearch::new(table, file);
            let path = file.path.clone();
            move |runtime: &Handle| {
                let mut rows = RoaringTreemap::new();
                let read = column.read(&search, runtime, |row, id| {
                    if gone.find(id.as_bytes()).is_some() {
                        rows.insert(row);
                    }
                });
                read.context("file", &path)?;
                Ok((path, Arc::new(rows)))
            }
        });
        let read = search_files(searches.collect()).await?;
        let mut found = self.found.lock();
        found.rows.extend(read);
        let deletes = files.into_iter().filter_map(|file| {
            let mut rows = RoaringTreemap::clone(found.rows.get(&file.path)?);
            if let Some(deleted) = &file.deleted {
                rows -= &**deleted;
            }
            (!rows.is_empty()).then(|| RowDeletes::of(file, rows))
        });
        Ok(deletes.collect())
    }

    /// The files that were not searched for these ids.
    fn unread<'f>(&self, gone: &Arc<KeyNumbers>, files: &'f [ScanFile]) -> Vec<&'f ScanFile> {
        let mut found = self.found.lock();
        if !found.gone.has_same(gone) {
            found.rows.clear();
        }
        found.gone = Arc::clone(gone);
        let is_unread = |file: &&ScanFile| !found.rows.contains_key(&file.path);
        files.iter().filter(is_unread).collect()
    }

    /// Rows of the draft itself.
    async fn own_deletes(
        &self,
        storage: &Arc<LakeStorage>,
        files: &[DataFile],
        gone: &GoneRows,
    ) -> Result<Vec<RowDeletes>> {
        if gone.own.len() == 0 {
            return Ok(Vec::new());
        }
        let mut deletes = Vec::new();
        let mut seen = HashSet::new();
        let searches = files.iter().map(|file| {
            let (gone, columns) = (Arc::clone(&gone.own), self.columns());
            let file = FileToSearch::of_draft(storage, file);
            move |runtime: &Handle| own_rows(&file, &columns, &gone, runtime)
        });
        let found = search_files(searches.collect()).await?;
        for (file, rows) in files.iter().zip(found) {
            let rows: RoaringTreemap = rows
                .into_iter()
                .filter(|row| {
                    let stays = gone.repeated.find(row.parent.as_bytes()).is_some();
                    !(stays && seen.insert(row.id.clone()))
                })
                .map(|row| row.position)
                .collect();
            if !rows.is_empty() {
                deletes.push(RowDeletes::of_draft(file, rows));
            }
        }
        Ok(deletes)
    }

    fn columns(&self) -> [IdColumn; 2] {
        [self.parent_id.clone(), self.id.clone()]
    }
}

/// A child row of a draft whose parent row the draft deletes.
struct OwnRow {
    position: u64,
    parent: String,
    id: String,
}

fn own_rows(
    file: &FileToSearch,
    [parent_id, id]: &[IdColumn; 2],
    gone: &KeyNumbers,
    runtime: &Handle,
) -> Result<Vec<OwnRow>> {
    let wanted = WantedColumns {
        needed: vec![parent_id.name_and_id(), id.name_and_id()],
        others: Vec::new(),
    };
    let mut found = Vec::new();
    file.read(runtime, &wanted, |batch, first| {
        let (Some(parents), Some(ids)) = (parent_id.values(batch)?, id.values(batch)?) else {
            return Ok(());
        };
        for (row, (parent, id)) in parents.iter().zip(&ids).enumerate() {
            let parent = parent.filter(|parent| gone.find(parent.as_bytes()).is_some());
            if let Some(parent) = parent {
                found.push(OwnRow {
                    position: first + row as u64,
                    parent: parent.to_owned(),
                    id: id.unwrap_or_default().to_owned(),
                });
            }
        }
        Ok(())
    })?;
    Ok(found)
}
