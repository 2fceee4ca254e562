//! Cleaning the raw zone: what was never committed goes, and nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use forebay_core::{RefName, SystemClock, Timestamp};
use forebay_lake::{CleanRequest, CleanedRaw, Draft, Lake, SAFE_AGE_MIN, WriterOptions};
use forebay_store::{Change, Commit, HeadChange};
use forebay_testkit::on_s3;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::clean::asked;
use crate::site::{LATER, Site, append, head, id_rows, name, request};

const FOLDER: &str = "raw/p/all/dt=2026-01-01/hour=00";

/// Later than every state that is kept.
const KEEP_NOTHING: Timestamp = Timestamp(i64::MAX / 2);

#[tokio::test(flavor = "multi_thread")]
async fn raw_objects_that_runs_left_without_an_index_go_and_others_stay() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let folder = "raw/p/all/dt=2026-01-01/hour=00";
    let (whole, orphan) = ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ");
    let paths = [
        format!("{folder}/{whole}.json.zst"),
        format!("{folder}/{whole}.index.parquet"),
        format!("{folder}/{orphan}.json.zst"),
        format!("raw/p/other/dt=2026-01-01/hour=00/{whole}.json.zst"),
        "raw/p/notes.txt".to_owned(),
    ];
    for path in &paths {
        let payload = PutPayload::from_static(b"payload");
        let path = Path::from(path.as_str());
        site.place.objects.put(&path, payload).await.unwrap();
    }
    let now = asked(Timestamp(0));
    let young = site.lake.clean(&now).await.unwrap().raw;
    assert_eq!((young.young.files, young.orphaned.files), (4, 0));
    let late = site.another_at(LATER).await;
    let dry = CleanRequest {
        dry_run: true,
        ..asked(Timestamp(0))
    };
    let told = late.clean(&dry).await.unwrap().raw.orphaned;
    assert_eq!((told.files, told.bytes), (2, 14));
    let cleaned = late.clean(&asked(Timestamp(0))).await.unwrap();
    assert_eq!(cleaned.raw.orphaned, told);
    for (nth, path) in paths.iter().enumerate() {
        let found = site.place.objects.head(&Path::from(path.as_str())).await;
        assert_eq!(found.is_ok(), ![2, 3].contains(&nth), "{path}");
    }
}

async fn put(site: &Site, path: &str) {
    let payload = PutPayload::from_static(b"payload");
    site.place
        .objects
        .put(&Path::from(path), payload)
        .await
        .unwrap();
}

fn ulid(nth: u32) -> String {
    format!("01ARZ3NDEKTSV4RRFFQ69G5{nth:03}")
}

/// A raw object with its index, which the draft names.
async fn indexed(site: &Site, table: &str, nth: u32, has_table_id: bool) -> Draft {
    put(site, &format!("{FOLDER}/{}.json.zst", ulid(nth))).await;
    let rows = id_rows([i64::from(nth)]);
    let mut draft = site.draft(table).await;
    if !draft.exists() {
        draft.create(&rows.schema(), &[]).unwrap();
    }
    let options = WriterOptions {
        path: Some(Path::from(format!("{FOLDER}/{}.index.parquet", ulid(nth)))),
        has_table_id,
        ..WriterOptions::default()
    };
    let mut writer = draft.writer(options).unwrap();
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(written.await.unwrap().unwrap());
    draft
}

/// Numbers of the units of which something is left, with how many files.
async fn left(site: &Site) -> Vec<(u32, usize)> {
    let found = site.place.objects.list(Some(&Path::from("raw")));
    let found: BTreeSet<Path> = found
        .map_ok(|object| object.location)
        .try_collect()
        .await
        .unwrap();
    let files_of = |nth: u32| {
        let ulid = ulid(nth);
        found
            .iter()
            .filter(|path| path.as_ref().contains(&ulid))
            .count()
    };
    (0..10)
        .map(|nth| (nth, files_of(nth)))
        .filter(|(_, files)| *files > 0)
        .collect()
}

async fn clean(lake: &Lake, keep_from: Timestamp) -> CleanedRaw {
    lake.clean(&asked(keep_from)).await.unwrap().raw
}

async fn drop_table(site: &Site, table: &str) {
    let store = site.lake.store();
    let head = store.head(&head(), &name(table)).await.unwrap().unwrap();
    let commit = request(Vec::new(), Vec::new());
    let dropped = Commit {
        id: commit.id,
        branch: RefName::main(),
        author: commit.author,
        message: commit.message,
        run: None,
        at: None,
        heads: vec![HeadChange {
            table: head.table,
            uuid: head.uuid,
            expected: Some(head.metadata_location),
            change: Change::Drop,
        }],
        positions: Vec::new(),
    };
    store.commit(dropped).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_indexed_and_never_committed_goes_when_no_state_of_its_time_is_kept() {
    let site = Site::new().await;
    site.commit(indexed(&site, "raw.p", 0, true).await).await;
    // Killed before its commit.
    indexed(&site, "raw.p", 1, true).await;
    // Its outbox may still bring it back.
    indexed(&site, "raw.p", 2, false).await;
    // Of a catalog that is not this one, or of a first run that never committed.
    indexed(&site, "raw.unborn", 3, true).await;
    // Its table was dropped: another pipeline's index may name the object.
    site.commit(indexed(&site, "raw.gone", 4, true).await).await;
    drop_table(&site, "raw.gone").await;
    // Killed before its index.
    put(&site, &format!("{FOLDER}/{}.json.zst", ulid(5))).await;
    // An outbox has brought its index back under another name.
    let again = indexed(&site, "raw.p", 6, true).await;
    drop(again);
    let second = format!("{FOLDER}/{}.index.e7.parquet", ulid(6));
    let rows = id_rows([6]);
    let mut draft = site.draft("raw.p").await;
    let options = WriterOptions {
        path: Some(Path::from(second)),
        ..WriterOptions::default()
    };
    let mut writer = draft.writer(options).unwrap();
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(written.await.unwrap().unwrap());
    site.commit(draft).await;
    // About to be committed.
    let running = indexed(&site, "raw.p", 7, true).await;

    let all = [
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 2),
        (4, 2),
        (5, 1),
        (6, 3),
        (7, 2),
    ];
    let now = site.another_in_real_time().await;
    let cleaned = clean(&now, KEEP_NOTHING).await;
    assert_eq!(cleaned.orphaned.files, 0);
    assert_eq!(left(&site).await, all, "all of it is young");
    site.commit(running).await;

    let later = site.another_at(LATER).await;
    let cleaned = clean(&later, Timestamp(0)).await;
    assert_eq!(
        cleaned.orphaned.files, 1,
        "states of its time are kept, so it may have been forgotten"
    );
    let cleaned = clean(&later, KEEP_NOTHING).await;
    assert_eq!(cleaned.orphaned.files, 2);
    let kept = [(0, 2), (2, 2), (3, 2), (4, 2), (6, 3), (7, 2)];
    assert_eq!(left(&site).await, kept);
    assert_eq!(site.ids("raw.p").await, [0, 6, 7]);
    let unknown = CleanRequest {
        unknown_tables: true,
        ..asked(KEEP_NOTHING)
    };
    later.clean(&unknown).await.unwrap();
    assert_eq!(left(&site).await, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_a_table_that_cannot_be_read_stays() {
    let site = Site::new().await;
    site.commit(indexed(&site, "raw.p", 0, true).await).await;
    indexed(&site, "raw.p", 1, true).await;
    let table = site.table("raw.p").await;
    let folder = Path::from(format!("tables/{}/metadata", table.uuid()));
    let files = site.place.objects.list(Some(&folder));
    let files: Vec<Path> = files
        .map_ok(|object| object.location)
        .try_collect()
        .await
        .unwrap();
    let list = files.iter().find(|path| path.as_ref().contains("/snap-"));
    let torn = PutPayload::from_static(b"torn");
    site.place.objects.put(list.unwrap(), torn).await.unwrap();
    let later = site.another_at(LATER).await;
    clean(&later, KEEP_NOTHING).await;
    assert_eq!(left(&site).await, [(0, 2), (1, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_killed_processes_never_finished_go_once_they_are_old() {
    if on_s3() {
        println!("skipped: a bucket has no such files");
        return;
    }
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let table = site.table("a.t").await;
    let now = SystemClock::shared().now().micros();
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(now.try_into().unwrap());
    let write = |path: &str, age: Duration| {
        let path = site.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(10).unwrap();
        file.set_modified(now - age).unwrap();
        path
    };
    let (old, young) = (
        SAFE_AGE_MIN + Duration::from_secs(60),
        Duration::from_secs(60),
    );
    let data = format!("tables/{}/data", table.uuid());
    let gone = [
        write(&format!("{FOLDER}/{}.json.zst#1", ulid(0)), old),
        write(&format!("{data}/a.parquet#12"), old),
    ];
    let kept = [
        write(&format!("{FOLDER}/{}.json.zst#1", ulid(1)), young),
        write(&format!("{data}/b.parquet#1"), young),
        write(
            "tables/00000000-0000-4000-8000-000000000000/data/c.parquet#1",
            old,
        ),
        write("notes#1", old),
    ];
    let cleaner = site.another_in_real_time().await;
    let dry = CleanRequest {
        dry_run: true,
        ..asked(Timestamp(0))
    };
    let told = cleaner.clean(&dry).await.unwrap();
    assert_eq!((told.unfinished.files, told.deleted().bytes), (2, 20));
    assert!(gone.iter().all(|path| path.exists()));
    cleaner.clean(&asked(Timestamp(0))).await.unwrap();
    assert!(!gone.iter().any(|path| path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
    assert_eq!(site.ids("a.t").await, [1]);
}
