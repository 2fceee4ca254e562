use forebay_core::{ErrorKind, RefName, SystemClock};
use forebay_store::Store;
use sqlx::{Connection, SqliteConnection};

use crate::world::*;

#[tokio::test]
async fn what_is_committed_is_there_after_reopening() {
    let world = world().await;
    let main = RefName::main();
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    let again = Store::open(&world.path, world.clock.clone()).await.unwrap();
    assert_eq!(
        again.log(&main, 10).await.unwrap(),
        world.store.log(&main, 10).await.unwrap()
    );
}

#[tokio::test]
async fn many_may_open_a_new_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let opening = (0..8).map(|_| {
        let path = path.clone();
        tokio::spawn(async move { Store::open(&path, SystemClock::shared()).await })
    });
    for opened in futures::future::join_all(opening).await {
        let store = opened.unwrap().unwrap();
        store.commit(commit_on(&RefName::main())).await.unwrap();
    }
    let store = Store::open(&path, SystemClock::shared()).await.unwrap();
    assert_eq!(store.log(&RefName::main(), 100).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_file_that_is_no_store_of_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, text, newer) = (
        dir.path().join("no/such/folder.db"),
        dir.path().join("text.db"),
        dir.path().join("newer.db"),
    );
    let open = async |path: &std::path::Path| {
        let error = Store::open(path, SystemClock::shared()).await.unwrap_err();
        (error.kind(), error.code())
    };
    assert_eq!(open(&missing).await, (ErrorKind::Unavailable, "store_io"));
    let bytes = "this is not a database, but it is long enough to look at\n".repeat(20);
    tokio::fs::write(&text, &bytes).await.unwrap();
    assert_eq!(open(&text).await, (ErrorKind::Config, "not_a_store"));
    assert_eq!(tokio::fs::read_to_string(&text).await.unwrap(), bytes);
    Store::open(&newer, SystemClock::shared())
        .await
        .unwrap()
        .close()
        .await;
    let mut sql = SqliteConnection::connect(&format!("sqlite://{}", newer.display()))
        .await
        .unwrap();
    sqlx::query("PRAGMA user_version = 999")
        .execute(&mut sql)
        .await
        .unwrap();
    sql.close().await.unwrap();
    assert_eq!(open(&newer).await, (ErrorKind::Config, "store_too_new"));
}
