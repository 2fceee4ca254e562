//! Parts of dates and times that there are not: a fault of the statement, with its place and the names that there are.

use forebay_core::ErrorKind;

use crate::fixture::{Fixture, check};

const TIMES: &str = "(values (timestamp '2024-05-06 07:08:09.5')) t(x)";

/// An expression over a column, and the beginnings of the message and of the hint.
const WRONG: [(&str, &str, &str); 9] = [
    (
        "date_trunc('decad', x)",
        "1:19: date_trunc() has no unit 'decad'",
        "did you mean decade? the units are microsecond, ",
    ),
    (
        "datetrunc('dayz', x)",
        "1:18: date_trunc() has no unit 'dayz'",
        "did you mean day? ",
    ),
    (
        "date_trunc('', x)",
        "1:19: date_trunc() has no unit ''",
        "the units are microsecond, ",
    ),
    (
        "extract(foo from x)",
        "1:16: there is no part 'foo' of a date or time",
        "the parts are year, ",
    ),
    (
        "extract('yeer' from x)",
        "1:28: there is no part 'yeer' of a date or time",
        "did you mean year? the parts are year, ",
    ),
    (
        "date_part('x', x)",
        "1:18: there is no part 'x' of a date or time",
        "the parts are year, ",
    ),
    (
        "datepart('mont', x)",
        "1:17: there is no part 'mont' of a date or time",
        "did you mean month? ",
    ),
    (
        "extract(decade from x)",
        "1:28: there is no part 'DECADE' of a date or time",
        "the parts are year, ",
    ),
    (
        "extract(timezone from x)",
        "1:30: there is no part 'TIMEZONE' of a date or time",
        "the parts are year, ",
    ),
];

#[tokio::test]
async fn a_wrong_part_is_a_fault_of_the_statement() {
    let fixture = Fixture::new().await;
    for (expression, message, hint) in WRONG {
        for clause in ["from", "from (values (1)) u(y),"] {
            let sql = format!("select {expression} {clause} {TIMES}");
            let error = fixture.failure(&sql).await;
            let found = (error.kind(), error.code());
            assert_eq!(found, (ErrorKind::Config, "bad_sql"), "{sql}: {error}");
            assert!(error.message().starts_with(message), "{sql}: {error}");
            let found = error.hint().unwrap_or_default();
            assert!(found.starts_with(hint), "{sql}: {found}");
        }
    }
}

#[tokio::test]
async fn a_part_may_have_its_short_name() {
    let sql = format!(
        "select extract(msec from x), extract(Y from x), date_part('QTR', x), extract(isodow from x), extract('day' from x), date_trunc('HOURS', x) from {TIMES}"
    );
    check(&[(&sql, &["9500 | 2024 | 2 | 1 | 6 | 2024-05-06T07:00:00"])]).await;
}

#[tokio::test]
async fn a_computed_unit_is_checked_with_its_row() {
    let fixture = Fixture::new().await;
    let sql = "select date_trunc(u, x) from (values (timestamp '2024-01-01', 'decad')) t(x, u)";
    let error = fixture.failure(sql).await;
    assert_eq!(error.code(), "sql_value", "{error}");
    assert!(
        error.message().contains("date_trunc() has no unit 'decad'"),
        "{error}"
    );
    assert!(error.message().contains("decade"), "{error}");
}
