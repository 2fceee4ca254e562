//! Lists, structs and maps beside each other: what is in them comes to one type as scalars do. The expected rows are those of DuckDB.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int64Array, ListBuilder, RecordBatch};

use crate::fixture::{Fixture, check};

#[tokio::test]
async fn doubles_beside_decimals_within_lists_are_doubles() {
    check(&[
        ("select coalesce(m, [0.5]), nullif(m, [0.0]), greatest(m, [0.0]), least(m, [0.5]), case when true then m else [0.5] end from (select [1e-20] as m)",
            &["[1e-20] | [1e-20] | [1e-20] | [1e-20] | [1e-20]"]),
        ("select [1e-20] as a union all select [0.5]", &["[1e-20]", "[0.5]"]),
        ("values ([1e-20]), ([0.5])", &["[1e-20]", "[0.5]"]),
        ("values ([1e-20, 0.5])", &["[1e-20, 0.5]"]),
        ("values ({'a': [1e-20]}), ({'a': [0.5]})", &["{a: [1e-20]}", "{a: [0.5]}"]),
        ("select a = [0.0], a > [0.0], a in ([0.0], [1.0]), a between [0.0] and [1.0], a is distinct from [0.0] from (select [1e-20] a)",
            &["false | true | false | true | true"]),
        ("select [0.1e0 + 0.2e0] = [0.3], [1e20] > [1.0], ['NaN'::double] > [1.0], [[1e-20]] = [[0.0]]", &["false | true | true | false"]),
        ("select s = {'a': 0.0}, s < {'a': 0.5}, case s when {'a': 0.0} then 1 else 2 end from (select {'a': 1e-20} s)", &["false | true | 2"]),
        ("select map {'a': 0.5} = map {'a': 1e-20}, map {'a': 0.5} = map {'a': 0.5e0}", &["false | true"]),
        ("select count(*) from (values ([1e-20]), ([0.5])) a(x) join (select [0.0] y) b on a.x = b.y", &["0"]),
        ("select count(*) from (select [1e-20] x) a join (select [0.0] x) b using (x)", &["0"]),
        ("select count(*) from (select [1e-20] intersect select [0.0])", &["0"]),
        ("select [1e-20] except select [0.0]", &["[1e-20]"]),
        ("select x in (select [0.0]), x in (select [1e-20]) from (values ([1e-20])) t(x)", &["false | true"]),
        ("select lag(x, 1, [0.5]) over (order by n) from (values ([1e-20], 1), ([2e0], 2)) t(x, n) order by n", &["[0.5]", "[1e-20]"]),
    ]).await;
}

#[tokio::test]
async fn maps_of_two_types_come_to_one() {
    check(&[
        ("select coalesce(map {'a': 1}, map {'a': 0.5}), coalesce(map {'a': 1.5}, map {'a': 0.5e0}), coalesce(null, map {'a': 1e-20}, map {'a': 0.5}), nvl(map {'a': 1}, map {'a': 0.5})",
            &["{a: 1.0} | {a: 1.5} | {a: 1e-20} | {a: 1.0}"]),
        ("select case when n = 1 then map {'a': n} else map {'a': 0.5e0} end from (values (1), (2)) t(n) order by n", &["{a: 1.0}", "{a: 0.5}"]),
        ("select nullif(map {'a': 1}, map {'a': 0.5}), nullif(map {'a': 1}, map {'a': 1.0}), map {1: 'x'} = map {1.0: 'x'}", &["{a: 1.0} |  | true"]),
        ("select map {'a': 1} as m union all select map {'a': 0.5}", &["{a: 1.0}", "{a: 0.5}"]),
        ("select map {'a': 1e-20} as m union all select map {'a': 0.5}", &["{a: 1e-20}", "{a: 0.5}"]),
        ("select [map {'a': 1}] as m union all select [map {'a': 0.5}]", &["[{a: 1.0}]", "[{a: 0.5}]"]),
        ("select coalesce({'m': map {'a': 1}}, {'m': map {'a': 0.5}}), coalesce([map {'a': 1}], [map {'a': 0.5e0}])", &["{m: {a: 1.0}} | [{a: 1.0}]"]),
    ])
    .await;
    let fixture = Fixture::new().await;
    let error = fixture
        .failure("values (map {'a': 1}), (map {'a': 0.5})")
        .await;
    assert!(
        error
            .message()
            .starts_with("column 1 of VALUES has values of two types"),
        "{error}"
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("CAST")));
}

#[tokio::test]
async fn functions_of_lists_take_items_of_other_types() {
    check(&[
        ("select array_append([1e-20], 0.5), array_append([0.5], 1e-20), array_prepend(0.5, [1e-20]), array_concat([1e-20], [0.5]), [1e-20] || [0.5], [1e-20] || 0.5",
            &["[1e-20, 0.5] | [0.5, 1e-20] | [0.5, 1e-20] | [1e-20, 0.5] | [1e-20, 0.5] | [1e-20, 0.5]"]),
        ("select array_has([1e-20], 0.0), array_position([1e-20], 0.0), array_has([0.0], 1e-20), array_remove([1e-20], 0.0), array_except([1e-20], [0.0]), [1e-20] @> [0.0], 0.0 = any([1e-20])",
            &["false |  | false | [1e-20] | [1e-20] | false | false"]),
        ("select array_resize([1e-20], 2, 0.5), array_replace([1e-20], 0.0, 0.5), array_union([1e-20], [0.0]), array_intersect([1e-20], [0.0]), array_has_any([1e-20], [0.0])",
            &["[1e-20, 0.5] | [1e-20] | [1e-20, 0.0] | [] | false"]),
        ("select array_append([1], 0.5), array_append([1.5], 1), [1] || 1.5, 1.5 || [1], array_has([1], 1.0), array_position([1], 1.0), array_append([[1]], [0.5])",
            &["[1.0, 0.5] | [1.5, 1.0] | [1.0, 1.5] | [1.5, 1.0] | true | 1 | [[1.0], [0.5]]"]),
    ]).await;
}

#[tokio::test]
async fn scalars_of_values_joins_and_sets_too() {
    check(&[
        (
            "values (exp(-50e0)), (0.5)",
            &["1.9287498479639178e-22", "0.5"],
        ),
        (
            "select count(*) from (select 1e-20 intersect select 0.0)",
            &["0"],
        ),
        (
            "select count(*) from (select 1e-20 x) a join (select 0.0 x) b using (x)",
            &["0"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn dates_and_wide_decimals_within_lists() {
    check(&[
        ("select [date '9999-01-01'] = [timestamp '9999-01-01'], {'d': date '9999-01-01'} < {'d': timestamp '9999-01-01 10:00:00'}", &["true | true"]),
        ("select [date '9999-01-01'] union all select [timestamp '9999-01-01 10:00:00']", &["[9999-01-01T00:00:00]", "[9999-01-01T10:00:00]"]),
        ("select [12345678901234567890123456789012345678] = [0.1234], [1::decimal(38,0)] = [1.0]", &["false | true"]),
        ("select [1] = [1.0], [1] = [1.5], coalesce([1], [1.5])", &["true | false | [1.0]"]),
    ]).await;
}

#[tokio::test]
async fn texts_beside_numbers_within_lists_and_structs_are_refused() {
    let fixture = Fixture::new().await;
    for sql in [
        "select l = t from (select [1] l, ['1'] t)",
        "select {'a': 1} = {'a': '1'}",
        "select l in (t) from (select [[1.5]] l, [['1']] t)",
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), "bad_sql", "{sql}: {error}");
        assert!(
            error.message().contains("and is compared with a"),
            "{sql}: {error}"
        );
    }
}

#[tokio::test]
async fn casts_of_lists_and_structs_round_as_those_of_scalars() {
    let fixture = Fixture::new().await;
    fixture.check(&[
        ("select [12345678901234567.89, 0.1]::double[], [[12345678901234567.89]]::double[][], 12345678901234567.89::double",
            &["[1.2345678901234568e16, 0.1] | [[1.2345678901234568e16]] | 1.2345678901234568e16"]),
        ("select [9007199254740993.0000000000000001]::double[], 9007199254740993.0000000000000001::double", &["[9007199254740994.0] | 9007199254740994.0"]),
        ("select [2.5e0, 3.5e0]::bigint[], [2.5, 3.5]::int[], [0.1]::real[], null::double[]::int[]", &["[2, 4] | [3, 4] | [0.1] |"]),
        ("select ['1e3']::decimal(10, 2)[], try_cast(['x', '1'] as decimal(10, 2)[]), try_cast([1e300, 1e0] as real[])", &["[1000.00] | [, 1.00] | [, 1.0]"]),
        ("select ['10:00']::time[]", &["[10:00:00]"]),
    ]).await;
    for sql in [
        "select [1e300]::real[]",
        "select ['x']::decimal(10, 2)[]",
        "select ['5']::time[]",
    ] {
        fixture.failure(sql).await;
    }
}

#[tokio::test]
async fn columns_of_lists_beside_literals() {
    let fixture = Fixture::new().await;
    let mut lists = ListBuilder::new(Float64Builder::new());
    for list in [Some(vec![0.0]), Some(vec![1e-20]), None] {
        lists.append_option(list.map(|items| items.into_iter().map(Some)));
    }
    let batch = RecordBatch::try_from_iter_with_nullable([
        (
            "id",
            Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef,
            true,
        ),
        ("l", Arc::new(lists.finish()) as ArrayRef, true),
    ]);
    fixture.append(&[("a.t", &[], batch.unwrap())]).await;
    fixture
        .check(&[
            ("select id from a.t where l = [0.0]", &["1"]),
            ("select id from a.t where l = [0e0]", &["1"]),
            ("select id from a.t where l = [0]", &["1"]),
            ("select id from a.t where [0.0] = l", &["1"]),
            ("select id from a.t where l <> [0.0]", &["2"]),
            ("select id from a.t where l > [0.0] and id > 0", &["2"]),
            (
                "select id from a.t where l in ([0.0], [1.5]) order by 1",
                &["1"],
            ),
            ("select id from a.t where l in ([1e-20]) order by 1", &["2"]),
            ("select id from a.t where l not in ([0.0], [1.5])", &["2"]),
            (
                "select id from a.t where l between [0.0] and [0.5] order by 1",
                &["1", "2"],
            ),
            (
                "select id from a.t where l is not distinct from [0.0]",
                &["1"],
            ),
            (
                "select id from a.t where l is distinct from [0.0] order by 1",
                &["2", "3"],
            ),
            ("select id from a.t where {'x': l} = {'x': [0.0]}", &["1"]),
            (
                "select id from a.t where coalesce(l, [0.5]) = [0.5]",
                &["3"],
            ),
            ("select id from a.t where l = null::double[]", &[]),
            ("select id from a.t where l = []", &[]),
            (
                "select id from a.t where case when l = [0.0] then true else false end",
                &["1"],
            ),
            ("select id from a.t where array_has(l, 0.0)", &["1"]),
            ("select id from a.t where array_has(l, 0)", &["1"]),
            ("select id from a.t where l = [0.0]::double[]", &["1"]),
            ("select id from a.t where l = [0.0::real]", &["1"]),
            (
                "select id from a.t where l::bigint[] = [0] order by 1",
                &["1", "2"],
            ),
            (
                "select a.id from a.t a join a.t b on a.l = b.l and b.l = [0.0]",
                &["1"],
            ),
        ])
        .await;
}
