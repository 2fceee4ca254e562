//! Faults inside the commit path that only a hook in the writer can make.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::{CommitId, ErrorKind, RefName, SystemClock, Timestamp};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use uuid::Uuid;

use super::commit::{rows, state};
use super::faults::CommitFault::{AnswerLost, RequestLost};
use super::{lease, listing, log};
use crate::database::Readers;
use crate::{AsOf, Change, Commit, HeadChange, Store};

async fn store() -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.db"), SystemClock::shared())
        .await
        .unwrap();
    (store, dir)
}

fn commit(n: u128, location: &str, expected: Option<&str>) -> Commit {
    Commit {
        id: CommitId::new(Timestamp(1_000_000), n),
        branch: RefName::main(),
        author: "test".into(),
        message: format!("commit {n}"),
        run: None,
        at: None,
        heads: vec![HeadChange {
            table: "a.t".parse().unwrap(),
            uuid: Uuid::from_u128(7),
            expected: expected.map(str::to_owned),
            change: Change::Set(location.to_owned()),
        }],
        positions: vec![],
    }
}

async fn log_length(store: &Store) -> usize {
    store.log(&RefName::main(), 10_000).await.unwrap().len()
}

/// The plans name no table that is searched from its beginning to its end, but the rows that were bound.
#[tokio::test]
async fn statements_cost_what_they_name_and_not_the_length_of_the_log() {
    let (store, _dir) = store().await;
    let Readers::Sqlite(readers) = &store.readers else {
        panic!("a file is SQLite");
    };
    for (query, first) in [
        (log::LEVEL_HEADS, "SEARCH h USING"),
        (listing::NAMESPACE_PAGE, "SEARCH h USING"),
        (lease::LEVEL_POSITIONS, "SEARCH p USING"),
        (state::READ, "COMPOUND QUERY"),
        (rows::HEADS, "SCAN json_each VIRTUAL TABLE"),
        (rows::MOVES, "SCAN json_each VIRTUAL TABLE"),
    ] {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(readers).await.unwrap();
        let shown = format!("{plan:#?}");
        assert!(plan[0].3.starts_with(first), "{shown}");
        let bound = |step: &str| {
            step.contains("VIRTUAL TABLE")
                || step.contains("CONSTANT ROW")
                || !step.contains("SCAN")
        };
        assert!(plan.iter().all(|step| bound(&step.3)), "{shown}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_again() {
    let (store, _dir) = store().await;
    store.faults.commits.lock().unwrap().push_back(AnswerLost);
    let first = commit(1, "m1", None);
    let committed = store.commit(first.clone()).await.unwrap();
    assert_eq!(log_length(&store).await, 1);
    assert_eq!(
        store.find_commit(committed.id).await.unwrap().unwrap().at,
        committed.at
    );
    // The same call again, as by a caller that was cut off, is not a second commit nor a conflict with itself.
    assert_eq!(store.commit(first).await.unwrap(), committed);
    assert_eq!(log_length(&store).await, 1);
    store.commit(commit(2, "m2", Some("m1"))).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_made_again() {
    let (store, _dir) = store().await;
    store
        .faults
        .commits
        .lock()
        .unwrap()
        .extend([RequestLost, AnswerLost]);
    store.commit(commit(1, "m1", None)).await.unwrap();
    assert_eq!(log_length(&store).await, 1);
}

#[tokio::test]
async fn a_commit_that_never_can_arrive_leaves_nothing() {
    let (store, _dir) = store().await;
    store.commit(commit(1, "m1", None)).await.unwrap();
    store
        .faults
        .commits
        .lock()
        .unwrap()
        .extend([RequestLost; 6]);
    let error = store.commit(commit(2, "m2", Some("m1"))).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unavailable, "store_unreachable")
    );
    assert_eq!(log_length(&store).await, 1);
    store.commit(commit(3, "m3", Some("m1"))).await.unwrap();
    assert_eq!(log_length(&store).await, 2);
}

/// Counts what is logged at level `WARN` and above.
#[derive(Clone, Default)]
struct Warnings(Arc<std::sync::atomic::AtomicU32>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_commit_that_fails_is_told_by_its_error_and_not_in_the_log() {
    let warnings = Warnings::default();
    let _logged = tracing::subscriber::set_default(warnings.clone());
    let (store, _dir) = store().await;
    store
        .faults
        .commits
        .lock()
        .unwrap()
        .extend([RequestLost; 20]);
    assert!(store.commit(commit(1, "m1", None)).await.is_err());
    assert_eq!(warnings.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_operation_other_than_a_commit_is_found_again_too() {
    let (store, _dir) = store().await;
    let branch = "dev".parse().unwrap();
    store.faults.commits.lock().unwrap().push_back(AnswerLost);
    store
        .create_branch(&branch, &RefName::main())
        .await
        .unwrap();
    store.faults.commits.lock().unwrap().push_back(AnswerLost);
    store.drop_branch(&branch).await.unwrap();
    assert_eq!(store.branches().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
    let (store, _dir) = store().await;
    store.commit(commit(1, "m1", None)).await.unwrap();
    // Far below what the file has: not one page more.
    store.faults.pages_max.store(1, Ordering::Relaxed);
    let mut big = commit(2, "m2", Some("m1"));
    big.message = "x".repeat(1 << 20);
    let error = store.commit(big.clone()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unavailable, "store_full")
    );
    assert_eq!(store.find_commit(big.id).await.unwrap(), None);
    // In one group with one that does not fit, one that does is committed.
    let (refused, accepted) = tokio::join!(
        store.commit(big.clone()),
        store.commit(commit(3, "m3", Some("m1")))
    );
    assert_eq!(refused.unwrap_err().code(), "store_full");
    accepted.unwrap();
    store.faults.pages_max.store(0, Ordering::Relaxed);
    big.heads[0].expected = Some("m3".into());
    store.commit(big).await.unwrap();
    let head = store
        .head(&AsOf::Head(RefName::main()), &"a.t".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(head.unwrap().metadata_location, "m2");
    assert_eq!(log_length(&store).await, 3);
}

#[tokio::test]
async fn a_refused_commit_leaves_the_others_of_its_group() {
    let (store, _dir) = store().await;
    store.commit(commit(1, "m1", None)).await.unwrap();
    // All are queued before the writer runs (one thread), so they make one group.
    let mut wins = 0;
    let mut losses = 0;
    let tries = (0..40).map(|n| store.commit(commit(100 + n, &format!("w{n}"), Some("m1"))));
    for result in futures::future::join_all(tries).await {
        match result {
            Ok(_) => wins += 1,
            Err(error) if error.code() == "stale_head" => losses += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((wins, losses), (1, 39));
    assert_eq!(log_length(&store).await, 2);
}

#[tokio::test]
async fn a_caller_that_is_dropped_does_not_take_its_commit_along() {
    let (store, _dir) = store().await;
    let wanted = commit(1, "m1", None);
    let mut call = Box::pin(store.commit(wanted.clone()));
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    // The writer works in order: after the next one this is decided.
    store.commit(commit(2, "m2", Some("m1"))).await.unwrap();
    assert!(store.find_commit(wanted.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_closed_store_says_so_and_leaves_no_log() {
    let (store, dir) = store().await;
    let queued = tokio::spawn({
        let store = store.clone();
        async move { store.commit(commit(1, "m1", None)).await }
    });
    queued.await.unwrap().unwrap();
    store.close().await;
    store.close().await;
    assert_eq!(
        store
            .commit(commit(2, "m2", None))
            .await
            .unwrap_err()
            .code(),
        "store_closed"
    );
    assert_eq!(store.branches().await.unwrap_err().code(), "store_closed");
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(
        files, 2,
        "the catalog and its mark; the write-ahead log should be gone"
    );
    let again = Store::open(&dir.path().join("store.db"), Arc::new(SystemClock::new()))
        .await
        .unwrap();
    assert_eq!(log_length(&again).await, 1);
}
