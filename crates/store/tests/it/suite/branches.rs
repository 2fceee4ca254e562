use forebay_core::{ErrorKind, RefName};
use forebay_store::AsOf;

use super::*;

#[tokio::test]
async fn a_branch_sees_its_base_as_it_was_and_changes_only_itself() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev) = (RefName::main(), branch("dev"));
    let base = world
        .commit(&main, &[set("a.t", None, "t1"), set("a.u", None, "u1")])
        .await
        .unwrap();
    let made = world.store.create_branch(&dev, &main).await.unwrap();
    assert_eq!(made.base, Some((main.clone(), Some(base.id))));
    assert_eq!(made.head, Some(base.id));
    world
        .commit(
            &main,
            &[set("a.t", Some("t1"), "t2"), set("a.w", None, "w1")],
        )
        .await
        .unwrap();
    assert_eq!(world.now(&dev).await, "a.t=t1 a.u=u1");
    // Compare-and-set is against what the branch sees, not what the base has become.
    assert_eq!(
        world
            .commit(&dev, &[set("a.t", Some("t2"), "x")])
            .await
            .unwrap_err()
            .code(),
        "stale_head"
    );
    assert_eq!(
        world
            .commit(&dev, &[set("a.u", None, "x")])
            .await
            .unwrap_err()
            .code(),
        "stale_head"
    );
    world
        .commit(
            &dev,
            &[set("a.t", Some("t1"), "d1"), set("a.w", None, "d2")],
        )
        .await
        .unwrap();
    world
        .commit(&dev, &[drop_table("a.u", "u1")])
        .await
        .unwrap();
    assert_eq!(world.now(&dev).await, "a.t=d1 a.w=d2");
    assert_eq!(world.now(&main).await, "a.t=t2 a.u=u1 a.w=w1");
    world.commit(&dev, &[set("a.u", None, "d3")]).await.unwrap();
    assert_eq!(world.now(&dev).await, "a.t=d1 a.u=d3 a.w=d2");
}

#[tokio::test]
async fn the_log_of_a_branch_goes_on_in_its_base() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev, sub) = (RefName::main(), branch("dev"), branch("dev/sub"));
    let one = world.commit(&main, &[]).await.unwrap().id;
    world.store.create_branch(&dev, &main).await.unwrap();
    let two = world.commit(&dev, &[]).await.unwrap().id;
    let other = world.commit(&main, &[]).await.unwrap().id;
    world.store.create_branch(&sub, &dev).await.unwrap();
    let three = world.commit(&sub, &[]).await.unwrap().id;
    world.commit(&dev, &[]).await.unwrap();
    let log = world.store.log(&sub, 10).await.unwrap();
    assert_eq!(
        log.iter().map(|c| c.id).collect::<Vec<_>>(),
        [three, two, one]
    );
    assert_eq!(
        log.iter().map(|c| c.parent).collect::<Vec<_>>(),
        [Some(two), Some(one), None]
    );
    assert_eq!(world.store.log(&sub, 2).await.unwrap().len(), 2);
    assert_eq!(world.store.log(&main, 10).await.unwrap()[0].id, other);
    let names: Vec<_> = world
        .store
        .branches()
        .await
        .unwrap()
        .into_iter()
        .map(|b| b.name.to_string())
        .collect();
    assert_eq!(names, ["dev", "dev/sub", "main"]);
}

#[tokio::test]
async fn a_dropped_branch_frees_its_name_and_keeps_its_past() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev, sub) = (RefName::main(), branch("dev"), branch("sub"));
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    world.store.create_branch(&dev, &main).await.unwrap();
    let on_dev = world
        .commit(&dev, &[set("a.t", Some("t1"), "d1")])
        .await
        .unwrap();
    world.store.create_branch(&sub, &dev).await.unwrap();
    world.store.drop_branch(&dev).await.unwrap();
    assert_eq!(
        world
            .store
            .heads(&AsOf::Head(dev.clone()))
            .await
            .unwrap_err()
            .code(),
        "no_such_branch"
    );
    assert_eq!(
        world.commit(&dev, &[]).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        world.now(&sub).await,
        "a.t=d1",
        "a branch based on it stays"
    );
    assert_eq!(world.tables(&AsOf::Commit(on_dev.id)).await, "a.t=d1");
    world.store.create_branch(&dev, &main).await.unwrap();
    assert_eq!(
        world.now(&dev).await,
        "a.t=t1",
        "the new branch has nothing of the old one"
    );
    assert_eq!(world.now(&sub).await, "a.t=d1");
}

#[tokio::test]
async fn impossible_branches_are_refused() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev) = (RefName::main(), branch("dev"));
    world.store.create_branch(&dev, &main).await.unwrap();
    assert_eq!(
        world
            .store
            .create_branch(&dev, &main)
            .await
            .unwrap_err()
            .code(),
        "branch_exists"
    );
    let from_nowhere = world
        .store
        .create_branch(&branch("x"), &branch("nowhere"))
        .await
        .unwrap_err();
    assert_eq!(from_nowhere.code(), "no_such_branch");
    assert_eq!(
        world
            .store
            .drop_branch(&branch("nowhere"))
            .await
            .unwrap_err()
            .code(),
        "no_such_branch"
    );
    assert_eq!(
        world.store.drop_branch(&main).await.unwrap_err().code(),
        "main_stays"
    );
    assert_eq!(world.store.log(&dev, 10).await.unwrap(), []);
    // A branch of an empty lake sees nothing of what its base becomes.
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    assert_eq!(world.now(&dev).await, "");
}
