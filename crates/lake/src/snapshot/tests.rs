use std::collections::HashMap;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::TryStreamExt;
use iceberg::spec::{
    NestedField, PrimitiveType, Schema, SnapshotReference, SnapshotRetention, SortOrder,
    TableMetadataBuilder, Type, UnboundPartitionSpec,
};
use object_store::ObjectStoreExt;

use super::*;
use crate::WriterOptions;
use crate::scan::{tests as site, without_schema};
use crate::storage::LakeStorage;

/// A table with `count` snapshots of ids 1, 2, … one second apart, of which `tagged` has a tag.
fn table(count: i64, properties: &[(&str, &str)], tagged: i64) -> TableMetadata {
    let field = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder()
        .with_fields([field.into()])
        .build()
        .unwrap();
    let properties = properties
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
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

const KEPT_MIN: &str = "history.expire.min-snapshots-to-keep";
const KEPT_MAX: &str = "forebay.history.max-snapshots";
const AGE_MAX: &str = "history.expire.max-snapshot-age-ms";

/// The expired snapshots, ascending, `age_ms` after the last of `count` snapshots.
fn gone(count: i64, properties: &[(&str, &str)], tagged: i64, age_ms: i64) -> Vec<i64> {
    let now = Timestamp((count * 1_000 + age_ms) * 1_000);
    let mut gone = outgrown(&table(count, properties, tagged), now);
    gone.sort_unstable();
    gone
}

#[test]
fn snapshots_too_many_go_many_at_once_and_never_a_tagged_one() {
    let limits = [(KEPT_MIN, "5"), (KEPT_MAX, "20")];
    assert_eq!(gone(20 + 9, &limits, 3, 0), Vec::<i64>::new());
    let all_but_tagged: Vec<i64> = (1..=10).filter(|id| *id != 3).collect();
    assert_eq!(gone(20 + 10, &limits, 3, 0), all_but_tagged);
    let nonsense = [(KEPT_MAX, "many"), (AGE_MAX, "old")];
    assert_eq!(gone(59, &nonsense, 1, 0), Vec::<i64>::new());
    assert_eq!(
        gone(61, &nonsense, 1, 0),
        (2..=11).collect::<Vec<_>>(),
        "the default holds"
    );
    let at_least = [(KEPT_MIN, "100"), (KEPT_MAX, "20")];
    assert_eq!(
        gone(61, &at_least, 1, 0),
        Vec::<i64>::new(),
        "the least is more than the most"
    );
}

#[test]
fn old_snapshots_go_but_for_the_newest() {
    let limits = [(KEPT_MIN, "5"), (AGE_MAX, "1000000")];
    assert_eq!(gone(30, &limits, 1, 900_000), Vec::<i64>::new());
    assert_eq!(gone(30, &limits, 1, 986_000), (2..=15).collect::<Vec<_>>());
    assert_eq!(
        gone(30, &limits, 1, i64::from(i32::MAX)),
        (2..=25).collect::<Vec<_>>()
    );
}

#[test]
fn a_snapshot_is_later_than_all_that_the_table_saw() {
    let table = table(5, &[], 1);
    let last = table.history().last().unwrap().timestamp_ms();
    assert_eq!(last, 5_000);
    assert!(snapshot_ms(&table, Timestamp(0)) > last);
    let future = Timestamp(i64::from(i32::MAX) * 1_000_000_000);
    assert_eq!(snapshot_ms(&table, future), future.millis());
}

/// Takes the schema out of the header of every manifest, as Impala writes them.
async fn strip_manifests(storage: &LakeStorage) {
    let objects = storage.objects();
    let files: Vec<_> = objects.list(None).try_collect().await.unwrap();
    for file in files {
        if file.location.as_ref().ends_with("-m.avro") {
            let bytes = storage.read(&file.location).await.unwrap();
            let stripped = without_schema(&bytes).to_vec();
            objects.put(&file.location, stripped.into()).await.unwrap();
        }
    }
}

#[test]
fn small_manifests_without_a_schema_are_merged() {
    let (_folder, storage) = site::storage();
    // Another engine's manifests have other names, without checksums.
    let storage = Arc::new(storage.without_checks());
    let row = |n: i64| {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        RecordBatch::try_from_iter([("id", ids)]).unwrap()
    };
    let draft = site::draft(&storage, &row(0).schema(), &[]);
    let mut metadata = TableMetadata::clone(draft.planned().unwrap());
    let mut commit = |n: usize| {
        let files = site::write(&draft, WriterOptions::default(), &[row(n as i64)]).unwrap();
        metadata = site::append(&storage, &metadata, &files);
        metadata.clone()
    };
    for n in 0..tier::FAN {
        commit(n);
    }
    site::RUNTIME.block_on(strip_manifests(&storage));
    let merged = commit(tier::FAN);
    let list = read_list(&merged, &storage, merged.current_snapshot().unwrap());
    assert_eq!(site::RUNTIME.block_on(list).unwrap().len(), 2);
    let table = site::table(&storage, merged);
    let plan = site::RUNTIME.block_on(table.scan(None)).unwrap();
    let rows: u64 = plan.files.iter().map(|file| file.rows).sum();
    assert_eq!(rows, tier::FAN as u64 + 1);
}
