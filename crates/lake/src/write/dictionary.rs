//! Which columns are better off without a dictionary: those whose values hardly ever repeat.
//!
//! Parquet drops a dictionary on its own once it is too big, after having built it for nothing. A column is judged
//! by the first rows of a file; the threshold is so high that a value drawn from fewer than about 400,000 others (which
//! a dictionary may still serve) keeps its dictionary.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use forebay_core::{Error, Result};
use parquet::arrow::ArrowSchemaConverter;
use parquet::schema::types::ColumnPath;

/// Values that are sampled; fewer than the lower bound are not enough for a decision.
const SAMPLE_VALUES_MIN: usize = 4_096;
const SAMPLE_VALUES_MAX: usize = 8_192;
/// Distinct values among 100 from which on a column counts as unique.
const UNIQUE_PERCENT: usize = 99;

/// Columns of a file that get a dictionary: the encoder takes 70 KiB for one before it has a value. Those that have values in the first
/// rows come first.
pub(super) const DICTIONARIES_MAX: usize = 256;

/// The columns that get no dictionary.
pub(super) fn columns_without(first: &RecordBatch) -> Result<Vec<ColumnPath>> {
    let is_wide = first.schema().flattened_fields().len() > DICTIONARIES_MAX;
    if !is_wide && first.num_rows() < SAMPLE_VALUES_MIN {
        return Ok(Vec::new());
    }
    let bad =
        |e| Error::bug("encode_failed", "failed to map a table's schema to Parquet").with_source(e);
    let schema = ArrowSchemaConverter::new()
        .convert(&first.schema())
        .map_err(bad)?;
    let mut leaves = Vec::with_capacity(schema.num_columns());
    first
        .columns()
        .iter()
        .for_each(|column| collect_leaves(column, &mut leaves));
    if leaves.len() != schema.num_columns() {
        leaves.clear();
    }
    let mut room = if is_wide {
        DICTIONARIES_MAX
    } else {
        usize::MAX
    };
    let mut without = Vec::new();
    for (n, column) in schema.columns().iter().enumerate() {
        let leaf = leaves.get(n);
        let is_worth = leaf.is_none_or(|leaf| !(is_unique(leaf) || is_wide && is_empty(leaf)));
        if is_worth && room > 0 {
            room -= 1;
        } else {
            without.push(column.path().clone());
        }
    }
    Ok(without)
}

fn is_empty(leaf: &ArrayRef) -> bool {
    leaf.logical_null_count() == leaf.len()
}

/// The leaf arrays below `array`, in the order of Parquet's columns.
fn collect_leaves(array: &ArrayRef, leaves: &mut Vec<ArrayRef>) {
    match array.data_type() {
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .for_each(|c| collect_leaves(c, leaves)),
        DataType::List(_) => collect_leaves(array.as_list::<i32>().values(), leaves),
        DataType::LargeList(_) => collect_leaves(array.as_list::<i64>().values(), leaves),
        DataType::Map(_, _) => array
            .as_map()
            .entries()
            .columns()
            .iter()
            .for_each(|c| collect_leaves(c, leaves)),
        _ => leaves.push(Arc::clone(array)),
    }
}

fn is_unique(leaf: &ArrayRef) -> bool {
    let count = leaf.len().min(SAMPLE_VALUES_MAX);
    let sample = leaf.slice(0, count);
    let present = count - sample.logical_null_count();
    if present < SAMPLE_VALUES_MIN {
        return false;
    }
    let rows = RowConverter::new(vec![SortField::new(leaf.data_type().clone())])
        .and_then(|converter| converter.convert_columns(&[Arc::clone(&sample)]));
    let Ok(rows) = rows else { return false };
    let nulls = sample.logical_nulls();
    let valid = (0..count).filter(|i| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*i)));
    let distinct: HashSet<_> = valid.map(|i| rows.row(i)).collect();
    distinct.len() * 100 >= present * UNIQUE_PERCENT
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn only_columns_without_repeats_lose_their_dictionary() {
        let n = 8_000_i64;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from_iter_values(0..n))),
            (
                "user",
                Arc::new(Int64Array::from_iter_values(
                    (0..n).map(|i| i * 7_919 % 20_011 % 5_000),
                )),
            ),
            (
                "city",
                Arc::new(StringArray::from_iter_values(
                    (0..n).map(|i| format!("c{}", i % 50)),
                )),
            ),
            (
                "price",
                Arc::new(Float64Array::from_iter_values(
                    (0..n).map(|i| i as f64 * 0.37),
                )),
            ),
            (
                "rare",
                Arc::new(Int64Array::from_iter(
                    (0..n).map(|i| (i % 100 == 0).then_some(i)),
                )),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns.clone()).unwrap();
        let names: Vec<String> = columns_without(&batch)
            .unwrap()
            .iter()
            .map(ColumnPath::string)
            .collect();
        assert_eq!(names, ["id", "price"]);
        let small = batch.slice(0, 100);
        assert!(columns_without(&small).unwrap().is_empty());
    }
}
