use forebay_core::{ErrorKind, RefName, Timestamp};
use forebay_store::{AsOf, Change, Commit};

use super::*;

#[tokio::test]
async fn many_tables_move_in_one_commit_or_none_does() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    world
        .commit(&main, &[set("a.t", None, "t1"), set("a.u", None, "u1")])
        .await
        .unwrap();
    let stale = [set("a.t", Some("t1"), "t2"), set("a.u", Some("u0"), "u2")];
    let error = world.commit(&main, &stale).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Conflict, "stale_head")
    );
    assert!(
        error.to_string().contains("a.u") && error.to_string().contains("u1"),
        "{error}"
    );
    assert_eq!(world.now(&main).await, "a.t=t1 a.u=u1");
    assert_eq!(world.store.log(&main, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_table_is_created_once_and_may_come_back_after_a_drop() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    assert_eq!(
        world
            .commit(&main, &[set("a.t", None, "t2")])
            .await
            .unwrap_err()
            .code(),
        "stale_head"
    );
    let dropped = world
        .commit(&main, &[drop_table("a.t", "t1")])
        .await
        .unwrap();
    assert_eq!(world.now(&main).await, "");
    assert_eq!(
        world
            .commit(&main, &[set("a.t", Some("t1"), "t3")])
            .await
            .unwrap_err()
            .code(),
        "stale_head"
    );
    world
        .commit(&main, &[set("a.t", None, "t4")])
        .await
        .unwrap();
    assert_eq!(world.now(&main).await, "a.t=t4");
    assert_eq!(world.tables(&AsOf::Commit(dropped.id)).await, "");
}

#[tokio::test]
async fn a_drop_is_known_with_the_commit_that_it_follows() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let table = "a.t".parse().unwrap();
    let set_first = world.commit(&main, &[set("a.t", None, "t1")]).await;
    let first = set_first.unwrap().id;
    let is_dropped = async |since| {
        let dropped = world.store.is_dropped_since(&main, &table, since);
        dropped.await.unwrap()
    };
    assert!(!is_dropped(first).await);
    let dropped = world.commit(&main, &[drop_table("a.t", "t1")]).await;
    let dropped = dropped.unwrap().id;
    assert!(is_dropped(first).await);
    assert!(!is_dropped(dropped).await);
    let side: RefName = "side".parse().unwrap();
    world.store.create_branch(&side, &main).await.unwrap();
    let on_side = world.store.is_dropped_since(&side, &table, first);
    assert!(on_side.await.unwrap());
    let again = world.commit(&main, &[set("a.t", None, "t2")]).await;
    again.unwrap();
    assert!(!is_dropped(first).await);
}

#[tokio::test]
async fn every_earlier_state_can_be_read() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let mut made = Vec::new();
    for n in 0..5 {
        world.clock.set(10_000_000 * (n + 1));
        let expected = (n > 0).then(|| format!("t{}", n - 1));
        made.push(
            world
                .commit(&main, &[set("a.t", expected.as_deref(), &format!("t{n}"))])
                .await
                .unwrap(),
        );
    }
    for (n, commit) in made.iter().enumerate() {
        let shown = format!("a.t=t{n}");
        assert_eq!(world.tables(&AsOf::Commit(commit.id)).await, shown);
        assert_eq!(
            world.tables(&AsOf::Time(main.clone(), commit.at)).await,
            shown
        );
        assert_eq!(
            world
                .tables(&AsOf::Time(main.clone(), Timestamp(commit.at.0 + 1)))
                .await,
            shown
        );
    }
    assert_eq!(
        world
            .tables(&AsOf::Time(main.clone(), Timestamp(made[0].at.0 - 1)))
            .await,
        ""
    );
    let missing = world
        .store
        .heads(&AsOf::Commit(next_id()))
        .await
        .unwrap_err();
    assert_eq!(
        (missing.kind(), missing.code()),
        (ErrorKind::NotFound, "no_such_commit")
    );
}

#[tokio::test]
async fn the_time_of_commits_goes_on_when_the_clock_goes_back() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let mut last = Timestamp(0);
    for clock in [5_000_000, 1_000_000, 1_000_000, -7, 5_000_001, 9_000_000] {
        world.clock.set(clock);
        let at = world.commit(&main, &[]).await.unwrap().at;
        assert!(
            at > last && at.0 >= clock,
            "{at} after {last} with the clock at {clock}"
        );
        last = at;
    }
    assert_eq!(
        last,
        Timestamp(9_000_000),
        "a clock that is ahead is believed"
    );
    let log = world.store.log(&main, 10).await.unwrap();
    assert!(log.windows(2).all(|pair| pair[0].at > pair[1].at));
}

#[tokio::test]
async fn the_log_says_who_changed_what() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let first = world
        .commit(&main, &[set("b.u", None, "u1"), set("a.t", None, "t1")])
        .await
        .unwrap();
    let commit = Commit {
        author: "ann".into(),
        message: "drop 'it'; --".into(),
        run: Some("01arz3ndektsv4rrffq69g5fav".parse().unwrap()),
        at: None,
        heads: vec![drop_table("a.t", "t1")],
        ..commit_on(&main)
    };
    let second = world.store.commit(commit.clone()).await.unwrap();
    let log = world.store.log(&main, 10).await.unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(
        log[0],
        world.store.find_commit(second.id).await.unwrap().unwrap()
    );
    assert_eq!((log[0].parent, log[1].parent), (Some(first.id), None));
    assert_eq!(
        (&log[0].author, &log[0].message, log[0].run),
        (&commit.author, &commit.message, commit.run)
    );
    assert_eq!(
        log[0].changes,
        [(table("a.t"), uuid_of("a.t"), Change::Drop)]
    );
    let changed: Vec<_> = log[1]
        .changes
        .iter()
        .map(|(table, _, change)| (table.to_string(), change))
        .collect();
    assert_eq!(
        changed,
        [
            ("a.t".into(), &Change::Set("t1".into())),
            ("b.u".into(), &Change::Set("u1".into()))
        ]
    );
    assert_eq!(world.store.log(&main, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_commit_that_contradicts_itself_is_refused() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let twice = world
        .commit(&main, &[set("a.t", None, "1"), set("a.t", None, "2")])
        .await
        .unwrap_err();
    assert_eq!(
        (twice.kind(), twice.code()),
        (ErrorKind::Bug, "table_twice")
    );
    let mut nothing = drop_table("a.t", "x");
    nothing.expected = None;
    assert_eq!(
        world.commit(&main, &[nothing]).await.unwrap_err().code(),
        "drop_of_nothing"
    );
    assert_eq!(world.store.log(&main, 10).await.unwrap(), []);
}
