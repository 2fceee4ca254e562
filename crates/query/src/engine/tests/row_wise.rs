//! Which statements are row-wise, and that each of their rows names the row of the input that it came from.

use arrow::array::ListArray;
use arrow::compute::concat_batches;
use proptest::prelude::*;

use super::*;

/// Rows with a unique `id`, in no order.
fn input(n: usize, seed: u64) -> RecordBatch {
    let random = |row: usize, salt: u64| {
        let mut x = (row as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed.wrapping_add(salt);
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^ (x >> 32)
    };
    let ids = (0..n).map(|row| ((random(row, 0) % 1_000) * 1_000_000 + row as u64) as i64);
    let a = (0..n).map(|row| (random(row, 1) % 5 > 0).then(|| (random(row, 2) % 20) as i64 - 10));
    let s = (0..n).map(|row| (random(row, 3) % 4 > 0).then(|| format!("s{}", random(row, 4) % 9)));
    let l = (0..n).map(|row| {
        let items = (0..random(row, 5) % 4).map(|item| Some(item as i64));
        (random(row, 6) % 4 > 0).then(|| items.collect::<Vec<_>>())
    });
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids))),
        ("a", Arc::new(a.collect::<Int64Array>())),
        ("s", Arc::new(s.collect::<StringArray>())),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(l)),
        ),
    ];
    let columns = columns.map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn condition() -> impl Strategy<Value = String> {
    prop_oneof![
        (-10i64..10).prop_map(|n| format!("a > {n}")),
        (-10i64..10).prop_map(|n| format!("a * 2 <= {n} or s is null")),
        (1i64..4).prop_map(|n| format!("id % 3 <> {n}")),
        Just("s in ('s1', 's2', 's3')".to_owned()),
        Just("a is not null and s like 's%'".to_owned()),
        Just("case when a > 0 then true else id % 2 = 0 end".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
    ]
}

/// The select list of one level; every choice keeps the columns that the others need.
fn columns() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("*"),
        Just("id, a, s, l"),
        Just("l, s, a, id, 1 as one"),
        Just("id, a + 1 as a, upper(s) as s, l"),
        Just("id, coalesce(a, 0) as a, concat(s, '!') as s, l"),
        Just("id, a, s, l, -a as b, unnest(l) as u"),
        Just("id, a, s, l, unnest(array_append(l, a)) as u, unnest(l) as v"),
        Just("id, case when s is null then a end as a, s, array_append(l, 7) as l"),
    ]
}

fn level() -> impl Strategy<Value = (&'static str, Option<String>, bool)> {
    (columns(), proptest::option::of(condition()), any::<bool>())
}

/// A row-wise statement that keeps `id`.
fn statement() -> impl Strategy<Value = String> {
    proptest::collection::vec(level(), 1..4).prop_map(|levels| {
        let mut sql = String::new();
        for (n, (columns, condition, as_with)) in levels.into_iter().enumerate() {
            let condition = condition.map(|text| format!(" where {text}"));
            let condition = condition.unwrap_or_default();
            sql = match n {
                0 => format!("select {columns} from input{condition}"),
                _ if as_with => {
                    format!("with t{n} as ({sql}) select {columns} from t{n}{condition}")
                }
                _ => format!("select {columns} from ({sql}) as t{n}{condition}"),
            };
        }
        sql
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

fn joined(engine: &Engine, schema: SchemaRef, sql: &str, records: &[RecordBatch]) -> RecordBatch {
    let schema = block_on(engine.schema("input", schema, sql)).unwrap();
    concat_batches(&schema, records).unwrap()
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column_by_name("id").unwrap();
    column.as_primitive::<Int64Type>().values().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_row_names_the_row_that_it_came_from(sql in statement(), n in 0usize..30, seed in any::<u64>()) {
        let engine = Engine::new();
        let input = input(n, seed);
        let whole = block_on(engine.select("input", input.clone(), &sql)).unwrap();
        let rows = whole.rows.expect("the statement is row-wise");
        let made = joined(&engine, input.schema(), &sql, &whole.records);
        let came_from: Vec<i64> = rows.iter().map(|row| ids(&input)[*row as usize]).collect();
        prop_assert_eq!(ids(&made), came_from, "{}", sql);
        prop_assert!(rows.is_sorted(), "{}: {:?}", sql, rows);
        prop_assert!(made.schema().fields().iter().all(|field| !field.name().starts_with("_fb")));

        // The result of a row does not depend on the others.
        let one = |row| block_on(engine.select("input", input.slice(row, 1), &sql)).unwrap().records;
        let alone: Vec<RecordBatch> = (0..n).flat_map(one).collect();
        prop_assert_eq!(made, joined(&engine, input.schema(), &sql, &alone), "{}", sql);
    }
}

#[tokio::test]
async fn rows_are_told_across_the_batches_of_the_engine() {
    let input = input(50_000, 7);
    let sql = "select id, unnest(l) as u from input where a > 0";
    let made = Engine::new()
        .select("input", input.clone(), sql)
        .await
        .unwrap();
    assert!(made.records.len() > 1);
    let all = ids(&input);
    let came_from: Vec<i64> = made
        .rows
        .unwrap()
        .iter()
        .map(|row| all[*row as usize])
        .collect();
    assert_eq!(
        made.records.iter().flat_map(ids).collect::<Vec<_>>(),
        came_from
    );
}

#[tokio::test]
async fn rows_of_a_statement_that_is_not_row_wise_have_no_input_row() {
    let engine = Engine::new();
    for sql in [
        "select count(*) from input",
        "select a from input group by a",
        "select sum(a) over () from input",
        "select a from input order by a",
        "select a from input limit 3",
        "select distinct a from input",
        "select x.a from input x join input y on x.id = y.id",
        "select a from input union all select a from input",
        "select a from input where id in (select id from input)",
        "select (select max(id) from input) as m from input",
        "select 1 as one",
        "values (1)",
        "select value from generate_series(1, 3)",
        "select a as _fb_input_row from input",
        "select id from (select id, a as _fb_input_row from input) as t",
    ] {
        let made = engine.select("input", input(3, 0), sql).await.unwrap();
        assert_eq!(made.rows, None, "{sql}");
    }
}
