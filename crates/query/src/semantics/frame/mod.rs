//! `RANGE` frames in types whose values the engine can shift by the offset: it fails on decimals and times of day, wraps round at the
//! end of whole numbers, and forgets the hours of an offset from a date.

mod split;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use forebay_core::Error;

use crate::error::external;
use crate::types::sql_name;

pub(super) use split::by_order;

/// Digits of the largest decimals of 128 and 256 bits.
const DIGITS_MAX: u8 = 38;
const WIDE_DIGITS_MAX: u8 = 76;
/// Digits of every whole number.
const WHOLE_DIGITS: i16 = 20;

/// The window function with a frame that the engine computes rightly.
///
/// Errors: `Unsupported` for an offset from a value that has none, `Config` for an offset of another type.
pub(super) fn settle(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut window) = expr else {
        return Ok(Transformed::no(expr));
    };
    let frame = &window.params.window_frame;
    let key = window.params.order_by.first_mut();
    let (WindowFrameUnits::Range, Some(key)) = (frame.units, key) else {
        return Ok(Transformed::no(Expr::WindowFunction(window)));
    };
    let kind = key.expr.get_type(schema)?;
    let offsets = offsets(frame);
    if offsets.is_empty() {
        if !is_ranged(&kind) {
            window.params.window_frame = of_groups(frame);
        }
        return Ok(Transformed::yes(Expr::WindowFunction(window)));
    }
    if has_gaps(frame) && matches!(window.fun, WindowFunctionDefinition::AggregateUDF(_)) {
        return Err(gaps());
    }
    if let Some(shifted) = shifted_as(&kind, &offsets)? {
        cast(key, shifted);
    }
    Ok(Transformed::yes(Expr::WindowFunction(window)))
}

/// The texts of the bounds that are offsets.
fn offsets(frame: &WindowFrame) -> Vec<String> {
    let bounds = [&frame.start_bound, &frame.end_bound];
    let offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(ScalarValue::Utf8(Some(text)))
        | WindowFrameBound::Following(ScalarValue::Utf8(Some(text))) => Some(text.clone()),
        _ => None,
    };
    bounds.into_iter().filter_map(offset).collect()
}

/// Whether both ends are on one side of the row: such a frame may have no row, and the engine's aggregates then lose count of the rows
/// that enter and leave.
fn has_gaps(frame: &WindowFrame) -> bool {
    use WindowFrameBound::{Following, Preceding};
    match (&frame.start_bound, &frame.end_bound) {
        (Preceding(start), Preceding(end)) | (Following(start), Following(end)) => {
            !start.is_null() && !end.is_null()
        }
        _ => false,
    }
}

/// Without offsets a range is made of groups of equal rows: the engine takes any type for those.
fn of_groups(frame: &WindowFrame) -> WindowFrame {
    let unbounded = || ScalarValue::UInt64(None);
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(_) => WindowFrameBound::Preceding(unbounded()),
        WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
        WindowFrameBound::Following(_) => WindowFrameBound::Following(unbounded()),
    };
    let start = bound(&frame.start_bound);
    let end = bound(&frame.end_bound);
    WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end)
}

/// Whether the engine plans ranges of the type.
fn is_ranged(kind: &DataType) -> bool {
    use DataType::{Boolean, Date32, Date64, Timestamp};
    kind.is_numeric()
        || kind.is_string()
        || kind.is_null()
        || matches!(kind, Boolean | Date32 | Date64 | Timestamp(..))
}

/// The type in which a key is shifted by the offsets; `None` for its own.
fn shifted_as(kind: &DataType, offsets: &[String]) -> Result<Option<DataType>> {
    match kind {
        DataType::Date32 | DataType::Timestamp(..) => {
            if let Some(text) = offsets.iter().find(|text| text.contains('-')) {
                return Err(negative(text));
            }
            match offsets.iter().find(|text| is_number(text)) {
                Some(text) => Err(wrong_offset(kind, text, "an interval")),
                None => Ok(matches!(kind, DataType::Date32).then(crate::types::local)),
            }
        }
        kind if kind.is_numeric() => match offsets.iter().find(|text| !is_number(text)) {
            Some(text) => Err(wrong_offset(kind, text, "a number")),
            None if kind.is_floating() => Ok(None),
            None => Ok(decimal_of(kind, offsets)),
        },
        DataType::Null => Ok(None),
        other => Err(no_offset(other)),
    }
}

/// A decimal with room for the digits of the offsets and of the sum.
fn decimal_of(kind: &DataType, offsets: &[String]) -> Option<DataType> {
    let (whole, scale) = match kind {
        DataType::Decimal128(digits, scale) => {
            let scale = i16::from(*scale);
            (i16::from(*digits) - scale, scale)
        }
        kind if kind.is_integer() => (WHOLE_DIGITS, 0),
        _ => return None,
    };
    let digits = offsets.iter().map(|text| digits(text));
    let largest = digits.fold(Digits { whole, scale }, |one, other| Digits {
        whole: one.whole.max(other.whole),
        scale: one.scale.max(other.scale),
    });
    // All digits that there are: a sum of two such decimals is of the same type.
    let scale = i8::try_from(largest.scale).ok()?;
    let is_narrow = largest.whole + 1 + largest.scale <= i16::from(DIGITS_MAX);
    Some(match is_narrow {
        true => DataType::Decimal128(DIGITS_MAX, scale),
        false => DataType::Decimal256(WIDE_DIGITS_MAX, scale),
    })
}

/// How many digits a number has before and behind the point.
struct Digits {
    whole: i16,
    scale: i16,
}

fn digits(text: &str) -> Digits {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let count = |digits: &str| i16::try_from(digits.len()).unwrap_or(i16::MAX / 2);
    Digits {
        whole: count(whole),
        scale: count(part),
    }
}

/// Without an exponent, which would hide digits.
fn is_number(text: &str) -> bool {
    let mut bytes = text.trim().bytes();
    !text.is_empty() && bytes.all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn cast(key: &mut Sort, to: DataType) {
    let inner = std::mem::take(&mut key.expr);
    key.expr = Expr::Cast(Cast::new(Box::new(inner), to));
}

fn wrong_offset(kind: &DataType, text: &str, wanted: &str) -> DataFusionError {
    let kind = sql_name(kind);
    let message = format!("a RANGE frame over {kind} takes {wanted}, not '{text}'");
    let hint = "write RANGE BETWEEN 1.5 PRECEDING … for numbers, RANGE BETWEEN INTERVAL '1 day' PRECEDING … for dates and timestamps";
    external(Error::config("bad_sql", message).with_hint(hint))
}

fn gaps() -> DataFusionError {
    let message = "an aggregate over a RANGE frame that leaves out the row itself is not supported";
    let hint = "join the table with itself: ON b.k BETWEEN a.k - 10 AND a.k - 1, and group";
    external(Error::unsupported("sql_unsupported", message).with_hint(hint))
}

fn negative(text: &str) -> DataFusionError {
    let message = format!("the offset of a frame is not negative: '{text}'");
    let hint = "write FOLLOWING instead of PRECEDING, or the other way round";
    external(Error::config("bad_sql", message).with_hint(hint))
}

fn no_offset(kind: &DataType) -> DataFusionError {
    let kind = sql_name(kind);
    let message = format!("a RANGE frame with an offset over {kind} is not supported");
    let hint = "order by a number, date or timestamp, or write ROWS or GROUPS";
    external(Error::unsupported("sql_unsupported", message).with_hint(hint))
}
