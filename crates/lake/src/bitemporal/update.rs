//! What the rows of a draft do to a bitemporal table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use forebay_core::{Error, Result, Timestamp};
use object_store::path::Path;
use parking_lot::Mutex;
use roaring::RoaringTreemap;
use tokio::runtime::Handle;

use super::believed::{BelievedFiles, BelievedRow, PeriodIds, search};
use super::keyed::{KeyedRows, digests};
use super::output::{OutputRow, OutputRows};
use super::periods::END_OF_TIME;
use super::staged::StagedRows;
use super::timeline::{Origin, RowSource, Rules, Segment, Timeline};
use crate::scan::ScanFile;
use crate::upsert::RowDeletes;
use crate::write::fetch::{FetchedFile, fetch_rows};
use crate::{DataFile, Table};

/// The rows of a draft that are put on top of one state of the table after another, until a commit succeeds.
#[derive(Debug)]
pub(crate) struct PeriodUpdate {
    staged: Arc<StagedRows>,
    state: Mutex<State>,
}

/// What is known from earlier attempts.
#[derive(Debug, Default)]
struct State {
    keyed: Option<(SchemaRef, Arc<KeyedRows>)>,
    /// Believed rows of the keys by data file, which never changes.
    found: BTreeMap<Path, Arc<Vec<BelievedRow>>>,
}

/// What a commit adds and deletes.
#[derive(Debug, Default)]
pub(crate) struct ResolvedRows {
    pub(crate) files: Vec<DataFile>,
    pub(crate) deletes: Vec<RowDeletes>,
}

/// A data file with believed rows of the keys, those that are deleted left out.
struct FoundRows {
    file: ScanFile,
    rows: Vec<BelievedRow>,
}

impl PeriodUpdate {
    pub(crate) fn new(staged: StagedRows) -> Self {
        Self {
            staged: Arc::new(staged),
            state: Mutex::default(),
        }
    }

    pub(crate) fn row_count(&self) -> u64 {
        self.staged.row_count()
    }

    /// Whether some of its rows take the system time of the commit.
    pub(crate) fn needs_system_time(&self) -> bool {
        self.staged
            .batches
            .iter()
            .any(|batch| batch.system_time.is_none())
    }

    /// Finds the rows of the keys, so that a commit has less to do. `planned` is the table as the draft will have it.
    pub(crate) async fn prepare(&self, table: &Table, planned: &SchemaRef) -> Result<()> {
        self.believed(table, planned).await.map(drop)
    }

    /// What the rows do to `table` at system time `at`; files are written for it, and named by nobody.
    pub(crate) async fn resolve(&self, table: &Table, at: Timestamp) -> Result<ResolvedRows> {
        let (keyed, believed) = self.believed(table, &table.schema()).await?;
        let digests = digests(&table.schema(), &self.staged)?;
        let resolution = Resolution {
            rules: Rules {
                until: self.staged.rules.until,
                coalesce: self.staged.rules.coalesce,
            },
            target: OutputRows::new(table, self.staged.options.clone())?,
            table: table.clone(),
            at: at.micros(),
            keyed,
            digests,
        };
        let runtime = Handle::current();
        let resolved =
            tokio::task::spawn_blocking(move || resolution.run(believed, &runtime)).await;
        resolved.unwrap_or_else(|error| {
            Err(Error::bug("resolve_panicked", "computing periods panicked").with_source(error))
        })
    }

    async fn believed(
        &self,
        table: &Table,
        schema: &SchemaRef,
    ) -> Result<(Arc<KeyedRows>, Vec<FoundRows>)> {
        let keyed = self.keyed(schema).await?;
        let ids = PeriodIds::find(table)?;
        let files = table
            .scan(Some(&BelievedFiles::new(&keyed, &ids)))
            .await?
            .files;
        let unread = {
            let state = self.state.lock();
            let is_unread = |file: &&ScanFile| !state.found.contains_key(&file.path);
            files.iter().filter(is_unread).cloned().collect()
        };
        let found = Box::pin(search(&keyed, &ids, table, unread)).await?;
        let mut state = self.state.lock();
        let found = found
            .into_iter()
            .map(|(file, rows)| (file.path, Arc::new(rows)));
        state.found.extend(found);
        let live = files.into_iter().filter_map(|file| {
            let rows = state.found.get(&file.path)?;
            let is_live = |row: &&BelievedRow| {
                let deleted = file.deleted.as_ref();
                deleted.is_none_or(|deleted| !deleted.contains(row.position))
            };
            let rows: Vec<BelievedRow> = rows.iter().filter(is_live).copied().collect();
            (!rows.is_empty()).then_some(FoundRows { file, rows })
        });
        Ok((Arc::clone(&keyed), live.collect()))
    }

    /// The rows by key; the numbers of keys are the same in every schema.
    async fn keyed(&self, schema: &SchemaRef) -> Result<Arc<KeyedRows>> {
        if let Some((known, keyed)) = &self.state.lock().keyed
            && known == schema
        {
            return Ok(Arc::clone(keyed));
        }
        let (staged, table) = (Arc::clone(&self.staged), Arc::clone(schema));
        let made = tokio::task::spawn_blocking(move || KeyedRows::new(&staged, &table)).await;
        let made = made.unwrap_or_else(|error| {
            Err(Error::bug("keys_panicked", "reading the keys of rows panicked").with_source(error))
        });
        let keyed = Arc::new(made?);
        self.state.lock().keyed = Some((Arc::clone(schema), Arc::clone(&keyed)));
        Ok(keyed)
    }
}

/// The computation for one state of the table.
struct Resolution {
    rules: Rules,
    target: OutputRows,
    table: Table,
    at: i64,
    keyed: Arc<KeyedRows>,
    digests: super::digest::Digests,
}

/// The rows of the table that may change, by key.
#[derive(Default)]
struct TableRows {
    segments: Vec<(u32, Segment)>,
    /// Of each of them: the number of its file, and its place in it.
    places: Vec<(u32, u64)>,
    files: Vec<ScanFile>,
}

impl Resolution {
    fn run(mut self, believed: Vec<FoundRows>, runtime: &Handle) -> Result<ResolvedRows> {
        let mut rows = self.table_rows(believed, runtime)?;
        rows.segments
            .sort_unstable_by_key(|(key, segment)| (*key, segment.from));
        let mut deleted = vec![RoaringTreemap::new(); rows.files.len()];
        let mut timeline = Timeline::default();
        let keyed = Arc::clone(&self.keyed);
        for key in keyed.numbers.sorted() {
            let start = rows.segments.partition_point(|(other, _)| *other < key);
            let own = rows.segments[start..]
                .iter()
                .take_while(|(other, _)| *other == key);
            timeline.reset(own.map(|(_, segment)| *segment));
            self.apply(key, &mut timeline, |row| {
                let (file, position) = rows.places[row as usize];
                deleted[file as usize].insert(position);
            });
        }
        let deletes = rows
            .files
            .into_iter()
            .zip(deleted)
            .filter(|(_, rows)| !rows.is_empty());
        let deletes = deletes.map(|(file, rows)| RowDeletes::of(file, rows));
        Ok(ResolvedRows {
            deletes: deletes.collect(),
            files: self.target.write(&self.keyed.batches)?,
        })
    }

    /// Reads the rows whose periods overlap or touch those of the records.
    fn table_rows(&mut self, believed: Vec<FoundRows>, runtime: &Handle) -> Result<TableRows> {
        let mut found = TableRows::default();
        for FoundRows { file, mut rows } in believed {
            rows.retain(|row| {
                let (from, to) = self.keyed.span(row.key);
                row.from <= to && from <= row.to
            });
            if rows.is_empty() {
                continue;
            }
            let positions: Vec<u64> = rows.iter().map(|row| row.position).collect();
            let fetched = FetchedFile::new(&self.table, &file)?;
            let records = fetch_rows(&fetched, &positions, runtime)?;
            let digests = self.digests.of(&records)?;
            let batch = self.keyed.batches.len() as u32 + self.target.add_source(records);
            let number = found.files.len() as u32;
            for (at, (row, digest)) in (0_u32..).zip(rows.iter().zip(digests)) {
                let origin = Origin::Table {
                    row: found.places.len() as u32,
                    since: row.since,
                };
                let segment = Segment {
                    from: row.from,
                    to: row.to,
                    digest,
                    source: RowSource { batch, row: at },
                    origin,
                };
                found.segments.push((row.key, segment));
                found.places.push((number, row.position));
            }
            found.files.push(file);
        }
        Ok(found)
    }

    /// Applies the records of a key, commit by commit.
    fn apply(&mut self, key: u32, timeline: &mut Timeline, mut delete: impl FnMut(u32)) {
        let keyed = Arc::clone(&self.keyed);
        for commit in keyed.records(key).chunk_by(|a, b| a.commit == b.commit) {
            for record in commit {
                timeline.apply(&record.change, self.rules);
            }
            let at = keyed.commits[commit[0].commit as usize].unwrap_or(self.at);
            timeline.end_commit(at, |closed| {
                let since = match closed.origin {
                    Origin::Table { row, since } => {
                        delete(row);
                        since
                    }
                    Origin::Draft { since } => since,
                    Origin::Fresh => at,
                };
                self.target.push(OutputRow::of(&closed, since, at));
            });
        }
        for segment in timeline.segments() {
            if let Origin::Draft { since } = segment.origin {
                self.target.push(OutputRow::of(segment, since, END_OF_TIME));
            }
        }
    }
}
