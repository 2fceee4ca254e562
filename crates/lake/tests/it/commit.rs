//! One commit: what it makes visible, and what it does when others commit too.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::DataType;
use forebay_core::{Position, RefName, SystemClock};
use forebay_lake::Lake;
use forebay_store::{AsOf, LeaseRequest, PositionMove, Store};
use forebay_testkit::Workspace;

use crate::growth::columns;
use crate::site::{Place, Site, append, drafted, head, id_rows, id_schema, ids_in, name, request};

async fn position(lake: &Lake, at: i64) -> PositionMove {
    let wanted = LeaseRequest {
        branch: RefName::main(),
        pipeline: "quakes".parse().unwrap(),
        split: "all".parse().unwrap(),
        owner: "test".to_owned(),
        duration: Duration::from_secs(60),
    };
    let lease = lake.store().take_lease(&wanted, true).await.unwrap();
    PositionMove {
        pipeline: wanted.pipeline,
        split: wanted.split,
        epoch: lease.epoch,
        sequence: lease.sequence,
        sequence_after: lease.sequence + 1,
        position: Position(serde_json::json!({ "at": at })),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_read_back_with_its_notes() {
    let site = Site::new().await;
    let lake = &site.lake;
    let mut draft = drafted(lake, "a.t", id_rows([3, 1])).await.unwrap();
    assert!(!draft.exists());
    draft.set_property("forebay.contract", "{}");
    assert_eq!(draft.property("forebay.contract").as_deref(), Some("{}"));
    let request = request(vec![draft], vec![position(lake, 7).await]);
    let (id, epoch) = (request.id, request.positions[0].epoch);
    let done = lake.commit(request).await.unwrap();
    assert_eq!((done.committed.id, done.rows, done.rebases), (id, 2, 0));

    let table = site.table_elsewhere("a.t").await;
    assert_eq!(site.ids_of(&table).await, [1, 3]);
    assert!(
        table
            .metadata_location()
            .contains(&format!("/tables/{}/metadata/", table.uuid()))
    );
    let snapshots = table.snapshots();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(
        (snapshots[0].operation.as_str(), snapshots[0].at),
        ("append", crate::site::START)
    );
    let note = format!(r#"{{"epoch":{epoch},"sequence":1,"position":{{"at":7}}}}"#);
    for notes in [&table.properties(), &snapshots[0].summary] {
        assert_eq!(notes["forebay.commit"], id.to_string());
        assert_eq!(notes["forebay.position.quakes.all"], note);
    }
    assert_eq!(table.properties()["forebay.contract"], "{}");
    for (figure, value) in [
        ("added-records", "2"),
        ("total-records", "2"),
        ("total-data-files", "1"),
    ] {
        assert_eq!(snapshots[0].summary[figure], value, "{figure}");
    }
    let stands = lake
        .store()
        .positions(&RefName::main(), &"quakes".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(stands.len(), 1);
    assert_eq!(stands[0].1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_and_a_property_need_no_snapshot() {
    let site = Site::new().await;
    let mut draft = site.draft("a.t").await;
    draft
        .create(&id_schema(), &["bucket(4, id)".parse().unwrap()])
        .unwrap();
    site.commit(draft).await;
    let mut draft = site.draft("a.t").await;
    draft.set_property("colour", "blue");
    site.commit(draft).await;
    let table = site.table("a.t").await;
    assert_eq!(table.snapshot_id(), None);
    assert_eq!(table.properties()["colour"], "blue");
    assert_eq!(table.partition(), ["bucket(4, id)".parse().unwrap()]);
    let untouched = site.draft("a.t").await;
    let before = table.metadata_location().to_owned();
    site.commit(untouched).await;
    let after = site.table("a.t").await;
    assert_eq!(
        after.metadata_location(),
        before,
        "a draft without a change moves nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_change_a_property_from_what_it_was_one_is_refused() {
    let site = Site::new().await;
    let lake = &site.lake;
    let expecting = async |was: Option<&str>, becomes: &str| {
        let mut draft = drafted(lake, "a.t", id_rows([1])).await.unwrap();
        draft.set_property("learned", becomes);
        draft.expect_property("learned", was).map(|()| draft)
    };
    let commit = async |draft| {
        let done = lake.commit(request(vec![draft], Vec::new())).await;
        done.map(drop).map_err(|error| error.code())
    };
    assert_eq!(commit(expecting(None, "a").await.unwrap()).await, Ok(()));
    let first = expecting(Some("a"), "b").await.unwrap();
    let second = expecting(Some("a"), "c").await.unwrap();
    let other = drafted(lake, "a.t", id_rows([2])).await.unwrap();
    assert_eq!(commit(first).await, Ok(()));
    assert_eq!(
        commit(other).await,
        Ok(()),
        "who expects nothing is not refused"
    );
    assert_eq!(commit(second).await, Err("property_moved"));
    let late = expecting(Some("a"), "d").await.unwrap_err();
    assert_eq!(
        late.code(),
        "property_moved",
        "told before anything is written"
    );
    let table = site.table_elsewhere("a.t").await;
    assert_eq!(table.properties()["learned"], "b");
    assert_eq!(
        site.ids_of(&table).await,
        [1, 1, 2],
        "of the refused nothing is there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_in_two_processes_lose_and_double_nothing() {
    const WRITERS: i64 = 6;
    const COMMITS: i64 = 12;
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([-1])).await.unwrap();
    let lakes = [
        site.another_in_real_time().await,
        site.another_in_real_time().await,
    ];
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let lake = lakes[usize::try_from(writer % 2).unwrap()].clone();
        writers.spawn(async move {
            let mut rebases = 0;
            for commit in 0..COMMITS {
                let rows = id_rows([writer * 1_000 + commit]);
                rebases += append(&lake, "a.t", rows).await.unwrap().rebases;
            }
            rebases
        });
    }
    let rebases: u32 = writers.join_all().await.into_iter().sum();
    assert!(rebases > 0, "the writers met");
    let mut expected: Vec<i64> = (0..WRITERS)
        .flat_map(|w| (0..COMMITS).map(move |c| w * 1_000 + c))
        .collect();
    expected.insert(0, -1);
    assert_eq!(site.ids("a.t").await, expected);
    let table = site.table_elsewhere("a.t").await;
    assert_eq!(
        table.snapshots().last().unwrap().summary["total-records"],
        expected.len().to_string()
    );
}

/// Nothing but the compare-and-set stands between writers that share no disk.
#[tokio::test(flavor = "multi_thread")]
async fn writers_that_share_no_disk_lose_and_double_nothing() {
    const COMMITS: i64 = 20;
    let (folder, clock) = (Workspace::new(), SystemClock::shared());
    let place = Place::without_disk();
    let mut lakes = Vec::new();
    for _ in 0..3 {
        let path = folder.path().join("store.sqlite");
        let store = Store::open(&path, clock.clone()).await.unwrap();
        let Place { objects, root } = place.clone();
        lakes.push(Lake::new(store, objects, root, clock.clone()));
    }
    append(&lakes[0], "a.t", id_rows([-1])).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for (writer, lake) in lakes.iter().cloned().enumerate() {
        let first = i64::try_from(writer).unwrap() * 1_000;
        writers.spawn(async move {
            let mut rebases = 0;
            for id in first..first + COMMITS {
                rebases += append(&lake, "a.t", id_rows([id])).await.unwrap().rebases;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            rebases
        });
    }
    let rebases: u32 = writers.join_all().await.into_iter().sum();
    assert!(rebases > 0, "the writers met");
    let expected = (0..3).flat_map(|writer| (writer * 1_000..).take(COMMITS as usize));
    let expected: Vec<i64> = [-1].into_iter().chain(expected).collect();
    let table = lakes[0]
        .table(&head(), &name("a.t"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ids_in(&place.objects, &table).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_member_stops_the_whole_commit() {
    let site = Site::new().await;
    let other = site.another().await;
    for table in ["a.parent", "a.child"] {
        append(&site.lake, table, id_rows([1])).await.unwrap();
    }
    let parent = drafted(&site.lake, "a.parent", id_rows([2])).await.unwrap();
    let child = drafted(
        &site.lake,
        "a.child",
        columns(&[("id", DataType::Int64), ("mine", DataType::Utf8)]),
    )
    .await
    .unwrap();
    append(
        &other,
        "a.child",
        columns(&[("id", DataType::Int64), ("theirs", DataType::Utf8)]),
    )
    .await
    .unwrap();
    let position = position(&site.lake, 9).await;
    let refused = site
        .lake
        .commit(request(vec![parent, child], vec![position]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "schema_moved");
    assert_eq!(site.ids("a.parent").await, [1]);
    let pipeline = "quakes".parse().unwrap();
    let stands = other
        .store()
        .positions(&RefName::main(), &pipeline)
        .await
        .unwrap();
    assert!(
        stands.iter().all(|(_, sequence, _)| *sequence == 0),
        "the position stands: {stands:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_writer_lands_nothing() {
    let site = Site::new().await;
    let zombie = position(&site.lake, 1).await;
    let _holder = position(&site.lake, 2).await;
    let draft = drafted(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let refused = site
        .lake
        .commit(request(vec![draft], vec![zombie]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "stale_epoch");
    assert!(
        site.lake
            .table(&head(), &name("a.t"))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_creators_of_one_table_conflict() {
    let site = Site::new().await;
    let other = site.another().await;
    let late = drafted(&site.lake, "a.t", id_rows([1])).await.unwrap();
    append(&other, "a.t", id_rows([2])).await.unwrap();
    let refused = site
        .lake
        .commit(request(vec![late], Vec::new()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "schema_moved");
    assert_eq!(site.ids("a.t").await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tables_move_in_one_commit() {
    let site = Site::new().await;
    let names: Vec<String> = (0..12).map(|i| format!("a.t{i}")).collect();
    let mut commits = BTreeMap::new();
    for round in 0..2 {
        let mut drafts = Vec::new();
        for table in &names {
            drafts.push(drafted(&site.lake, table, id_rows([round])).await.unwrap());
        }
        let done = site.lake.commit(request(drafts, Vec::new())).await.unwrap();
        assert_eq!(done.rows, 12);
        commits.insert(round, done.committed.id);
    }
    assert_eq!(site.lake.tables(&head()).await.unwrap().len(), 12);
    for table in &names {
        assert_eq!(site.ids(table).await, [0, 1]);
        let then = site
            .lake
            .table(&AsOf::Commit(commits[&0]), &name(table))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(site.ids_of(&then).await, [0], "as of the first commit");
    }
}
