//! `x < ANY (list)` and `x < ALL (list)`: unknown where a null decides, as in Postgres.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_comparator};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::binary::comparison_coercion;

use super::common::common_type;
use super::order::ASCENDING;
use crate::function::{Kernel, ScalarDefinition, rows_of, wrong_arguments};
use crate::types::local;

/// The functions by name, which the rewriting of a statement calls.
const FUNCTIONS: [(&str, Kernel); 12] = [
    ("any_equal", |args| any(args, Ordering::is_eq)),
    ("any_not_equal", |args| any(args, Ordering::is_ne)),
    ("any_less", |args| any(args, Ordering::is_lt)),
    ("any_less_or_equal", |args| any(args, Ordering::is_le)),
    ("any_greater", |args| any(args, Ordering::is_gt)),
    ("any_greater_or_equal", |args| any(args, Ordering::is_ge)),
    ("all_equal", |args| all(args, Ordering::is_eq)),
    ("all_not_equal", |args| all(args, Ordering::is_ne)),
    ("all_less", |args| all(args, Ordering::is_lt)),
    ("all_less_or_equal", |args| all(args, Ordering::is_le)),
    ("all_greater", |args| all(args, Ordering::is_gt)),
    ("all_greater_or_equal", |args| all(args, Ordering::is_ge)),
];

/// Whether a function compares its first argument with the items of its second one.
pub(crate) fn is_quantified(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| *known == name)
}

pub(crate) fn quantified() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let boolean = |_: &[DataType]| Ok(DataType::Boolean);
    FUNCTIONS.into_iter().map(move |(name, kernel)| {
        ScalarDefinition::new(name, boolean, coerces, kernel)
            .with_constants()
            .shared()
    })
}

fn coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let wrong = || {
        wrong_arguments(
            "ANY",
            "a list whose items are compared with the value",
            types,
        )
    };
    let [value, list] = types else {
        return Err(wrong());
    };
    let kind = match list {
        DataType::Null => value.clone(),
        list => common(value, item_of(list).ok_or_else(wrong)?).ok_or_else(wrong)?,
    };
    let list = DataType::List(Arc::new(Field::new_list_field(kind.clone(), true)));
    Ok(vec![kind, list])
}

/// The type of the items of a list.
pub(crate) fn item_of(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}

/// The type in which both are compared. A text beside another type is a quoted literal: others are refused elsewhere.
pub(crate) fn common(one: &DataType, other: &DataType) -> Option<DataType> {
    let is_mixed = |is_kind: fn(&DataType) -> bool, is_other: fn(&DataType) -> bool| {
        (is_kind(one) && is_other(other)) || (is_kind(other) && is_other(one))
    };
    if one == other {
        return Some(one.clone());
    }
    match (one.is_string(), other.is_string()) {
        (true, true) => return Some(DataType::Utf8),
        (true, false) if *other != DataType::Null => return Some(other.clone()),
        (false, true) if *one != DataType::Null => return Some(one.clone()),
        _ => {}
    }
    if is_mixed(DataType::is_floating, DataType::is_decimal) {
        return Some(DataType::Float64);
    }
    if one.is_nested() && other.is_nested() {
        let leaf = |kinds: &[DataType]| {
            let mut kinds = kinds.iter();
            let first = kinds.next()?.clone();
            kinds.try_fold(first, |found, kind| common_item(&found, kind))
        };
        return common_type(&[one.clone(), other.clone()], &leaf).map(|common| common.kind);
    }
    match comparison_coercion(one, other)? {
        DataType::Timestamp(_, None) => Some(local()),
        DataType::Timestamp(_, Some(_)) => Some(crate::types::utc()),
        kind => Some(kind),
    }
}

/// Within lists no text is a literal that could be read.
fn common_item(one: &DataType, other: &DataType) -> Option<DataType> {
    match one.is_string() == other.is_string() || one.is_null() || other.is_null() {
        true => common(one, other),
        false => None,
    }
}

fn any(args: &[ArrayRef], is_true: fn(Ordering) -> bool) -> Result<ArrayRef> {
    decided(args, is_true, true)
}

fn all(args: &[ArrayRef], is_true: fn(Ordering) -> bool) -> Result<ArrayRef> {
    decided(args, is_true, false)
}

/// The first comparison with the deciding result decides; a null one leaves the others unknown.
fn decided(args: &[ArrayRef], is_true: fn(Ordering) -> bool, deciding: bool) -> Result<ArrayRef> {
    let values = &args[0];
    let lists = args[1].as_list::<i32>();
    let items = lists.values();
    let compare = make_comparator(values, items, ASCENDING)?;
    let offsets = lists.value_offsets();
    let rows = (0..rows_of(args)).map(|row| {
        let of_value = if values.len() == 1 { 0 } else { row };
        let of_list = if lists.len() == 1 { 0 } else { row };
        if lists.is_null(of_list) {
            return None;
        }
        let first = usize::try_from(offsets[of_list]).unwrap_or_default();
        let last = usize::try_from(offsets[of_list + 1]).unwrap_or_default();
        let mut is_known = true;
        for item in first..last {
            if values.is_null(of_value) || items.is_null(item) {
                is_known = false;
            } else if is_true(compare(of_value, item)) == deciding {
                return Some(deciding);
            }
        }
        is_known.then_some(!deciding)
    });
    Ok(Arc::new(rows.collect::<BooleanArray>()))
}
