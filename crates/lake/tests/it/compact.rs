//! Compaction: the same rows in fewer files, beside writers, killed anywhere.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use forebay_core::RefName;
use forebay_lake::{CompactRequest, CompactedTable, CompactionRules, Lake, WriterOptions};
use forebay_store::AsOf;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use proptest::prelude::*;

use crate::crash::dying;
use crate::faulty::Death;
use crate::site::{Site, append, bytes_of, head, id_rows, live_rows, name};

pub(crate) fn asked(table: &str) -> CompactRequest {
    CompactRequest {
        branch: RefName::main(),
        table: name(table),
        rules: CompactionRules::default(),
        dry_run: false,
        author: "test".to_owned(),
    }
}

pub(crate) async fn compact(lake: &Lake, table: &str) -> CompactedTable {
    let compacted = lake.compact(&asked(table)).await.unwrap();
    assert!(compacted.problems.is_empty(), "{compacted:?}");
    compacted
}

pub(crate) async fn compact_by(lake: &Lake, table: &str, rules: CompactionRules) -> CompactedTable {
    let mut request = asked(table);
    request.rules = rules;
    let compacted = lake.compact(&request).await.unwrap();
    assert!(compacted.problems.is_empty(), "{compacted:?}");
    compacted
}

/// Rules of any kind for small tables.
pub(crate) fn compaction_rules() -> impl Strategy<Value = CompactionRules> {
    let target = prop::sample::select(vec![None, Some(1 << 10), Some(4 << 10), Some(64 << 10)]);
    let percent = prop::sample::select(vec![1, 20, 100]);
    let commit = prop::sample::select(vec![1, 1 << 30]);
    (target, 2_usize..5, any::<bool>(), percent, commit).prop_map(
        |(target_bytes, files_min, is_gradual, deleted_percent_min, commit_bytes_max)| {
            CompactionRules {
                target_bytes,
                files_min,
                is_gradual,
                deleted_percent_min,
                delete_files_min: files_min,
                commit_bytes_max,
                ..CompactionRules::default()
            }
        },
    )
}

async fn files(site: &Site, table: &str) -> usize {
    site.table_elsewhere(table)
        .await
        .files()
        .await
        .unwrap()
        .len()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_become_one_with_the_same_rows() {
    let site = Site::new().await;
    let mut before = None;
    for id in 0..20 {
        let done = append(&site.lake, "a.t", id_rows([id, 100 + id]))
            .await
            .unwrap();
        before = Some(done.committed.id);
    }
    let expected = site.ids("a.t").await;
    let mut dry = asked("a.t");
    dry.dry_run = true;
    let dry = site.lake.compact(&dry).await.unwrap();
    assert_eq!((dry.replaced.files, dry.written.files), (20, 1));
    assert_eq!(files(&site, "a.t").await, 20, "a dry run changes nothing");

    let done = compact(&site.lake, "a.t").await;
    assert_eq!(
        (done.replaced.files, done.written.files, done.commits),
        (20, 1, 1)
    );
    assert_eq!(files(&site, "a.t").await, 1);
    assert_eq!(site.ids("a.t").await, expected);
    assert!(
        compact(&site.lake, "a.t").await.is_untouched(),
        "nothing is left to do"
    );

    let lake = site.another().await;
    let then = lake
        .table(&AsOf::Commit(before.unwrap()), &name("a.t"))
        .await;
    let then = then.unwrap().unwrap();
    assert_eq!(
        then.files().await.unwrap().len(),
        20,
        "earlier states have their files"
    );
    assert_eq!(site.ids_of(&then).await, expected);
    let table = site.table_elsewhere("a.t").await;
    let files = table.files().await.unwrap();
    assert_eq!(files[0].sequence, 20, "that of the newest of the old files");
    let newest = table.snapshots().pop().unwrap();
    assert_eq!(newest.operation, "replace");
    assert_eq!(newest.summary["total-data-files"], "1");
    assert_eq!(newest.summary["total-records"], "40");
    append(&site.lake, "a.t", id_rows([7_000])).await.unwrap();
    assert_eq!(site.ids("a.t").await.len(), 41);
}

/// Tries to compact with a store that dies after `operations`; whether it said that it did.
async fn dying_compaction(site: &Site, death: Death, operations: i64) -> bool {
    let compact = async |lake: Lake| lake.compact(&asked("a.t")).await.is_ok();
    dying(site, death, operations, compact).await
}

async fn dies_everywhere(death: Death) {
    for operations in 0..200 {
        let site = Site::new().await;
        for id in 0..5 {
            append(&site.lake, "a.t", id_rows([id])).await.unwrap();
        }
        let done = dying_compaction(&site, death, operations).await;
        assert_eq!(
            site.ids("a.t").await,
            [0, 1, 2, 3, 4],
            "after {operations} operations"
        );
        let expected = if done { 1 } else { 5 };
        assert_eq!(
            files(&site, "a.t").await,
            expected,
            "after {operations} operations"
        );
        // Whatever was left behind is in nobody's way.
        append(&site.another().await, "a.t", id_rows([5]))
            .await
            .unwrap();
        compact(&site.another().await, "a.t").await;
        assert_eq!(
            site.ids("a.t").await,
            [0, 1, 2, 3, 4, 5],
            "after {operations} operations"
        );
        if done {
            assert!(operations > 15, "files are read and written: {operations}");
            return;
        }
    }
    panic!("no compaction within 200 operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_anywhere_leaves_the_table_as_it_was_or_compacted() {
    dies_everywhere(Death::Errors).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_anywhere_leaves_the_table_as_it_was_or_compacted() {
    dies_everywhere(Death::Silence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_and_never_copied() {
    let site = Site::new().await;
    for id in 0..4 {
        append(&site.lake, "a.t", id_rows([id])).await.unwrap();
    }
    let files = site.table("a.t").await.files().await.unwrap();
    let location = files[1].location.strip_prefix(&site.place.root).unwrap();
    let path = Path::from(location);
    let mut bytes = bytes_of(&site.place.objects, &path).await.to_vec();
    // In the values, which Parquet has no checksum of.
    bytes[20] ^= 1;
    site.place.objects.put(&path, bytes.into()).await.unwrap();
    let lake = site.another().await;
    let done = lake.compact(&asked("a.t")).await.unwrap();
    assert!(done.is_untouched());
    let [problem] = &done.problems[..] else {
        panic!("{done:?}")
    };
    assert!(problem.contains(path.filename().unwrap()), "{problem}");
    assert_eq!(
        site.table_elsewhere("a.t")
            .await
            .files()
            .await
            .unwrap()
            .len(),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_older_schemas_become_one_of_the_newest() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1, 2])).await.unwrap();
    let values = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let wide = [("note", values(vec![30])), ("id", values(vec![3]))];
    let wide = RecordBatch::try_from_iter(wide).unwrap();
    append(&site.lake, "a.t", wide).await.unwrap();
    compact(&site.lake, "a.t").await;
    let table = site.table_elsewhere("a.t").await;
    let rows = live_rows(&site.place.objects, &table).await;
    let [rows] = &rows[..] else {
        panic!("{rows:?}")
    };
    let column = |name: &str| {
        rows.column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>()
            .clone()
    };
    assert_eq!(column("id"), Int64Array::from(vec![1, 2, 3]));
    assert_eq!(column("note"), Int64Array::from(vec![None, None, Some(30)]));
}

/// Each partition has files of its own, which stay in it.
#[tokio::test(flavor = "multi_thread")]
async fn sorted_rows_are_in_order_and_partitions_stay_apart() {
    let site = Site::new().await;
    for step in 0..4 {
        let mut draft = site.draft("a.t").await;
        let rows = id_rows((0..100).map(|n| (n * 37 + step * 11) % 100 + step * 100));
        if !draft.exists() {
            draft
                .create(&rows.schema(), &["bucket(2, id)".parse().unwrap()])
                .unwrap();
        }
        let mut writer = draft.writer(WriterOptions::default()).unwrap();
        let written = tokio::task::spawn_blocking(move || {
            writer.write(&rows)?;
            writer.finish()
        });
        draft.append(written.await.unwrap().unwrap());
        site.commit(draft).await;
    }
    let expected = site.ids("a.t").await;
    let rules = CompactionRules {
        sort: vec!["id".to_owned()],
        ..CompactionRules::default()
    };
    compact_by(&site.lake, "a.t", rules).await;
    assert_eq!(site.ids("a.t").await, expected);
    let table = site.table_elsewhere("a.t").await;
    let files = table.scan(None).await.unwrap().files;
    assert_eq!(files.len(), 2);
    assert_ne!(files[0].partition, files[1].partition);
    for rows in live_rows(&site.place.objects, &table).await {
        let ids = rows.column(0).as_primitive::<Int64Type>().values();
        assert!(ids.is_sorted(), "{ids:?}");
    }
}

/// A table that is compacted after every few commits is not written again each time.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_compaction_leaves_big_files_alone() {
    let site = Site::new().await;
    let noise = |n: i64| n.wrapping_mul(0x5851_F42D_4C95_7F2D).rotate_left(17) ^ n;
    append(&site.lake, "a.t", id_rows((0..400_000).map(noise)))
        .await
        .unwrap();
    for id in 0..7 {
        append(&site.lake, "a.t", id_rows([id])).await.unwrap();
    }
    let done = compact_by(&site.lake, "a.t", CompactionRules::repeated()).await;
    assert!(done.is_untouched(), "seven small files can wait: {done:?}");
    append(&site.lake, "a.t", id_rows([7])).await.unwrap();
    let done = compact_by(&site.lake, "a.t", CompactionRules::repeated()).await;
    assert_eq!(
        (done.replaced.files, done.written.files),
        (8, 1),
        "{done:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_only_compacted_is_known_as_the_same() {
    let site = Site::new().await;
    for id in 0..3 {
        append(&site.lake, "a.t", id_rows([id])).await.unwrap();
    }
    let state = async || {
        let head = site.lake.store().head(&head(), &name("a.t")).await;
        head.unwrap().unwrap()
    };
    let before = state().await;
    compact(&site.lake, "a.t").await;
    let compacted = state().await;
    assert!(
        site.lake
            .is_only_compacted(&before, &compacted)
            .await
            .unwrap()
    );
    assert!(
        !site
            .lake
            .is_only_compacted(&compacted, &before)
            .await
            .unwrap()
    );
    append(&site.lake, "a.t", id_rows([3])).await.unwrap();
    compact(&site.lake, "a.t").await;
    assert!(
        !site
            .lake
            .is_only_compacted(&before, &state().await)
            .await
            .unwrap()
    );
    let mut draft = site.draft("a.t").await;
    draft.set_property("note", "new");
    let before = state().await;
    site.commit(draft).await;
    assert!(
        !site
            .lake
            .is_only_compacted(&before, &state().await)
            .await
            .unwrap()
    );
}
