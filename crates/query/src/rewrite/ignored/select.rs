//! Clauses of one `SELECT`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ConnectByKind, GroupByExpr, GroupByWithModifier, Select};

use super::{Checked, item, refuse, table};

/// Errors: `Unsupported` for a clause that would be ignored.
pub(super) fn check(select: &Select) -> Checked {
    let Select {
        select_token: _,
        // A comment.
        optimizer_hint: _,
        distinct: _,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection,
        exclude,
        into,
        from,
        // Refused by the planner.
        lateral_views: _,
        prewhere,
        selection: _,
        connect_by,
        group_by,
        // Refused by the planner, but for the second, which decides where rows are computed.
        cluster_by: _,
        distribute_by: _,
        sort_by: _,
        having: _,
        // In place of their names by then.
        named_window: _,
        qualify: _,
        window_before_qualify: _,
        value_table_mode,
        // Written as a standard one.
        flavor: _,
    } = select;
    if let Some(modifiers) = select_modifiers {
        return refuse(select, modifiers, "leave it out");
    }
    if top.is_some() {
        return refuse(select, "TOP", "write LIMIT at the end");
    }
    if let Some(exclude) = exclude {
        return refuse(select, exclude, "write it behind *: SELECT * EXCLUDE (a)");
    }
    if let Some(into) = into {
        let hint = "SQL here only reads; data changes through pipelines (`forebay run`)";
        return refuse(select, format!("SELECT … {into}"), hint);
    }
    if prewhere.is_some() {
        return refuse(select, "PREWHERE", "write WHERE");
    }
    if let Some(clause) = connect_by.first() {
        return check_hierarchy(select, clause);
    }
    if let Some(mode) = value_table_mode {
        return refuse(select, format!("SELECT {mode}"), "leave it out");
    }
    check_groups(select, group_by)?;
    projection.iter().try_for_each(item::check)?;
    from.iter().try_for_each(table::check_joins)
}

fn check_hierarchy(select: &Select, clause: &ConnectByKind) -> Checked {
    let what = match clause {
        ConnectByKind::ConnectBy { .. } => "CONNECT BY",
        ConnectByKind::StartWith { .. } => "START WITH",
    };
    let hint = "write WITH RECURSIVE t AS (SELECT … UNION ALL SELECT … FROM t JOIN …)";
    refuse(select, what, hint)
}

fn check_groups(select: &Select, groups: &GroupByExpr) -> Checked {
    let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = groups;
    let Some(modifier) = modifiers.first() else {
        return ControlFlow::Continue(());
    };
    let hint = match modifier {
        GroupByWithModifier::Rollup | GroupByWithModifier::Totals => "write GROUP BY ROLLUP (a, b)",
        GroupByWithModifier::Cube => "write GROUP BY CUBE (a, b)",
        GroupByWithModifier::GroupingSets(_) => "write GROUP BY GROUPING SETS (…) alone",
    };
    refuse(select, format!("GROUP BY … {modifier}"), hint)
}
