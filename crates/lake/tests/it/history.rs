//! Tables of many commits: manifests are merged, old snapshots leave the metadata, and time only goes forward.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use forebay_core::RefName;
use forebay_lake::scan::ScanPlan;
use forebay_store::AsOf;

use crate::site::{Site, append, drafted, head, id_rows, name, request};

#[tokio::test(flavor = "multi_thread")]
async fn many_small_commits_keep_few_manifests_and_snapshots_and_all_rows() {
    const COMMITS: i64 = 130;
    let site = Site::new().await;
    let mut draft = drafted(&site.lake, "a.t", id_rows([0])).await.unwrap();
    draft.set_property("history.expire.min-snapshots-to-keep", "10");
    let first = site.commit(draft).await.committed.id;
    let mut middle = first;
    for id in 1..COMMITS {
        let done = append(&site.lake, "a.t", id_rows([id])).await.unwrap();
        middle = if id == 60 { done.committed.id } else { middle };
    }
    let table = site.table_elsewhere("a.t").await;
    assert_eq!(site.ids_of(&table).await, (0..COMMITS).collect::<Vec<_>>());
    let plan = table.scan(None).await.unwrap();
    assert!(
        plan.manifests_total <= 51,
        "{} manifests",
        plan.manifests_total
    );
    assert!(
        table.snapshots().len() <= 60,
        "{} snapshots",
        table.snapshots().len()
    );
    // What the writer remembers of its own manifests is what is in them.
    let remembered = site.table("a.t").await.scan(None).await.unwrap();
    let shown = |plan: &ScanPlan| {
        let mut files: Vec<String> = plan.files.iter().map(|file| format!("{file:?}")).collect();
        files.sort_unstable();
        files
    };
    assert_eq!(shown(&remembered), shown(&plan));
    // Every file keeps the sequence of the commit that it came with.
    let mut sequences: Vec<i64> = plan.files.iter().map(|file| file.sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=COMMITS).collect::<Vec<_>>());
    // Snapshots that the newest metadata dropped are still read through the log.
    for (commit, rows) in [(first, 1), (middle, 61)] {
        let then = site
            .lake
            .table(&AsOf::Commit(commit), &name("a.t"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(site.ids_of(&then).await, (0..rows).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_does_not_stop_commits() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    for (id, step) in [
        (2, -3_600_000_000),
        (3, 0),
        (4, 7_200_000_000),
        (5, -90_000_000),
    ] {
        site.clock.skew(step);
        append(&site.lake, "a.t", id_rows([id])).await.unwrap();
    }
    let table = site.table("a.t").await;
    let times: Vec<i64> = table
        .snapshots()
        .iter()
        .map(|snapshot| snapshot.at.micros())
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert_eq!(site.ids("a.t").await, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_moves_without_main() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let branch: RefName = "staging".parse().unwrap();
    site.lake
        .store()
        .create_branch(&branch, &RefName::main())
        .await
        .unwrap();
    let mut draft = site.lake.draft(&branch, &name("a.t")).await.unwrap();
    draft.set_property("colour", "blue");
    let mut change = request(vec![draft], Vec::new());
    change.branch = branch.clone();
    site.lake.commit(change).await.unwrap();
    let colour = async |as_of: AsOf| {
        let table = site
            .lake
            .table(&as_of, &name("a.t"))
            .await
            .unwrap()
            .unwrap();
        table.properties().get("colour").cloned()
    };
    assert_eq!(colour(AsOf::Head(branch)).await.as_deref(), Some("blue"));
    assert_eq!(colour(head()).await, None);
}

/// Partition values change their type with their column; manifests of both types are merged apart.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_a_promoted_partition_column_are_merged_apart() {
    const COMMITS: i64 = 60;
    let site = Site::new().await;
    let batch = |id: i64, wide: bool| {
        let day: ArrayRef = match wide {
            true => Arc::new(Int64Array::from(vec![id % 3])),
            false => Arc::new(Int32Array::from(vec![(id % 3) as i32])),
        };
        let id: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        RecordBatch::try_from_iter([("id", id), ("day", day)]).unwrap()
    };
    let mut draft = site.draft("a.t").await;
    draft
        .create(&batch(0, false).schema(), &["day".parse().unwrap()])
        .unwrap();
    site.commit(draft).await;
    for id in 0..2 * COMMITS {
        append(&site.lake, "a.t", batch(id, id >= COMMITS))
            .await
            .unwrap();
    }
    assert_eq!(site.ids("a.t").await, (0..2 * COMMITS).collect::<Vec<_>>());
    let table = site.table("a.t").await;
    let plan = table.scan(None).await.unwrap();
    assert!(
        plan.manifests_total <= 51,
        "{} manifests",
        plan.manifests_total
    );
}
