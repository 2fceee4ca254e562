//! Runs a `MERGE`: writes what its clauses make of the pairs, and names a row that two of them would change.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use forebay_core::{Error, Result};
use forebay_lake::Table;
use forebay_store::AsOf;
use futures::TryStreamExt;

use super::apply::{RowSource, check_column, check_given, names, part_of};
use super::merge::{ActionKind, TableMerge};
use super::statement::{ChangeStatement, parsed, placed_table, settled};
use super::write::{ACTION_COLUMNS, ActionCounts, RowPlace, RowPlaces, WriteFailure, write_rows};
use super::{ChangeReport, ChangeSession};
use crate::row_fit::RowFit;
use crate::session::PlannedQuery;
use crate::table::placed::{FILE_COLUMN, POSITION_COLUMN, PlacedTable};

/// Columns and characters of a value that a message shows.
const SHOWN_COLUMNS_MAX: usize = 8;
const SHOWN_CHARS_MAX: usize = 40;

impl ChangeSession {
    pub(super) async fn merge(
        &self,
        statement: &ChangeStatement,
        sql: &str,
        as_of: &AsOf,
        table: Table,
        merge: &TableMerge,
    ) -> Result<ChangeReport> {
        check_columns(&table, merge)?;
        let schema = table.schema();
        let placed = PlacedTable::of(table).await?;
        let kinds: Arc<[ActionKind]> = merge.kinds().into();
        let writing = (1_i64..).zip(kinds.iter());
        let writing = writing.filter(|(_, kind)| **kind != ActionKind::Deleted);
        let writing: Vec<i64> = writing.map(|(number, _)| number).collect();
        // Clauses that only delete give no columns.
        let columns = match writing.is_empty() {
            true => Vec::new(),
            false => names(&schema),
        };
        let source = RowSource {
            schema: Arc::clone(&schema),
            placed: Some(placed.clone()),
            fit: match writing.is_empty() {
                true => None,
                false => Some(RowFit::of_clauses(&schema, ACTION_COLUMNS, writing)),
            },
        };
        let answer = self.rows(statement, sql, as_of, source).await?;
        let mut draft = self.draft_of(placed.table())?;
        if kinds.contains(&ActionKind::Inserted) {
            // A row that another writer adds in between may be the one that was not there.
            draft.expect_same_rows();
        }
        let places = RowPlaces::OfClauses(kinds);
        let schema = part_of(&schema, &columns);
        let written = match write_rows(&mut draft, answer, &schema, places).await {
            Ok(written) => written,
            Err(WriteFailure {
                taken_twice: Some(place),
                ..
            }) => return Err(self.taken_twice(as_of, &placed, place).await),
            Err(failure) => return Err(failure.error),
        };
        written.delete_from(&placed, &mut draft);
        let tag = tag(written.counts);
        self.commit(statement, draft, written, tag).await
    }

    /// The error for a row that more than one row of the source matches, with its values.
    async fn taken_twice(&self, as_of: &AsOf, placed: &PlacedTable, place: RowPlace) -> Error {
        let name = placed.table().name();
        let row = match self.row_at(as_of, placed, place).await {
            Ok(Some(row)) => format!(" ({row})"),
            _ => String::new(),
        };
        let what = format!("more than one row of the source matches a row of {name}{row}");
        Error::data("merge_rows", what).with_hint(
            "make the rows of the source unique by the columns of ON, as by GROUP BY, or narrow WHEN MATCHED by a condition",
        )
    }

    async fn row_at(
        &self,
        as_of: &AsOf,
        placed: &PlacedTable,
        place: RowPlace,
    ) -> Result<Option<String>> {
        let RowPlace { file, position } = place;
        let table = placed_table(placed.table().name(), &"t".into());
        let text = format!(
            "SELECT * FROM {table} WHERE {FILE_COLUMN} = {file} AND {POSITION_COLUMN} = {position}"
        );
        let planned = PlannedQuery {
            statement: settled(parsed(&text)?)?,
            as_of: as_of.clone(),
            placed: Some(placed.clone()),
            fit: None,
            makes_table: false,
        };
        let mut answer = self.query.run_planned(&text, planned).await?;
        while let Some(batch) = answer.batches.try_next().await? {
            if batch.num_rows() > 0 {
                return Ok(Some(shown(&batch)));
            }
        }
        Ok(None)
    }
}

/// The first row of a batch, for people.
fn shown(batch: &RecordBatch) -> String {
    let options = FormatOptions::default().with_null("null");
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.filter(|(field, _)| !field.name().starts_with("_forebay_"));
    let shown = columns.take(SHOWN_COLUMNS_MAX).map(|(field, column)| {
        let value = ArrayFormatter::try_new(column.as_ref(), &options);
        let value = value.map(|value| value.value(0).to_string());
        let value: String = value.unwrap_or_default();
        let value: String = value.chars().take(SHOWN_CHARS_MAX).collect();
        format!("{} = {value}", field.name())
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Errors: `Config` `bad_sql` for a column that the table does not have, or one that must be given.
fn check_columns(table: &Table, merge: &TableMerge) -> Result<()> {
    let mut updated = merge.updated_columns();
    updated.try_for_each(|name| check_column(table, name))?;
    for (columns, values) in merge.insertions() {
        let columns = check_given(table, columns)?;
        if columns.len() != values {
            let what = format!(
                "INSERT within MERGE has {values} values for {} columns",
                columns.len()
            );
            return Err(Error::config("bad_sql", what)
                .with_hint("name the columns: INSERT (a, b) VALUES (s.a, s.b)"));
        }
    }
    Ok(())
}

fn tag(counts: ActionCounts) -> String {
    let ActionCounts {
        inserted,
        updated,
        deleted,
    } = counts;
    let all = inserted + updated + deleted;
    format!("MERGE {all} ({inserted} inserted, {updated} updated, {deleted} deleted)")
}
