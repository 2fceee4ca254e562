//! Calls of functions that Postgres has and the engine does not, or has under a name with another meaning.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, Value, ValueWithSpan,
};
use forebay_core::Error;

use super::{call, text, unsupported};

/// Names of Postgres and the engine's functions that do the same. The engine's `array_remove` removes the first item only.
const NAMES: [(&str, &str); 5] = [
    ("variance", "var_samp"),
    ("sign", "signum"),
    ("every", "bool_and"),
    ("array_remove", "array_remove_all"),
    ("array_replace", "array_replace_all"),
];

/// Calls the engine's function for the name.
pub(super) fn rename(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    let name = function.name.to_string().to_lowercase();
    if name == "mod"
        && let Some((left, right)) = two(function)
    {
        let left = nested(left);
        let right = nested(right);
        *expr = Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::Modulo,
            right: Box::new(right),
        }));
    } else if let Some((_, own)) = NAMES.iter().find(|(known, _)| *known == name) {
        rename_to(function, own);
    }
}

/// The name in small letters.
pub(super) fn name_of(function: &Function) -> String {
    function.name.to_string().to_lowercase()
}

/// Gives a call another name in the same place.
pub(super) fn rename_to(function: &mut Function, name: &str) {
    let first = function.name.0.first().and_then(|part| part.as_ident());
    let mut ident = Ident::new(name);
    ident.span = first.map_or(ident.span, |first| first.span);
    function.name = ObjectName::from(vec![ident]);
}

pub(super) fn only_argument(function: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(only))] => Some(only),
        _ => None,
    }
}

/// Gives calls the arguments with which the engine's function does what Postgres does. Errors: `Unsupported` for an order of a list that
/// is not a literal: the engine reads it from the first row.
pub(super) fn settle(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    let Expr::Function(function) = expr else {
        return ControlFlow::Continue(());
    };
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &mut function.args else {
        return ControlFlow::Continue(());
    };
    let is_settled = match name.as_str() {
        "array_sort" | "list_sort" => sort_nulls_last(&mut list.args),
        "age" if list.args.len() == 1 => {
            let today = call("current_date", Vec::new());
            list.args.insert(0, unnamed(today));
            true
        }
        "encode" => {
            pad_base64(&mut list.args);
            true
        }
        _ => true,
    };
    match is_settled {
        true => ControlFlow::Continue(()),
        false => {
            let message = format!("{name}() with an order that is not a literal");
            let hint = "write 'ASC' or 'DESC', and 'NULLS FIRST' or 'NULLS LAST', in quotes";
            ControlFlow::Break(unsupported(expr, &message, hint))
        }
    }
}

/// Nulls are greater than values, as in `ORDER BY`. Postgres writes the order as two booleans.
fn sort_nulls_last(args: &mut Vec<FunctionArg>) -> bool {
    let Some(is_descending) = args
        .get(1)
        .map_or(Some(false), |arg| word(arg, "DESC", "ASC"))
    else {
        return false;
    };
    let Some(is_first) = args.get(2).map_or(Some(is_descending), |arg| {
        word(arg, "NULLS FIRST", "NULLS LAST")
    }) else {
        return false;
    };
    if (1..=3).contains(&args.len()) {
        args.truncate(1);
        let order = if is_descending { "DESC" } else { "ASC" };
        let nulls = if is_first {
            "NULLS FIRST"
        } else {
            "NULLS LAST"
        };
        args.extend([order, nulls].map(|word| unnamed(text(word))));
    }
    true
}

/// Whether a literal is the one word, or `true`; `None` where it is neither.
fn word(arg: &FunctionArg, yes: &str, no: &str) -> Option<bool> {
    match literal(arg)? {
        Value::Boolean(value) => Some(*value),
        Value::SingleQuotedString(text) if text.eq_ignore_ascii_case(yes) => Some(true),
        Value::SingleQuotedString(text) if text.eq_ignore_ascii_case(no) => Some(false),
        _ => None,
    }
}

/// Base64 has `=` at its end: the engine has it under another name.
fn pad_base64(args: &mut [FunctionArg]) {
    if let Some(format) = args.get_mut(1)
        && let Some(Value::SingleQuotedString(name)) = literal(format)
        && name.eq_ignore_ascii_case("base64")
    {
        *format = unnamed(text("base64pad"));
    }
}

fn literal(arg: &FunctionArg) -> Option<&Value> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(ValueWithSpan {
            value, ..
        }))) => Some(value),
        _ => None,
    }
}

fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn two(function: &Function) -> Option<(Expr, Expr)> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
        ] => Some((left.clone(), right.clone())),
        _ => None,
    }
}
