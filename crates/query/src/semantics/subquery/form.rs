//! The forms of subqueries that the engine joins rightly.
//!
//! An aggregate without `GROUP BY` has one row for every row outside, also where nothing inside fits it, which a join forgets.
//! `LIMIT` and window functions count the rows of all rows outside together once their condition is lifted above them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, FetchType, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, SkipType, Subquery,
    lit,
};
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;
use datafusion::prelude::coalesce;
use forebay_core::Error;

use super::derived::without_aliases;
use super::names::apart;
use super::numbered::can_be_numbered;
use super::row::with_visible_row;
use super::single::{first_row, may_have_several, with_one_row};
use super::{can_be_joined, is_correlated, subquery_of};
use crate::error::{external, subquery_unsupported};
use crate::semantics::map_named;

/// The expression with `x IN (SELECT count(*) …)` as a comparison: the subquery has one row, always.
///
/// Errors: `Unsupported` for subqueries that would be joined wrongly. `outside` are the columns of the row outside.
pub(in crate::semantics) fn plain(expr: Expr, outside: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        match &expr {
            Expr::InSubquery(InSubquery { subquery, .. }) | Expr::ScalarSubquery(subquery) => {
                check(&subquery.subquery)?;
                check_level(subquery, outside)?;
            }
            Expr::Exists(exists) => check_level(&exists.subquery, outside)?,
            _ => {}
        }
        match apart(without_aliases(expr)?)? {
            Expr::InSubquery(member) => compared(member),
            Expr::ScalarSubquery(value) if is_correlated(&value.subquery) => {
                correlated(value).map(Transformed::yes)
            }
            Expr::ScalarSubquery(value) => Ok(match with_one_row(&value.subquery)? {
                Some(plan) => Transformed::yes(Expr::ScalarSubquery(subquery_of(plan, &value))),
                None => Transformed::no(Expr::ScalarSubquery(value)),
            }),
            other => Ok(Transformed::no(other)),
        }
    })
}

/// A subquery with one row for each row outside; one that may have several is left to [`Subqueries::marked`](super::Subqueries).
fn correlated(value: Subquery) -> Result<Expr> {
    let plan = match first_row(&value.subquery)? {
        Some(plan) => plan,
        None => with_visible_row(value.subquery.as_ref().clone())?,
    };
    let value = subquery_of(plan, &value);
    if !may_have_several(&value.subquery) && !can_be_numbered(&value.subquery) {
        check_value(&value.subquery)?;
    }
    Ok(Expr::ScalarSubquery(value))
}

/// Errors: for a correlated subquery that is a value and that the engine cannot join, or joins wrongly.
pub(super) fn check_value(subquery: &LogicalPlan) -> Result<()> {
    check_empty(subquery)?;
    match can_be_joined(subquery) {
        true => Ok(()),
        false => Err(external(subquery_unsupported())),
    }
}

/// The same for a value that no other rule joins.
fn check_joined(subquery: &LogicalPlan) -> Result<()> {
    match is_correlated(subquery) && !can_be_numbered(subquery) {
        true => check_value(subquery),
        false => Ok(()),
    }
}

/// Errors: for a test for rows whose conditions cannot be lifted, as above groups those that are no equality.
fn check_lifted(rows: &LogicalPlan) -> Result<()> {
    let mut lifted = PullUpCorrelatedExpr::new().with_exists_sub_query(true);
    let is_lifted = rows.clone().rewrite(&mut lifted).is_ok() && lifted.can_pull_up;
    match is_lifted {
        true => Ok(()),
        false => Err(external(subquery_unsupported())),
    }
}

/// Aggregates that are a number where no row is, as the engine does not know: it makes NULL of that.
const COUNTING: [&str; 2] = ["regr_count", "approx_distinct"];

/// Errors: for a subquery whose value over no rows would be wrong.
fn check_empty(subquery: &LogicalPlan) -> Result<()> {
    subquery.apply(|plan| {
        let LogicalPlan::Aggregate(groups) = plan else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let is_counting = |expr: &Expr| {
            matches!(expr, Expr::AggregateFunction(call) if COUNTING.contains(&call.func.name()))
        };
        for expr in &groups.aggr_expr {
            if expr.exists(|expr| Ok(is_counting(expr)))? {
                return Err(refused("regr_count() or approx_distinct()"));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Errors: for a subquery that refers to a row further out.
fn check_level(subquery: &Subquery, outside: &DFSchema) -> Result<()> {
    let is_outside = |expr: &Expr| match expr {
        Expr::OuterReferenceColumn(_, column) => outside.has_column(column),
        _ => true,
    };
    match subquery.outer_ref_columns.iter().all(is_outside) {
        true => Ok(()),
        false => Err(refused("a column of the statement around both")),
    }
}

/// The conditions of an inner join that have subqueries as a filter above it, where the engine can join them.
pub(in crate::semantics) fn above_join(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = plan else {
        return Ok(Transformed::no(plan));
    };
    let Some(filter) = join.filter.take_if(|_| join.join_type == JoinType::Inner) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let parts = split_conjunction_owned(filter).into_iter();
    let (above, kept): (Vec<Expr>, Vec<Expr>) = parts.partition(has_subquery);
    join.filter = conjunction(kept);
    let plan = LogicalPlan::Join(join);
    Ok(match conjunction(above) {
        Some(above) => Transformed::yes(LogicalPlan::Filter(Filter::try_new(above, plan.into())?)),
        None => Transformed::no(plan),
    })
}

fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |expr: &Expr| {
        matches!(
            expr,
            Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_)
        )
    };
    expr.exists(|expr| Ok(is_subquery(expr))).unwrap_or(false)
}

fn compared(member: InSubquery) -> Result<Transformed<Expr>> {
    let rows = member.subquery.subquery.as_ref();
    if has_one_row(rows) {
        let value = match is_correlated(rows) {
            true => correlated(member.subquery)?,
            false => Expr::ScalarSubquery(member.subquery),
        };
        return Ok(Transformed::yes(match member.negated {
            true => (*member.expr).not_eq(value),
            false => (*member.expr).eq(value),
        }));
    }
    match condition_of_aggregate(rows)? {
        Some(_) => Err(refused("HAVING without GROUP BY")),
        None => Ok(Transformed::no(Expr::InSubquery(member))),
    }
}

/// The plan with every `EXISTS` in a form that can be joined.
pub(super) fn existences(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    map_named(plan, |expr| {
        expr.transform_up(|expr| match expr {
            Expr::Exists(exists) if is_correlated(&exists.subquery.subquery) => {
                existence(exists).map(Transformed::yes)
            }
            other => Ok(Transformed::no(other)),
        })
    })
}

/// The plan with a count in place of each `EXISTS` that no row outside decides, but for conditions of a filter: the mark of a join with
/// nothing to compare has no relation, and of two the engine confuses the marks.
pub(super) fn counted_existences(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let is_filter = matches!(plan, LogicalPlan::Filter(_));
    map_named(plan, |expr| {
        if !is_filter {
            return counted_existence(expr);
        }
        let parts = split_conjunction_owned(expr).into_iter();
        let parts = parts.map(|part| match is_test(&part) {
            true => Ok(part),
            false => counted_existence(part).data(),
        });
        let parts = conjunction(parts.collect::<Result<Vec<_>>>()?);
        Ok(Transformed::yes(parts.unwrap_or_else(|| lit(true))))
    })
}

fn is_test(part: &Expr) -> bool {
    match part {
        Expr::Not(inner) => matches!(inner.as_ref(), Expr::Exists(_)),
        other => matches!(other, Expr::Exists(_)),
    }
}

fn counted_existence(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::Exists(exists) if !is_correlated(&exists.subquery.subquery) => {
            let rows = exists.subquery.subquery.as_ref().clone();
            let first = LogicalPlanBuilder::from(rows).limit(0, Some(1))?.build()?;
            let test = more_than(0, first, &exists.subquery)?;
            Ok(Transformed::yes(match exists.negated {
                true => Expr::Not(Box::new(test)),
                false => test,
            }))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn existence(exists: Exists) -> Result<Expr> {
    let Exists { subquery, negated } = exists;
    let test = match Rows::of(subquery.subquery.as_ref().clone())? {
        Rows::One => return Ok(lit(!negated)),
        Rows::None => return Ok(lit(negated)),
        Rows::OneWhere(condition) => {
            check(&condition)?;
            check_joined(&condition)?;
            let value = Expr::ScalarSubquery(subquery_of(condition, &subquery));
            coalesce(vec![value, lit(false)])
        }
        Rows::MoreThan(count, rows) => {
            check(&rows)?;
            more_than(count, rows, &subquery)?
        }
        Rows::Any(rows) => {
            check(&rows)?;
            check_limits(&rows)?;
            check_lifted(&rows)?;
            return Ok(Expr::Exists(Exists {
                subquery: subquery_of(rows, &subquery),
                negated,
            }));
        }
    };
    Ok(match negated {
        true => Expr::Not(Box::new(test)),
        false => test,
    })
}

fn more_than(skipped: usize, rows: LogicalPlan, like: &Subquery) -> Result<Expr> {
    let skipped = i64::try_from(skipped).unwrap_or(i64::MAX);
    let none: Vec<Expr> = Vec::new();
    let counted = LogicalPlanBuilder::from(rows).aggregate(none, vec![count(lit(1_i64))])?;
    let counted = counted.build()?;
    check_joined(&counted)?;
    let counted = Expr::ScalarSubquery(subquery_of(counted, like));
    Ok(counted.gt(lit(skipped)))
}

/// When a subquery has rows.
enum Rows {
    One,
    None,
    /// A plan with one boolean, which is true where there is a row.
    OneWhere(LogicalPlan),
    /// Where this plan has more rows than are left out.
    MoreThan(usize, LogicalPlan),
    Any(LogicalPlan),
}

impl Rows {
    /// Removes nodes that change columns or the order, but not whether there is a row.
    fn of(plan: LogicalPlan) -> Result<Self> {
        if has_one_row(&plan) {
            return Ok(Self::One);
        }
        if let Some(condition) = condition_of_aggregate(&plan)? {
            return Ok(Self::OneWhere(condition));
        }
        match plan {
            LogicalPlan::Projection(projection) => Self::of(owned(projection.input)),
            LogicalPlan::SubqueryAlias(alias) => Self::of(owned(alias.input)),
            LogicalPlan::Distinct(distinct) => Self::of(distinct.input().as_ref().clone()),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Self::of(owned(sort.input)),
            LogicalPlan::Aggregate(groups) if !has_sets(&groups.group_expr) => {
                Self::of(owned(groups.input))
            }
            LogicalPlan::Limit(limit) => {
                let skip = limit.get_skip_type()?;
                let fetch = limit.get_fetch_type()?;
                match (skip, fetch) {
                    (_, FetchType::Literal(Some(0))) => Ok(Self::None),
                    (SkipType::Literal(0), FetchType::Literal(_)) => Self::of(owned(limit.input)),
                    (SkipType::Literal(skipped), FetchType::Literal(_)) => {
                        Ok(Self::MoreThan(skipped, owned(limit.input)))
                    }
                    _ => Ok(Self::Any(LogicalPlan::Limit(limit))),
                }
            }
            other => Ok(Self::Any(other)),
        }
    }
}

fn owned(plan: Arc<LogicalPlan>) -> LogicalPlan {
    Arc::unwrap_or_clone(plan)
}

fn has_sets(keys: &[Expr]) -> bool {
    keys.iter().any(|key| matches!(key, Expr::GroupingSet(_)))
}

/// Whether the plan is an aggregate over all rows, and nothing that could take its row away.
pub(in crate::semantics) fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Distinct(distinct) => has_one_row(distinct.input()),
        LogicalPlan::Sort(sort) => has_one_row(&sort.input),
        LogicalPlan::Aggregate(groups) => groups.group_expr.is_empty(),
        _ => false,
    }
}

/// The condition of `HAVING` over an aggregate of all rows, as the one value of a plan.
fn condition_of_aggregate(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(projection) => condition_of_aggregate(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => condition_of_aggregate(&alias.input),
        LogicalPlan::Distinct(distinct) => condition_of_aggregate(distinct.input()),
        LogicalPlan::Sort(sort) => condition_of_aggregate(&sort.input),
        // A condition above rows that do not depend on the row outside is one of a join.
        LogicalPlan::Filter(filter)
            if has_one_row(&filter.input) && is_correlated(&filter.input) =>
        {
            let condition = filter.predicate.clone().alias("condition");
            let input = LogicalPlanBuilder::from(filter.input.as_ref().clone());
            input.project(vec![condition])?.build().map(Some)
        }
        _ => Ok(None),
    }
}

/// Whether `HAVING` decides whether an aggregate of all rows is there.
pub(super) fn is_aggregate_with_condition(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_aggregate_with_condition(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_aggregate_with_condition(&alias.input),
        LogicalPlan::Distinct(distinct) => is_aggregate_with_condition(distinct.input()),
        LogicalPlan::Sort(sort) => is_aggregate_with_condition(&sort.input),
        LogicalPlan::Filter(filter) => has_one_row(&filter.input),
        _ => false,
    }
}

/// Errors: where `HAVING` decides whether a row outside has the row of an aggregate.
pub(super) fn check_having(plan: &LogicalPlan) -> Result<()> {
    match condition_of_aggregate(plan)? {
        Some(_) if is_correlated(plan) => Err(refused("HAVING without GROUP BY")),
        _ => Ok(()),
    }
}

/// Errors: where a condition on the row outside means something else once it is lifted above a node. A window function would see the
/// rows of all rows outside; an outer join would lose rows that it has filled up with nulls; a grand total would be one of each group.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|plan| match plan {
        LogicalPlan::Window(window) if is_correlated(&window.input) => Err(refused(
            "a window function over rows chosen by the row outside",
        )),
        LogicalPlan::Join(join) if has_correlated_optional_side(join) => Err(refused(
            "a condition within the optional side of an outer join",
        )),
        LogicalPlan::Aggregate(groups)
            if has_sets(&groups.group_expr) && is_correlated(&groups.input) =>
        {
            Err(refused("GROUP BY with ROLLUP, CUBE or GROUPING SETS"))
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

fn has_correlated_optional_side(join: &Join) -> bool {
    match join.join_type {
        JoinType::Left => is_correlated(&join.right),
        JoinType::Right => is_correlated(&join.left),
        JoinType::Full => is_correlated(&join.left) || is_correlated(&join.right),
        _ => false,
    }
}

/// Errors: where `LIMIT` is above, or beside, rows that are chosen by the row outside.
fn check_limits(plan: &LogicalPlan) -> Result<()> {
    let rows = match plan {
        LogicalPlan::Filter(filter) => filter.input.as_ref(),
        other => other,
    };
    if !is_correlated(rows) {
        return Ok(());
    }
    plan.apply(|plan| match plan {
        LogicalPlan::Limit(_) => Err(refused("LIMIT inside EXISTS, IN, ANY or ALL")),
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

fn refused(what: &str) -> DataFusionError {
    let error = Error::unsupported(
        "sql_unsupported",
        format!("{what} is not supported in a subquery that refers to the row outside"),
    );
    external(error.with_hint(
        "compute it for all rows in a subquery without such a condition, and join that by its keys",
    ))
}
