//! Correlated subqueries. The engine makes joins of them, in filters only, and some of its joins are wrong.
//!
//! Here they are rewritten so that it joins them correctly: [`form`] removes irrelevant nodes and gives aggregates their one row, [`mark`]
//! makes joins for subqueries outside of filters, [`numbered`] for aggregates that any condition chooses, [`lateral`] for
//! `LATERAL`. Subqueries that would be joined wrongly are refused.

mod derived;
mod form;
mod lateral;
mod mark;
mod names;
mod numbered;
mod row;
mod row_bound;
mod single;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit};
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;

pub(super) use form::{above_join, has_one_row, plain};

/// The rules with the names that they give.
#[derive(Debug)]
pub(super) struct Subqueries {
    made: AtomicUsize,
    /// Whether groups over the rows of a statement are refused, as for a transform, which sees one batch of them.
    refuses_groups: bool,
}

impl Subqueries {
    pub(super) fn new(refuses_groups: bool) -> Self {
        Self {
            made: AtomicUsize::default(),
            refuses_groups,
        }
    }

    /// For plans whose memberships are tests for rows already.
    pub(super) fn rewrite(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let plan = form::existences(plan)?;
        let plan = plan.transform_data(form::counted_existences)?;
        let plan = plan.transform_data(|plan| self.marked(plan))?;
        plan.transform_data(|plan| self.lateral(plan))
    }

    /// A name that no other part of the plan has.
    fn alias(&self, kind: &str) -> String {
        format!("__{kind}_{}", self.made.fetch_add(1, Ordering::Relaxed))
    }
}

/// The rows of a subquery without its conditions on the row outside, which are those of a join.
struct PulledUp {
    rows: LogicalPlan,
    condition: Expr,
}

impl PulledUp {
    /// `None` when a condition cannot be lifted from its place.
    fn new(subquery: &LogicalPlan, alias: &str, is_existence: bool) -> Result<Option<Self>> {
        let mut lifted = PullUpCorrelatedExpr::new().with_exists_sub_query(is_existence);
        let rows = subquery.clone().rewrite(&mut lifted).data()?;
        if !lifted.can_pull_up {
            return Ok(None);
        }
        let columns = lifted.correlated_subquery_cols_map.into_values();
        let columns: BTreeSet<Column> = columns.flatten().collect();
        let condition = conjunction(lifted.join_filters).unwrap_or_else(|| lit(true));
        let condition = condition.transform_up(|expr| {
            Ok(match expr {
                Expr::Column(column) if columns.contains(&column) => {
                    Transformed::yes(Expr::Column(Column::new(Some(alias), column.name)))
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(Some(Self {
            rows: LogicalPlanBuilder::from(rows).alias(alias)?.build()?,
            condition: condition.data,
        }))
    }
}

/// Whether the engine can make a join of a subquery that is a value.
fn can_be_joined(subquery: &LogicalPlan) -> bool {
    let mut lifted = PullUpCorrelatedExpr::new().with_need_handle_count_bug(true);
    subquery.clone().rewrite(&mut lifted).is_ok() && lifted.can_pull_up
}

fn is_correlated(plan: &LogicalPlan) -> bool {
    !plan.all_out_ref_exprs().is_empty()
}

/// A subquery over the plan, with its references to the row outside.
fn subquery_of(plan: LogicalPlan, like: &Subquery) -> Subquery {
    Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: like.spans.clone(),
    }
}
