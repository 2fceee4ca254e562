use forebay_core::{ErrorKind, SystemClock};
use forebay_store::Store;
use sqlx::{Connection, SqliteConnection};

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
