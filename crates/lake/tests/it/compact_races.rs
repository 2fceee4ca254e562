//! Compaction beside writers: whoever comes first, no row and no delete is lost, and nobody fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use forebay_core::RefName;
use forebay_lake::{CompactionRules, Lake, PartitionField, WriterOptions};
use forebay_store::{AsOf, Change, Commit, HeadChange};
use forebay_testkit::on_s3;
use futures::future::{BoxFuture, FutureExt, join_all};

use crate::compact::{asked, compact, compact_by};
use crate::crash::interrupted;
use crate::site::{Site, head, live_rows, name, request};

const TABLE: &str = "a.t";
/// More operations than one of these takes.
const OPERATIONS_MAX: i64 = 150;

/// Values by key.
type Rows = BTreeMap<i64, i64>;

async fn upsert(lake: &Lake, rows: &[(i64, i64)]) {
    upsert_into(lake, rows, &[]).await;
}

/// The same; a new table has these partitions.
async fn upsert_into(lake: &Lake, rows: &[(i64, i64)], partition: &[PartitionField]) {
    let (keys, values): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let rows = RecordBatch::try_from_iter([("id", column(keys)), ("v", column(values))]).unwrap();
    let mut draft = lake.draft(&RefName::main(), &name(TABLE)).await.unwrap();
    if !draft.exists() {
        draft.create(&rows.schema(), partition).unwrap();
    }
    draft.upsert_by(&["id".to_owned()], None).unwrap();
    let mut writer = draft.writer(WriterOptions::default()).unwrap();
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(written.await.unwrap().unwrap());
    lake.commit(request(vec![draft], Vec::new())).await.unwrap();
}

async fn rows_of(site: &Site) -> Rows {
    let table = site.table_elsewhere(TABLE).await;
    let mut rows = Rows::new();
    for batch in live_rows(&site.place.objects, &table).await {
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        let (keys, values) = (column("id"), column("v"));
        let (keys, values) = (
            keys.as_primitive::<Int64Type>(),
            values.as_primitive::<Int64Type>(),
        );
        for row in 0..batch.num_rows() {
            let before = rows.insert(keys.value(row), values.value(row));
            assert_eq!(before, None, "key {} comes twice", keys.value(row));
        }
    }
    rows
}

/// A table of three files of four keys each. The first row of each but the last is deleted already, so that rows after it move.
async fn filled() -> (Site, Rows) {
    let site = Site::new().await;
    let mut rows = Rows::new();
    for file in 0..3 {
        let first = (2 - file) * 3;
        let own: Vec<(i64, i64)> = (first..first + 4).map(|key| (key, file)).collect();
        upsert(&site.lake, &own).await;
        rows.extend(own);
    }
    assert_eq!(rows_of(&site).await, rows);
    (site, rows)
}

type Work = Box<dyn Fn(Lake) -> BoxFuture<'static, ()> + Send + Sync>;

/// Runs `work` on a store that stops after so many operations, some numbers in turn from the first on, and meanwhile `other`.
async fn held_everywhere(first: i64, work: Work, other: Work, change: &[(i64, i64)]) {
    let every = if on_s3() { 11 } else { 3 };
    for operations in (first..OPERATIONS_MAX).step_by(every) {
        let (site, mut rows) = filled().await;
        let other = other(site.another().await);
        let ((), was_stopped) = interrupted(&site, operations, &work, other).await;
        if !was_stopped {
            assert!(operations > 15, "only {operations} operations");
            return;
        }
        rows.extend(change.iter().copied());
        assert_eq!(
            rows_of(&site).await,
            rows,
            "held after {operations} operations"
        );
        compact(&site.another().await, TABLE).await;
        assert_eq!(
            rows_of(&site).await,
            rows,
            "held after {operations} operations"
        );
    }
    panic!("more than {OPERATIONS_MAX} operations");
}

/// Keys of several files and new ones.
const CHANGE: [(i64, i64); 5] = [(1, 100), (5, 100), (6, 100), (9, 100), (77, 100)];

fn compaction() -> Work {
    Box::new(|lake| {
        async move {
            let done = lake.compact(&asked(TABLE)).await.unwrap();
            assert!(done.problems.is_empty(), "{done:?}");
        }
        .boxed()
    })
}

fn sorting() -> Work {
    Box::new(|lake| {
        async move {
            let rules = CompactionRules {
                sort: vec!["id".to_owned()],
                ..CompactionRules::default()
            };
            compact_by(&lake, TABLE, rules).await;
        }
        .boxed()
    })
}

fn keyed_commit() -> Work {
    Box::new(|lake| async move { upsert(&lake, &CHANGE).await }.boxed())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_deleted_while_files_are_written_again_stay_deleted() {
    held_everywhere(0, compaction(), keyed_commit(), &CHANGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_deleted_while_files_are_sorted_stay_deleted() {
    held_everywhere(1, sorting(), keyed_commit(), &CHANGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_commit_finds_its_rows_where_a_compaction_has_put_them() {
    held_everywhere(2, keyed_commit(), compaction(), &CHANGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_compactions_at_once_leave_every_row_once() {
    held_everywhere(1, compaction(), sorting(), &[]).await;
}

/// The table goes back to the state before its last commit.
fn rollback() -> Work {
    Box::new(|lake| {
        async move {
            let log = lake.store().log(&RefName::main(), 2).await.unwrap();
            let state = async |as_of| lake.store().head(&as_of, &name(TABLE)).await;
            let now = state(head()).await.unwrap().unwrap();
            let then = state(AsOf::Commit(log[1].id)).await.unwrap().unwrap();
            let request = request(Vec::new(), Vec::new());
            let back = HeadChange {
                table: name(TABLE),
                uuid: now.uuid,
                expected: Some(now.metadata_location),
                change: Change::Set(then.metadata_location),
            };
            let back = Commit::of_heads(
                request.id,
                request.branch,
                request.author,
                request.message,
                vec![back],
            );
            lake.store().commit(back).await.unwrap();
        }
        .boxed()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_rollback_has_brought_back_are_not_left_out() {
    for operations in (0..OPERATIONS_MAX).step_by(4) {
        // Rows move to another partition: what is left is written again, and the new file stays.
        let site = Site::new().await;
        let rows = Rows::from([(0, 1), (1, 1), (2, 1), (3, 1)]);
        let first: Vec<(i64, i64)> = rows.clone().into_iter().collect();
        upsert_into(&site.lake, &first, &["v".parse().unwrap()]).await;
        upsert(&site.lake, &[(0, 7), (1, 7), (2, 7)]).await;
        let other = rollback()(site.another().await);
        let ((), was_stopped) = interrupted(&site, operations, compaction(), other).await;
        if !was_stopped {
            assert!(operations > 15, "only {operations} operations");
            return;
        }
        assert_eq!(
            rows_of(&site).await,
            rows,
            "held after {operations} operations"
        );
    }
    panic!("more than {OPERATIONS_MAX} operations");
}

/// Deletes of a table stay few, and are gone when nothing needs them.
#[tokio::test(flavor = "multi_thread")]
async fn delete_files_are_merged_and_dropped() {
    let site = Site::new().await;
    let many: Vec<(i64, i64)> = (0..1_000).map(|key| (key, 0)).collect();
    upsert(&site.lake, &many).await;
    for commit in 1..10 {
        upsert(&site.lake, &[(commit, commit)]).await;
    }
    let deletes = async || {
        let files = site.table_elsewhere(TABLE).await.files().await.unwrap();
        let deletes = files.iter().filter(|file| file.content.as_str() != "data");
        deletes.count()
    };
    assert_eq!(deletes().await, 9);
    let before = rows_of(&site).await;
    let rules = CompactionRules {
        files_min: 100,
        delete_files_min: 5,
        ..CompactionRules::default()
    };
    let done = compact_by(&site.lake, TABLE, rules).await;
    assert_eq!((done.deletes_removed, done.replaced.files), (9, 0));
    assert_eq!(deletes().await, 1);
    assert_eq!(rows_of(&site).await, before);
    compact(&site.lake, TABLE).await;
    assert_eq!(deletes().await, 0);
    assert_eq!(rows_of(&site).await, before);
    let table = site.table_elsewhere(TABLE).await;
    let newest = table.snapshots().pop().unwrap();
    assert_eq!(newest.summary["total-position-deletes"], "0");
    assert_eq!(newest.summary["total-records"], "1000");
}

/// A delete file may be about files that became one, and about another that stays.
#[tokio::test(flavor = "multi_thread")]
async fn deletes_of_a_file_that_is_not_written_again_stay() {
    let site = Site::new().await;
    let noise = |key: i64| key.wrapping_mul(0x5851_F42D_4C95_7F2D).rotate_left(17);
    let many: Vec<(i64, i64)> = (0..50_000).map(|key| (key, noise(key))).collect();
    upsert(&site.lake, &many).await;
    for commit in 1..6 {
        // A row of the big file, and one of the file before.
        upsert(&site.lake, &[(commit, commit), (commit - 1, commit)]).await;
    }
    let before = rows_of(&site).await;
    assert_eq!(before.len(), 50_000);
    for delete_files_min in [100, 2] {
        let rules = CompactionRules {
            target_bytes: Some(100 << 10),
            delete_files_min,
            ..CompactionRules::default()
        };
        compact_by(&site.lake, TABLE, rules).await;
        assert_eq!(rows_of(&site).await, before, "{delete_files_min}");
    }
    let files = site.table_elsewhere(TABLE).await.files().await.unwrap();
    assert_eq!(
        files.len(),
        3,
        "the big one, one of the others, deletes: {files:?}"
    );
}

/// Sixteen writers of appended and replaced rows, and a compaction after another.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_beside_compactions_all_land_once() {
    let site = Site::new().await;
    upsert(&site.lake, &[(0, 0)]).await;
    let processes = [
        site.another_in_real_time().await,
        site.another_in_real_time().await,
    ];
    let writer = async |writer: i64| {
        let lake = processes[writer as usize % 2].clone();
        for commit in 0..4 {
            // A key of its own, and one that all writers replace.
            upsert(
                &lake,
                &[(writer * 100 + commit, commit), (1_000_000, writer)],
            )
            .await;
        }
    };
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let compacting = async |sort: bool| {
        let lake = processes[usize::from(sort)].clone();
        let mut commits = 0;
        while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
            let rules = CompactionRules {
                sort: if sort {
                    vec!["id".to_owned()]
                } else {
                    Vec::new()
                },
                ..CompactionRules::default()
            };
            commits += compact_by(&lake, TABLE, rules).await.commits;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        commits
    };
    let writers = async {
        join_all((1..17).map(writer)).await;
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let ((), plain, sorted) = tokio::join!(writers, compacting(false), compacting(true));
    assert!(plain + sorted > 3, "{plain} and {sorted} compactions");
    let mut rows = rows_of(&site).await;
    assert!(rows.remove(&1_000_000).is_some());
    let own = (1..17).flat_map(|writer| (0..4).map(move |commit| (writer * 100 + commit, commit)));
    let mut expected: Rows = own.collect();
    expected.insert(0, 0);
    assert_eq!(rows, expected);
}
