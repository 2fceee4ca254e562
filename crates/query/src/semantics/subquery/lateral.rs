//! `LATERAL`: the rows of a subquery for each row before it.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::{
    Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Subquery, lit,
};

use super::form::{check, check_having, check_value, has_one_row};
use super::names::renamed;
use super::numbered::can_be_numbered;
use super::row::with_visible_row;
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
        check_having(rows)?;
        let made = match has_one_row(rows) {
            true => self.values(join, alias, subquery)?,
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
        let inside = renamed(rows)?;
        let Some(pulled) = PulledUp::new(&inside, &name, false)? else {
            return Ok(None);
        };
        // The rows have further columns for the condition, which nobody outside shall see.
        let columns = inside.schema().fields().iter();
        let shown = columns.zip(rows.schema().iter());
        let shown = shown.map(|(own, (relation, field))| {
            let column = Expr::Column(Column::new(Some(name.clone()), own.name()));
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

    /// An aggregate has one row for each row before it, so its columns are values of that row, one beside the other: of two in one
    /// list the engine confuses the columns.
    fn values(
        &self,
        join: &Join,
        alias: Option<TableReference>,
        subquery: &Subquery,
    ) -> Result<Option<LogicalPlan>> {
        let rows = subquery.subquery.as_ref();
        let inside = with_visible_row(renamed(rows)?)?;
        let mut plan = join.left.as_ref().clone();
        let columns = join.left.schema().columns().into_iter().map(Expr::Column);
        let mut shown: Vec<Expr> = columns.collect();
        for (column, (relation, field)) in
            inside.schema().columns().iter().zip(rows.schema().iter())
        {
            let value = LogicalPlanBuilder::from(inside.clone());
            let value = value.project(vec![Expr::Column(column.clone())])?.build()?;
            let value = subquery_of(value, subquery);
            let (beside, value) = self.value_beside(value, plan)?;
            plan = beside;
            let relation = alias.clone().or_else(|| relation.cloned());
            shown.push(value.alias_qualified(relation, field.name()));
        }
        let joined = LogicalPlanBuilder::from(plan).project(shown)?;
        match &join.filter {
            None => joined.build().map(Some),
            Some(filter) if is_true(filter) => joined.build().map(Some),
            Some(filter) if join.join_type == JoinType::Inner => {
                joined.filter(filter.clone())?.build().map(Some)
            }
            Some(_) => Ok(None),
        }
    }

    /// The plan with the value of an aggregate beside its columns, and that value.
    fn value_beside(&self, value: Subquery, plan: LogicalPlan) -> Result<(LogicalPlan, Expr)> {
        if can_be_numbered(&value.subquery) {
            return self.numbered(&value, &plan);
        }
        check_value(&value.subquery)?;
        self.value(&Expr::ScalarSubquery(value), &plan)
    }
}

fn is_true(filter: &Expr) -> bool {
    *filter == lit(true)
}
