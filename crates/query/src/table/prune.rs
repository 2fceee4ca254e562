//! Answers the lake's question "can this manifest or file hold a wanted row?" with the engine's pruning.
//!
//! The engine gets only predicates that bounds can decide. Bounds of floats leave out NaN and may have either zero, so of floats only
//! "less than", "at most" and "equal to" a number are passed, and a pattern as its exact prefix.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use forebay_lake::scan::{Bounds, Prune, Value};

use super::columns::Columns;
use super::value::scalar;
use crate::semantics::float::COMPARABLE;

/// The filters of a query over one table.
pub(super) struct Predicate {
    pruning: PruningPredicate,
    columns: Arc<Columns>,
}

/// A filter on the rows of a file that only the engine's reader can compare with the bounds of row groups and pages: those that the
/// filters imply for floats and patterns, which the engine cannot see through. `None` when they imply nothing.
pub(super) fn implied(
    session: &dyn Session,
    columns: &Columns,
    filters: &[Expr],
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let changed = filters
        .iter()
        .flat_map(split_conjunction)
        .filter_map(|filter| {
            let bounded = bounded(filter);
            (bounded != *filter && bounded != lit(true)).then_some(bounded)
        });
    let Some(filter) = conjunction(changed) else {
        return Ok(None);
    };
    let schema = DFSchema::try_from(columns.schema().as_ref().clone())?;
    session.create_physical_expr(filter, &schema).map(Some)
}

impl Predicate {
    /// `None` when bounds do not decide.
    pub(super) fn new(
        session: &dyn Session,
        columns: &Arc<Columns>,
        filters: &[Expr],
    ) -> Result<Option<Self>> {
        let Some(filter) = conjunction(filters.iter().map(bounded)) else {
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

/// The lake's bounds are plain strings, so literals are too.
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

/// The implied predicate that bounds can decide: true for every row for which the filter is.
fn bounded(filter: &Expr) -> Expr {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::And | Operator::Or) =>
        {
            match (op, bounded(left), bounded(right)) {
                (Operator::And, left, right) if left == lit(true) => right,
                (Operator::And, left, right) if right == lit(true) => left,
                (Operator::And, left, right) => left.and(right),
                (_, left, right) if left == lit(true) || right == lit(true) => lit(true),
                (_, left, right) => left.or(right),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::ScalarFunction(call), Expr::Literal(value, _))
                if call.func.name() == COMPARABLE && is_number(value) =>
            {
                match call.args.first() {
                    Some(column @ Expr::Column(_)) => bounded_float(column, *op, value),
                    _ => lit(true),
                }
            }
            _ => plain_or_true(filter),
        },
        Expr::Like(like) if !like.negated && !like.case_insensitive => {
            match (like.expr.as_ref(), text(&like.pattern)) {
                (column @ Expr::Column(_), Some(pattern)) => {
                    let (prefix, is_whole) = prefix(pattern, like.escape_char);
                    with_prefix(column, &prefix, is_whole)
                }
                _ => lit(true),
            }
        }
        Expr::ScalarFunction(call) if call.func.name() == "starts_with" => match &call.args[..] {
            [column @ Expr::Column(_), wanted] => match text(wanted) {
                Some(prefix) => with_prefix(column, prefix, false),
                None => lit(true),
            },
            _ => lit(true),
        },
        other => plain_or_true(other),
    }
}

/// The filter itself unless something in it is a pattern, whose pruning in the engine knows no escapes.
fn plain_or_true(filter: &Expr) -> Expr {
    let has_pattern = filter.exists(|expr| {
        Ok(match expr {
            Expr::Like(_) | Expr::SimilarTo(_) => true,
            Expr::ScalarFunction(call) => call.func.name() == "starts_with",
            _ => false,
        })
    });
    match has_pattern {
        Ok(false) => filter.clone(),
        _ => lit(true),
    }
}

fn is_number(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float64(Some(value)) => !value.is_nan(),
        ScalarValue::Float32(Some(value)) => !value.is_nan(),
        _ => false,
    }
}

fn bounded_float(column: &Expr, operator: Operator, value: &ScalarValue) -> Expr {
    let negative_zero = match value {
        ScalarValue::Float64(Some(0.0)) => ScalarValue::Float64(Some(-0.0)),
        ScalarValue::Float32(Some(0.0)) => ScalarValue::Float32(Some(-0.0)),
        other => other.clone(),
    };
    let value = Expr::Literal(value.clone(), None);
    match operator {
        Operator::Lt => column.clone().lt(value),
        Operator::LtEq => column.clone().lt_eq(value),
        Operator::Eq => {
            let lowest = Expr::Literal(negative_zero, None);
            column
                .clone()
                .gt_eq(lowest)
                .and(column.clone().lt_eq(value))
        }
        // NaN is greater than, and not equal to, every number.
        _ => lit(true),
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// The text that every match of a pattern begins with, and whether it is all of it.
fn prefix(pattern: &str, escape: Option<char>) -> (String, bool) {
    let escape = escape.unwrap_or('\\');
    let mut prefix = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' | '_' => return (prefix, false),
            c if c == escape => match chars.next() {
                Some(literal) => prefix.push(literal),
                // A lone escape at the end is left to the engine.
                None => return (prefix, false),
            },
            c => prefix.push(c),
        }
    }
    (prefix, true)
}

fn with_prefix(column: &Expr, prefix: &str, is_whole: bool) -> Expr {
    let literal = |text: &str| Expr::Literal(ScalarValue::Utf8View(Some(text.to_owned())), None);
    if is_whole {
        return column.clone().eq(literal(prefix));
    }
    if prefix.is_empty() {
        return lit(true);
    }
    let least = column.clone().gt_eq(literal(prefix));
    match after_prefix(prefix) {
        Some(next) => least.and(column.clone().lt(literal(&next))),
        None => least,
    }
}

/// The least text that is greater than every text with this prefix.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
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
        // A manifest may lack its number of rows; zero then means unknown.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_a_pattern_knows_escapes() {
        for (pattern, escape, expected, is_whole) in [
            ("user\\_%", None, "user_", false),
            ("user_%", None, "user", false),
            ("a\\\\%", None, "a\\", false),
            ("100\\%", None, "100%", true),
            ("a!_b", Some('!'), "a_b", true),
            ("%x", None, "", false),
        ] {
            let found = prefix(pattern, escape);
            assert_eq!(found, (expected.to_owned(), is_whole), "{pattern}");
        }
        assert_eq!(after_prefix("a\u{d7ff}"), Some("a\u{e000}".to_owned()));
        assert_eq!(after_prefix("a\u{10ffff}"), Some("b".to_owned()));
        assert_eq!(after_prefix("\u{10ffff}"), None);
    }
}
