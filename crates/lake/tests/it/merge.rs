//! Merging branches: what fast-forwards, what is added, what is a conflict, and what a later merge starts from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use forebay_core::{CommitId, Error, Position, RefName, Result};
use forebay_lake::{
    BranchChanges, ChangeKind, Draft, Lake, MergeOutcome, MergeRequest, MergedBranch, WriterOptions,
};
use forebay_store::{AsOf, Change, Commit, Head, LeaseRequest, PositionMove};

use crate::clean::asked;
use crate::compact::asked as asked_compaction;
use crate::site::{LATER, Site, drafted_on, id_rows, ids_in, live_rows, name, request};

pub(crate) fn branch(name: &str) -> RefName {
    name.parse().unwrap()
}

pub(crate) fn asked_merge(source: &str, target: &str) -> MergeRequest {
    let change = request(Vec::new(), Vec::new());
    MergeRequest {
        id: change.id,
        source_head: None,
        source: branch(source),
        target: branch(target),
        author: "test".to_owned(),
        owner: format!("merge-{}", uuid::Uuid::new_v4()),
        lease: Duration::from_secs(60),
    }
}

pub(crate) async fn merge(lake: &Lake, source: &str, target: &str) -> Result<MergedBranch> {
    lake.merge_branch(&asked_merge(source, target)).await
}

pub(crate) async fn fork(lake: &Lake, name: &str, from: &str) {
    let made = lake
        .store()
        .create_branch(&branch(name), &branch(from))
        .await;
    made.unwrap();
}

pub(crate) async fn commit_on(
    lake: &Lake,
    on: &str,
    drafts: Vec<Draft>,
    positions: Vec<PositionMove>,
) -> CommitId {
    let mut change = request(drafts, positions);
    change.branch = branch(on);
    lake.commit(change).await.unwrap().committed.id
}

pub(crate) async fn append_on(lake: &Lake, on: &str, table: &str, ids: &[i64]) -> CommitId {
    let rows = id_rows(ids.iter().copied());
    let draft = drafted_on(lake, &branch(on), table, rows).await.unwrap();
    commit_on(lake, on, vec![draft], Vec::new()).await
}

pub(crate) async fn ids_on(site: &Site, on: &str, table: &str) -> Vec<i64> {
    let lake = site.another().await;
    let found = lake.table(&AsOf::Head(branch(on)), &name(table)).await;
    match found.unwrap() {
        Some(table) => ids_in(&site.place.objects, &table).await,
        None => Vec::new(),
    }
}

pub(crate) async fn head_on(lake: &Lake, on: &str, table: &str) -> Option<Head> {
    let found = lake
        .store()
        .head(&AsOf::Head(branch(on)), &name(table))
        .await;
    found.unwrap()
}

pub(crate) fn conflict_text(merged: Result<MergedBranch>) -> String {
    let error: Error = merged.unwrap_err();
    assert_eq!(error.code(), "merge_conflict", "{error}");
    error.to_string()
}

pub(crate) fn outcome(changes: &BranchChanges, table: &str) -> MergeOutcome {
    let found = changes.tables.iter().find(|one| one.table == name(table));
    found.unwrap().outcome.clone()
}

/// Moves the position of pipeline `p`, split `s`, in a commit with these drafts.
pub(crate) async fn load_on(lake: &Lake, on: &str, drafts: Vec<Draft>, to: i64) {
    let wanted = LeaseRequest {
        branch: branch(on),
        pipeline: "p".parse().unwrap(),
        split: "s".parse().unwrap(),
        owner: "loader".to_owned(),
        duration: Duration::from_secs(60),
    };
    let lease = lake.store().take_lease(&wanted, true).await.unwrap();
    let to = Position(serde_json::json!({ "at": to }));
    let moved = PositionMove::next(wanted.pipeline.clone(), wanted.split.clone(), &lease, to);
    commit_on(lake, on, drafts, vec![moved]).await;
    let released = lake.store().release_lease(&wanted, lease.epoch).await;
    released.unwrap();
}

pub(crate) async fn position_on(lake: &Lake, on: &str) -> Option<(i64, i64)> {
    let found = lake
        .store()
        .positions(&branch(on), &"p".parse().unwrap())
        .await;
    let (_, sequence, position) = found.unwrap().into_iter().next()?;
    Some((sequence, position.0["at"].as_i64().unwrap()))
}

/// Rows by key.
pub(crate) async fn upsert_on(lake: &Lake, on: &str, table: &str, rows: &[(i64, i64)]) {
    let draft = upserted(lake, on, table, rows).await;
    commit_on(lake, on, vec![draft], Vec::new()).await;
}

pub(crate) async fn upserted(lake: &Lake, on: &str, table: &str, rows: &[(i64, i64)]) -> Draft {
    let (keys, values): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let rows = RecordBatch::try_from_iter([("id", column(keys)), ("v", column(values))]).unwrap();
    let mut draft = lake.draft(&branch(on), &name(table)).await.unwrap();
    if !draft.exists() {
        draft.create(&rows.schema(), &[]).unwrap();
    }
    draft.upsert_by(&["id".to_owned()], None).unwrap();
    let mut writer = draft.writer(WriterOptions::default()).unwrap();
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(written.await.unwrap().unwrap());
    draft
}

pub(crate) async fn keyed_on(site: &Site, on: &str, table: &str) -> BTreeMap<i64, i64> {
    let lake = site.another().await;
    let found = lake.table(&AsOf::Head(branch(on)), &name(table)).await;
    let mut rows = BTreeMap::new();
    let Some(table) = found.unwrap() else {
        return rows;
    };
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

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_moves_pointers_positions_and_new_tables_in_one_commit() {
    let site = Site::new().await;
    let lake = &site.lake;
    append_on(lake, "main", "a.t", &[1]).await;
    append_on(lake, "main", "a.gone", &[1]).await;
    fork(lake, "dev", "main").await;
    let rows = drafted_on(lake, &branch("dev"), "a.t", id_rows([2])).await;
    load_on(lake, "dev", vec![rows.unwrap()], 7).await;
    append_on(lake, "dev", "a.new", &[3]).await;
    let gone = head_on(lake, "dev", "a.gone").await.unwrap();
    let drop = Commit::of_heads(
        request(Vec::new(), Vec::new()).id,
        branch("dev"),
        "test".to_owned(),
        "drop".to_owned(),
        vec![gone.into_drop()],
    );
    lake.store().commit(drop).await.unwrap();

    let changes = lake
        .branch_changes(&branch("dev"), &branch("main"))
        .await
        .unwrap();
    let kinds: Vec<_> = changes
        .tables
        .iter()
        .map(|one| (one.kind, one.rows_added, one.rows_deleted))
        .collect();
    assert_eq!(
        kinds,
        [
            (ChangeKind::Dropped, 0, 1),
            (ChangeKind::Created, 1, 0),
            (ChangeKind::Changed, 1, 0)
        ]
    );
    assert_eq!(
        position_on(lake, "main").await,
        None,
        "a look changes nothing"
    );
    let commits = lake.store().log(&branch("main"), 100).await.unwrap().len();
    let merged = merge(lake, "dev", "main").await.unwrap();
    assert!(merged.committed.is_some());
    assert_eq!(
        lake.store().log(&branch("main"), 100).await.unwrap().len(),
        commits + 1
    );
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2]);
    assert_eq!(ids_on(&site, "main", "a.new").await, [3]);
    assert_eq!(head_on(lake, "main", "a.gone").await, None);
    assert_eq!(position_on(lake, "main").await, Some((1, 7)));
    assert_eq!(
        head_on(lake, "main", "a.t").await,
        head_on(lake, "dev", "a.t").await
    );

    let again = merge(lake, "dev", "main").await.unwrap();
    assert!(
        again.committed.is_none() && again.changes.is_empty(),
        "{again:?}"
    );
    assert_eq!(lake.store().verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_both_are_put_together_whichever_way_and_however_often() {
    let site = Site::new().await;
    let lake = &site.lake;
    append_on(lake, "main", "a.t", &[1]).await;
    fork(lake, "dev", "main").await;
    append_on(lake, "dev", "a.t", &[10]).await;
    append_on(lake, "main", "a.t", &[2]).await;
    let merged = merge(lake, "dev", "main").await.unwrap();
    assert_eq!(outcome(&merged.changes, "a.t"), MergeOutcome::Append);
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10]);
    // What came with the first merge does not come again.
    append_on(lake, "dev", "a.t", &[11]).await;
    merge(lake, "dev", "main").await.unwrap();
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10, 11]);
    // The other way, main has all of the branch.
    let back = merge(lake, "main", "dev").await.unwrap();
    assert_eq!(outcome(&back.changes, "a.t"), MergeOutcome::FastForward);
    assert_eq!(ids_on(&site, "dev", "a.t").await, [1, 2, 10, 11]);
    append_on(lake, "main", "a.t", &[3]).await;
    append_on(lake, "dev", "a.t", &[12]).await;
    merge(lake, "main", "dev").await.unwrap();
    assert_eq!(ids_on(&site, "dev", "a.t").await, [1, 2, 3, 10, 11, 12]);
    merge(lake, "dev", "main").await.unwrap();
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 3, 10, 11, 12]);
    // Dropped, the branch leaves what was merged; no clean-up takes its files.
    lake.store().drop_branch(&branch("dev")).await.unwrap();
    let cleaned = site
        .another_at(LATER)
        .await
        .clean(&asked(LATER))
        .await
        .unwrap();
    assert!(cleaned.tables.values().all(|table| table.problem.is_none()));
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 3, 10, 11, 12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_through_a_third_branch_does_not_come_again() {
    let site = Site::new().await;
    let lake = &site.lake;
    append_on(lake, "main", "a.t", &[1]).await;
    fork(lake, "x", "main").await;
    fork(lake, "y", "main").await;
    append_on(lake, "x", "a.t", &[10]).await;
    append_on(lake, "y", "a.t", &[20]).await;
    append_on(lake, "main", "a.t", &[2]).await;
    merge(lake, "x", "y").await.unwrap();
    merge(lake, "y", "main").await.unwrap();
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10, 20]);
    let nothing = merge(lake, "x", "main").await.unwrap();
    assert!(nothing.committed.is_none(), "{nothing:?}");
    append_on(lake, "x", "a.t", &[11]).await;
    merge(lake, "x", "main").await.unwrap();
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10, 11, 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_both_moved_is_a_conflict_and_nothing_is_merged() {
    let site = Site::new().await;
    let lake = &site.lake;
    load_on(lake, "main", Vec::new(), 1).await;
    fork(lake, "dev", "main").await;
    for on in ["main", "dev"] {
        let rows = drafted_on(lake, &branch(on), "a.t", id_rows([5])).await;
        // Both load the same, and stand at the same position.
        load_on(lake, on, vec![rows.unwrap()], 2).await;
    }
    append_on(lake, "dev", "a.u", &[1]).await;
    let text = conflict_text(merge(lake, "dev", "main").await);
    assert!(text.contains("pipeline p, split s"), "{text}");
    assert_eq!(head_on(lake, "main", "a.u").await, None);
    assert_eq!(ids_on(&site, "main", "a.t").await, [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_moves_with_each_merge_in_both_directions() {
    let site = Site::new().await;
    let lake = &site.lake;
    load_on(lake, "main", Vec::new(), 1).await;
    fork(lake, "dev", "main").await;
    load_on(lake, "dev", Vec::new(), 2).await;
    merge(lake, "dev", "main").await.unwrap();
    assert_eq!(position_on(lake, "main").await, Some((2, 2)));
    load_on(lake, "main", Vec::new(), 3).await;
    load_on(lake, "main", Vec::new(), 4).await;
    merge(lake, "main", "dev").await.unwrap();
    assert_eq!(position_on(lake, "dev").await, Some((4, 4)));
    load_on(lake, "dev", Vec::new(), 5).await;
    merge(lake, "dev", "main").await.unwrap();
    assert_eq!(position_on(lake, "main").await, Some((5, 5)));
    assert_eq!(lake.store().verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pipeline_keeps_its_position() {
    let site = Site::new().await;
    let lake = &site.lake;
    load_on(lake, "main", Vec::new(), 1).await;
    fork(lake, "dev", "main").await;
    load_on(lake, "dev", Vec::new(), 2).await;
    let running = LeaseRequest {
        branch: branch("main"),
        pipeline: "p".parse().unwrap(),
        split: "s".parse().unwrap(),
        owner: "running".to_owned(),
        duration: Duration::from_secs(3_600),
    };
    let lease = lake.store().take_lease(&running, false).await.unwrap();
    assert_eq!(
        merge(lake, "dev", "main").await.unwrap_err().code(),
        "leased"
    );
    lake.store()
        .release_lease(&running, lease.epoch)
        .await
        .unwrap();
    merge(lake, "dev", "main").await.unwrap();
    // Who held it before cannot commit any more.
    let moved = PositionMove::next(
        running.pipeline,
        running.split,
        &lease,
        Position(serde_json::json!({ "at": 3 })),
    );
    let late = lake.commit(request(Vec::new(), vec![moved])).await;
    assert_eq!(late.unwrap_err().code(), "stale_epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_changes_of_both_are_a_conflict_that_names_the_keys() {
    let site = Site::new().await;
    let lake = &site.lake;
    upsert_on(lake, "main", "a.k", &[(1, 1), (2, 1), (3, 1)]).await;
    fork(lake, "dev", "main").await;
    upsert_on(lake, "dev", "a.k", &[(1, 2), (2, 2)]).await;
    // Only the branch changed it.
    merge(lake, "dev", "main").await.unwrap();
    assert_eq!(
        keyed_on(&site, "main", "a.k").await,
        BTreeMap::from([(1, 2), (2, 2), (3, 1)])
    );
    upsert_on(lake, "dev", "a.k", &[(2, 3)]).await;
    upsert_on(lake, "main", "a.k", &[(2, 4), (9, 4)]).await;
    let text = conflict_text(merge(lake, "dev", "main").await);
    assert!(
        text.contains("a.k") && text.contains("(id=2)") && !text.contains("id=9"),
        "{text}"
    );
    // Keys that are new on both sides: different ones fit, the same do not.
    fork(lake, "fresh", "main").await;
    upsert_on(lake, "fresh", "a.k", &[(20, 5)]).await;
    upsert_on(lake, "main", "a.k", &[(21, 5)]).await;
    merge(lake, "fresh", "main").await.unwrap();
    upsert_on(lake, "fresh", "a.k", &[(22, 6)]).await;
    upsert_on(lake, "main", "a.k", &[(22, 7)]).await;
    let text = conflict_text(merge(lake, "fresh", "main").await);
    assert!(text.contains("(id=22)"), "{text}");
    let rows = keyed_on(&site, "main", "a.k").await;
    assert_eq!(
        rows,
        BTreeMap::from([(1, 2), (2, 4), (3, 1), (9, 4), (20, 5), (21, 5), (22, 7)])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_on_either_side_changes_nothing() {
    let site = Site::new().await;
    let lake = &site.lake;
    for id in 0..4 {
        upsert_on(lake, "main", "a.k", &[(id, 1), (7, id)]).await;
        append_on(lake, "main", "a.t", &[id]).await;
    }
    fork(lake, "dev", "main").await;
    for table in ["a.k", "a.t"] {
        lake.compact(&asked_compaction(table)).await.unwrap();
    }
    upsert_on(lake, "dev", "a.k", &[(0, 2)]).await;
    append_on(lake, "dev", "a.t", &[10]).await;
    let merged = merge(lake, "dev", "main").await.unwrap();
    assert_eq!(outcome(&merged.changes, "a.k"), MergeOutcome::FastForward);
    assert_eq!(outcome(&merged.changes, "a.t"), MergeOutcome::Append);
    assert_eq!(ids_on(&site, "main", "a.t").await, [0, 1, 2, 3, 10]);
    assert_eq!(
        keyed_on(&site, "main", "a.k").await,
        keyed_on(&site, "dev", "a.k").await
    );
    // Compacted on the branch, changed on main.
    for table in ["a.k", "a.t"] {
        let mut asked = asked_compaction(table);
        asked.branch = branch("dev");
        lake.compact(&asked).await.unwrap();
    }
    upsert_on(lake, "main", "a.k", &[(1, 3)]).await;
    let before = keyed_on(&site, "main", "a.k").await;
    let merged = merge(lake, "dev", "main").await.unwrap();
    assert_eq!(outcome(&merged.changes, "a.k"), MergeOutcome::Nothing);
    assert_eq!(keyed_on(&site, "main", "a.k").await, before);
    assert_eq!(ids_on(&site, "main", "a.t").await, [0, 1, 2, 3, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_both_dropped_recreated_or_created_are_named() {
    let site = Site::new().await;
    let lake = &site.lake;
    append_on(lake, "main", "a.t", &[1]).await;
    fork(lake, "dev", "main").await;
    append_on(lake, "main", "a.t", &[2]).await;
    let there = head_on(lake, "dev", "a.t").await.unwrap();
    let drop = Commit::of_heads(
        request(Vec::new(), Vec::new()).id,
        branch("dev"),
        "test".to_owned(),
        "drop".to_owned(),
        vec![there.into_drop()],
    );
    lake.store().commit(drop).await.unwrap();
    let text = conflict_text(merge(lake, "dev", "main").await);
    assert!(
        text.contains("a.t: dropped on dev, changed on main"),
        "{text}"
    );
    append_on(lake, "dev", "a.t", &[3]).await;
    let text = conflict_text(merge(lake, "dev", "main").await);
    assert!(
        text.contains("a.t: recreated on dev, changed on main"),
        "{text}"
    );
    fork(lake, "other", "main").await;
    for on in ["main", "other"] {
        append_on(lake, on, "a.n", &[1]).await;
        append_on(lake, on, "audit.requests", &[i64::from(on == "main")]).await;
    }
    let text = conflict_text(merge(lake, "other", "main").await);
    assert!(text.contains("a.n: created on other and on main"), "{text}");
    assert!(
        !text.contains("audit.requests"),
        "which pipelines share: {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_one_side_added_come_along_and_those_of_both_are_a_conflict() {
    let site = Site::new().await;
    let lake = &site.lake;
    append_on(lake, "main", "a.t", &[1]).await;
    for (on, column) in [("dev", "x"), ("other", "y")] {
        fork(lake, on, "main").await;
        let fields = vec![
            Field::new("id", DataType::Int64, false),
            Field::new(column, DataType::Int64, true),
        ];
        let values = || -> ArrayRef { Arc::new(Int64Array::from(vec![10])) };
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![values(), values()]);
        let draft = drafted_on(lake, &branch(on), "a.t", rows.unwrap()).await;
        commit_on(lake, on, vec![draft.unwrap()], Vec::new()).await;
    }
    append_on(lake, "main", "a.t", &[2]).await;
    let changes = lake
        .branch_changes(&branch("dev"), &branch("main"))
        .await
        .unwrap();
    assert_eq!(changes.tables[0].schema, ["added column x: long"]);
    merge(lake, "dev", "main").await.unwrap();
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10]);
    let text = conflict_text(merge(lake, "other", "main").await);
    assert!(text.contains("both changed its columns"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_main_took_over_without_a_merge_do_not_come_again() {
    let site = Site::new().await;
    let lake = &site.lake;
    append_on(lake, "main", "a.t", &[1]).await;
    fork(lake, "dev", "main").await;
    append_on(lake, "dev", "a.t", &[10]).await;
    // A rollback of main to a state of the branch.
    let (then, now) = (
        head_on(lake, "dev", "a.t").await.unwrap(),
        head_on(lake, "main", "a.t").await.unwrap(),
    );
    let change = forebay_store::HeadChange {
        table: name("a.t"),
        uuid: then.uuid,
        expected: Some(now.metadata_location),
        change: Change::Set(then.metadata_location),
    };
    let back = Commit::of_heads(
        request(Vec::new(), Vec::new()).id,
        branch("main"),
        "test".to_owned(),
        "back".to_owned(),
        vec![change],
    );
    lake.store().commit(back).await.unwrap();
    append_on(lake, "dev", "a.t", &[11]).await;
    append_on(lake, "main", "a.t", &[2]).await;
    let text = conflict_text(merge(lake, "dev", "main").await);
    assert!(text.contains("did not come with a merge"), "{text}");
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_keeps_its_state_and_can_be_merged_but_not_changed() {
    let site = Site::new().await;
    let lake = &site.lake;
    append_on(lake, "main", "a.t", &[1]).await;
    let tag = branch("release-1");
    lake.store()
        .create_tag(&tag, &AsOf::Head(branch("main")))
        .await
        .unwrap();
    fork(lake, "dev", "main").await;
    append_on(lake, "dev", "a.t", &[10]).await;
    lake.store()
        .create_tag(&branch("tested"), &AsOf::Head(branch("dev")))
        .await
        .unwrap();
    append_on(lake, "dev", "a.t", &[11]).await;
    append_on(lake, "main", "a.t", &[2]).await;
    let draft = drafted_on(lake, &tag, "a.t", id_rows([9])).await.unwrap();
    let mut change = request(vec![draft], Vec::new());
    change.branch = tag.clone();
    assert_eq!(
        lake.commit(change).await.unwrap_err().code(),
        "tag_is_fixed"
    );
    assert_eq!(
        merge(lake, "main", "release-1").await.unwrap_err().code(),
        "tag_is_fixed"
    );
    merge(lake, "tested", "main").await.unwrap();
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10]);
    merge(lake, "dev", "main").await.unwrap();
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10, 11]);
    let cleaner = site.another_at(LATER).await;
    cleaner.clean(&asked(LATER)).await.unwrap();
    assert_eq!(ids_on(&site, "release-1", "a.t").await, [1]);
    assert_eq!(ids_on(&site, "tested", "a.t").await, [1, 10]);
    // And the next merge still starts from the last one.
    append_on(lake, "dev", "a.t", &[12]).await;
    append_on(lake, "main", "a.t", &[3]).await;
    cleaner.clean(&asked(LATER)).await.unwrap();
    merge(lake, "dev", "main").await.unwrap();
    assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 3, 10, 11, 12]);
}
