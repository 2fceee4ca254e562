//! Formats of times: Postgres patterns such as `YYYY-MM-DD` become those of strftime, which the engine takes.
//!
//! The engine gives a format without a `%` back as it is, so that rows would be grouped by the text `YYYY-MM`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};
use forebay_core::Error;

use super::{call, unsupported};
use crate::function::strftime::{STRFTIME_FORMAT, strftime};

const HINT: &str = "use YYYY, YY, MM, DD, HH24, HH12, MI, SS, MS, US, Mon, FMMonth, Dy, FMDay, DDD, IYYY, IW, ID, Q, AM, with other text in \
    double quotes, or a strftime format such as '%Y-%m-%d'";

/// Brings the formats of a call to strftime. Errors: `Unsupported` for one that cannot be.
pub(super) fn translate(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    let Expr::Function(function) = expr else {
        return ControlFlow::Continue(());
    };
    let name = function.name.to_string().to_lowercase();
    let of_postgres = match name.as_str() {
        "to_char"
        | "to_date"
        | "to_timestamp"
        | "to_timestamp_seconds"
        | "to_timestamp_millis"
        | "to_timestamp_micros"
        | "to_timestamp_nanos"
        | "to_unixtime"
        | "to_time" => true,
        // In other engines `mm` is minutes there.
        "date_format" => false,
        _ => return ControlFlow::Continue(()),
    };
    match translate_formats(function, of_postgres) {
        Ok(()) => ControlFlow::Continue(()),
        Err(message) => ControlFlow::Break(unsupported(expr, &message, HINT)),
    }
}

fn translate_formats(function: &mut Function, of_postgres: bool) -> Result<(), String> {
    let FunctionArguments::List(list) = &mut function.args else {
        return Ok(());
    };
    for arg in list.args.iter_mut().skip(1) {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(format)) = arg else {
            continue;
        };
        match format {
            Expr::Value(value) => {
                if let Value::SingleQuotedString(text) = &mut value.value
                    && !text.contains('%')
                {
                    *text = match of_postgres {
                        true => strftime(text)?,
                        false => return Err(format!("the format '{text}' has no `%`")),
                    };
                }
            }
            other => *other = call(STRFTIME_FORMAT, vec![other.clone()]),
        }
    }
    Ok(())
}
