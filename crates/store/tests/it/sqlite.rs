use forebay_core::{ErrorKind, RefName, SystemClock};
use forebay_store::{AsOf, Commit, Store};
use sqlx::{Connection, SqliteConnection};

use crate::world::{commit_on, moved, request, set, table};

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

/// What decides what is read: tables, one by one and all, and where the writer stands.
async fn decisive(store: &Store) -> Result<String, forebay_core::Error> {
    let main = AsOf::Head(RefName::main());
    let mut shown = format!("{:?}", store.heads(&main).await?);
    for n in 0..12 {
        let head = store
            .head(&main, &table(&format!("space.table_{n}")))
            .await?;
        shown.push_str(&format!("{head:?}"));
    }
    let pipeline = "quakes".parse().unwrap();
    let positions = store.positions(&RefName::main(), &pipeline).await?;
    shown.push_str(&format!("{positions:?}"));
    let lease = store
        .take_lease(&request(&RefName::main(), "other"), true)
        .await?;
    shown.push_str(&format!("{} {:?}", lease.sequence, lease.position));
    Ok(shown)
}

#[tokio::test]
async fn a_flipped_bit_or_a_cut_in_the_file_is_an_error_or_changes_nothing() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), SystemClock::shared());
    let path = dir.path().join("store.db");
    let store = Store::open(&path, clock.clone()).await.unwrap();
    let main = RefName::main();
    let lease = store
        .take_lease(&request(&main, "one"), false)
        .await
        .unwrap();
    for n in 0..36_i64 {
        let name = format!("space.table_{}", n % 12);
        let before = (n >= 12).then(|| format!("file:///lake/m{}.json", n - 12));
        let heads = vec![set(
            &name,
            before.as_deref(),
            &format!("file:///lake/m{n}.json"),
        )];
        let positions = vec![moved(&lease, n, n * 10)];
        let commit = Commit {
            heads,
            positions,
            ..commit_on(&main)
        };
        store.commit(commit).await.unwrap();
    }
    store.close().await;
    let whole = std::fs::read(&path).unwrap();
    let (mut state, mut errors) = (0x5EED_u64, 0);
    let store = Store::open(&path, clock.clone()).await.unwrap();
    let expected = decisive(&store).await.unwrap();
    store.close().await;
    for flip in 0..150 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bit = usize::try_from((state >> 16) % (whole.len() as u64 * 8)).unwrap();
        let mut damaged = whole.clone();
        if flip % 5 == 0 {
            // A file of no bytes is a new store.
            damaged.truncate(1 + bit / 8 % (whole.len() - 1));
        } else {
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        let path = dir.path().join(format!("flip_{flip}.db"));
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, damaged).unwrap();
        let answer = match Store::open(&path, clock.clone()).await {
            Ok(store) => decisive(&store).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => assert_eq!(answer, expected, "flip {flip}, bit {bit}"),
            Err(_) => errors += 1,
        }
    }
    assert!(errors > 10, "{errors} errors");
}

/// Each value that decides something, changed in the file by somebody else, with its log or without.
#[tokio::test]
async fn a_row_that_was_changed_by_somebody_else_is_an_error() {
    for change in [
        "UPDATE positions SET position = '{\"at\":999}'",
        "UPDATE positions SET epoch = epoch + 4",
        "UPDATE moves SET position = '{\"at\":999}'",
        "UPDATE moves SET sequence = sequence + 16",
        "UPDATE changes SET metadata_location = 'file:///lake/other.json'",
        "UPDATE changes SET table_uuid = '00000000-0000-0000-0000-000000000001'",
        "DELETE FROM changes",
        "UPDATE branches SET head_seq = 1",
        // No UTF-8.
        "UPDATE changes SET metadata_location = CAST(x'66ff' AS TEXT)",
    ] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), SystemClock::shared());
        let path = dir.path().join("store.db");
        let store = Store::open(&path, clock.clone()).await.unwrap();
        let main = RefName::main();
        let lease = store
            .take_lease(&request(&main, "one"), false)
            .await
            .unwrap();
        for n in 0..3 {
            let heads = vec![set(
                &format!("space.table_{n}"),
                None,
                "file:///lake/m.json",
            )];
            let positions = vec![moved(&lease, n, n * 10)];
            let commit = Commit {
                heads,
                positions,
                ..commit_on(&main)
            };
            store.commit(commit).await.unwrap();
        }
        assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
        store.close().await;
        let mut sql = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
            .await
            .unwrap();
        sqlx::query(change).execute(&mut sql).await.unwrap();
        sql.close().await.unwrap();
        let store = Store::open(&path, clock).await.unwrap();
        let error = decisive(&store).await.unwrap_err();
        assert_eq!(error.code(), "store_corrupt", "{change}: {error}");
        match store.verify().await {
            Ok(found) => assert!(!found.is_empty(), "{change}"),
            Err(error) => assert_eq!(error.code(), "store_corrupt", "{change}: {error}"),
        }
    }
}

#[tokio::test]
async fn rows_of_an_older_version_are_read_and_get_a_checksum_when_they_are_written() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), SystemClock::shared());
    let path = dir.path().join("store.db");
    let store = Store::open(&path, clock.clone()).await.unwrap();
    let main = RefName::main();
    let lease = store
        .take_lease(&request(&main, "one"), false)
        .await
        .unwrap();
    let commit = Commit {
        heads: vec![set("space.table_0", None, "file:///lake/m.json")],
        positions: vec![moved(&lease, 0, 10)],
        ..commit_on(&main)
    };
    store.commit(commit).await.unwrap();
    store.close().await;
    let mut sql = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    for table in ["moves", "changes", "positions"] {
        let clear = sqlx::AssertSqlSafe(format!("UPDATE {table} SET checksum = NULL"));
        sqlx::query(clear).execute(&mut sql).await.unwrap();
    }
    let store = Store::open(&path, clock).await.unwrap();
    assert!(decisive(&store).await.unwrap().contains("m.json"));
    let unwritten: (i64,) = sqlx::query_as("SELECT count(*) FROM positions WHERE checksum IS NULL")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert_eq!(unwritten.0, 0, "taking the split wrote it");
    sql.close().await.unwrap();
}

/// What a write that never reached the disk leaves: a row as it was, with its checksum.
#[tokio::test]
async fn a_position_older_than_the_log_is_an_error_and_a_deleted_one_is_taken_from_the_log() {
    for (change, is_error) in [
        (
            "DELETE FROM positions; INSERT INTO positions SELECT * FROM kept",
            true,
        ),
        ("DELETE FROM positions", false),
    ] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), SystemClock::shared());
        let path = dir.path().join("store.db");
        let store = Store::open(&path, clock.clone()).await.unwrap();
        let main = RefName::main();
        let asked = request(&main, "one");
        let lease = store.take_lease(&asked, false).await.unwrap();
        let url = format!("sqlite://{}", path.display());
        let mut sql = SqliteConnection::connect(&url).await.unwrap();
        for n in 0..2 {
            let positions = vec![moved(&lease, n, n * 10 + 1)];
            let commit = Commit {
                positions,
                ..commit_on(&main)
            };
            store.commit(commit).await.unwrap();
            let keep = "CREATE TABLE IF NOT EXISTS kept AS SELECT * FROM positions";
            sqlx::raw_sql(keep).execute(&mut sql).await.unwrap();
        }
        let found = store.verify().await.unwrap();
        assert_eq!(found, Vec::<String>::new());
        sqlx::raw_sql(change).execute(&mut sql).await.unwrap();
        sql.close().await.unwrap();
        let found = store.verify().await.unwrap();
        assert_eq!(found.len(), 1, "{change}: {found:?}");
        assert!(found[0].ends_with("quakes/all"), "{found:?}");
        match store.take_lease(&asked, false).await {
            Err(error) => assert!(is_error && error.code() == "store_corrupt", "{error}"),
            Ok(again) => {
                assert!(!is_error, "{change}: {again:?}");
                assert!(again.epoch > lease.epoch, "{again:?}");
                assert_eq!(again.sequence, 2);
                assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
            }
        }
    }
}

#[tokio::test]
async fn a_place_before_that_the_log_does_not_know_is_found() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), SystemClock::shared());
    let path = dir.path().join("store.db");
    let store = Store::open(&path, clock).await.unwrap();
    for (before, after) in [(None, "m1"), (Some("m1"), "m2")] {
        let commit = Commit {
            heads: vec![set("space.table_0", before, after)],
            ..commit_on(&RefName::main())
        };
        store.commit(commit).await.unwrap();
    }
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    let url = format!("sqlite://{}", path.display());
    let mut sql = SqliteConnection::connect(&url).await.unwrap();
    let change = "DROP TRIGGER heads_updated; UPDATE heads SET previous_metadata_location = 'm0'";
    sqlx::raw_sql(change).execute(&mut sql).await.unwrap();
    sql.close().await.unwrap();
    let found = store.verify().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("space.table_0"), "{found:?}");
}
