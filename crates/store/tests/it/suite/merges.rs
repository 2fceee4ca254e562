use forebay_core::{RefName, Timestamp};
use forebay_store::{AsOf, Committed, HeadChange};

use super::*;

/// The tables that the source changed: what both started from, and both sides.
async fn sides(world: &World, source: &str, target: &str) -> Vec<String> {
    let sides = world
        .store
        .merge_sides(&branch(source), &branch(target))
        .await
        .unwrap();
    let location = |head: &Option<forebay_store::Head>| {
        head.as_ref()
            .map_or("-".to_owned(), |head| head.metadata_location.clone())
    };
    let changed = sides.tables.into_iter().filter(|one| one.is_changed());
    changed
        .map(|one| {
            let base: Vec<String> = one.base.known.iter().map(location).collect();
            let (from, into) = (location(&one.source), location(&one.target));
            format!("{} {} {from} {into}", one.table, base.join("|"))
        })
        .collect()
}

/// A merge as its caller decided.
async fn merged(world: &World, source: &str, target: &str, heads: &[HeadChange]) -> Committed {
    let sides = world
        .store
        .merge_sides(&branch(source), &branch(target))
        .await
        .unwrap();
    let commit = forebay_store::Commit {
        heads: heads.to_vec(),
        ..commit_on(&branch(target))
    };
    world
        .store
        .commit_merge(commit, sides.merged)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_next_merge_starts_from_the_last_in_both_directions() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev) = (RefName::main(), branch("dev"));
    world
        .commit(&main, &[set("a.t", None, "t1"), set("a.u", None, "u1")])
        .await
        .unwrap();
    world.store.create_branch(&dev, &main).await.unwrap();
    assert_eq!(sides(&world, "dev", "main").await, Vec::<String>::new());
    world
        .commit(
            &dev,
            &[set("a.t", Some("t1"), "d1"), set("a.n", None, "n1")],
        )
        .await
        .unwrap();
    world
        .commit(&main, &[set("a.t", Some("t1"), "t2")])
        .await
        .unwrap();
    assert_eq!(
        sides(&world, "dev", "main").await,
        ["a.n - n1 -", "a.t t1 d1 t2"]
    );
    merged(
        &world,
        "dev",
        "main",
        &[set("a.t", Some("t2"), "t2+d1"), set("a.n", None, "n1")],
    )
    .await;
    assert_eq!(sides(&world, "dev", "main").await, Vec::<String>::new());
    // Back: main has all of the branch, which is what they have in common.
    assert_eq!(sides(&world, "main", "dev").await, ["a.t d1 t2+d1 d1"]);
    world
        .commit(&dev, &[set("a.t", Some("d1"), "d2")])
        .await
        .unwrap();
    assert_eq!(sides(&world, "dev", "main").await, ["a.t d1 d2 t2+d1"]);
    merged(&world, "main", "dev", &[set("a.t", Some("d2"), "both")]).await;
    assert_eq!(sides(&world, "dev", "main").await, ["a.t t2+d1 both t2+d1"]);
    // A branch of the branch has what that had.
    world
        .store
        .create_branch(&branch("sub"), &dev)
        .await
        .unwrap();
    assert_eq!(sides(&world, "sub", "main").await, ["a.t t2+d1 both t2+d1"]);
    assert_eq!(world.store.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn two_that_took_in_two_others_have_several_states_in_common() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    world
        .commit(&main, &[set("a.t", None, "t"), set("a.u", None, "u")])
        .await
        .unwrap();
    for name in ["x", "y", "stage"] {
        world
            .store
            .create_branch(&branch(name), &main)
            .await
            .unwrap();
    }
    world
        .commit(&branch("x"), &[set("a.t", Some("t"), "tx")])
        .await
        .unwrap();
    world
        .commit(&branch("y"), &[set("a.t", Some("t"), "ty")])
        .await
        .unwrap();
    for target in ["main", "stage"] {
        merged(&world, "x", target, &[set("a.t", Some("t"), "tx")]).await;
        let both = format!("both-{target}");
        merged(&world, "y", target, &[set("a.t", Some("tx"), &both)]).await;
    }
    let [one] = sides(&world, "stage", "main").await.try_into().unwrap();
    assert!(
        [
            "a.t tx|ty both-stage both-main",
            "a.t ty|tx both-stage both-main"
        ]
        .contains(&one.as_str()),
        "{one}"
    );
}

#[tokio::test]
async fn the_state_of_the_last_merge_is_kept_until_the_branch_is_dropped() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev) = (RefName::main(), branch("dev"));
    world.clock.set(10);
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    world.store.create_branch(&dev, &main).await.unwrap();
    let at_merge = world
        .commit(&dev, &[set("a.t", Some("t1"), "d1")])
        .await
        .unwrap();
    world
        .commit(&main, &[set("a.t", Some("t1"), "t2")])
        .await
        .unwrap();
    merged(&world, "dev", "main", &[set("a.t", Some("t2"), "both")]).await;
    world.clock.set(20);
    world
        .commit(&dev, &[set("a.t", Some("d1"), "d2")])
        .await
        .unwrap();
    world.clock.set(30);
    world
        .commit(&dev, &[set("a.t", Some("d2"), "d3")])
        .await
        .unwrap();
    let horizon = world.store.expire(Timestamp(40)).await.unwrap();
    world.store.forget(Timestamp(40)).await.unwrap();
    let places = world.store.places(horizon, None).await.unwrap().places;
    let kept: Vec<&str> = places
        .iter()
        .map(|place| place.metadata_location.as_str())
        .collect();
    assert!(kept.contains(&"d1") && !kept.contains(&"d2"), "{kept:?}");
    assert_eq!(sides(&world, "dev", "main").await, ["a.t d1 d3 both"]);
    drop(world.store.find_commit(at_merge.id).await.unwrap());
    world.store.drop_branch(&dev).await.unwrap();
    let gone = world.store.merge_sides(&dev, &main).await;
    assert_eq!(gone.unwrap_err().code(), "no_such_branch");
}

#[tokio::test]
async fn a_merge_of_a_state_that_is_no_longer_kept_is_refused() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev) = (RefName::main(), branch("dev"));
    world.clock.set(10);
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    world.store.create_branch(&dev, &main).await.unwrap();
    world
        .commit(&dev, &[set("a.t", Some("t1"), "d1")])
        .await
        .unwrap();
    let looked_at = world.store.merge_sides(&dev, &main).await.unwrap();
    let commit = || forebay_store::Commit {
        heads: vec![set("a.t", Some("t1"), "d1")],
        ..commit_on(&main)
    };
    world.clock.set(20);
    world
        .commit(&dev, &[set("a.t", Some("d1"), "d2")])
        .await
        .unwrap();
    world.store.expire(Timestamp(30)).await.unwrap();
    let refused = world
        .store
        .commit_merge(commit(), looked_at.merged.clone())
        .await;
    assert_eq!(refused.unwrap_err().code(), "stale_head");
    world.store.drop_branch(&dev).await.unwrap();
    let refused = world.store.commit_merge(commit(), looked_at.merged).await;
    assert_eq!(refused.unwrap_err().code(), "stale_head");
    assert_eq!(world.tables(&AsOf::Head(main)).await, "a.t=t1");
}
