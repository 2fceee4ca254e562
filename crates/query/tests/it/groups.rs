//! Elements of `GROUP BY`: lists of keys in `ROLLUP` and `CUBE`, and grouping sets within each other. The expected rows are those of
//! DuckDB.

use forebay_core::ErrorKind;

use crate::fixture::{Fixture, check};

const ROWS: &str =
    "(values (1, 'x', true, 10), (1, 'y', false, 20), (2, 'x', true, 40)) t(k, s, o, n)";

/// The sums of one element, as `k s o: n`.
async fn check_sums(cases: &[(&str, &[&str])]) {
    let fixture = Fixture::new().await;
    for (element, expected) in cases {
        let groups = format!("select k, s, o, sum(n) as n from {ROWS} group by {element}");
        let key = |column: &str| format!("coalesce({column}::text, '-')");
        let keys = [key("k"), key("s"), key("o")].join(" || ' ' || ");
        let sql = format!("select {keys} || ': ' || n from ({groups}) g order by 1");
        assert_eq!(fixture.rows(&sql).await, *expected, "{element}");
    }
}

#[tokio::test]
async fn lists_of_keys_are_one_element() {
    check_sums(&[
        (
            "rollup((k, s), o)",
            &[
                "- - -: 70",
                "1 x -: 10",
                "1 x true: 10",
                "1 y -: 20",
                "1 y false: 20",
                "2 x -: 40",
                "2 x true: 40",
            ],
        ),
        (
            "rollup(o, (k, s))",
            &[
                "- - -: 70",
                "- - false: 20",
                "- - true: 50",
                "1 x true: 10",
                "1 y false: 20",
                "2 x true: 40",
            ],
        ),
        (
            "cube((k, s), o)",
            &[
                "- - -: 70",
                "- - false: 20",
                "- - true: 50",
                "1 x -: 10",
                "1 x true: 10",
                "1 y -: 20",
                "1 y false: 20",
                "2 x -: 40",
                "2 x true: 40",
            ],
        ),
        (
            "rollup(((k), (s, o)))",
            &["- - -: 70", "1 x true: 10", "1 y false: 20", "2 x true: 40"],
        ),
        (
            "o, rollup((k, s))",
            &[
                "- - false: 20",
                "- - true: 50",
                "1 x true: 10",
                "1 y false: 20",
                "2 x true: 40",
            ],
        ),
        (
            "(k, s), o",
            &["1 x true: 10", "1 y false: 20", "2 x true: 40"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn grouping_sets_within_each_other() {
    check_sums(&[
        (
            "grouping sets (rollup(k), s, (k, o))",
            &[
                "- - -: 70",
                "- x -: 50",
                "- y -: 20",
                "1 - -: 30",
                "1 - false: 20",
                "1 - true: 10",
                "2 - -: 40",
                "2 - true: 40",
            ],
        ),
        (
            "grouping sets (cube(k), grouping sets ((s), (k, s, o)))",
            &[
                "- - -: 70",
                "- x -: 50",
                "- y -: 20",
                "1 - -: 30",
                "1 x true: 10",
                "1 y false: 20",
                "2 - -: 40",
                "2 x true: 40",
            ],
        ),
        (
            "grouping sets ((k, (s)), (), o)",
            &[
                "- - -: 70",
                "- - false: 20",
                "- - true: 50",
                "1 x -: 10",
                "1 y -: 20",
                "2 x -: 40",
            ],
        ),
        (
            "k, s, o, ()",
            &["1 x true: 10", "1 y false: 20", "2 x true: 40"],
        ),
    ])
    .await;
    check(&[
        ("select count(*) from (values (1), (2)) t(k) group by ()", &["2"]),
        ("select k + 1, count(*), grouping(k + 1) from (values (1), (1)) t(k) group by rollup((k + 1) * 1, (k + 1)) order by 2, 1, 3", &["2 | 2 | 0", " | 2 | 1", " | 2 | 1"]),
        ("select k, v, count(*), grouping(k), grouping(v) from (values (1, 2)) t(k, v) group by rollup((k, v)) order by 4", &["1 | 2 | 1 | 0 | 0", " |  | 1 | 1 | 1"]),
    ])
    .await;
}

#[tokio::test]
async fn what_groups_cannot_be_is_refused() {
    let fixture = Fixture::new().await;
    let lists: Vec<String> = (0..11).map(|at| format!("(a{at}, b)")).collect();
    let cube = format!("select 1 from a.t group by cube({})", lists.join(", "));
    for (sql, kind, message) in [
        (cube.as_str(), ErrorKind::Config, "CUBE has more than 10"),
        ("select ()", ErrorKind::Config, "missing between"),
        (
            "select rollup(1)",
            ErrorKind::Config,
            "elements of GROUP BY",
        ),
        (
            "select k from (values (1)) t(k) group by rollup((k, k), k)",
            ErrorKind::Unsupported,
            "twice",
        ),
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        assert!(error.message().contains(message), "{sql}: {error}");
    }
    let rollup: Vec<String> = (0..2_000).map(|at| format!("(a{at}, b)")).collect();
    let rollup = format!("select 1 from a.t group by rollup({})", rollup.join(", "));
    let error = fixture.failure(&rollup).await;
    assert!(error.message().contains("more than 1024 sets"), "{error}");
}
