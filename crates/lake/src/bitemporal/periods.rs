//! The columns of periods, and how incoming rows get theirs.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use forebay_core::{Error, Result};

use crate::Table;
use crate::upsert::{is_variant, variants};

/// The start and the end of a row's valid period.
pub const VALID_FROM: &str = "valid_from";
pub const VALID_TO: &str = "valid_to";
/// Since when and until when the lake believed a row.
pub const SYSTEM_FROM: &str = "system_from";
pub const SYSTEM_TO: &str = "system_to";

/// Of incoming rows only: whether a row deletes its period.
pub const DELETE_COLUMN: &str = "_fb_delete";

const OWN_COLUMNS: [&str; 5] = [VALID_FROM, VALID_TO, SYSTEM_FROM, SYSTEM_TO, DELETE_COLUMN];

/// `9999-12-31T00:00:00Z`: "until further notice" and "still believed". A value instead of null, so that half-open comparisons,
/// statistics and partitions work in every engine.
pub const END_OF_TIME: i64 = 253_402_214_400_000_000;

/// `0001-01-01T00:00:00Z`, the first time of a valid period.
const START_OF_TIME: i64 = -62_135_596_800_000_000;

/// The last microsecond of the year 9999: what many sources write for the end of time.
const LAST_OF_TIME: i64 = 253_402_300_799_999_999;

/// Property of a bitemporal table: the columns of its key, with commas between them.
pub(crate) const KEY_PROPERTY: &str = "forebay.bitemporal-key";

/// Whether a table has periods that are kept by this module.
pub fn is_bitemporal(table: &Table) -> bool {
    table.properties().contains_key(KEY_PROPERTY)
}

/// Whether every bitemporal table has a column of this name.
pub fn is_period_column(name: &str) -> bool {
    [VALID_FROM, VALID_TO, SYSTEM_FROM, SYSTEM_TO].contains(&name)
}

/// Whether a bitemporal table may have this column: those with the names of periods have the type of periods.
pub(crate) fn may_be_period(field: &Field) -> bool {
    let is_instant = matches!(
        field.data_type(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_))
    );
    is_instant || !is_period_column(field.name())
}

/// Which columns of the data say what about time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodColumns {
    pub valid_from: String,
    pub valid_to: String,
    /// The column with the operation: `upsert` (also null) or `delete`.
    pub operation: Option<String>,
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn period_fields() -> impl Iterator<Item = FieldRef> {
    let names = [VALID_FROM, VALID_TO, SYSTEM_FROM, SYSTEM_TO];
    names
        .into_iter()
        .map(|name| Arc::new(Field::new(name, instant(), true)))
}

/// The columns of a table for rows with periods.
pub fn table_schema(rows: &Schema) -> SchemaRef {
    let data = rows
        .fields()
        .iter()
        .filter(|field| own_name(field.name()).is_none());
    Arc::new(Schema::new(
        data.cloned().chain(period_fields()).collect::<Vec<_>>(),
    ))
}

/// Rows with their periods in [`VALID_FROM`] and [`VALID_TO`] and their operation in [`DELETE_COLUMN`], in place of the columns that
/// say it in the data. The rows that [`refuse_periods`] names are to be left out before.
pub fn rows_with_periods(rows: &RecordBatch, columns: &PeriodColumns) -> Result<RecordBatch> {
    let from = times(rows, &columns.valid_from)?.times;
    let to = times(rows, &columns.valid_to)?.times;
    let operation = Operations::of(rows, columns.operation.as_deref());
    let is_delete = |row: usize| matches!(operation.is_delete(row), Ok(true));
    let deletes = (0..rows.num_rows()).map(is_delete).collect();
    replaced(rows, columns, [from, to], deletes)
}

/// The rows that have no sound period or operation, by number, with the reasons.
pub fn refuse_periods(rows: &RecordBatch, columns: &PeriodColumns) -> Result<Vec<(usize, Error)>> {
    let from = times(rows, &columns.valid_from)?;
    let to = times(rows, &columns.valid_to)?;
    let operation = Operations::of(rows, columns.operation.as_deref());
    let taken = taken_names(rows, columns);
    let check = |row: usize| {
        refuse_taken(&taken, row)
            .and(operation.is_delete(row))
            .and_then(|is_delete| check_period(&from, &to, row, is_delete))
    };
    let rows = 0..rows.num_rows();
    Ok(rows
        .filter_map(|row| Some((row, check(row).err()?)))
        .collect())
}

/// A column as times, and which of its values are no times.
struct Times<'r> {
    name: String,
    times: TimestampMicrosecondArray,
    given: Option<&'r ArrayRef>,
    variants: Vec<&'r ArrayRef>,
}

impl Times<'_> {
    fn get(&self, row: usize) -> Result<Option<i64>> {
        if self.times.is_valid(row) {
            let at = self.times.value(row);
            return match (START_OF_TIME..=LAST_OF_TIME).contains(&at) {
                true => Ok(Some(at.min(END_OF_TIME))),
                false => Err(bad_period(format!(
                    "`{}` is out of the years 1 to 9999",
                    self.name
                ))),
            };
        }
        let is_given = |column: &&ArrayRef| column.is_valid(row);
        match self.given.iter().chain(&self.variants).any(is_given) {
            true => Err(bad_period(format!(
                "the value of `{}` is not a time",
                self.name
            ))),
            false => Ok(None),
        }
    }
}

fn times<'r>(rows: &'r RecordBatch, name: &str) -> Result<Times<'r>> {
    let given = rows.column_by_name(name);
    let is_time = |kind: &DataType| {
        matches!(
            kind,
            DataType::Utf8 | DataType::Date32 | DataType::Timestamp(..)
        )
    };
    let times = match given.filter(|given| is_time(given.data_type())) {
        None => new_null_array(&instant(), rows.num_rows()),
        // What is no time becomes null, and is refused with its row.
        Some(given) => {
            let options = CastOptions {
                safe: true,
                ..CastOptions::default()
            };
            cast_with_options(given, &instant(), &options).map_err(failed)?
        }
    };
    Ok(Times {
        name: name.to_owned(),
        times: times.as_primitive::<TimestampMicrosecondType>().clone(),
        given,
        variants: variants(rows, name),
    })
}

/// The operations of rows.
struct Operations<'r> {
    name: String,
    values: Option<&'r ArrayRef>,
    variants: Vec<&'r ArrayRef>,
}

impl<'r> Operations<'r> {
    fn of(rows: &'r RecordBatch, name: Option<&str>) -> Self {
        let name = name.unwrap_or_default();
        Self {
            values: rows.column_by_name(name),
            variants: match name.is_empty() {
                true => Vec::new(),
                false => variants(rows, name),
            },
            name: name.to_owned(),
        }
    }

    fn is_delete(&self, row: usize) -> Result<bool> {
        let is_given = |column: &&&ArrayRef| column.is_valid(row);
        let values = self.values.iter().chain(&self.variants);
        let Some(values) = values.copied().find(|column| is_given(&column)) else {
            return Ok(false);
        };
        let text = values
            .as_string_opt::<i32>()
            .map(|values| values.value(row));
        match text {
            Some("upsert") => Ok(false),
            Some("delete") => Ok(true),
            _ => {
                let what = format!(
                    "the value of `{}` is neither \"upsert\" nor \"delete\"",
                    self.name
                );
                Err(Error::data("bad_operation", what))
            }
        }
    }
}

fn check_period(from: &Times, to: &Times, row: usize, is_delete: bool) -> Result<()> {
    match (from.get(row)?, to.get(row)?) {
        (None, None) if is_delete => Ok(()),
        (None, _) => Err(bad_period(format!("`{}` is null", from.name))),
        (Some(from_at), Some(to_at)) if to_at <= from_at => Err(bad_period(format!(
            "`{}` is not after `{}`",
            to.name, from.name
        ))),
        (Some(END_OF_TIME), _) => Err(bad_period(format!("`{}` is the end of time", from.name))),
        _ => Ok(()),
    }
}

/// The columns of the data whose names the table needs for itself.
fn taken_names<'r>(
    rows: &'r RecordBatch,
    columns: &PeriodColumns,
) -> Vec<(&'static str, &'r ArrayRef)> {
    let is_said = |name: &str| name == columns.valid_from || name == columns.valid_to;
    let schema = rows.schema();
    let fields = schema.fields().iter().zip(rows.columns());
    let taken = fields.filter(|(field, _)| !is_said(field.name()));
    taken
        .filter_map(|(field, column)| Some((own_name(field.name())?, column)))
        .collect()
}

/// The column of a bitemporal table that has this name, whatever the case.
fn own_name(name: &str) -> Option<&'static str> {
    OWN_COLUMNS
        .into_iter()
        .find(|own| own.eq_ignore_ascii_case(name))
}

fn refuse_taken(taken: &[(&str, &ArrayRef)], row: usize) -> Result<()> {
    match taken.iter().find(|(_, column)| column.is_valid(row)) {
        None => Ok(()),
        Some((name, _)) => {
            let what = format!(
                "the record has a field `{name}`, which is a column of every bitemporal table"
            );
            Err(Error::data("reserved_column", what))
        }
    }
}

fn bad_period(what: String) -> Error {
    Error::data("bad_period", what)
}

fn replaced(
    rows: &RecordBatch,
    columns: &PeriodColumns,
    [from, to]: [TimestampMicrosecondArray; 2],
    deletes: Vec<bool>,
) -> Result<RecordBatch> {
    let said = [
        Some(&columns.valid_from),
        Some(&columns.valid_to),
        columns.operation.as_ref(),
    ];
    let schema = rows.schema();
    let kept = schema.fields().iter().zip(rows.columns());
    let is_said = |name: &String| {
        let mut said = said.iter().flatten();
        said.any(|said| *said == name || is_variant(name, said))
    };
    let kept = kept.filter(|(field, _)| own_name(field.name()).is_none() && !is_said(field.name()));
    let (mut fields, mut arrays): (Vec<FieldRef>, Vec<ArrayRef>) = kept
        .map(|(field, array)| (Arc::clone(field), Arc::clone(array)))
        .unzip();
    let to = to.unary::<_, TimestampMicrosecondType>(|at| at.min(END_OF_TIME));
    for (name, times) in [(VALID_FROM, from), (VALID_TO, to)] {
        fields.push(Arc::new(Field::new(name, instant(), true)));
        arrays.push(Arc::new(times.with_timezone("UTC")));
    }
    fields.push(Arc::new(Field::new(
        DELETE_COLUMN,
        DataType::Boolean,
        false,
    )));
    arrays.push(Arc::new(BooleanArray::from(deletes)));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(failed)
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("period_failed", "failed to read the periods of rows").with_source(error)
}
