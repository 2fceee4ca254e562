//! Rows that the target rejects: each is reported with its position, the others land.

use super::*;
use crate::sink::TARGET_GONE;

fn places(rejected: &[Rejected]) -> Vec<(Option<u64>, &str)> {
    let mut places: Vec<_> = rejected
        .iter()
        .map(|one| (one.offset, one.code.as_str()))
        .collect();
    places.sort_unstable();
    places
}

#[tokio::test]
async fn each_refused_row_is_found_and_the_others_land() {
    let Some(world) = World::new() else { return };
    world.sql(
        "CREATE SCHEMA SPOT; CREATE TABLE SPOT.t (id integer PRIMARY KEY, note varchar(5) CHECK (note <> 'bad'))",
    );
    let mut sink = world.open("").await;
    let long = "x".repeat(9);
    let mut values: Vec<(i64, Option<&str>)> = (0..5_000).map(|id| (id, Some("ok"))).collect();
    let poison = [
        (17, (17, Some("a\0b")), "nul_in_text"),
        (18, (18, Some("bad")), "check_violation"),
        (99, (98, Some("ok")), "unique_violation"),
        (1_000, (1 << 40, Some("ok")), "number_out_of_range"),
        (4_000, (4_000, Some(long.as_str())), "text_too_long"),
        (4_999, (4_999, Some("bad")), "check_violation"),
    ];
    for (row, value, _) in poison {
        values[row] = value;
    }
    let rejected = load(sink.as_mut(), rows(&values), 0).await.unwrap();
    let expected: Vec<(Option<u64>, &str)> = poison
        .iter()
        .map(|(row, _, code)| (Some(*row as u64), *code))
        .collect();
    assert_eq!(places(&rejected), expected);
    assert!(
        rejected
            .iter()
            .all(|one| one.stage == "load" && !one.record.is_empty())
    );
    assert_eq!(
        world.sql("SELECT count(*), count(DISTINCT id) FROM SPOT.t"),
        "4994|4994"
    );
}

#[tokio::test]
async fn merges_that_fail_refuse_their_rows_only() {
    let Some(world) = World::new() else { return };
    world.sql("CREATE SCHEMA SPOT; CREATE TABLE SPOT.t (id bigint PRIMARY KEY, note text UNIQUE)");
    let mut sink = world.open(", mode: upsert, key: [id]").await;
    let notes: Vec<String> = (0..300).map(|n| format!("n{n}")).collect();
    let mut values: Vec<(i64, Option<&str>)> = notes
        .iter()
        .enumerate()
        .map(|(id, note)| (id as i64, Some(note.as_str())))
        .collect();
    values[100].1 = Some("n3");
    values[250].1 = Some("n3");
    let mut batch = rows(&values);
    let rejected = load(sink.as_mut(), batch, 0).await.unwrap();
    assert_eq!(
        places(&rejected),
        [
            (Some(100), "unique_violation"),
            (Some(250), "unique_violation")
        ]
    );
    assert_eq!(world.sql("SELECT count(*) FROM SPOT.t"), "298");
    // A row without a key cannot be a row of the table.
    batch = rows(&[(400, Some("x"))]);
    let id: ArrayRef = Arc::new(Int64Array::from(vec![None]));
    let note: ArrayRef = Arc::new(StringArray::from(vec!["y"]));
    batch.records =
        RecordBatch::try_from_iter_with_nullable([("id", id, true), ("note", note, true)]).unwrap();
    let rejected = load(sink.as_mut(), batch, 1).await.unwrap();
    assert_eq!(places(&rejected), [(Some(0), "null_key")]);
}

#[tokio::test]
async fn a_record_is_refused_with_its_children() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open("").await;
    let text = |texts: &[&str]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let main = |keys: &[&str], notes: &[&str]| {
        let mut origins = Origins::default();
        (0..keys.len()).for_each(|row| origins.push(0, row as u64, 0));
        let records = RecordBatch::try_from_iter([("_fb_id", text(keys)), ("note", text(notes))]);
        Batch::main(records.unwrap(), Some(origins))
    };
    let children = |roots: &[&str], skus: &[&str]| Batch {
        child: "items".to_owned(),
        records: RecordBatch::try_from_iter([("_fb_root_id", text(roots)), ("sku", text(skus))])
            .unwrap(),
        origins: None,
    };
    sink.write(main(&["a", "b", "c", "d"], &["1", "2\0", "3", "4"]))
        .await
        .unwrap();
    sink.write(children(
        &["a", "a", "b", "c", "c", "d"],
        &["x", "y", "z", "p", "q\0", "r"],
    ))
    .await
    .unwrap();
    let rejected = sink.flush().await.unwrap();
    sink.commit(0, delivered(1)).await.unwrap();
    assert_eq!(
        places(&rejected),
        [(Some(1), "nul_in_text"), (Some(2), "nul_in_text")]
    );
    assert!(
        rejected
            .iter()
            .any(|one| one.reason.starts_with("in items: ")),
        "{rejected:?}"
    );
    assert_eq!(
        world.sql("SELECT string_agg(_fb_id, ',' ORDER BY _fb_id) FROM SPOT.t"),
        "a,d"
    );
    assert_eq!(
        world.sql("SELECT string_agg(sku, ',' ORDER BY sku) FROM SPOT.t__items"),
        "r,x,y"
    );
}

#[tokio::test]
async fn a_table_that_rows_cannot_fit_is_said_before_any_row() {
    let Some(world) = World::new() else { return };
    for (table, code) in [
        ("id bigint, note inet", "incompatible_type"),
        ("id bigint, note text, must text NOT NULL", "missing_column"),
    ] {
        world.sql(&format!("CREATE SCHEMA IF NOT EXISTS SPOT; DROP TABLE IF EXISTS SPOT.t; CREATE TABLE SPOT.t ({table})"));
        let mut sink = world.open("").await;
        let error = load(sink.as_mut(), rows(&[(1, Some("a"))]), 0)
            .await
            .unwrap_err();
        assert_eq!(
            (error.code(), error.kind()),
            (code, forebay_core::ErrorKind::Config)
        );
    }
    world.sql(
        "DROP TABLE SPOT.t; CREATE TABLE SPOT.t (id bigint); INSERT INTO SPOT.t VALUES (1), (1)",
    );
    let mut sink = world.open(", mode: upsert, key: [id]").await;
    let error = load(sink.as_mut(), rows(&[(1, Some("a"))]), 0)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "key_not_unique");
    // A trigger that swallows a row is found by the count.
    world.sql("DROP TABLE SPOT.t; CREATE TABLE SPOT.t (id bigint, note text); \
        CREATE FUNCTION SPOT.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END'; \
        CREATE TRIGGER swallow BEFORE INSERT ON SPOT.t FOR EACH ROW EXECUTE FUNCTION SPOT.swallow()");
    let mut sink = world.open("").await;
    let error = load(sink.as_mut(), rows(&[(1, None), (2, None)]), 0)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "rows_left_out");
    assert!(error.hint().unwrap().contains("RAISE EXCEPTION"));
    assert!(
        sink.commit(0, delivered(1)).await.is_err(),
        "nothing may be committed after an error"
    );
    assert_eq!(world.sql("SELECT count(*) FROM SPOT.t"), "0");
}

#[tokio::test]
async fn privileges_and_lost_connections_are_told_apart() {
    let Some(world) = World::new() else { return };
    world.sql(
        "CREATE SCHEMA SPOT; CREATE ROLE SPOT_low LOGIN; GRANT USAGE ON SCHEMA SPOT TO SPOT_low",
    );
    let url = world
        .server
        .url()
        .replace("postgres@", &format!("{}_low@", world.schema));
    let config = format!("{{url: \"{url}\", table: {}.t}}", world.schema);
    let low = Kind.build(&Document::from_yaml(&config).unwrap()).unwrap();
    let error = low.open(world.context(1)).await.err().unwrap();
    assert_eq!(error.kind(), forebay_core::ErrorKind::Denied, "{error}");
    let mut sink = world.open("").await;
    sink.write(rows(&[(1, None)])).await.unwrap();
    sink.flush().await.unwrap();
    world.sql("SELECT count(pg_terminate_backend(backend)) FROM SPOT.forebay_positions");
    let error = load(sink.as_mut(), rows(&[(2, None)]), 0)
        .await
        .unwrap_err();
    assert_eq!(error.code(), TARGET_GONE, "{error}");
    assert_eq!(
        world.sql("SELECT sequence FROM SPOT.forebay_positions"),
        "0"
    );
    // A server that accepts no writes, as one that is a replica now.
    world.sql("ALTER ROLE SPOT_low SET default_transaction_read_only = on; GRANT ALL ON ALL TABLES IN SCHEMA SPOT TO SPOT_low");
    let error = low.open(world.context(1)).await.err().unwrap();
    assert_eq!(
        error.kind(),
        forebay_core::ErrorKind::Unavailable,
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_waited_for() {
    let Some(world) = World::new() else { return };
    world.sql("CREATE SCHEMA SPOT; CREATE TABLE SPOT.t (id bigint, note text)");
    let server = world.server;
    let schema = world.schema.clone();
    let mut sink = world.open("").await;
    let holder = std::thread::spawn(move || {
        server.sql(&format!(
            "BEGIN; LOCK TABLE {schema}.t; SELECT pg_sleep(2); COMMIT"
        ));
    });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    load(sink.as_mut(), rows(&[(1, None)]), 0).await.unwrap();
    holder.join().unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM SPOT.t"), "1");
}

#[tokio::test]
async fn a_column_that_somebody_changes_blames_no_row() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open("").await;
    load(sink.as_mut(), rows(&[(1, Some("a"))]), 0)
        .await
        .unwrap();
    world.sql("ALTER TABLE SPOT.t ALTER id TYPE numeric; ALTER TABLE SPOT.t DROP note");
    let rejected = load(sink.as_mut(), rows(&[(2, Some("b")), (3, None)]), 1)
        .await
        .unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    world.sql("ALTER TABLE SPOT.t ALTER id TYPE bigint USING id");
    let rejected = load(sink.as_mut(), rows(&[(4, Some("c"))]), 2)
        .await
        .unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(
        world.sql("SELECT id, note FROM SPOT.t ORDER BY id"),
        "1|\n2|b\n3|\n4|c"
    );
}
