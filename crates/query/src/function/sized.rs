//! Functions whose result can be far larger than their arguments, held to a share of the memory limit.
//!
//! What a function allocates is not seen by the engine's memory pool. Each function here is the engine's own behind a bound on the
//! size of its result, computed before it runs; a batch beyond the bound is run in slices, a single value beyond it fails.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use forebay_core::Error;

use crate::error::external;

/// Most bytes of one result, whatever the memory limit: text columns address 2 GiB.
const RESULT_BYTES_MAX: u64 = 1 << 30;
/// The share of the memory limit that one result may take.
const MEMORY_SHARE: u64 = 4;

/// Results that are smaller for certain are not counted exactly.
const COUNTED_BYTES_MIN: u64 = 4 << 10;

/// How large the result of one row can be.
type RowSize = fn(&SizedRow<'_>) -> u64;

/// Functions by name, with the size of a row of their result.
const SIZED: [(&str, RowSize); 14] = [
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
    ("regexp_replace", |row| row.regexp_replaced()),
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
];

/// The functions with a bound in place of those without.
pub(crate) fn bounded(functions: Vec<Arc<ScalarUDF>>, memory_bytes: usize) -> Vec<Arc<ScalarUDF>> {
    let limit = (memory_bytes as u64 / MEMORY_SHARE).clamp(1, RESULT_BYTES_MAX);
    let bound = |function: Arc<ScalarUDF>| {
        let names: Vec<&str> = [function.name()]
            .into_iter()
            .chain(function.aliases().iter().map(String::as_str))
            .collect();
        match SIZED.iter().find(|(name, _)| names.contains(name)) {
            Some((name, size)) => Arc::new(ScalarUDF::new_from_impl(SizedFunction {
                name,
                size: *size,
                inner: function,
                limit,
            })),
            None => function,
        }
    };
    functions.into_iter().map(bound).collect()
}

/// One bounded function.
#[derive(Debug)]
struct SizedFunction {
    name: &'static str,
    size: RowSize,
    inner: Arc<ScalarUDF>,
    limit: u64,
}

// One name and limit is one function.
impl PartialEq for SizedFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.limit == other.limit
    }
}

impl Eq for SizedFunction {}

impl std::hash::Hash for SizedFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.limit.hash(state);
    }
}

impl SizedFunction {
    fn inner(&self) -> &dyn ScalarUDFImpl {
        self.inner.inner().as_ref()
    }

    fn too_large(&self, bytes: u64) -> DataFusionError {
        let error = Error::data(
            "sql_value_too_large",
            format!(
                "a value makes the statement fail: {}() would make {bytes} bytes of one value, more than {}",
                self.name, self.limit
            ),
        );
        external(
            error.with_hint("make the value smaller, or raise `memory` in `[sql]` of forebay.toml"),
        )
    }

    /// Slices of the batch that each stay within the limit. Errors: `Data` for a row that does not.
    fn slices(&self, args: &[ArrayRef], rows: usize) -> Result<Vec<Range<usize>>> {
        let mut slices = Vec::new();
        let mut start = 0;
        let mut bytes = 0_u64;
        for row in 0..rows {
            let size = (self.size)(&SizedRow { args, row });
            if size > self.limit {
                return Err(self.too_large(size));
            }
            if bytes.saturating_add(size) > self.limit {
                slices.push(start..row);
                start = row;
                bytes = 0;
            }
            bytes += size;
        }
        slices.push(start..rows);
        Ok(slices)
    }

    fn sliced(&self, args: &ScalarFunctionArgs, slices: &[Range<usize>]) -> Result<ColumnarValue> {
        let mut made: Vec<ArrayRef> = Vec::with_capacity(slices.len());
        let mut bytes = 0_u64;
        for slice in slices {
            let rows = slice.len();
            let cut = |arg: &ColumnarValue| match arg {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(slice.start, rows)),
                constant => constant.clone(),
            };
            let part = self.inner.invoke_with_args(ScalarFunctionArgs {
                args: args.args.iter().map(cut).collect(),
                arg_fields: args.arg_fields.clone(),
                number_rows: rows,
                return_field: args.return_field.clone(),
                config_options: args.config_options.clone(),
            })?;
            let part = part.into_array(rows)?;
            bytes = bytes.saturating_add(part.get_array_memory_size() as u64);
            if bytes > self.limit {
                return Err(self.too_large(bytes));
            }
            made.push(part);
        }
        let parts: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

impl ScalarUDFImpl for SizedFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner().return_field_from_args(args)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner().with_updated_config(config)?);
        Some(ScalarUDF::new_from_impl(Self {
            name: self.name,
            size: self.size,
            inner,
            limit: self.limit,
        }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner().simplify(args, info)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(one_row_or_all)
            .collect::<Result<Vec<_>>>()?;
        let slices = self.slices(&arrays, rows)?;
        if slices.len() == 1 {
            return self.inner.invoke_with_args(args);
        }
        self.sliced(&args, &slices)
    }
}

fn one_row_or_all(arg: &ColumnarValue) -> Result<ArrayRef> {
    match arg {
        ColumnarValue::Array(array) => Ok(array.clone()),
        ColumnarValue::Scalar(scalar) => scalar.to_array(),
    }
}

/// One row of the arguments; constants are arrays of one row.
struct SizedRow<'a> {
    args: &'a [ArrayRef],
    row: usize,
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

    fn padded(&self) -> u64 {
        // Each character of the filling may have four bytes.
        self.count(1).saturating_mul(4)
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

    fn regexp_replaced(&self) -> u64 {
        let length = self.len(0);
        let Some((replacement, row)) = self.arg(2) else {
            return length;
        };
        let replacement = text(replacement, row).unwrap_or_default();
        // A group stands for at most the whole text.
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

fn list_items(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    Some(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => return None,
    })
}

fn value_bytes(array: &ArrayRef, row: usize) -> u64 {
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

/// A constant that shows its type in the name of a column and gives its first argument back.
pub(crate) fn cast_to() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(CastTo {
        signature: Signature::any(2, datafusion::logical_expr::Volatility::Immutable),
    }))
}

/// See [`cast_to`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct CastTo {
    signature: Signature,
}

impl ScalarUDFImpl for CastTo {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        crate::rewrite::CAST_TO
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [value, Expr::Literal(ScalarValue::Utf8(Some(kind)), _)] => {
                Ok(format!("CAST({} AS {kind})", value.schema_name()))
            }
            _ => Ok(self.name().to_owned()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let mut args = args;
        Ok(ExprSimplifyResult::Simplified(args.swap_remove(0)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args[0].clone())
    }
}
