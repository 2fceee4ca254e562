use std::collections::BTreeMap;

use forebay_core::{Position, RefName, Timestamp};
use forebay_store::{AsOf, Forgotten, Horizon, RunRecord, RunStatus};

use super::*;

/// Rows of the tables of the log.
async fn counts(world: &World) -> Vec<i64> {
    let sql = "SELECT CAST((SELECT count(*) FROM changes) AS TEXT), CAST((SELECT count(*) FROM moves) AS TEXT),
        CAST((SELECT count(*) FROM commits) AS TEXT), CAST((SELECT count(*) FROM runs) AS TEXT)";
    let found = rows(&world.url, sql).await.unwrap();
    let number = |text: &Option<String>| text.as_ref().unwrap().parse().unwrap();
    found[0].iter().map(number).collect()
}

#[tokio::test]
async fn what_no_kept_state_needs_is_deleted_and_the_rest_reads_as_before() {
    const COMMITS: i64 = 40;
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let lease = world
        .store
        .take_lease(&request(&main, "a"), false)
        .await
        .unwrap();
    let mut commits = Vec::new();
    for n in 0..COMMITS {
        world.clock.set(1_000_000 + n * 1_000);
        let before = (n > 0).then(|| format!("t{}", n - 1));
        let mut commit = step(&main, &lease, n, n * 10);
        commit.heads = vec![set("a.t", before.as_deref(), &format!("t{n}"))];
        if n == 0 {
            commit.heads.push(set("a.still", None, "s0"));
        }
        commits.push(world.store.commit(commit).await.unwrap());
        if n == 9 {
            world
                .store
                .create_branch(&branch("nine"), &main)
                .await
                .unwrap();
        }
    }
    let ended = RunRecord {
        id: forebay_core::RunId::new(Timestamp(1), 1),
        pipeline: "quakes".parse().unwrap(),
        branch: main.clone(),
        status: RunStatus::Succeeded,
        started_at: Timestamp(500_000),
        ended_at: Some(Timestamp(600_000)),
        error: None,
        steps: vec![],
    };
    world.store.record_run(&ended).await.unwrap();
    assert_eq!(counts(&world).await, [COMMITS + 1, COMMITS, COMMITS, 1]);

    let (kept_from, log_from) = (commits[30].at, commits[20].at);
    // Nothing goes before something is given up.
    assert_eq!(
        world.store.forget(Timestamp(0)).await.unwrap(),
        Forgotten::default()
    );
    world.store.expire(kept_from).await.unwrap();
    let forgotten = world.store.forget(log_from).await.unwrap();
    // Of commits 0 to 29 the branch keeps the ninth; the commit of `a.still` is still its newest.
    let expected = Forgotten {
        log_rows: 2 * 29,
        commits: 20 - 2,
        runs: 1,
    };
    assert_eq!(forgotten, expected);
    assert_eq!(counts(&world).await, [12, 11, 22, 0]);

    for (n, commit) in commits.iter().enumerate() {
        let found = world.store.heads(&AsOf::Commit(commit.id)).await;
        match n {
            9 | 30.. => {
                let shown = world.tables(&AsOf::Commit(commit.id)).await;
                assert_eq!(shown, format!("a.still=s0 a.t=t{n}"));
            }
            0 | 20..30 => assert_eq!(found.unwrap_err().code(), "expired", "{n}"),
            _ => assert_eq!(found.unwrap_err().code(), "no_such_commit", "{n}"),
        }
    }
    let early = AsOf::Time(main.clone(), Timestamp(kept_from.0 - 1));
    let error = world.store.heads(&early).await.unwrap_err();
    assert_eq!(error.code(), "expired");
    assert!(error.hint().unwrap().contains("[lake]"), "{error}");
    assert_eq!(world.now(&branch("nine")).await, "a.still=s0 a.t=t9");
    // A writer on the branch starts where the base stood then.
    let there = world
        .store
        .take_lease(&request(&branch("nine"), "a"), false)
        .await
        .unwrap();
    assert_eq!(there.position, Some(position(90)));
    // The log still goes on, and nothing is left to forget.
    let more = step(&main, &lease, COMMITS, 0);
    world.store.commit(more).await.unwrap();
    let log = world.store.log(&main, 100).await.unwrap();
    assert_eq!(log.len(), 23);
    assert_eq!(
        world.store.forget(log_from).await.unwrap(),
        Forgotten::default()
    );
}

#[tokio::test]
async fn a_long_log_is_forgotten_page_by_page() {
    const COMMITS: i64 = 2_100;
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let mut last = None;
    for n in 0..COMMITS {
        let before = (n > 0).then(|| format!("t{}", n - 1));
        let change = set("a.t", before.as_deref(), &format!("t{n}"));
        last = Some(world.commit(&main, &[change]).await.unwrap());
    }
    world.store.expire(last.unwrap().at).await.unwrap();
    let mut places = Vec::new();
    let (horizon, mut from) = (world.store.horizon().await.unwrap().unwrap(), None);
    loop {
        let page = world.store.places(horizon, from.as_ref()).await.unwrap();
        places.extend(page.places.into_iter().map(|place| place.metadata_location));
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    assert_eq!(places, [format!("t{}", COMMITS - 1)]);
    let forgotten = world.store.forget(Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(forgotten.log_rows, COMMITS as u64 - 1);
    assert_eq!(forgotten.commits, COMMITS as u64 - 1);
    assert_eq!(world.now(&main).await, format!("a.t=t{}", COMMITS - 1));
}

/// A position that names the object `o<n>`.
fn naming(n: i64) -> Position {
    let object =
        serde_json::json!({"path": format!("o{n}"), "sha256": "", "bytes": 1, "entries": 1});
    Position(serde_json::json!({"at": n, "objects": [object]}))
}

/// Numbers of the objects that positions name, and whether any of these is needed.
async fn named(world: &World, horizon: Horizon) -> BTreeMap<i64, bool> {
    let (mut found, mut from) = (BTreeMap::new(), None);
    loop {
        let page = world.store.logged_positions(horizon, from.as_ref());
        let page = page.await.unwrap();
        for logged in page.positions {
            for object in logged.position.objects().unwrap() {
                let n = object.path[1..].parse().unwrap();
                *found.entry(n).or_default() |= logged.is_needed;
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_position_that_names_objects_is_needed_as_long_as_its_state_is_kept() {
    const COMMITS: i64 = 450;
    let Some(world) = world().await else {
        return;
    };
    let (main, nine) = (RefName::main(), branch("nine"));
    let lease = world.store.take_lease(&request(&main, "a"), false).await;
    let lease = lease.unwrap();
    let mut commits = Vec::new();
    for n in 0..COMMITS {
        world.clock.set(1_000_000 + n * 1_000);
        let mut commit = step(&main, &lease, n, n);
        if n % 3 != 2 {
            commit.positions[0].position = naming(n);
        }
        commits.push(world.store.commit(commit).await.unwrap());
        if n == 9 {
            world.store.create_branch(&nine, &main).await.unwrap();
            let taken = world.store.take_lease(&request(&nine, "b"), false).await;
            assert_eq!(taken.unwrap().position, Some(naming(9)));
        }
    }
    let horizon = world.store.expire(commits[400].at).await.unwrap();
    let all = (0..COMMITS).filter(|n| n % 3 != 2);
    let expected: BTreeMap<i64, bool> = all.map(|n| (n, n == 9 || n >= 400)).collect();
    assert_eq!(named(&world, horizon).await, expected);

    world.store.forget(Timestamp(0)).await.unwrap();
    let kept = expected.into_iter().filter(|(_, is_needed)| *is_needed);
    let kept: BTreeMap<i64, bool> = kept.collect();
    assert_eq!(named(&world, horizon).await, kept);

    world.store.drop_branch(&nine).await.unwrap();
    world.clock.set(1_000_000_000);
    world.commit(&main, &[set("a.t", None, "t")]).await.unwrap();
    let horizon = world.store.expire(Timestamp(1_000_000_000)).await.unwrap();
    // The last position names none (449 % 3 == 2), and the state before is given up.
    let found = named(&world, horizon).await;
    assert!(found.values().all(|is_needed| !is_needed), "{found:?}");
}
