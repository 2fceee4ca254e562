//! Many writers at once, in one process and over two handles of one store.

use std::collections::HashSet;

use forebay_core::{CommitId, RefName, SystemClock};
use forebay_store::{AsOf, Commit, Store};

use super::*;

const TASKS: usize = 16;
const COMMITS_EACH: usize = 25;

/// Reads the table's head and moves it on, again and again, until `COMMITS_EACH` of its commits are accepted.
async fn write(store: Store, name: String, tag: usize) -> Vec<(CommitId, Option<String>)> {
    let as_of = AsOf::Head(RefName::main());
    let mut accepted = Vec::new();
    while accepted.len() < COMMITS_EACH {
        let head = store.head(&as_of, &table(&name)).await.unwrap();
        let expected = head.map(|head| head.metadata_location);
        let location = format!("{tag}-{}", next_id());
        let change = set(&name, expected.as_deref(), &location);
        match store
            .commit(Commit {
                heads: vec![change],
                ..commit_on(&RefName::main())
            })
            .await
        {
            Ok(committed) => accepted.push((committed.id, expected)),
            Err(error) => assert_eq!(error.code(), "stale_head", "{error:?}"),
        }
    }
    accepted
}

async fn check(stores: &[Store], table_of: impl Fn(usize) -> String) {
    let tasks =
        (0..TASKS).map(|n| tokio::spawn(write(stores[n % stores.len()].clone(), table_of(n), n)));
    let mut accepted = Vec::new();
    for (n, task) in futures::future::join_all(tasks)
        .await
        .into_iter()
        .enumerate()
    {
        accepted.extend(
            task.unwrap()
                .into_iter()
                .map(|(id, expected)| (id, (table_of(n), expected))),
        );
    }
    let log = stores[0].log(&RefName::main(), u32::MAX).await.unwrap();
    let logged: HashSet<_> = log.iter().map(|commit| commit.id).collect();
    assert_eq!(
        log.len(),
        TASKS * COMMITS_EACH,
        "the log is what was reported"
    );
    assert!(accepted.iter().all(|(id, _)| logged.contains(id)));
    assert!(log.windows(2).all(|pair| pair[0].at > pair[1].at));
    assert!(
        log.windows(2)
            .all(|pair| pair[0].parent == Some(pair[1].id)),
        "one chain"
    );
    let seen: HashSet<_> = accepted.iter().map(|(_, seen)| seen).collect();
    assert_eq!(
        seen.len(),
        accepted.len(),
        "each state of a table was replaced by exactly one commit"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_of_their_own_tables() {
    let Some(world) = world().await else {
        return;
    };
    check(std::slice::from_ref(&world.store), |n| format!("a.t{n}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_of_three_tables() {
    let Some(world) = world().await else {
        return;
    };
    check(std::slice::from_ref(&world.store), |n| {
        format!("a.t{}", n % 3)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_over_two_handles_of_one_store() {
    let Some(world) = world().await else {
        return;
    };
    let other = open(&world.url, SystemClock::shared()).await;
    check(&[world.store.clone(), other], |n| format!("a.t{}", n % 5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_takers_each_gets_an_epoch_of_its_own_and_the_last_one_writes() {
    let Some(world) = world().await else {
        return;
    };
    let other = open(&world.url, world.clock.clone()).await;
    let main = RefName::main();
    let takes = (0..TASKS).map(|n| {
        let store = if n % 2 == 0 {
            world.store.clone()
        } else {
            other.clone()
        };
        let request = request(&main, &format!("owner {n}"));
        tokio::spawn(async move { store.take_lease(&request, true).await.unwrap() })
    });
    let mut leases = Vec::new();
    for lease in futures::future::join_all(takes).await {
        leases.push(lease.unwrap());
    }
    leases.sort_by_key(|lease| lease.epoch);
    assert_eq!(
        leases.iter().map(|lease| lease.epoch).collect::<Vec<_>>(),
        (1..=16).collect::<Vec<_>>()
    );
    let tries = leases
        .iter()
        .map(|lease| world.store.commit(step(&main, lease, 0, lease.epoch)));
    let results = futures::future::join_all(tries).await;
    let winners: Vec<_> = results
        .iter()
        .zip(&leases)
        .filter(|(r, _)| r.is_ok())
        .map(|(_, l)| l.epoch)
        .collect();
    assert_eq!(winners, [16]);
}
