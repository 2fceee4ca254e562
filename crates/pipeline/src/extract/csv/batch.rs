//! Rows to Arrow, one column at a time.
//!
//! Rows are held as they came, with the places of their fields, until a batch is full. Then each column is learned, if
//! it has no type yet, and read in one loop into its builder: nothing is allocated for a record.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanArray, BooleanBuilder, PrimitiveBuilder,
    RecordBatch, StringBuilder, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field as ArrowField, Float32Type, Float64Type, Int32Type,
    Int64Type, Schema, TimestampMicrosecondType,
};
use forebay_core::{Batch, Error, Origins, Result};
use serde::de::IgnoredAny;

use super::columns::{Column, Columns, VARIANT};
use super::encoding::Encoding;
use super::split::{Field, unescape};
use super::{Options, types};
use crate::extract::contract::ColumnType;
use crate::extract::doubles::doubles_of;
use crate::extract::untyped::untyped_column;

/// A record that is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Its first field in the list, and how many there are.
    pub(super) first: u32,
    pub(super) count: u32,
    /// Its place in the buffer.
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) payload: u64,
    /// Its place in the decompressed payload.
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) line: u64,
}

/// Why a row was refused.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) reason: String,
}

/// By the row's place in the list.
pub(super) type Problems = BTreeMap<usize, Problem>;

/// The rows of one batch. All have the same mapping.
pub(super) struct Texts<'a> {
    pub(super) raw: &'a [u8],
    pub(super) fields: &'a [Field],
    pub(super) rows: &'a [Row],
    options: &'a Options,
    /// The buffer as text, when it is UTF-8 throughout.
    text: Option<&'a str>,
}

enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
}

impl<'a> Texts<'a> {
    /// Rows whose bytes are not text are reported by [`invalid`] and must have been blanked before.
    pub(super) fn new(
        (raw, fields, rows): (&'a [u8], &'a [Field], &'a [Row]),
        options: &'a Options,
    ) -> Self {
        let plain = !options.encoding.is_single_byte() || raw.is_ascii();
        let text = if plain {
            std::str::from_utf8(raw).ok()
        } else {
            None
        };
        Self {
            raw,
            fields,
            rows,
            options,
            text,
        }
    }

    fn field(&self, row: &Row, position: usize) -> Option<Field> {
        let within = position < row.count as usize;
        within.then(|| self.fields[row.first as usize + position])
    }

    fn value(&self, row: &Row, position: usize) -> Value<'a> {
        let Some(field) = self.field(row, position) else {
            return Value::Null;
        };
        let (start, end) = (field.start as usize, field.end as usize);
        let text: Cow<'a, str> = match self.text {
            Some(text) => Cow::Borrowed(&text[start..end]),
            None if self.options.encoding.is_single_byte() => {
                Cow::Owned(self.options.encoding.decode(&self.raw[start..end]))
            }
            None => String::from_utf8_lossy(&self.raw[start..end]),
        };
        if self.options.nulls.has(&text, field.quoted) {
            return Value::Null;
        }
        if !field.escaped {
            return Value::Text(text);
        }
        let mut meant = String::with_capacity(text.len());
        unescape(&text, &self.options.dialect, &mut meant);
        Value::Text(Cow::Owned(meant))
    }

    /// The type that the texts of a field have in all rows.
    fn learn(&self, position: usize) -> Option<ColumnType> {
        let texts = self.rows.iter().map(|row| self.value(row, position));
        let texts: Vec<Cow<'a, str>> = texts
            .filter_map(|value| {
                if let Value::Text(text) = value {
                    Some(text)
                } else {
                    None
                }
            })
            .collect();
        types::learn(texts.iter().map(AsRef::as_ref), &self.options.formats)
    }
}

/// A column being read.
struct Read {
    array: ArrayRef,
    /// Rows whose text does not fit the type.
    misfits: Vec<usize>,
    nulls: Vec<usize>,
}

/// Builds the batch of all rows. `mapping` gives the column of each field; new types are learned into `columns`.
pub(super) fn build(
    texts: &Texts<'_>,
    mapping: &[usize],
    columns: &mut Columns,
    problems: &mut Problems,
) -> Result<Option<Batch>> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    let mut untyped = Vec::new();
    give_rows_a_column(texts, mapping, columns);
    for (position, &index) in mapping.iter().enumerate() {
        let column = &mut columns.list[index];
        if column.refused {
            refuse_new(texts, position, column, problems);
            continue;
        }
        if column.kind.is_none() {
            column.kind = texts.learn(position);
        }
        let column = column.clone();
        let Some(kind) = column.kind else {
            require(
                &column,
                &(0..texts.rows.len()).collect::<Vec<_>>(),
                texts.rows,
                problems,
            );
            untyped.push(untyped_column(&column.name, texts.rows.len()));
            continue;
        };
        let read = read(texts, position, kind, !column.declared);
        require(&column, &read.nulls, texts.rows, problems);
        fields.push(ArrowField::new(&column.name, kind.arrow(), true));
        arrays.push(read.array);
        let mut misfits = read.misfits;
        if let Some((field, numbers)) =
            other_numbers(texts, position, (&mut *columns, index), &mut misfits)
        {
            fields.push(field);
            arrays.push(numbers);
        }
        if misfits.is_empty() {
            continue;
        }
        if columns.may_vary(index, VARIANT) {
            columns.list[index].variant = true;
            fields.push(ArrowField::new(
                format!("{}{VARIANT}", column.name),
                DataType::Utf8,
                true,
            ));
            arrays.push(variant(texts, position, &misfits));
        } else {
            mismatch(&column, kind, texts, (position, &misfits), problems);
        }
    }
    require_absent(columns, mapping, texts.rows, problems);
    for (name, kind) in columns.declared_absent(mapping) {
        fields.push(ArrowField::new(name, kind.arrow(), true));
        arrays.push(new_null_array(&kind.arrow(), texts.rows.len()));
    }
    for (field, array) in untyped {
        fields.push(field);
        arrays.push(array);
    }
    finish(Schema::new(fields), arrays, texts.rows, problems)
}

/// Builds the batch of the rows that have no problem so far; those that get one join the others.
pub(super) fn build_without(
    texts: &Texts<'_>,
    mapping: &[usize],
    columns: &mut Columns,
    problems: &mut Problems,
) -> Result<Option<Batch>> {
    let left: Vec<usize> = (0..texts.rows.len())
        .filter(|row| !problems.contains_key(row))
        .collect();
    let rows: Vec<Row> = left.iter().map(|row| texts.rows[*row]).collect();
    let texts = Texts {
        rows: &rows,
        ..*texts
    };
    let mut further = Problems::new();
    let built = build(&texts, mapping, columns, &mut further)?;
    problems.extend(
        further
            .into_iter()
            .map(|(row, problem)| (left[row], problem)),
    );
    Ok(built)
}

/// Rows without any value still are rows, and a table counts them by its columns: where none has a type, the first becomes
/// text. The others stay open to what later rows bring.
fn give_rows_a_column(texts: &Texts<'_>, mapping: &[usize], columns: &mut Columns) {
    let has_column = mapping.iter().enumerate().any(|(position, &index)| {
        let column = &columns.list[index];
        !column.refused && (column.kind.is_some() || texts.learn(position).is_some())
    });
    if has_column || columns.declared_absent(mapping).next().is_some() {
        return;
    }
    let first = mapping.iter().find(|index| !columns.list[**index].refused);
    if let Some(index) = first {
        columns.list[*index].kind = Some(ColumnType::String);
    }
}

fn finish(
    schema: Schema,
    arrays: Vec<ArrayRef>,
    rows: &[Row],
    problems: &Problems,
) -> Result<Option<Batch>> {
    if problems.len() == rows.len() {
        return Ok(None);
    }
    let failed =
        |error| Error::bug("csv_batch", "failed to build a batch of CSV rows").with_source(error);
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let mut records =
        RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options).map_err(failed)?;
    if !problems.is_empty() {
        let keep: BooleanArray = (0..rows.len())
            .map(|row| Some(!problems.contains_key(&row)))
            .collect();
        records = filter_record_batch(&records, &keep).map_err(failed)?;
    }
    let mut origins = Origins::default();
    for (_, row) in rows
        .iter()
        .enumerate()
        .filter(|(i, _)| !problems.contains_key(i))
    {
        origins.push(row.payload, row.offset, row.length);
    }
    Ok(Some(Batch::main(records, Some(origins))))
}

fn read(texts: &Texts<'_>, position: usize, kind: ColumnType, learned: bool) -> Read {
    let formats = &texts.options.formats;
    match kind {
        ColumnType::Boolean => booleans(texts, position, learned),
        ColumnType::Int => primitive::<Int32Type>(texts, position, kind, |text| {
            formats
                .long(text, learned)
                .and_then(|value| i32::try_from(value).ok())
        }),
        ColumnType::Long => {
            primitive::<Int64Type>(texts, position, kind, |text| formats.long(text, learned))
        }
        ColumnType::Float => {
            primitive::<Float32Type>(texts, position, kind, |text| formats.float(text))
        }
        ColumnType::Double => {
            primitive::<Float64Type>(texts, position, kind, |text| formats.double(text, learned))
        }
        ColumnType::Decimal(precision, scale) => {
            primitive::<Decimal128Type>(texts, position, kind, |text| {
                formats.decimal(text, precision, scale)
            })
        }
        ColumnType::Date => {
            primitive::<Date32Type>(texts, position, kind, |text| formats.date(text))
        }
        ColumnType::Timestamp => {
            primitive::<TimestampMicrosecondType>(texts, position, kind, |text| {
                formats.timestamp(text, learned)
            })
        }
        ColumnType::Timestamptz => {
            primitive::<TimestampMicrosecondType>(texts, position, kind, |text| {
                formats.timestamptz(text, learned)
            })
        }
        ColumnType::String | ColumnType::Json | ColumnType::Binary => {
            strings(texts, position, kind)
        }
    }
}

/// Reads a column value by value; `append` says whether a text fits.
fn each(
    texts: &Texts<'_>,
    position: usize,
    mut append: impl FnMut(Option<&str>) -> bool,
) -> (Vec<usize>, Vec<usize>) {
    let (mut misfits, mut nulls) = (Vec::new(), Vec::new());
    for (i, row) in texts.rows.iter().enumerate() {
        let fits = match texts.value(row, position) {
            Value::Text(text) => append(Some(&text)),
            Value::Null => {
                nulls.push(i);
                append(None)
            }
        };
        if !fits {
            misfits.push(i);
        }
    }
    (misfits, nulls)
}

fn primitive<T: ArrowPrimitiveType>(
    texts: &Texts<'_>,
    position: usize,
    kind: ColumnType,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Read {
    let mut builder =
        PrimitiveBuilder::<T>::with_capacity(texts.rows.len()).with_data_type(kind.arrow());
    let append = |text: Option<&str>| {
        let value = text.and_then(&parse);
        builder.append_option(value);
        value.is_some() || text.is_none()
    };
    let (misfits, nulls) = each(texts, position, append);
    Read {
        array: Arc::new(builder.finish()),
        misfits,
        nulls,
    }
}

fn booleans(texts: &Texts<'_>, position: usize, learned: bool) -> Read {
    let mut builder = BooleanBuilder::with_capacity(texts.rows.len());
    let append = |text: Option<&str>| {
        let value = text.and_then(|text| types::boolean(text, learned));
        builder.append_option(value);
        value.is_some() || text.is_none()
    };
    let (misfits, nulls) = each(texts, position, append);
    Read {
        array: Arc::new(builder.finish()),
        misfits,
        nulls,
    }
}

/// Texts as they are; `json` must be JSON, `binary` is the bytes of the text.
fn strings(texts: &Texts<'_>, position: usize, kind: ColumnType) -> Read {
    let fits =
        |text: &str| kind != ColumnType::Json || serde_json::from_str::<IgnoredAny>(text).is_ok();
    if kind == ColumnType::Binary {
        let mut builder = BinaryBuilder::new();
        let append = |text: Option<&str>| {
            builder.append_option(text.map(str::as_bytes));
            true
        };
        let (misfits, nulls) = each(texts, position, append);
        return Read {
            array: Arc::new(builder.finish()),
            misfits,
            nulls,
        };
    }
    let mut builder = StringBuilder::new();
    let append = |text: Option<&str>| {
        let good = text.is_none_or(fits);
        builder.append_option(text.filter(|_| good));
        good
    };
    let (misfits, nulls) = each(texts, position, append);
    Read {
        array: Arc::new(builder.finish()),
        misfits,
        nulls,
    }
}

/// Texts that did not fit a column of numbers and are numbers of the other kind, in a column of their own. What is left did not fit
/// either.
fn other_numbers(
    texts: &Texts<'_>,
    position: usize,
    (columns, index): (&mut Columns, usize),
    misfits: &mut Vec<usize>,
) -> Option<(ArrowField, ArrayRef)> {
    let column = &columns.list[index];
    let (kind, ending) = column.other_numbers().filter(|_| !misfits.is_empty())?;
    if !columns.may_vary(index, ending) {
        return None;
    }
    let (before, formats) = (misfits.len(), &texts.options.formats);
    let numbers = match kind {
        ColumnType::Double => number_misfits::<Float64Type>(texts, position, misfits, |text| {
            formats.double(text, true)
        }),
        _ => number_misfits::<Int64Type>(texts, position, misfits, |text| formats.long(text, true)),
    };
    if misfits.len() == before {
        return None;
    }
    let field = ArrowField::new(format!("{}{ending}", column.name), kind.arrow(), true);
    let field = match kind {
        ColumnType::Double => doubles_of(field, &column.name),
        _ => field,
    };
    columns.list[index].numbers = true;
    Some((field, numbers))
}

/// The texts that did not fit, as numbers of another kind; those that are none are left.
fn number_misfits<T: ArrowPrimitiveType>(
    texts: &Texts<'_>,
    position: usize,
    misfits: &mut Vec<usize>,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(texts.rows.len());
    let mut left = Vec::new();
    let mut next = misfits.iter().copied().peekable();
    for (i, row) in texts.rows.iter().enumerate() {
        let is_misfit = next.next_if_eq(&i).is_some();
        let value = match texts.value(row, position) {
            Value::Text(text) if is_misfit => parse(&text),
            _ => None,
        };
        builder.append_option(value);
        if is_misfit && value.is_none() {
            left.push(i);
        }
    }
    *misfits = left;
    Arc::new(builder.finish())
}

/// The texts that did not fit, in a column of their own.
fn variant(texts: &Texts<'_>, position: usize, misfits: &[usize]) -> ArrayRef {
    let mut builder = StringBuilder::new();
    let mut next = misfits.iter().copied().peekable();
    for (i, row) in texts.rows.iter().enumerate() {
        let Value::Text(text) = (if next.next_if_eq(&i).is_some() {
            texts.value(row, position)
        } else {
            Value::Null
        }) else {
            builder.append_null();
            continue;
        };
        builder.append_value(text);
    }
    Arc::new(builder.finish())
}

/// A row keeps the first problem that is found.
fn refuse(
    problems: &mut Problems,
    row: usize,
    code: &'static str,
    reason: impl FnOnce() -> String,
) {
    problems.entry(row).or_insert_with(|| Problem {
        code,
        reason: reason(),
    });
}

fn mismatch(
    column: &Column,
    kind: ColumnType,
    texts: &Texts<'_>,
    (position, misfits): (usize, &[usize]),
    problems: &mut Problems,
) {
    let (name, kind) = (&column.name, String::from(kind));
    for &row in misfits {
        let line = texts.rows[row].line;
        let is_empty =
            matches!(texts.value(&texts.rows[row], position), Value::Text(text) if text.is_empty());
        let hint = match is_empty {
            true => {
                ": it is an empty text in quotes; set `extract.csv.quoted_null: true` if that means no value"
            }
            false => "",
        };
        refuse(problems, row, "type_mismatch", || {
            format!("line {line}: the text in column `{name}` is not an exact {kind}{hint}")
        });
    }
}

fn require(column: &Column, nulls: &[usize], rows: &[Row], problems: &mut Problems) {
    let name = &column.name;
    for &row in nulls.iter().filter(|_| column.required) {
        let line = rows[row].line;
        refuse(problems, row, "missing_required", || {
            format!("line {line}: column `{name}` is required and has no value")
        });
    }
}

/// Required columns that the file does not have at all.
fn require_absent(columns: &Columns, mapping: &[usize], rows: &[Row], problems: &mut Problems) {
    let all: Vec<usize> = (0..rows.len()).collect();
    for (i, column) in columns.list.iter().enumerate() {
        if column.required && !mapping.contains(&i) {
            require(column, &all, rows, problems);
        }
    }
}

fn refuse_new(texts: &Texts<'_>, position: usize, column: &Column, problems: &mut Problems) {
    let name = &column.name;
    for (i, row) in texts.rows.iter().enumerate() {
        if !matches!(texts.value(row, position), Value::Null) {
            refuse(problems, i, "new_column", || {
                format!("line {}: the table has no column `{name}`", row.line)
            });
        }
    }
}

/// Finds the rows that are not text, and blanks every byte that is not, so that the rest can be read.
pub(super) fn invalid(raw: &mut [u8], rows: &[Row], encoding: Encoding) -> Problems {
    let mut problems = Problems::new();
    if encoding.is_single_byte() || std::str::from_utf8(raw).is_ok() {
        return problems;
    }
    for (i, row) in rows.iter().enumerate() {
        if let Err(error) = std::str::from_utf8(&raw[row.start as usize..row.end as usize]) {
            let reason = format!(
                "line {}: byte {} of the record is not valid text",
                row.line,
                error.valid_up_to() + 1
            );
            problems.insert(
                i,
                Problem {
                    code: "invalid_utf8",
                    reason,
                },
            );
        }
    }
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&raw[from..]) {
        let begin = from + error.valid_up_to();
        let end = error.error_len().map_or(raw.len(), |length| begin + length);
        raw[begin..end].fill(b'?');
        from = end;
    }
    problems
}
