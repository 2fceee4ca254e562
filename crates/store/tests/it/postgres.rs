//! What only a server can do to a store: many processes at once, crashes, cut connections, other people's schemas.

mod crash;
mod cut;
mod many;
mod pyiceberg;

use std::str::FromStr;

use forebay_core::{ErrorKind, RefName, SystemClock};
use forebay_store::{Store, StoreUrl};

use crate::world::*;

async fn refused(url: &str) -> forebay_core::Error {
    let url = StoreUrl::from_str(url).unwrap();
    Store::open_url(&url, SystemClock::shared())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn stores_of_two_schemas_know_nothing_of_each_other_nor_of_other_schemas() {
    let (Some(one), Some(other)) = (World::on_server().await, World::on_server().await) else {
        return;
    };
    let main = RefName::main();
    one.commit(&main, &[set("a.t", None, "t1")]).await.unwrap();
    assert_eq!(other.now(&main).await, "");
    let elsewhere = postgres_rows(
        &one.url,
        "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_schema NOT LIKE 'test\\_%'
         AND table_schema NOT LIKE 'other\\_%' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
    );
    assert_eq!(elsewhere.await.unwrap(), Vec::<Vec<_>>::new());
}

#[tokio::test]
async fn a_schema_that_is_no_store_of_ours_is_left_alone() {
    let Some(url) = schema_url() else { return };
    let url = url.replace("&schema=test_", "&schema=other_");
    let (server, schema) = url.split_once("&schema=").unwrap();
    postgres_rows(&format!("{server}&schema=public"), "SELECT 'awake'")
        .await
        .unwrap();
    let mut sql = in_schema(&url).await.unwrap();
    let make = format!("CREATE SCHEMA {schema}; CREATE TABLE heads (theirs INT)");
    sqlx::raw_sql(sqlx::AssertSqlSafe(make))
        .execute(&mut sql)
        .await
        .unwrap();
    let error = refused(&url).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Config, "not_a_store"),
        "{error}"
    );
    let tables = postgres_rows(
        &url,
        "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
    );
    assert_eq!(tables.await.unwrap(), [[Some("heads".to_owned())]]);
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let Some(world) = World::on_server().await else {
        return;
    };
    postgres_rows(&world.url, "INSERT INTO migrations (version) VALUES (999)")
        .await
        .unwrap();
    let error = refused(&world.url).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Config, "store_too_new")
    );
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so_without_the_password() {
    let Some(url) = schema_url() else { return };
    let (server, _) = url.split_once("&schema=").unwrap();
    let nobody = server.replace("postgres@localhost", "stranger:hunter2@localhost");
    let nowhere = nobody.replace("?host=", "?host=/nowhere");
    for (url, code) in [(nobody, "store_denied"), (nowhere, "store_unreachable")] {
        let error = refused(&url).await;
        let shown = format!("{error} {error:?} {:?}", error.hint());
        assert_eq!(error.code(), code, "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("stranger"), "{shown}");
    }
}

/// `pg_dump` and people's sessions hold no lock of ours; one who does makes others wait, not fail.
#[tokio::test]
async fn a_writer_waits_for_the_lock() {
    let Some(world) = World::on_server().await else {
        return;
    };
    let (main, mut sql) = (RefName::main(), in_schema(&world.url).await.unwrap());
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('forebay store ' || current_setting('search_path'), 0))";
    sqlx::raw_sql(lock).execute(&mut sql).await.unwrap();
    let first = [set("a.t", None, "t1")];
    let commit = world.commit(&main, &first);
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), commit).await;
    assert!(early.is_err(), "the lock is held");
    sqlx::raw_sql("ROLLBACK").execute(&mut sql).await.unwrap();
    // The first call was dropped; what it asked for is done all the same.
    let moved = world.commit(&main, &[set("a.t", Some("t1"), "t2")]).await;
    moved.unwrap();
    assert_eq!(world.now(&main).await, "a.t=t2");
}

/// Names sort by bytes on both databases, and text with a NUL, which Postgres has not, is kept as far as it can be.
#[tokio::test]
async fn text_that_postgres_cannot_hold_is_changed_and_not_refused() {
    let Some(world) = World::on_server().await else {
        return;
    };
    let commit = forebay_store::Commit {
        message: "a\0b".into(),
        ..commit_on(&RefName::main())
    };
    let id = world.store.commit(commit).await.unwrap().id;
    let found = world.store.find_commit(id).await.unwrap().unwrap();
    assert_eq!(found.message, "a\u{fffd}b");
}
