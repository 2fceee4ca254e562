use forebay_core::{RefName, SystemClock};

use super::*;

#[tokio::test]
async fn what_is_committed_is_there_after_reopening() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    world
        .commit(&main, &[set("a.t", None, "t1")])
        .await
        .unwrap();
    let again = open(&world.url, world.clock.clone()).await;
    assert_eq!(
        again.log(&main, 10).await.unwrap(),
        world.store.log(&main, 10).await.unwrap()
    );
}

#[tokio::test]
async fn many_may_open_a_new_store_at_once() {
    let Some((url, _dir)) = new_url() else { return };
    let opening = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { open(&url, SystemClock::shared()).await })
    });
    for opened in futures::future::join_all(opening).await {
        let store = opened.unwrap();
        store.commit(commit_on(&RefName::main())).await.unwrap();
    }
    let store = open(&url, SystemClock::shared()).await;
    assert_eq!(store.log(&RefName::main(), 100).await.unwrap().len(), 8);
}
