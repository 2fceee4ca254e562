//! A minus before a power or an interval, which the parser and the planner take otherwise than Postgres.
//!
//! `-2 ^ 2` is the power of -2: a sign binds more than `^`. `- interval '1 month 2 days'` negates both parts: the planner would put the
//! sign before the text, and so before the first part only. An expression in parentheses has a node of its own, and is left alone.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

/// Settles the signs of an expression. For expressions from the outside in.
pub(super) fn settle(expr: &mut Expr) {
    let Expr::UnaryOp {
        op: UnaryOperator::Minus,
        expr: signed,
    } = expr
    else {
        return;
    };
    match signed.as_mut() {
        Expr::Interval(_) => {
            let interval = take(signed);
            **signed = Expr::Nested(Box::new(interval));
        }
        power if is_power(power) => {
            let mut power = take(power);
            let base = base_of(&mut power);
            *base = Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(take(base)),
            };
            *expr = power;
        }
        _ => {}
    }
}

fn is_power(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::BinaryOp {
            op: BinaryOperator::BitwiseXor | BinaryOperator::PGExp,
            ..
        }
    )
}

/// The first operand of `a ^ b ^ c`.
fn base_of(expr: &mut Expr) -> &mut Expr {
    if !is_power(expr) {
        return expr;
    }
    match expr {
        Expr::BinaryOp { left, .. } => base_of(left),
        other => other,
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}
