//! Columns and values that a table does not support: the record is rejected, the others land.

use arrow::array::Int32Builder;
use arrow::array::{
    Decimal128Array, FixedSizeBinaryArray, Int32Array, IntervalMonthDayNanoArray, ListBuilder,
    MapBuilder, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::IntervalMonthDayNano;

use super::*;

/// Rows with a number each, and columns in which only one row has a value.
fn sparse(ids: &[i64], columns: &[(String, usize)]) -> Batch {
    let id: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    let mut arrays = vec![("id".to_owned(), id, true)];
    for (name, with_value) in columns {
        let values = (0..ids.len()).map(|row| (row == *with_value).then_some(1));
        let values: ArrayRef = Arc::new(values.collect::<Int32Array>());
        arrays.push((name.clone(), values, true));
    }
    let mut origins = Origins::default();
    (0..ids.len()).for_each(|row| origins.push(0, row as u64, 0));
    let records = RecordBatch::try_from_iter_with_nullable(arrays);
    Batch::main(records.unwrap(), Some(origins))
}

fn refused(rejected: &[Rejected]) -> Vec<(u64, &str)> {
    let mut refused: Vec<_> = rejected
        .iter()
        .map(|one| (one.offset.unwrap(), one.code.as_str()))
        .collect();
    refused.sort_unstable();
    refused
}

#[tokio::test]
async fn names_and_numbers_of_columns_refuse_their_records_only() {
    for mode in ["", ", mode: upsert, key: [id]", ", mode: replace"] {
        let Some(world) = World::new() else { return };
        let mut sink = world.open(mode).await;
        let bad = |from: usize| {
            let long = "k".repeat(64);
            [
                ("xmin".to_owned(), from),
                (long, from + 1),
                ("Id".to_owned(), from + 2),
            ]
        };
        let expected = [(1, "bad_column_name"), (2, "bad_column_name")];
        // The table is made with them, then altered, then has no more room.
        let batch = sparse(&[0, 1, 2, 3], &bad(1));
        let rejected = load(sink.as_mut(), batch, 0).await.unwrap();
        assert_eq!(refused(&rejected), expected, "{mode}");
        assert!(rejected[0].reason.contains("rename"), "{rejected:?}");
        let mut columns = bad(1).to_vec();
        columns.push(("ctid".to_owned(), 0));
        let batch = sparse(&[10, 11, 12, 13], &columns);
        let rejected = load(sink.as_mut(), batch, 1).await.unwrap();
        assert_eq!(rejected.len(), 3, "{mode}");
        let many: Vec<(String, usize)> = (0..1_700).map(|n| (format!("c{n}"), 1)).collect();
        let rejected = load(sink.as_mut(), sparse(&[20, 21], &many), 2)
            .await
            .unwrap();
        assert_eq!(refused(&rejected), [(1, "too_many_columns")], "{mode}");
        sink.end().await.unwrap();
        let ids = world.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM SPOT.t");
        assert_eq!(ids, "0,3,13,20", "{mode}");
        assert_eq!(
            world.sql("SELECT \"Id\" FROM SPOT.t WHERE id = 3"),
            "1",
            "{mode}"
        );
    }
}

#[tokio::test]
async fn a_child_that_can_have_no_table_refuses_its_record() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open("").await;
    load(sink.as_mut(), rows(&[(1, None)]), 0).await.unwrap();
    world.sql("CREATE TABLE SPOT.t__taken (_fb_root_id text, v text); COMMENT ON TABLE SPOT.t__taken IS 'Made by Forebay, pipeline payroll'");
    let text = |texts: &[&str]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let mut origins = Origins::default();
    (0..3).for_each(|row| origins.push(0, row, 0));
    let records = RecordBatch::try_from_iter([("_fb_id", text(&["a", "b", "c"]))]).unwrap();
    sink.write(Batch::main(records, Some(origins)))
        .await
        .unwrap();
    for (child, root) in [("c".repeat(70), "a"), ("taken".to_owned(), "b")] {
        let columns = [("_fb_root_id", text(&[root])), ("v", text(&["x"]))];
        let batch = Batch {
            child,
            records: RecordBatch::try_from_iter(columns).unwrap(),
            origins: None,
        };
        sink.write(batch).await.unwrap();
    }
    let rejected = sink.flush().await.unwrap();
    sink.commit(1, delivered(2)).await.unwrap();
    assert_eq!(
        refused(&rejected),
        [(0, "bad_table_name"), (1, "table_of_another")]
    );
    assert_eq!(world.sql("SELECT string_agg(_fb_id, ',') FROM SPOT.t"), "c");
    assert_eq!(world.sql("SELECT count(*) FROM SPOT.t__taken"), "0");
}

#[tokio::test]
async fn a_column_of_another_type_refuses_its_records_once_the_table_was_fit() {
    let Some(world) = World::new() else { return };
    world.sql("CREATE SCHEMA SPOT; CREATE TABLE SPOT.t (id bigint, address inet, twice bigint GENERATED ALWAYS AS (id * 2) STORED)");
    let mut sink = world.open("").await;
    load(sink.as_mut(), sparse(&[1], &[]), 0).await.unwrap();
    drop(sink);
    let mut sink = world.target("").open(world.context(2)).await.unwrap();
    let columns = [("address".to_owned(), 1), ("twice".to_owned(), 2)];
    let rejected = load(sink.as_mut(), sparse(&[2, 3, 4], &columns), 1)
        .await
        .unwrap();
    assert_eq!(
        refused(&rejected),
        [(1, "incompatible_type"), (2, "generated_column")]
    );
    assert_eq!(
        world.sql("SELECT string_agg(id || '-' || twice, ',' ORDER BY id) FROM SPOT.t"),
        "1-2,2-4"
    );
}

/// Two values of a column: the first is stored unchanged, the second is not.
fn pair(kind: &str) -> (ArrayRef, &'static str) {
    let texts = |texts: [&str; 2]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let span = |months, days, nanos| IntervalMonthDayNano::new(months, days, nanos);
    let spans = |spans: [IntervalMonthDayNano; 2]| {
        Arc::new(IntervalMonthDayNanoArray::from(spans.to_vec())) as ArrayRef
    };
    match kind {
        "varchar(3)" | "limited" | "twice_limited" => (texts(["äb ", "abc   "]), "text_too_long"),
        "char(3)" => (texts(["abc", "abc "]), "text_too_long"),
        "name" => (texts(["a", &"n".repeat(64)]), "text_too_long"),
        "varchar(3)[]" | "limited[]" => {
            let mut list = ListBuilder::new(StringBuilder::new());
            list.append_value([Some("abc"), None]);
            list.append_value([Some("ok"), Some("abc ")]);
            (Arc::new(list.finish()), "text_too_long")
        }
        "numeric(5,-2)" => {
            let values =
                Decimal128Array::from(vec![12_300, 12_345]).with_precision_and_scale(10, 0);
            (Arc::new(values.unwrap()), "number_not_exact")
        }
        "numeric(7,-3)" => (
            Arc::new(Int64Array::from(vec![4_000, 4_001])),
            "number_not_exact",
        ),
        "numeric(6,1)" => {
            let values = Decimal128Array::from(vec![1_250, 1_255]).with_precision_and_scale(10, 2);
            (Arc::new(values.unwrap()), "too_many_decimals")
        }
        "interval(0)" => (
            spans([span(1, 1, 1_000_000_000), span(0, 0, 1_500_000_000)]),
            "time_too_fine",
        ),
        "interval year to month" => (spans([span(13, 0, 0), span(13, 1, 0)]), "time_too_fine"),
        "interval year" => (spans([span(12, 0, 0), span(13, 0, 0)]), "time_too_fine"),
        "interval day" => (
            spans([span(1, 2, 0), span(0, 0, 3_600_000_000_000)]),
            "time_too_fine",
        ),
        "interval hour to minute" => (
            spans([span(0, 0, 60_000_000_000), span(0, 0, 61_000_000_000)]),
            "time_too_fine",
        ),
        "timestamp(0)" => (
            Arc::new(TimestampMicrosecondArray::from(vec![1_000_000, 1_500_000])),
            "time_too_fine",
        ),
        other => panic!("no values for {other}"),
    }
}

#[tokio::test]
async fn a_value_that_the_column_would_round_or_cut_is_refused() {
    let Some(world) = World::new() else { return };
    world.sql("CREATE SCHEMA SPOT; CREATE DOMAIN SPOT.limited AS varchar(3); CREATE DOMAIN SPOT.twice_limited AS SPOT.limited");
    let kinds = [
        "varchar(3)",
        "char(3)",
        "name",
        "limited",
        "twice_limited",
        "varchar(3)[]",
        "limited[]",
        "numeric(5,-2)",
        "numeric(7,-3)",
        "numeric(6,1)",
        "interval(0)",
        "interval year to month",
        "interval year",
        "interval day",
        "interval hour to minute",
        "timestamp(0)",
    ];
    let negative_scales = world.sql("SHOW server_version_num").parse::<u32>().unwrap() >= 150_000;
    for (at, kind) in kinds.into_iter().enumerate() {
        if kind.contains(",-") && !negative_scales {
            continue;
        }
        let own = if kind.contains("limited") {
            "SPOT."
        } else {
            ""
        };
        world.sql(&format!(
            "DROP TABLE IF EXISTS SPOT.t; CREATE TABLE SPOT.t (id bigint, v {own}{kind})"
        ));
        let epoch = i64::try_from(at).unwrap() + 1;
        let mut sink = world.target("").open(world.context(epoch)).await.unwrap();
        let sequence = sink.standing().unwrap().sequence;
        if sequence.is_none() {
            sink.adopt(0).await.unwrap();
        }
        let (values, code) = pair(kind);
        let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let records = RecordBatch::try_from_iter([("id", id), ("v", values)]).unwrap();
        let mut origins = Origins::default();
        (0..2).for_each(|row| origins.push(0, row, 0));
        let batch = Batch::main(records, Some(origins));
        let rejected = load(sink.as_mut(), batch, sequence.unwrap_or(0))
            .await
            .unwrap();
        assert_eq!(refused(&rejected), [(1, code)], "{kind}");
        assert_eq!(world.sql("SELECT id FROM SPOT.t"), "1", "{kind}");
    }
}

#[tokio::test]
async fn what_triggers_and_policies_raise_refuses_the_record() {
    let Some(world) = World::new() else { return };
    world.sql(
        "CREATE SCHEMA SPOT; CREATE TABLE SPOT.t (id bigint, note text); \
         CREATE FUNCTION SPOT.judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.id = 1 THEN RAISE EXCEPTION 'no'; END IF; \
         IF NEW.id = 2 THEN RAISE EXCEPTION 'no' USING ERRCODE = 'AB123'; END IF; \
         IF NEW.id = 3 THEN RAISE EXCEPTION 'no' USING ERRCODE = '45000'; END IF; \
         IF NEW.id = 4 THEN RAISE EXCEPTION 'no' USING ERRCODE = '42804'; END IF; \
         IF NEW.id = 5 THEN RAISE EXCEPTION 'no' USING ERRCODE = 'XX000'; END IF; \
         IF NEW.id = 6 THEN NEW.id := 1 / (NEW.id - 6); END IF; RETURN NEW; END $$; \
         CREATE TRIGGER judge BEFORE INSERT ON SPOT.t FOR EACH ROW EXECUTE FUNCTION SPOT.judge()",
    );
    let mut sink = world.open("").await;
    let values: Vec<(i64, Option<&str>)> = (0..10).map(|id| (id, Some("x"))).collect();
    let rejected = load(sink.as_mut(), rows(&values), 0).await.unwrap();
    let places: Vec<u64> = refused(&rejected)
        .iter()
        .map(|(offset, _)| *offset)
        .collect();
    assert_eq!(places, [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        world.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM SPOT.t"),
        "0,7,8,9"
    );
    drop(sink);
    world.sql(
        "DROP TABLE SPOT.t; CREATE TABLE SPOT.t (id bigint PRIMARY KEY, note text); CREATE ROLE SPOT_some LOGIN; \
         GRANT ALL ON SCHEMA SPOT TO SPOT_some; GRANT ALL ON ALL TABLES IN SCHEMA SPOT TO SPOT_some; \
         ALTER TABLE SPOT.t ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON SPOT.t USING (true) WITH CHECK (id < 2)",
    );
    let url = world
        .server
        .url()
        .replace("postgres@", &format!("{}_some@", world.schema));
    let config = format!(
        "{{url: \"{url}\", table: {}.t, mode: upsert, key: [id]}}",
        world.schema
    );
    let target = Kind.build(&Document::from_yaml(&config).unwrap()).unwrap();
    let mut sink = target.open(world.context(2)).await.unwrap();
    let rejected = load(sink.as_mut(), rows(&[(1, None), (2, None)]), 1)
        .await
        .unwrap();
    assert_eq!(refused(&rejected), [(1, "row_security_violation")]);
}

#[tokio::test]
async fn a_uuid_stays_one_and_maps_with_other_keys_can_be_refused() {
    let Some(world) = World::new() else { return };
    world.sql("CREATE SCHEMA SPOT; CREATE TABLE SPOT.t (id bigint CHECK (id <> 2), u uuid)");
    let mut sink = world.open("").await;
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let bytes: Vec<[u8; 16]> =
        vec![*b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00"; 2];
    let uuid: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(bytes.into_iter()).unwrap());
    let mut map = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
    for _ in 0..2 {
        map.keys().append_value(7);
        map.values().append_value("x");
        map.append(true).unwrap();
    }
    let map: ArrayRef = Arc::new(map.finish());
    let records = RecordBatch::try_from_iter([("id", id), ("u", uuid), ("m", map)]).unwrap();
    let mut origins = Origins::default();
    (0..2).for_each(|row| origins.push(0, row, 0));
    let rejected = load(sink.as_mut(), Batch::main(records, Some(origins)), 0)
        .await
        .unwrap();
    assert_eq!(refused(&rejected), [(1, "check_violation")]);
    let record = String::from_utf8(rejected[0].record.clone()).unwrap();
    assert!(record.contains(r#""m":{"7":"x"}"#), "{record}");
    assert_eq!(
        world.sql("SELECT id, u, m FROM SPOT.t"),
        "1|123e4567-e89b-12d3-a456-426614174000|{\"7\": \"x\"}"
    );
}

#[tokio::test]
async fn a_refused_record_brings_no_column_and_no_table() {
    for mode in ["", ", mode: upsert, key: [id]", ", mode: replace"] {
        let Some(world) = World::new() else { return };
        let mut sink = world.open(mode).await;
        let many = |from: usize, row: usize| {
            let names = (from..from + 1_700).map(move |n| (format!("c{n}"), row));
            names.collect::<Vec<_>>()
        };
        // Nothing of a first record that is refused is in the new table.
        let rejected = load(sink.as_mut(), sparse(&[0, 1], &many(0, 1)), 0).await;
        assert_eq!(
            refused(&rejected.unwrap()),
            [(1, "too_many_columns")],
            "{mode}"
        );
        let columns = world.sql(COLUMNS_OF);
        assert_eq!(columns, "id", "{mode}");
        let mut columns = many(2_000, 0);
        columns.push(("good".to_owned(), 1));
        let rejected = load(sink.as_mut(), sparse(&[10, 11], &columns), 1).await;
        assert_eq!(rejected.unwrap().len(), 1, "{mode}");
        let ghost = [("xmin", 0), ("ghost", 0), ("good", 1), ("later", 1)];
        let ghost = ghost.map(|(name, row)| (name.to_owned(), row));
        let rejected = load(sink.as_mut(), sparse(&[20, 21], &ghost), 2).await;
        assert_eq!(
            refused(&rejected.unwrap()),
            [(0, "bad_column_name")],
            "{mode}"
        );
        sink.end().await.unwrap();
        assert_eq!(world.sql(COLUMNS_OF), "good,id,later", "{mode}");
        assert_eq!(
            world.sql(
                "SELECT string_agg(id::text || coalesce(good, 0), ',' ORDER BY id) FROM SPOT.t"
            ),
            "00,111,211",
            "{mode}"
        );
    }
}

const COLUMNS_OF: &str = "SELECT string_agg(attname, ',' ORDER BY attname) FROM pg_attribute \
    WHERE attrelid = 'SPOT.t'::regclass AND attnum > 0 AND NOT attisdropped";
