//! How large a row of a function's result can be, counted before it is made.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use crate::function::concat::TEXT_CONCAT;

/// Results that are smaller for certain are not counted exactly.
const COUNTED_BYTES_MIN: u64 = 4 << 10;

/// Bytes of a compiled regular expression at most, a bound of the engine's library, and of one character: a class such as `\w`
/// has ranges for all scripts.
const COMPILED_BYTES_MAX: u64 = 10 << 20;
const COMPILED_CHARACTER_BYTES: u64 = 16 << 10;

/// How large the result of one row can be.
pub(super) type RowSize = fn(&SizedRow<'_>) -> u64;

/// Functions by name, with the size of a row of their result.
pub(super) const SIZED: [(&str, RowSize); 28] = [
    ("format", |row| row.formatted()),
    ("repeat", |row| row.len(0).saturating_mul(row.count(1))),
    ("lpad", |row| row.padded()),
    ("rpad", |row| row.padded()),
    ("space", |row| row.count(0)),
    ("range", |row| row.series()),
    ("generate_series", |row| row.series()),
    ("array_repeat", |row| {
        row.count(1).saturating_mul(row.bytes(0).max(8))
    }),
    ("array_resize", |row| {
        let item = row.bytes(2).max(8);
        row.bytes(0)
            .saturating_add(row.count(1).saturating_mul(item))
    }),
    ("replace", |row| row.replaced()),
    ("regexp_replace", |row| {
        row.regexp_replaced().saturating_add(row.compiled(1))
    }),
    ("regexp_like", |row| row.compiled(1)),
    ("regexp_match", |row| row.compiled(1)),
    ("regexp_count", |row| row.compiled(1)),
    ("regexp_instr", |row| row.compiled(1)),
    ("concat", |row| row.all_bytes()),
    ("concat_ws", |row| {
        row.all_bytes()
            .saturating_add(row.len(0).saturating_mul(row.args.len() as u64))
    }),
    ("array_to_string", |row| {
        let items = row.items(0);
        items
            .saturating_mul(row.len(1).saturating_add(row.len(2)).saturating_add(24))
            .saturating_add(row.bytes(0))
    }),
    ("array_concat", |row| row.all_bytes()),
    ("array_append", |row| row.all_bytes()),
    ("array_prepend", |row| row.all_bytes()),
    ("array_replace", |row| row.items_replaced()),
    ("array_replace_n", |row| row.items_replaced()),
    ("array_replace_all", |row| row.items_replaced()),
    ("make_array", |row| row.all_bytes()),
    ("overlay", |row| row.all_bytes()),
    ("encode", |row| row.bytes(0).saturating_mul(2)),
    (TEXT_CONCAT, |row| row.all_bytes()),
];

/// One row of the arguments; constants are arrays of one row.
pub(super) struct SizedRow<'a> {
    pub(super) args: &'a [ArrayRef],
    pub(super) row: usize,
}

impl SizedRow<'_> {
    fn arg(&self, at: usize) -> Option<(&ArrayRef, usize)> {
        let array = self.args.get(at)?;
        let row = if array.len() == 1 { 0 } else { self.row };
        (row < array.len() && array.is_valid(row)).then_some((array, row))
    }

    /// Bytes of a text.
    fn len(&self, at: usize) -> u64 {
        match self.arg(at) {
            Some((array, row)) => text(array, row).map_or(0, |text| text.len() as u64),
            None => 0,
        }
    }

    /// A count, nothing when it is negative.
    fn count(&self, at: usize) -> u64 {
        u64::try_from(self.integer(at).unwrap_or(0)).unwrap_or(0)
    }

    fn integer(&self, at: usize) -> Option<i64> {
        let (array, row) = self.arg(at)?;
        integer(array, row)
    }

    /// Bytes of any value.
    fn bytes(&self, at: usize) -> u64 {
        match self.arg(at) {
            Some((array, row)) => value_bytes(array, row),
            None => 0,
        }
    }

    fn all_bytes(&self) -> u64 {
        let each = (0..self.args.len()).map(|at| self.bytes(at));
        each.fold(0, u64::saturating_add)
    }

    /// Items of a list.
    fn items(&self, at: usize) -> u64 {
        match self.arg(at) {
            Some((array, row)) => list_items(array, row).map_or(0, |items| items.len() as u64),
            None => 0,
        }
    }

    /// Each item of the list may become the new one.
    fn items_replaced(&self) -> u64 {
        let new = self.items(0).saturating_mul(self.bytes(2));
        self.bytes(0).saturating_add(new)
    }

    fn padded(&self) -> u64 {
        // Each character of the filling may have four bytes.
        self.count(1).saturating_mul(4)
    }

    /// Each two characters of the template may be an argument, quoted.
    fn formatted(&self) -> u64 {
        let values = (1..self.args.len()).map(|at| self.len(at).saturating_mul(2));
        let longest = values.max().unwrap_or(0);
        let places = self.len(0) / 2;
        self.len(0).saturating_add(places.saturating_mul(longest))
    }

    /// Eight bytes for each value of a series of numbers or times.
    fn series(&self) -> u64 {
        let (start, stop, step) = match self.args.len() {
            1 => (Some(0), self.integer(0), Some(1)),
            2 => (self.integer(0), self.integer(1), Some(1)),
            _ => (self.integer(0), self.integer(1), self.step(2)),
        };
        let (Some(start), Some(stop), Some(step)) = (start, stop, step) else {
            return 0;
        };
        if step == 0 {
            return 0;
        }
        let count = (i128::from(stop) - i128::from(start)) / i128::from(step);
        u64::try_from(count.max(0).saturating_add(1).saturating_mul(8)).unwrap_or(u64::MAX)
    }

    /// A step as a number, or an interval in the unit of the series.
    fn step(&self, at: usize) -> Option<i64> {
        let (array, row) = self.arg(at)?;
        if !matches!(array.data_type(), DataType::Interval(_)) {
            return integer(array, row);
        }
        let interval = cast(
            &array.slice(row, 1),
            &DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        )
        .ok()?;
        let interval = interval
            .as_primitive::<arrow::datatypes::IntervalMonthDayNanoType>()
            .value(0);
        let days = i64::from(interval.months) * 28 + i64::from(interval.days);
        let unit = match self.args[0].data_type() {
            DataType::Date32 => return Some(if days == 0 { 1 } else { days }),
            DataType::Timestamp(arrow::datatypes::TimeUnit::Second, _) => 1_000_000_000,
            DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _) => 1_000_000,
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => 1_000,
            _ => 1,
        };
        let nanos = i128::from(days) * 86_400_000_000_000 + i128::from(interval.nanoseconds);
        let step = nanos / unit;
        i64::try_from(if step == 0 { 1 } else { step }).ok()
    }

    fn replaced(&self) -> u64 {
        let (Some((subject, row)), from, to) = (self.arg(0), self.len(1), self.len(2)) else {
            return 0;
        };
        let length = self.len(0);
        if to <= from {
            return length;
        }
        let Some((pattern, pattern_row)) = self.arg(1) else {
            return 0;
        };
        let (Some(subject), Some(pattern)) = (text(subject, row), text(pattern, pattern_row))
        else {
            return 0;
        };
        let most = length / (pattern.len() as u64).max(1) + 1;
        let bound = length.saturating_add(most.saturating_mul(to));
        if bound <= COUNTED_BYTES_MIN {
            return bound;
        }
        let found = if pattern.is_empty() {
            length + 1
        } else {
            subject.matches(pattern).count() as u64
        };
        length.saturating_add(found.saturating_mul(to))
    }

    /// Bytes of a regular expression from a column: all of a batch are compiled and kept until its end. One that is a constant is
    /// compiled once.
    fn compiled(&self, at: usize) -> u64 {
        let is_constant = self.args.get(at).is_none_or(|array| array.len() == 1);
        let Some((array, row)) = self.arg(at).filter(|_| !is_constant) else {
            return 0;
        };
        let pattern = text(array, row).unwrap_or_default();
        match pattern.contains('{') {
            true => COMPILED_BYTES_MAX,
            false => COMPILED_BYTES_MAX.min((pattern.len() as u64 + 1) * COMPILED_CHARACTER_BYTES),
        }
    }

    fn regexp_replaced(&self) -> u64 {
        let length = self.len(0);
        let Some((replacement, row)) = self.arg(2) else {
            return length;
        };
        let replacement = text(replacement, row).unwrap_or_default();
        // A group expands to at most the whole text.
        let groups = replacement.matches(['\\', '$']).count() as u64;
        let is_global = self
            .arg(3)
            .is_some_and(|(flags, row)| text(flags, row).is_some_and(|flags| flags.contains('g')));
        let matches = if is_global { length + 1 } else { 1 };
        length
            .saturating_mul(groups + 1)
            .saturating_add(matches.saturating_mul(replacement.len() as u64))
    }
}

fn text(array: &ArrayRef, row: usize) -> Option<&str> {
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8View => array.as_string_view().value(row),
        _ => return None,
    })
}

fn integer(array: &ArrayRef, row: usize) -> Option<i64> {
    if let Some(integers) = array.as_primitive_opt::<Int64Type>() {
        return Some(integers.value(row));
    }
    match array.data_type() {
        kind if kind.is_integer() || kind.is_temporal() => {
            let wide = cast(&array.slice(row, 1), &DataType::Int64).ok()?;
            let wide = wide.as_primitive::<Int64Type>();
            wide.is_valid(0).then(|| wide.value(0))
        }
        _ => None,
    }
}

/// Items of a list that is not null.
pub(super) fn list_items(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    Some(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => return None,
    })
}

/// Bytes of a value that is not null.
pub(super) fn value_bytes(array: &ArrayRef, row: usize) -> u64 {
    if let Some(text) = text(array, row) {
        return text.len() as u64;
    }
    if let Some(items) = list_items(array, row) {
        let data = items.to_data();
        return data.get_slice_memory_size().unwrap_or(0) as u64;
    }
    match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row).len() as u64,
        DataType::LargeBinary => array.as_binary::<i64>().value(row).len() as u64,
        DataType::BinaryView => array.as_binary_view().value(row).len() as u64,
        DataType::Struct(_) | DataType::Map(..) => {
            let data = array.slice(row, 1).to_data();
            data.get_slice_memory_size().unwrap_or(0) as u64
        }
        kind => kind.primitive_width().unwrap_or(1) as u64,
    }
}
