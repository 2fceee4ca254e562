//! `raw.<pipeline>` has the payload as a column that is read only when asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use forebay_query::{PayloadReader, QueryOptions};

use crate::fixture::{Fixture, rows};

/// Makes up payloads from the index and counts them.
#[derive(Default)]
struct Stub {
    read: AtomicUsize,
    batch_rows_max: AtomicUsize,
}

#[async_trait]
impl PayloadReader for Stub {
    async fn read(&self, index: &RecordBatch) -> forebay_core::Result<ArrayRef> {
        self.read.fetch_add(index.num_rows(), Ordering::Relaxed);
        self.batch_rows_max
            .fetch_max(index.num_rows(), Ordering::Relaxed);
        let ids = arrow::compute::cast(
            index.column_by_name("id").unwrap(),
            &arrow::datatypes::DataType::Utf8,
        )
        .unwrap();
        let payloads = ids
            .as_string::<i32>()
            .iter()
            .map(|id| id.map(|id| format!("payload {id}").into_bytes()));
        Ok(Arc::new(BinaryArray::from_iter(payloads)))
    }
}

#[tokio::test]
async fn payloads_are_read_lazily_and_a_few_at_a_time() {
    let fixture = Fixture::new().await;
    let names: Vec<String> = (0..50).map(|n| format!("p{n:02}")).collect();
    let index = RecordBatch::try_from_iter([
        ("id", Arc::new(StringArray::from(names)) as ArrayRef),
        (
            "length",
            Arc::new(Int64Array::from(vec![4 << 20; 50])) as ArrayRef,
        ),
    ])
    .unwrap();
    fixture
        .append(&[("raw.quakes", &[], index.clone()), ("a.plain", &[], index)])
        .await;
    let stub = Arc::new(Stub::default());
    let options = || QueryOptions {
        threads: 1,
        payloads: Some(stub.clone()),
        ..QueryOptions::default()
    };
    let query = fixture.query_with(options());

    assert_eq!(
        rows(&query, "select count(*), min(id) from raw.quakes")
            .await
            .unwrap(),
        ["50 | p00"]
    );
    assert_eq!(stub.read.load(Ordering::Relaxed), 0);
    let sql = "select arrow_cast(payload, 'Utf8') as text, id from raw.quakes where id = 'p07'";
    assert_eq!(rows(&query, sql).await.unwrap(), ["payload p07 | p07"]);
    let sql = "select count(*) from raw.quakes where arrow_cast(payload, 'Utf8') like '%1'";
    assert_eq!(rows(&query, sql).await.unwrap(), ["5"]);
    assert!(stub.batch_rows_max.load(Ordering::Relaxed) <= 4);

    let before = stub.read.load(Ordering::Relaxed);
    assert_eq!(
        rows(&query, "select payload from raw.quakes limit 3")
            .await
            .unwrap()
            .len(),
        3
    );
    assert!(stub.read.load(Ordering::Relaxed) - before <= 8);
    assert_eq!(
        rows(&query, "select payload from a.plain")
            .await
            .unwrap_err()
            .code(),
        "bad_sql"
    );
}
