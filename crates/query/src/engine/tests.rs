use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use forebay_core::{ErrorKind, SqlEngine};

use super::*;
use crate::statement;

mod clauses;
mod deadline;
mod hidden_names;
mod row_wise;

fn rows() -> RecordBatch {
    let column = |array: ArrayRef| array;
    RecordBatch::try_from_iter_with_nullable([
        (
            "id",
            column(Arc::new(Int64Array::from(vec![3, 1, 2, i64::MAX]))),
            true,
        ),
        (
            "mag",
            column(Arc::new(Float64Array::from(vec![
                Some(4.5),
                None,
                Some(-1.0),
                Some(9.0),
            ]))),
            true,
        ),
        (
            "Place",
            column(Arc::new(StringArray::from(vec!["a", "b", "c", "d"]))),
            true,
        ),
        (
            "at",
            column(Arc::new(
                TimestampMicrosecondArray::from(vec![0, 1, 2, 3]).with_timezone("+00:00"),
            )),
            true,
        ),
    ])
    .unwrap()
}

async fn run(sql: &str) -> Result<RecordBatch> {
    let engine = Engine::new();
    let schema = engine.schema("input", rows().schema(), sql).await?;
    let batches = engine.select("input", rows(), sql).await?.records;
    for batch in &batches {
        assert_eq!(batch.schema(), schema, "{sql}");
    }
    Ok(arrow::compute::concat_batches(&schema, &batches).unwrap())
}

async fn failure(sql: &str) -> Error {
    run(sql).await.expect_err(sql)
}

#[tokio::test]
async fn a_projection_and_filter_keep_row_order() {
    let batch = run("select id, mag * 2 as double_mag from input where id < 100")
        .await
        .unwrap();
    assert_eq!(
        batch.column(0).as_primitive::<Int64Type>().values(),
        &[3, 1, 2]
    );
    assert_eq!(batch.schema().field(1).name(), "double_mag");
}

#[tokio::test]
async fn big_batches_keep_row_order_too() {
    let ids: Vec<i64> = (0..100_000).map(|n| (n * 7_919) % 100_003).collect();
    let batch =
        RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids.clone())) as ArrayRef)])
            .unwrap();
    let batches = Engine::new()
        .select("input", batch, "select id from input where id % 2 = 0")
        .await
        .unwrap()
        .records;
    let got: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect();
    let expected: Vec<i64> = ids.into_iter().filter(|id| id % 2 == 0).collect();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn results_have_types_that_a_table_can_hold() {
    let batch = run("select to_timestamp_millis(id) as t, substr(\"Place\", 1, 1) as s, length(\"Place\") as n, arrow_cast(1, 'UInt8') as u, [id] as l from input where id < 9")
        .await
        .unwrap();
    let types: Vec<DataType> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    assert_eq!(
        types[0],
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
    );
    assert_eq!(types[1], DataType::Utf8);
    assert_eq!(types[2], DataType::Int32);
    assert_eq!(types[3], DataType::Int32);
    assert!(matches!(types[4], DataType::List(_)));
}

#[tokio::test]
async fn one_ready_plan_serves_many_batches_at_once() {
    let engine = Arc::new(Engine::new());
    let sql = "select a.id + b.id as s from input a join input b on a.id = b.id order by 1";
    let tasks = (0..20i64).map(|n| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let batch = RecordBatch::try_from_iter([(
                "id",
                Arc::new(Int64Array::from(vec![n, n + 1])) as ArrayRef,
            )])
            .unwrap();
            let got = engine.select("input", batch, sql).await.unwrap();
            assert_eq!(got.rows, None);
            assert_eq!(
                got.records[0]
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values(),
                &[2 * n, 2 * n + 2]
            );
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_statement_says_where_and_what_was_meant() {
    let error = failure("select id,\n  mga from input").await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Config, "bad_sql"));
    assert!(error.message().starts_with("2:3: no column mga"), "{error}");
    assert_eq!(error.hint(), Some("did you mean mag?"));

    let error = failure("select place from input").await;
    assert_eq!(
        error.hint(),
        Some("names are read as lower case; write \"Place\" in double quotes")
    );

    let error = failure("select * from inptu").await;
    assert!(
        error.message().starts_with("1:15: no table inptu"),
        "{error}"
    );
    assert_eq!(error.hint(), Some("did you mean input?"));

    let error = failure("select abz(id) from input").await;
    assert!(error.message().starts_with("1:8: "), "{error}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("abs")),
        "{:?}",
        error.hint()
    );

    let error = failure("select from from").await;
    assert!(error.message().starts_with("1:"), "{error}");
}

#[tokio::test]
async fn functions_of_the_moment_are_refused() {
    for sql in [
        "select now() from input",
        "select random() from input",
        "select uuid() from input",
        "select current_date from input",
        "select id from input where mag > random()",
        "select id from input where id in (select id from input where random() > 0)",
        "select id from input order by random()",
    ] {
        assert_eq!(failure(sql).await.code(), "not_deterministic", "{sql}");
    }
    let error = Engine::new()
        .evaluate(&rows(), "at < now()")
        .await
        .unwrap_err();
    assert_eq!(error.code(), "not_deterministic");
}

#[tokio::test]
async fn only_a_select_over_the_input_is_allowed() {
    for sql in [
        "insert into input values (1)",
        "copy input to '/tmp/x'",
        "explain select 1",
        "show tables",
        "set x = 1",
        "drop table input",
    ] {
        assert_eq!(failure(sql).await.code(), "not_a_select", "{sql}");
    }
    for sql in [
        "select * from '/etc/passwd'",
        "select * from \"file:///etc/passwd\"",
        "select * from read_csv('/etc/passwd')",
    ] {
        assert_eq!(failure(sql).await.kind(), ErrorKind::Config, "{sql}");
    }
}

#[tokio::test]
async fn values_that_do_not_compute_are_data_errors() {
    for (sql, code) in [
        ("select id / (id - 1) from input", "divide_by_zero"),
        ("select id + 1 from input", "overflow"),
        ("select id * 2 from input", "overflow"),
        ("select -2 - id from input where id > 100", "overflow"),
        ("select -(-1 - id) from input where id > 100", "overflow"),
        ("select -(-2 - (id - 1)) from input", "overflow"),
        ("select sum(id) from input", "overflow"),
        ("select sum(distinct id) from input", "overflow"),
        (
            "select mag > 0 and mag < 10, sum(id) from input group by 1",
            "overflow",
        ),
        ("select sum(id) over (order by id) from input", "overflow"),
        (
            "select sum(id) over (order by id rows between 1 preceding and current row) from input",
            "overflow",
        ),
        ("select cast(\"Place\" as int) from input", "bad_cast"),
    ] {
        let error = failure(sql).await;
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Data, code),
            "{sql}: {error}"
        );
    }
    let batch = run("select try_cast(\"Place\" as int) as n from input")
        .await
        .unwrap();
    assert_eq!(batch.column(0).null_count(), 4);
}

#[tokio::test]
async fn hostile_statements_end_with_an_error() {
    let deep = format!(
        "select {}1{} from input",
        "(".repeat(10_000),
        ")".repeat(10_000)
    );
    assert_eq!(failure(&deep).await.code(), "sql_too_deep");
    let long = format!(
        "select id from input where id in ({})",
        "1,".repeat(6 << 20)
    );
    assert_eq!(failure(&long).await.code(), "sql_too_long");
}

#[test]
fn the_deepest_statement_fits_in_half_of_the_stack() {
    let thread = std::thread::Builder::new().stack_size(statement::STACK_BYTES / 2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let planning = thread.spawn(move || runtime.block_on(run_deepest()));
    planning.unwrap().join().unwrap();
}

async fn run_deepest() {
    let most = statement::DEPTH_MAX - 5;
    for deepest in [
        format!("select id{} from input where id < 9", " + 1".repeat(most)),
        format!(
            "select id{} from input where id < 9",
            " || 'x'".repeat(most)
        ),
        format!("select {}id from input where id < 9", "- ".repeat(most)),
        format!(
            "select id from input where id < 9 and {}true",
            "not not ".repeat(most / 2)
        ),
        format!(
            "select id from input where id in (1, 2, 3){}",
            " and id < 9".repeat(most)
        ),
        format!(
            "select id from input where id < 9 and ({})",
            vec!["mag = 4.5 or id = 1 or id = 2"; most / 4].join(" or ")
        ),
        format!(
            "select {}id{} from input where id < 9",
            "case when true then ".repeat(14),
            " end".repeat(14)
        ),
        format!(
            "select {}id{} from input where id < 9",
            "(".repeat(55),
            ")".repeat(55)
        ),
        format!(
            "{}select id from input where id < 9{}",
            "select id from (".repeat(30),
            ")".repeat(30)
        ),
        format!(
            "select id from input where id < 9{}",
            " union all select id from input where id > 9".repeat(40)
        ),
        chain_of_queries(60),
    ] {
        assert!(run(&deepest).await.unwrap().num_rows() >= 3, "{deepest}");
    }
}

fn chain_of_queries(count: usize) -> String {
    let mut sql = "with q0 as (select id from input where id < 9)".to_owned();
    for n in 1..count {
        sql += &format!(
            ", q{n} as (select id * 1 as id from q{} where id > {n} - 99)",
            n - 1
        );
    }
    sql + &format!(" select id from q{}", count - 1)
}

#[tokio::test]
async fn a_cross_join_without_end_is_stopped() {
    let text: Vec<String> = (0..20_000).map(|n| format!("{n:0100}")).collect();
    let batch =
        RecordBatch::try_from_iter([("s", Arc::new(StringArray::from(text)) as ArrayRef)]).unwrap();
    let error = Engine::new()
        .select(
            "input",
            batch,
            "select a.s, b.s as t from input a cross join input b",
        )
        .await
        .unwrap_err();
    assert!(
        ["sql_output_too_large", "query_memory"].contains(&error.code()),
        "{error}"
    );
    assert_eq!(
        error.kind() == ErrorKind::Data,
        error.code() == "sql_output_too_large"
    );
}

#[tokio::test]
async fn a_condition_gives_one_answer_a_row_and_null_is_not_true() {
    let engine = Engine::new();
    let answer = engine
        .evaluate(&rows(), "mag BETWEEN -2 AND 5")
        .await
        .unwrap();
    assert_eq!(answer.null_count(), 0);
    assert_eq!(
        answer.iter().map(Option::unwrap).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    assert_eq!(keep(&rows(), &answer).unwrap().num_rows(), 2);
    assert_eq!(
        engine.evaluate(&rows(), "null").await.unwrap().true_count(),
        0
    );
    assert_eq!(
        engine.evaluate(&rows(), "id + 1").await.unwrap_err().code(),
        "not_boolean"
    );
    assert_eq!(
        engine
            .evaluate(&rows(), "id + 1 > 0")
            .await
            .unwrap_err()
            .code(),
        "overflow"
    );
    assert_eq!(
        engine
            .evaluate(&rows(), "idd > 0")
            .await
            .unwrap_err()
            .hint(),
        Some("did you mean id?")
    );
    assert!(engine.evaluate(&rows(), "id > 0 ; drop").await.is_err());
}

#[tokio::test]
async fn plans_are_kept_but_not_without_end() {
    let engine = Engine::new();
    for n in 0..PLANS_MAX + 10 {
        engine
            .evaluate(&rows(), &format!("id = {n}"))
            .await
            .unwrap();
    }
    assert_eq!(engine.filters.0.lock().unwrap().len(), PLANS_MAX);
}

/// A bad pattern, flag or place in a record fails that record, not the statement.
#[tokio::test]
async fn hostile_arguments_of_functions_are_values() {
    for (expression, hostile) in [
        ("regexp_replace('aaa', s, 'b')", "("),
        ("regexp_replace('aaa', s, 'b')", "(a{1,1000}){1,1000}"),
        ("regexp_replace('aaa', 'a', 'b', s)", "?"),
        ("regexp_like('aaa', 'a', s)", "g"),
        ("regexp_match('aaa', s)", "("),
        ("overlay(s placing 'x' from -9223372036854775808)", "abc"),
        ("array_resize([1], s::bigint)", "9223372036854775807"),
        ("array_resize([1], s::bigint)", "-1"),
    ] {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![hostile]));
        let batch = RecordBatch::try_from_iter([("s", texts)]).unwrap();
        let sql = format!("select {expression} as y from input");
        match Engine::new().select("input", batch.clone(), &sql).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Data, "{sql} {hostile}: {error}"),
        }
        let condition = format!("({expression}) is not null");
        match Engine::new().evaluate(&batch, &condition).await {
            Ok(_) => {}
            Err(error) => assert_eq!(
                error.kind(),
                ErrorKind::Data,
                "{condition} {hostile}: {error}"
            ),
        }
    }
}

/// Patterns from a column are compiled a few at a time, whatever calls for them.
#[tokio::test]
async fn patterns_of_a_column_mean_what_constants_mean() {
    let texts = [Some("aaa"), Some("aaa"), Some("AAA"), Some("b"), None];
    let patterns = [
        Some("(a{1,90}|b1){1,5}"),
        Some("b{2}"),
        Some("a+"),
        None,
        Some("a"),
    ];
    let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let patterns: ArrayRef = Arc::new(StringArray::from(patterns.to_vec()));
    let rows = RecordBatch::try_from_iter([("s", texts), ("p", patterns)]).unwrap();
    for (expression, expected) in [
        ("regexp_like(s, p)", [Some(true), Some(false), Some(false)]),
        ("s ~ p", [Some(true), Some(false), Some(false)]),
        ("s ~* p", [Some(true), Some(false), Some(true)]),
        ("s !~ p", [Some(false), Some(true), Some(true)]),
        ("s similar to p", [Some(true), Some(false), Some(false)]),
    ] {
        let sql = format!("select {expression} as y from input");
        let selected = Engine::new().select("input", rows.clone(), &sql).await;
        let selected = selected.unwrap_or_else(|error| panic!("{expression}: {error:?}"));
        let found: Vec<Option<bool>> = selected.records[0].column(0).as_boolean().iter().collect();
        let unknown = [None, None];
        assert_eq!(found, [&expected[..], &unknown].concat(), "{expression}");
    }
}

/// Rows of which a statement makes too much at once can be taken fewer at a time.
#[tokio::test]
async fn rows_that_a_statement_multiplies_can_be_divided() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20); 20]));
    let rows = RecordBatch::try_from_iter([("s", texts)]).unwrap();
    let sql = "select s, unnest(range(0, 10)) as n from input";
    let engine = Engine::new();
    let error = engine.select("input", rows.clone(), sql).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Data, "sql_output_too_large")
    );
    let part = engine.select("input", rows.slice(0, 5), sql).await.unwrap();
    assert_eq!(part.rows.unwrap().len(), 50);
    assert!(part.bytes > 50 << 20, "{}", part.bytes);
}

#[tokio::test]
async fn a_value_is_looked_up_by_a_column_of_the_record() {
    let engine = Engine::new();
    let sql = "select id, (select x from (values (1, 'a'), (2, 'b'), (9, 'c'), (9, 'd')) v(k, x) where v.k = input.id) as x from input";
    engine.inspect("input", sql).unwrap();
    let batch = |ids: Vec<i64>| {
        let ids: ArrayRef = Arc::new(Int64Array::from(ids));
        RecordBatch::try_from_iter([("id", ids)]).unwrap()
    };
    let made = engine
        .select("input", batch(vec![1, 3]), sql)
        .await
        .unwrap();
    let rows: usize = made.records.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 2);
    let error = engine
        .select("input", batch(vec![9]), sql)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "subquery_rows");
    assert_eq!(error.kind(), ErrorKind::Data);
}
