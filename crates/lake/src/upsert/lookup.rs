//! Finds the rows of a table that have the keys of a draft.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use arrow::array::RecordBatch;
use forebay_core::{Context, Error, Result};
use futures::{StreamExt, stream};
use iceberg::spec::Struct;
use object_store::path::Path;
use roaring::{RoaringBitmap, RoaringTreemap};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::key::KeyColumn;
use super::key_map::Place;
use super::key_range::KeyRange;
use super::written::WrittenKeys;
use crate::file_columns::{FileToSearch, WantedColumns};
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

/// A row of the table with a key of the draft.
#[derive(Debug, Clone, Copy)]
struct Match {
    position: u64,
    entry: u32,
    /// Whether it is newer than the row that comes.
    is_newer: bool,
}

/// Looks the keys of a draft up in a table, each file once however often the commit is tried.
#[derive(Debug)]
pub(crate) struct KeyLookup {
    written: Arc<WrittenKeys>,
    range: KeyRange,
    done: Mutex<BTreeMap<Path, Arc<Vec<Match>>>>,
}

impl KeyLookup {
    /// `bounds` are those of the files that have the keys.
    pub(crate) fn new(written: WrittenKeys, bounds: &[Bounds]) -> Self {
        let ids = written.columns().key.iter().map(|column| column.id);
        Self {
            range: KeyRange::of(ids, bounds),
            written: Arc::new(written),
            done: Mutex::default(),
        }
    }

    /// The rows that are deleted when `files`, which have the keys, come into `table`.
    pub(crate) async fn deletes(
        &self,
        table: &Table,
        files: &[DataFile],
    ) -> Result<Vec<RowDeletes>> {
        let found = self.live_matches(table).await?;
        let mut late = RoaringBitmap::new();
        for (_, matches) in &found {
            late.extend(
                matches
                    .iter()
                    .filter(|row| row.is_newer)
                    .map(|row| row.entry),
            );
        }
        let mut deletes = self.own_deletes(files, &late)?;
        for (file, matches) in found {
            let older = matches.into_iter().filter(|row| !late.contains(row.entry));
            let rows: RoaringTreemap = older.map(|row| row.position).collect();
            if !rows.is_empty() {
                deletes.push(RowDeletes {
                    location: file.location,
                    spec_id: file.spec_id,
                    partition: file.partition_values,
                    rows,
                });
            }
        }
        Ok(deletes)
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
            deletes.push(RowDeletes {
                location: file.file.file_path().to_owned(),
                spec_id: file.spec_id,
                partition: file.file.partition().clone(),
                rows,
            });
        }
        Ok(deletes)
    }

    /// Matches in the rows of the table that are not deleted yet.
    async fn live_matches(&self, table: &Table) -> Result<Vec<(ScanFile, Vec<Match>)>> {
        let plan = table.scan(Some(&self.range)).await?;
        let mut done = self.done.lock().await;
        let unread = plan
            .files
            .iter()
            .filter(|file| !done.contains_key(&file.path));
        // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
        let reads: Vec<_> = unread
            .map(|file| Box::pin(self.search(table, file.clone())))
            .collect();
        let at_once = available_parallelism().map_or(1, NonZero::get);
        let mut reads = stream::iter(reads).buffer_unordered(at_once);
        while let Some(read) = reads.next().await {
            let (path, matches) = read?;
            done.insert(path, Arc::new(matches));
        }
        drop(reads);
        let live = |file: ScanFile| {
            let matches = done.get(&file.path)?;
            let live = matches.iter().filter(|row| {
                let deleted = file.deleted.as_ref();
                deleted.is_none_or(|deleted| !deleted.contains(row.position))
            });
            let live: Vec<Match> = live.copied().collect();
            (!live.is_empty()).then_some((file, live))
        };
        Ok(plan.files.into_iter().filter_map(live).collect())
    }

    async fn search(&self, table: &Table, file: ScanFile) -> Result<(Path, Vec<Match>)> {
        let search = Search {
            written: Arc::clone(&self.written),
            file: FileToSearch::new(table, &file),
        };
        let runtime = Handle::current();
        let searched = tokio::task::spawn_blocking(move || search.run(&runtime)).await;
        let matches = searched.unwrap_or_else(|error| {
            Err(Error::bug("lookup_panicked", "the look-up of keys panicked").with_source(error))
        });
        Ok((file.path.clone(), matches.context("file", file.path)?))
    }
}

fn unknown_file(path: &Path) -> Error {
    Error::bug("unknown_file", "a file with keys is not part of the draft")
        .with_context("file", path)
}

/// The search of one file.
struct Search {
    written: Arc<WrittenKeys>,
    file: FileToSearch,
}

impl Search {
    fn run(self, runtime: &Handle) -> Result<Vec<Match>> {
        let keys = self.written.columns();
        let wanted = WantedColumns {
            needed: keys.key.iter().map(KeyColumn::name_and_id).collect(),
            others: keys.order.iter().map(KeyColumn::name_and_id).collect(),
        };
        let mut found = Vec::new();
        self.file.read(runtime, &wanted, |batch, first| {
            self.collect(batch, first, &mut found)
        })?;
        Ok(found)
    }

    fn collect(&self, batch: &RecordBatch, first: u64, found: &mut Vec<Match>) -> Result<()> {
        let encoded = self.written.encoder.encode(batch)?;
        for row in 0..batch.num_rows() {
            if let Some(entry) = self.written.map.find(encoded.key.row(row).data()) {
                found.push(Match {
                    position: first + row as u64,
                    entry,
                    is_newer: encoded.order(row) > self.written.map.order(entry),
                });
            }
        }
        Ok(())
    }
}
