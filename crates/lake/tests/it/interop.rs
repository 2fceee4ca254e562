//! TEMPORARY by hand: writes /tmp/interop-lake.
use crate::site::{name, objects, request, root};
use arrow::array::*;
use arrow::datatypes::*;
use forebay_core::{RefName, SystemClock};
use forebay_lake::{Lake, WriterOptions};
use forebay_store::Store;
use std::sync::Arc;

fn rows(wide: bool, from: i64, n: i64) -> RecordBatch {
    let ids: Vec<i64> = (from..from + n).collect();
    let at = TimestampMicrosecondArray::from_iter_values(
        ids.iter()
            .map(|i| 1_767_225_600_000_000 + i * 3_600_000_000),
    )
    .with_timezone("+00:00");
    let region = StringArray::from_iter_values(ids.iter().map(|i| format!("r{}", i % 3)));
    let amount = Decimal128Array::from_iter_values(ids.iter().map(|i| i128::from(*i) * 101))
        .with_precision_and_scale(12, 2)
        .unwrap();
    let mut tags = ListBuilder::new(StringBuilder::new());
    for i in &ids {
        for t in 0..(i % 4) {
            tags.values().append_value(format!("t{t}"));
        }
        tags.append(true);
    }
    let tags = tags.finish();
    let mut place: Vec<(FieldRef, ArrayRef)> = vec![(
        Arc::new(Field::new("lat", DataType::Float64, true)),
        Arc::new(Float64Array::from_iter_values(
            ids.iter().map(|i| *i as f64 / 2.0),
        )),
    )];
    if wide {
        place.push((
            Arc::new(Field::new("name", DataType::Utf8, true)),
            Arc::new(StringArray::from_iter_values(
                ids.iter().map(|i| format!("p{i}")),
            )),
        ));
    }
    let place = StructArray::from(place);
    let count: ArrayRef = if wide {
        Arc::new(Int64Array::from_iter_values(
            ids.iter().map(|i| i * 10_000_000_000),
        ))
    } else {
        Arc::new(Int32Array::from_iter_values(ids.iter().map(|i| *i as i32)))
    };
    let mut cols: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("at", Arc::new(at)),
        ("region", Arc::new(region)),
        ("amount", Arc::new(amount)),
        ("tags", Arc::new(tags)),
        ("place", Arc::new(place)),
        ("count", count),
        (
            "d",
            Arc::new(Date32Array::from_iter_values(
                ids.iter().map(|i| *i as i32 + 20_000),
            )),
        ),
    ];
    if wide {
        cols.push((
            "note",
            Arc::new(StringArray::from_iter(
                ids.iter().map(|i| (i % 2 == 0).then(|| format!("n{i}"))),
            )),
        ));
    }
    RecordBatch::try_from_iter(cols).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "by hand"]
async fn interop() {
    let dir = std::path::PathBuf::from("/tmp/interop-lake");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let clock = SystemClock::shared();
    let store = Store::open(&dir.join("store.sqlite"), clock.clone())
        .await
        .unwrap();
    let lake = Lake::new(store.clone(), objects(&dir), root(&dir), clock);
    for (table, partition) in [
        ("demo.plain", vec![]),
        ("demo.parts", vec!["day(at)", "bucket(4, id)", "region"]),
        ("demo.trunc", vec!["truncate(1, region)", "hour(at)"]),
    ] {
        for commit in 0..70 {
            let wide = commit >= 40;
            let batch = rows(wide, commit * 10, 10);
            let mut draft = lake.draft(&RefName::main(), &name(table)).await.unwrap();
            if draft.exists() {
                draft.evolve(&batch.schema()).unwrap();
            } else {
                let fields: Vec<_> = partition
                    .iter()
                    .map(|p: &&str| p.parse().unwrap())
                    .collect();
                draft.create(&batch.schema(), &fields).unwrap();
            }
            let mut writer = draft.writer(WriterOptions::default()).unwrap();
            let files = tokio::task::spawn_blocking(move || {
                writer.write(&batch).unwrap();
                writer.finish().unwrap()
            })
            .await
            .unwrap();
            draft.append(files);
            lake.commit(request(vec![draft], vec![])).await.unwrap();
        }
        let t = lake
            .table(&crate::site::head(), &name(table))
            .await
            .unwrap()
            .unwrap();
        eprintln!("{table} {}", t.metadata_location());
    }
    store.close().await;
}
