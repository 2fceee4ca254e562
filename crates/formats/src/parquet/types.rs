//! Converts Arrow types of files to the types of a table, without losing anything.
//!
//! A table has `int`, `long`, `float`, `double`, `decimal`, `boolean`, `string`, `binary`, `date`, `time`, `timestamp(tz)`
//! in microseconds, and structs, lists and maps of them. Types that do not fit exactly are rejected by name, never rounded.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Fields, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampNanosecondType,
};

const UTC: &str = "+00:00";
const NANOS_PER_MICRO: i64 = 1_000;
const DAY_NANOS: i64 = 86_400_000_000_000;

/// The type that a column of this type has in a table; `None` when there is none, or nothing to hold (`Null`).
pub(crate) fn normal(kind: &DataType) -> Option<DataType> {
    use DataType as D;
    Some(match kind {
        D::Boolean
        | D::Int32
        | D::Int64
        | D::Float32
        | D::Float64
        | D::Utf8
        | D::Binary
        | D::Date32 => kind.clone(),
        D::Int8 | D::Int16 | D::UInt8 | D::UInt16 => D::Int32,
        D::UInt32 => D::Int64,
        // 2^64 - 1 has 20 digits.
        D::UInt64 => D::Decimal128(20, 0),
        D::Float16 => D::Float32,
        D::LargeUtf8 | D::Utf8View => D::Utf8,
        D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => D::Binary,
        D::Date64 => D::Timestamp(TimeUnit::Microsecond, None),
        D::Time32(_) | D::Time64(_) => D::Time64(TimeUnit::Microsecond),
        D::Timestamp(_, zone) => {
            D::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| UTC.into()))
        }
        D::Decimal32(precision, scale)
        | D::Decimal64(precision, scale)
        | D::Decimal128(precision, scale) => decimal(*precision, *scale)?,
        D::Decimal256(precision, scale) if *precision <= DECIMAL_DIGITS_MAX => {
            decimal(*precision, *scale)?
        }
        D::Dictionary(_, values) => normal(values)?,
        D::List(field)
        | D::LargeList(field)
        | D::ListView(field)
        | D::LargeListView(field)
        | D::FixedSizeList(field, _) => D::List(normal_field(field)?),
        D::Struct(fields) if !fields.is_empty() => D::Struct(
            fields
                .iter()
                .map(normal_field)
                .collect::<Option<Fields>>()?,
        ),
        D::Map(entries, sorted) => D::Map(normal_field(entries)?, *sorted),
        _ => return None,
    })
}

/// Digits of a decimal of a table.
const DECIMAL_DIGITS_MAX: u8 = 38;

fn decimal(precision: u8, scale: i8) -> Option<DataType> {
    (0..=precision as i8)
        .contains(&scale)
        .then_some(DataType::Decimal128(precision, scale))
}

fn normal_field(field: &FieldRef) -> Option<FieldRef> {
    Some(Arc::new(Field::new(
        field.name(),
        normal(field.data_type())?,
        field.is_nullable(),
    )))
}

/// The column in its table type, or why its values do not fit. Times are truncated to microseconds: see [`unrepresentable_rows`].
pub(super) fn to_normal(array: &ArrayRef) -> Result<ArrayRef, String> {
    let kind = normal(array.data_type())
        .ok_or_else(|| format!("type {} is not supported by tables", array.data_type()))?;
    if &kind == array.data_type() {
        return Ok(Arc::clone(array));
    }
    convert(array, &kind)
}

/// The column as another type; fails rather than losing a value.
pub(crate) fn convert(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, String> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, kind, &options).map_err(|error| error.to_string())
}

/// The rows with a value that no column of a table holds, at any depth; `None` when no row has one: a time finer than one microsecond or out
/// of the day, a decimal of more digits than its type has. Files may have such values, and readers let them through.
pub(super) fn unrepresentable_rows(array: &ArrayRef) -> Option<Vec<bool>> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => finer_times(
            array,
            array.as_primitive::<TimestampNanosecondType>().values(),
        ),
        DataType::Time64(TimeUnit::Nanosecond) => {
            let values = array.as_primitive::<Time64NanosecondType>().values();
            let is_odd =
                |value: i64| value % NANOS_PER_MICRO != 0 || !(0..DAY_NANOS).contains(&value);
            odd_rows(array, values, is_odd)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let values = array.as_primitive::<Time64MicrosecondType>().values();
            odd_rows(array, values, |value| {
                !(0..DAY_NANOS / 1_000).contains(&value)
            })
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            let values = array.as_primitive::<Time32MillisecondType>().values();
            odd_rows(array, values, |value| !(0..86_400_000).contains(&value))
        }
        DataType::Time32(TimeUnit::Second) => {
            let values = array.as_primitive::<Time32SecondType>().values();
            odd_rows(array, values, |value| !(0..86_400).contains(&value))
        }
        DataType::Decimal128(precision, _) => {
            let values = array.as_primitive::<Decimal128Type>().values();
            let end = 10_u128.pow(u32::from(*precision).min(38));
            odd_rows(array, values, |value: i128| value.unsigned_abs() >= end)
        }
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            let finer: Vec<Vec<bool>> = columns.filter_map(unrepresentable_rows).collect();
            rows(array, |row| finer.iter().any(|rows| rows[row]))
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let finer = unrepresentable_rows(list.values())?;
            rows(array, |row| {
                any(&finer, list.value_offsets()[row], list.value_length(row))
            })
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let finer = unrepresentable_rows(list.values())?;
            rows(array, |row| {
                any(&finer, list.value_offsets()[row], list.value_length(row))
            })
        }
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let finer = unrepresentable_rows(list.values())?;
            rows(array, |row| {
                any(&finer, list.value_offset(row), list.value_length())
            })
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let finer = unrepresentable_rows(&entries)?;
            rows(array, |row| {
                any(&finer, map.value_offsets()[row], map.value_length(row))
            })
        }
        DataType::Dictionary(..) => {
            let words = array.as_any_dictionary();
            let finer = unrepresentable_rows(words.values())?;
            let keys = words.normalized_keys();
            rows(array, |row| finer[keys[row]])
        }
        _ => None,
    }
}

fn finer_times(array: &ArrayRef, values: &[i64]) -> Option<Vec<bool>> {
    odd_rows(array, values, |value| value % NANOS_PER_MICRO != 0)
}

fn odd_rows<V: Copy>(
    array: &ArrayRef,
    values: &[V],
    is_odd: impl Fn(V) -> bool,
) -> Option<Vec<bool>> {
    if !values.iter().any(|value| is_odd(*value)) {
        return None;
    }
    rows(array, |row| is_odd(values[row]))
}

/// The rows with a value for which `is_so` holds, if there are any.
fn rows(array: &ArrayRef, is_so: impl Fn(usize) -> bool) -> Option<Vec<bool>> {
    let found: Vec<bool> = (0..array.len())
        .map(|row| array.is_valid(row) && is_so(row))
        .collect();
    found.contains(&true).then_some(found)
}

/// Whether one of the `length` elements from `start` is set.
fn any<N: TryInto<usize>>(set: &[bool], start: N, length: N) -> bool {
    let at = |place: N| place.try_into().unwrap_or(0);
    set.iter().skip(at(start)).take(at(length)).any(|set| *set)
}

/// The type that holds the values of both, for a column that has type `a` so far; `None` when there is none that the column
/// may become (Iceberg never changes the scale of a decimal).
pub(crate) fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as D;
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (D::Int32, D::Int64) | (D::Int64, D::Int32) => Some(D::Int64),
        (D::Float32, D::Float64) | (D::Float64, D::Float32) => Some(D::Float64),
        (D::Decimal128(p, s), D::Decimal128(q, t)) if t <= s => {
            let needed = u8::try_from(i16::from(*q) - i16::from(*t) + i16::from(*s)).ok()?;
            decimal(needed.max(*p), *s).filter(|_| needed <= DECIMAL_DIGITS_MAX)
        }
        (D::Struct(a), D::Struct(b)) => wider_fields(a, b).map(D::Struct),
        (D::List(a), D::List(b)) => wider_field(a, b).map(D::List),
        (D::Map(a, sorted), D::Map(b, _)) => {
            wider_field(a, b).map(|entries| D::Map(entries, *sorted))
        }
        _ => None,
    }
}

fn wider_field(a: &FieldRef, b: &FieldRef) -> Option<FieldRef> {
    let kind = wider(a.data_type(), b.data_type())?;
    Some(Arc::new(Field::new(
        a.name(),
        kind,
        a.is_nullable() || b.is_nullable(),
    )))
}

fn wider_fields(a: &Fields, b: &Fields) -> Option<Fields> {
    let with =
        |name: &str, fields: &Fields| fields.iter().find(|field| field.name() == name).cloned();
    let both = a.iter().map(|field| match with(field.name(), b) {
        Some(other) => wider_field(field, &other),
        None => Some(Arc::new(field.as_ref().clone().with_nullable(true))),
    });
    let new = b.iter().filter(|field| with(field.name(), a).is_none());
    both.chain(new.map(|field| Some(Arc::new(field.as_ref().clone().with_nullable(true)))))
        .collect()
}

/// The name of a type in a pipeline file, for the name of a variant column.
pub(crate) fn word(kind: &DataType) -> &'static str {
    match kind {
        DataType::Boolean => "boolean",
        DataType::Int32 => "int",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 => "string",
        DataType::Binary => "binary",
        DataType::Date32 => "date",
        DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Decimal128(..) => "decimal",
        DataType::Struct(_) => "struct",
        DataType::List(_) => "list",
        DataType::Map(..) => "map",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        DictionaryArray, Int64Array, ListArray, StructArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

    use super::*;

    #[test]
    fn values_are_exact_or_refused() {
        let ns = |values: Vec<i64>| Arc::new(TimestampNanosecondArray::from(values)) as ArrayRef;
        let micros = to_normal(&ns(vec![1_000, -2_000])).unwrap();
        assert_eq!(
            micros.as_primitive::<TimestampMicrosecondType>().values(),
            &[1, -2]
        );
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        let decimal = to_normal(&large).unwrap();
        assert_eq!(
            decimal.as_primitive::<Decimal128Type>().value(0),
            i128::from(u64::MAX)
        );
        let words: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        assert_eq!(
            to_normal(&(Arc::new(words) as ArrayRef))
                .unwrap()
                .data_type(),
            &DataType::Utf8
        );
        let long: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        assert!(convert(&long, &DataType::Int32).is_err());
    }

    #[test]
    fn rows_with_a_finer_time_are_found_at_every_depth() {
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![
            Some(1_000),
            Some(1_001),
            None,
            Some(-1),
        ]));
        assert_eq!(
            unrepresentable_rows(&times),
            Some(vec![false, true, false, true])
        );
        assert_eq!(unrepresentable_rows(&times.slice(2, 1)), None);
        let item = Arc::new(Field::new("item", times.data_type().clone(), true));
        let lists: ArrayRef = Arc::new(ListArray::new(
            Arc::clone(&item),
            OffsetBuffer::from_lengths([1, 2, 1]),
            Arc::clone(&times),
            Some(vec![true, true, false].into()),
        ));
        assert_eq!(
            unrepresentable_rows(&lists),
            Some(vec![false, true, false]),
            "a null list has no type"
        );
        assert_eq!(unrepresentable_rows(&lists.slice(1, 1)), Some(vec![true]));
        let both: ArrayRef = Arc::new(StructArray::from(vec![(item, Arc::clone(&times))]));
        assert_eq!(unrepresentable_rows(&both), unrepresentable_rows(&times));
        let keys = arrow::array::Int32Array::from(vec![Some(0), Some(1), None]);
        let words: ArrayRef = Arc::new(DictionaryArray::new(keys, times));
        assert_eq!(unrepresentable_rows(&words), Some(vec![false, true, false]));
    }

    #[test]
    fn widening_never_loses() {
        use DataType as D;
        assert_eq!(wider(&D::Int32, &D::Int64), Some(D::Int64));
        assert_eq!(wider(&D::Int64, &D::Float64), None);
        assert_eq!(
            wider(&D::Decimal128(5, 2), &D::Decimal128(9, 2)),
            Some(D::Decimal128(9, 2))
        );
        assert_eq!(wider(&D::Decimal128(5, 2), &D::Decimal128(9, 3)), None);
        for (file, wide) in [((8, 1), (9, 2)), ((4, 1), (5, 2)), ((37, 1), (38, 2))] {
            let file = D::Decimal128(file.0, file.1);
            let wide = D::Decimal128(wide.0, wide.1);
            assert_eq!(wider(&D::Decimal128(5, 2), &file), Some(wide));
        }
        assert_eq!(wider(&D::Decimal128(5, 2), &D::Decimal128(38, 1)), None);
        let of = |fields: &[(&str, D)]| {
            D::Struct(
                fields
                    .iter()
                    .map(|(name, kind)| Field::new(*name, kind.clone(), true))
                    .collect(),
            )
        };
        assert_eq!(
            wider(
                &of(&[("a", D::Int32)]),
                &of(&[("b", D::Utf8), ("a", D::Int64)])
            ),
            Some(of(&[("a", D::Int64), ("b", D::Utf8)]))
        );
        assert_eq!(wider(&of(&[("a", D::Int32)]), &of(&[("a", D::Utf8)])), None);
    }
}
