//! Answers the lake's question "can this manifest or file hold a wanted row?" with the engine's pruning.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use forebay_lake::scan::{Bounds, Prune, Value};

use super::columns::Columns;
use super::value::scalar;

/// The filters of a query over one table.
pub(super) struct Predicate {
    pruning: PruningPredicate,
    columns: Arc<Columns>,
}

impl Predicate {
    /// `None` when nothing can be told from bounds.
    pub(super) fn new(
        session: &dyn Session,
        columns: &Arc<Columns>,
        filters: &[Expr],
    ) -> Result<Option<Self>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(None);
        };
        let schema = DFSchema::try_from(columns.plain().as_ref().clone())?;
        let filter = session.create_physical_expr(with_plain_strings(filter)?, &schema)?;
        // A filter that cannot be turned into a question about bounds keeps every file.
        let pruning = PruningPredicate::try_new(filter, columns.plain().clone())
            .ok()
            .filter(|pruning| !pruning.always_true());
        Ok(pruning.map(|pruning| Self {
            pruning,
            columns: columns.clone(),
        }))
    }
}

impl Prune for Predicate {
    fn keep(&self, bounds: &[Bounds]) -> forebay_core::Result<Vec<bool>> {
        let containers = Containers {
            columns: &self.columns,
            bounds,
        };
        Ok(self.pruning.prune(&containers).unwrap_or_else(|error| {
            // Reading a file too many is slower; leaving one out would be wrong.
            tracing::debug!(%error, "a filter cannot be compared with the bounds of files");
            vec![true; bounds.len()]
        }))
    }
}

/// The engine's own pruning of `LIKE` compares plain strings only, so views are left out here.
fn with_plain_strings(filter: Expr) -> Result<Expr> {
    let plain = filter.transform(|expr| {
        Ok(match expr {
            Expr::Literal(ScalarValue::Utf8View(text), metadata) => {
                Transformed::yes(Expr::Literal(ScalarValue::Utf8(text), metadata))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(plain.data)
}

struct Containers<'a> {
    columns: &'a Columns,
    bounds: &'a [Bounds],
}

impl Containers<'_> {
    fn values(
        &self,
        column: &Column,
        value: impl Fn(&Bounds, i32) -> Option<&Value>,
    ) -> Option<ArrayRef> {
        let (id, kind) = self.columns.find(column.name())?;
        let null = ScalarValue::try_from(kind).ok()?;
        let scalars: Vec<Option<ScalarValue>> = self
            .bounds
            .iter()
            .map(|bounds| value(bounds, id).and_then(|value| scalar(value, kind)))
            .collect();
        if scalars.iter().all(Option::is_none) {
            return None;
        }
        ScalarValue::iter_to_array(
            scalars
                .into_iter()
                .map(|scalar| scalar.unwrap_or_else(|| null.clone())),
        )
        .ok()
    }
}

impl PruningStatistics for Containers<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds, id| bounds.lower.get(&id))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds, id| bounds.upper.get(&id))
    }

    fn num_containers(&self) -> usize {
        self.bounds.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (id, _) = self.columns.find(column.name())?;
        Some(Arc::new(UInt64Array::from_iter(
            self.bounds
                .iter()
                .map(|bounds| bounds.nulls.get(&id).copied()),
        )))
    }

    fn row_counts(&self, _: &Column) -> Option<ArrayRef> {
        // A manifest may not say how many rows it has; zero then means unknown.
        let rows = self
            .bounds
            .iter()
            .map(|bounds| (bounds.rows > 0).then_some(bounds.rows));
        Some(Arc::new(UInt64Array::from_iter(rows)))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
