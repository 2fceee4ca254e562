//! Derived tables whose rows the row outside chooses: `FROM (SELECT … WHERE y.k = x.k) AS z`.
//!
//! The engine lifts such a condition with the columns that it reads, but a table alias above keeps its schema and hides them. A
//! projection with the same names does not.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Subquery, SubqueryAlias};

use super::{is_correlated, subquery_of};

/// The expression over a subquery without aliases of such tables.
pub(super) fn without_aliases(expr: Expr) -> Result<Expr> {
    Ok(match expr {
        Expr::ScalarSubquery(subquery) => Expr::ScalarSubquery(projected(subquery)?),
        Expr::Exists(exists) => {
            Expr::Exists(Exists::new(projected(exists.subquery)?, exists.negated))
        }
        Expr::InSubquery(member) => Expr::InSubquery(InSubquery::new(
            member.expr,
            projected(member.subquery)?,
            member.negated,
        )),
        other => other,
    })
}

fn projected(subquery: Subquery) -> Result<Subquery> {
    if !is_correlated(&subquery.subquery) {
        return Ok(subquery);
    }
    let plan = subquery.subquery.as_ref().clone();
    let plan = plan.transform_up(|plan| match plan {
        LogicalPlan::SubqueryAlias(alias) if is_correlated(&alias.input) => {
            projection(&alias).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(subquery_of(plan.data()?, &subquery))
}

fn projection(alias: &SubqueryAlias) -> Result<LogicalPlan> {
    let columns = alias.input.schema().columns().into_iter();
    let columns = columns.map(|column| {
        let name = column.name.clone();
        match column.relation.as_ref() == Some(&alias.alias) {
            // Under its own name: the engine would add it again.
            true => Expr::Column(column),
            false => Expr::Column(column).alias_qualified(Some(alias.alias.clone()), name),
        }
    });
    let projection = Projection::try_new(columns.collect(), Arc::clone(&alias.input))?;
    Ok(LogicalPlan::Projection(projection))
}
