//! Functions whose arguments come to one type, also where one is a quoted literal beside a date, time or boolean, or a date is beside a
//! timestamp: the engine refuses such arguments before the literal is read. It refuses maps of two types too.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, make_comparator};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{SortOptions, nullif};
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::binary::comparison_coercion;

use super::nested::{common, item_of};
use super::retyped::retyped;
use super::{ScalarDefinition, wrong_arguments};

/// The engine's functions that take such arguments.
const NAMES: [&str; 4] = ["coalesce", "nvl", "greatest", "least"];

/// The function with such arguments where it is one of these.
pub(crate) fn with_literals(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match NAMES.contains(&function.name()) {
        true => retyped(function, own_types),
        false => function,
    }
}

fn own_types(name: &str, types: &[DataType]) -> Result<Option<Vec<DataType>>> {
    let is_late = types.iter().any(DataType::is_string) && types.iter().any(is_read_late);
    let has_map = types.iter().any(holds_map);
    if !is_late && !has_map && name != "nvl" {
        return Ok(None);
    }
    let mut kinds = types.iter();
    let first = kinds.next().cloned();
    let kind = kinds.fold(first, |found, kind| common_peer(&found?, kind));
    match kind {
        Some(kind) => Ok(Some(vec![kind; types.len()])),
        None => Err(wrong_arguments(name, "values of one type", types)),
    }
}

/// `nullif(a, b)` in the type of both, also of lists and structs, which the engine does not compare.
pub(crate) fn null_if() -> ScalarDefinition {
    let first = |types: &[DataType]| Ok(types[0].clone());
    let types = |types: &[DataType]| match types {
        [one, other] => match common_peer(one, other) {
            Some(kind) => Ok(vec![kind.clone(), kind]),
            None => Err(wrong_arguments("nullif", "2 values of one type", types)),
        },
        _ => Err(wrong_arguments("nullif", "2 values", types)),
    };
    ScalarDefinition::new("nullif", first, types, |args| {
        Ok(nullif(&args[0], &is_equal(&args[0], &args[1])?)?)
    })
}

/// `nvl2(tested, value, otherwise)`, which becomes `CASE` before it runs.
pub(crate) fn nvl2() -> ScalarDefinition {
    let second = |types: &[DataType]| Ok(types[1].clone());
    let types = |types: &[DataType]| match types {
        [tested, one, other] => match common_peer(one, other) {
            Some(kind) => Ok(vec![tested.clone(), kind.clone(), kind]),
            None => Err(wrong_arguments(
                "nvl2",
                "a value and 2 results of one type",
                types,
            )),
        },
        _ => Err(wrong_arguments("nvl2", "3 values", types)),
    };
    ScalarDefinition::new("nvl2", second, types, |_| {
        plan_err!("nvl2 is planned as CASE")
    })
}

fn is_equal(one: &ArrayRef, other: &ArrayRef) -> Result<BooleanArray> {
    if !one.data_type().is_nested() {
        return Ok(eq(one, other)?);
    }
    let compare = make_comparator(one, other, SortOptions::default())?;
    let rows = (0..one.len()).map(|row| {
        let is_known = one.is_valid(row) && other.is_valid(row);
        Some(is_known && compare(row, row).is_eq())
    });
    Ok(rows.collect())
}

/// A text beside a number is a text until the literal is read; a text that is no literal is refused there.
fn common_peer(one: &DataType, other: &DataType) -> Option<DataType> {
    let is_number = |kind: &DataType| kind.is_numeric();
    match (one.is_string(), other.is_string()) {
        (true, false) if is_number(other) => comparison_coercion(one, other),
        (false, true) if is_number(one) => comparison_coercion(one, other),
        _ => common(one, other),
    }
}

/// Whether the type is, or has in it, a map: the engine knows no common type of two.
fn holds_map(kind: &DataType) -> bool {
    match kind {
        DataType::Map(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_map(field.data_type())),
        kind => item_of(kind).is_some_and(holds_map),
    }
}

fn is_read_late(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Boolean
            | DataType::Date32
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Interval(_)
    )
}
