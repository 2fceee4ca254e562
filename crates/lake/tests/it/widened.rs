//! Columns of whole numbers that become doubles: the table's files are written again in the commit, or nothing changes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use forebay_core::{RefName, Result};
use forebay_lake::{Draft, Lake, LakeCommit, Table, WriterOptions};
use forebay_store::AsOf;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::crash::{dying, interrupted};
use crate::faulty::Death;
use crate::site::{Site, append, live_rows, name, request};

/// Rows of a column `v` and a list `l` with the same value.
fn rows(values: ArrayRef) -> RecordBatch {
    let element = Field::new("element", values.data_type().clone(), true);
    let each = arrow::buffer::OffsetBuffer::from_lengths(vec![1; values.len()]);
    let list = ListArray::new(Arc::new(element), each, values.clone(), None);
    let key: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    let fields = vec![
        Field::new("v", values.data_type().clone(), true),
        Field::new("l", list.data_type().clone(), true),
        Field::new("k", DataType::Int64, true),
    ];
    let columns: Vec<ArrayRef> = vec![values, Arc::new(list), key];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn longs(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    rows(Arc::new(Int64Array::from_iter_values(values)))
}

fn doubles(values: impl IntoIterator<Item = f64>) -> RecordBatch {
    rows(Arc::new(Float64Array::from_iter_values(values)))
}

async fn widening(lake: &Lake, rows: RecordBatch) -> Result<Draft> {
    let mut draft = lake.draft(&RefName::main(), &name("a.t")).await?;
    let schema = rows.schema();
    assert_eq!(draft.widening_obstacle(&schema).await?, None);
    draft.widen(&schema)?;
    draft.evolve(&schema)?;
    fill(&mut draft, rows).await?;
    Ok(draft)
}

async fn fill(draft: &mut Draft, rows: RecordBatch) -> Result<()> {
    let mut writer = draft.writer(WriterOptions::default())?;
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(written.await.unwrap()?);
    Ok(())
}

async fn widen(lake: &Lake, rows: RecordBatch) -> Result<LakeCommit> {
    let draft = widening(lake, rows).await?;
    lake.commit(request(vec![draft], Vec::new())).await
}

/// The values of `v`, which must be those of `l`, ascending; and their type.
async fn values(site: &Site, table: &Table) -> (DataType, Vec<f64>) {
    let schema = table.schema();
    let kind = schema.field_with_name("v").unwrap().data_type().clone();
    let mut found = Vec::new();
    for file in table.scan(None).await.unwrap().files {
        let bytes = site.place.objects.get(&file.path).await.unwrap();
        let bytes = bytes.bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let plain = numbers(batch.column_by_name("v").unwrap(), &kind);
            let listed = batch.column_by_name("l").unwrap().as_list::<i32>();
            assert_eq!(numbers(listed.values(), &kind), plain);
            found.extend(plain);
        }
    }
    found.sort_by(f64::total_cmp);
    (kind, found)
}

fn numbers(array: &ArrayRef, kind: &DataType) -> Vec<f64> {
    assert_eq!(array.data_type(), kind, "a file has the table's type");
    match kind {
        DataType::Float64 => array.as_primitive::<Float64Type>().values().to_vec(),
        _ => {
            let values = array.as_primitive::<Int64Type>().values();
            values.iter().map(|value| *value as f64).collect()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_are_written_again_and_the_past_keeps_its_own() {
    let site = Site::new().await;
    let lake = &site.lake;
    append(lake, "a.t", longs([5, 7])).await.unwrap();
    let before = append(lake, "a.t", longs([-1])).await.unwrap();
    widen(lake, doubles([5.25])).await.unwrap();
    append(lake, "a.t", doubles([0.5])).await.unwrap();

    let table = site.table_elsewhere("a.t").await;
    let expected = vec![-1.0, 0.5, 5.0, 5.25, 7.0];
    assert_eq!(values(&site, &table).await, (DataType::Float64, expected));
    let kinds: Vec<String> = table.snapshots().into_iter().map(|s| s.operation).collect();
    assert_eq!(kinds, ["append", "append", "replace", "append", "append"]);
    let totals: Vec<String> = table
        .snapshots()
        .into_iter()
        .map(|s| {
            format!(
                "{} in {}",
                s.summary["total-records"], s.summary["total-data-files"]
            )
        })
        .collect();
    assert_eq!(totals, ["2 in 1", "3 in 2", "3 in 2", "4 in 3", "5 in 4"]);
    let plan = table.scan(None).await.unwrap();
    let mut sequences: Vec<i64> = plan.files.iter().map(|file| file.sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 4, 5], "rows keep the age that they had");

    let past = AsOf::Commit(before.committed.id);
    let past = lake.table(&past, &name("a.t")).await.unwrap().unwrap();
    let expected = vec![-1.0, 5.0, 7.0];
    assert_eq!(values(&site, &past).await, (DataType::Int64, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_same_change_are_written_again_too() {
    let site = Site::new().await;
    let mut draft = site.draft("a.t").await;
    draft.create(&longs([]).schema(), &[]).unwrap();
    fill(&mut draft, longs([5, 7])).await.unwrap();
    let schema = doubles([]).schema();
    assert_eq!(draft.widen(&schema).unwrap().len(), 2);
    fill(&mut draft, doubles([5.25])).await.unwrap();
    site.commit(draft).await;
    let table = site.table_elsewhere("a.t").await;
    let expected = vec![5.0, 5.25, 7.0];
    assert_eq!(values(&site, &table).await, (DataType::Float64, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_append_meanwhile_is_written_again_or_refused() {
    let site = Site::new().await;
    let lake = &site.lake;
    append(lake, "a.t", longs([1])).await.unwrap();
    let late = crate::site::drafted(lake, "a.t", longs([3])).await.unwrap();
    let widened = widening(lake, doubles([0.5])).await.unwrap();
    append(&site.another().await, "a.t", longs([2]))
        .await
        .unwrap();
    let done = lake.commit(request(vec![widened], Vec::new())).await;
    assert!(done.unwrap().rebases > 0);
    let refused = lake.commit(request(vec![late], Vec::new())).await;
    assert_eq!(refused.unwrap_err().code(), "schema_moved");
    let table = site.table_elsewhere("a.t").await;
    let expected = vec![0.5, 1.0, 2.0];
    assert_eq!(values(&site, &table).await, (DataType::Float64, expected));

    // A value that no double holds came between.
    let site = Site::new().await;
    append(&site.lake, "a.t", longs([1])).await.unwrap();
    let widened = widening(&site.lake, doubles([0.5])).await.unwrap();
    append(&site.another().await, "a.t", longs([(1 << 53) + 1]))
        .await
        .unwrap();
    let refused = site.lake.commit(request(vec![widened], Vec::new())).await;
    assert_eq!(refused.unwrap_err().code(), "widening_outdated");
    let table = site.table_elsewhere("a.t").await;
    assert_eq!(values(&site, &table).await.0, DataType::Int64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exact_or_gives_a_partition_is_not_widened() {
    for (value, partition, obstacle) in [
        (1 << 53, None, None),
        ((1 << 53) + 1, None, Some("beyond 9007199254740992")),
        (-(1 << 53) - 1, None, Some("beyond 9007199254740992")),
        (1, Some("bucket(4, v)"), Some("partitioned")),
        (1, Some("bucket(4, k)"), None),
    ] {
        for column in ["v", "l"] {
            if column == "l" && partition.is_some() {
                continue;
            }
            let site = Site::new().await;
            let mut draft = site.draft("a.t").await;
            let partition: Vec<_> = partition.iter().map(|text| text.parse().unwrap()).collect();
            draft.create(&longs([]).schema(), &partition).unwrap();
            fill(&mut draft, longs([value, 2])).await.unwrap();
            site.commit(draft).await;
            let draft = site.draft("a.t").await;
            let field = doubles([])
                .schema()
                .field_with_name(column)
                .unwrap()
                .clone();
            let wanted = Arc::new(Schema::new(vec![field]));
            let found = draft.widening_obstacle(&wanted).await.unwrap();
            let found = found.map(|obstacle| obstacle.reason);
            match obstacle {
                None => assert_eq!(found, None, "{value} {column}"),
                Some(text) => assert!(found.as_ref().unwrap().contains(text), "{found:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_anywhere_leaves_the_old_table_or_the_new_one() {
    for death in [Death::Errors, Death::Silence] {
        for operations in 0..80 {
            let site = Site::new().await;
            append(&site.lake, "a.t", longs([1, 2])).await.unwrap();
            append(&site.lake, "a.t", longs([3])).await.unwrap();
            let widen = async |lake: Lake| widen(&lake, doubles([0.5])).await.is_ok();
            let done = dying(&site, death, operations, widen).await;
            let table = site.table_elsewhere("a.t").await;
            let expected = match done {
                true => (DataType::Float64, vec![0.5, 1.0, 2.0, 3.0]),
                false => (DataType::Int64, vec![1.0, 2.0, 3.0]),
            };
            assert_eq!(values(&site, &table).await, expected, "{operations}");
            if done {
                assert!(operations > 8, "{operations}");
                break;
            }
            assert!(operations < 79, "no commit");
        }
    }
}

/// Replaces the row of the key 0.
async fn replace_first(lake: &Lake, value: i64) {
    let mut draft = lake.draft(&RefName::main(), &name("a.t")).await.unwrap();
    draft.upsert_by(&["k".to_owned()], None).unwrap();
    fill(&mut draft, longs([value])).await.unwrap();
    lake.commit(request(vec![draft], Vec::new())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_deleted_while_columns_are_widened_stay_deleted() {
    for operations in (0..100).step_by(3) {
        let site = Site::new().await;
        append(&site.lake, "a.t", longs([5, 7])).await.unwrap();
        let widen = async |lake: Lake| widen(&lake, doubles([5.25])).await;
        let other = site.another().await;
        let other = replace_first(&other, 9);
        let (done, was_stopped) = Box::pin(interrupted(&site, operations, widen, other)).await;
        done.unwrap();
        if !was_stopped {
            assert!(operations > 15, "only {operations} operations");
            return;
        }
        let table = site.table_elsewhere("a.t").await;
        let live = live_rows(&site.place.objects, &table).await;
        let columns = live.iter().map(|rows| rows.column_by_name("v").unwrap());
        let mut found: Vec<f64> = columns
            .flat_map(|column| numbers(column, &DataType::Float64))
            .collect();
        found.sort_by(f64::total_cmp);
        assert_eq!(
            found,
            [5.25, 7.0, 9.0],
            "held after {operations} operations"
        );
    }
    panic!("more than 100 operations");
}
