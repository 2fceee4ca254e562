//! One column of a batch, in the form of its target column.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    LargeBinaryArray, LargeStringArray, StringArray, StringViewArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type, Float64Type,
    Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type, i256,
};
use bytes::{BufMut, BytesMut};
use forebay_core::{Error, Result};

use super::json::Texts;
use super::put::{
    Whole, check_length, put_large, put_list, put_span, put_text, put_uuid, put_whole,
};
use super::{Misfit, number, time};
use crate::postgres::types::{IntervalFields, PgType, Scale, TextLimit, scale};

/// A column and the encoding of its values.
pub(super) struct Column {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Texty {
    Small(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
}

enum Bytesy {
    Small(BinaryArray),
    Large(LargeBinaryArray),
    View(BinaryViewArray),
    Fixed(FixedSizeBinaryArray),
}

enum Values {
    None,
    Bool(BooleanArray),
    Int(ScalarBuffer<i64>, Whole),
    Unsigned(ScalarBuffer<u64>, Whole),
    Float4(ScalarBuffer<f32>),
    Float8(ScalarBuffer<f64>),
    /// Values, their scale, and the scale of the column when it is smaller.
    Decimal(ScalarBuffer<i128>, u32, Option<i16>),
    Large(ScalarBuffer<i256>, u32, Option<i16>),
    Text(Texty, Option<TextLimit>),
    /// Text into a column of JSON: the version comes first.
    JsonText(Texty),
    Uuid(Texty),
    UuidBytes(Bytesy),
    Bytes(Bytesy),
    Date(ScalarBuffer<i32>),
    /// A day as the instant at which it starts.
    DateAsStamp(ScalarBuffer<i32>),
    Time(ScalarBuffer<i64>, Scale, u8),
    Stamp(ScalarBuffer<i64>, Scale, u8),
    Duration(ScalarBuffer<i64>, Scale, IntervalFields),
    Interval(Interval, IntervalFields),
    List {
        offsets: OffsetBuffer<i64>,
        elements: Box<Column>,
        oid: u32,
    },
    /// Nested values as JSON; with a version before it in a column of jsonb.
    Json(Texts, bool),
}

/// Each value, and whether it is exact in microseconds.
struct Interval(Vec<(time::Span, bool)>);

/// Bytes of a UUID.
const UUID_BYTES: i32 = 16;

/// The type of a value without dictionaries and the like.
fn plain(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        other => other,
    }
}

/// Whether values of `kind` can be written to a column of `target`, row by row where not all fit.
pub(in crate::postgres::sink) fn can_encode(kind: &DataType, target: &PgType) -> bool {
    use DataType as T;
    use PgType as P;
    match (plain(kind), target) {
        (T::Null, _) => true,
        (T::Boolean, P::Bool) => true,
        (
            T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64,
            P::Int2 | P::Int4 | P::Int8 | P::Float8 | P::Numeric(_),
        ) => true,
        (T::Float16 | T::Float32, P::Float4 | P::Float8) | (T::Float64, P::Float8) => true,
        (
            T::Decimal32(_, _) | T::Decimal64(_, _) | T::Decimal128(_, _) | T::Decimal256(_, _),
            P::Numeric(_),
        ) => true,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, P::Text(..) | P::Jsonb | P::Uuid) => true,
        (T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), P::Bytea) => true,
        (T::FixedSizeBinary(UUID_BYTES), P::Uuid) => true,
        (T::Date32 | T::Date64, P::Date | P::Timestamp(_)) => true,
        (T::Time32(_) | T::Time64(_), P::Time(_)) => true,
        (T::Timestamp(_, None), P::Timestamp(_)) => true,
        (T::Timestamp(_, Some(_)), P::Timestamptz(_)) => true,
        (T::Duration(_) | T::Interval(_), P::Interval(_)) => true,
        (
            T::List(field) | T::LargeList(field) | T::FixedSizeList(field, _),
            P::Array(element, _),
        ) => !field.data_type().is_nested() && can_encode(field.data_type(), element),
        (
            T::List(_) | T::LargeList(_) | T::FixedSizeList(_, _) | T::Struct(_) | T::Map(_, _),
            P::Jsonb,
        ) => true,
        (
            T::List(_) | T::LargeList(_) | T::FixedSizeList(_, _) | T::Struct(_) | T::Map(_, _),
            P::Text(name, _),
        ) => ["json", "text", "varchar"].contains(&name.as_str()),
        _ => false,
    }
}

fn converted(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    cast(array, kind).map_err(|error| {
        Error::bug("convert_column", "failed to convert a column for Postgres").with_source(error)
    })
}

impl Column {
    pub(super) fn new(array: &ArrayRef, target: &PgType) -> Result<Self> {
        let array = converted(array, plain(array.data_type()))?;
        let nulls = array.logical_nulls();
        let values = values(&array, target)?;
        Ok(Self { nulls, values })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value of a row that is not null, without its length.
    pub(super) fn put(&self, row: usize, out: &mut BytesMut) -> Result<(), Misfit> {
        match &self.values {
            Values::None => {}
            Values::Bool(values) => out.put_u8(u8::from(values.value(row))),
            Values::Int(values, whole) => return put_whole(i128::from(values[row]), whole, out),
            Values::Unsigned(values, whole) => {
                return put_whole(i128::from(values[row]), whole, out);
            }
            Values::Float4(values) => out.put_f32(values[row]),
            Values::Float8(values) => out.put_f64(values[row]),
            Values::Decimal(values, scale, keeps) => {
                let value = values[row];
                if let Some(keeps) = *keeps {
                    number::check_scale(number::is_kept_128(value, *scale, keeps), keeps)?;
                }
                number::put_128(value, *scale, out);
            }
            Values::Large(values, scale, keeps) => put_large(values[row], *scale, *keeps, out)?,
            Values::Text(texts, limit) => {
                let text = texts.get(row);
                check_length(text, *limit)?;
                put_text(text, out)?;
            }
            Values::JsonText(texts) => {
                out.put_u8(1);
                put_text(texts.get(row), out)?;
            }
            Values::Uuid(texts) => put_uuid(texts.get(row), out)?,
            Values::UuidBytes(bytes) | Values::Bytes(bytes) => out.put_slice(bytes.get(row)),
            Values::Date(days) => out.put_i32(time::date(i64::from(days[row]))?),
            Values::DateAsStamp(days) => {
                let micros = time::begin_of(i64::from(days[row]))?;
                out.put_i64(time::timestamp(micros)?);
            }
            Values::Time(values, scale, decimals) => {
                let micros = time::time_of_day(time::micros(values[row], *scale)?)?;
                out.put_i64(time::check_decimals(micros, *decimals)?);
            }
            Values::Stamp(values, scale, decimals) => {
                let micros = time::check_decimals(time::micros(values[row], *scale)?, *decimals)?;
                out.put_i64(time::timestamp(micros)?);
            }
            Values::Duration(values, scale, fields) => {
                let micros = time::micros(values[row], *scale)?;
                let span = time::Span {
                    months: 0,
                    days: 0,
                    micros,
                };
                put_span(span, *fields, out)?;
            }
            Values::Interval(Interval(values), fields) => {
                let (span, is_exact) = values[row];
                if !is_exact {
                    let reason = "an interval with a part below one microsecond";
                    return Err(Misfit::new("time_too_fine", reason));
                }
                put_span(span, *fields, out)?;
            }
            Values::List {
                offsets,
                elements,
                oid,
            } => return put_list(offsets, elements, *oid, row, out),
            Values::Json(texts, version) => {
                if *version {
                    out.put_u8(1);
                }
                out.put_slice(texts.get(row)?);
            }
        }
        Ok(())
    }
}

fn values(array: &ArrayRef, target: &PgType) -> Result<Values> {
    use DataType as T;
    let kind = array.data_type().clone();
    Ok(match &kind {
        T::Null => Values::None,
        T::Boolean => Values::Bool(array.as_boolean().clone()),
        T::Int64 | T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32 => {
            let array = converted(array, &T::Int64)?;
            Values::Int(
                array.as_primitive::<Int64Type>().values().clone(),
                whole(target)?,
            )
        }
        T::UInt64 => Values::Unsigned(
            array.as_primitive::<UInt64Type>().values().clone(),
            whole(target)?,
        ),
        T::Float16 | T::Float32 | T::Float64 if *target == PgType::Float8 => {
            let array = converted(array, &T::Float64)?;
            Values::Float8(array.as_primitive::<Float64Type>().values().clone())
        }
        T::Float16 | T::Float32 => {
            let array = converted(array, &T::Float32)?;
            Values::Float4(array.as_primitive::<Float32Type>().values().clone())
        }
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) if *s >= 0 => {
            let array = converted(array, &T::Decimal128(*p, *s))?;
            let values = array.as_primitive::<Decimal128Type>().values().clone();
            Values::Decimal(values, u32::from(s.unsigned_abs()), keeps(target, *s))
        }
        T::Decimal32(_, s) | T::Decimal64(_, s) | T::Decimal128(_, s) | T::Decimal256(_, s) => {
            let array = converted(array, &T::Decimal256(76, (*s).max(0)))?;
            let values = array.as_primitive::<Decimal256Type>().values().clone();
            Values::Large(
                values,
                u32::from((*s).max(0).unsigned_abs()),
                keeps(target, (*s).max(0)),
            )
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => text(array, target),
        T::Binary => Values::Bytes(Bytesy::Small(array.as_binary().clone())),
        T::LargeBinary => Values::Bytes(Bytesy::Large(array.as_binary().clone())),
        T::BinaryView => Values::Bytes(Bytesy::View(array.as_binary_view().clone())),
        T::FixedSizeBinary(_) if *target == PgType::Uuid => {
            Values::UuidBytes(Bytesy::Fixed(array.as_fixed_size_binary().clone()))
        }
        T::FixedSizeBinary(_) => Values::Bytes(Bytesy::Fixed(array.as_fixed_size_binary().clone())),
        T::Date32 | T::Date64 => {
            let array = converted(array, &T::Date32)?;
            let days = array.as_primitive::<Date32Type>().values().clone();
            match target {
                PgType::Timestamp(_) => Values::DateAsStamp(days),
                _ => Values::Date(days),
            }
        }
        T::Time32(_) | T::Time64(_) => times(array, target)?,
        T::Timestamp(unit, _) => stamps(array, *unit, target),
        T::Duration(unit) => durations(array, *unit, fields(target)),
        T::Interval(unit) => Values::Interval(intervals(array, *unit), fields(target)),
        T::List(_) | T::LargeList(_) | T::FixedSizeList(_, _) | T::Struct(_) | T::Map(_, _) => {
            nested(array, target)?
        }
        other => {
            let message = format!("a column of {other} was not rejected");
            return Err(Error::bug("unsupported_type", message));
        }
    })
}

fn whole(target: &PgType) -> Result<Whole> {
    Ok(match target {
        PgType::Int2 => Whole::Int2,
        PgType::Int4 => Whole::Int4,
        PgType::Int8 => Whole::Int8,
        PgType::Float8 => Whole::Float8,
        PgType::Numeric(_) => Whole::Numeric(keeps(target, 0)),
        other => {
            let message = format!("whole numbers for a column of {other} were not rejected");
            return Err(Error::bug("unsupported_type", message));
        }
    })
}

/// The scale of the column when it keeps fewer decimals than the values may have; below 0 it rounds before the point.
fn keeps(target: &PgType, scale: i8) -> Option<i16> {
    match target {
        PgType::Numeric(Some((_, keeps))) if *keeps < i16::from(scale) => Some(*keeps),
        _ => None,
    }
}

fn fields(target: &PgType) -> IntervalFields {
    match target {
        PgType::Interval(fields) => *fields,
        _ => IntervalFields::ALL,
    }
}

fn text(array: &ArrayRef, target: &PgType) -> Values {
    let texts = match array.data_type() {
        DataType::LargeUtf8 => Texty::Large(array.as_string().clone()),
        DataType::Utf8View => Texty::View(array.as_string_view().clone()),
        _ => Texty::Small(array.as_string().clone()),
    };
    match target {
        PgType::Jsonb => Values::JsonText(texts),
        PgType::Uuid => Values::Uuid(texts),
        PgType::Text(_, limit) => Values::Text(texts, *limit),
        _ => Values::Text(texts, None),
    }
}

fn times(array: &ArrayRef, target: &PgType) -> Result<Values> {
    let decimals = match target {
        PgType::Time(decimals) => *decimals,
        _ => 6,
    };
    if array.data_type() == &DataType::Time64(TimeUnit::Nanosecond) {
        let values = array
            .as_primitive::<Time64NanosecondType>()
            .values()
            .clone();
        return Ok(Values::Time(values, scale(TimeUnit::Nanosecond), decimals));
    }
    let array = converted(array, &DataType::Time64(TimeUnit::Microsecond))?;
    let values = array
        .as_primitive::<Time64MicrosecondType>()
        .values()
        .clone();
    Ok(Values::Time(values, Scale::Times(1), decimals))
}

fn stamps(array: &ArrayRef, unit: TimeUnit, target: &PgType) -> Values {
    let values = match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values().clone(),
        TimeUnit::Millisecond => array
            .as_primitive::<TimestampMillisecondType>()
            .values()
            .clone(),
        TimeUnit::Microsecond => array
            .as_primitive::<TimestampMicrosecondType>()
            .values()
            .clone(),
        TimeUnit::Nanosecond => array
            .as_primitive::<TimestampNanosecondType>()
            .values()
            .clone(),
    };
    let decimals = match target {
        PgType::Timestamp(decimals) | PgType::Timestamptz(decimals) => *decimals,
        _ => 6,
    };
    Values::Stamp(values, scale(unit), decimals)
}

fn durations(array: &ArrayRef, unit: TimeUnit, fields: IntervalFields) -> Values {
    let values = match unit {
        TimeUnit::Second => array.as_primitive::<DurationSecondType>().values().clone(),
        TimeUnit::Millisecond => array
            .as_primitive::<DurationMillisecondType>()
            .values()
            .clone(),
        TimeUnit::Microsecond => array
            .as_primitive::<DurationMicrosecondType>()
            .values()
            .clone(),
        TimeUnit::Nanosecond => array
            .as_primitive::<DurationNanosecondType>()
            .values()
            .clone(),
    };
    Values::Duration(values, scale(unit), fields)
}

fn intervals(array: &ArrayRef, unit: IntervalUnit) -> Interval {
    let rows = 0..array.len();
    Interval(rows.map(|row| interval(array, unit, row)).collect())
}

fn interval(array: &ArrayRef, unit: IntervalUnit, row: usize) -> (time::Span, bool) {
    match unit {
        IntervalUnit::YearMonth => {
            let months = array.as_primitive::<IntervalYearMonthType>().value(row);
            let span = time::Span {
                months,
                days: 0,
                micros: 0,
            };
            (span, true)
        }
        IntervalUnit::DayTime => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            let span = time::Span {
                months: 0,
                days: value.days,
                micros: i64::from(value.milliseconds) * 1_000,
            };
            (span, true)
        }
        IntervalUnit::MonthDayNano => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let span = time::Span {
                months: value.months,
                days: value.days,
                micros: value.nanoseconds / 1_000,
            };
            (span, value.nanoseconds % 1_000 == 0)
        }
    }
}

fn nested(array: &ArrayRef, target: &PgType) -> Result<Values> {
    let PgType::Array(element, oid) = target else {
        return Ok(Values::Json(Texts::of(array)?, *target == PgType::Jsonb));
    };
    let field = match array.data_type() {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field
        }
        _ => return Err(Error::bug("unsupported_type", "an array is not a list")),
    };
    let list = converted(array, &DataType::LargeList(field.clone()))?;
    let list = list.as_list::<i64>();
    Ok(Values::List {
        offsets: list.offsets().clone(),
        elements: Box::new(Column::new(list.values(), element)?),
        oid: *oid,
    })
}

impl Texty {
    fn get(&self, row: usize) -> &str {
        match self {
            Self::Small(texts) => texts.value(row),
            Self::Large(texts) => texts.value(row),
            Self::View(texts) => texts.value(row),
        }
    }
}

impl Bytesy {
    fn get(&self, row: usize) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes.value(row),
            Self::Large(bytes) => bytes.value(row),
            Self::View(bytes) => bytes.value(row),
            Self::Fixed(bytes) => bytes.value(row),
        }
    }
}
