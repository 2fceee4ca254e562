//! `LATERAL`: the rows of a subquery for each row before it.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, lit};

use super::form::{check, has_one_row};
use super::{PulledUp, Subqueries, subquery_of};

impl Subqueries {
    /// The join with `LATERAL` as one without.
    pub(super) fn lateral(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let is_kept = matches!(join.join_type, JoinType::Inner | JoinType::Left);
        let (alias, inside) = match join.right.as_ref() {
            LogicalPlan::SubqueryAlias(alias) => (Some(alias.alias.clone()), alias.input.as_ref()),
            other => (None, other),
        };
        let LogicalPlan::Subquery(subquery) = inside else {
            return Ok(Transformed::no(plan));
        };
        if !is_kept || !join.on.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let rows = subquery.subquery.as_ref();
        check(rows)?;
        let made = match has_one_row(rows) {
            true => values(join, alias, subquery)?,
            false => self.rows(join, alias, rows)?,
        };
        Ok(match made {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(plan),
        })
    }

    fn rows(
        &self,
        join: &Join,
        alias: Option<TableReference>,
        rows: &LogicalPlan,
    ) -> Result<Option<LogicalPlan>> {
        let name = self.alias("lateral");
        let Some(pulled) = PulledUp::new(rows, &name, false)? else {
            return Ok(None);
        };
        // The rows have further columns for the condition, which nobody outside shall see.
        let shown = rows.schema().iter().map(|(relation, field)| {
            let column = Expr::Column(Column::new(Some(name.clone()), field.name()));
            let relation = alias.clone().or_else(|| relation.cloned());
            column.alias_qualified(relation, field.name())
        });
        let columns = join.left.schema().columns().into_iter().map(Expr::Column);
        let columns: Vec<Expr> = columns.chain(shown).collect();
        let joined = LogicalPlanBuilder::from(join.left.as_ref().clone());
        let joined = joined.join_on(pulled.rows, join.join_type, Some(pulled.condition))?;
        let Some(filter) = &join.filter else {
            return joined.project(columns)?.build().map(Some);
        };
        if is_true(filter) {
            return joined.project(columns)?.build().map(Some);
        }
        match join.join_type {
            JoinType::Inner => joined
                .project(columns)?
                .filter(filter.clone())?
                .build()
                .map(Some),
            _ => Ok(None),
        }
    }
}

/// An aggregate has one row for each row before it, so its columns are values of that row.
fn values(
    join: &Join,
    alias: Option<TableReference>,
    subquery: &datafusion::logical_expr::Subquery,
) -> Result<Option<LogicalPlan>> {
    let rows = subquery.subquery.as_ref();
    let values = rows.schema().iter().map(|(relation, field)| {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        let value = LogicalPlanBuilder::from(rows.clone()).project(vec![column])?;
        let value = Expr::ScalarSubquery(subquery_of(value.build()?, subquery));
        let relation = alias.clone().or_else(|| relation.cloned());
        Ok(value.alias_qualified(relation, field.name()))
    });
    let columns = join.left.schema().columns().into_iter();
    let columns = columns.map(|column| Ok(Expr::Column(column)));
    let columns = columns.chain(values).collect::<Result<Vec<_>>>()?;
    let joined = LogicalPlanBuilder::from(join.left.as_ref().clone()).project(columns)?;
    match &join.filter {
        None => joined.build().map(Some),
        Some(filter) if is_true(filter) => joined.build().map(Some),
        Some(filter) if join.join_type == JoinType::Inner => {
            joined.filter(filter.clone())?.build().map(Some)
        }
        Some(_) => Ok(None),
    }
}

fn is_true(filter: &Expr) -> bool {
    *filter == lit(true)
}
