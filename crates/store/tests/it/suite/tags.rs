use forebay_core::{RefName, Timestamp};
use forebay_store::AsOf;

use super::*;

#[tokio::test]
async fn branches_and_tags_start_from_any_kept_state() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    world.clock.set(10);
    let one = world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    world
        .store
        .create_branch(&branch("dev"), &main)
        .await
        .unwrap();
    world.clock.set(20);
    world
        .commit(&branch("dev"), &[set("a.t", Some("t1"), "d1")])
        .await
        .unwrap();
    world.clock.set(30);
    world
        .commit(&main, &[set("a.t", Some("t1"), "t2")])
        .await
        .unwrap();
    let store = &world.store;
    let at = |at: i64| AsOf::Time(main.clone(), Timestamp(at));
    let dev_at = |at: i64| AsOf::Time(branch("dev"), Timestamp(at));
    for (name, from, expected) in [
        ("by-commit", AsOf::Commit(one.id), "a.t=t1"),
        // The newest commit then is one of another branch.
        ("by-time", at(25), "a.t=t1"),
        ("now", at(30), "a.t=t2"),
        ("before-all", at(5), ""),
        ("of-dev", AsOf::Head(branch("dev")), "a.t=d1"),
        // From before the branch was there: the state of its base.
        ("dev-before", dev_at(15), "a.t=t1"),
    ] {
        let tag = store.create_tag(&branch(name), &from).await.unwrap();
        assert!(tag.is_tag);
        assert_eq!(world.now(&branch(name)).await, expected, "{name}");
        if let Some(head) = tag.head {
            assert_eq!(world.tables(&AsOf::Commit(head)).await, expected, "{name}");
        }
        let copy = branch(&format!("copy/{name}"));
        store
            .create_branch_at(&copy, &AsOf::Head(branch(name)))
            .await
            .unwrap();
        world
            .commit(&copy, &[set("a.own", None, "o")])
            .await
            .unwrap();
        assert_eq!(world.now(&branch(name)).await, expected, "{name}");
    }
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_committed_to_a_tag_and_names_are_shared() {
    let Some(world) = world().await else {
        return;
    };
    let (main, tag) = (RefName::main(), branch("v1"));
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    let store = &world.store;
    let head = AsOf::Head(main.clone());
    store.create_tag(&tag, &head).await.unwrap();
    let refused = world.commit(&tag, &[set("a.t", Some("t1"), "x")]).await;
    assert_eq!(refused.unwrap_err().code(), "tag_is_fixed");
    let taken = store.take_lease(&request(&tag, "me"), true).await;
    assert_eq!(taken.unwrap_err().code(), "tag_is_fixed");
    assert_eq!(
        store.create_branch(&tag, &main).await.unwrap_err().code(),
        "branch_exists"
    );
    assert_eq!(
        store.create_tag(&main, &head).await.unwrap_err().code(),
        "branch_exists"
    );
    let odd = branch("zzjfz6v6q8k7g5r3m2n1p0qrst");
    if odd.as_str().parse::<forebay_core::CommitId>().is_ok() {
        assert_eq!(
            store.create_tag(&odd, &head).await.unwrap_err().code(),
            "ref_name_is_id"
        );
    }
    assert_eq!(
        store.drop_branch(&tag).await.unwrap_err().code(),
        "no_such_branch"
    );
    assert_eq!(
        store.drop_tag(&main).await.unwrap_err().code(),
        "main_stays"
    );
    assert_eq!(
        store.drop_tag(&branch("none")).await.unwrap_err().code(),
        "no_such_tag"
    );
    store.drop_tag(&tag).await.unwrap();
    store.create_branch(&tag, &main).await.unwrap();
    world
        .commit(&tag, &[set("a.t", Some("t1"), "x")])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_tag_keeps_its_state_beyond_the_horizon() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    world.clock.set(10);
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    let head = AsOf::Head(main.clone());
    world.store.create_tag(&branch("v1"), &head).await.unwrap();
    for (at, (from, to)) in [(20, ("t1", "t2")), (30, ("t2", "t3"))] {
        world.clock.set(at);
        world
            .commit(&main, &[set("a.t", Some(from), to)])
            .await
            .unwrap();
    }
    let horizon = world.store.expire(Timestamp(30)).await.unwrap();
    world.store.forget(Timestamp(30)).await.unwrap();
    assert_eq!(world.now(&branch("v1")).await, "a.t=t1");
    let places = world.store.places(horizon, None).await.unwrap().places;
    let kept: Vec<&str> = places
        .iter()
        .map(|place| place.metadata_location.as_str())
        .collect();
    assert_eq!(kept, ["t1", "t3"]);
    let expired = world
        .store
        .create_tag(&branch("v2"), &AsOf::Time(main.clone(), Timestamp(20)))
        .await;
    assert_eq!(expired.unwrap_err().code(), "expired");
    world.store.drop_tag(&branch("v1")).await.unwrap();
    world.clock.set(50);
    world
        .commit(&main, &[set("a.t", Some("t3"), "t4")])
        .await
        .unwrap();
    world.store.expire(Timestamp(60)).await.unwrap();
    assert!(world.store.forget(Timestamp(60)).await.unwrap().log_rows >= 1);
}
