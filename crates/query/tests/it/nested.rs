//! Structs and lists are read by field id, also when they have grown.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use crate::fixture::Fixture;

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn structs(children: Vec<(&str, ArrayRef)>) -> StructArray {
    let fields: Fields = children
        .iter()
        .map(|(name, child)| Field::new(*name, child.data_type().clone(), true))
        .collect();
    StructArray::new(
        fields,
        children.into_iter().map(|(_, child)| child).collect(),
        None,
    )
}

fn lists(items: StructArray, lengths: &[usize]) -> ListArray {
    let item = Arc::new(Field::new(
        "element",
        DataType::Struct(items.fields().clone()),
        true,
    ));
    ListArray::new(
        item,
        OffsetBuffer::from_lengths(lengths.iter().copied()),
        Arc::new(items),
        None,
    )
}

fn batch(ids: Vec<i64>, user: StructArray, items: ListArray) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(ids)) as ArrayRef, true),
        ("user", Arc::new(user) as ArrayRef, true),
        ("items", Arc::new(items) as ArrayRef, true),
    ])
    .unwrap()
}

#[tokio::test]
async fn a_field_added_inside_a_struct_or_list_is_null_in_older_rows() {
    let fixture = Fixture::new().await;
    let old = batch(
        vec![1, 2],
        structs(vec![
            ("name", strings(&["ann", "bob"])),
            ("city", strings(&["x", "y"])),
        ]),
        lists(structs(vec![("sku", strings(&["p", "q", "r"]))]), &[2, 1]),
    );
    fixture.append(&[("a.t", &[], old)]).await;
    // The new field stands first, so a reader that goes by place would swap columns.
    let new = batch(
        vec![3],
        structs(vec![
            ("age", strings(&["33"])),
            ("name", strings(&["cyd"])),
            ("city", strings(&["z"])),
        ]),
        lists(
            structs(vec![
                ("colour", strings(&["red"])),
                ("sku", strings(&["s"])),
            ]),
            &[1],
        ),
    );
    fixture.append(&[("a.t", &[], new)]).await;
    assert_eq!(
        fixture.rows("select id, \"user\"['name'], \"user\"['city'], \"user\"['age'] from a.t order by id").await,
        ["1 | ann | x |", "2 | bob | y |", "3 | cyd | z | 33"]
    );
    assert_eq!(
        fixture.rows("select id, i['sku'], i['colour'] from (select id, unnest(items) as i from a.t) order by 1, 2").await,
        ["1 | p |", "1 | q |", "2 | r |", "3 | s | red"]
    );
    assert_eq!(fixture.rows("select id from a.t where \"user\"['age'] = '33' or items[1]['sku'] = 'p' order by 1").await, ["1", "3"]);
    assert_eq!(
        fixture
            .rows("select count(\"user\"['age']), count(items) from a.t")
            .await,
        ["1 | 3"]
    );
}
