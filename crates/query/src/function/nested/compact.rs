//! Nested values without leftovers: a null list has no items, a null struct only nulls, and nothing lies outside of the rows.
//!
//! Arrow permits items under a null list, which `nullif` and `CASE` leave there, and many functions of the engine read them: an
//! item that was appended to NULL came with those of another value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, GenericListArray, MapArray,
    OffsetSizeTrait, StructArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{nullif, take};
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use crate::function::ScalarDefinition;

/// The name of the function, which `EXPLAIN` shows.
pub(crate) const COMPACT: &str = "compact";

/// Gives its argument back, without leftovers at any depth.
pub(crate) fn compact() -> Arc<ScalarUDF> {
    let same = |types: &[DataType]| Ok(types.to_vec());
    let kind = |types: &[DataType]| Ok(types[0].clone());
    ScalarDefinition::new(COMPACT, kind, same, |args| Ok(compacted(&args[0])?)).shared()
}

/// The array without leftovers.
pub(crate) fn compacted(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::List(item) => list::<i32>(array, item),
        DataType::LargeList(item) => list::<i64>(array, item),
        DataType::FixedSizeList(item, size) => fixed_size_list(array, item, *size),
        DataType::Struct(fields) => structs(array, fields),
        DataType::Map(entry, is_sorted) => map(array, entry, *is_sorted),
        _ => Ok(array.clone()),
    }
}

fn list<O: OffsetSizeTrait>(array: &ArrayRef, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let array = without_hidden(array, array.as_list::<O>().offsets())?;
    let lists = array.as_list::<O>();
    let items = used(lists.offsets(), lists.values());
    let values = compacted(&items)?;
    if Arc::ptr_eq(&values, lists.values()) {
        return Ok(array.clone());
    }
    let offsets = from_zero(lists.offsets());
    let nulls = lists.nulls().cloned();
    let made = GenericListArray::try_new(item.clone(), offsets, values, nulls)?;
    Ok(Arc::new(made))
}

fn map(array: &ArrayRef, entry: &FieldRef, is_sorted: bool) -> Result<ArrayRef, ArrowError> {
    let array = without_hidden(array, array.as_map().offsets())?;
    let maps = array.as_map();
    let all: ArrayRef = Arc::new(maps.entries().clone());
    let entries = compacted(&used(maps.offsets(), &all))?;
    let made = MapArray::try_new(
        entry.clone(),
        from_zero(maps.offsets()),
        entries.as_struct().clone(),
        maps.nulls().cloned(),
        is_sorted,
    )?;
    Ok(Arc::new(made))
}

/// The rows copied, where a null one has items.
fn without_hidden<O: OffsetSizeTrait>(
    array: &ArrayRef,
    offsets: &OffsetBuffer<O>,
) -> Result<ArrayRef, ArrowError> {
    if !offsets.has_non_empty_nulls(array.nulls()) {
        return Ok(array.clone());
    }
    let rows = UInt64Array::from_iter_values(0..array.len() as u64);
    take(array, &rows, None)
}

/// The items between the first offset and the last: a slice of lists has those of the others too.
fn used<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, items: &ArrayRef) -> ArrayRef {
    let first = offsets[0].as_usize();
    let last = offsets[offsets.len() - 1].as_usize();
    match first == 0 && last == items.len() {
        true => items.clone(),
        false => items.slice(first, last - first),
    }
}

fn from_zero<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> OffsetBuffer<O> {
    let first = offsets[0];
    if first == O::zero() {
        return offsets.clone();
    }
    let moved = offsets.iter().map(|offset| *offset - first);
    OffsetBuffer::new(moved.collect())
}

/// Null lists of a fixed size have items, which become nulls.
fn fixed_size_list(array: &ArrayRef, item: &FieldRef, size: i32) -> Result<ArrayRef, ArrowError> {
    let lists = array.as_fixed_size_list();
    let values = compacted(lists.values())?;
    let Some(nulls) = lists.nulls().filter(|nulls| nulls.null_count() > 0) else {
        let made = FixedSizeListArray::try_new(item.clone(), size, values, lists.nulls().cloned())?;
        return Ok(Arc::new(made));
    };
    let hidden = nulls.expand(usize::try_from(size).unwrap_or(0));
    let values = with_nulls(&values, &hidden)?;
    let nulls = Some(nulls.clone());
    let made = FixedSizeListArray::try_new(item.clone(), size, values, nulls)?;
    Ok(Arc::new(made))
}

fn structs(array: &ArrayRef, fields: &Fields) -> Result<ArrayRef, ArrowError> {
    let structs = array.as_struct();
    let nulls = structs.nulls().filter(|nulls| nulls.null_count() > 0);
    let mut is_changed = false;
    let mut columns = Vec::with_capacity(fields.len());
    for (column, field) in structs.columns().iter().zip(fields) {
        let mut made = compacted(column)?;
        if let Some(nulls) = nulls.filter(|_| field.is_nullable()) {
            made = with_nulls(&made, nulls)?;
        }
        is_changed |= !Arc::ptr_eq(&made, column);
        columns.push(made);
    }
    if !is_changed {
        return Ok(array.clone());
    }
    let made = StructArray::try_new(fields.clone(), columns, structs.nulls().cloned())?;
    Ok(Arc::new(made))
}

/// The array with these nulls too.
fn with_nulls(array: &ArrayRef, nulls: &NullBuffer) -> Result<ArrayRef, ArrowError> {
    if array.nulls().is_some_and(|own| own.contains(nulls)) {
        return Ok(array.clone());
    }
    let is_hidden = BooleanArray::new(!nulls.inner(), None);
    nullif(array, &is_hidden)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray};
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    /// `[1, 2]`, a null with the items 3 and 4, `[5]`.
    fn with_leftovers() -> ArrayRef {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(3), Some(4)]),
            Some(vec![Some(5)]),
        ]);
        let is_hidden = BooleanArray::from(vec![false, true, false]);
        nullif(&lists, &is_hidden).unwrap()
    }

    fn items(array: &ArrayRef) -> Vec<i64> {
        let lists = array.as_list::<i32>();
        lists.values().as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn null_lists_have_no_items_and_slices_only_theirs() {
        assert_eq!(items(&with_leftovers()), [1, 2, 3, 4, 5]);
        let made = compacted(&with_leftovers()).unwrap();
        assert_eq!(items(&made), [1, 2, 5]);
        assert_eq!(&made, &with_leftovers());
        let slice = compacted(&with_leftovers().slice(1, 2)).unwrap();
        assert_eq!(items(&slice), [5]);
        assert_eq!(slice.as_list::<i32>().value_offsets(), [0, 0, 1]);
    }

    #[test]
    fn lists_within_lists_and_fields_of_null_structs_are_compact_too() {
        let inner = with_leftovers();
        let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([2, 1]);
        let outer: ArrayRef = Arc::new(ListArray::new(item, offsets, inner.clone(), None));
        let made = compacted(&outer).unwrap();
        assert_eq!(items(made.as_list::<i32>().values()), [1, 2, 5]);

        let field = Arc::new(Field::new("n", DataType::Int64, true));
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let nulls = NullBuffer::from(vec![true, false]);
        let structs = StructArray::new(vec![field].into(), vec![column], Some(nulls));
        let made = compacted(&(Arc::new(structs) as ArrayRef)).unwrap();
        assert_eq!(made.as_struct().column(0).null_count(), 1);
    }
}
