//! A catalog whose newest transactions are gone is never read as if nothing were missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::{RefName, Result, SystemClock};
use forebay_store::{AsOf, Commit, Lease, Store, StoreUrl};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use crate::world::{branch, commit_on, moved, request, set};

/// Flips, and cuts, of one log, beside the cuts between its frames.
const FLIPS: u64 = 240;
const CUTS: u64 = 40;
/// Bytes of a log before its first frame, and of a frame with its page.
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + 4096;
/// Commits that are in the log alone.
const COMMITS: i64 = 12;

async fn open(path: &Path) -> Result<Store> {
    Store::open(path, SystemClock::shared()).await
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write(path: &Path, bytes: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(path, bytes).unwrap();
}

/// The files of a store as a process that was killed leaves them.
struct Files {
    catalog: Vec<u8>,
    log: Vec<u8>,
    mark: Vec<u8>,
}

impl Files {
    fn read(path: &Path) -> Self {
        Self {
            catalog: std::fs::read(path).unwrap(),
            log: std::fs::read(beside(path, "-wal")).unwrap_or_default(),
            mark: std::fs::read(beside(path, "-mark")).unwrap_or_default(),
        }
    }

    /// The same in a new folder, with another log; without a file when that is `None`.
    fn with_log(&self, log: Option<&[u8]>) -> (PathBuf, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        write(&path, &self.catalog);
        write(&beside(&path, "-mark"), &self.mark);
        if let Some(log) = log {
            write(&beside(&path, "-wal"), log);
        }
        (path, folder)
    }
}

async fn take(store: &Store) -> Lease {
    let asked = request(&RefName::main(), "one");
    store.take_lease(&asked, true).await.unwrap()
}

async fn commit_tables(store: &Store, lease: &Lease, count: i64) {
    for n in 0..count {
        let name = format!("space.table_{}_{n}", lease.sequence);
        let commit = Commit {
            heads: vec![set(&name, None, "file:///lake/m.json")],
            positions: vec![moved(lease, n, n * 10)],
            ..commit_on(&RefName::main())
        };
        store.commit(commit).await.unwrap();
    }
}

/// Everything that the tests below have changed.
async fn state(store: &Store) -> Result<String> {
    let main = RefName::main();
    let heads = store.heads(&AsOf::Head(main.clone())).await?;
    let log = store.log(&main, 1_000).await?;
    let positions = store.positions(&main, &"quakes".parse().unwrap()).await?;
    let branches = store.branches().await?;
    Ok(format!("{heads:?} {log:?} {positions:?} {branches:?}"))
}

/// A store that was killed with commits in its log: new, or after a checkpoint.
async fn killed(after_checkpoint: bool) -> (Files, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut store = open(&path).await.unwrap();
    if after_checkpoint {
        let lease = take(&store).await;
        commit_tables(&store, &lease, 5).await;
        store.close().await;
        store = open(&path).await.unwrap();
    }
    let lease = take(&store).await;
    commit_tables(&store, &lease, COMMITS).await;
    let expected = state(&store).await.unwrap();
    let files = Files::read(&path);
    store.close().await;
    (files, expected)
}

fn random(state: &mut u64, below: usize) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    usize::try_from((*state >> 16) % below as u64).unwrap()
}

/// Cuts and flips of a log, with what each is.
fn damages(log: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut seed = 0x5EED_u64;
    let mut damages = vec![
        ("removed".to_owned(), None),
        ("emptied".to_owned(), Some(Vec::new())),
    ];
    let between_frames = (LOG_HEADER..log.len()).step_by(FRAME);
    let anywhere = (0..CUTS).map(|_| random(&mut seed, log.len()));
    for length in between_frames.chain(anywhere).collect::<Vec<_>>() {
        damages.push((format!("cut to {length}"), Some(log[..length].to_vec())));
    }
    for _ in 0..FLIPS {
        let bit = random(&mut seed, log.len() * 8);
        let mut flipped = log.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        damages.push((format!("bit {bit} flipped"), Some(flipped)));
    }
    damages
}

async fn assert_never_older(after_checkpoint: bool) {
    let (files, expected) = killed(after_checkpoint).await;
    let (path, _folder) = files.with_log(Some(&files.log));
    let store = open(&path).await.unwrap();
    assert_eq!(state(&store).await.unwrap(), expected);
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    let mut refused = 0;
    for (what, log) in damages(&files.log) {
        let (path, _folder) = files.with_log(log.as_deref());
        match open(&path).await {
            Ok(store) => assert_eq!(state(&store).await.unwrap(), expected, "{what}"),
            Err(error) => {
                refused += 1;
                assert_eq!(error.code(), "store_corrupt", "{what}: {error}");
                let left = std::fs::read(beside(&path, "-wal")).unwrap_or_default();
                let log = log.unwrap_or_default();
                assert!(left == log, "{what}: who refuses it leaves it as it is");
            }
        }
    }
    assert!(refused > FLIPS, "{refused} refused");
}

#[tokio::test]
async fn a_damaged_log_of_a_new_store_is_an_error_or_changes_nothing() {
    assert_never_older(false).await;
}

#[tokio::test]
async fn a_damaged_log_after_a_checkpoint_is_an_error_or_changes_nothing() {
    assert_never_older(true).await;
}

/// Not only commits: whatever was answered.
#[tokio::test]
async fn any_write_that_is_gone_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await.unwrap();
    let lease = take(&store).await;
    commit_tables(&store, &lease, 2).await;
    for write in ["branch", "lease", "drop"] {
        let before = Files::read(&path);
        match write {
            "branch" => drop(store.create_branch(&branch("dev"), &RefName::main()).await),
            "lease" => drop(take(&store).await),
            _ => store.drop_branch(&branch("dev")).await.unwrap(),
        }
        let after = Files::read(&path);
        let (path, _folder) = after.with_log(Some(&before.log));
        let error = open(&path).await.unwrap_err();
        assert_eq!(error.code(), "store_corrupt", "{write}: {error}");
    }
}

#[tokio::test]
async fn a_loss_says_what_is_missing_and_can_be_accepted() {
    let (files, expected) = killed(true).await;
    let (path, _folder) = files.with_log(None);
    let url = StoreUrl::from(path.as_path());
    let error = open(&path).await.unwrap_err();
    let message = error.to_string();
    for part in ["newest commit 5,", "newest commit 17,", "store.db-mark"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let hint = error.hint().unwrap();
    assert!(hint.contains("forebay verify --repair"), "{hint}");

    let clock = SystemClock::shared();
    let accepted = Store::accept_loss(&url, clock.clone()).await.unwrap();
    assert!(message.contains(&accepted.unwrap()), "{message}");
    let store = open(&path).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    assert_ne!(state(&store).await.unwrap(), expected);
    let lease = take(&store).await;
    commit_tables(&store, &lease, 1).await;
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    store.close().await;
    let accepted = Store::accept_loss(&url, clock).await.unwrap();
    assert_eq!(accepted, None, "nothing is missing");
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_catalog_that_is_gone_beside_its_mark_is_an_error() {
    let (files, _) = killed(true).await;
    for is_removed in [true, false] {
        let (path, _folder) = files.with_log(Some(&files.log));
        if is_removed {
            std::fs::remove_file(&path).unwrap();
        } else {
            write(&path, b"");
        }
        let error = open(&path).await.unwrap_err();
        assert_eq!(error.code(), "store_corrupt", "{error}");
        assert_eq!(path.exists(), !is_removed, "none is made");
        let log = std::fs::read(beside(&path, "-wal")).unwrap();
        assert!(log == files.log, "the log is left as it is");
    }
}

#[tokio::test]
async fn a_backup_is_restored_with_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await.unwrap();
    let lease = take(&store).await;
    commit_tables(&store, &lease, 3).await;
    let expected = state(&store).await.unwrap();
    store.close().await;
    let backup = Files::read(&path);
    let store = open(&path).await.unwrap();
    let lease = take(&store).await;
    commit_tables(&store, &lease, 3).await;
    store.close().await;
    write(&path, &backup.catalog);
    assert_eq!(open(&path).await.unwrap_err().code(), "store_corrupt");
    write(&beside(&path, "-mark"), &backup.mark);
    let store = open(&path).await.unwrap();
    assert_eq!(state(&store).await.unwrap(), expected);
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_mark_that_tells_nothing_is_reported_and_written_again() {
    for is_removed in [true, false] {
        let (files, expected) = killed(false).await;
        let (path, _folder) = files.with_log(Some(&files.log));
        let mark = beside(&path, "-mark");
        if is_removed {
            std::fs::remove_file(&mark).unwrap();
        } else {
            write(&mark, b"no mark");
        }
        let store = open(&path).await.unwrap();
        assert_eq!(state(&store).await.unwrap(), expected);
        let found = store.verify().await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("store.db-mark"), "{found:?}");
        take(&store).await;
        assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// An open handle writes on into a file whose newest pages are gone.
#[tokio::test]
async fn a_catalog_that_loses_transactions_while_it_is_open_takes_no_writes() {
    let (files, _) = killed(true).await;
    let (path, _folder) = files.with_log(None);
    std::fs::remove_file(beside(&path, "-mark")).unwrap();
    let store = open(&path).await.unwrap();
    write(&beside(&path, "-mark"), &files.mark);
    let refused = store.commit(commit_on(&RefName::main())).await;
    assert_eq!(refused.unwrap_err().code(), "store_corrupt");
    let found = store.verify().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_at_work_raise_no_false_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let first = open(&path).await.unwrap();
    let is_done = Arc::new(AtomicBool::new(false));
    let writers = (0..3).map(|_| {
        let path = path.clone();
        tokio::spawn(async move {
            let store = open(&path).await.unwrap();
            for _ in 0..60 {
                store.commit(commit_on(&RefName::main())).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let watcher = tokio::spawn({
        let (path, is_done) = (path.clone(), is_done.clone());
        async move {
            while !is_done.load(Ordering::Relaxed) {
                let store = open(&path).await.unwrap();
                let found = store.verify().await.unwrap();
                let is_new = |line: &String| line.contains("is missing");
                assert!(found.iter().all(is_new), "{found:?}");
            }
        }
    });
    for writer in writers {
        writer.await.unwrap();
    }
    is_done.store(true, Ordering::Relaxed);
    watcher.await.unwrap();
    assert_eq!(first.log(&RefName::main(), 1_000).await.unwrap().len(), 180);
    first.close().await;
    // The mark is that of the last transaction: one fewer would be a loss.
    let mark = std::fs::read(beside(&path, "-mark")).unwrap();
    assert_eq!(mark[8..16], 180_i64.to_le_bytes());
}

/// A store of version 4 has no mark, and counts by rowid.
#[tokio::test]
async fn a_store_of_an_older_version_gets_a_mark() {
    let (files, expected) = killed(false).await;
    let (path, _folder) = files.with_log(Some(&files.log));
    let url = format!("sqlite://{}", path.display());
    let mut sql = SqliteConnection::connect(&url).await.unwrap();
    let downgrade = "CREATE TABLE w (id TEXT NOT NULL UNIQUE, batch INTEGER NOT NULL, fence INTEGER NOT NULL DEFAULT 0) STRICT;
        INSERT INTO w (rowid, id, batch, fence) SELECT ordinal, id, batch, fence FROM writers;
        DROP TABLE writers; ALTER TABLE w RENAME TO writers; DROP TABLE namespaces;
        DROP TABLE merges; ALTER TABLE branches DROP COLUMN is_tag; PRAGMA user_version = 4";
    sqlx::raw_sql(downgrade).execute(&mut sql).await.unwrap();
    sql.close().await.unwrap();
    std::fs::remove_file(beside(&path, "-mark")).unwrap();
    let store = open(&path).await.unwrap();
    assert_eq!(state(&store).await.unwrap(), expected);
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    let mark = std::fs::read(beside(&path, "-mark")).unwrap();
    assert_eq!(mark, files.mark);
}
