//! Tables with very many columns.

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::scan::tests::{RUNTIME, draft, read, storage};

const COLUMNS: usize = 2_000;

fn wide_schema() -> SchemaRef {
    let fields = (0..COLUMNS).map(|n| Field::new(format!("c{n}"), DataType::Int64, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn narrow(rows: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    RecordBatch::try_from_iter([("c1999", column)]).unwrap()
}

#[test]
fn a_wide_table_takes_little_memory_for_each_column() {
    let (_dir, storage) = storage();
    let draft = draft(&storage, &wide_schema(), &[]);
    let _entered = RUNTIME.enter();
    let mut writer = draft.writer(WriterOptions::default()).unwrap();
    writer.write(&narrow(100)).unwrap();
    let bytes = writer.memory_bytes();
    assert!(bytes < 48 << 20, "{bytes} bytes");
    let files = writer.finish().unwrap();
    assert_eq!(read(&storage, &files[0].path).num_rows(), 100);
}

#[test]
fn a_narrow_batch_is_fitted_to_a_wide_table_in_parts_and_is_taken_as_a_whole_or_not_at_all() {
    let (_dir, storage) = storage();
    let draft = draft(&storage, &wide_schema(), &[]);
    let _entered = RUNTIME.enter();
    let mut writer = draft.writer(WriterOptions::default()).unwrap();
    let rows = narrow(3_000);
    let parts = writer.parts(&rows);
    assert!(parts.len() > 3 && parts[0].num_rows() * COLUMNS <= PART_CELLS_MAX);
    writer.write(&rows).unwrap();
    let far = i128::from(i64::MAX) + 1;
    let values = (0..3_000).map(|n| if n == 2_999 { far } else { n });
    let column = arrow::array::Decimal128Array::from_iter_values(values);
    let column: ArrayRef = Arc::new(column.with_precision_and_scale(38, 0).unwrap());
    let bad = RecordBatch::try_from_iter([("c1999", column)]).unwrap();
    writer.write(&bad).unwrap_err();
    assert_eq!(writer.rows(), 3_000);
    let files = writer.finish().unwrap();
    assert_eq!(read(&storage, &files[0].path).num_rows(), 3_000);
}

#[test]
fn writers_of_a_lake_share_their_memory() {
    let (_dir, storage) = storage();
    let mut first = HeldMemory::new(Arc::clone(&storage));
    let mut second = HeldMemory::new(Arc::clone(&storage));
    assert!(!first.exceeds(120 << 20));
    assert!(!second.exceeds(60 << 20));
    assert!(second.exceeds(100 << 20), "together it is too much");
    assert!(!second.exceeds(2 << 20), "so little may always be held");
    assert!(first.exceeds(130 << 20), "one alone has less");
    drop(first);
    assert!(!second.exceeds(100 << 20));
}
