//! Messages in words of SQL: none has a type, an operator or a rule of the engine.

use forebay_query::QueryOptions;

use crate::fixture::{Fixture, rows};

/// Statements that fail, and what is said.
const MESSAGES: [(&str, &str); 30] = [
    (
        "select extract(decade from date '2024-01-01')",
        "there is no part 'DECADE' of a date or time",
    ),
    (
        "select date_part('foo', x) from (values (date '2024-01-01')) t(x)",
        "there is no part 'foo' of a date or time",
    ),
    (
        "select date_part('year', time '10:00:00')",
        "there is no part Year of time",
    ),
    (
        "select sum(sum(x)) from (values (1)) t(x)",
        "an aggregate within another",
    ),
    (
        "select x from (values (1)) t(x) where row_number() over () = 1",
        "a window function outside of SELECT",
    ),
    (
        "select x, sum(y) from (values (1, 2)) t(x, y)",
        "column t.x is neither in GROUP BY nor in an aggregate",
    ),
    (
        "select (select 1, 2)",
        "a subquery that is a value has one column, not: 1, 2",
    ),
    (
        "select 1 union select [1]",
        "the queries of a UNION have types that have none in common: bigint, bigint[]",
    ),
    ("select [1] > 5", "bigint[] > bigint does not exist"),
    (
        "select {'a': [1]} > 5",
        "struct(a bigint[]) > bigint does not exist",
    ),
    (
        "select array_position([1], 'a')",
        "array_position(bigint[], text) does not exist",
    ),
    ("select 1 like 2", "bigint LIKE bigint does not exist"),
    (
        "select cast({'a': 1} as int)",
        "not supported: a cast of struct(a bigint) to int",
    ),
    ("select cast('a' as foo)", "not supported: the type foo"),
    (
        "select cast('a' as decimal(5, 7))",
        "decimal(5, 7): a decimal has 1 to 38 digits",
    ),
    (
        "select * from (values (1, 2), (3)) t",
        "the rows of VALUES have different numbers of values: 1, 2",
    ),
    ("select ({'a': 1})['b']", "the struct has no field b"),
    (
        "select (5)['a']",
        "a field is read from a struct or map, not from bigint",
    ),
    ("select unnest(5)", "unnest() takes a list or struct"),
    ("select $1", "there is no value for the placeholder $1"),
    ("select @x", "there are no variables: @x"),
    (
        "select interval 'foo'",
        "Invalid input syntax for type interval: \"foo\"",
    ),
    (
        "with recursive t(n) as (select 1 union all select a.n + b.n from t a, t b) select * from t",
        "not supported: WITH RECURSIVE that names itself twice in one query",
    ),
    (
        "with recursive t as (select 1 union all select 1, 2 from t) select * from t",
        "the two queries of WITH RECURSIVE have different numbers of columns: 1, 2",
    ),
    (
        "select sum(x) over (order by x rows between 3 following and 2 following) from (values (1)) t(x)",
        "a window frame begins behind its end",
    ),
    (
        "select grouping(x) from (values (1)) a(x)",
        "grouping() takes an element of GROUP BY, not a.x",
    ),
    ("select upper(5)", "upper(bigint) does not exist"),
    ("select round('a')", "round(text) does not exist"),
    (
        "select date_trunc('day', 5)",
        "date_trunc(text, bigint) does not exist",
    ),
    (
        "select * from generate_series('a', 'b')",
        "argument 1 is a whole number, timestamp or date, not text",
    ),
];

/// What only the engine says.
const ENGINE_WORDS: [&str; 14] = [
    "TypeSignature",
    "NativeType",
    "DataType",
    "Utf8",
    "Int64",
    "List(",
    "Struct(",
    "Some(",
    "Exec",
    "Stream",
    "TopK",
    "ExternalSorter",
    "sliding accumulator",
    "sqltorel",
];

#[tokio::test]
async fn messages_are_in_words_of_sql() {
    let fixture = Fixture::new().await;
    let mut wrong = Vec::new();
    for (sql, expected) in MESSAGES {
        let error = fixture.failure(sql).await;
        let has_engine_word = ENGINE_WORDS
            .iter()
            .any(|word| error.message().contains(word));
        if !error.message().contains(expected) || has_engine_word {
            wrong.push(format!("{sql}\n  {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_statement_out_of_memory_says_which_clause_needs_it() {
    let fixture = Fixture::new().await;
    let query = fixture.query_with(QueryOptions {
        memory_bytes: 4 << 20,
        threads: 2,
        ..QueryOptions::default()
    });
    for (sql, clause) in [
        (
            "select count(*) from range(1000000) a join range(1000000) b on a.value < b.value and a.value > b.value - 2",
            "a join without an equality",
        ),
        (
            "select array_agg(repeat('x', 20) || value) from range(1000000)",
            "an aggregate",
        ),
    ] {
        let error = rows(&query, sql).await.unwrap_err();
        assert_eq!(error.code(), "query_memory", "{sql}: {error}");
        let expected = format!("the query needs more memory than it may use: {clause} holds ");
        assert!(error.message().starts_with(&expected), "{error}");
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("raise `memory` in `[sql]`"), "{hint}");
    }
}
