//! Arguments in the type in which a function is right: the engine's takes others, and gives a wrong value without a word.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::WindowFunctionDefinition;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable};

use crate::function::interval;

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
                WindowFunctionDefinition::WindowUDF(_) => false,
            };
            changed(Expr::WindowFunction(window), is_cast)
        }
        Expr::ScalarFunction(mut call) => {
            let is_cast = match call.func.name() {
                "date_part" => days_apart(&mut call.args, schema),
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

/// The engine computes in 32 bits what is no double.
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

/// The engine gives a power the type of its base, and cuts, or overflows, without a word what has no place there; the logarithm
/// of a decimal is a whole number, or NaN.
fn doubles_of_decimals(args: &mut [Expr], schema: &DFSchema) -> bool {
    let is_decimal = |arg: &Expr| matches!(arg.get_type(schema), Ok(kind) if kind.is_decimal());
    args.iter().any(is_decimal) && doubles(args, schema)
}

fn cast(expr: &mut Expr, to: DataType) {
    let inner = std::mem::take(expr);
    *expr = Expr::Cast(Cast::new(Box::new(inner), to));
}
