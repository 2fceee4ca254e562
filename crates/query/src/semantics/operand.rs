//! Arguments in the type in which a function is right: the engine's takes others, and gives a wrong value without a word.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::WindowFunctionDefinition;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable};

use crate::function::nested::common;
use crate::function::{interval, parse};

/// Digits of the largest decimal.
const DIGITS_MAX: u8 = 38;

/// The expression with its arguments cast.
pub(super) fn settle(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::AggregateFunction(mut call) => {
            let is_cast = widen(call.func.name(), &mut call.params.args, schema);
            changed(Expr::AggregateFunction(call), is_cast)
        }
        Expr::WindowFunction(mut window) => {
            let is_cast = match &window.fun {
                WindowFunctionDefinition::AggregateUDF(func) => {
                    widen(func.name(), &mut window.params.args, schema)
                }
                WindowFunctionDefinition::WindowUDF(func) => {
                    matches!(func.name(), "lag" | "lead")
                        && fit_default(&mut window.params.args, schema)
                }
            };
            changed(Expr::WindowFunction(window), is_cast)
        }
        Expr::ScalarFunction(mut call) => {
            let is_cast = match call.func.name() {
                "date_part" if is_epoch_of_interval(&call.args, schema) => {
                    let interval = call.args.pop().unwrap_or_default();
                    return Transformed::yes(interval::epoch().shared().call(vec![interval]));
                }
                "date_part" => days_apart(&mut call.args, schema),
                "to_unixtime" => instant_of_text(&mut call.args, schema),
                "atan2" | "nanvl" => doubles(&mut call.args, schema),
                "power" | "log" => doubles_of_decimals(&mut call.args, schema),
                _ => false,
            };
            changed(Expr::ScalarFunction(call), is_cast)
        }
        other => Transformed::no(other),
    }
}

fn changed(expr: Expr, is_changed: bool) -> Transformed<Expr> {
    match is_changed {
        true => Transformed::yes(expr),
        false => Transformed::no(expr),
    }
}

/// The middle of two whole numbers has a half, that of two decimals one digit more: the engine cuts it.
fn widen(name: &str, args: &mut [Expr], schema: &DFSchema) -> bool {
    let has_middle = matches!(
        name,
        "median"
            | "approx_median"
            | "approx_percentile_cont"
            | "approx_percentile_cont_with_weight"
    );
    let Some(first) = args.first_mut().filter(|_| has_middle) else {
        return false;
    };
    let to = match first.get_type(schema) {
        Ok(kind) if kind.is_integer() => DataType::Float64,
        Ok(DataType::Decimal128(digits, scale)) if name == "median" && scale < 38 => {
            DataType::Decimal128((digits + 1).min(DIGITS_MAX), scale + 1)
        }
        _ => return false,
    };
    cast(first, to);
    true
}

/// Whether it is the seconds of an interval, whose years the engine counts as 360 days.
fn is_epoch_of_interval(args: &[Expr], schema: &DFSchema) -> bool {
    let [Expr::Literal(field, _), interval] = args else {
        return false;
    };
    let field = field.try_as_str().flatten();
    field.is_some_and(|field| field.eq_ignore_ascii_case("epoch"))
        && matches!(
            interval.get_type(schema),
            Ok(DataType::Interval(_) | DataType::Duration(_))
        )
}

/// A difference of timestamps has days and a time of day, as in Postgres; the engine counts all of its hours beside its days.
fn days_apart(args: &mut [Expr], schema: &DFSchema) -> bool {
    let Some(last) = args.last_mut() else {
        return false;
    };
    let is_difference = matches!(last.get_type(schema), Ok(DataType::Duration(_)));
    if is_difference {
        let difference = std::mem::take(last);
        *last = interval::days_and_time().shared().call(vec![difference]);
    }
    is_difference
}

/// The engine reads a text as nanoseconds, which end at the year 2262.
fn instant_of_text(args: &mut Vec<Expr>, schema: &DFSchema) -> bool {
    let is_text = |arg: &Expr| arg.get_type(schema).is_ok_and(|kind| kind.is_string());
    let is_read = args.first().is_some_and(is_text);
    if is_read {
        let instant = parse::to_timestamp().call(std::mem::take(args));
        args.push(instant);
    }
    is_read
}

/// `lag` and `lead` in a type that holds their default too: the engine cuts it to the type of the column.
fn fit_default(args: &mut [Expr], schema: &DFSchema) -> bool {
    let [value, _, default] = args else {
        return false;
    };
    let (Ok(kind), Ok(of_default)) = (value.get_type(schema), default.get_type(schema)) else {
        return false;
    };
    if kind.is_string() || kind.is_null() || of_default.is_null() || fits(default, &kind) {
        return false;
    }
    match common(&kind, &of_default) {
        Some(to) if to != kind => {
            cast(value, to);
            true
        }
        _ => false,
    }
}

/// Whether a whole number, which is a bigint where it is written out, is one of a smaller type too.
fn fits(number: &Expr, kind: &DataType) -> bool {
    match number {
        Expr::Literal(number, _) if kind.is_integer() && number.data_type().is_integer() => {
            let cast = number.cast_to(kind);
            cast.is_ok_and(|cast| !cast.is_null())
        }
        Expr::Negative(number) => fits(number, kind),
        _ => false,
    }
}

/// The engine computes other types than double in 32 bits.
fn doubles(args: &mut [Expr], schema: &DFSchema) -> bool {
    let is_real = |arg: &Expr| matches!(arg.get_type(schema), Ok(DataType::Float32));
    if args.iter().all(is_real) {
        return false;
    }
    for arg in args.iter_mut() {
        if !matches!(arg.get_type(schema), Ok(DataType::Float64)) {
            cast(arg, DataType::Float64);
        }
    }
    true
}

/// The engine gives a power the type of its base, and truncates, or overflows, silently; the logarithm
/// of a decimal is a whole number, or NaN.
fn doubles_of_decimals(args: &mut [Expr], schema: &DFSchema) -> bool {
    let is_decimal = |arg: &Expr| matches!(arg.get_type(schema), Ok(kind) if kind.is_decimal());
    args.iter().any(is_decimal) && doubles(args, schema)
}

fn cast(expr: &mut Expr, to: DataType) {
    let inner = std::mem::take(expr);
    *expr = Expr::Cast(Cast::new(Box::new(inner), to));
}
