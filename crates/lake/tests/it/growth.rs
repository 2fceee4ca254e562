//! Tables that grow between commits.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use forebay_store::AsOf;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::site::{Site, append, drafted, head, id_rows, name};

/// One row with 9 in the column `id` and nulls in the others.
pub(crate) fn columns(columns: &[(&str, DataType)]) -> RecordBatch {
    let fields: Fields = columns
        .iter()
        .map(|(name, kind)| Field::new(*name, kind.clone(), true))
        .collect();
    let value = |field: &Arc<Field>| -> ArrayRef {
        match field.name().as_str() {
            "id" => Arc::new(Int64Array::from(vec![9])),
            _ => new_null_array(field.data_type(), 1),
        }
    };
    let values = fields.iter().map(value).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), values).unwrap()
}

/// Field ids by dotted name.
fn field_ids(schema: &SchemaRef) -> Vec<(String, String)> {
    fn walk(prefix: &str, fields: &Fields, out: &mut Vec<(String, String)>) {
        for field in fields {
            let path = format!("{prefix}{}", field.name());
            out.push((path.clone(), field.metadata()["PARQUET:field_id"].clone()));
            match field.data_type() {
                DataType::Struct(inner) => walk(&format!("{path}."), inner, out),
                DataType::List(element) => walk(
                    &format!("{path}."),
                    &Fields::from(vec![element.clone()]),
                    out,
                ),
                _ => {}
            }
        }
    }
    let mut out = Vec::new();
    walk("", schema.fields(), &mut out);
    out
}

fn items(fields: &[(&str, DataType)]) -> DataType {
    let fields: Fields = fields
        .iter()
        .map(|(name, kind)| Field::new(*name, kind.clone(), true))
        .collect();
    DataType::List(Arc::new(Field::new("item", DataType::Struct(fields), true)))
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_columns_grow_and_the_old_state_keeps_its_schema() {
    let site = Site::new().await;
    let first = columns(&[
        ("id", DataType::Int64),
        (
            "items",
            items(&[("sku", DataType::Utf8), ("count", DataType::Int32)]),
        ),
    ]);
    let before = append(&site.lake, "a.t", first).await.unwrap().committed.id;
    let wider = items(&[
        ("price", DataType::Float64),
        ("count", DataType::Int64),
        ("sku", DataType::Utf8),
    ]);
    let second = columns(&[
        ("id", DataType::Int64),
        ("items", wider),
        ("note", DataType::Utf8),
    ]);
    append(&site.lake, "a.t", second).await.unwrap();

    let then = site
        .lake
        .table(&AsOf::Commit(before), &name("a.t"))
        .await
        .unwrap()
        .unwrap();
    let now = site.table("a.t").await;
    let (old, new) = (field_ids(&then.schema()), field_ids(&now.schema()));
    assert!(
        old.iter().all(|field| new.contains(field)),
        "no id moved: {old:?} {new:?}"
    );
    let added: Vec<&str> = new
        .iter()
        .filter(|field| !old.contains(field))
        .map(|field| field.0.as_str())
        .collect();
    assert_eq!(added, ["items.element.price", "note"]);
    assert_eq!(site.ids_of(&then).await, [9]);
    assert_eq!(site.ids_of(&now).await, [9, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_older_schema_land_on_a_table_that_grew_meanwhile() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let late = drafted(&site.lake, "a.t", id_rows([2])).await.unwrap();
    let wide = columns(&[("id", DataType::Int64), ("note", DataType::Utf8)]);
    append(&site.another().await, "a.t", wide).await.unwrap();
    let done = site.commit(late).await;
    assert_eq!(done.rebases, 1);
    assert_eq!(site.ids("a.t").await, [1, 2, 9]);
    let table = site.table("a.t").await;
    assert_eq!(
        table.schema().fields().len(),
        2,
        "the column of the other writer stays"
    );
}

/// Rows that are wider by one column each time, as a source does it that makes names of data.
#[tokio::test(flavor = "multi_thread")]
async fn a_wide_table_that_gains_a_column_with_each_commit_keeps_its_metadata_small() {
    let site = Site::new().await;
    let names: Vec<String> = (0..1_000).map(|n| format!("c{n}")).collect();
    let wide = |width: usize| {
        let others = names.iter().take(width);
        let others = others.map(|name| (name.as_str(), DataType::Int64));
        let fields: Vec<_> = [("id", DataType::Int64)]
            .into_iter()
            .chain(others)
            .collect();
        columns(&fields)
    };
    let first = append(&site.lake, "a.t", wide(970)).await.unwrap();
    for width in 971..=1_000 {
        append(&site.lake, "a.t", wide(width)).await.unwrap();
    }
    let table = site.table("a.t").await;
    let file = table.metadata_location().strip_prefix(&site.place.root);
    let path = Path::from(file.unwrap());
    let bytes = site.place.objects.head(&path).await.unwrap().size;
    assert!(bytes < 1_500_000, "{bytes} bytes of metadata");
    assert_eq!(site.ids("a.t").await.len(), 31);
    let as_of = AsOf::Commit(first.committed.id);
    let then = site.another().await.table(&as_of, &name("a.t")).await;
    let then = then.unwrap().unwrap();
    assert_eq!(then.schema().fields().len(), 971);
    assert_eq!(site.ids_of(&then).await, [9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_does_not_fit_changes_nothing() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let mut draft = site.draft("a.t").await;
    let text: SchemaRef = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
    let refused = draft.evolve(&text).unwrap_err();
    assert_eq!(refused.code(), "incompatible_type");
    assert_eq!(
        refused.to_string(),
        "column id is long and cannot hold string (table a.t)"
    );
    assert_eq!(
        draft.schema(),
        site.lake
            .table(&head(), &name("a.t"))
            .await
            .unwrap()
            .map(|table| table.schema())
    );
}
