//! The server ends in the middle of commits and comes back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_core::{CommitId, RefName, SystemClock};
use forebay_store::{Commit, Store};
use forebay_testkit::PostgresServer;

use super::many::check_chain;
use crate::world::*;

const CRASHES: u64 = 4;
const WRITERS: usize = 6;

#[derive(Debug, Default)]
struct Told {
    accepted: Vec<CommitId>,
    refused: Vec<CommitId>,
    unknown: Vec<CommitId>,
}

/// Commits to a table of its own, whatever it is told, until the end.
async fn write(store: Store, name: String, end: Arc<AtomicBool>) -> Told {
    let (mut told, mut location) = (Told::default(), None::<String>);
    while !end.load(Ordering::SeqCst) {
        let commit = commit_on(&RefName::main());
        let (id, next) = (commit.id, commit.id.to_string());
        let heads = vec![set(&name, location.as_deref(), &next)];
        match store.commit(Commit { heads, ..commit }).await {
            Ok(_) => {
                told.accepted.push(id);
                location = Some(next);
            }
            Err(error) if error.code() == "commit_unknown" => {
                told.unknown.push(id);
                // As callers do: look before the next.
                let found = loop {
                    match store.find_commit(id).await {
                        Ok(found) => break found.is_some(),
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                };
                location = if found { Some(next) } else { location };
            }
            Err(error) => {
                assert_eq!(error.code(), "store_unreachable", "{error:?}");
                told.refused.push(id);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_forgets_no_commit_it_acknowledged() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    let end = Arc::new(AtomicBool::new(false));
    // Two handles of three writers each: groups, and turns between them.
    let mut stores = Vec::new();
    for _ in 0..2 {
        stores.push(open(&server.url(), SystemClock::shared()).await);
    }
    let start = |n: usize| {
        let store = stores[n % 2].clone();
        tokio::spawn(write(store, format!("a.t{n}"), end.clone()))
    };
    let tasks: Vec<_> = (0..WRITERS).map(start).collect();
    for crash in 0..CRASHES {
        tokio::time::sleep(Duration::from_millis(300 + crash * 170)).await;
        server.stop();
        tokio::time::sleep(Duration::from_millis(crash * 400)).await;
        server.start_again();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    end.store(true, Ordering::SeqCst);
    let (mut accepted, mut refused, mut unknown) = (HashSet::new(), Vec::new(), 0);
    for task in tasks {
        let told = task.await.unwrap();
        accepted.extend(told.accepted);
        refused.extend(told.refused);
        unknown += told.unknown.len();
    }
    let store = open(&server.url(), SystemClock::shared()).await;
    let log = store.log(&RefName::main(), u32::MAX).await.unwrap();
    check_chain(&log);
    let logged: HashSet<CommitId> = log.iter().map(|commit| commit.id).collect();
    assert_eq!(logged.len(), log.len());
    assert!(
        accepted.is_subset(&logged),
        "an acknowledged commit is gone"
    );
    assert!(
        refused.iter().all(|id| !logged.contains(id)),
        "a refused commit is there"
    );
    assert!(logged.len() <= accepted.len() + unknown);
    println!(
        "{} accepted, {} refused, {unknown} unknown",
        accepted.len(),
        refused.len()
    );
    assert!(accepted.len() > 50, "only {}", accepted.len());
}
