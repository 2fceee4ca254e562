//! Writes the rows that a statement gives, and notes the places of those that go. Reads batches as they are made; never holds rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use forebay_core::{Error, Result};
use forebay_lake::{DataFile, Draft, TableWriter, WriterOptions};
use futures::TryStreamExt;
use roaring::RoaringTreemap;

use super::merge::ActionKind;
use crate::engine::canonical;
use crate::session::Answer;
use crate::table::placed::PlacedTable;

/// The places of a row, before its columns.
pub(super) const PLACE_COLUMNS: usize = 2;
/// The same with the number of the clause that takes it.
pub(super) const ACTION_COLUMNS: usize = PLACE_COLUMNS + 1;

/// What the first columns of a batch say.
#[derive(Debug, Clone)]
pub(super) enum RowPlaces {
    None,
    /// The place of the row that goes.
    Replaced,
    /// The place of the row that a clause takes, if there is one, and the number of the clause.
    OfClauses(Arc<[ActionKind]>),
}

impl RowPlaces {
    fn columns(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Replaced => PLACE_COLUMNS,
            Self::OfClauses(_) => ACTION_COLUMNS,
        }
    }
}

/// Rows of the statement, written.
pub(super) struct WrittenRows {
    pub(super) files: Vec<DataFile>,
    pub(super) rows: u64,
    /// Positions of the rows that go, by the number of their file.
    deleted: Vec<RoaringTreemap>,
    pub(super) counts: ActionCounts,
}

impl WrittenRows {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.deleted.iter().all(RoaringTreemap::is_empty)
    }

    /// Takes the rows that go away; returns their number.
    pub(super) fn delete_from(&self, placed: &PlacedTable, draft: &mut Draft) -> u64 {
        let mut count = 0;
        for (file, rows) in placed.files().iter().zip(&self.deleted) {
            count += rows.len();
            draft.delete_rows(file, rows.clone());
        }
        count
    }
}

/// Rows by what has happened to them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ActionCounts {
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
}

/// The place of a row in a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowPlace {
    pub(super) file: i32,
    pub(super) position: i64,
}

/// Why rows could not be written.
pub(super) struct WriteFailure {
    pub(super) error: Error,
    /// The row of the table that two rows would replace.
    pub(super) taken_twice: Option<RowPlace>,
}

impl From<WriteFailure> for Error {
    fn from(failure: WriteFailure) -> Self {
        failure.error
    }
}

/// Writes the rows of an answer; on an error its files are deleted.
pub(super) async fn write_rows(
    draft: &mut Draft,
    mut answer: Answer,
    schema: &SchemaRef,
    places: RowPlaces,
) -> Result<WrittenRows, WriteFailure> {
    let writer = match schema.fields().is_empty() {
        true => None,
        false => Some(draft.writer(WriterOptions::default()).map_err(plain)?),
    };
    let mut writer = RowWriter {
        writer,
        schema: Arc::clone(schema),
        places,
        deleted: Vec::new(),
        counts: ActionCounts::default(),
        taken_twice: None,
    };
    loop {
        let batch = match answer.batches.try_next().await {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(error) => return Err(abandon(draft, writer, error).await),
        };
        let written = tokio::task::spawn_blocking(move || {
            let written = writer.write(&batch);
            (writer, written)
        });
        let (back, done) = written.await.map_err(panicked)?;
        writer = back;
        if let Err(error) = done {
            return Err(abandon(draft, writer, error).await);
        }
    }
    let finished = tokio::task::spawn_blocking(move || writer.finish());
    finished.await.map_err(panicked)?.map_err(plain)
}

/// Notes the places of rows that go, and writes those that come.
struct RowWriter {
    writer: Option<TableWriter>,
    schema: SchemaRef,
    places: RowPlaces,
    deleted: Vec<RoaringTreemap>,
    counts: ActionCounts,
    taken_twice: Option<RowPlace>,
}

impl RowWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut batch = batch.clone();
        match self.places.clone() {
            RowPlaces::None => {}
            RowPlaces::Replaced => self.note_places(&batch)?,
            RowPlaces::OfClauses(kinds) => {
                self.note_places(&batch)?;
                batch = self.written_part(&batch, &kinds)?;
            }
        }
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let columns: Vec<usize> = (self.places.columns()..batch.num_columns()).collect();
        let rows = batch.project(&columns).map_err(lacking)?;
        writer.write(&canonical::cast(&rows, &self.schema)?)
    }

    /// The rows that are written, once all are counted.
    fn written_part(&mut self, batch: &RecordBatch, kinds: &[ActionKind]) -> Result<RecordBatch> {
        let missing = || Error::bug("change_failed", "rows came without their clauses");
        let numbers = batch.column(PLACE_COLUMNS).as_primitive_opt::<Int64Type>();
        let mut is_written = Vec::with_capacity(batch.num_rows());
        for number in numbers.ok_or_else(missing)? {
            let at = number.and_then(|number| usize::try_from(number - 1).ok());
            let kind = at.and_then(|at| kinds.get(at)).ok_or_else(missing)?;
            let count = match kind {
                ActionKind::Inserted => &mut self.counts.inserted,
                ActionKind::Updated => &mut self.counts.updated,
                ActionKind::Deleted => &mut self.counts.deleted,
            };
            *count += 1;
            is_written.push(*kind != ActionKind::Deleted);
        }
        filter_record_batch(batch, &BooleanArray::from(is_written)).map_err(lacking)
    }

    fn note_places(&mut self, batch: &RecordBatch) -> Result<()> {
        let missing = || Error::bug("change_failed", "rows came without their places");
        let files = batch.column(0).as_primitive_opt::<Int32Type>();
        let positions = batch.column(1).as_primitive_opt::<Int64Type>();
        let (files, positions) = files.zip(positions).ok_or_else(missing)?;
        let may_be_new = matches!(self.places, RowPlaces::OfClauses(_));
        for row in 0..batch.num_rows() {
            if may_be_new && files.is_null(row) {
                continue;
            }
            let place = RowPlace {
                file: files.value(row),
                position: positions.value(row),
            };
            let file = usize::try_from(place.file).map_err(|_| missing())?;
            if self.deleted.len() <= file {
                self.deleted.resize_with(file + 1, RoaringTreemap::new);
            }
            let is_new = self.deleted[file].insert(place.position.cast_unsigned());
            if !is_new {
                self.taken_twice = Some(place);
                return Err(Error::bug("change_failed", "a row came twice"));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<WrittenRows> {
        let rows = self.writer.as_ref().map_or(0, TableWriter::rows);
        let files = self.writer.map(TableWriter::finish).transpose()?;
        Ok(WrittenRows {
            files: files.unwrap_or_default(),
            rows,
            deleted: self.deleted,
            counts: self.counts,
        })
    }
}

/// Deletes the files of a statement that failed.
async fn abandon(draft: &Draft, writer: RowWriter, error: Error) -> WriteFailure {
    let RowWriter {
        writer,
        taken_twice,
        ..
    } = writer;
    if let Some(writer) = writer {
        let mut written = draft.trial();
        written.append(writer.abandon());
        written.discard().await;
    }
    WriteFailure { error, taken_twice }
}

fn plain(error: Error) -> WriteFailure {
    WriteFailure {
        error,
        taken_twice: None,
    }
}

fn lacking(error: arrow::error::ArrowError) -> Error {
    Error::bug("change_failed", "a batch lacks columns").with_source(error)
}

fn panicked(error: tokio::task::JoinError) -> WriteFailure {
    plain(Error::bug("change_failed", "writing rows panicked").with_source(error))
}
