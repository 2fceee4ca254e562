//! `generate_series` and `range` of timestamps in microseconds: the engine's go through nanoseconds, and are null after the year 2262.

use std::any::Any;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, ListBuilder, PrimitiveBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::{execution, over_arrays};

/// The function with such series where it is one of these.
pub(crate) fn with_instants(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let has_end = match function.name() {
        "generate_series" => true,
        "range" => false,
        _ => return function,
    };
    Arc::new(ScalarUDF::new_from_impl(Series {
        inner: function,
        has_end,
    }))
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    inner: Arc<ScalarUDF>,
    /// Whether the end is a part of the series.
    has_end: bool,
}

impl ScalarUDFImpl for Series {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(DataType::Timestamp(_, zone)) => Ok(DataType::new_list(
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                true,
            )),
            _ => self.inner.return_type(types),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kinds: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        match (kinds.as_slice(), args.return_field.data_type()) {
            ([DataType::Timestamp(..), _, _], DataType::List(item))
                if !kinds.iter().any(DataType::is_null) =>
            {
                let kind = item.data_type().clone();
                over_arrays(&args.args, args.number_rows, |arrays| {
                    self.series(arrays, &kind)
                })
            }
            _ => self.inner.invoke_with_args(args),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

impl Series {
    fn series(&self, args: &[ArrayRef], kind: &DataType) -> Result<ArrayRef> {
        let starts = micros(&args[0])?;
        let ends = micros(&args[1])?;
        let steps = args[2].as_primitive::<IntervalMonthDayNanoType>();
        let zone: Tz = match kind {
            DataType::Timestamp(_, Some(zone)) => zone.parse()?,
            _ => "+00:00".parse()?,
        };
        let items = PrimitiveBuilder::<TimestampMicrosecondType>::new();
        let mut made = ListBuilder::new(items.with_data_type(kind.clone()));
        for row in 0..starts.len() {
            if starts.is_null(row) || ends.is_null(row) || steps.is_null(row) {
                made.append_null();
                continue;
            }
            let step = Step {
                interval: steps.value(row),
                zone,
            };
            let span = (starts.value(row), ends.value(row));
            step.fill(made.values(), span.0, span.1, self.has_end)?;
            made.append(true);
        }
        Ok(Arc::new(made.finish()))
    }
}

/// The distance of two values of a series.
struct Step {
    interval: IntervalMonthDayNano,
    zone: Tz,
}

impl Step {
    fn fill(
        &self,
        values: &mut PrimitiveBuilder<TimestampMicrosecondType>,
        start: i64,
        end: i64,
        has_end: bool,
    ) -> Result<()> {
        let second = self.after(start);
        if second == Some(start) {
            return Err(execution(
                "the step of a series of timestamps must be a microsecond or more",
            ));
        }
        let is_falling = second.is_some_and(|second| second < start);
        let mut current = Some(start);
        // After the end of the calendar there are no more values.
        while let Some(value) = current {
            let is_beyond = match is_falling {
                true => value < end,
                false => value > end,
            };
            if is_beyond || (value == end && !has_end) {
                break;
            }
            values.append_value(value);
            current = self.after(value);
        }
        Ok(())
    }

    fn after(&self, value: i64) -> Option<i64> {
        TimestampMicrosecondType::add_month_day_nano(value, self.interval, self.zone)
    }
}

fn micros(array: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let kind = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let made = arrow::compute::cast(array, &kind)?;
    Ok(made.as_primitive::<TimestampMicrosecondType>().clone())
}
