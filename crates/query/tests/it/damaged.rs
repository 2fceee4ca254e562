//! Files that somebody else deleted: the query that needs them says which, the others go on.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_core::{ErrorKind, RefName};
use forebay_store::AsOf;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::fixture::Fixture;

fn ids(ids: &[i64]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    fixture
        .append(&[("a.t", &[], ids(&[1, 2])), ("a.u", &[], ids(&[3]))])
        .await;
    fixture
}

#[tokio::test]
async fn a_data_file_that_is_gone_is_named() {
    let fixture = fixture().await;
    let head = AsOf::Head(RefName::main());
    let table = fixture
        .lake
        .table(&head, &"a.t".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let file = table.scan(None).await.unwrap().files.remove(0);
    fixture.lake.objects().delete(&file.path).await.unwrap();
    for sql in ["select * from a.t", "select sum(id) from a.t where id > 1"] {
        let error = fixture.failure(sql).await;
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::NotFound, "object_missing"),
            "{error}"
        );
        let name = file.path.filename().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.hint().unwrap().contains("forebay rebuild"), "{error}");
    }
    assert_eq!(fixture.rows("select * from a.u").await, ["3"]);
}

#[tokio::test]
async fn a_table_without_metadata_is_listed_with_its_problem() {
    let fixture = fixture().await;
    let head = AsOf::Head(RefName::main());
    let found = fixture
        .lake
        .store()
        .head(&head, &"a.t".parse().unwrap())
        .await;
    let location = found.unwrap().unwrap().metadata_location;
    let below = location.strip_prefix(fixture.lake.root()).unwrap();
    let path = Path::from(below.trim_start_matches('/'));
    fixture.lake.objects().delete(&path).await.unwrap();
    // What was read before is in memory; another process has nothing.
    let other = fixture.another().await;
    assert_eq!(
        other
            .rows("select \"table\", rows, problem like '%failed to read%' from lake.tables")
            .await,
        ["a.t |  | true", "a.u | 1 |"]
    );
    assert_eq!(other.rows("select * from a.u").await, ["3"]);
    let error = other.failure("select * from a.t").await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("a.t") && error.hint().is_some(),
        "{error}"
    );
}
