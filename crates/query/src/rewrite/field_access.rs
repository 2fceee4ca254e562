//! `items[1].sku` and `(item).sku`: the planner reads such a field in brackets only, as `items[1]['sku']`.

use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Subscript, Value, ValueWithSpan};

/// Writes the fields behind a subscript, a call or parentheses in brackets. Those that follow a name belong to it: `t.items[1]`.
pub(super) fn settle(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return;
    };
    let is_named = matches!(
        root.as_ref(),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_)
    );
    let is_dot = |access: &&mut AccessExpr| matches!(access, AccessExpr::Dot(_));
    let accesses = access_chain.iter_mut();
    for access in accesses.skip_while(|access| is_named && is_dot(access)) {
        in_brackets(access);
    }
}

fn in_brackets(access: &mut AccessExpr) {
    let AccessExpr::Dot(Expr::Identifier(field)) = access else {
        return;
    };
    // Names are read as lower case, unless they are in quotes.
    let name = match field.quote_style {
        Some(_) => field.value.clone(),
        None => field.value.to_ascii_lowercase(),
    };
    let name = ValueWithSpan {
        value: Value::SingleQuotedString(name),
        span: field.span,
    };
    *access = AccessExpr::Subscript(Subscript::Index {
        index: Expr::Value(name),
    });
}
