//! Functions and casts whose engine versions give another value than Postgres. The expected rows are those of Postgres 18.

use crate::fixture::{check, check_refused};

#[tokio::test]
async fn replacements_of_regular_expressions() {
    check(&[
        (r"select regexp_replace('foobarbaz', 'b(..)', 'X\1Y', 'g'), regexp_replace('aBc', '(b|d)', 'Ab\1a', 'i')", &["fooXarYXazY | aAbBac"]),
        (r"select regexp_replace('abc', 'b', '<\&>'), regexp_replace('abc', '(b)', '$1${1}'), regexp_replace('abc', '(b)', '\\1')", &[r"a<b>c | a$1${1}c | a\1c"]),
        (r"select regexp_replace(s, p, r) from (values ('abc', '(b)', '[\1]'), ('abc', 'c', '\&\&'), (null, 'a', 'b'), ('abc', '', '-')) t(s, p, r)", &["a[b]c", "abcc", "", "-abc"]),
        ("select regexp_replace('ab', '(a)|(b)', '<\\2>', 'g')", &["<><b>"]),
        ("select regexp_count(null, 'a'), regexp_count('abc', null), regexp_count('abab', 'b'), regexp_count('abc', ''), regexp_count('abab', 'A', 1, 'i'), regexp_count('äbab', 'a', 2)", &[" |  | 2 | 4 | 2 | 1"]),
    ])
    .await;
}

#[tokio::test]
async fn texts_are_counted_in_characters() {
    check(&[
        ("select overlay('äöüß' placing 'x' from 2 for 1), overlay('äöü' placing 'xyz' from 3), overlay('abcdef' placing 'Z' from 3 for -1)", &["äxüß | äöxyz | abZbcdef"]),
        ("select lpad('e' || chr(769), 4, '*') = '**e' || chr(769), rpad('e' || chr(769), 4, '*') = 'e' || chr(769) || '**'", &["true | true"]),
        ("select lpad('hello', 2), lpad('a', -1) = '', rpad('a', 3, ''), lpad('x', 4, 'ab'), rpad(s, n, f) from (values ('x', 4, 'ab')) t(s, n, f)", &["he | true | a | abax | xaba"]),
        ("select lpad(null, 3), lpad('a', null), rpad('a', 3, null)", &[" |  |"]),
        ("select length('e' || chr(769)), left('e' || chr(769) || 'x', 2) = 'e' || chr(769), right('xe' || chr(769), 1) = chr(769), substr('e' || chr(769) || 'x', 3)", &["2 | true | true | x"]),
        ("select translate('e' || chr(769), 'e', 'a') = 'a' || chr(769), translate('12345', '143', 'ax')", &["true | a2x5"]),
        ("select string_to_array('', ','), string_to_array('a,b', ','), string_to_array('äb', null), string_to_array('a,,b', ',', ''), string_to_array('abc', ''), string_to_array(null, ',')", &["[] | [a, b] | [ä, b] | [a, , b] | [abc] |"]),
        ("select encode('a', 'base64'), encode('abc', 'base64'), encode('ab', 'hex')", &["YQ== | YWJj | 6162"]),
    ])
    .await;
    check_refused(&[
        (
            "select overlay('abc' placing 'Z' from 0 for 1)",
            "sql_value",
        ),
        ("select lpad(5, 3)", "bad_sql"),
    ])
    .await;
}

#[tokio::test]
async fn quantified_comparisons_know_unknown() {
    let lists = "(values (1, 1, array[1,2]), (2, 3, array[1,null]), (3, 3, array[1,2]), (4, null, array[1]), (5, 1, null::bigint[]), (6, null, array[]::bigint[])) t(id, x, l)";
    check(&[
        ("select 5 = any(array[3,null]), 5 <> all(array[3,null]), 3 = any(array[3,null]), 3 <> all(array[3,null])", &[" |  | true | false"]),
        ("select 5 > all(array[3,null]), 5 > any(array[3,null]), 5 > all(array[]::bigint[]), 5 = some(array[]::bigint[])", &[" | true | true | false"]),
        (&format!("select x = any(l), x <> all(l) from {lists} order by id"), &["true | false", " |", "false | true", " |", " |", "false | true"]),
        (&format!("select x >= all(l), x < any(l), x <= any(l), x > all(l) from {lists} order by id"), &["false | true | true | false", " |  |  |", "true | false | false | true", " |  |  |", " |  |  |", "true | false | false | true"]),
        (&format!("select id from {lists} where x = any(l)"), &["1"]),
        (&format!("select id from {lists} where not (x = any(l)) order by id"), &["3", "6"]),
        ("select '5' = any(l), 2.0 = any(l), 1e0 = any(l) from (values (array[1,2,5])) t(l)", &["true | true | true"]),
        ("select s = any(l), s like 'a' from (values ('a', array['b','a'])) t(s, l)", &["true | true"]),
        ("select '-0.0'::double = any(l), 'NaN'::double = any(l) from (values (array[0.0::double, 'NaN'::double])) t(l)", &["true | true"]),
        ("select x from (values (1),(2),(3)) t(x) where x = any (select 2) or x >= all (select 3) order by x", &["2", "3"]),
    ])
    .await;
    check_refused(&[
        (
            "select s = any(l) from (values ('a', array[1])) t(s, l)",
            "bad_sql",
        ),
        (
            "select 'x' = any(l) from (values (array[1])) t(l)",
            "bad_sql",
        ),
        ("select 5 = any(7)", "bad_sql"),
    ])
    .await;
}

#[tokio::test]
async fn lists_that_contain_or_overlap_each_other() {
    check(&[
        ("select null::bigint[] <@ array[1], null::bigint[] @> array[1], null::bigint[] && array[1], array[1] && null::bigint[], null <@ array[1]", &[" |  |  |  |"]),
        ("select array[1,null] @> array[null]::bigint[], array[1,null] && array[null]::bigint[], array[1,null] <@ array[1]", &["false | false | false"]),
        ("select array[1,2,3] @> array[1,3], array[1,2] <@ array[1], array[1,2] && array[2,5], array[1] @> array[]::bigint[]", &["true | false | true | true"]),
        ("select array_has_any(l, array[2,null]), array_has_all(l, array[1,2]), l && m from (values (1, array[1,2], array[2]), (2, array[null,1], array[null]::bigint[]), (3, null, array[1])) t(id, l, m) order by id", &["true | true | true", "false | false | false", " |  |"]),
        ("select array[1,2] && array[2.0], array['-0.0'::double] @> array[0.0::double], array['a'] && array['b','a']", &["true | true | true"]),
        ("select array_has_any(range(0, 100), array[x]) from (values (5), (500)) t(x) order by x", &["true", "false"]),
    ])
    .await;
}

#[tokio::test]
async fn nulls_in_functions_of_lists() {
    check(&[
        ("select array_sort(array[3,null,1]), array_sort(array[3,null,1], 'DESC'), array_sort(array[3,null,1], 'ASC', 'NULLS FIRST'), array_sort(array[3,null,1], true)", &["[1, 3, ] | [, 3, 1] | [, 1, 3] | [, 3, 1]"]),
        ("select array_remove(array[1,null,2], null), array_remove(array[1,null,2,1], 1), array_remove(null::bigint[], 1)", &["[1, 2] | [, 2] |"]),
        ("select array_remove(l, x) from (values (1, array[1,2], 2), (2, array[null,1], null), (3, null, 1), (4, array[]::bigint[], 1)) t(id, l, x) order by id", &["[1]", "[1]", "", "[]"]),
        ("select (array[null])::text, (array[1,null,2])::text, (null::bigint[])::text, array[]::bigint[]::text", &["[NULL] | [1, NULL, 2] |  | []"]),
    ])
    .await;
    check_refused(&[(
        "select array_sort(l, d) from (values (array[1], 'ASC')) t(l, d)",
        "sql_unsupported",
    )])
    .await;
}

#[tokio::test]
async fn numbers_and_times_of_other_types() {
    check(&[
        ("select 0.1234567890123456789::double, 12345678901234567.89::double, 0.30000000000000004440::double", &["0.12345678901234568 | 1.2345678901234568e16 | 0.30000000000000004"]),
        ("select bool_and(d::double = d::text::double and d::real = d::text::real) from (values (9007199254740993.0), (123456789012345678901234.5678)) t(d)", &["true"]),
        ("select bool_and(d::double = d::text::double and d::real = d::text::real) from (values (0.1234567890123456789), (-1.000000000000000055511151231257827)) t(d)", &["true"]),
        ("select sum(d::double) from (values (0.1234567890123456789), (null)) t(d)", &["0.12345678901234568"]),
        ("select extract(epoch from interval '1 year'), extract(epoch from interval '13 months 2 days 3 hours'), extract(epoch from interval '-1 year -1 month'), extract(epoch from timestamp '2024-01-03 12:00:00' - timestamp '2024-01-01 00:00:00')", &["31557600.0 | 34333200.0 | -34149600.0 | 216000.0"]),
        ("select cast('5:07' as time), try_cast('5' as time), cast('05:07:01.5' as time)", &["05:07:00 |  | 05:07:01.500"]),
        ("select factorial(5), factorial(0), factorial(null)", &["120 | 1 |"]),
    ])
    .await;
    check_refused(&[
        ("select cast('5' as time)", "sql_value"),
        ("select factorial(-7)", "sql_value"),
        ("select factorial(21)", "overflow"),
        (
            "select to_char(timestamp '2024-01-01 01:02:03', 'SSSS')",
            "sql_unsupported",
        ),
        (
            "select to_char(timestamp '2024-01-01 01:02:03', 'IYYY-IDDD')",
            "sql_unsupported",
        ),
    ])
    .await;
}

#[tokio::test]
async fn defaults_of_lag_and_lead_keep_their_type() {
    check(&[
        ("select lag(x, 1, 2.5) over (order by x), lead(x, 1, 2.5e0) over (order by x) from (values (1),(2)) t(x) order by x", &["2.5 | 2.0", "1.0 | 2.5"]),
        ("select lag(x, 1, 0) over (order by x), lead(x, 1, '7') over (order by x), arrow_typeof(lag(x::int, 1, -1) over (order by x)) from (values (1),(2)) t(x) order by x", &["0 | 2 | Int32", "1 | 7 | Int32"]),
        ("select lag(x::smallint, 1, 70000) over (order by x) from (values (1),(2)) t(x) order by x", &["70000", "1"]),
        ("select lag(d, 1, 9.999) over (order by d) from (values (1.5),(2.5)) t(d) order by d", &["9.999", "1.500"]),
        ("select lag(d, 1, '2024-01-01') over (order by d) from (values (date '2024-05-05')) t(d)", &["2024-01-01"]),
    ])
    .await;
}

#[tokio::test]
async fn distinct_on_takes_equal_values_for_one() {
    check(&[
        ("select distinct on (x) x, y from (values ('0.0'::double, 2), ('-0.0'::double, 1), ('NaN'::double, 3)) t(x, y) order by x, y", &["-0.0 | 1", "NaN | 3"]),
        ("select distinct on (x) x, y from (values (1,2),(1,1),(2,3)) t(x, y) order by x, x, y", &["1 | 1", "2 | 3"]),
        ("select count(*) from (select distinct on (x) x from (values ('0.0'::double), ('-0.0'::double)) t(x)) u", &["1"]),
    ])
    .await;
}
