//! The one order of lists and structs: item by item, a null after every value, and the shorter list before the longer one.
//!
//! It is that of Postgres and of the engine's `ORDER BY`; the engine's operators and `greatest` put nulls first.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, DynComparator, make_comparator};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use crate::function::{Kernel, ScalarDefinition, execution};

/// Nulls after values.
pub(super) const ASCENDING: SortOptions = SortOptions {
    descending: false,
    nulls_first: false,
};

/// An operator that compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The operator as a function of two nested values of one type.
pub(crate) fn compared(operator: Comparison) -> Arc<ScalarUDF> {
    match operator {
        Comparison::Less => test("nested_less", |args| tested(args, Ordering::is_lt)),
        Comparison::LessOrEqual => {
            test("nested_less_or_equal", |args| tested(args, Ordering::is_le))
        }
        Comparison::Greater => test("nested_greater", |args| tested(args, Ordering::is_gt)),
        Comparison::GreaterOrEqual => test("nested_greater_or_equal", |args| {
            tested(args, Ordering::is_ge)
        }),
    }
}

fn test(name: &'static str, kernel: Kernel) -> Arc<ScalarUDF> {
    let boolean = |_: &[DataType]| Ok(DataType::Boolean);
    ScalarDefinition::new(name, boolean, same, kernel).shared()
}

fn same(types: &[DataType]) -> Result<Vec<DataType>> {
    Ok(types.to_vec())
}

/// Compares values of one type by their places.
pub(crate) fn ordered_values(left: &ArrayRef, right: &ArrayRef) -> Result<DynComparator> {
    Ok(make_comparator(left, right, ASCENDING)?)
}

fn tested(args: &[ArrayRef], is_true: fn(Ordering) -> bool) -> Result<ArrayRef> {
    let [left, right] = args else {
        return Err(execution("a comparison has two operands"));
    };
    let compare = ordered_values(left, right)?;
    let values = BooleanBuffer::collect_bool(left.len(), |row| is_true(compare(row, row)));
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    Ok(Arc::new(BooleanArray::new(values, nulls)))
}

/// `greatest` or `least` of nested values of one type; those that are null do not count.
pub(crate) fn extreme(is_greatest: bool) -> Arc<ScalarUDF> {
    let first = |types: &[DataType]| Ok(types[0].clone());
    let definition = match is_greatest {
        true => ScalarDefinition::new("nested_greatest", first, same, |args| {
            chosen(args, Ordering::is_gt)
        }),
        false => ScalarDefinition::new("nested_least", first, same, |args| {
            chosen(args, Ordering::is_lt)
        }),
    };
    definition.shared()
}

/// The value of each row that comes before all others.
fn chosen(args: &[ArrayRef], is_better: fn(Ordering) -> bool) -> Result<ArrayRef> {
    let Some(first) = args.first() else {
        return Err(execution(
            "greatest() and least() have at least one argument",
        ));
    };
    let mut best = vec![0; first.len()];
    for (other, array) in args.iter().enumerate().skip(1) {
        let against = args[..other]
            .iter()
            .map(|earlier| ordered_values(array, earlier));
        let against = against.collect::<Result<Vec<_>>>()?;
        for (row, best) in best.iter_mut().enumerate() {
            let is_first = args[*best].is_null(row);
            if array.is_valid(row) && (is_first || is_better(against[*best](row, row))) {
                *best = other;
            }
        }
    }
    let arrays: Vec<&dyn Array> = args.iter().map(AsRef::as_ref).collect();
    let places: Vec<(usize, usize)> = best.into_iter().zip(0..).collect();
    Ok(interleave(&arrays, &places)?)
}
