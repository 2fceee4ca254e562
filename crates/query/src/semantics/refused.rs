//! Forms that the engine would answer wrongly and that are refused: a wrong answer is worse than none.
//!
//! | form | what the engine makes of it |
//! |---|---|
//! | `RIGHT` or `FULL JOIN … USING`, `NATURAL RIGHT/FULL JOIN` | the key is that of the left side, NULL where there is none |
//! | a grouping set that is there twice | one group of both, with counts of both |
//! | `nth_value(x, 0)`, `nth_value(x, -1)` | NULL, and a value counted from the end |
//! | `lead(…) IGNORE NULLS` | NULL where the next value lies behind the frame, or a null between |

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, JoinConstraint, JoinType, Result, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{Expr, GroupingSet, LogicalPlan};
use forebay_core::Error;

use crate::error::external;

/// # Errors
/// `Unsupported` `sql_unsupported` for the forms above.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    match plan {
        LogicalPlan::Join(join)
            if join.join_constraint == JoinConstraint::Using
                && matches!(join.join_type, JoinType::Right | JoinType::Full) =>
        {
            Err(refused(
                "RIGHT and FULL JOIN with USING or NATURAL",
                "write ON a.k = b.k, and coalesce(a.k, b.k) for the key",
            ))
        }
        LogicalPlan::Aggregate(groups) => check_sets(&groups.group_expr),
        LogicalPlan::Window(windows) => windows.window_expr.iter().try_for_each(check_window),
        _ => Ok(()),
    }
}

fn check_sets(groups: &[Expr]) -> Result<()> {
    let [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] = groups else {
        return Ok(());
    };
    let mut seen = BTreeSet::new();
    let named = sets.iter().map(|set| {
        let names = set.iter().map(|expr| expr.schema_name().to_string());
        names.collect::<BTreeSet<String>>()
    });
    for set in named {
        if !seen.insert(set) {
            return Err(refused(
                "a grouping set that is there twice",
                "write each set once, or join the statements with UNION ALL",
            ));
        }
    }
    Ok(())
}

fn check_window(expr: &Expr) -> Result<()> {
    expr.apply(|expr| match expr {
        Expr::WindowFunction(window) if is_nth_before_first(window) => {
            let message = "nth_value() takes a whole number of at least 1";
            Err(external(Error::config("bad_sql", message).with_hint(
                "write last_value(x), or the order of the window reversed, to count from the end",
            )))
        }
        Expr::WindowFunction(window) if is_lead_over_nulls(window) => Err(refused(
            "lead() IGNORE NULLS",
            "write lag() IGNORE NULLS over the reversed order",
        )),
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

fn is_lead_over_nulls(window: &WindowFunction) -> bool {
    let ignores = window.params.null_treatment == Some(NullTreatment::IgnoreNulls);
    ignores && window.fun.name().eq_ignore_ascii_case("lead")
}

/// The engine counts a negative place from the end of the frame, and has no value at 0.
fn is_nth_before_first(window: &WindowFunction) -> bool {
    let place = match window.params.args.get(1) {
        Some(Expr::Literal(place, _)) => place.cast_to(&DataType::Int64).ok(),
        _ => None,
    };
    window.fun.name().eq_ignore_ascii_case("nth_value")
        && matches!(place, Some(ScalarValue::Int64(Some(..=0))))
}

fn refused(what: &str, hint: &str) -> DataFusionError {
    let error = Error::unsupported("sql_unsupported", format!("{what} is not supported"));
    external(error.with_hint(hint))
}
