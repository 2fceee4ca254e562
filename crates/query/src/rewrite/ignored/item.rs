//! Items of a select list.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{SelectItem, WildcardAdditionalOptions};

use super::{Checked, refuse};

/// Errors: `Unsupported` for an option of `*` that would be ignored.
pub(super) fn check(item: &SelectItem) -> Checked {
    let options = match item {
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { expr: _, alias: _ } => {
            return ControlFlow::Continue(());
        }
        SelectItem::QualifiedWildcard(_, options) | SelectItem::Wildcard(options) => options,
    };
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude: _,
        opt_except: _,
        opt_replace: _,
        // Refused by the planner.
        opt_rename: _,
    } = options;
    match opt_ilike {
        Some(ilike) => refuse(item, format!("* {ilike}"), "name the columns"),
        None => ControlFlow::Continue(()),
    }
}
