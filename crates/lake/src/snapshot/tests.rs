use std::collections::HashMap;

use iceberg::spec::{
    NestedField, PrimitiveType, Schema, SnapshotReference, SnapshotRetention, SortOrder,
    TableMetadataBuilder, Type, UnboundPartitionSpec,
};

use super::*;

/// A table with `count` snapshots of ids 1, 2, … one second apart, of which `tagged` has a tag.
fn table(count: i64, kept: &str, tagged: i64) -> TableMetadata {
    let field = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder()
        .with_fields([field.into()])
        .build()
        .unwrap();
    let properties = HashMap::from([(SNAPSHOTS_KEPT_PROPERTY.to_owned(), kept.to_owned())]);
    let spec = UnboundPartitionSpec::builder().build();
    let order = SortOrder::unsorted_order();
    let location = "s3://b/t".to_owned();
    let mut builder =
        TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, properties)
            .unwrap();
    for id in 1..=count {
        let parent = (id > 1).then_some(id - 1);
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(id)
            .with_timestamp_ms(id * 1_000)
            .with_manifest_list(format!("s3://b/t/metadata/{id}"))
            .with_summary(Summary {
                operation: Operation::Append,
                additional_properties: HashMap::new(),
            })
            .with_schema_id(0)
            .build();
        builder = builder
            .set_branch_snapshot(snapshot, "main")
            .unwrap()
            .build()
            .unwrap()
            .metadata
            .into_builder(None);
    }
    let tag = SnapshotReference::new(
        tagged,
        SnapshotRetention::Tag {
            max_ref_age_ms: None,
        },
    );
    builder
        .set_ref("release", tag)
        .unwrap()
        .build()
        .unwrap()
        .metadata
}

#[test]
fn old_snapshots_go_many_at_once_and_never_a_tagged_one() {
    assert_eq!(outgrown(&table(10 + 49, "10", 3)), Vec::<i64>::new());
    let gone = outgrown(&table(10 + 50, "10", 3));
    assert_eq!(gone, (1..=50).filter(|id| *id != 3).collect::<Vec<_>>());
    assert_eq!(
        outgrown(&table(60, "nonsense", 1)),
        Vec::<i64>::new(),
        "the default holds"
    );
}

#[test]
fn a_snapshot_is_later_than_all_that_the_table_saw() {
    let table = table(5, "10", 1);
    let last = table.history().last().unwrap().timestamp_ms();
    assert_eq!(last, 5_000);
    assert!(snapshot_ms(&table, Timestamp(0)) > last);
    let future = Timestamp(i64::from(i32::MAX) * 1_000_000_000);
    assert_eq!(snapshot_ms(&table, future), future.millis());
}
