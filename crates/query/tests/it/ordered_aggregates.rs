//! `array_agg(x ORDER BY y)` and the like: the order of one does not depend on others, nor on the order of the rows.

use crate::fixture::{Fixture, check};

#[tokio::test]
async fn each_aggregate_has_its_own_order() {
    check(&[
        ("select k, array_agg(i order by i) a, array_agg(i order by i desc) b from (values (1, 1), (1, 2)) t(k, i) group by k", &["1 | [1, 2] | [2, 1]"]),
        ("select array_agg(i order by i) a, array_agg(i order by i desc) b from (values (1), (3), (2)) t(i)", &["[1, 2, 3] | [3, 2, 1]"]),
        ("select k, array_agg(i order by j) a, array_agg(i order by i) b, array_agg(i order by j desc) c from (values (1, 1, 5), (1, 2, 7), (1, 3, 6), (2, 4, 1)) t(k, i, j) group by k order by k", &["1 | [1, 3, 2] | [1, 2, 3] | [2, 3, 1]", "2 | [4] | [4] | [4]"]),
        ("select k, string_agg(s, ',' order by s) a, string_agg(s, ',' order by s desc) b from (values (1, 'x'), (1, 'z'), (1, 'y')) t(k, s) group by k", &["1 | x,y,z | z,y,x"]),
        ("select k, string_agg(s, ',' order by i desc) a, array_agg(s order by i) b from (values (1, 1, 'x'), (1, 2, 'z'), (1, 3, 'y')) t(k, i, s) group by k", &["1 | y,z,x | [x, z, y]"]),
        ("select k, array_agg(distinct i order by i) a, array_agg(distinct i order by i desc) b from (values (1, 1), (1, 2), (1, 2)) t(k, i) group by k", &["1 | [1, 2] | [2, 1]"]),
        ("select k, string_agg(distinct s, '' order by s) a, string_agg(distinct s, '' order by s desc) b from (values (1, 'x'), (1, 'y'), (1, 'y')) t(k, s) group by k", &["1 | xy | yx"]),
        ("select k, array_agg(i order by i desc) filter (where i > 1) a, array_agg(i order by i) filter (where i < 3) b from (values (1, 1), (1, 2), (1, 3)) t(k, i) group by k", &["1 | [3, 2] | [1, 2]"]),
        ("select k, array_agg(i order by i) a, array_agg(i order by i desc) b from (values (1, 1), (1, 2), (2, 3)) t(k, i) group by rollup(k) order by k", &["1 | [1, 2] | [2, 1]", "2 | [3] | [3]", " | [1, 2, 3] | [3, 2, 1]"]),
        ("select k, array_agg(i order by i) a, array_agg(i order by i desc nulls last) b from (values (1, 1), (1, null), (2, 3)) t(k, i) group by cube(k) order by k", &["1 | [1, ] | [1, ]", "2 | [3] | [3]", " | [1, 3, ] | [3, 1, ]"]),
    ])
    .await;
}

/// Over sorted rows the engine's `last_value` panics on a batch of which the filter leaves no row.
#[tokio::test]
async fn sorted_rows_of_which_a_filter_leaves_none() {
    let rows = "(select * from (values (1, 3), (1, 4), (1, 5)) t(k, x) order by x limit 9) q";
    for value in ["x", "x::text", "[x]", "x::text || 'a'"] {
        for (call, expected) in [
            ("last_value", ["", "1 |"]),
            ("first_value", ["", "1 |"]),
            ("array_agg", ["", "1 |"]),
            ("any_value", ["", "1 |"]),
        ] {
            let call = format!("{call}({value} order by x) filter (where x > 9)");
            let one = format!("select {call} from {rows}");
            let groups = format!("select k, {call} from {rows} group by k");
            check(&[
                (one.as_str(), &[expected[0]]),
                (groups.as_str(), &[expected[1]]),
            ])
            .await;
        }
    }
}

#[tokio::test]
async fn an_order_without_effect_is_left_out() {
    check(&[
        ("select k, count(x order by y), sum(x order by y desc), avg(x order by y), min(x order by y), max(x order by y) from (values (1, 2, 3), (1, 3, 4)) t(k, x, y) group by k", &["1 | 2 | 5 | 2.5 | 2 | 3"]),
        ("select k, median(x order by y), bit_or(x order by y), var_pop(x order by y), corr(x, y order by y), count(distinct x order by y) from (values (1, 2, 3), (1, 3, 4)) t(k, x, y) group by k", &["1 | 2.5 | 3 | 0.25 | 1.0 | 2"]),
    ])
    .await;
}

#[tokio::test]
async fn the_order_of_the_rows_does_not_matter() {
    for order in ["i", "i desc", "k, i", "k desc, i desc", "k"] {
        let rows = format!(
            "(select * from (values (1, 1), (1, 2), (1, 3), (2, 5), (2, 4)) t(k, i) order by {order} limit 5) q"
        );
        for (values, expected) in [
            ("array_agg(i order by i)", ["1 | [1, 2, 3]", "2 | [4, 5]"]),
            (
                "array_agg(i order by i desc)",
                ["1 | [3, 2, 1]", "2 | [5, 4]"],
            ),
            (
                "string_agg(i::text, '' order by i desc)",
                ["1 | 321", "2 | 54"],
            ),
            (
                "array_agg(distinct i order by i desc)",
                ["1 | [3, 2, 1]", "2 | [5, 4]"],
            ),
            ("first_value(i order by i)", ["1 | 1", "2 | 4"]),
            ("first_value(i order by i desc)", ["1 | 3", "2 | 5"]),
            ("last_value(i order by i)", ["1 | 3", "2 | 5"]),
            ("last_value(i order by i desc)", ["1 | 1", "2 | 4"]),
            ("nth_value(i, 2 order by i)", ["1 | 2", "2 | 5"]),
            ("nth_value(i, 2 order by i desc)", ["1 | 2", "2 | 4"]),
        ] {
            let sql = format!("select k, {values} v from {rows} group by k order by k");
            check(&[(&sql, &expected)]).await;
        }
    }
}

#[tokio::test]
async fn first_and_last_values_of_both_orders() {
    check(&[
        ("select k, first_value(i order by i) a, first_value(i order by i desc) b, last_value(i order by i) c, last_value(i order by i desc) d from (values (1, 1), (1, 2), (1, 3)) t(k, i) group by k", &["1 | 1 | 3 | 3 | 1"]),
        ("select k, nth_value(i, 1 order by i) a, nth_value(i, 1 order by i desc) b, nth_value(i, 4 order by i) c from (values (1, 1), (1, 2), (1, 3)) t(k, i) group by k", &["1 | 1 | 3 |"]),
        ("select k, nth_value(i, 2 order by i) a, array_agg(i order by i desc) b from (values (1, 1), (1, 2), (2, 3)) t(k, i) group by rollup(k) order by k", &["1 | 2 | [2, 1]", "2 |  | [3]", " | 2 | [3, 2, 1]"]),
    ])
    .await;
    let sql = "select k, nth_value(i, 2 order by i desc) a, nth_value(i, 1 order by j) b from (values (1, 1, 6)) t(k, i, j) group by k";
    let error = Fixture::new().await.failure(sql).await;
    assert_eq!(error.code(), "sql_unsupported");
    assert_eq!(
        error.message(),
        "not supported: nth_value() with several orders in one SELECT"
    );
    assert!(error.hint().is_some());
}
