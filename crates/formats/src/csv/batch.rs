//! Rows to Arrow, one column at a time.
//!
//! Rows are held as bytes, with the positions of their fields, until a batch is full. Then each column is learned, if it
//! has no type yet, and read in one loop into its builder: nothing is allocated for a record.

use std::borrow::Cow;
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

use super::columns::{Columns, VARIANT};
use super::dialect::unescape;
use super::problems::{Problems, mismatch, refuse, refuse_new, require, require_absent};
use super::split::Field;
use super::{Options, types};
use crate::contract::ColumnType;
use crate::doubles::doubles_of;
use crate::untyped::{NO_VALUES, NO_VALUES_REASON, untyped_column};

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

/// The rows of one batch. All have the same mapping.
pub(super) struct Texts<'a> {
    pub(super) raw: &'a [u8],
    pub(super) fields: &'a [Field],
    pub(super) rows: &'a [Row],
    options: &'a Options,
    /// The buffer as text, when it is UTF-8 throughout.
    text: Option<&'a str>,
}

pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
}

impl<'a> Texts<'a> {
    /// Rows whose bytes are not text are reported by `invalid` and must have been blanked before.
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

    pub(super) fn value(&self, row: &Row, position: usize) -> Value<'a> {
        let Some(field) = self.field(row, position) else {
            return Value::Null;
        };
        let start = field.start as usize;
        let end = field.end as usize;
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

    /// The common type of the texts of a field in all rows.
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
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    let mut untyped = Vec::new();
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
    if fields.is_empty()
        && let Some((field, nulls)) = add_known_column(columns, texts.rows, problems)
    {
        untyped.retain(|(other, _)| other.name() != field.name());
        fields.push(field);
        arrays.push(nulls);
    }
    for (field, array) in untyped {
        fields.push(field);
        arrays.push(array);
    }
    finish(Schema::new(fields), arrays, texts.rows, problems)
}

/// Builds the batch of the rows without a problem so far; new problems are added to the others.
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

/// A column for rows without any value: a table counts rows by its columns. Where no record has brought one yet, the rows are
/// refused: the types of their columns come from later rows.
fn add_known_column(
    columns: &Columns,
    rows: &[Row],
    problems: &mut Problems,
) -> Option<(ArrowField, ArrayRef)> {
    let known = columns.list.iter().filter(|column| !column.refused);
    let known = known.filter_map(|column| Some((column.name.as_str(), column.kind?.arrow())));
    if let Some((name, kind)) = known.into_iter().next() {
        let nulls = new_null_array(&kind, rows.len());
        return Some((ArrowField::new(name, kind, true), nulls));
    }
    for (i, row) in rows.iter().enumerate() {
        refuse(problems, i, NO_VALUES, || {
            format!("line {}: {NO_VALUES_REASON}", row.line)
        });
    }
    None
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
        origins.push_on_line(row.payload, row.offset, row.length, row.line);
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

/// Reads a column value by value; `append` returns whether a text fits.
fn each(
    texts: &Texts<'_>,
    position: usize,
    mut append: impl FnMut(Option<&str>) -> bool,
) -> (Vec<usize>, Vec<usize>) {
    let mut misfits = Vec::new();
    let mut nulls = Vec::new();
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

/// Texts that did not fit a column of numbers and are numbers of the other kind, in a column of their own. The remaining
/// texts fit neither.
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
    let before = misfits.len();
    let formats = &texts.options.formats;
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

/// The texts that did not fit, as numbers of another kind; the others are left.
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
