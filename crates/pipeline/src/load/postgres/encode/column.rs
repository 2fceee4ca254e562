//! One column of a batch, in the form that its place in the table wants.

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
use super::{Misfit, number, time};
use crate::load::postgres::types::{PgType, Scale, scale};

/// A column and how its values are written.
pub(super) struct Column {
    nulls: Option<NullBuffer>,
    values: Values,
}

/// Whole numbers go to any column of numbers that can hold them.
enum Whole {
    Int2,
    Int4,
    Int8,
    Float8,
    /// Most digits before the point, where the column has a limit.
    Numeric,
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
    Text(Texty),
    /// Text into a column of JSON: the version comes first.
    JsonText(Texty),
    Uuid(Texty),
    Bytes(Bytesy),
    Date(ScalarBuffer<i32>),
    /// A day as the instant at which it begins.
    DateAsStamp(ScalarBuffer<i32>),
    Time(ScalarBuffer<i64>, Scale, u8),
    Stamp(ScalarBuffer<i64>, Scale, u8),
    Duration(ScalarBuffer<i64>, Scale),
    Interval(Interval),
    List {
        offsets: OffsetBuffer<i64>,
        elements: Box<Column>,
        oid: u32,
    },
    /// Nested values as JSON; with a version before it in a column of jsonb.
    Json(Texts, bool),
}

/// Months, days and micros.
struct Interval(Vec<(i32, i32, i64, bool)>);

/// The type that a value has once dictionaries and the like are taken apart.
fn plain(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        other => other,
    }
}

/// Whether values of `kind` can be written to a column of `target`, row by row where not all fit.
pub(in crate::load::postgres) fn can_encode(kind: &DataType, target: &PgType) -> bool {
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
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, P::Text(_) | P::Jsonb | P::Uuid) => true,
        (T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), P::Bytea) => true,
        (T::Date32 | T::Date64, P::Date | P::Timestamp(_)) => true,
        (T::Time32(_) | T::Time64(_), P::Time(_)) => true,
        (T::Timestamp(_, None), P::Timestamp(_)) => true,
        (T::Timestamp(_, Some(_)), P::Timestamptz(_)) => true,
        (T::Duration(_) | T::Interval(_), P::Interval) => true,
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
            P::Text(name),
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
                if let Some(keeps) = keeps {
                    let step = 10_i128.pow(*scale - u32::from(keeps.unsigned_abs()));
                    number::check_scale(value % step == 0, *keeps)?;
                }
                number::put_128(value, *scale, out);
            }
            Values::Large(values, scale, keeps) => put_large(values[row], *scale, *keeps, out)?,
            Values::Text(texts) => put_text(texts.get(row), out)?,
            Values::JsonText(texts) => {
                out.put_u8(1);
                put_text(texts.get(row), out)?;
            }
            Values::Uuid(texts) => put_uuid(texts.get(row), out)?,
            Values::Bytes(bytes) => out.put_slice(bytes.get(row)),
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
            Values::Duration(values, scale) => {
                out.put_i64(time::micros(values[row], *scale)?);
                out.put_i64(0);
            }
            Values::Interval(Interval(values)) => {
                let (months, days, micros, exact) = values[row];
                if !exact {
                    return Err(Misfit::new(
                        "time_too_fine",
                        "an interval with a part below one microsecond",
                    ));
                }
                out.put_i64(micros);
                out.put_i32(days);
                out.put_i32(months);
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
                keeps(target, *s),
            )
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => text(array, target),
        T::Binary => Values::Bytes(Bytesy::Small(array.as_binary().clone())),
        T::LargeBinary => Values::Bytes(Bytesy::Large(array.as_binary().clone())),
        T::BinaryView => Values::Bytes(Bytesy::View(array.as_binary_view().clone())),
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
        T::Duration(unit) => durations(array, *unit),
        T::Interval(unit) => Values::Interval(intervals(array, *unit)),
        T::List(_) | T::LargeList(_) | T::FixedSizeList(_, _) | T::Struct(_) | T::Map(_, _) => {
            nested(array, target)?
        }
        other => {
            let message = format!("a column of {other} was not refused");
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
        PgType::Numeric(_) => Whole::Numeric,
        other => {
            let message = format!("whole numbers for a column of {other} were not refused");
            return Err(Error::bug("unsupported_type", message));
        }
    })
}

/// The scale of the column when it keeps fewer decimals than the values may have.
fn keeps(target: &PgType, scale: i8) -> Option<i16> {
    match target {
        PgType::Numeric(Some((_, keeps))) if (0..i16::from(scale)).contains(keeps) => Some(*keeps),
        _ => None,
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
        _ => Values::Text(texts),
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

fn durations(array: &ArrayRef, unit: TimeUnit) -> Values {
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
    Values::Duration(values, scale(unit))
}

fn intervals(array: &ArrayRef, unit: IntervalUnit) -> Interval {
    let row = |row: usize| match unit {
        IntervalUnit::YearMonth => {
            let months = array.as_primitive::<IntervalYearMonthType>().value(row);
            (months, 0, 0, true)
        }
        IntervalUnit::DayTime => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            (0, value.days, i64::from(value.milliseconds) * 1_000, true)
        }
        IntervalUnit::MonthDayNano => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let exact = value.nanoseconds % 1_000 == 0;
            (value.months, value.days, value.nanoseconds / 1_000, exact)
        }
    };
    Interval((0..array.len()).map(row).collect())
}

fn nested(array: &ArrayRef, target: &PgType) -> Result<Values> {
    let PgType::Array(element, oid) = target else {
        return Ok(Values::Json(Texts::of(array)?, *target == PgType::Jsonb));
    };
    let field = match array.data_type() {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field
        }
        _ => return Err(Error::bug("unsupported_type", "an array that is no list")),
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

fn put_whole(value: i128, whole: &Whole, out: &mut BytesMut) -> Result<(), Misfit> {
    let too_large = || {
        Misfit::new(
            "number_out_of_range",
            "a number that the column cannot hold",
        )
    };
    match whole {
        Whole::Int2 => out.put_i16(i16::try_from(value).map_err(|_| too_large())?),
        Whole::Int4 => out.put_i32(i32::try_from(value).map_err(|_| too_large())?),
        Whole::Int8 => out.put_i64(i64::try_from(value).map_err(|_| too_large())?),
        Whole::Numeric => number::put_128(value, 0, out),
        Whole::Float8 => {
            let double = value as f64;
            if double as i128 != value {
                return Err(Misfit::new(
                    "number_not_exact",
                    "a number that a double would round",
                ));
            }
            out.put_f64(double);
        }
    }
    Ok(())
}

fn put_large(
    value: i256,
    scale: u32,
    keeps: Option<i16>,
    out: &mut BytesMut,
) -> Result<(), Misfit> {
    if let Some(keeps) = keeps {
        let step = i256::from_i128(10).wrapping_pow(scale - u32::from(keeps.unsigned_abs()));
        number::check_scale(value.wrapping_rem(step) == i256::ZERO, keeps)?;
    }
    let negative = value.is_negative();
    let magnitude = if negative {
        value.wrapping_neg()
    } else {
        value
    };
    number::put(magnitude, negative, scale, out);
    Ok(())
}

fn put_text(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    if memchr::memchr(0, text.as_bytes()).is_some() {
        return Err(Misfit::new(
            "nul_in_text",
            "the character 0, which no text of Postgres holds",
        ));
    }
    out.put_slice(text.as_bytes());
    Ok(())
}

fn put_uuid(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let parsed = uuid::Uuid::try_parse(text);
    let parsed = parsed.map_err(|_| Misfit::new("bad_value", "a text that is no UUID"))?;
    out.put_slice(parsed.as_bytes());
    Ok(())
}

/// Dimensions, whether there are nulls, the elements' type; then of the one dimension length and first index.
fn put_list(
    offsets: &OffsetBuffer<i64>,
    elements: &Column,
    oid: u32,
    row: usize,
    out: &mut BytesMut,
) -> Result<(), Misfit> {
    let (first, last) = (offsets[row] as usize, offsets[row + 1] as usize);
    let nulls = (first..last).any(|at| elements.is_null(at));
    out.put_i32(i32::from(last > first));
    out.put_i32(i32::from(nulls));
    out.put_u32(oid);
    if last > first {
        let too_long = |_| Misfit::new("value_too_large", "more elements than an array takes");
        out.put_i32(i32::try_from(last - first).map_err(too_long)?);
        out.put_i32(1);
    }
    for at in first..last {
        if elements.is_null(at) {
            out.put_i32(-1);
            continue;
        }
        let begin = out.len();
        out.put_i32(0);
        elements.put(at, out)?;
        let length = (out.len() - begin - 4) as u32;
        out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
