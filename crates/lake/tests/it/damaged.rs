//! Tables that somebody else has damaged: a clear error that names table and file, never a guess, and the other tables
//! are not affected.

use forebay_core::{Error, ErrorKind};
use forebay_store::{AsOf, Change, Commit, HeadChange};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::site::{Site, append, bytes_of, head, id_rows, name, request};

/// Two tables of two commits each.
async fn site() -> Site {
    let site = Site::new().await;
    for id in [1, 2] {
        for table in ["a.t", "a.other"] {
            append(&site.lake, table, id_rows([id])).await.unwrap();
        }
    }
    site
}

async fn metadata_path(site: &Site, table: &str) -> Path {
    let table = site.table(table).await;
    let below = table
        .metadata_location()
        .strip_prefix(&site.place.root)
        .unwrap();
    Path::from(below.trim_start_matches('/'))
}

/// The manifest list of the newest snapshot: the last one that was written.
async fn newest_list(site: &Site) -> Path {
    let folder = Path::from(format!(
        "tables/{}/metadata",
        site.table("a.t").await.uuid()
    ));
    let snapshot = site.table("a.t").await.snapshot_id().unwrap();
    let all: Vec<_> = site
        .place
        .objects
        .list(Some(&folder))
        .try_collect()
        .await
        .unwrap();
    let is_list = |path: &Path| path.as_ref().contains(&format!("/snap-{snapshot}-"));
    all.into_iter()
        .map(|object| object.location)
        .find(is_list)
        .unwrap()
}

/// Reading and writing `a.t` fail alike, by a process that has read nothing yet; the other table goes on.
async fn refused(site: &Site) -> Error {
    let lake = site.another().await;
    let read = match lake.table(&head(), &name("a.t")).await {
        Ok(table) => table.unwrap().scan(None).await.unwrap_err(),
        Err(error) => error,
    };
    let before = site.lake.store().head(&head(), &name("a.t")).await.unwrap();
    let written = append(&lake, "a.t", id_rows([3])).await.unwrap_err();
    assert_eq!(written.kind(), read.kind(), "{written}");
    assert_eq!(
        site.lake.store().head(&head(), &name("a.t")).await.unwrap(),
        before
    );
    let shown = read.to_string();
    assert!(shown.contains("a.t"), "the table: {shown}");
    assert!(shown.contains("metadata/"), "the file: {shown}");
    assert!(read.hint().is_some(), "what to do: {shown}");
    append(&lake, "a.other", id_rows([3])).await.unwrap();
    assert_eq!(site.ids("a.other").await.last(), Some(&3));
    read
}

async fn overwritten(site: &Site, path: &Path, text: &str) {
    let payload = PutPayload::from(text.to_owned());
    site.place.objects.put(path, payload).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_file_that_is_gone() {
    let site = site().await;
    let path = metadata_path(&site, "a.t").await;
    site.place.objects.delete(&path).await.unwrap();
    let error = refused(&site).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::NotFound, "object_missing")
    );
    // The state before is whole.
    let log = site
        .lake
        .store()
        .log(&forebay_core::RefName::main(), 10)
        .await
        .unwrap();
    let first = AsOf::Commit(log.last().unwrap().id);
    let then = site
        .another()
        .await
        .table(&first, &name("a.t"))
        .await
        .unwrap();
    assert_eq!(site.ids_of(&then.unwrap()).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_file_that_is_torn_empty_or_of_something_else() {
    let site = site().await;
    let path = metadata_path(&site, "a.t").await;
    let whole = bytes_of(&site.place.objects, &path).await;
    let whole = String::from_utf8(whole.to_vec()).unwrap();
    for text in ["", "{}", "[1, 2]", "\u{0}\u{0}", &whole[..whole.len() / 2]] {
        overwritten(&site, &path, text).await;
        let error = refused(&site).await;
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Data, "metadata_corrupt"),
            "{text}"
        );
    }
    let other = metadata_path(&site, "a.other").await;
    let other = bytes_of(&site.place.objects, &other).await;
    overwritten(&site, &path, std::str::from_utf8(&other).unwrap()).await;
    // Its name says that other bytes were written.
    assert_eq!(refused(&site).await.code(), "metadata_corrupt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_the_format_that_is_not_known() {
    let site = site().await;
    let path = metadata_path(&site, "a.t").await;
    let whole = bytes_of(&site.place.objects, &path).await;
    let text = String::from_utf8(whole.to_vec()).unwrap();
    let newer = text.replacen("\"format-version\":2", "\"format-version\":4", 1);
    assert_ne!(newer, text);
    overwritten(&site, &path, &newer).await;
    let error = refused(&site).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unsupported, "format_version")
    );
    assert!(error.to_string().contains("version 4"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_another_tool_expired() {
    let site = site().await;
    let list = newest_list(&site).await;
    site.place.objects.delete(&list).await.unwrap();
    let error = refused(&site).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::NotFound, "object_missing")
    );
    assert!(error.to_string().contains("snap-"), "{error}");
}

/// Another engine that does not go through the catalog writes the next version beside ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_commit_past_the_catalog_is_not_seen_and_not_overwritten() {
    let site = site().await;
    let path = metadata_path(&site, "a.t").await;
    let folder = path.as_ref().rsplit_once('/').unwrap().0.to_owned();
    let foreign = [
        Path::from(format!(
            "{folder}/00002-{}.metadata.json",
            uuid::Uuid::new_v4()
        )),
        Path::from(format!("{folder}/v3.metadata.json")),
        Path::from(format!("{folder}/version-hint.text")),
    ];
    for path in &foreign {
        overwritten(&site, path, "3").await;
    }
    assert_eq!(site.ids("a.t").await, [1, 2]);
    append(&site.another().await, "a.t", id_rows([3]))
        .await
        .unwrap();
    assert_eq!(site.ids("a.t").await, [1, 2, 3]);
    for path in &foreign {
        let found = bytes_of(&site.place.objects, path).await;
        assert_eq!(found.as_ref(), b"3");
    }
}

/// One that goes through the catalog moves the head; a draft made before lands on top of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_commit_through_the_catalog_is_built_upon() {
    let site = site().await;
    let draft = crate::site::drafted(&site.lake, "a.t", id_rows([3]))
        .await
        .unwrap();
    let table = site.table("a.t").await;
    let path = metadata_path(&site, "a.t").await;
    let whole = bytes_of(&site.place.objects, &path).await;
    let mut metadata: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    metadata["properties"]["written-by"] = "another engine".into();
    let folder = path.as_ref().rsplit_once('/').unwrap().0;
    let theirs = Path::from(format!("{folder}/their-own-name.metadata.json"));
    overwritten(&site, &theirs, &metadata.to_string()).await;
    let ours = request(Vec::new(), Vec::new());
    let commit = Commit {
        id: ours.id,
        branch: ours.branch,
        author: "another engine".to_owned(),
        message: String::new(),
        run: None,
        at: None,
        heads: vec![HeadChange {
            table: name("a.t"),
            uuid: table.uuid(),
            expected: Some(table.metadata_location().to_owned()),
            change: Change::Set(format!("{}/{theirs}", site.place.root)),
        }],
        positions: Vec::new(),
    };
    site.lake.store().commit(commit).await.unwrap();
    let done = site.commit(draft).await;
    assert_eq!(done.rebases, 1);
    assert_eq!(site.ids("a.t").await, [1, 2, 3]);
    let properties = site.table_elsewhere("a.t").await.properties();
    assert_eq!(properties["written-by"], "another engine");
}
