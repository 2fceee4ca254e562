//! Casts that keep every value exactly.

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use forebay_core::{Error, Result};

const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// How a cast is known to be exact.
enum Exactness {
    /// For every value of the type, or the cast itself refuses (overflow).
    Type,
    /// Only when casting back gives the same value.
    RoundTrip,
}

/// `array` as `to`; `None` when the types have no exact cast.
///
/// Errors: `Data` `inexact_value` when a value would change.
pub(super) fn exact(array: &ArrayRef, to: &DataType, path: &str) -> Result<Option<ArrayRef>> {
    let Some(exactness) = exactness(array.data_type(), to) else {
        return Ok(None);
    };
    let inexact = || {
        Error::data(
            "inexact_value",
            format!(
                "column {path} holds a value that does not fit exactly into {to} (it is {})",
                array.data_type()
            ),
        )
    };
    let made = cast_with_options(array, to, &STRICT).map_err(|e| inexact().with_source(e))?;
    if matches!(exactness, Exactness::RoundTrip) {
        let back = cast_with_options(&made, array.data_type(), &STRICT)
            .map_err(|e| inexact().with_source(e))?;
        let same = not_distinct(&back, array).map_err(|e| inexact().with_source(e))?;
        if same.true_count() < array.len() {
            return Err(inexact());
        }
    }
    Ok(Some(made))
}

fn exactness(from: &DataType, to: &DataType) -> Option<Exactness> {
    use DataType::{
        Binary, BinaryView, Date32, Date64, FixedSizeBinary, Float16, Float32, Float64,
        LargeBinary, LargeUtf8, Time32, Time64, Timestamp, Utf8, Utf8View,
    };
    use Exactness::{RoundTrip, Type};
    match (from, to) {
        (from, to) if from.is_integer() && to.is_integer() => Some(Type),
        (Float16, Float32 | Float64) | (Float32, Float64) => Some(Type),
        (from, Float64) if from.is_integer() => Some(RoundTrip),
        (Utf8View | LargeUtf8 | Utf8, Utf8 | LargeUtf8) => Some(Type),
        (BinaryView | Binary | LargeBinary | FixedSizeBinary(_), Binary | LargeBinary) => {
            Some(Type)
        }
        (Date64, Date32) => Some(RoundTrip),
        (Time32(_) | Time64(_), Time64(TimeUnit::Microsecond)) => Some(RoundTrip),
        // With a zone, the number is an instant whatever the zone's name; without, it is a wall clock. The two never mix.
        (Timestamp(_, a), Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, b))
            if a.is_some() == b.is_some() =>
        {
            Some(RoundTrip)
        }
        (from, DataType::Decimal128(precision, scale)) => decimal(from, *precision, *scale),
        _ => None,
    }
}

fn decimal(from: &DataType, precision: u8, scale: i8) -> Option<Exactness> {
    match from {
        from if from.is_integer() => Some(Exactness::Type),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            let whole = |p: u8, s: i8| i16::from(p) - i16::from(s);
            let fits = scale >= *s && whole(precision, scale) >= whole(*p, *s);
            Some(if fits {
                Exactness::Type
            } else {
                Exactness::RoundTrip
            })
        }
        _ => None,
    }
}
