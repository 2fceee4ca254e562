//! Positions: who may write, and what is known after an answer that was lost.

use super::*;

#[tokio::test]
async fn an_old_owner_is_fenced_and_its_transaction_ended() {
    let Some(world) = World::new() else { return };
    let mut old = world.open(", mode: upsert, key: [id]").await;
    old.write(rows(&[(1, Some("old"))])).await.unwrap();
    // Its rows are in a transaction that holds the key, as those of a process that was stopped.
    old.flush().await.unwrap();
    let mut new = world
        .target(", mode: upsert, key: [id]")
        .open(world.context(2))
        .await
        .unwrap();
    assert_eq!(new.standing().unwrap().sequence, Some(0));
    load(new.as_mut(), rows(&[(1, Some("new"))]), 0)
        .await
        .unwrap();
    assert!(old.commit(0, delivered(1)).await.is_err());
    assert_eq!(world.rows(), BTreeMap::from([(1, "new".to_owned())]));
    // It cannot come back either.
    let error = world.target("").open(world.context(1)).await.err().unwrap();
    assert_eq!(error.code(), "stale_epoch");
}

#[tokio::test]
async fn a_commit_at_another_place_is_refused() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open("").await;
    load(sink.as_mut(), rows(&[(1, None)]), 0).await.unwrap();
    // The position is the condition: the same commit cannot be made twice.
    let error = load(sink.as_mut(), rows(&[(1, None)]), 0)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "stale_epoch");
    drop(sink);
    assert_eq!(world.sql("SELECT count(*) FROM SPOT.t"), "1");
    let mut next = world.target("").open(world.context(2)).await.unwrap();
    let standing = next.standing().unwrap();
    assert_eq!(standing.sequence, Some(1));
    let last = standing.last.unwrap();
    assert_eq!(
        (last.position.to_string(), last.outbox),
        ("{\"n\":1}".to_owned(), vec![1])
    );
}

#[tokio::test]
async fn rows_after_a_mark_can_be_taken_back() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open("").await;
    for (id, keep) in [(1, true), (2, false), (3, true)] {
        sink.mark().await.unwrap();
        sink.write(rows(&[(id, None)])).await.unwrap();
        sink.flush().await.unwrap();
        if !keep {
            sink.undo().await.unwrap();
        }
    }
    sink.commit(0, delivered(1)).await.unwrap();
    assert_eq!(
        world.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM SPOT.t"),
        "1,3"
    );
}
