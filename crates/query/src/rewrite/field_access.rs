//! `items[1].sku` and `(item).sku`: the planner reads such a field in brackets only, as `items[1]['sku']`. And slices without a bound,
//! `items[2:]`: it wants both.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Subscript, UnaryOperator, Value, ValueWithSpan,
};

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
        with_bounds(access);
    }
}

/// From the first item, to the last one.
fn with_bounds(access: &mut AccessExpr) {
    if let AccessExpr::Subscript(Subscript::Slice {
        lower_bound,
        upper_bound,
        ..
    }) = access
    {
        lower_bound.get_or_insert_with(|| whole(1));
        upper_bound.get_or_insert_with(|| Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(whole(1)),
        });
    }
}

fn whole(number: u8) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
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
