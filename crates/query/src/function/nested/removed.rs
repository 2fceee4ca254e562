//! `array_remove`: every item that equals the value, where a null equals a null, as in Postgres; the engine gives null for a null value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, make_comparator};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::order::ASCENDING;
use super::quantified::{common, item_of};
use crate::function::{ScalarDefinition, wrong_arguments};

/// Statements call it `array_remove`: the engine has another function of that name, which removes one item.
pub(crate) fn without() -> Arc<ScalarUDF> {
    let list = |types: &[DataType]| Ok(types[0].clone());
    ScalarDefinition::new("array_remove_all", list, coerces, removed)
        .with_alias("list_remove_all")
        .shared()
}

fn coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let wrong = || wrong_arguments("array_remove", "a list and a value", types);
    let [list, value] = types else {
        return Err(wrong());
    };
    let item = match list {
        DataType::Null => value.clone(),
        list => common(item_of(list).ok_or_else(wrong)?, value).ok_or_else(wrong)?,
    };
    let list = DataType::List(Arc::new(Field::new_list_field(item.clone(), true)));
    Ok(vec![list, item])
}

fn removed(args: &[ArrayRef]) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let (field, offsets, items, nulls) = lists.clone().into_parts();
    let compare = make_comparator(&items, &args[1], ASCENDING)?;
    let rows = row_of_items(&offsets, items.len());
    let is_kept = BooleanBuffer::collect_bool(items.len(), |item| {
        rows[item].is_some_and(|row| compare(item, row).is_ne())
    });
    let counts = (0..lists.len()).map(|row| {
        let first = usize::try_from(offsets[row]).unwrap_or_default();
        let last = usize::try_from(offsets[row + 1]).unwrap_or_default();
        is_kept.slice(first, last - first).count_set_bits()
    });
    let offsets = OffsetBuffer::from_lengths(counts);
    let items = filter(&items, &BooleanArray::new(is_kept, None))?;
    Ok(Arc::new(ListArray::try_new(field, offsets, items, nulls)?))
}

/// The row that each item belongs to; none for leftovers outside of all rows.
fn row_of_items(offsets: &OffsetBuffer<i32>, count: usize) -> Vec<Option<usize>> {
    let mut rows = vec![None; count];
    for (row, ends) in offsets.windows(2).enumerate() {
        let first = usize::try_from(ends[0]).unwrap_or_default();
        let last = usize::try_from(ends[1]).unwrap_or_default();
        rows[first..last].fill(Some(row));
    }
    rows
}
