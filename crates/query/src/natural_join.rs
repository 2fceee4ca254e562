//! Finds `NATURAL` outer joins of tables that have no column in common.
//!
//! The engine makes a cross join of each, which loses the rows that an outer join keeps. Its plan no longer says what it was, so
//! the cross joins of the plan are counted and compared with those that the statement asks for.

use std::ops::ControlFlow;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{JoinType, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    JoinConstraint, JoinOperator, Query, Select, SetExpr, TableFactor, TableWithJoins, Visit,
    Visitor,
};
use forebay_core::Error;

use crate::error::external;

const NATURAL: &str = "natural";

/// The joins without a condition that a statement asks for.
#[derive(Debug, Default)]
pub(crate) struct AskedJoins {
    natural_outer: usize,
    /// `CROSS JOIN`, a comma between tables, and `NATURAL JOIN`, which may be one.
    crossed: usize,
}

impl AskedJoins {
    /// Walks the statement only where its text has the word.
    pub(crate) fn of(statement: &Statement, sql: &str) -> Self {
        let mut asked = Self::default();
        if let Statement::Statement(statement) = statement
            && has_word(sql)
        {
            // Nothing here ends the visit early.
            let _ = statement.visit(&mut asked);
        }
        asked
    }

    /// Errors: `Unsupported` when a natural outer join has become a cross join.
    pub(crate) fn check(&self, plan: &LogicalPlan) -> Result<(), DataFusionError> {
        if self.natural_outer == 0 || cross_joins(plan)? <= self.crossed {
            return Ok(());
        }
        let message = "not supported: a NATURAL outer join of tables that have no column in common";
        let error = Error::unsupported("sql_unsupported", message);
        Err(external(error.with_hint(
            "write LEFT JOIN … ON true, or name the columns with USING",
        )))
    }

    fn add_select(&mut self, select: &Select) {
        self.crossed += select.from.len().saturating_sub(1);
        select.from.iter().for_each(|from| self.add_tables(from));
    }

    fn add_tables(&mut self, from: &TableWithJoins) {
        self.add_factor(&from.relation);
        for join in &from.joins {
            self.add_factor(&join.relation);
            self.add_operator(&join.join_operator);
        }
    }

    fn add_factor(&mut self, factor: &TableFactor) {
        if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = factor
        {
            self.add_tables(table_with_joins);
        }
    }

    fn add_operator(&mut self, operator: &JoinOperator) {
        match operator {
            JoinOperator::CrossJoin(_)
            | JoinOperator::Join(JoinConstraint::Natural)
            | JoinOperator::Inner(JoinConstraint::Natural) => self.crossed += 1,
            JoinOperator::Left(JoinConstraint::Natural)
            | JoinOperator::LeftOuter(JoinConstraint::Natural)
            | JoinOperator::Right(JoinConstraint::Natural)
            | JoinOperator::RightOuter(JoinConstraint::Natural)
            | JoinOperator::FullOuter(JoinConstraint::Natural) => self.natural_outer += 1,
            _ => {}
        }
    }

    fn add_body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) => self.add_select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.add_body(left);
                self.add_body(right);
            }
            // Visited as a query of its own.
            _ => {}
        }
    }
}

impl Visitor for AskedJoins {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.add_body(&query.body);
        ControlFlow::Continue(())
    }
}

/// Whether a text has the word `NATURAL`, in letters of any case.
fn has_word(sql: &str) -> bool {
    let mut places = sql.as_bytes().windows(NATURAL.len());
    places.any(|place| place.eq_ignore_ascii_case(NATURAL.as_bytes()))
}

fn cross_joins(plan: &LogicalPlan) -> Result<usize, DataFusionError> {
    let mut count = 0;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Join(join) = node {
            let is_cross = join.on.is_empty() && join.filter.is_none();
            count += usize::from(is_cross && join.join_type == JoinType::Inner);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::AskedJoins;

    #[test]
    fn joins_are_counted_only_where_one_is_natural() {
        let asked = |sql: &str| AskedJoins::of(&crate::statement::read(sql).unwrap(), sql);
        let plain = asked("select 1 from x.a, x.b cross join x.c");
        assert_eq!((plain.natural_outer, plain.crossed), (0, 0));
        let natural = asked("select 1 from x.a, x.b NATURAL\nLEFT join x.c");
        assert_eq!((natural.natural_outer, natural.crossed), (1, 1));
    }
}
