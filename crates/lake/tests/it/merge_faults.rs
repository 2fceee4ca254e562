//! Merges that die, race and are held: each is there as a whole or not at all.

use std::collections::BTreeMap;

use forebay_lake::Lake;

use crate::crash::{dying, interrupted};
use crate::faulty::Death;
use crate::merge::{append_on, fork, ids_on, keyed_on, load_on, merge, position_on, upsert_on};
use crate::site::{Site, drafted_on, id_rows};

/// More operations than a merge takes.
const OPERATIONS_MAX: i64 = 150;

/// A branch with a table to fast-forward, one to add to, a new one, and a moved position.
async fn forked() -> Site {
    let site = Site::new().await;
    let lake = &site.lake;
    append_on(lake, "main", "a.t", &[1]).await;
    upsert_on(lake, "main", "a.k", &[(1, 1), (2, 1)]).await;
    load_on(lake, "main", Vec::new(), 1).await;
    fork(lake, "dev", "main").await;
    upsert_on(lake, "dev", "a.k", &[(1, 2)]).await;
    append_on(lake, "dev", "a.new", &[5]).await;
    let on = "dev".parse().unwrap();
    let rows = drafted_on(lake, &on, "a.t", id_rows([10])).await;
    load_on(lake, "dev", vec![rows.unwrap()], 2).await;
    append_on(lake, "main", "a.t", &[2]).await;
    site
}

/// Everything that the merge changes.
async fn state(site: &Site) -> (Vec<i64>, Vec<i64>, BTreeMap<i64, i64>, Option<(i64, i64)>) {
    (
        ids_on(site, "main", "a.t").await,
        ids_on(site, "main", "a.new").await,
        keyed_on(site, "main", "a.k").await,
        position_on(&site.another().await, "main").await,
    )
}

async fn dies_everywhere(death: Death) -> i64 {
    for operations in 0..OPERATIONS_MAX {
        let site = forked().await;
        let before = state(&site).await;
        let work = async |lake: Lake| merge(&lake, "dev", "main").await.is_ok();
        let done = dying(&site, death, operations, move |lake| Box::pin(work(lake))).await;
        let after = state(&site).await;
        let merged = (
            vec![1, 2, 10],
            vec![5],
            BTreeMap::from([(1, 2), (2, 1)]),
            Some((2, 2)),
        );
        match done {
            true => assert_eq!(after, merged, "after {operations} operations"),
            false => assert!(
                after == before || after == merged,
                "after {operations} operations: {after:?}"
            ),
        }
        // Whatever was left behind is in nobody's way, but for the lease of the dead, which expires.
        let later = site.another_at(crate::site::LATER).await;
        merge(&later, "dev", "main").await.unwrap();
        assert_eq!(state(&site).await, merged, "after {operations} operations");
        if done {
            return operations;
        }
    }
    panic!("no merge within {OPERATIONS_MAX} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_whose_storage_fails_anywhere_leaves_main_as_it_was() {
    let operations = dies_everywhere(Death::Errors).await;
    assert!(operations >= 5, "{operations}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_killed_anywhere_is_there_or_not() {
    let operations = dies_everywhere(Death::Silence).await;
    assert!(operations >= 5, "{operations}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_in_the_middle_of_a_merge_lose_nothing() {
    for operations in 0..OPERATIONS_MAX {
        let site = forked().await;
        let other = site.another().await;
        let meanwhile = async {
            append_on(&other, "main", "a.t", &[3]).await;
            append_on(&other, "dev", "a.t", &[11]).await;
        };
        let work = |lake: Lake| async move { merge(&lake, "dev", "main").await.map(drop) };
        let (done, was_stopped) = Box::pin(interrupted(&site, operations, work, meanwhile)).await;
        done.unwrap();
        if !was_stopped {
            assert!(operations >= 5, "{operations}");
            return;
        }
        let ids = ids_on(&site, "main", "a.t").await;
        let wanted: [&[i64]; 2] = [&[1, 2, 3, 10], &[1, 2, 3, 10, 11]];
        assert!(
            wanted.contains(&ids.as_slice()),
            "{ids:?} after {operations} operations"
        );
        merge(&other, "dev", "main").await.unwrap();
        assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 3, 10, 11]);
        assert_eq!(position_on(&other, "main").await, Some((2, 2)));
    }
    panic!("more than {OPERATIONS_MAX} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_change_in_the_middle_of_a_merge_is_a_conflict_or_comes_after_it() {
    for operations in 0..OPERATIONS_MAX {
        let site = forked().await;
        let other = site.another().await;
        let meanwhile = async { upsert_on(&other, "main", "a.k", &[(1, 9)]).await };
        let work = |lake: Lake| async move { merge(&lake, "dev", "main").await.map(drop) };
        let (done, was_stopped) = Box::pin(interrupted(&site, operations, work, meanwhile)).await;
        if !was_stopped {
            assert!(operations >= 5, "{operations}");
            return;
        }
        let error = done.unwrap_err();
        assert_eq!(
            error.code(),
            "merge_conflict",
            "after {operations} operations"
        );
        assert_eq!(
            keyed_on(&site, "main", "a.k").await,
            BTreeMap::from([(1, 9), (2, 1)])
        );
        assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2]);
        assert_eq!(position_on(&other, "main").await, Some((1, 1)));
    }
    panic!("more than {OPERATIONS_MAX} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_at_once_land_once() {
    for _ in 0..10 {
        let site = forked().await;
        fork(&site.lake, "two", "dev").await;
        append_on(&site.lake, "two", "a.t", &[20]).await;
        let mut racing = tokio::task::JoinSet::new();
        for source in ["dev", "two", "dev", "two"] {
            let lake = site.another_in_real_time().await;
            racing.spawn(async move {
                for _ in 0..50 {
                    match merge(&lake, source, "main").await {
                        Ok(_) => return,
                        // Another merge moves the same position just now.
                        Err(error) if error.code() == "leased" => {
                            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                        }
                        Err(error) => panic!("{source}: {error}"),
                    }
                }
                panic!("{source}: the position stayed leased");
            });
        }
        racing.join_all().await;
        assert_eq!(ids_on(&site, "main", "a.t").await, [1, 2, 10, 20]);
        assert_eq!(ids_on(&site, "main", "a.new").await, [5]);
        assert_eq!(position_on(&site.lake, "main").await, Some((2, 2)));
        assert_eq!(
            site.lake.store().verify().await.unwrap(),
            Vec::<String>::new()
        );
    }
}
