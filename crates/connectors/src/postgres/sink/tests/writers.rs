//! Positions: fencing of writers, and the outcome of a commit with a lost answer.

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_comes_late_never_touches_the_row_of_a_later_owner() {
    let Some(world) = World::new() else { return };
    let mut old = world.target("").open(world.context(1)).await.unwrap();
    assert!(old.standing().unwrap().sequence.is_none());
    // The first writer's statement stalls inside the server, before it meets the row.
    world.sql(
        "CREATE SEQUENCE SPOT.first; CREATE FUNCTION SPOT.stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('SPOT.first') = 1 THEN PERFORM pg_sleep(1.5); END IF; RETURN NEW; END $$; \
         CREATE TRIGGER stall BEFORE INSERT ON SPOT.forebay_positions FOR EACH ROW EXECUTE FUNCTION SPOT.stall()",
    );
    let adopting = tokio::spawn(async move { old.adopt(0).await });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let mut new = world.target("").open(world.context(2)).await.unwrap();
    new.adopt(0).await.unwrap();
    load(new.as_mut(), rows(&[(1, None)]), 0).await.unwrap();
    let error = adopting.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "stale_epoch");
    assert_eq!(
        world.sql("SELECT epoch, sequence, outbox FROM SPOT.forebay_positions"),
        "2|1|\\x01"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cancelled_does_not_wait_for_a_lock() {
    let Some(world) = World::new() else { return };
    world.sql("CREATE SCHEMA SPOT; CREATE TABLE SPOT.t (id bigint, note text)");
    let server = world.server;
    let schema = world.schema.clone();
    let clock = forebay_testkit::FakeClock::manual(forebay_core::Timestamp(0));
    let context = SinkContext {
        clock: clock.clone(),
        ..world.context(1)
    };
    let cancel = context.cancel.clone();
    let mut sink = world.target("").open(context).await.unwrap();
    sink.adopt(0).await.unwrap();
    let holder = std::thread::spawn(move || {
        server.sql(&format!(
            "BEGIN; LOCK TABLE {schema}.t; SELECT pg_sleep(4); COMMIT"
        ));
    });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    sink.write(rows(&[(1, None)])).await.unwrap();
    let flushing = tokio::spawn(async move { sink.flush().await });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    cancel.cancel();
    // The grace after the cancellation has begun and is over.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    clock.advance(std::time::Duration::from_secs(60));
    let flushed = tokio::time::timeout(std::time::Duration::from_secs(2), flushing).await;
    let error = flushed.expect("it waits on").unwrap().unwrap_err();
    assert_eq!(error.code(), crate::sink::TARGET_GONE);
    let waits = || {
        world.sql(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'SPOT.t'::regclass",
        ) != "0"
    };
    // The cancellation reaches the server by a connection of its own.
    let mut checks = 0..20;
    while waits() {
        assert!(checks.next().is_some(), "the server waits on for nobody");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    holder.join().unwrap();
}
