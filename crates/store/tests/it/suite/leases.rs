use std::time::Duration;

use forebay_core::{ErrorKind, Ident, RefName, Timestamp};
use forebay_store::{Commit, Lease, Member};

use super::*;

const SECOND: i64 = 1_000_000;

async fn positions(world: &World, branch: &RefName) -> Vec<(String, i64, String)> {
    let pipeline: Ident = "quakes".parse().unwrap();
    let positions = world.store.positions(branch, &pipeline).await.unwrap();
    positions
        .into_iter()
        .map(|(split, sequence, position)| (split.to_string(), sequence, position.to_string()))
        .collect()
}

#[tokio::test]
async fn a_position_moves_with_its_commit_and_only_in_order() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let lease = world
        .store
        .take_lease(&request(&main, "one"), false)
        .await
        .unwrap();
    assert_eq!(
        lease,
        Lease {
            epoch: 1,
            sequence: 0,
            position: None
        }
    );
    assert_eq!(positions(&world, &main).await, []);
    world
        .store
        .commit(step(&main, &lease, 0, 10))
        .await
        .unwrap();
    world
        .store
        .commit(step(&main, &lease, 1, 20))
        .await
        .unwrap();
    for (done, why) in [(1, "again"), (3, "ahead")] {
        let error = world
            .store
            .commit(step(&main, &lease, done, 30))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Conflict, "stale_epoch"),
            "{why}"
        );
    }
    assert_eq!(
        positions(&world, &main).await,
        [("all".into(), 2, r#"{"at":20}"#.into())]
    );
    // A commit that is refused for its table leaves the position.
    let refused = Commit {
        heads: vec![set("a.t", Some("nothing"), "t1")],
        ..step(&main, &lease, 2, 30)
    };
    assert_eq!(
        world.store.commit(refused).await.unwrap_err().code(),
        "stale_head"
    );
    assert_eq!(positions(&world, &main).await[0].1, 2);
}

#[tokio::test]
async fn a_zombie_is_fenced_though_its_lease_looks_alive() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let old = world
        .store
        .take_lease(&request(&main, "old"), false)
        .await
        .unwrap();
    world.store.commit(step(&main, &old, 0, 10)).await.unwrap();
    let new = world
        .store
        .take_lease(&request(&main, "new"), true)
        .await
        .unwrap();
    assert_eq!(
        new,
        Lease {
            epoch: 2,
            sequence: 1,
            position: Some(position(10))
        }
    );
    let zombie = Commit {
        heads: vec![set("a.t", None, "zombie")],
        ..step(&main, &old, 1, 99)
    };
    let error = world.store.commit(zombie).await.unwrap_err();
    assert_eq!(error.code(), "stale_epoch");
    assert_eq!(
        world.now(&main).await,
        "",
        "nothing of a fenced commit is there"
    );
    assert_eq!(
        world
            .store
            .renew_lease(&request(&main, "old"), old.epoch)
            .await
            .unwrap_err()
            .code(),
        "stale_epoch"
    );
    assert_eq!(
        world
            .store
            .release_lease(&request(&main, "old"), old.epoch)
            .await
            .unwrap_err()
            .code(),
        "stale_epoch"
    );
    world.store.commit(step(&main, &new, 0, 20)).await.unwrap();
}

#[tokio::test]
async fn a_lease_keeps_others_out_until_it_ends() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let take = async |owner: &str| {
        let lease = world.store.take_lease(&request(&main, owner), false).await;
        lease.map(|lease| lease.epoch).map_err(|error| error.code())
    };
    world.clock.set(100 * SECOND);
    let pipeline_and_split = request(&main, "any");
    let held = async |second: i64| {
        let (pipeline, split) = (&pipeline_and_split.pipeline, &pipeline_and_split.split);
        let now = Timestamp(second * SECOND);
        let until = world.store.held_until(&main, pipeline, split, now).await;
        until.unwrap().map(|until| until.micros() / SECOND)
    };
    assert_eq!(held(100).await, None);
    assert_eq!(take("one").await, Ok(1));
    assert_eq!((held(100).await, held(110).await), (Some(110), None));
    assert_eq!(take("two").await, Err("leased"));
    assert_eq!(take("one").await, Ok(2), "its own owner may take it again");
    world.clock.set(109 * SECOND);
    world
        .store
        .renew_lease(&request(&main, "one"), 2)
        .await
        .unwrap();
    world.clock.set(118 * SECOND);
    assert_eq!(take("two").await, Err("leased"));
    world.clock.set(119 * SECOND);
    assert_eq!(take("two").await, Ok(3));
    world
        .store
        .release_lease(&request(&main, "two"), 3)
        .await
        .unwrap();
    assert_eq!(held(119).await, None);
    world
        .store
        .release_lease(&request(&main, "two"), 3)
        .await
        .unwrap();
    assert_eq!(take("one").await, Ok(4));
    // The clock was a year ahead when this lease was taken: it must not lock the split for a year.
    world.clock.set(400 * 86_400 * SECOND);
    assert_eq!(take("one").await, Ok(5));
    world.clock.set(120 * SECOND);
    assert_eq!(take("two").await, Ok(6));
}

#[tokio::test]
async fn members_count_until_they_leave_or_fall_silent() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev) = (RefName::main(), branch("dev"));
    let created = world.store.create_branch(&dev, &main).await;
    created.unwrap();
    let member = |branch: &RefName, pipeline: &str, owner: &str| Member {
        branch: branch.clone(),
        pipeline: pipeline.parse().unwrap(),
        owner: owner.to_owned(),
        duration: Duration::from_secs(10),
    };
    let attend = async |pipeline: &str, owner: &str| {
        let all = world.store.attend(&member(&main, pipeline, owner)).await;
        all.unwrap().join(" ")
    };
    world.clock.set(100 * SECOND);
    assert_eq!(attend("quakes", "two").await, "two");
    assert_eq!(attend("quakes", "one").await, "one two");
    assert_eq!(attend("orders", "one").await, "one", "of another pipeline");
    let on_dev = world.store.attend(&member(&dev, "quakes", "two")).await;
    assert_eq!(on_dev.unwrap(), ["two"], "on another branch");
    world.clock.set(109 * SECOND);
    assert_eq!(attend("quakes", "one").await, "one two");
    world.clock.set(110 * SECOND);
    assert_eq!(attend("quakes", "one").await, "one", "two fell silent");
    assert_eq!(attend("quakes", "two").await, "one two");
    let one = member(&main, "quakes", "one");
    world.store.leave(&one).await.unwrap();
    world.store.leave(&one).await.unwrap();
    assert_eq!(attend("quakes", "two").await, "two");
    // The clock was a year ahead when it came: it must not be counted for a year.
    world.clock.set(400 * 86_400 * SECOND);
    attend("quakes", "ahead").await;
    world.clock.set(111 * SECOND);
    assert_eq!(attend("quakes", "two").await, "two");
}

#[tokio::test]
async fn a_pipeline_on_a_branch_moves_the_branch_only() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev, sub) = (RefName::main(), branch("dev"), branch("sub"));
    let on_main = world
        .store
        .take_lease(&request(&main, "one"), false)
        .await
        .unwrap();
    world
        .store
        .commit(step(&main, &on_main, 0, 10))
        .await
        .unwrap();
    world.store.create_branch(&dev, &main).await.unwrap();
    world
        .store
        .commit(step(&main, &on_main, 1, 20))
        .await
        .unwrap();
    assert_eq!(
        positions(&world, &dev).await,
        [("all".into(), 1, r#"{"at":10}"#.into())]
    );
    // The same split may be worked at on both, each with its own epoch.
    let on_dev = world
        .store
        .take_lease(&request(&dev, "two"), false)
        .await
        .unwrap();
    assert_eq!(
        on_dev,
        Lease {
            epoch: 1,
            sequence: 1,
            position: Some(position(10))
        }
    );
    world.store.create_branch(&sub, &dev).await.unwrap();
    world
        .store
        .commit(step(&dev, &on_dev, 0, 11))
        .await
        .unwrap();
    world
        .store
        .commit(step(&main, &on_main, 2, 30))
        .await
        .unwrap();
    assert_eq!(
        positions(&world, &dev).await[0],
        ("all".into(), 2, r#"{"at":11}"#.into())
    );
    assert_eq!(
        positions(&world, &main).await[0],
        ("all".into(), 3, r#"{"at":30}"#.into())
    );
    let on_sub = world
        .store
        .take_lease(&request(&sub, "two"), false)
        .await
        .unwrap();
    assert_eq!(
        on_sub,
        Lease {
            epoch: 1,
            sequence: 1,
            position: Some(position(10))
        }
    );
    // Main's epoch is not dev's: a writer cannot commit to a branch that it has not taken.
    let stolen = world
        .store
        .take_lease(&request(&dev, "three"), true)
        .await
        .unwrap();
    assert_eq!(stolen.epoch, 2);
    assert_eq!(
        world
            .store
            .commit(step(&dev, &on_dev, 1, 12))
            .await
            .unwrap_err()
            .code(),
        "stale_epoch"
    );
}

#[tokio::test]
async fn a_position_has_a_limit() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let lease = world
        .store
        .take_lease(&request(&main, "one"), false)
        .await
        .unwrap();
    let mut commit = step(&main, &lease, 0, 1);
    commit.positions[0].position.0 = serde_json::json!("x".repeat(1 << 20));
    assert_eq!(
        world.store.commit(commit).await.unwrap_err().code(),
        "position_too_big"
    );
    let never = world
        .store
        .commit(step(
            &main,
            &Lease {
                epoch: 0,
                sequence: 0,
                position: None,
            },
            0,
            1,
        ))
        .await;
    assert_eq!(never.unwrap_err().code(), "stale_epoch");
}
