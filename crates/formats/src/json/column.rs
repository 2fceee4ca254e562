//! Builders of one column: a vector of values and a bitmap of nulls.
//!
//! A column is written at a row; the rows before it that were not written become null. So an absent key costs nothing, and
//! a record that is rejected half-way is undone with `truncate`. Never fails and never reads JSON.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder,
    NullBufferBuilder, PrimitiveArray, StringArray, new_null_array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use forebay_core::{Error, Result};

use super::build::ObjectBuilder;
use super::list::ListBuilder;

/// A column of one type.
#[derive(Debug)]
pub(super) enum Column {
    Boolean(Booleans),
    Int(Fixed<i32>),
    Long(Fixed<i64>),
    Float(Fixed<f32>),
    Double(Fixed<f64>),
    /// Precision and scale.
    Decimal(Fixed<i128>, u8, i8),
    Text(Text),
    Binary(Text),
    /// Days since 1970-01-01.
    Date(Fixed<i32>),
    /// Microseconds since 1970-01-01, with or without UTC.
    Timestamp(Fixed<i64>, bool),
    Object(ObjectBuilder),
    List(ListBuilder),
}

/// Values of a fixed width.
#[derive(Debug)]
pub(super) struct Fixed<T> {
    pub(super) values: Vec<T>,
    nulls: NullBufferBuilder,
}

impl<T: ArrowNativeType> Fixed<T> {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, row: usize, value: T) {
        if self.values.len() != row {
            self.pad(row);
        }
        self.values.push(value);
        self.nulls.append_non_null();
    }

    fn pad(&mut self, rows: usize) {
        self.nulls
            .append_n_nulls(rows.saturating_sub(self.values.len()));
        self.values.resize(rows, T::default());
    }

    fn truncate(&mut self, rows: usize) {
        if self.values.len() > rows {
            self.values.truncate(rows);
            self.nulls.truncate(rows);
        }
    }

    fn finish<P: ArrowPrimitiveType<Native = T>>(&mut self, rows: usize) -> PrimitiveArray<P> {
        self.pad(rows);
        let values = std::mem::take(&mut self.values);
        // The next batch is of about this size.
        self.values.reserve(values.len());
        PrimitiveArray::new(ScalarBuffer::from(values), self.nulls.finish())
    }
}

/// Booleans, packed.
#[derive(Debug)]
pub(super) struct Booleans {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

impl Booleans {
    fn new() -> Self {
        Self {
            values: BooleanBufferBuilder::new(0),
            nulls: NullBufferBuilder::new(0),
        }
    }

    pub(super) fn push(&mut self, row: usize, value: bool) {
        self.pad(row);
        self.values.append(value);
        self.nulls.append_non_null();
    }

    fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.values.len());
        if missing > 0 {
            self.values.append_n(missing, false);
            self.nulls.append_n_nulls(missing);
        }
    }

    fn truncate(&mut self, rows: usize) {
        if self.values.len() > rows {
            self.values.truncate(rows);
            self.nulls.truncate(rows);
        }
    }
}

/// Strings or bytes, one after another. The caller bounds a batch far below 2 GiB.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Text {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, row: usize, value: &[u8]) {
        if self.offsets.len() != row + 1 {
            self.pad(row);
        }
        self.bytes.extend_from_slice(value);
        self.offsets.push(self.bytes.len() as i32);
        self.nulls.append_non_null();
    }

    fn pad(&mut self, rows: usize) {
        self.nulls
            .append_n_nulls((rows + 1).saturating_sub(self.offsets.len()));
        self.offsets.resize(rows + 1, self.bytes.len() as i32);
    }

    fn truncate(&mut self, rows: usize) {
        if self.offsets.len() > rows + 1 {
            self.offsets.truncate(rows + 1);
            self.bytes.truncate(self.offsets[rows] as usize);
            self.nulls.truncate(rows);
        }
    }

    fn finish(
        &mut self,
        rows: usize,
    ) -> (OffsetBuffer<i32>, Buffer, Option<arrow::buffer::NullBuffer>) {
        self.pad(rows);
        let bytes = std::mem::take(&mut self.bytes);
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(rows + 1));
        self.offsets.push(0);
        self.bytes.reserve(bytes.len());
        (
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            Buffer::from_vec(bytes),
            self.nulls.finish(),
        )
    }
}

impl Column {
    pub(super) fn boolean() -> Self {
        Self::Boolean(Booleans::new())
    }

    pub(super) fn text() -> Self {
        Self::Text(Text::new())
    }

    pub(super) fn binary() -> Self {
        Self::Binary(Text::new())
    }

    /// Forgets the rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Boolean(column) => column.truncate(rows),
            Self::Int(column) | Self::Date(column) => column.truncate(rows),
            Self::Long(column) | Self::Timestamp(column, _) => column.truncate(rows),
            Self::Float(column) => column.truncate(rows),
            Self::Double(column) => column.truncate(rows),
            Self::Decimal(column, _, _) => column.truncate(rows),
            Self::Text(column) | Self::Binary(column) => column.truncate(rows),
            Self::Object(object) => object.truncate(rows),
            Self::List(list) => list.truncate(rows),
        }
    }

    /// Whether no row has a value. Always `false` for objects and lists.
    fn is_unwritten(&self) -> bool {
        match self {
            Self::Boolean(column) => column.values.is_empty(),
            Self::Int(column) | Self::Date(column) => column.values.is_empty(),
            Self::Long(column) | Self::Timestamp(column, _) => column.values.is_empty(),
            Self::Float(column) => column.values.is_empty(),
            Self::Double(column) => column.values.is_empty(),
            Self::Decimal(column, _, _) => column.values.is_empty(),
            Self::Text(column) | Self::Binary(column) => column.offsets.len() == 1,
            Self::Object(_) | Self::List(_) => false,
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Boolean(_) => DataType::Boolean,
            Self::Int(_) => DataType::Int32,
            Self::Date(_) => DataType::Date32,
            Self::Long(_) => DataType::Int64,
            Self::Timestamp(_, utc) => {
                DataType::Timestamp(TimeUnit::Microsecond, utc.then(|| Arc::from("+00:00")))
            }
            Self::Float(_) => DataType::Float32,
            Self::Double(_) => DataType::Float64,
            Self::Decimal(_, precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Text(_) => DataType::Utf8,
            Self::Binary(_) => DataType::Binary,
            Self::Object(_) | Self::List(_) => DataType::Null,
        }
    }

    /// Returns the column as an array of `rows` values, and resets it. Objects and lists are taken apart by `emit`. Columns without a
    /// value share the arrays of `blanks`: a record may have brought thousands of columns that no later one has.
    pub(super) fn finish(&mut self, rows: usize, blanks: &mut BlankArrays) -> Result<ArrayRef> {
        if self.is_unwritten() {
            return Ok(blanks.get(self.data_type(), rows));
        }
        Ok(match self {
            Self::Boolean(column) => {
                column.pad(rows);
                Arc::new(BooleanArray::new(
                    column.values.finish(),
                    column.nulls.finish(),
                ))
            }
            Self::Int(column) => Arc::new(column.finish::<Int32Type>(rows)),
            Self::Date(column) => Arc::new(column.finish::<Date32Type>(rows)),
            Self::Long(column) => Arc::new(column.finish::<Int64Type>(rows)),
            Self::Timestamp(column, utc) => {
                let zone = utc.then(|| Arc::from("+00:00"));
                Arc::new(
                    column
                        .finish::<TimestampMicrosecondType>(rows)
                        .with_timezone_opt::<Arc<str>>(zone),
                )
            }
            Self::Float(column) => Arc::new(column.finish::<Float32Type>(rows)),
            Self::Double(column) => Arc::new(column.finish::<Float64Type>(rows)),
            Self::Decimal(column, precision, scale) => {
                let array = column.finish::<Decimal128Type>(rows);
                Arc::new(array.with_data_type(DataType::Decimal128(*precision, *scale)))
            }
            Self::Text(column) => {
                let (offsets, bytes, nulls) = column.finish(rows);
                Arc::new(StringArray::try_new(offsets, bytes, nulls).map_err(broken)?)
            }
            Self::Binary(column) => {
                let (offsets, bytes, nulls) = column.finish(rows);
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(broken)?)
            }
            Self::Object(_) | Self::List(_) => {
                return Err(Error::bug(
                    "nested_column",
                    "a nested column was finished as a flat one",
                ));
            }
        })
    }
}

/// Arrays of nulls, by type and length.
#[derive(Debug, Default)]
pub(super) struct BlankArrays(HashMap<(DataType, usize), ArrayRef>);

impl BlankArrays {
    fn get(&mut self, kind: DataType, rows: usize) -> ArrayRef {
        match self.0.entry((kind, rows)) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => {
                let (kind, rows) = place.key();
                let made = new_null_array(kind, *rows);
                Arc::clone(place.insert(made))
            }
        }
    }
}

/// An array that Arrow rejects.
pub(super) fn broken(error: arrow::error::ArrowError) -> Error {
    Error::bug(
        "bad_array",
        "failed to make an array of the extracted values",
    )
    .with_source(error)
}
