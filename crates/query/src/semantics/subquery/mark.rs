//! Subqueries outside of filters: a column of a join, or of a projection, which the expression reads.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::utils::expr_to_columns;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Subquery, lit};

use super::numbered::is_numbered;
use super::single::{counted, may_have_several, value_of};
use super::{PulledUp, Subqueries};
use crate::error::{external, subquery_unsupported};
use crate::semantics::map_named;

impl Subqueries {
    /// The plan with the subqueries of its expressions as columns of its input.
    pub(super) fn marked(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let Some(moves) = moved_from(&plan)? else {
            return match has(&plan, is_numbered)? {
                true => Err(external(subquery_unsupported())),
                false => Ok(Transformed::no(plan)),
            };
        };
        if !has(&plan, moves)? {
            return Ok(Transformed::no(plan));
        }
        let columns = plan.schema().columns();
        let mut input = plan.inputs()[0].clone();
        let plan = map_named(plan, |expr| {
            expr.transform_up(|expr| match moves(&expr) {
                true => self.as_column(expr, &mut input),
                false => Ok(Transformed::no(expr)),
            })
        })?;
        let expressions = plan.data.expressions();
        let plan = plan.data.with_new_exprs(expressions, vec![input])?;
        if plan.schema().fields().len() == columns.len() {
            return Ok(Transformed::yes(plan));
        }
        let columns = columns.into_iter().map(Expr::Column);
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        Ok(Transformed::yes(plan))
    }

    fn as_column(&self, expr: Expr, input: &mut LogicalPlan) -> Result<Transformed<Expr>> {
        let found = match &expr {
            Expr::Exists(exists) => self.mark(exists, input)?,
            Expr::ScalarSubquery(value) if may_have_several(&value.subquery) => {
                Some(self.only_value(value, input)?)
            }
            Expr::ScalarSubquery(value) if is_numbered(&expr) => Some(self.numbered(value, input)?),
            _ => Some(self.value(&expr, input)?),
        };
        Ok(match found {
            Some((plan, column)) => {
                *input = plan;
                Transformed::yes(column)
            }
            None => Transformed::no(expr),
        })
    }

    fn mark(&self, exists: &Exists, input: &LogicalPlan) -> Result<Option<(LogicalPlan, Expr)>> {
        let alias = self.alias("mark");
        let Some(pulled) = PulledUp::new(&exists.subquery.subquery, &alias, true)? else {
            return Ok(None);
        };
        let mut needed = HashSet::new();
        expr_to_columns(&pulled.condition, &mut needed)?;
        let columns = pulled.rows.schema().columns();
        let columns: Vec<Expr> = columns
            .into_iter()
            .filter(|column| needed.contains(column))
            .map(Expr::Column)
            .collect();
        let has_columns = !pulled.rows.schema().fields().is_empty();
        let rows = LogicalPlanBuilder::from(pulled.rows);
        let rows = match columns.is_empty() {
            true if has_columns => rows.build()?,
            // The mark is called by the relation of a column.
            true => rows
                .project([lit(true).alias("row")])?
                .alias(&alias)?
                .build()?,
            false => rows.project(columns)?.build()?,
        };
        let join = LogicalPlanBuilder::from(input.clone()).join_on(
            rows,
            JoinType::LeftMark,
            Some(pulled.condition),
        )?;
        let mark = Expr::Column(Column::new(Some(alias), "mark"));
        let mark = match exists.negated {
            true => Expr::Not(Box::new(mark)),
            false => mark,
        };
        Ok(Some((join.build()?, mark)))
    }

    /// The value of the only row, beside the columns of the input, with a count of the rows that it has.
    fn only_value(&self, value: &Subquery, input: &LogicalPlan) -> Result<(LogicalPlan, Expr)> {
        let alias = self.alias("only");
        let rows = counted(&value.subquery)?;
        let Some(pulled) = PulledUp::new(&rows, &alias, false)? else {
            return Err(external(subquery_unsupported()));
        };
        let join = LogicalPlanBuilder::from(input.clone()).join_on(
            pulled.rows,
            JoinType::Left,
            Some(pulled.condition),
        )?;
        Ok((join.build()?, value_of(&alias, &value.subquery)))
    }

    /// The value beside the columns of the input.
    pub(super) fn value(&self, expr: &Expr, input: &LogicalPlan) -> Result<(LogicalPlan, Expr)> {
        let name = self.alias("value");
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let columns = columns.chain([expr.clone().alias(&name)]);
        let plan = LogicalPlanBuilder::from(input.clone()).project(columns)?;
        Ok((plan.build()?, Expr::Column(Column::new_unqualified(name))))
    }
}

/// Whether a subquery becomes a column of the input.
type IsMoved = fn(&Expr) -> bool;

/// Which subqueries the engine does not join in place; `None` for plans that keep theirs. It joins any test in a filter, and one value in a filter or a
/// select list, where that has at most one row; of two it confuses the columns.
fn moved_from(plan: &LogicalPlan) -> Result<Option<IsMoved>> {
    let has_values = values_in(plan)? > 1;
    Ok(Some(match plan {
        LogicalPlan::Projection(_) if has_values => is_subquery,
        LogicalPlan::Projection(_) => |expr| is_existence(expr) || is_own_join(expr),
        LogicalPlan::Filter(_) if has_values => is_value,
        LogicalPlan::Filter(_) => is_own_join,
        LogicalPlan::Aggregate(_) | LogicalPlan::Sort(_) | LogicalPlan::Window(_) => is_subquery,
        _ => return Ok(None),
    }))
}

/// Whether the engine would not join a value, or join it wrongly.
fn is_own_join(expr: &Expr) -> bool {
    has_several_rows(expr) || is_numbered(expr)
}

fn has_several_rows(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(value) if may_have_several(&value.subquery))
}

/// A boolean counts twice: the engine writes `coalesce(x, false)` and `CASE` of booleans with AND and OR, each with `x` again.
fn values_in(plan: &LogicalPlan) -> Result<usize> {
    let mut count = 0;
    for expr in plan.expressions() {
        expr.apply(|expr| {
            count += usize::from(is_value(expr)) + usize::from(is_boolean_value(expr));
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(count)
}

fn is_existence(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists(_))
}

fn is_value(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_))
}

fn is_boolean_value(expr: &Expr) -> bool {
    let Expr::ScalarSubquery(value) = expr else {
        return false;
    };
    let mut fields = value.subquery.schema().fields().iter();
    fields.all(|field| field.data_type() == &DataType::Boolean)
}

fn is_subquery(expr: &Expr) -> bool {
    is_existence(expr) || is_value(expr)
}

fn has(plan: &LogicalPlan, moves: IsMoved) -> Result<bool> {
    let expressions = plan.expressions();
    let mut found = expressions
        .iter()
        .map(|expr| expr.exists(|expr| Ok(moves(expr))));
    found.try_fold(false, |any, found| Ok(any || found?))
}
