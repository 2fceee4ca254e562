//! Compaction: the same rows in fewer files, beside writers, killed anywhere.

use std::sync::Arc;

use forebay_lake::{CompactRequest, CompactedTable, CompactionRules, Lake};
use forebay_core::RefName;
use forebay_store::AsOf;
use object_store::ObjectStore;
use proptest::prelude::*;

use crate::faulty::{Death, Faulty};
use crate::site::{Site, append, id_rows, name};

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
    site.table_elsewhere(table).await.files().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_become_one_with_the_same_rows() {
    let site = Site::new().await;
    let mut before = None;
    for id in 0..20 {
        let done = append(&site.lake, "a.t", id_rows([id, 100 + id])).await.unwrap();
        before = Some(done.committed.id);
    }
    let expected = site.ids("a.t").await;
    let mut dry = asked("a.t");
    dry.dry_run = true;
    let dry = site.lake.compact(&dry).await.unwrap();
    assert_eq!((dry.replaced.files, dry.written.files), (20, 1));
    assert_eq!(files(&site, "a.t").await, 20, "a dry run changes nothing");

    let done = compact(&site.lake, "a.t").await;
    assert_eq!((done.replaced.files, done.written.files, done.commits), (20, 1, 1));
    assert_eq!(files(&site, "a.t").await, 1);
    assert_eq!(site.ids("a.t").await, expected);
    assert!(compact(&site.lake, "a.t").await.is_untouched(), "nothing is left to do");

    let lake = site.another().await;
    let then = lake.table(&AsOf::Commit(before.unwrap()), &name("a.t")).await;
    let then = then.unwrap().unwrap();
    assert_eq!(then.files().await.unwrap().len(), 20, "earlier states have their files");
    assert_eq!(site.ids_of(&then).await, expected);
    let table = site.table_elsewhere("a.t").await;
    let newest = table.snapshots().pop().unwrap();
    assert_eq!(newest.operation, "replace");
    assert_eq!(newest.summary["total-data-files"], "1");
    assert_eq!(newest.summary["total-records"], "40");
    append(&site.lake, "a.t", id_rows([7_000])).await.unwrap();
    assert_eq!(site.ids("a.t").await.len(), 41);
}

/// Tries to compact with a store that dies after `operations`; whether it said that it did.
async fn dying_compaction(site: &Site, death: Death, operations: i64) -> bool {
    let faulty = Faulty::new(site.place.objects.clone(), death, operations);
    let lake = site.another_on(faulty.clone() as Arc<dyn ObjectStore>).await;
    let mut work = tokio::spawn(async move { lake.compact(&asked("a.t")).await.is_ok() });
    let done = tokio::select! {
        done = &mut work => done.unwrap(),
        () = faulty.died() => {
            work.abort();
            let _ = work.await;
            false
        }
    };
    faulty.release();
    done
}

async fn dies_everywhere(death: Death) {
    for operations in 0..200 {
        let site = Site::new().await;
        for id in 0..5 {
            append(&site.lake, "a.t", id_rows([id])).await.unwrap();
        }
        let done = dying_compaction(&site, death, operations).await;
        assert_eq!(site.ids("a.t").await, [0, 1, 2, 3, 4], "after {operations} operations");
        let expected = if done { 1 } else { 5 };
        assert_eq!(files(&site, "a.t").await, expected, "after {operations} operations");
        // Whatever was left behind is in nobody's way.
        append(&site.another().await, "a.t", id_rows([5])).await.unwrap();
        compact(&site.another().await, "a.t").await;
        assert_eq!(site.ids("a.t").await, [0, 1, 2, 3, 4, 5], "after {operations} operations");
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
