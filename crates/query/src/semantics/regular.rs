//! `~` and its siblings with a pattern from a column: the function of the engine, whose compiled patterns are bounded.

use datafusion::common::ScalarValue;
use datafusion::functions::regex::regexp_like;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};

/// `None` for other expressions, and for a constant pattern, which is compiled once.
pub(super) fn like_of_column(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return None;
    };
    let flags = match op {
        Operator::RegexMatch | Operator::RegexNotMatch => None,
        Operator::RegexIMatch | Operator::RegexNotIMatch => Some(lit("i")),
        _ => return None,
    };
    if !right.any_column_refs() {
        return None;
    }
    let mut args = vec![left.as_ref().clone(), right.as_ref().clone()];
    args.extend(flags);
    let like = regexp_like().call(args);
    Some(match op {
        Operator::RegexNotMatch | Operator::RegexNotIMatch => Expr::Not(Box::new(like)),
        _ => like,
    })
}

/// An empty group, with which the engine takes a pattern as it is.
const AS_IT_IS: &str = "()";

/// A constant pattern that the engine would replace by another condition: `.*` does not match an empty text or a null then, and what
/// ignores case does not. `None` for other expressions.
pub(super) fn kept_pattern(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return None;
    };
    let Expr::Literal(value, metadata) = right.as_ref() else {
        return None;
    };
    let pattern = value.try_as_str()??;
    let is_replaced = match op {
        Operator::RegexMatch | Operator::RegexNotMatch => pattern == ".*",
        Operator::RegexIMatch | Operator::RegexNotIMatch => !pattern.starts_with(AS_IT_IS),
        _ => return None,
    };
    let pattern = ScalarValue::Utf8(Some(format!("{AS_IT_IS}{pattern}")));
    is_replaced.then(|| {
        let right = Box::new(Expr::Literal(pattern, metadata.clone()));
        Expr::BinaryExpr(BinaryExpr::new(left.clone(), *op, right))
    })
}
