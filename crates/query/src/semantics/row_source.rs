//! Inputs that the engine's rules for subqueries take for something else.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{
    EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, Projection, lit,
};

/// The plan with an input that the rules keep as it is: the one row of a `SELECT` without `FROM`, which would go with a subquery that
/// has none or with the mark of a test, and under a window function the columns without the mark that tells whether a subquery had the row.
pub(super) fn settled(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_)
            if is_one_row(plan.inputs()[0]) && plan.expressions().iter().any(has_subquery) =>
        {
            let row = LogicalPlanBuilder::values(vec![vec![lit(true)]])?.build()?;
            with_input(&plan, row)
        }
        LogicalPlan::Window(window) if has_mark(&window.input) => {
            let columns = window.input.schema().columns();
            let columns = columns.into_iter().map(Expr::Column).collect();
            let input = Projection::try_new(columns, window.input.clone())?;
            with_input(&plan, LogicalPlan::Projection(input))
        }
        _ => Ok(Transformed::no(plan)),
    }
}

/// Whether an expression is a subquery that the engine takes for a value that is never null, although it may have no row.
pub(super) fn may_have_no_row(expr: &Expr) -> bool {
    let Expr::ScalarSubquery(value) = expr else {
        return false;
    };
    let mut fields = value.subquery.schema().fields().iter();
    fields.all(|field| !field.is_nullable()) && !is_one_group(&value.subquery)
}

/// Whether a plan has one row, whatever it reads.
fn is_one_group(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_one_group(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_one_group(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        other => is_one_row(other),
    }
}

fn with_input(plan: &LogicalPlan, input: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = plan.with_new_exprs(plan.expressions(), vec![input])?;
    Ok(Transformed::yes(plan))
}

fn is_one_row(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: true,
            ..
        })
    )
}

fn has_mark(input: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = input else {
        return false;
    };
    let is_test = |expr: &Expr| matches!(expr, Expr::InSubquery(_) | Expr::Exists(_));
    let has_test = filter.predicate.exists(|expr| Ok(is_test(expr)));
    has_test.unwrap_or(false)
}

fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
        )
    };
    let found = expr.exists(|expr| Ok(is_subquery(expr)));
    found.unwrap_or(false)
}
