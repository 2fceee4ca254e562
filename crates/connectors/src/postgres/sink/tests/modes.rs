//! The effect of each mode on rows, against a map in memory.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upserts_and_deletes_give_what_a_map_gives() {
    let Some(world) = World::new() else { return };
    let mut rng = StdRng::seed_from_u64(7);
    let mut expected = BTreeMap::new();
    let mut sink = world.open(", mode: upsert, key: [id]").await;
    for commit in 0..12 {
        // Several batches of one commit, with keys that come twice, also inside a batch.
        for _ in 0..rng.random_range(1..4) {
            let notes: Vec<(i64, Option<String>)> = (0..rng.random_range(1..200))
                .map(|_| {
                    let note = rng
                        .random_bool(0.9)
                        .then(|| format!("n{}", rng.random_range(0..50)));
                    (rng.random_range(0..150), note)
                })
                .collect();
            let values: Vec<(i64, Option<&str>)> = notes
                .iter()
                .map(|(id, note)| (*id, note.as_deref()))
                .collect();
            assert!(sink.write(rows(&values)).await.unwrap().is_empty());
            expected.extend(
                notes
                    .into_iter()
                    .map(|(id, note)| (id, note.unwrap_or("-".to_owned()))),
            );
            if rng.random_bool(0.5) {
                assert!(sink.flush().await.unwrap().is_empty());
            }
        }
        assert!(sink.flush().await.unwrap().is_empty());
        sink.commit(commit, delivered(commit)).await.unwrap();
        assert_eq!(world.rows(), expected, "commit {commit}");
    }
    drop(sink);
    // An unchanged row is not written again.
    let written = world.sql("SELECT max(xmin::text::bigint) FROM SPOT.t");
    let mut sink = world
        .target(", mode: upsert, key: [id]")
        .open(world.context(2))
        .await
        .unwrap();
    assert_eq!(sink.standing().unwrap().sequence, Some(12));
    let same: Vec<(i64, Option<&str>)> = expected
        .iter()
        .map(|(id, note)| (*id, Some(note.as_str()).filter(|note| *note != "-")))
        .collect();
    load(sink.as_mut(), rows(&same), 12).await.unwrap();
    assert_eq!(
        world.sql("SELECT max(xmin::text::bigint) FROM SPOT.t"),
        written
    );
    drop(sink);

    let mut sink = world
        .target(", mode: delete, key: [id]")
        .open(world.context(3))
        .await
        .unwrap();
    let gone: Vec<(i64, Option<&str>)> = (0..60)
        .chain(10..20)
        .chain(900..910)
        .map(|id| (id, None))
        .collect();
    load(sink.as_mut(), rows(&gone), 13).await.unwrap();
    expected.retain(|id, _| *id >= 60);
    assert_eq!(world.rows(), expected);
}

#[tokio::test]
async fn a_replaced_table_is_never_seen_empty_or_half() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open(", mode: replace").await;
    load(sink.as_mut(), rows(&[(1, Some("a")), (2, Some("b"))]), 0)
        .await
        .unwrap();
    assert_eq!(
        world.sql("SELECT count(*) FROM SPOT.t"),
        "0",
        "the run is not over"
    );
    load(sink.as_mut(), rows(&[(3, None)]), 1).await.unwrap();
    sink.end().await.unwrap();
    assert_eq!(world.rows().len(), 3);
    drop(sink);
    // An interrupted run changes nothing, and the next starts over.
    let open = |epoch| world.context(epoch);
    let mut cut = world.target(", mode: replace").open(open(2)).await.unwrap();
    load(cut.as_mut(), rows(&[(7, Some("lost"))]), 2)
        .await
        .unwrap();
    drop(cut);
    assert_eq!(world.rows().len(), 3);
    // A transaction that started before still sees the old rows.
    let url = forebay_core::Secret::new(world.server.url());
    let server = crate::postgres::url::Server::parse(&url).unwrap();
    let reader = crate::postgres::client::Connection::open(&server);
    let reader = reader.await.unwrap();
    let count = format!("SELECT count(*) FROM {}.t", world.schema);
    reader
        .batch(
            "begin",
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1",
        )
        .await
        .unwrap();
    let mut sink = world.target(", mode: replace").open(open(3)).await.unwrap();
    load(sink.as_mut(), rows(&[(4, Some("d"))]), 3)
        .await
        .unwrap();
    sink.end().await.unwrap();
    let seen: i64 = reader.client.query_one(&count, &[]).await.unwrap().get(0);
    assert_eq!(seen, 3, "a reader saw less");
    reader.batch("end", "COMMIT").await.unwrap();
    assert_eq!(world.rows(), BTreeMap::from([(4, "d".to_owned())]));
    assert_eq!(world.sql("SELECT count(*) FROM pg_class WHERE relname = 't__forebay_new' AND relnamespace = 'SPOT'::regnamespace"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replace_that_is_killed_anywhere_blocks_nothing() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open(", mode: replace").await;
    load(sink.as_mut(), rows(&[(1, None)]), 0).await.unwrap();
    sink.end().await.unwrap();
    drop(sink);
    // As version 0.1.0 left it, between its two statements.
    world.sql("CREATE TABLE SPOT.t__forebay_new (LIKE SPOT.t INCLUDING ALL)");
    let mut rng = StdRng::seed_from_u64(16);
    for epoch in 2..27 {
        let target = world.target(", mode: replace");
        let context = world.context(epoch);
        let run = tokio::spawn(async move {
            let mut sink = target.open(context).await?;
            let sequence = sink.standing().unwrap().sequence.unwrap();
            load(sink.as_mut(), rows(&[(2, Some("new"))]), sequence).await?;
            sink.end().await
        });
        tokio::time::sleep(std::time::Duration::from_micros(
            rng.random_range(0..30_000),
        ))
        .await;
        run.abort();
        match run.await {
            Ok(done) => done.unwrap(),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    }
    let mut sink = world
        .target(", mode: replace")
        .open(world.context(99))
        .await
        .unwrap();
    let sequence = sink.standing().unwrap().sequence.unwrap();
    load(sink.as_mut(), rows(&[(3, None)]), sequence)
        .await
        .unwrap();
    sink.end().await.unwrap();
    assert_eq!(world.rows(), BTreeMap::from([(3, "-".to_owned())]));
    drop(sink);
    // A table of somebody else is never taken for a leftover.
    for theirs in [
        "INSERT INTO SPOT.t__forebay_new VALUES (1)",
        "COMMENT ON TABLE SPOT.t__forebay_new IS 'mine'",
    ] {
        world.sql(&format!("DROP TABLE IF EXISTS SPOT.t__forebay_new; CREATE TABLE SPOT.t__forebay_new (id bigint); {theirs}"));
        let error = world
            .target(", mode: replace")
            .open(world.context(100))
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), "name_taken");
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let url = "url: 'postgres://a@h/d'";
    for (config, code) in [
        ("table: a.b, mode: upsert", "no_key"),
        ("table: a.b, key: [id]", "key_without_use"),
        ("table: a.b, mode: delete, key: [id, id]", "double_key"),
        ("table: a.forebay_positions", "reserved_table"),
    ] {
        let config = format!("{{{url}, {config}}}");
        let error = Kind
            .build(&Document::from_yaml(&config).unwrap())
            .unwrap_err();
        assert_eq!(error.code(), code, "{config}");
    }
}
