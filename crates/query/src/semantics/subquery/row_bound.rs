//! How many rows a plan can have. The engine's own bound takes `SELECT 1` for no row at all, so that two of them in a `UNION` would be
//! at most one, and a `FULL JOIN` of two rows without a match for one.
//!
//! Only what holds for any rows of the tables is known; everything else may have any number of rows.

use datafusion::common::JoinType;
use datafusion::logical_expr::{
    Aggregate, Distinct, EmptyRelation, Expr, FetchType, Join, Limit, LogicalPlan, SkipType,
};

/// The fewest rows that are known, and the most where a bound is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowBound {
    least: usize,
    most: Option<usize>,
}

impl RowBound {
    const ANY: Self = Self {
        least: 0,
        most: None,
    };

    pub(super) fn of(plan: &LogicalPlan) -> Self {
        match plan {
            LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row, ..
            }) => Self::exactly(usize::from(*produce_one_row)),
            LogicalPlan::Values(rows) => Self::exactly(rows.values.len()),
            LogicalPlan::Projection(projection) => Self::of(&projection.input),
            LogicalPlan::SubqueryAlias(alias) => Self::of(&alias.input),
            LogicalPlan::Window(window) => Self::of(&window.input),
            LogicalPlan::Repartition(repartition) => Self::of(&repartition.input),
            LogicalPlan::Filter(filter) => Self::of(&filter.input).or_fewer(0),
            LogicalPlan::Sort(sort) => match sort.fetch {
                Some(fetch) => Self::of(&sort.input).cut(0, fetch),
                None => Self::of(&sort.input),
            },
            LogicalPlan::Distinct(Distinct::All(input)) => Self::of(input).or_fewer(1),
            LogicalPlan::Distinct(Distinct::On(on)) => Self::of(&on.input).or_fewer(1),
            LogicalPlan::Aggregate(groups) => Self::of_groups(groups),
            LogicalPlan::Limit(limit) => Self::of_limit(limit),
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|input| Self::of(input));
                inputs.fold(Self::exactly(0), Self::plus)
            }
            LogicalPlan::Join(join) => Self::of_join(join),
            _ => Self::ANY,
        }
    }

    /// Whether one row is there, whatever the tables hold.
    pub(super) fn is_one(self) -> bool {
        self.least == 1 && self.is_one_at_most()
    }

    pub(super) fn is_one_at_most(self) -> bool {
        self.most.is_some_and(|most| most <= 1)
    }

    fn exactly(rows: usize) -> Self {
        Self {
            least: rows,
            most: Some(rows),
        }
    }

    fn at_most(most: Option<usize>) -> Self {
        Self { least: 0, most }
    }

    /// Where rows may be left out, down to so many.
    fn or_fewer(self, least: usize) -> Self {
        Self {
            least: self.least.min(least),
            ..self
        }
    }

    fn plus(self, other: Self) -> Self {
        let most = self.most.zip(other.most);
        Self {
            least: self.least.saturating_add(other.least),
            most: most.and_then(|(one, two)| one.checked_add(two)),
        }
    }

    fn cut(self, skip: usize, fetch: usize) -> Self {
        let kept = |rows: usize| rows.saturating_sub(skip).min(fetch);
        Self {
            least: kept(self.least),
            most: Some(self.most.map_or(fetch, kept)),
        }
    }

    fn of_groups(groups: &Aggregate) -> Self {
        let input = Self::of(&groups.input);
        let is_constant = |key: &Expr| matches!(key, Expr::Literal(..));
        match groups.group_expr.as_slice() {
            [] => Self::exactly(1),
            // Each set has groups of its own.
            keys if keys.iter().any(|key| matches!(key, Expr::GroupingSet(_))) => Self::ANY,
            keys if keys.iter().all(is_constant) => input.or_fewer(1).cut(0, 1),
            _ => input.or_fewer(1),
        }
    }

    fn of_limit(limit: &Limit) -> Self {
        let input = Self::of(&limit.input);
        let skip = match limit.get_skip_type() {
            Ok(SkipType::Literal(skip)) => Some(skip),
            _ => None,
        };
        match (skip, limit.get_fetch_type()) {
            (Some(skip), Ok(FetchType::Literal(fetch))) => {
                let most = fetch.unwrap_or(usize::MAX);
                let cut = input.cut(skip, most);
                Self {
                    most: cut.most.filter(|most| *most != usize::MAX),
                    ..cut
                }
            }
            (None, Ok(FetchType::Literal(Some(fetch)))) => Self::at_most(Some(fetch)),
            _ => input.or_fewer(0),
        }
    }

    fn of_join(join: &Join) -> Self {
        let left = Self::of(&join.left);
        let right = Self::of(&join.right);
        let sides = left.most.zip(right.most);
        let bound = |most: fn(usize, usize) -> Option<usize>| {
            Self::at_most(sides.and_then(|(left, right)| most(left, right)))
        };
        match join.join_type {
            JoinType::Inner => bound(usize::checked_mul),
            // A row without a match stays, alone.
            JoinType::Left => Self {
                least: left.least,
                ..bound(|left, right| left.checked_mul(right.max(1)))
            },
            JoinType::Right => Self {
                least: right.least,
                ..bound(|left, right| left.max(1).checked_mul(right))
            },
            JoinType::Full => bound(|left, right| {
                let apart = left.checked_add(right)?;
                Some(left.checked_mul(right)?.max(apart))
            }),
            JoinType::LeftSemi | JoinType::LeftAnti => left.or_fewer(0),
            JoinType::RightSemi | JoinType::RightAnti => right.or_fewer(0),
            JoinType::LeftMark => left,
            JoinType::RightMark => right,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::functions_aggregate::expr_fn::count;
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};

    use super::*;

    fn row() -> LogicalPlanBuilder {
        let plan = LogicalPlanBuilder::empty(true).project([lit(1).alias("x")]);
        plan.unwrap()
    }

    fn bound(plan: LogicalPlanBuilder) -> (usize, Option<usize>) {
        let RowBound { least, most } = RowBound::of(&plan.build().unwrap());
        (least, most)
    }

    #[test]
    fn constants_count_as_rows() {
        let two = || row().union(row().build().unwrap()).unwrap();
        assert_eq!(bound(row()), (1, Some(1)));
        assert_eq!(bound(two()), (2, Some(2)));
        assert_eq!(bound(two().limit(1, None).unwrap()), (1, Some(1)));
        assert_eq!(bound(two().limit(0, Some(5)).unwrap()), (2, Some(2)));
        assert_eq!(bound(two().limit(2, Some(1)).unwrap()), (0, Some(0)));
        assert_eq!(bound(two().distinct().unwrap()), (1, Some(2)));
        assert_eq!(bound(row().filter(lit(true)).unwrap()), (0, Some(1)));
        let values = LogicalPlanBuilder::values(vec![vec![lit(1)], vec![lit(2)]]);
        assert_eq!(bound(values.unwrap()), (2, Some(2)));
        assert_eq!(bound(LogicalPlanBuilder::empty(false)), (0, Some(0)));
    }

    #[test]
    fn joins_bound_their_rows() {
        let joined = |kind: JoinType| {
            let right = row().alias("r").unwrap().build().unwrap();
            let left = row().alias("l").unwrap();
            bound(left.join_on(right, kind, [lit(false)]).unwrap())
        };
        assert_eq!(joined(JoinType::Inner), (0, Some(1)));
        assert_eq!(joined(JoinType::Left), (1, Some(1)));
        assert_eq!(joined(JoinType::Full), (0, Some(2)));
        assert_eq!(joined(JoinType::LeftAnti), (0, Some(1)));
    }

    #[test]
    fn groups_bound_their_rows() {
        let none: [Expr; 0] = [];
        let all = row().aggregate(none, [count(lit(1))]).unwrap();
        assert_eq!(bound(all), (1, Some(1)));
        let input = Arc::new(row().build().unwrap());
        let sets = Expr::GroupingSet(datafusion::logical_expr::GroupingSet::Rollup(vec![
            datafusion::prelude::col("x"),
        ]));
        let sets = Aggregate::try_new(input, vec![sets], Vec::new()).unwrap();
        assert!(!RowBound::of(&LogicalPlan::Aggregate(sets)).is_one_at_most());
    }
}
