//! Parts of dates and times that a statement names: `extract(year FROM x)`, `date_part('year', x)`, `date_trunc('year', x)`.
//!
//! The functions meet a wrong name only with the first row, where it would look like a wrong value.

use std::ops::ControlFlow;
use std::str::FromStr;

use arrow::compute::kernels::cast_utils::IntervalUnit;
use datafusion::sql::sqlparser::ast::{
    DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use forebay_core::Error;

use super::calls::name_of;
use super::misused;
use crate::error::nearest;
use crate::function::truncate::{UNITS, is_unit};

/// The parts that can be read; each has shorter names, too.
const PARTS: [&str; 15] = [
    "year",
    "isoyear",
    "quarter",
    "month",
    "week",
    "day",
    "dow",
    "isodow",
    "doy",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "epoch",
];

/// A list of names that a call may have as its first argument.
struct PartNames {
    names: &'static [&'static str],
    /// `part` or `unit`.
    kind: &'static str,
}

const READ: PartNames = PartNames {
    names: &PARTS,
    kind: "part",
};

const TRUNCATED: PartNames = PartNames {
    names: &UNITS,
    kind: "unit",
};

/// Errors: `Config` `bad_sql` for a part that there is not. One that is computed is checked with the rows.
pub(super) fn check(expr: &Expr) -> ControlFlow<Box<Error>> {
    match expr {
        Expr::Extract { field, expr, .. } => check_field(field, expr.span()),
        Expr::Function(function) => check_call(function),
        _ => ControlFlow::Continue(()),
    }
}

fn check_field(field: &DateTimeField, value: Span) -> ControlFlow<Box<Error>> {
    // The parser notes no place of a known name, nor of one in quotes.
    let span = match field {
        DateTimeField::Custom(name) if name.span != Span::empty() => name.span,
        _ => value,
    };
    check_part(&field.to_string(), span)
}

fn check_call(function: &Function) -> ControlFlow<Box<Error>> {
    let Some((name, span)) = first_literal(function) else {
        return ControlFlow::Continue(());
    };
    match name_of(function).as_str() {
        "date_part" | "datepart" => check_part(name, span),
        "date_trunc" | "datetrunc" if !is_unit(name) => {
            let message = format!("date_trunc() has no unit '{name}'");
            refuse(&message, name, span, &TRUNCATED)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn check_part(name: &str, span: Span) -> ControlFlow<Box<Error>> {
    let name = name.trim_matches(['\'', '"']);
    if is_part(&name.to_lowercase()) {
        return ControlFlow::Continue(());
    }
    let message = format!("there is no part '{name}' of a date or time");
    refuse(&message, name, span, &READ)
}

/// Whether the engine reads the part, also under a shorter name.
fn is_part(name: &str) -> bool {
    let is_unit = || match IntervalUnit::from_str(name) {
        Ok(unit) => !matches!(unit, IntervalUnit::Century | IntervalUnit::Decade),
        Err(_) => false,
    };
    PARTS.contains(&name) || name == "qtr" || is_unit()
}

fn refuse(message: &str, name: &str, span: Span, known: &PartNames) -> ControlFlow<Box<Error>> {
    let name = name.trim().to_lowercase();
    let meant = nearest(&name, known.names.iter().copied());
    let meant = meant.map_or_else(String::new, |meant| format!("did you mean {meant}? "));
    let hint = format!("{meant}the {}s are {}", known.kind, known.names.join(", "));
    ControlFlow::Break(misused(span, message, &hint))
}

/// The text that a call has as its first argument.
fn first_literal(function: &Function) -> Option<(&str, Span)> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) = list.args.first()
    else {
        return None;
    };
    match &value.value {
        Value::SingleQuotedString(text) => Some((text, value.span)),
        _ => None,
    }
}
