//! Eight processes that commit to the same tables.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use forebay_core::{CommitId, RefName, SystemClock};
use forebay_store::{AsOf, Change, Commit};

use crate::world::*;

const STORE: &str = "FOREBAY_TEST_MANY";
const PROCESSES: usize = 8;
const COMMITS_EACH: usize = 40;
const TABLES: usize = 3;

/// Not a test by itself: one of the processes of [`eight_processes_make_one_chain`].
#[tokio::test]
async fn one_of_many() {
    let Some(url) = std::env::var_os(STORE) else {
        return;
    };
    let store = open(url.to_str().unwrap(), SystemClock::shared()).await;
    let as_of = AsOf::Head(RefName::main());
    let mut accepted = 0;
    while accepted < COMMITS_EACH {
        // Two tables of three, so that processes meet in different orders.
        let mut heads = Vec::new();
        for n in [accepted % TABLES, (accepted + 1) % TABLES] {
            let name = format!("a.t{n}");
            let head = store.head(&as_of, &table(&name)).await.unwrap();
            let expected = head.map(|head| head.metadata_location);
            let location = format!("{}-{}", std::process::id(), next_id());
            heads.push(set(&name, expected.as_deref(), &location));
        }
        let commit = Commit {
            heads,
            ..commit_on(&RefName::main())
        };
        match store.commit(commit).await {
            Ok(committed) => {
                accepted += 1;
                println!("ack {}", committed.id);
            }
            Err(error) => assert_eq!(error.code(), "stale_head", "{error:?}"),
        }
    }
}

#[tokio::test]
async fn eight_processes_make_one_chain() {
    let Some(world) = World::on_server().await else {
        return;
    };
    let (_crate, this) = module_path!().split_once("::").unwrap();
    let writer = format!("{this}::one_of_many");
    let start = |_| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &writer, "--nocapture"])
            .env(STORE, &world.url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let processes: Vec<_> = (0..PROCESSES).map(start).collect();
    let mut acknowledged: Vec<CommitId> = Vec::new();
    for mut process in processes {
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        acknowledged.extend(
            lines
                .map_while(Result::ok)
                .filter_map(|line| line.split_once("ack ")?.1.parse::<CommitId>().ok()),
        );
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(acknowledged.len(), PROCESSES * COMMITS_EACH);
    let log = world.store.log(&RefName::main(), u32::MAX).await.unwrap();
    let mut logged: Vec<CommitId> = log.iter().map(|commit| commit.id).collect();
    logged.sort_unstable();
    acknowledged.sort_unstable();
    assert_eq!(logged, acknowledged, "each is there, once, and no other");
    check_chain(&log);
    check_heads(&world, &log).await;
}

/// Each commit follows the one before, and later.
pub(super) fn check_chain(log: &[forebay_store::CommitRecord]) {
    for pair in log.windows(2) {
        assert_eq!(pair[0].parent, Some(pair[1].id));
        assert!(pair[0].at > pair[1].at);
    }
    assert_eq!(log.last().and_then(|first| first.parent), None);
}

/// The log adds up to the heads.
pub(super) async fn check_heads(world: &World, log: &[forebay_store::CommitRecord]) {
    let mut last = HashMap::new();
    for (table, _, change) in log.iter().rev().flat_map(|commit| &commit.changes) {
        last.insert(table.clone(), change.clone());
    }
    let heads = world
        .store
        .heads(&AsOf::Head(RefName::main()))
        .await
        .unwrap();
    assert_eq!(heads.len(), last.len());
    for head in heads {
        assert_eq!(last[&head.table], Change::Set(head.metadata_location));
    }
}
