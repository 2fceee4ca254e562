//! `x IN (…, NULL)`: the null apart from the list. The engine merges lists that are joined by `AND` or `OR`, and forgets what a null in
//! one of them makes unknown.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, lit};

/// The nulls that a list had.
pub(super) enum ListNulls {
    None,
    /// Of `IN`, or of `NOT IN`.
    Some {
        is_negated: bool,
    },
}

/// A list without its nulls; other expressions as they are.
pub(super) fn split_nulls(expr: Expr) -> (Expr, ListNulls) {
    match expr {
        Expr::InList(mut of) if of.list.iter().any(is_null) && !of.list.iter().all(is_null) => {
            of.list.retain(|item| !is_null(item));
            let is_negated = of.negated;
            (Expr::InList(of), ListNulls::Some { is_negated })
        }
        other => (other, ListNulls::None),
    }
}

impl ListNulls {
    /// The list, unknown where it does not decide.
    pub(super) fn add_to(self, list: Transformed<Expr>) -> Transformed<Expr> {
        let unknown = lit(ScalarValue::Boolean(None));
        match self {
            Self::None => list,
            Self::Some { is_negated: true } => Transformed::yes(list.data.and(unknown)),
            Self::Some { is_negated: false } => Transformed::yes(list.data.or(unknown)),
        }
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        Expr::TryCast(cast) => is_null(&cast.expr),
        _ => false,
    }
}
