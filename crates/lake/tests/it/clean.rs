//! Deleting what no kept state needs, and nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use forebay_core::{CommitId, Error, RefName, Timestamp};
use forebay_lake::{CleanRequest, Cleaned, Lake, SAFE_AGE_MIN};
use forebay_store::AsOf;
use forebay_testkit::on_s3;
use futures::TryStreamExt;
use iceberg::spec::{ManifestList, TableMetadata};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::crash::dying_append;
use crate::faulty::Death;
use crate::site::{LATER, Site, append, drafted, head, id_rows, name, request};

pub(crate) fn asked(keep_from: Timestamp) -> CleanRequest {
    CleanRequest {
        keep_from,
        log_from: Timestamp(0),
        safe_age: SAFE_AGE_MIN,
        unknown_tables: false,
        dry_run: false,
    }
}

/// Files that went, or would.
pub(crate) fn gone(cleaned: &Cleaned) -> u64 {
    let tables = cleaned.tables.values().filter(|table| !table.left_alone);
    tables
        .map(|table| table.data.files + table.metadata.files)
        .sum()
}

pub(crate) async fn objects(site: &Site) -> BTreeSet<Path> {
    let tables = Path::from("tables");
    let found = site
        .place
        .objects
        .list(Some(&tables))
        .map_ok(|object| object.location);
    let found: BTreeSet<Path> = found.try_collect().await.unwrap();
    found
        .into_iter()
        .filter(|path| !path.as_ref().ends_with(".turn"))
        .collect()
}

/// The ids of a table as of a commit, by a process that has read nothing yet.
async fn ids_at(site: &Site, lake: &Lake, commit: CommitId) -> Result<Vec<i64>, Error> {
    let table = lake.table(&AsOf::Commit(commit), &name("a.t")).await?;
    Ok(site.ids_of(&table.unwrap()).await)
}

/// Manifests of every snapshot that the newest metadata of `a.t` names.
async fn manifests_of_all_snapshots(site: &Site) -> BTreeSet<Path> {
    let path = |location: &str| {
        let below = location.strip_prefix(&site.place.root).unwrap();
        Path::from(below.trim_start_matches('/'))
    };
    let read = async |location: &str| {
        let object = site.place.objects.get(&path(location)).await.unwrap();
        object.bytes().await.unwrap()
    };
    let table = site.table_elsewhere("a.t").await;
    let metadata: TableMetadata =
        serde_json::from_slice(&read(table.metadata_location()).await).unwrap();
    let mut named = BTreeSet::new();
    for snapshot in metadata.snapshots() {
        let list = read(snapshot.manifest_list()).await;
        let list = ManifestList::parse_with_version(&list, metadata.format_version()).unwrap();
        named.extend(
            list.entries()
                .iter()
                .map(|manifest| path(&manifest.manifest_path)),
        );
    }
    named
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_kept_state_reaches_is_deleted_and_the_rest_reads_as_before() {
    const COMMITS: usize = 40;
    const KEPT: usize = 30;
    let site = Site::new().await;
    let mut commits = Vec::new();
    for id in 0..COMMITS as i64 {
        let mut draft = drafted(&site.lake, "a.t", id_rows([id])).await.unwrap();
        draft.set_property("history.expire.min-snapshots-to-keep", "5");
        draft.set_property("forebay.history.max-snapshots", "5");
        commits.push(site.commit(draft).await.committed);
        if id == 9 {
            let branch: RefName = "nine".parse().unwrap();
            site.lake
                .store()
                .create_branch(&branch, &RefName::main())
                .await
                .unwrap();
        }
    }
    assert!(!dying_append(&site, Death::Silence, 4, 900).await);
    let before = objects(&site).await;
    let cleaner = site.another_at(LATER).await;

    let dry = CleanRequest {
        dry_run: true,
        ..asked(commits[KEPT].at)
    };
    let told = cleaner.clean(&dry).await.unwrap();
    assert_eq!(objects(&site).await, before, "a dry run deletes nothing");
    ids_at(&site, &site.another().await, commits[3].id)
        .await
        .unwrap();

    let done = cleaner.clean(&asked(commits[KEPT].at)).await.unwrap();
    assert_eq!(done.tables, told.tables, "what was told is what is done");
    let after = objects(&site).await;
    assert_eq!((before.len() - after.len()) as u64, gone(&done));
    assert!(after.is_subset(&before));
    // Of the states given up: metadata, list, and manifests that were merged; of the dead writer a data file at least.
    assert!(gone(&done) > 2 * (KEPT as u64 - 6), "{done:?}");
    let table = done.tables.values().next().unwrap();
    assert!((1..=2).contains(&table.data.files), "{table:?}");

    let lake = site.another().await;
    for (n, commit) in commits.iter().enumerate() {
        let ids = ids_at(&site, &lake, commit.id).await;
        match n {
            9 | KEPT.. => assert_eq!(ids.unwrap(), (0..=n as i64).collect::<Vec<_>>()),
            _ => assert_eq!(ids.unwrap_err().code(), "expired", "{n}"),
        }
    }
    let again = cleaner.clean(&asked(commits[KEPT].at)).await.unwrap();
    assert_eq!((gone(&again), again.forgotten.log_rows), (0, 0));
    append(&lake, "a.t", id_rows([100])).await.unwrap();
    assert_eq!(site.ids("a.t").await.len(), COMMITS + 1);
    // However little is kept: snapshots that the newest metadata names are there for other engines.
    cleaner
        .clean(&asked(Timestamp(i64::MAX / 2)))
        .await
        .unwrap();
    let named = manifests_of_all_snapshots(&site).await;
    assert!(named.len() > 8, "some were merged since: {}", named.len());
    assert!(named.is_subset(&objects(&site).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn young_files_and_foreign_ones_stay() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    assert!(!dying_append(&site, Death::Silence, 4, 900).await);
    let put = async |path: &str| {
        let path = Path::from(path);
        site.place
            .objects
            .put(&path, PutPayload::from("x"))
            .await
            .unwrap();
        path
    };
    let strange = put("tables/00000000-0000-4000-8000-000000000000/data/a.parquet").await;
    let elsewhere = [
        put("tables/notes/data/a.txt").await,
        put("raw/p/all/x.zst").await,
    ];
    let before = objects(&site).await;
    let last = Timestamp(i64::MAX / 2);
    // This one's clock is right: everything is seconds old.
    let now = site.another_in_real_time().await;
    let cleaned = now.clean(&asked(last)).await.unwrap();
    assert_eq!((gone(&cleaned), objects(&site).await), (0, before.clone()));
    let young = cleaned.tables.values().map(|table| table.young.files);
    assert!(young.sum::<u64>() > 0);
    let hasty = CleanRequest {
        safe_age: Duration::from_secs(3_600),
        ..asked(last)
    };
    assert_eq!(now.clean(&hasty).await.unwrap_err().code(), "unsafe_age");

    let later = site.another_at(LATER).await;
    let cleaned = later.clean(&asked(last)).await.unwrap();
    assert!(gone(&cleaned) > 0);
    assert!(
        objects(&site).await.contains(&strange),
        "of another catalog"
    );
    let all = CleanRequest {
        unknown_tables: true,
        ..asked(last)
    };
    later.clean(&all).await.unwrap();
    assert!(!objects(&site).await.contains(&strange));
    for path in &elsewhere {
        site.place.objects.head(path).await.unwrap();
    }
    assert_eq!(site.ids("a.t").await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_read_is_left_alone_and_the_others_are_cleaned() {
    let site = Site::new().await;
    for id in 0..3 {
        for table in ["a.t", "a.damaged"] {
            append(&site.lake, table, id_rows([id])).await.unwrap();
        }
    }
    let damaged = site.table("a.damaged").await;
    let folder = format!("tables/{}/", damaged.uuid());
    let list = objects(&site).await;
    let list = list
        .iter()
        .filter(|path| path.as_ref().starts_with(&folder));
    let list = list
        .clone()
        .find(|path| path.as_ref().contains("/snap-"))
        .unwrap();
    site.place
        .objects
        .put(list, PutPayload::from("torn"))
        .await
        .unwrap();
    let later = site.another_at(LATER).await;
    let before = objects(&site).await;
    // Every state is kept, so the damaged one is looked at.
    let cleaned = later.clean(&asked(Timestamp(0))).await.unwrap();
    let problem = cleaned.tables[&damaged.uuid()].problem.clone().unwrap();
    assert!(problem.contains("snap-"), "{problem}");
    assert_eq!(objects(&site).await, before);
    assert!(!dying_append(&site, Death::Silence, 4, 900).await);
    let cleaned = later.clean(&asked(Timestamp(0))).await.unwrap();
    assert!(gone(&cleaned) > 0, "of a.t what the dead writer left goes");
    let damaged_files = |paths: BTreeSet<Path>| {
        let of = |path: &Path| path.as_ref().starts_with(&folder);
        paths.into_iter().filter(of).collect::<Vec<_>>()
    };
    assert_eq!(damaged_files(objects(&site).await), damaged_files(before));
    assert_eq!(site.ids("a.t").await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_too_old_is_not_committed() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let draft = drafted(&site.lake, "a.t", id_rows([2])).await.unwrap();
    site.clock.skew(25 * 3_600 * 1_000_000);
    let refused = site.lake.commit(request(vec![draft], Vec::new())).await;
    assert_eq!(refused.unwrap_err().code(), "draft_too_old");
    assert_eq!(site.ids("a.t").await, [1]);
    append(&site.lake, "a.t", id_rows([2])).await.unwrap();
}

/// Writers commit without a pause while others clean; whatever was there before is old enough to go.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_after_cleaning_beside_writers() {
    if on_s3() {
        println!("skipped: the age of an object in a bucket cannot be set");
        return;
    }
    const WRITERS: i64 = 3;
    const COMMITS: i64 = 25;
    let site = Site::new().await;
    for id in 0..20 {
        append(&site.lake, "a.t", id_rows([id])).await.unwrap();
    }
    assert!(!dying_append(&site, Death::Silence, 4, 900).await);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for path in objects(&site).await {
        let file = site.folder.path().join(path.as_ref());
        std::fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    let old = objects(&site).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let lake = site.another_in_real_time().await;
        writers.spawn(async move {
            for n in 0..COMMITS {
                let id = 1_000 * (writer + 1) + n;
                append(&lake, "a.t", id_rows([id])).await.unwrap();
            }
        });
    }
    let cleaner = site.another_in_real_time().await;
    let mut rounds = 0;
    while !writers.is_empty() {
        // All but the state of this moment is given up.
        let newest = cleaner.store().log(&RefName::main(), 1).await.unwrap();
        cleaner.clean(&asked(newest[0].at)).await.unwrap();
        rounds += 1;
        while writers.try_join_next().is_some() {}
    }
    assert!(rounds > 1);
    let left = objects(&site).await;
    assert!(
        left.intersection(&old).count() < old.len(),
        "some of the old went"
    );
    let expected =
        (0..20).chain((1..=WRITERS).flat_map(|w| (0..COMMITS).map(move |n| 1_000 * w + n)));
    assert_eq!(site.ids("a.t").await, expected.collect::<Vec<_>>());
    assert!(
        site.lake
            .table(&head(), &name("a.t"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_given_up_leaves_no_file() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let before = objects(&site).await;
    let draft = drafted(&site.lake, "a.t", id_rows([2])).await.unwrap();
    assert_eq!(objects(&site).await.len(), before.len() + 1);
    draft.discard().await;
    assert_eq!(objects(&site).await, before);
    assert_eq!(site.ids("a.t").await, [1]);
}
